#pragma once

#include <cstddef>
#include <span>

#include "io/tensor.hpp"

namespace llama {

/// Whether elements of this type can stand for weights: F32, F16 and BF16.
bool is_float_dtype(io::DType dtype) noexcept;

/// Widens elements of a float dtype, as they lie in a file, to `out`, which holds as many.
void to_floats(io::DType dtype, std::span<const std::byte> elements, std::span<float> out);

}  // namespace llama
