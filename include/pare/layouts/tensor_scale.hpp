#pragma once

#include <span>
#include <string_view>

#include "pare/layouts/packed_parts.hpp"

namespace pare {

/// The part with the scale of a whole tensor: float32, a scalar or one element.
inline Result<float> read_tensor_scale(std::span<const PartView> parts, std::string_view name) {
  auto part = find_part(parts, name, PartType::float32, 0);
  if (!part) part = find_part(parts, name, PartType::float32, 1);
  if (!part) return part.error();
  if (part->shape.size() == 1)
    if (auto fits = expect_shape(*part, {1}); !fits) return fits.error();
  return scale_at(*part, 0);
}

/// The same as a part to write, of the given rank (0 or 1).
inline Result<Part> write_tensor_scale(std::string_view name, float scale, std::size_t rank,
                                       std::pmr::memory_resource* memory) {
  auto part = make_part(name, PartType::float32, std::vector<std::size_t>(rank, 1), memory);
  if (part) store_le(part->bytes().data(), F32::encode(scale), 4);
  return part;
}

/// The scale of the whole tensor as a layout stores it that multiplies or divides with it. A reciprocal that is not
/// exact is an error, unless it may be rounded.
inline Result<float> tensor_scale_as(const CodedMatrix& matrix, std::string_view layout, TensorScale wanted,
                                     bool round_reciprocal) {
  const TensorScale have = matrix.tensor_scale_kind;
  if (have == TensorScale::aside) return 1.0f;
  const auto divides = [](TensorScale kind) {
    return kind == TensorScale::divides_scale || kind == TensorScale::divides_value;
  };
  if (divides(have) == divides(wanted)) return matrix.tensor_scale;
  const float reciprocal = 1.0f / matrix.tensor_scale;
  const auto exact = static_cast<double>(reciprocal) * static_cast<double>(matrix.tensor_scale);
  if (round_reciprocal || exact == 1.0) return reciprocal;
  return detail::refuse(
      layout, "the scale of the whole tensor: the reciprocal of " + text(matrix.tensor_scale) + " has to be rounded");
}

}  // namespace pare
