#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.hpp"
#include "io/tensor.hpp"
#include "pare/core/result.hpp"

namespace io {

/// The `__metadata__` of a safetensors file.
using Metadata = std::map<std::string, std::string, std::less<>>;

/// A safetensors file, validated in full when opened; tensors are read from the mapping when touched.
class SafetensorsFile {
 public:
  /// Maps and checks `path`. A corrupt_data error names the file, the tensor and the fault.
  static pare::Result<SafetensorsFile> open(const std::filesystem::path& path);

  /// The same for bytes in memory, which must outlive the result. `name` stands for the file in messages.
  static pare::Result<SafetensorsFile> parse(std::span<const std::byte> bytes, std::string_view name);

  [[nodiscard]] const Metadata& metadata() const noexcept { return metadata_; }

  /// The tensors in the order of their data.
  [[nodiscard]] const std::vector<TensorView>& tensors() const noexcept { return tensors_; }

  /// The tensor of that name, or nullptr.
  [[nodiscard]] const TensorView* find(std::string_view name) const noexcept;

  /// Lets the system drop the pages of a tensor that has been read (MappedFile::release).
  void release(std::span<const std::byte> bytes) const noexcept { file_.release(bytes); }

  /// The name that messages use.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  SafetensorsFile() = default;

  std::string name_;
  MappedFile file_;
  Metadata metadata_;
  std::vector<TensorView> tensors_;
  std::vector<std::size_t> by_name_;  ///< indices into tensors_, sorted by name
};

/// Writes a safetensors file tensor by tensor in bounded memory. The same tensors and metadata give the same bytes.
class SafetensorsWriter {
 public:
  /// Starts a file that will hold exactly `tensors`, given in any order, and writes its header. Names must be UTF-8 and
  /// unique; shapes must fill whole bytes.
  static pare::Result<SafetensorsWriter> create(const std::filesystem::path& path, std::vector<TensorInfo> tensors,
                                                const Metadata& metadata = {});
  static pare::Result<SafetensorsWriter> create(OutputFile file, std::vector<TensorInfo> tensors,
                                                const Metadata& metadata = {});

  /// The order in which the data must come: type from the last of DType to the first, then name.
  [[nodiscard]] const std::vector<TensorInfo>& tensors() const noexcept { return tensors_; }

  /// Appends `bytes` to the tensor `name`. Tensors come in the order of tensors(), each in as many pieces as the caller
  /// likes (none where it has no bytes); any other name and any byte too many is an invalid_argument error.
  pare::Result<void> write(std::string_view name, std::span<const std::byte> bytes);

  /// Commits the file, or says which tensor is not complete.
  pare::Result<void> finish();

 private:
  explicit SafetensorsWriter(OutputFile file) : file_(std::move(file)) {}
  /// Makes the first tensor from `index` on that has bytes the current one.
  void move_to(std::size_t index) noexcept;

  OutputFile file_;
  std::vector<TensorInfo> tensors_;
  std::size_t current_ = 0;    ///< the first tensor that is not complete
  std::size_t remaining_ = 0;  ///< bytes that it lacks
};

}  // namespace io
