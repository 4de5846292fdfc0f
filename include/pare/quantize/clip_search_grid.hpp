#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pare/quantize/min_max_grid.hpp"

namespace pare {

/// A grid that lets another one fit a part of a block's range where the block's rounding error is less for it: clips at
/// 1, 1 - 1/steps, ... of the range, the first of equals. Errors count by their absolute value to the search's power,
/// times their importance where there is one. The other grid must fit by the smallest and the largest value.
template <Grid G>
struct ClipSearchGrid {
  [[no_unique_address]] G base{};
  ClipSearch search = ClipSearch::mse();

  [[nodiscard]] CodeFormat format() const { return base.format(); }
  [[nodiscard]] ShiftKind shift_kind() const { return base.shift_kind(); }
  [[nodiscard]] ScaleType scale_type() const { return base.scale_type(); }
  [[nodiscard]] Shape block(Shape shape) const
    requires BlockedGrid<G>
  {
    return base.block(shape);
  }

  [[nodiscard]] BlockGrid fit(std::span<const float> block) const { return fit(block, {}); }
  /// `importance` has a number for each value of the block, or none.
  [[nodiscard]] BlockGrid fit(std::span<const float> block, std::span<const float> importance) const {
    BlockGrid best = base.fit(block);
    if (block.empty() || search.steps <= 0) return best;
    const auto [lowest, highest] = std::minmax_element(block.begin(), block.end());
    double least = error(block, importance, best);
    const int candidates = static_cast<int>(search.shrink * search.steps);
    for (int i = 1; i < candidates; ++i) {
      const auto part = static_cast<float>(1.0 - static_cast<double>(i) / search.steps);
      const std::array<float, 2> range{part * *lowest, part * *highest};
      const BlockGrid narrower = base.fit(range);
      if (const double e = error(block, importance, narrower); e < least) {
        least = e;
        best = narrower;
      }
    }
    return best;
  }
  [[nodiscard]] std::uint8_t encode(float x, const BlockGrid& fitted) const { return base.encode(x, fitted); }
  [[nodiscard]] float decode(std::uint8_t code, const BlockGrid& fitted) const { return base.decode(code, fitted); }

 private:
  [[nodiscard]] double error(std::span<const float> block, std::span<const float> importance,
                             const BlockGrid& fitted) const {
    double sum = 0.0;
    for (std::size_t i = 0; i < block.size(); ++i) {
      const float away = std::fabs(decode(encode(block[i], fitted), fitted) - block[i]);
      const auto cost = static_cast<double>(std::pow(away, search.norm));
      sum += importance.empty() ? cost : cost * static_cast<double>(importance[i]);
    }
    return sum;
  }
};

}  // namespace pare
