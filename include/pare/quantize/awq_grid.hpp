#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pare/quantize/grid.hpp"

namespace pare {

/// Integer codes over exactly the block's own range: the grid of AWQ (Lin et al., 2023). With a zero point, scale =
/// max(highest - lowest, 1e-5) / (2^bits - 1) and the rounded zero point is clipped to the codes: zero need not lie in
/// the range, and a block far from it saturates. Without one, scale = max(absmax, 1e-5) / (2^(bits - 1) - 1), the codes
/// go from -2^(bits - 1) to 2^(bits - 1) - 1 and are counted from zero; at 8 bits that is SmoothQuant's grid of weights
/// and activations. code = round(x / scale) + zero point, ties to even, value = (code - zero point) * scale.
struct AwqGrid {
  int bits = 4;            ///< 1 to 8 with a zero point, 2 to 8 without
  bool zero_point = true;  ///< where there is none, the shift is 2^(bits - 1)

  [[nodiscard]] CodeFormat format() const {
    return bits == 1 && !zero_point ? unsigned_format(0) : unsigned_format(bits);
  }
  [[nodiscard]] static ShiftKind shift_kind() { return ShiftKind::zero_point; }
  [[nodiscard]] static ScaleType scale_type() { return ScaleType::float32; }
  [[nodiscard]] float highest() const { return static_cast<float>((1 << bits) - 1); }
  [[nodiscard]] float middle() const { return static_cast<float>(1 << (bits - 1)); }

  [[nodiscard]] BlockGrid fit(std::span<const float> block) const {
    if (block.empty()) return {};
    const auto [lowest, largest] = std::minmax_element(block.begin(), block.end());
    if (!zero_point) return {std::max(std::max(-*lowest, *largest), least_range) / (middle() - 1.0f), middle()};
    const float scale = std::max(*largest - *lowest, least_range) / highest();
    return {scale, std::clamp(-std::nearbyint(*lowest / scale), 0.0f, highest())};
  }
  [[nodiscard]] std::uint8_t encode(float x, const BlockGrid& fitted) const {
    const float code = std::nearbyint(x / fitted.scale) + fitted.shift;
    return static_cast<std::uint8_t>(code > 0.0f ? std::min(code, highest()) : 0.0f);
  }
  [[nodiscard]] static float decode(std::uint8_t code, const BlockGrid& fitted) {
    return (static_cast<float>(code) - fitted.shift) * fitted.scale;
  }

 private:
  static constexpr float least_range = 1e-5f;
};

static_assert(Grid<AwqGrid>);

/// Another grid with one scale for the whole matrix.
template <Grid G>
struct WholeMatrix : G {
  [[nodiscard]] static Shape block(Shape matrix) {
    return {std::max<std::size_t>(matrix.rows, 1), std::max<std::size_t>(matrix.cols, 1)};
  }
};

}  // namespace pare
