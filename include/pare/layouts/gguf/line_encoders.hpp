#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pare/layouts/gguf/searched_encoders.hpp"

namespace pare::gguf {

/// Whether a block can be encoded from the scales, and minimums, that suit each of its sub-blocks by itself.
template <BlockType T>
inline constexpr bool encoded_by_lines = false;
template <>
inline constexpr bool encoded_by_lines<BlockType::q2_k> = true;
template <>
inline constexpr bool encoded_by_lines<BlockType::q3_k> = true;
template <>
inline constexpr bool encoded_by_lines<BlockType::q4_k> = true;
template <>
inline constexpr bool encoded_by_lines<BlockType::q5_k> = true;
template <>
inline constexpr bool encoded_by_lines<BlockType::q6_k> = true;

/// The scales and integers of a block whose sub-block j is best held by levels * scales[j] - minimums[j], all finite:
/// the largest of each becomes the block's, the others integers of it. Scales and minimums become those that a decoder
/// will find; the codes are left at 0. The same bytes on every machine and compiler.
template <BlockType T>
  requires encoded_by_lines<T>
constexpr BlockCodes round_lines(std::span<float, sub_blocks<T>> scales,
                                 std::span<float, sub_blocks<T>> minimums) noexcept {
  constexpr detail::SearchLimits limits = detail::search_limits<T>;
  const detail::Rounded rounded;
  const auto inverse_of = [](float unit) { return unit == 0.0f ? 0.0f : 1.0f / unit; };
  const auto to_f16 = [](float value) {
    return static_cast<std::uint16_t>(F16::encode<Conversion{}>(std::clamp(value, -F16::max, F16::max)));
  };
  constexpr float most = 256.0f * F16::max;  // more than a block can hold, and too little to overflow below
  for (float& scale : scales) scale = std::clamp(scale, -most, most);
  for (float& minimum : minimums) minimum = std::clamp(minimum, -most, most);
  float widest = 0.0f, deepest = 0.0f;
  for (const float scale : scales) widest = detail::size(scale) > detail::size(widest) ? scale : widest;
  for (const float minimum : minimums) deepest = minimum > deepest ? minimum : deepest;

  BlockCodes out;
  constexpr int top = -limits.scale_low > limits.scale_high ? limits.scale_low : limits.scale_high;
  out.d = to_f16(widest / static_cast<float>(top));
  if constexpr (limits.has_min()) out.dmin = to_f16(deepest / static_cast<float>(limits.min_high));
  const float d = F16::decode(out.d), dmin = F16::decode(out.dmin);
  const float inverse_d = inverse_of(d), inverse_dmin = inverse_of(dmin);
  for (std::size_t j = 0; j < sub_blocks<T>; ++j) {
    const int integer = detail::nearest_integer(scales[j], inverse_d, limits.scale_low, limits.scale_high, rounded);
    const float scale = rounded(d * static_cast<float>(integer));
    if constexpr (limits.has_min()) {
      // Levels are about half of the highest on average: by so much of a change of the scale the minimum moves.
      constexpr float centre = 0.5f * detail::SearchLevels<T>::highest;
      const float wanted = rounded((scale - scales[j]) * centre) + minimums[j];
      const int lowered = detail::nearest_integer(wanted, inverse_dmin, limits.min_low, limits.min_high, rounded);
      out.mins[j] = static_cast<std::int16_t>(lowered);
      minimums[j] = rounded(dmin * static_cast<float>(lowered));
    }
    out.scales[j] = static_cast<std::int16_t>(integer);
    scales[j] = scale;
  }
  return out;
}

}  // namespace pare::gguf
