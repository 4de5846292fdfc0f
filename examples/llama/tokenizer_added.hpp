#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace llama::tokens {

/// A token that is cut out of the text before anything else looks at it.
struct AddedToken {
  std::string content;
  std::int32_t id = 0;
  bool strip_left = false;   ///< takes the white space in front of it along
  bool strip_right = false;  ///< takes the white space behind it along
};

/// Finds added tokens in text: the leftmost, and of those that begin there the longest.
class AddedTokens {
 public:
  AddedTokens() = default;
  explicit AddedTokens(std::vector<AddedToken> tokens);

  struct Match {
    std::size_t begin;
    std::size_t end;
    std::int32_t id;
  };

  /// The first token of well-formed `text` at or behind `from`, its white space included as far as it begins there too.
  [[nodiscard]] std::optional<Match> find(std::string_view text, std::size_t from) const noexcept;

 private:
  [[nodiscard]] const AddedToken* longest_at(std::string_view text) const noexcept;

  std::vector<AddedToken> tokens_;  // sorted by content, none empty
  std::array<bool, 256> begins_{};  // bytes that some token begins with
};

}  // namespace llama::tokens
