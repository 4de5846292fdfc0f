#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "io/file.hpp"
#include "io/ggml_type.hpp"
#include "io/name_index.hpp"
#include "io/tensor.hpp"
#include "pare/core/result.hpp"

namespace io {

/// An array of a GGUF file. The index of the alternative is the number of the element type; arrays hold no arrays.
using GgufArray = std::variant<std::vector<std::uint8_t>, std::vector<std::int8_t>, std::vector<std::uint16_t>,
                               std::vector<std::int16_t>, std::vector<std::uint32_t>, std::vector<std::int32_t>,
                               std::vector<float>, std::vector<bool>, std::vector<std::string>, std::monostate,
                               std::vector<std::uint64_t>, std::vector<std::int64_t>, std::vector<double>>;

/// A value of a GGUF file's metadata. The index of the alternative is the number of its type.
using GgufValue = std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t,
                               float, bool, std::string, GgufArray, std::uint64_t, std::int64_t, double>;

/// The value as an integer, where it is one that is not negative.
std::optional<std::uint64_t> as_unsigned(const GgufValue& value) noexcept;

/// The value for people; of a longer array the first elements and the count.
std::string to_text(const GgufValue& value);

/// One entry of the metadata.
struct GgufEntry {
  std::string key;
  GgufValue value;
};

/// What a GGUF file says about a tensor. `shape` has the outermost extent first: the reverse of the file's order.
struct GgufTensorInfo {
  std::string name;
  GgmlType type = GgmlType::f32;
  Extents shape;
};

/// A tensor of an open file: `bytes` are the blocks of one row after the other, at any alignment.
struct GgufTensor : GgufTensorInfo {
  std::span<const std::byte> bytes;
};

/// The limits of the format as ggml sets them.
inline constexpr std::size_t gguf_max_dimensions = 4;
inline constexpr std::size_t gguf_max_name = 63;                          ///< bytes of a tensor's name
inline constexpr std::uint64_t gguf_max_string = std::uint64_t{1} << 30;  ///< bytes
inline constexpr std::uint64_t gguf_max_array = std::uint64_t{1} << 30;   ///< elements
inline constexpr std::uint32_t gguf_default_alignment = 32;               ///< without general.alignment

/// A GGUF file of version 2 or 3, validated in full when opened; tensors are read from the mapping when touched.
/// As in ggml, the padding behind the last tensor may be missing, and bytes behind it are not looked at.
class GgufFile {
 public:
  /// Whether `bytes` start as a GGUF file does.
  static bool recognizes(std::span<const std::byte> bytes) noexcept;

  /// Maps and checks `path`. A corrupt_data error names the file, the place and the fault; versions that cannot be read
  /// and big-endian files are unsupported errors.
  static pare::Result<GgufFile> open(const std::filesystem::path& path);

  /// The same for bytes in memory, which must outlive the result. `name` stands for the file in messages.
  static pare::Result<GgufFile> parse(std::span<const std::byte> bytes, std::string_view name);

  /// Opens the file, or, where split.count says that it is one of several, all of them in order, from any one of them.
  /// They must be named PREFIX-00001-of-00003.gguf, agree on the split, and hold no tensor twice.
  static pare::Result<std::vector<GgufFile>> open_shards(const std::filesystem::path& path);

  [[nodiscard]] std::uint32_t version() const noexcept { return version_; }

  /// What the start of the data and of each tensor is a multiple of.
  [[nodiscard]] std::uint32_t alignment() const noexcept { return alignment_; }

  /// Where the data begin in the file.
  [[nodiscard]] std::size_t data_offset() const noexcept { return data_offset_; }

  /// The metadata in the order of the file.
  [[nodiscard]] const std::vector<GgufEntry>& metadata() const noexcept { return metadata_; }

  /// The value of that key, or nullptr.
  [[nodiscard]] const GgufValue* value(std::string_view key) const noexcept;

  /// The value of that key where it is exactly a T, or nullptr.
  template <class T>
  [[nodiscard]] const T* value_as(std::string_view key) const noexcept {
    return std::get_if<T>(value(key));
  }

  /// The tensors in the order of the file.
  [[nodiscard]] const std::vector<GgufTensor>& tensors() const noexcept { return tensors_; }

  /// The tensor of that name, or nullptr.
  [[nodiscard]] const GgufTensor* find(std::string_view name) const noexcept { return by_name_.find(tensors_, name); }

  /// Lets the system drop the pages of a tensor that has been read (MappedFile::release).
  void release(std::span<const std::byte> bytes) const noexcept { file_.release(bytes); }

  /// The name that messages use.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  GgufFile() = default;

  std::string name_;
  MappedFile file_;
  std::uint32_t version_ = 0;
  std::uint32_t alignment_ = gguf_default_alignment;
  std::size_t data_offset_ = 0;
  std::vector<GgufEntry> metadata_;
  std::vector<GgufTensor> tensors_;
  NameIndex by_name_;
};

}  // namespace io
