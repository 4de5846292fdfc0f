#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace golden {

/// The sentence in results.json that says how near an output must come, such as
/// "codes >=99.9% (with the stored order); rel_err within 0.5%". Each reading names the subject it is about and throws
/// std::runtime_error where the sentence says nothing of the kind about it: a rule that is not understood is a fault.
class MatchRule {
 public:
  explicit MatchRule(std::string_view rule);

  /// The share of elements that must be equal: "codes >=99.9%" is 0.999, "exact codes" is 1.
  [[nodiscard]] double share(std::string_view subject) const;
  /// The relative difference allowed: "scale rel 1e-5" is 1e-5, "rel_err within 0.5%" 0.005, "rel_err <= 1.05x" 0.05,
  /// "scale <=1 ulp" 2^-23, "exact" 0.
  [[nodiscard]] double relative(std::string_view subject) const;
  /// The absolute difference allowed: "abs 1e-5".
  [[nodiscard]] double absolute(std::string_view subject) const;
  [[nodiscard]] const std::string& text() const noexcept { return rule_; }

 private:
  /// The part of the rule about the subject; all of it where it names no subjects.
  [[nodiscard]] std::string_view clause(std::string_view subject) const;

  std::string rule_;
  std::vector<std::string> clauses_;
};

}  // namespace golden
