#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <span>
#include <utility>

#include "pare/quantize/additive_codes.hpp"
#include "pare/quantize/additive_gradient.hpp"
#include "pare/quantize/kmeans.hpp"

namespace pare {

/// A layer of additive codebooks, and how training went.
struct AdditiveResult {
  AdditiveMatrix matrix;
  double first_loss = 0.0;  ///< the mean over tokens and outputs of the squared error of the start
  double loss = 0.0;        ///< the same of the result
  int epochs = 0;           ///< of training
};

/// Additive quantization (Egiazarian et al., AQLM, 2024): a group of weights is the sum of one vector out of each of
/// some codebooks, times its row's scale. Residual k-means gives the start; then the codebooks and scales are trained
/// by Adam for a while, codes are searched again, and so on until the error hardly falls.
struct AdditiveQuantizer {
  std::size_t codebooks = 1;
  int bits = 8;                ///< of a code, 1 to 16: a codebook has 2^bits vectors
  std::size_t group = 8;       ///< columns of a row that share codes; divides the columns
  std::size_t beam = 1;        ///< AdditiveBeamSearch's
  int start_iterations = 100;  ///< of k-means, at most
  std::uint64_t seed = 0;      ///< of the points that k-means begins with
  double learning_rate = 1e-4;
  int steps = 100;          ///< of Adam in an epoch, which then ends with a search for codes
  int epochs = 1000;        ///< at most
  double tolerance = 0.01;  ///< by less than this part of it the loss has to fall in an epoch for training to end

  /// The start: scales are the rows' norms, and each codebook holds the clusters of what those before it leave of the
  /// scaled groups; fewer groups than vectors leave vectors of zeros. Distances are computed in `Real`. O(codebooks *
  /// start_iterations * out * in * 2^bits). Reports its progress after each codebook. Errors: weights that are
  /// not finite, a group that does not divide the columns, options out of range, out_of_memory, cancelled.
  template <class Real = float>
  Result<AdditiveMatrix> start(MatrixView<const float> weights, const Options& options = {}) const {
    if (codebooks == 0 || bits < 1 || bits > 16 || group == 0 || weights.cols % group != 0)
      return Error{ErrorCode::invalid_argument,
                   "pare: additive quantization needs codebooks of 1 to 16 bits and a group that divides " +
                       std::to_string(weights.cols) + " columns"};
    if (Result<void> ok = check_finite(weights, "the weight"); !ok) return std::move(ok).error();
    AdditiveMatrix matrix{.shape = weights.shape(),
                          .group = {1, group},
                          .codebooks = codebooks,
                          .vectors = std::size_t{1} << bits,
                          .codes_memory = {},
                          .values_memory = {},
                          .scales_memory = {},
                          .value_type = ScaleType::float32};
    if (Result<void> ok = allocate(matrix, options.memory); !ok) return std::move(ok).error();
    const std::size_t groups = weights.rows * (weights.cols / group);
    auto left = Matrix<float>::create({groups, group}, options.memory);
    if (!left) return std::move(left).error();
    const auto scales = detail::values_in<float>(matrix.scales_memory);
    for (std::size_t r = 0; r < weights.rows; ++r) {
      double squares = 0.0;
      for (std::size_t c = 0; c < weights.cols; ++c)
        squares += static_cast<double>(weights(r, c)) * static_cast<double>(weights(r, c));
      scales[r] = static_cast<float>(std::sqrt(squares)) + 1e-9f;
      for (std::size_t c = 0; c < weights.cols; ++c) left->values()[r * weights.cols + c] = weights(r, c) / scales[r];
    }
    const auto codes = detail::values_in<std::uint16_t>(matrix.codes_memory);
    const auto values = detail::values_in<float>(matrix.values_memory);
    std::fill(values.begin(), values.end(), 0.0f);
    ProgressMeter meter(options.progress, codebooks);
    for (std::size_t m = 0; m < codebooks && groups > 0; ++m) {
      auto points =
          random_points(std::as_const(*left).view(), std::min(groups, matrix.vectors), seed + m, options.memory);
      if (!points) return std::move(points).error();
      const KMeans algorithm{.iterations = start_iterations};
      const auto clusters =
          algorithm.operator()<Real>(std::as_const(*left).view(), std::as_const(*points).view(), options);
      if (!clusters) return clusters.error();
      const std::span<const float> centers = clusters->centers.values();
      std::copy(centers.begin(), centers.end(), values.data() + m * matrix.vectors * group);
      for (std::size_t i = 0; i < groups; ++i) {
        const std::uint32_t code = clusters->assignments[i];
        codes[i * codebooks + m] = static_cast<std::uint16_t>(code);
        for (std::size_t d = 0; d < group; ++d) (*left)(i, d) -= clusters->centers(code, d);
      }
      meter.advance(1);
      if (Result<void> ok = meter.status(); !ok) return std::move(ok).error();
    }
    return matrix;
  }

