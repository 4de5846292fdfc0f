#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "io/file.hpp"
#include "io/tensor.hpp"
#include "pare/core/result.hpp"

namespace io {

/// A NumPy .npy array of format version 1, 2 or 3: little-endian f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 and bool, row-major.
class NpyFile {
 public:
  /// Maps and checks `path`: unsupported for valid arrays of other kinds, corrupt_data for everything else.
  static pare::Result<NpyFile> open(const std::filesystem::path& path);

  /// The same for bytes in memory, which must outlive the result. `name` stands for the file in messages.
  static pare::Result<NpyFile> parse(std::span<const std::byte> bytes, std::string_view name);

  /// Element type, shape and raw data; its name is the file's.
  [[nodiscard]] const TensorView& array() const noexcept { return array_; }

  /// All elements as T (float, double, std::int32_t, std::int64_t, std::uint32_t or std::uint8_t). Integers that T
  /// cannot hold, and floats asked for as integers, are an invalid_argument error; doubles round to the nearest float.
  template <class T>
  [[nodiscard]] pare::Result<std::vector<T>> values() const;

 private:
  NpyFile() = default;

  MappedFile file_;
  TensorView array_;
};

/// Writes a row-major array as .npy version 1. `values` must fill `shape` exactly.
pare::Result<void> write_npy(const std::filesystem::path& path, std::span<const float> values,
                             std::span<const std::size_t> shape);
pare::Result<void> write_npy(const std::filesystem::path& path, std::span<const std::int32_t> values,
                             std::span<const std::size_t> shape);
pare::Result<void> write_npy(const std::filesystem::path& path, std::span<const std::uint8_t> values,
                             std::span<const std::size_t> shape);

}  // namespace io
