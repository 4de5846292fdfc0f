#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "io/file.hpp"
#include "io/gguf.hpp"
#include "pare/core/result.hpp"

namespace io {

/// Writes a GGUF file of version 3 tensor by tensor in bounded memory. What a GgufFile of version 3 holds, written in
/// its order, gives the bytes of that file.
class GgufWriter {
 public:
  /// Starts a file that will hold exactly `tensors`, in this order, and writes all that comes before the data. The
  /// alignment is that of general.alignment, if given. What a GGUF file cannot hold is an invalid_argument error.
  static pare::Result<GgufWriter> create(const std::filesystem::path& path, std::span<const GgufEntry> metadata,
                                         std::vector<GgufTensorInfo> tensors);
  static pare::Result<GgufWriter> create(OutputFile file, std::span<const GgufEntry> metadata,
                                         std::vector<GgufTensorInfo> tensors);

  /// The order in which the data must come.
  [[nodiscard]] const std::vector<GgufTensorInfo>& tensors() const noexcept { return tensors_; }

  /// Appends `bytes` to the tensor `name`. Tensors come in the order of tensors(), each in as many pieces as the caller
  /// likes (none where it has no bytes); any other name and any byte too many is an invalid_argument error.
  pare::Result<void> write(std::string_view name, std::span<const std::byte> bytes);

  /// Commits the file, or says which tensor is not complete.
  pare::Result<void> finish();

 private:
  explicit GgufWriter(OutputFile file) : file_(std::move(file)) {}
  pare::Result<void> pad(std::size_t written);
  /// Makes the first tensor from `index` on that has bytes the current one.
  void move_to(std::size_t index) noexcept;

  OutputFile file_;
  std::vector<GgufTensorInfo> tensors_;
  std::uint32_t alignment_ = gguf_default_alignment;
  std::size_t current_ = 0;    ///< the first tensor that is not complete
  std::size_t remaining_ = 0;  ///< bytes that it lacks
};

}  // namespace io
