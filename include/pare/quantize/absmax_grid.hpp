#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

#include "pare/quantize/grid.hpp"

namespace pare {

/// The codes of a format whose largest value stands for the block's largest magnitude: scale = absmax / F::max, code =
/// F::encode(x / scale), value = F::decode(code) * scale. With NF4 the grid of NNCF's nf4, which divides where
/// SchemeGrid multiplies by an inverse. Scales below 2^-23 are 2^-23.
template <Format F>
  requires(F::bits <= 8)
struct AbsmaxGrid {
  [[nodiscard]] static CodeFormat format() { return code_format<F>(); }
  [[nodiscard]] static ShiftKind shift_kind() { return ShiftKind::none; }
  [[nodiscard]] static ScaleType scale_type() { return ScaleType::float32; }

  [[nodiscard]] static BlockGrid fit(std::span<const float> block) {
    float largest = 0.0f;
    for (const float x : block) largest = std::max(largest, std::fabs(x));
    return {std::max(largest / F::max, 0x1p-23f)};
  }
  [[nodiscard]] static std::uint8_t encode(float x, const BlockGrid& fitted) {
    return static_cast<std::uint8_t>(F::encode(x / fitted.scale));
  }
  [[nodiscard]] static float decode(std::uint8_t code, const BlockGrid& fitted) {
    return F::decode(code) * fitted.scale;
  }
};

static_assert(Grid<AbsmaxGrid<NF4>>);

}  // namespace pare
