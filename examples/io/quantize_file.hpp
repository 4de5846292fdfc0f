#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.hpp"
#include "io/safetensors.hpp"
#include "io/tensor.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"
#include "pare/metrics/metrics.hpp"

namespace io {

/// A tensor of a file to be written: packed by a scheme of pare's catalog, or copied where `scheme` is empty.
struct PlannedTensor : TensorInfo {
  std::string scheme;
};

/// What packing made of one tensor.
struct PackedLayer {
  std::string name;
  Extents shape;
  std::string scheme;  ///< the full name in the catalog
  std::size_t bytes_before = 0;
  std::size_t bytes_after = 0;
  pare::ErrorStatistics error;  ///< of the packed values against the original ones

  /// Stored bits per weight, scales and zero points included; 0 for an empty tensor.
  [[nodiscard]] double bits_per_weight() const noexcept;
};

/// Where the tensors of write_quantized come from.
struct TensorSource {
  std::string name;  ///< what messages call the source
  /// Gives the elements of a planned tensor. They must last until the next call.
  pare::FunctionRef<pare::Result<std::span<const std::byte>>(const PlannedTensor&)> read;
};

/// Told the bytes of input that have been worked through, and how many there will be.
using ProgressCallback = pare::FunctionRef<void(std::uint64_t, std::uint64_t)>;

/// Writes the planned tensors to a safetensors file, with `metadata` and a description of the packed ones, and commits
/// it. Reports the packed tensors in the order of the plan. Memory holds one tensor at a time, in up to four forms; to
/// that end a packed tensor is read and quantized once for each of its parts. The same input gives the same bytes,
/// whatever the executor. Errors: what `read` returns, bytes that do not fit their shape, an unknown scheme, elements
/// that are not floats, a name that a part of another tensor has, faults of the disk.
pare::Result<std::vector<PackedLayer>> write_quantized(OutputFile file, std::span<const PlannedTensor> plan,
                                                       Metadata metadata, const TensorSource& source,
                                                       pare::Executor executor, ProgressCallback progress);

}  // namespace io
