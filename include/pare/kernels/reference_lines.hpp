#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "pare/formats/formats.hpp"

namespace pare {

/// Which scales and minimums fit_lines starts from: `steps` ratios of the levels' range to the values', from `first`
/// on, each of them `places` times.
struct LineTrials {
  float lowest = 0.0f;   ///< level
  float highest = 0.0f;  ///< level
  float first = 1.0f;
  float step = 0.0f;
  int steps = 1;
  int places = 1;  ///< with minimums: ways to divide what the levels leave out of the range between both ends
  bool has_minimum = false;

  /// One trial: levels are round((x - lowest value - skipped * width) * inverse / width) with minimums, where width is
  /// that of the values' range, and round(x * inverse / peak) without, where peak is the value farthest from 0.
  struct Trial {
    float inverse;
    float skipped;
  };
  [[nodiscard]] constexpr int count() const noexcept { return steps * (has_minimum ? places : 2); }
  [[nodiscard]] Trial operator[](int i) const noexcept {
    const int of_step = has_minimum ? places : 2, index = i / of_step, place = i % of_step;
    const float ratio = std::fma(step, static_cast<float>(index), first);
    if (!has_minimum) return {(place == 0 ? lowest : highest) * ratio, 0.0f};
    const float share = places > 1 ? static_cast<float>(place) / static_cast<float>(places - 1) : 0.0f;
    return {highest * ratio, share * (1.0f - 1.0f / ratio)};
  }
};

/// The scalar definition of the kernels that hold groups of values by lines: value = level * scale - minimum.
struct ReferenceLines {
  static constexpr float line_magic = 12582912.0f;  ///< 1.5 * 2^23: adding it leaves the nearest integer
  /// Weights below this part of a group's largest count as much.
  static constexpr float least_line_weight = 0x1p-30f;
  /// The most values of a group.
  static constexpr std::size_t line_values = 64;

  /// Bits of the powers of two that groups are divided by: that of the largest magnitude, within limits that leave it
  /// and its inverse, whose bits are line_exponents less its own, normal and the quotients finite.
  static constexpr std::uint32_t least_line_exponent = 24u << 23, most_line_exponent = 253u << 23;
  static constexpr std::uint32_t line_exponents = 254u << 23;

  /// For each of `count` groups of n <= line_values finite values, one group after the other, the scale and (where
  /// trials have minimums, not below 0) the minimum of value = level * scale - minimum with a small sum of
  /// weight * error^2: of all trials' levels the ones whose least-squares line errs least. `weights`, finite and not
  /// negative, one for each value, or null: all alike. Products join sums by fused multiply-adds, in the order of the
  /// values.
  static void fit_lines(const float* x, const float* weights, std::size_t count, std::size_t n,
                        const LineTrials& trials, float* scales, float* minimums) noexcept {
    for (std::size_t g = 0; g < count; ++g) {
      Group group(x + g * n, weights == nullptr ? nullptr : weights + g * n, n);
      const Line line = group.fit(trials);
      const float unit = detail::bits_float(group.exponent);
      scales[g] = line.scale * unit;
      if (trials.has_minimum) minimums[g] = line.minimum * unit;
    }
  }

  /// 1 / scale, and 0 where the scale is below the smallest normal float.
  static float line_inverse(float scale) noexcept {
    return std::fabs(scale) >= std::numeric_limits<float>::min() ? 1.0f / scale : 0.0f;
  }

  /// The level nearest to each of `count` groups of n values, counted from the lowest, a byte for each value: that of
  /// (x + minimum) * (1 / scale), to even, and of 0 where the scale is below the smallest normal float. `minimums` may
  /// be null: none.
  static void encode_lines(const float* x, std::size_t count, std::size_t n, const float* scales, const float* minimums,
                           float lowest, float highest, std::uint8_t* codes) noexcept {
    for (std::size_t i = 0; i < count * n; ++i) {
      const float inverse = line_inverse(scales[i / n]);
      const float above = x[i] + (minimums == nullptr ? 0.0f : minimums[i / n]);
      const float nearest = inverse != 0.0f ? std::fma(above, inverse, line_magic) - line_magic : 0.0f;
      codes[i] = static_cast<std::uint8_t>(std::min(std::max(nearest, lowest), highest) - lowest);
    }
  }

