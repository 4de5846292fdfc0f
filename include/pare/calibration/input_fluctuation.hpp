#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string>
#include <utility>

#include "pare/calibration/finite.hpp"
#include "pare/tensor/tensor.hpp"

namespace pare {

/// What FLAP and Wanda know of a layer's inputs, gathered one sample (a sequence, an image) at a time: for each channel
/// the mean, the fluctuation about it and the sum of squares. O(channels) memory.
///
/// The fluctuation follows FLAP's published code rather than its formula: the first sample adds nothing, sample s (from
/// 0) adds the sum of (x - mean)^2 over its tokens, by the mean including it, divided by s + 1, after what was there is
/// multiplied by (s - 1) / s. So it depends on the order of the samples and cannot be merged.
class InputFluctuation {
 public:
  /// The statistics of no input yet.
  static Result<InputFluctuation> create(std::size_t channels, std::pmr::memory_resource* memory = nullptr) {
    auto rows = Matrix<double>::create({3, channels}, memory);
    if (!rows) return std::move(rows).error();
    return InputFluctuation(*std::move(rows));
  }

  /// What samples(), mean(), fluctuation() and squares() saved. Errors: other numbers of channels, a value that is not
  /// finite, a fluctuation or a sum of squares below 0, out_of_memory.
  static Result<InputFluctuation> restore(std::uint64_t samples, std::span<const double> mean,
                                          std::span<const double> fluctuation, std::span<const double> squares,
                                          std::pmr::memory_resource* memory = nullptr) {
    if (fluctuation.size() != mean.size() || squares.size() != mean.size())
      return Error{ErrorCode::invalid_argument, "pare: the statistics of inputs are of different numbers of channels"};
    for (std::size_t c = 0; c < mean.size(); ++c)
      if (!(std::isfinite(mean[c]) && std::isfinite(fluctuation[c]) && std::isfinite(squares[c]) &&
            fluctuation[c] >= 0.0 && squares[c] >= 0.0))
        return Error{ErrorCode::invalid_argument,
                     "pare: the statistics of input " + std::to_string(c) + " contradict themselves"};
    auto inputs = create(mean.size(), memory);
    if (!inputs) return inputs;
    std::copy(mean.begin(), mean.end(), inputs->rows_.row(0).begin());
    std::copy(fluctuation.begin(), fluctuation.end(), inputs->rows_.row(1).begin());
    std::copy(squares.begin(), squares.end(), inputs->rows_.row(2).begin());
    inputs->samples_ = samples;
    return inputs;
  }

  /// Adds the tokens [tokens, channels] of one sample. The result does not depend on the executor. Errors: another
  /// number of channels, no token, an activation that is not finite (nothing is added then).
  Result<void> add(MatrixView<const float> tokens, const Options& options = {}) {
    if (tokens.cols != channels())
      return detail::shape_error("the activations", tokens.shape(), {tokens.rows, channels()});
    if (tokens.rows == 0) return Error{ErrorCode::invalid_argument, "pare: a sample needs at least one token"};
    if (Result<void> ok = check_finite(tokens, "the activations"); !ok) return ok;
    const auto s = static_cast<double>(samples_);
    constexpr std::size_t panel = 256;
    options.executor(ceil_div(channels(), panel), [&](std::size_t task) {
      for (std::size_t c = task * panel; c < std::min(channels(), (task + 1) * panel); ++c) {
        double sum = 0.0, squares = 0.0, about = 0.0;
        for (std::size_t t = 0; t < tokens.rows; ++t) {
          const double x = tokens(t, c);
          sum += x;
          squares += x * x;
        }
        const double mean = (rows_(0, c) * s + sum / static_cast<double>(tokens.rows)) / (s + 1.0);
        for (std::size_t t = 0; t < tokens.rows; ++t) about += (tokens(t, c) - mean) * (tokens(t, c) - mean);
        rows_(0, c) = mean;
        rows_(1, c) = samples_ == 0 ? 0.0 : rows_(1, c) * (s - 1.0) / s + about / (s + 1.0);
        rows_(2, c) += squares;
      }
    });
    ++samples_;
    return {};
  }

  [[nodiscard]] std::size_t channels() const noexcept { return rows_.cols(); }
  [[nodiscard]] std::uint64_t samples() const noexcept { return samples_; }
  /// The mean over the samples of their means over tokens.
  [[nodiscard]] std::span<const double> mean() const noexcept { return rows_.row(0); }
  /// FLAP's fluctuation, 0 where fewer than two samples were seen.
  [[nodiscard]] std::span<const double> fluctuation() const noexcept { return rows_.row(1); }
  /// The sums of squares over all tokens.
  [[nodiscard]] std::span<const double> squares() const noexcept { return rows_.row(2); }
  /// The l2 norm of each channel over all tokens, which Wanda takes. Error: out_of_memory.
  [[nodiscard]] Result<Array<float>> norms(std::pmr::memory_resource* memory = nullptr) const {
    auto result = Array<float>::create(channels(), memory);
    if (result)
      for (std::size_t c = 0; c < result->size(); ++c) (*result)[c] = static_cast<float>(std::sqrt(squares()[c]));
    return result;
  }

 private:
  explicit InputFluctuation(Matrix<double> rows) : rows_(std::move(rows)) {}

  Matrix<double> rows_;  ///< mean, fluctuation, squares
  std::uint64_t samples_ = 0;
};

}  // namespace pare
