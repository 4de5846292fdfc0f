#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <numeric>
#include <span>
#include <string>
#include <utility>

#include "pare/calibration/calibration.hpp"

namespace pare {

/// What NNCF's criteria of mixed precision ask of a layer's inputs, gathered one sample (a sequence) at a time.
class InputSensitivity {
 public:
  /// Adds the tokens [tokens, channels] of one sample. Errors: no values, a value that is not finite.
  Result<void> add(MatrixView<const float> tokens) {
    if (tokens.empty()) return Error{ErrorCode::invalid_argument, "pare: a sample without values has no variance"};
    if (Result<void> ok = check_finite(tokens, "the activations"); !ok) return ok;
    const auto rows = static_cast<double>(tokens.rows), cols = static_cast<double>(tokens.cols);
    double squares = 0.0, variances = 0.0, largest_variance = 0.0, magnitudes = 0.0;
    for (std::size_t c = 0; c < tokens.cols; ++c) {
      double sum = 0.0, deviations = 0.0, magnitude = 0.0;
      for (std::size_t t = 0; t < tokens.rows; ++t) {
        const auto x = static_cast<double>(tokens(t, c));
        sum += x;
        squares += x * x;
        magnitude = std::max(magnitude, std::fabs(x));
      }
      for (std::size_t t = 0; t < tokens.rows; ++t) {
        const double deviation = static_cast<double>(tokens(t, c)) - sum / rows;
        deviations += deviation * deviation;
      }
      variances += deviations / rows;
      largest_variance = std::max(largest_variance, deviations / rows);
      magnitudes += magnitude;
    }
    // As NNCF has it: every earlier sample is divided again.
    trace_ = (trace_ + squares) / (rows * cols);
    variances_ += variances / cols;
    largest_variances_ += largest_variance;
    magnitudes_ += magnitudes / cols;
    ++samples_;
    return {};
  }

  [[nodiscard]] std::uint64_t samples() const noexcept { return samples_; }
  /// NNCF's stand-in for the trace of the Hessian, in which a sample counts for less the earlier it came; 0 before the
  /// first sample, as the others.
  [[nodiscard]] double hessian_trace() const noexcept { return average(2.0 * trace_); }
  /// The mean over samples of the mean over channels of the variance over tokens.
  [[nodiscard]] double mean_variance() const noexcept { return average(variances_); }
  /// The mean over samples of the largest variance of a channel.
  [[nodiscard]] double largest_variance() const noexcept { return average(largest_variances_); }
  /// The mean over samples of the mean over channels of the largest magnitude.
  [[nodiscard]] double mean_magnitude() const noexcept { return average(magnitudes_); }

 private:
  [[nodiscard]] double average(double sum) const noexcept {
    return samples_ == 0 ? 0.0 : sum / static_cast<double>(samples_);
  }

  double trace_ = 0.0, variances_ = 0.0, largest_variances_ = 0.0, magnitudes_ = 0.0;
  std::uint64_t samples_ = 0;
};

/// How far weights are from an approximation, as NNCF's criteria count it.
struct WeightError {
  double largest_mse = 0.0;  ///< the mean squared error of the row where it is largest
  double norm = 0.0;         ///< the Frobenius norm of the difference
};

/// Errors: shapes that differ, values that are not finite.
inline Result<WeightError> weight_error(MatrixView<const float> weights, MatrixView<const float> approximation) {
  if (approximation.shape() != weights.shape())
    return detail::shape_error("the approximation", approximation.shape(), weights.shape());
  if (Result<void> ok = check_finite(weights, "the weight"); !ok) return std::move(ok).error();
  if (Result<void> ok = check_finite(approximation, "the approximation"); !ok) return std::move(ok).error();
  WeightError error;
  if (weights.empty()) return error;
  double total = 0.0;
  for (std::size_t r = 0; r < weights.rows; ++r) {
    double sum = 0.0;
    for (std::size_t c = 0; c < weights.cols; ++c) {
      const double difference = static_cast<double>(weights(r, c)) - static_cast<double>(approximation(r, c));
      sum += difference * difference;
    }
    error.largest_mse = std::max(error.largest_mse, sum / static_cast<double>(weights.cols));
    total += sum;
  }
  error.norm = std::sqrt(total);
  return error;
}

/// NNCF's criteria for which layers bear 4 bits; all go by the error that rounding to 8 bits leaves.
enum class Sensitivity {
  weight_error,      ///< 1 / largest mean squared error of a row: needs no inputs
  hessian_trace,     ///< norm of the error * hessian_trace
  mean_variance,     ///< weight_error * mean_variance
  largest_variance,  ///< weight_error * largest_variance
  mean_magnitude,    ///< weight_error * mean_magnitude
};

/// A layer's score: layers of low scores are the first to lose bits.
inline double sensitivity(Sensitivity criterion, const WeightError& error, const InputSensitivity& inputs = {}) {
  const double inverse = 1.0 / (error.largest_mse + static_cast<double>(std::numeric_limits<float>::epsilon()));
  switch (criterion) {
    case Sensitivity::hessian_trace:
      return error.norm * inputs.hessian_trace();
    case Sensitivity::mean_variance:
      return inverse * inputs.mean_variance();
    case Sensitivity::largest_variance:
      return inverse * inputs.largest_variance();
    case Sensitivity::mean_magnitude:
      return inverse * inputs.mean_magnitude();
    case Sensitivity::weight_error:
      break;
  }
  return inverse;
}

/// Which layers get the lower precision: in ascending order of their scores (ties: the earlier first), as long as their
/// share of all weights stays below `ratio`. Errors: not as many sizes as scores, a score that is not a number, a ratio
/// beyond 0 to 1, out_of_memory.
inline Result<Array<bool>> choose_low_precision(std::span<const double> scores, std::span<const std::size_t> sizes,
                                                double ratio, std::pmr::memory_resource* memory = nullptr) {
  if (scores.size() != sizes.size())
    return Error{ErrorCode::invalid_argument, "pare: there are " + std::to_string(scores.size()) + " scores for " +
                                                  std::to_string(sizes.size()) + " layers"};
  if (!(ratio >= 0.0 && ratio <= 1.0) ||
      std::any_of(scores.begin(), scores.end(), [](double x) { return std::isnan(x); }))
    return Error{ErrorCode::invalid_argument, "pare: the choice of layers needs scores and a ratio of 0 to 1"};
  auto chosen = Array<bool>::create(scores.size(), memory);
  if (!chosen) return chosen;
  auto order = Array<std::size_t>::create(scores.size(), memory);
  if (!order) return std::move(order).error();
  std::iota(order->begin(), order->end(), std::size_t{0});
  std::sort(order->begin(), order->end(),
            [&](std::size_t a, std::size_t b) { return scores[a] < scores[b] || (scores[a] == scores[b] && a < b); });
  double total = 0.0, taken = 0.0;
  for (const std::size_t size : sizes) total += static_cast<double>(size);
  for (const std::size_t layer : *order) {
    taken += static_cast<double>(sizes[layer]);
    if (!(taken / total < ratio)) break;
    (*chosen)[layer] = true;
  }
  return chosen;
}

}  // namespace pare
