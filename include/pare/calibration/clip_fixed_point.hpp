#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "pare/calibration/finite.hpp"

namespace pare {

/// The clip s at which rounding to 2^bits levels over [-s, s] is expected to give the least squared error, found as the
/// fixed point of s = sum of |x| beyond s / (4^-bits / 3 * count of 0 < |x| <= s + count of |x| > s) from the mean of
/// |x| on (OCTAV: Sakr et al., "Optimal Clipping and Magnitude-aware Differentiation for Improved Quantization-aware
/// Training", 2022). Usually about ten passes over the values. 0 where all values are zero or there are none. Errors: a
/// value that is not finite, bits out of 1 .. 16.
inline Result<float> optimal_clip(MatrixView<const float> values, int bits, int most_passes = 100) {
  if (Result<void> ok = check_finite(values, "the values"); !ok) return std::move(ok).error();
  if (bits < 1 || bits > 16)
    return Error{ErrorCode::invalid_argument, "pare: a clip is for 1 to 16 bits, not " + std::to_string(bits)};
  const double rounding = std::pow(4.0, -bits) / 3.0;
  const auto sum_over = [&](double clip, double& beyond, double& within) {
    double sum = 0.0;
    for (std::size_t r = 0; r < values.rows; ++r)
      for (std::size_t c = 0; c < values.cols; ++c) {
        const auto x = static_cast<double>(std::fabs(values(r, c)));
        beyond += x > clip ? 1.0 : 0.0;
        within += x > 0.0 && x <= clip ? 1.0 : 0.0;
        sum += x > clip ? x : 0.0;
      }
    return sum;
  };
  double nonzero = 0.0, zero = 0.0;
  const double total = sum_over(0.0, nonzero, zero);
  if (nonzero == 0.0) return 0.0f;
  double clip = total / static_cast<double>(values.rows * values.cols);
  for (int pass = 0; pass < most_passes; ++pass) {
    double beyond = 0.0, within = 0.0;
    const double sum = sum_over(clip, beyond, within);
    const double next = sum / (rounding * within + beyond);
    if (next == clip) break;
    clip = next;
  }
  return static_cast<float>(clip);
}

}  // namespace pare
