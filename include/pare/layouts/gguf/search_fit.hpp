#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "pare/layouts/gguf/search_block.hpp"

namespace pare::gguf::detail {

/// What a sub-block would be scaled and lowered by if both were real numbers.
struct Fit {
  float scale = 0.0f;
  float minimum = 0.0f;
  float centre = 0.0f;  ///< the mean level: by how much the minimum moves for a change of the scale
  double error = 0.0;
};

/// Several fits of a sub-block, the best first.
template <std::size_t Keep>
struct Fits {
  std::array<Fit, Keep> kept{};
  std::size_t count = 0;

  constexpr void offer(const Fit& fit) noexcept {
    std::size_t at = 0;
    while (at < count && kept[at].error <= fit.error) {
      if (kept[at].scale == fit.scale && kept[at].minimum == fit.minimum) return;
      ++at;
    }
    if (at == Keep) return;
    if (count < Keep) ++count;
    for (std::size_t i = count - 1; i > at; --i) kept[i] = kept[i - 1];
    kept[at] = fit;
  }
};

/// Which real scales and minimums are tried: `steps` ratios of the levels' range to the values', from `first` on, each
/// with `shares` ways to divide what the levels leave out (or exceed) between both ends.
struct FitGrid {
  float first = 1.0f;
  float step = 0.0f;
  int steps = 0;
  int shares = 1;
};

/// Levels of a sub-block under a trial scale and minimum, and their sums.
template <class Levels, std::size_t N>
constexpr LevelSums trial_sums(const float* x, const float* w, const float* wx, float inverse, float minimum,
                               Rounded rounded) noexcept {
  alignas(64) std::array<float, N> levels;
  nearest_levels<Levels, N>(x, inverse, minimum, rounded, levels.data());
  return level_sums<N>(w, wx, levels.data(), rounded);
}

/// Least squares for given levels: scale alone, or scale and minimum. A minimum below `lowest_minimum` becomes that.
struct LeastSquares {
  double weight = 0.0;
  double x = 0.0;
  double xx = 0.0;
  double inverse_weight = 0.0;
  Rounded rounded;

