#pragma once

#include <cstddef>
#include <cstdint>

#include "pare/formats/formats.hpp"
#include "pare/layouts/gguf/block_codes.hpp"
#include "pare/layouts/gguf/rounded.hpp"

namespace pare::gguf {

/// The value of a scale byte of NVFP4: E4M3 without a sign, where 0x7F is 0 too and 0xFF is 480, as ggml reads them.
constexpr float decode_ue4m3(std::uint8_t code) noexcept {
  if (code == 0x7f) return 0.0f;
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  return exponent == 0 ? static_cast<float>(mantissa) * pare::detail::exp2_int(-9)
                       : static_cast<float>(8 + mantissa) * pare::detail::exp2_int(exponent - 10);
}

/// What the levels of sub-block j are multiplied by, d * scale rounded once.
template <BlockType T>
constexpr float sub_block_scale(const BlockCodes& block, std::size_t j) noexcept {
  constexpr const BlockLayout& layout = block_layout<T>;
  if constexpr (layout.block_scale == BlockScale::none)
    return decode_ue4m3(static_cast<std::uint8_t>(block.scales[j])) * 0.5f;
  else if constexpr (layout.block_scale == BlockScale::e8m0_half)
    return pare::detail::exp2_int(static_cast<int>(block.d & 0xffu) - 128);
  else
    return F16::decode(block.d) * static_cast<float>(block.scales[j]);
}

/// The values of a block in float: (d * scale) * level, less dmin * minimum, each operation rounded once and none
/// fused. Infinite and NaN scales propagate.
template <BlockType T>
constexpr void decode_values(const BlockCodes& block, BlockValues<T> values) noexcept {
  constexpr const BlockLayout& layout = block_layout<T>;
  const detail::Rounded rounded;
  for (std::size_t j = 0; j < sub_blocks<T>; ++j) {
    const float scale = sub_block_scale<T>(block, j);
    const std::uint8_t* codes = block.codes.data() + j * layout.sub_block;
    float* out = values.data() + j * layout.sub_block;
    if constexpr (layout.has_min) {
      const float minimum = rounded(F16::decode(block.dmin) * static_cast<float>(block.mins[j]));
      for (std::size_t i = 0; i < layout.sub_block; ++i)
        out[i] = rounded(scale * static_cast<float>(level<T>(codes[i]))) - minimum;
    } else {
      for (std::size_t i = 0; i < layout.sub_block; ++i) out[i] = scale * static_cast<float>(level<T>(codes[i]));
    }
  }
}

/// The values of a packed block.
template <BlockType T>
constexpr void decode_block(ConstBlockBytes<T> block, BlockValues<T> values) noexcept {
  decode_values<T>(unpack_block<T>(block), values);
}

}  // namespace pare::gguf
