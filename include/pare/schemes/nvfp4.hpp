#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "pare/schemes/microscaling.hpp"

namespace pare {

/// NVFP4: E2M1 elements, an E4M3 scale for each 16 of a row, a float for the tensor. Its producers differ in what the
/// float means and in the scale of blocks of zeros; ggml's blocks, which hold no tensor scale, are a layout.
enum class Nvfp4Dialect {
  modelopt,            ///< value = e2m1 * (scale * g), g = max / (6 * 448); blocks of zeros have the scale 1
  compressed_tensors,  ///< value = e2m1 * (scale / g), g = 6 * 448 / max; blocks of zeros have the scale 0.125
};

/// The elements of a row that share a scale.
inline constexpr std::size_t nvfp4_block = 16;

/// The tensor's scale from its largest magnitude, a finite one. compressed-tensors writes 1 for a tensor of zeros.
template <Nvfp4Dialect D>
constexpr float nvfp4_tensor_scale(float magnitude) noexcept {
  if constexpr (D == Nvfp4Dialect::modelopt) return magnitude / (6.0f * 448.0f);
  const float scale = (448.0f * 6.0f) / magnitude;
  return is_finite(scale) ? scale : 1.0f;
}

/// What the elements of a block are multiplied by.
template <Nvfp4Dialect D>
constexpr float nvfp4_scale(std::uint32_t block_scale, float tensor_scale) noexcept {
  const float s = E4M3::decode(block_scale);
  return D == Nvfp4Dialect::modelopt ? s * tensor_scale : s / tensor_scale;
}

/// The E4M3 code of a block's scale from its largest magnitude, a finite one.
template <Nvfp4Dialect D>
constexpr std::uint32_t nvfp4_block_scale(float magnitude, float tensor_scale) noexcept {
  if constexpr (D == Nvfp4Dialect::modelopt) {
    const float smallest = detail::exp2_int(-9);
    if (magnitude == 0.0f) return E4M3::encode(1.0f);
    const float wanted = magnitude / (6.0f * tensor_scale);
    return E4M3::encode(wanted < smallest ? smallest : wanted);
  } else {
    const std::uint32_t code = E4M3::encode(tensor_scale * (magnitude / 6.0f));
    return code == 0 ? E4M3::encode(0.125f) : code;
  }
}

/// Encodes one block: codes[i] for x[i], at most nvfp4_block finite values, and returns the scale's code.
template <Nvfp4Dialect D>
constexpr std::uint32_t encode_nvfp4_block(std::span<const float> x, float tensor_scale,
                                           std::span<std::uint8_t> codes) noexcept {
  float largest = 0.0f;
  for (const float v : x) {
    const float magnitude = v < 0.0f ? -v : v;
    largest = magnitude > largest ? magnitude : largest;
  }
  const std::uint32_t scale_code = nvfp4_block_scale<D>(largest, tensor_scale);
  const float scale = nvfp4_scale<D>(scale_code, tensor_scale);
  for (std::size_t i = 0; i < x.size(); ++i)
    codes[i] = static_cast<std::uint8_t>(encode_e2m1<E2M1Rule::positive_zero>(scale == 0.0f ? 0.0f : x[i] / scale));
  return scale_code;
}

}  // namespace pare