  [[nodiscard]] constexpr Fit scale_only(const LevelSums& s) const noexcept {
    if (!(s.ll > 0.0)) return {0.0f, 0.0f, 0.0f, xx};
    const double scale = s.xl / s.ll;
    return {static_cast<float>(scale), 0.0f, 0.0f, xx - rounded(scale * s.xl)};
  }
  [[nodiscard]] constexpr Fit scale_and_minimum(const LevelSums& s, bool signed_minimum) const noexcept {
    const double spread = rounded(weight * s.ll) - rounded(s.l * s.l);
    const double scale = spread > 0.0 ? (rounded(weight * s.xl) - rounded(x * s.l)) / spread : 0.0;
    const double minimum = (rounded(scale * s.l) - x) * inverse_weight;
    if ((minimum < 0.0 && !signed_minimum) || !(scale >= 0.0)) return scale_only(s);
    return {static_cast<float>(scale), static_cast<float>(minimum), static_cast<float>(s.l * inverse_weight),
            (xx - rounded(scale * s.xl)) + rounded(minimum * x)};
  }
};

template <std::size_t N>
constexpr LeastSquares least_squares(const float* x, const float* w, const float* wx, Rounded rounded) noexcept {
  alignas(64) std::array<float, N> xx;
  for (std::size_t i = 0; i < N; ++i) xx[i] = rounded(wx[i] * x[i]);
  const double weight = plain_sum<N>(w);
  return {weight, plain_sum<N>(wx), fold<N>(xx.data()), 1.0 / weight, rounded};
}

/// Moves a fit to a minimum of its error: levels for the scale, then the scale for the levels, and so on.
template <class Levels, std::size_t N, class Solve>
constexpr Fit settle(Fit fit, const float* x, const float* w, const float* wx, Rounded rounded,
                     Solve&& solve) noexcept {
  for (int round = 0; round < 4 && fit.scale != 0.0f; ++round) {
    const Fit next = solve(trial_sums<Levels, N>(x, w, wx, 1.0f / fit.scale, fit.minimum, rounded));
    if (!(next.error < fit.error)) break;
    fit = next;
  }
  return fit;
}

constexpr float size(float x) noexcept { return x < 0.0f ? -x : x; }

/// Fits of levels around zero to a sub-block: value = scale * level, the scale of either sign.
template <class Levels, std::size_t N, std::size_t Keep>
constexpr Fits<Keep> fit_scale(const float* x, const float* w, const float* wx, const FitGrid& grid,
                               Rounded rounded) noexcept {
  const LeastSquares solver = least_squares<N>(x, w, wx, rounded);
  const auto solve = [&](const LevelSums& sums) { return solver.scale_only(sums); };
  float peak = 0.0f;
  for (std::size_t i = 0; i < N; ++i) peak = size(x[i]) > size(peak) ? x[i] : peak;
  Fits<Keep> best, trials;
  if (peak == 0.0f) {
    best.offer({});
    return best;
  }
  for (const float end : {Levels::lowest, Levels::highest})
    for (int step = 0; step < grid.steps; ++step) {
      const float ratio = rounded(grid.step * static_cast<float>(step)) + grid.first;
      trials.offer(solve(trial_sums<Levels, N>(x, w, wx, end * ratio / peak, 0.0f, rounded)));
    }
  for (std::size_t k = 0; k < trials.count; ++k)
    best.offer(settle<Levels, N>(trials.kept[k], x, w, wx, rounded, solve));
  return best;
}

/// Fits of levels from zero up to a sub-block: value = scale * level - minimum, the scale not negative, nor the minimum
/// unless it may be.
template <class Levels, std::size_t N, std::size_t Keep>
constexpr Fits<Keep> fit_scale_and_minimum(const float* x, const float* w, const float* wx, const FitGrid& grid,
                                           bool signed_minimum, Rounded rounded) noexcept {
  const LeastSquares solver = least_squares<N>(x, w, wx, rounded);
  const auto solve = [&](const LevelSums& sums) { return solver.scale_and_minimum(sums, signed_minimum); };
  float lowest = signed_minimum ? x[0] : 0.0f, highest = x[0];
  for (std::size_t i = 0; i < N; ++i) {
    lowest = x[i] < lowest ? x[i] : lowest;
    highest = x[i] > highest ? x[i] : highest;
  }
  Fits<Keep> best, trials;
  if (!(highest > lowest)) {
    best.offer({0.0f, -lowest, 0.0f, 0.0});
    // One value: small levels above a minimum make up for the rounding of the minimum to f16.
    if (signed_minimum)
      for (const float share : {0x1p-11f, 0x1p-10f})
        best.offer({size(lowest) * share / Levels::highest, rounded(size(lowest) * share * 0.5f) - lowest, 0.0f, 0.0});
    return best;
  }
  const float width = highest - lowest;
  for (int step = 0; step < grid.steps; ++step) {
    const float ratio = rounded(grid.step * static_cast<float>(step)) + grid.first;
    const float inverse = Levels::highest * ratio / width;
    // The levels span less than the values do, or more: the difference may lie below, above, or on both sides.
    for (int k = 0; k < grid.shares; ++k) {
      const float share = grid.shares > 1 ? static_cast<float>(k) / static_cast<float>(grid.shares - 1) : 0.0f;
      const float skipped = rounded(share * (width - width / ratio));
      trials.offer(solve(trial_sums<Levels, N>(x, w, wx, inverse, -(lowest + skipped), rounded)));
    }
  }
  for (std::size_t k = 0; k < trials.count; ++k)
    best.offer(settle<Levels, N>(trials.kept[k], x, w, wx, rounded, solve));
  return best;
}

}  // namespace pare::gguf::detail
