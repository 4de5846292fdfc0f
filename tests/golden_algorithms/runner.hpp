#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/safetensors.hpp"
#include "match_rule.hpp"
#include "pare/calibration/calibration.hpp"

namespace golden {

/// The tensors of a golden file. Asking for one that is absent or of another type throws std::runtime_error.
class Tensors {
 public:
  static Tensors open(const std::filesystem::path& path);

  [[nodiscard]] bool has(std::string_view name) const { return file_.find(name) != nullptr; }
  [[nodiscard]] std::vector<std::size_t> shape(std::string_view name) const;
  /// The elements, each converted to T from whatever integer or float type the file has them in.
  template <class T>
  [[nodiscard]] std::vector<T> values(std::string_view name) const {
    const std::vector<double> all = numbers(name);
    return {all.begin(), all.end()};
  }
  [[nodiscard]] const io::SafetensorsFile& file() const noexcept { return file_; }

 private:
  explicit Tensors(io::SafetensorsFile file) : file_(std::move(file)) {}
  [[nodiscard]] std::vector<double> numbers(std::string_view name) const;

  io::SafetensorsFile file_;
};

/// A matrix in row-major order that a test owns.
template <class T>
struct Table {
  std::vector<T> values;
  pare::Shape shape;

  [[nodiscard]] pare::MatrixView<const T> view() const { return {values.data(), shape.rows, shape.cols}; }
  [[nodiscard]] pare::MatrixView<T> view() { return {values.data(), shape.rows, shape.cols}; }
};

/// A weight and what flowed into it: a linear layer, or a convolution as one (the weight flattened to [out, in * k *
/// k], the images unfolded).
struct Problem {
  Table<float> weight;
  std::vector<Table<float>> samples;  ///< one [tokens, in] for each sequence or image
  bool convolution = false;
  std::vector<float> inputs;              ///< X as it stands in the file
  std::vector<std::size_t> input_shape;   ///< [sequences, tokens, in] or [images, channels, rows, cols]
  std::vector<std::size_t> weight_shape;  ///< [out, in] or [out, channels, rows, cols]
  std::size_t stride = 1, padding = 0;

  static Problem open(const std::filesystem::path& path);
  /// The moment of all samples, one at a time.
  [[nodiscard]] pare::SecondMoment<double> moment() const;
  /// All samples one below the other.
  [[nodiscard]] Table<float> tokens() const;
  /// ||X (W - W_hat)^T - bias|| / ||X W^T|| (Frobenius) in double, over the first rows of W that `approximation` has;
  /// `bias` may be empty.
  [[nodiscard]] double error(std::span<const float> approximation, std::span<const float> bias = {}) const;
};

/// One entry of results.json: what was run, and where its outputs are.
struct Entry {
  std::string problem, method, file;
  nlohmann::json config;  ///< the method's own parameters
  nlohmann::json json;    ///< the whole entry
  std::filesystem::path folder;
  MatchRule rule{""};

  /// The stored outputs.
  [[nodiscard]] Tensors tensors() const { return Tensors::open(folder / file); }
  /// A parameter, or `otherwise` where the configuration leaves it out.
  template <class T>
  [[nodiscard]] T option(const char* name, T otherwise) const {
    return config.contains(name) ? config.at(name).get<T>() : otherwise;
  }
  /// The figure that the reference reached; an error where it is not in the entry.
  [[nodiscard]] double number(const char* name) const { return json.at(name).get<double>(); }
};

/// What came of one entry.
class Outcome {
 public:
  explicit Outcome(const Entry& entry) : entry_(&entry) {}

  /// Counts one comparison; the detail is printed where it is not good.
  void check(std::string_view what, bool good, std::string_view detail = {});
  /// Elements must be equal, but for the share that the rule allows for `subject`.
  template <class T>
  void codes(std::string_view subject, std::span<const T> expected, std::span<const T> found) {
    std::size_t equal = 0;
    for (std::size_t i = 0; i < std::min(expected.size(), found.size()); ++i) equal += expected[i] == found[i];
    share(subject, equal, expected.size(), found.size());
  }
  template <class T>
  void codes(std::string_view subject, const std::vector<T>& expected, const std::vector<T>& found) {
    codes(subject, std::span<const T>(expected), std::span<const T>(found));
  }
  /// `equal` of so many expected elements agree; their share must be what the rule asks for.
  void share(std::string_view subject, std::size_t equal, std::size_t expected, std::size_t found);
  /// Each number must lie within the rule's relative tolerance for `subject`, relative to the largest of the expected
  /// numbers where `of_largest` (for numbers that cancel to about zero), else to itself.
  void near(std::string_view subject, const std::vector<float>& expected, const std::vector<float>& found,
            bool of_largest = false);
  /// Our error against the reference's (rel_err): as far apart as the rule allows for "rel_err"; less is good.
  void error(double ours);
  /// Reports our error where the rule does not limit it.
  void report_error(double ours) { error_ = ours; }

  [[nodiscard]] const Entry& entry() const noexcept { return *entry_; }
  [[nodiscard]] std::size_t checks() const noexcept { return checks_; }
  [[nodiscard]] const std::vector<std::string>& faults() const noexcept { return faults_; }
  [[nodiscard]] std::optional<double> our_error() const noexcept { return error_; }

 private:
  const Entry* entry_;
  std::size_t checks_ = 0;
  std::vector<std::string> faults_;
  std::optional<double> error_;
};

/// The value of a result; its error is thrown as std::runtime_error.
template <class T>
T value(pare::Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return *std::move(result);
}
inline void ensure(const pare::Result<void>& result) {
  if (!result) throw std::runtime_error(result.error().message);
}

/// How the entries of one method are recomputed and compared. What throws is a fault. The problem is that of the entry,
/// or an empty one for entries of "misc".
struct Method {
  std::string_view name;
  void (*run)(const Entry& entry, const Problem& problem, Outcome& outcome);
};

}  // namespace golden
