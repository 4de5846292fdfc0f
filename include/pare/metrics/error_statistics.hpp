#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace pare {

/// The sums from which every error measure derives. Feeds on pairs of values, one at a time, and merges with the sums
/// of other rows, tensors or layers, so that a whole model is measured without holding it. Sums are doubles, which no
/// sum of squared floats overflows.
///
/// A NaN in either operand, or an infinity of the same sign in both, makes every measure NaN. Any other infinity makes
/// mse and max_error infinite, sqnr NaN or -infinity, and cosine NaN.
struct ErrorStatistics {
  std::uint64_t count = 0;
  double sum_squared_error = 0;
  double sum_squared_reference = 0;
  double sum_squared_approximation = 0;
  double sum_product = 0;
  double largest_error = 0;

  /// Takes in one pair.
  void add(float reference, float approximation) noexcept {
    const double x = reference;
    const double y = approximation;
    const double error = x - y;
    ++count;
    sum_squared_error += error * error;
    sum_squared_reference += x * x;
    sum_squared_approximation += y * y;
    sum_product += x * y;
    widen(std::fabs(error));
  }

  /// Takes in all pairs that `other` has seen.
  void merge(const ErrorStatistics& other) noexcept {
    count += other.count;
    sum_squared_error += other.sum_squared_error;
    sum_squared_reference += other.sum_squared_reference;
    sum_squared_approximation += other.sum_squared_approximation;
    sum_product += other.sum_product;
    widen(other.largest_error);
  }

  /// The mean squared error, in squared units of the values; 0 when nothing was added.
  [[nodiscard]] double mse() const noexcept {
    return count == 0 ? 0.0 : sum_squared_error / static_cast<double>(count);
  }

  /// The signal-to-quantization-noise ratio 10 log10(sum reference^2 / sum error^2) in dB: +infinity where the error is
  /// zero (also for an all-zero reference, or nothing added), -infinity where only the reference is zero.
  [[nodiscard]] double sqnr() const noexcept {
    if (sum_squared_error == 0) return std::numeric_limits<double>::infinity();
    return 10.0 * std::log10(sum_squared_reference / sum_squared_error);
  }

  /// The cosine of the angle between the two as vectors, in [-1, 1]: 1 where both are all zero, 0 where only one is.
  [[nodiscard]] double cosine() const noexcept {
    if (sum_squared_reference == 0 && sum_squared_approximation == 0) return 1.0;
    // The product is 0 as well, unless a NaN or an infinity on the other side made it NaN.
    if (sum_squared_reference == 0 || sum_squared_approximation == 0) return sum_product;
    const double lengths = std::sqrt(sum_squared_reference) * std::sqrt(sum_squared_approximation);
    return std::clamp(sum_product / lengths, -1.0, 1.0);
  }

  /// The largest absolute error; 0 when nothing was added.
  [[nodiscard]] double max_error() const noexcept { return largest_error; }

 private:
  // A NaN wins and stays: it is not less than anything, and nothing is greater than it.
  void widen(double error) noexcept {
    if (error > largest_error || std::isnan(error)) largest_error = error;
  }
};

}  // namespace pare
