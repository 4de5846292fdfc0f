#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "io/safetensors.hpp"

namespace golden {

/// What came of the comparisons with one golden file.
class Report {
 public:
  /// Compares a tensor bit for bit; any NaN equals any other NaN in tensors of float.
  template <class T>
  void equal(std::string_view tensor, std::span<const T> expected, std::span<const T> found) {
    if (expected.size() != found.size())
      return check(tensor, false,
                   std::to_string(found.size()) + " elements where there should be " + std::to_string(expected.size()));
    for (std::size_t i = 0; i < expected.size(); ++i)
      if (!same(expected[i], found[i]))
        return check(tensor, false,
                     "element " + std::to_string(i) + " is " + text(found[i]) + ", not " + text(expected[i]));
    check(tensor, true, {});
  }
  template <class T>
  void equal(std::string_view tensor, const std::vector<T>& expected, const std::vector<T>& found) {
    equal(tensor, std::span<const T>(expected), std::span<const T>(found));
  }

  /// Counts one vector; the detail is printed where it is not good.
  void check(std::string_view what, bool good, std::string_view detail);

  [[nodiscard]] std::size_t vectors() const noexcept { return vectors_; }
  [[nodiscard]] const std::vector<std::string>& faults() const noexcept { return faults_; }

 private:
  template <class T>
  static bool same(T a, T b) {
    if constexpr (std::is_floating_point_v<T>)
      if (a != a && b != b) return true;
    return std::memcmp(&a, &b, sizeof(T)) == 0;
  }
  template <class T>
  static std::string text(T value) {
    if constexpr (std::is_arithmetic_v<T>)
      return std::to_string(value);
    else
      return "another";
  }

  std::size_t vectors_ = 0;
  std::vector<std::string> faults_;
};

/// The tensors of a golden safetensors file. What is missing or of another size is a fault of the report, and empty.
class Vectors {
 public:
  static std::optional<Vectors> open(const std::filesystem::path& path, Report& report);

  [[nodiscard]] bool has(std::string_view name) const { return file_.find(name) != nullptr; }
  [[nodiscard]] std::vector<std::size_t> shape(std::string_view name) const;
  [[nodiscard]] std::string metadata(const std::string& key) const;
  [[nodiscard]] const io::SafetensorsFile& file() const noexcept { return file_; }

  template <class T>
  [[nodiscard]] std::vector<T> values(std::string_view name) const {
    const std::span<const std::uint8_t> bytes = elements(name, sizeof(T));
    std::vector<T> result(bytes.size() / sizeof(T));
    if (!result.empty()) std::memcpy(result.data(), bytes.data(), bytes.size());
    return result;
  }

 private:
  Vectors(io::SafetensorsFile file, Report& report) : file_(std::move(file)), report_(&report) {}
  [[nodiscard]] std::span<const std::uint8_t> elements(std::string_view name, std::size_t bytes) const;

  io::SafetensorsFile file_;
  Report* report_;
};

/// How one file of the folder of golden formats is verified.
struct Check {
  std::string_view path;  ///< relative to that folder
  void (*run)(const std::filesystem::path& file, Report& report);
};

}  // namespace golden