  /// Trains what `start` or another file gave, for weights [out, in] of a layer whose inputs had this moment. O(epochs
  /// * (steps * out * in^2 + search)). Nothing depends on the executor. Reports its progress, in which
  /// all epochs count though few may be needed. Errors: those of AdditiveBeamSearch, options out of range, a loss that
  /// is not finite, cancelled.
  template <class Real>
  Result<AdditiveResult> train(MatrixView<const float> weights, const SecondMoment<Real>& moment, AdditiveMatrix matrix,
                               const Options& options = {}) const {
    if (Result<void> ok = detail::check_additive(weights, moment, matrix); !ok) return std::move(ok).error();
    if (!(learning_rate > 0.0) || steps < 1 || epochs < 0 || !(tolerance >= 0.0))
      return Error{ErrorCode::invalid_argument, "pare: training needs a positive learning rate, steps and a tolerance"};
    AdditiveResult result{std::move(matrix)};
    if (weights.empty()) return result;
    auto gradient = detail::AdditiveGradient<Real>::create(result.matrix, options.memory);
    if (!gradient) return std::move(gradient).error();
    auto books = detail::Adam::create(gradient->values().size(), learning_rate, options.memory);
    if (!books) return std::move(books).error();
    auto scales = detail::Adam::create(gradient->scales().size(), learning_rate, options.memory);
    if (!scales) return std::move(scales).error();
    ProgressMeter meter(options.progress, static_cast<std::uint64_t>(epochs) * static_cast<std::uint64_t>(steps));
    double least = std::numeric_limits<double>::infinity();
    for (;; ++result.epochs) {
      for (int step = 0; step < steps; ++step) {
        const double loss = gradient->compute(weights, moment, result.matrix, options.executor);
        if (!(loss - loss == 0.0))
          return Error{ErrorCode::invalid_argument,
                       "pare: the loss of additive quantization is not finite; lower the learning rate"};
        if (step == 0) {
          if (result.epochs == 0) result.first_loss = loss;
          result.loss = loss;
          if (result.epochs >= epochs || loss == 0.0 || loss / least > 1.0 - tolerance) return result;
          least = std::min(least, loss);
        }
        books->update(detail::values_in<float>(result.matrix.values_memory), gradient->values());
        scales->update(detail::values_in<float>(result.matrix.scales_memory), gradient->scales());
        meter.advance(1);
        if (Result<void> ok = meter.status(); !ok) return std::move(ok).error();
      }
      if (Result<void> ok = AdditiveBeamSearch{.beam = beam}(weights, moment, result.matrix, options); !ok)
        return std::move(ok).error();
    }
  }

  /// Starts and trains; the start is the first tenth of the progress.
  template <class Real>
  Result<AdditiveResult> operator()(MatrixView<const float> weights, const SecondMoment<Real>& moment,
                                    const Options& options = {}) const {
    const ProgressPart starting(options.progress, 0.0, 0.1), training(options.progress, 0.1, 1.0);
    auto matrix = start(weights, {options.executor, options.memory, starting});
    if (!matrix) return std::move(matrix).error();
    return train(weights, moment, *std::move(matrix), {options.executor, options.memory, training});
  }

 private:
  static Result<void> allocate(AdditiveMatrix& matrix, std::pmr::memory_resource* memory) {
    std::size_t codes = 0, values = 0;
    if (!checked_multiply(matrix.shape.rows * matrix.grid().cols, matrix.codebooks * sizeof(std::uint16_t), codes) ||
        !checked_multiply(matrix.vectors * matrix.group.cols, matrix.codebooks * sizeof(float), values))
      return Error{ErrorCode::invalid_argument, "pare: so many codebooks are more than memory can be"};
    const auto make = [&](Buffer& target, std::size_t bytes) -> Result<void> {
      auto buffer = Buffer::allocate(bytes, memory);
      if (!buffer) return std::move(buffer).error();
      target = *std::move(buffer);
      return {};
    };
    if (Result<void> ok = make(matrix.codes_memory, codes); !ok) return ok;
    if (Result<void> ok = make(matrix.values_memory, values); !ok) return ok;
    return make(matrix.scales_memory, matrix.shape.rows * sizeof(float));
  }
};

}  // namespace pare
