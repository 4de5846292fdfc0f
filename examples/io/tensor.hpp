#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/dtype.hpp"
#include "pare/core/bits.hpp"

namespace io {

/// Extents, outermost first; empty for a scalar.
using Extents = std::vector<std::size_t>;

/// The product of the extents (1 for a scalar), or nothing where it does not fit.
inline std::optional<std::size_t> element_count(std::span<const std::size_t> shape) noexcept {
  std::size_t count = 1;
  for (const std::size_t extent : shape)
    if (!pare::checked_multiply(count, extent, count)) return std::nullopt;
  return count;
}

/// Bytes of a dense tensor, or nothing where they do not fit or end within a byte.
inline std::optional<std::size_t> byte_count(DType dtype, std::span<const std::size_t> shape) noexcept {
  const auto count = element_count(shape);
  std::size_t total = 0;
  if (!count || !pare::checked_multiply(*count, bits(dtype), total) || total % 8 != 0) return std::nullopt;
  return total / 8;
}

/// "[2, 3]", for messages.
std::string to_string(std::span<const std::size_t> shape);

/// What a file says about a tensor, without its data.
struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  Extents shape;
};

/// A tensor of an open file: `bytes` are row-major, little-endian, and may have any alignment (read with memcpy).
struct TensorView : TensorInfo {
  std::span<const std::byte> bytes;
};

}  // namespace io
