#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pare/quantize/grid.hpp"

namespace pare {

/// The search for a narrower range whose rounding error is less: ranges of 1, 1 - 1/steps, ... of the whole one, down
/// to but without 1 - shrink.
struct ClipSearch {
  int steps = 0;        ///< none: the whole range
  double shrink = 0.8;  ///< how much of the range the search may give up
  float norm = 2.4f;    ///< errors count by their absolute value to this power

  /// The search that GPTQ, SparseGPT and OBC call mse.
  static constexpr ClipSearch mse() { return {.steps = 100}; }
};

/// Integer codes over a block's smallest to largest value, zero included: the grid of GPTQ, SparseGPT and OBC (Frantar
/// et al., 2022 and 2023). Symmetric: the zero point is 2^(bits - 1), the range reaches to the largest magnitude on
/// both sides (where no value is negative, from 0 on), and the largest positive value saturates. Asymmetric: the zero
/// point is rounded. code = round(x / scale) + zero point, ties to even, value = scale * (code - zero point).
struct MinMaxGrid {
  int bits = 4;  ///< 1 to 8
  bool symmetric = true;
  ClipSearch search{};

  [[nodiscard]] CodeFormat format() const { return unsigned_format(bits); }
  [[nodiscard]] static ShiftKind shift_kind() { return ShiftKind::zero_point; }
  [[nodiscard]] static ScaleType scale_type() { return ScaleType::float32; }
  [[nodiscard]] float highest() const { return static_cast<float>((1 << bits) - 1); }

  [[nodiscard]] BlockGrid fit(std::span<const float> block) const {
    float lowest = 0.0f, largest = 0.0f;
    for (const float x : block) {
      lowest = std::min(lowest, x);
      largest = std::max(largest, x);
    }
    if (symmetric) {
      largest = std::max(-lowest, largest);
      if (lowest < 0.0f) lowest = -largest;
    }
    if (lowest == 0.0f && largest == 0.0f) {
      lowest = -1.0f;
      largest = 1.0f;
    }
    BlockGrid best = over(lowest, largest);
    if (search.steps <= 0) return best;
    double least = error(block, best);
    const int candidates = static_cast<int>(search.shrink * search.steps);
    for (int i = 1; i < candidates; ++i) {
      const auto part = static_cast<float>(1.0 - static_cast<double>(i) / search.steps);
      const BlockGrid narrower = over(part * lowest, part * largest);
      if (const double e = error(block, narrower); e < least) {
        least = e;
        best = narrower;
      }
    }
    return best;
  }

  [[nodiscard]] std::uint8_t encode(float x, const BlockGrid& fitted) const {
    const float code = std::nearbyint(x / fitted.scale) + fitted.shift;
    return static_cast<std::uint8_t>(code > 0.0f ? std::min(code, highest()) : 0.0f);
  }
  [[nodiscard]] static float decode(std::uint8_t code, const BlockGrid& fitted) {
    return fitted.scale * (static_cast<float>(code) - fitted.shift);
  }

 private:
  [[nodiscard]] BlockGrid over(float lowest, float largest) const {
    const float scale = (largest - lowest) / highest();
    return {scale, symmetric ? (highest() + 1.0f) / 2.0f : std::nearbyint(-lowest / scale)};
  }
  [[nodiscard]] double error(std::span<const float> block, const BlockGrid& fitted) const {
    double sum = 0.0;
    for (const float x : block)
      sum += static_cast<double>(std::pow(std::fabs(decode(encode(x, fitted), fitted) - x), search.norm));
    return sum;
  }
};

static_assert(Grid<MinMaxGrid>);

}  // namespace pare
