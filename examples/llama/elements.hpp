#pragma once

#include <cstddef>
#include <span>

#include "io/tensor.hpp"

namespace llama {

/// Whether elements of this type can stand for weights: F32, F16 and BF16.
bool is_float_dtype(io::DType dtype) noexcept;

/// Widens elements of a float dtype, as they lie in a file, to `out`, which holds as many.
void to_floats(io::DType dtype, std::span<const std::byte> elements, std::span<float> out);

/// Rounds values to elements of a float dtype, in `out`, which has room for as many.
void from_floats(io::DType dtype, std::span<const float> values, std::span<std::byte> out);

}  // namespace llama
