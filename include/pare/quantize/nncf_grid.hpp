#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pare/quantize/grid.hpp"

namespace pare {

/// Integer codes as NNCF's weight compression has them. Symmetric: scale = s / 2^(bits - 1), where s is -lowest, or
/// -largest where that reaches farther, so that the scale is negative and the farther side has all 2^(bits - 1) codes;
/// the shift is 2^(bits - 1). Asymmetric: scale = (largest - lowest) / (2^bits - 1) over the block's own range, zero
/// point = -round(lowest / scale) clipped to the codes, code = round(x / scale + zero point): the sum is what is
/// rounded. Scales nearer to 0 than 2^-23 are 2^-23; ties go to even; value = (code - shift) * scale.
struct NncfGrid {
  int bits = 4;  ///< 2 to 8
  bool symmetric = true;

  [[nodiscard]] CodeFormat format() const { return unsigned_format(bits); }
  [[nodiscard]] static ShiftKind shift_kind() { return ShiftKind::zero_point; }
  [[nodiscard]] static ScaleType scale_type() { return ScaleType::float32; }
  [[nodiscard]] float highest() const { return static_cast<float>((1 << bits) - 1); }
  [[nodiscard]] float middle() const { return static_cast<float>(1 << (bits - 1)); }

  [[nodiscard]] BlockGrid fit(std::span<const float> block) const {
    if (block.empty()) return {least_scale, symmetric ? middle() : 0.0f};
    const auto [least, most] = std::minmax_element(block.begin(), block.end());
    const float lowest = *least, largest = *most;
    if (symmetric) {
      const float scale = (std::fabs(lowest) >= largest ? std::fabs(lowest) : -largest) / middle();
      return {std::fabs(scale) < least_scale ? least_scale : scale, middle()};
    }
    const float scale = std::max((largest - lowest) / highest(), least_scale);
    return {scale, std::clamp(-std::nearbyint(lowest / scale), 0.0f, highest())};
  }
  [[nodiscard]] std::uint8_t encode(float x, const BlockGrid& fitted) const {
    const float quotient = x / fitted.scale;
    const float code = symmetric ? std::nearbyint(quotient) + fitted.shift : std::nearbyint(quotient + fitted.shift);
    return static_cast<std::uint8_t>(code > 0.0f ? std::min(code, highest()) : 0.0f);
  }
  [[nodiscard]] static float decode(std::uint8_t code, const BlockGrid& fitted) {
    return (static_cast<float>(code) - fitted.shift) * fitted.scale;
  }

 private:
  static constexpr float least_scale = 0x1p-23f;
};

static_assert(Grid<NncfGrid>);

}  // namespace pare