 private:
  struct Line {
    float scale, minimum, error;
  };

  /// A group over powers of two of its largest value and weight, so that no sum overflows.
  struct Group {
    float v[line_values], w[line_values];
    std::size_t n;
    std::uint32_t exponent;
    float lowest = 0.0f, highest, weight = 0.0f, wx = 0.0f, wxx = 0.0f;

    static std::uint32_t exponent_of(const float* p, std::size_t n) noexcept {
      std::uint32_t magnitude = 0;
      for (std::size_t i = 0; i < n; ++i)
        magnitude = std::max(magnitude, detail::float_bits(p[i]) & ~detail::sign_mask);
      return std::clamp(magnitude & detail::infinity_bits, least_line_exponent, most_line_exponent);
    }

    Group(const float* x, const float* weights, std::size_t count) noexcept : n(count), exponent(exponent_of(x, n)) {
      const float unit = detail::bits_float(line_exponents - exponent);
      const float weight_unit =
          weights == nullptr ? 1.0f : detail::bits_float(line_exponents - exponent_of(weights, n));
      highest = -std::numeric_limits<float>::max();
      for (std::size_t i = 0; i < n; ++i) {
        v[i] = x[i] * unit;
        w[i] = weights == nullptr ? 1.0f : std::max(weights[i] * weight_unit, least_line_weight);
        lowest = std::min(lowest, v[i]);
        highest = std::max(highest, v[i]);
        weight += w[i];
        wx = std::fma(w[i], v[i], wx);
        wxx = std::fma(w[i] * v[i], v[i], wxx);
      }
    }

    [[nodiscard]] Line fit(const LineTrials& trials) const noexcept {
      const bool lower = -lowest > highest;
      const float width = trials.has_minimum ? highest - lowest : lower ? lowest : highest;
      Line best{0.0f, 0.0f, std::numeric_limits<float>::infinity()};
      for (int t = 0; t < trials.count(); ++t) {
        const LineTrials::Trial trial = trials[t];
        const float inverse = width != 0.0f ? trial.inverse / width : 0.0f;
        const float base = trials.has_minimum ? std::fma(trial.skipped, width, lowest) : 0.0f;
        float l = 0.0f, ll = 0.0f, xl = 0.0f;
        for (std::size_t i = 0; i < n; ++i) {
          const float nearest = std::fma(v[i] - base, inverse, line_magic) - line_magic;
          const float level = std::min(std::max(nearest, trials.lowest), trials.highest);
          l = std::fma(w[i], level, l);
          ll = std::fma(w[i] * level, level, ll);
          xl = std::fma(w[i] * v[i], level, xl);
        }
        const Line line = solve(l, ll, xl, trials.has_minimum);
        if (line.error < best.error) best = line;
      }
      return best;
    }

    /// Least squares for levels with these sums.
    [[nodiscard]] Line solve(float l, float ll, float xl, bool has_minimum) const noexcept {
      float scale = 0.0f, minimum = 0.0f;
      if (has_minimum) {
        const float spread = std::fma(-l, l, weight * ll);
        scale = spread > 0.0f ? std::fma(-wx, l, weight * xl) / spread : 0.0f;
        minimum = std::fma(scale, l, -wx) / weight;
      }
      if (!has_minimum || minimum < 0.0f || scale < 0.0f) {
        scale = ll > 0.0f ? xl / ll : 0.0f;
        minimum = 0.0f;
        if (has_minimum) scale = std::max(scale, 0.0f);
      }
      return {scale, minimum, std::fma(minimum, wx, std::fma(-scale, xl, wxx))};
    }
  };
};

}  // namespace pare
