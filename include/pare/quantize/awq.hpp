#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "pare/quantize/awq_clip.hpp"
#include "pare/quantize/output_error.hpp"
#include "pare/quantize/round_to_nearest.hpp"

namespace pare {

/// What AWQ multiplies the input channels of some layers by.
struct AwqScales {
  Array<float> scales;   ///< one for each channel, their largest and smallest with a product of 1
  double ratio = 0.0;    ///< the exponent that the search chose
  Array<double> losses;  ///< of each exponent that was tried, in order; the first is rounding to nearest
};

/// A layer that AWQ quantized: the codes are of the clipped weights times their scales, so the weight of column c is
/// codes.value(r, c) / scales[c].
struct AwqMatrix {
  CodedMatrix matrix;
  Matrix<float> limits;  ///< [out, groups], at which weights times scales were clipped; empty without a search
};

/// The loss of layers, of which the weights are given in order: how far from its output the block that holds them gets.
using AwqLoss = FunctionRef<Result<double>(SharedInput)>;

/// Activation-aware quantization (Lin et al., AWQ, 2023): channels with large inputs get finer steps. Layers that share
/// an input are multiplied by scales = max(mean |input|^ratio, 1e-4), divided by sqrt(largest * smallest of them), and
/// what produces the input is divided by them (divide_outputs). `search` tries the ratios 0, 1 / steps, 2 / steps, ...
/// below 1; `quantize` rounds, after a search for clipping.
struct Awq {
  int steps = 20;            ///< ratios to try
  int clip_steps = 20;       ///< AwqClip's; 0 for layers not to be clipped, as AWQ leaves those of queries and keys
  double clip_shrink = 0.5;  ///< AwqClip's
  std::size_t group = 128;   ///< columns of a row that share a scale; 0: all of them. A Scheme's grid has its own.

  /// The scales of the least loss, the first of equals, for layers [out, in] and the mean magnitude of each input
  /// channel. Keeps a copy of all layers as scratch. Reports its progress. Errors: weights that are not finite,
  /// magnitudes that are not finite and at least 0, numbers that do not fit together, a loss that was never finite,
  /// what the loss returns, cancelled.
  template <Grid G>
  Result<AwqScales> search(const G& grid, SharedInput layers, std::span<const float> magnitudes, AwqLoss loss,
                           const Options& options = {}) const {
    if (Result<void> ok = detail::check_linears(layers, magnitudes.size()); !ok) return std::move(ok).error();
    if (Result<void> ok = detail::check_channels(magnitudes, magnitudes.size(), "mean magnitudes", false); !ok)
      return std::move(ok).error();
    if (steps < 1) return Error{ErrorCode::invalid_argument, "pare: AWQ has at least one ratio to try"};
    AwqScales best;
    auto scales = Array<float>::create(magnitudes.size(), options.memory);
    if (!scales) return std::move(scales).error();
    best.scales = *std::move(scales);
    auto losses = Array<double>::create(static_cast<std::size_t>(steps), options.memory);
    if (!losses) return std::move(losses).error();
    best.losses = *std::move(losses);
    std::vector<Matrix<float>> rounded;
    for (const MatrixView<const float>& weights : layers) {
      auto copy = Matrix<float>::create(weights.shape(), options.memory);
      if (!copy) return std::move(copy).error();
      rounded.push_back(*std::move(copy));
    }
    const std::vector<MatrixView<const float>> views(rounded.begin(), rounded.end());

    ProgressMeter meter(options.progress, best.losses.size());
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t step = 0; step < best.losses.size(); ++step) {
      const double ratio = static_cast<double>(step) / steps;
      fill_scales(magnitudes, ratio, best.scales.values());
      for (std::size_t i = 0; i < layers.size(); ++i)
        if (Result<void> ok = round_scaled(grid, layers[i], best.scales.values(), rounded[i], options); !ok)
          return std::move(ok).error();
      const Result<double> reached = loss(SharedInput(views));
      if (!reached) return reached.error();
      best.losses[step] = *reached;
      if (*reached < least) {
        least = *reached;
        best.ratio = ratio;
      }
      meter.advance(1);
      if (Result<void> ok = meter.status(); !ok) return std::move(ok).error();
    }
    if (!(least < std::numeric_limits<double>::infinity()))
      return Error{ErrorCode::invalid_argument, "pare: AWQ's loss is not a finite number at any ratio"};
    fill_scales(magnitudes, best.ratio, best.scales.values());
    return best;
  }

  /// The same with the mean squared error of the layers' own outputs as the loss, by the moment of their input:
  /// O(steps * out * in^2).
  template <Grid G, class Real>
  Result<AwqScales> search(const G& grid, SharedInput layers, std::span<const float> magnitudes,
                           const SecondMoment<Real>& moment, const Options& options = {}) const {
    if (Result<void> ok = check_moment(moment, magnitudes.size()); !ok) return std::move(ok).error();
    double outputs = 0.0;
    for (const MatrixView<const float>& weights : layers) outputs += static_cast<double>(weights.rows);
    const auto loss = [&](SharedInput rounded) -> Result<double> {
      double sum = 0.0;
      for (std::size_t i = 0; i < rounded.size(); ++i) {
        const Result<double> error = output_error(layers[i], rounded[i], moment, options);
        if (!error) return error;
        sum += *error;
      }
      return outputs == 0.0 ? 0.0 : sum / (outputs * static_cast<double>(moment.tokens()));
    };
    return search(grid, layers, magnitudes, loss, options);
  }

  /// The codes of one layer times the scales, clipped where that is better. Errors: numbers that do not fit together,
  /// weights that are not finite or too large for their scales, scales that are not finite and positive.
  template <Grid G, class Real>
  Result<AwqMatrix> quantize(const G& grid, MatrixView<const float> weights, std::span<const float> scales,
                             const SecondMoment<Real>& moment, const Options& options = {}) const {
    if (Result<void> ok = check_moment(moment, weights.cols); !ok) return std::move(ok).error();
    if (Result<void> ok = check_finite(weights, "the weight"); !ok) return std::move(ok).error();
    auto scaled = Matrix<float>::copy(weights, options.memory);
    if (!scaled) return std::move(scaled).error();
    if (Result<void> ok = scale_inputs(*scaled, scales); !ok) return std::move(ok).error();
    AwqMatrix result;
    if (clip_steps > 0) {
      const AwqClip clip{.steps = clip_steps, .shrink = clip_shrink, .group = group};
      auto limits = clip(grid, std::as_const(*scaled).view(), moment, scales, options);
      if (!limits) return std::move(limits).error();
      if (Result<void> ok = clip_groups(*scaled, *limits, block_shape(grid, weights.shape(), group).cols); !ok)
        return std::move(ok).error();
      result.limits = *std::move(limits);
    }
    auto matrix = RoundToNearest{.group = group}(grid, std::as_const(*scaled).view(), options);
    if (!matrix) return std::move(matrix).error();
    result.matrix = *std::move(matrix);
    return result;
  }

 private:
  template <class Real>
  static Result<void> check_moment(const SecondMoment<Real>& moment, std::size_t channels) {
    if (moment.channels() != channels)
      return Error{ErrorCode::invalid_argument, "pare: the moment is of " + std::to_string(moment.channels()) +
                                                    " channels, the weights have " + std::to_string(channels)};
    if (moment.tokens() == 0)
      return Error{ErrorCode::invalid_argument, "pare: AWQ needs inputs: the moment has seen no token"};
    return {};
  }

  static void fill_scales(std::span<const float> magnitudes, double ratio, std::span<float> scales) {
    double largest = 0.0, smallest = std::numeric_limits<double>::infinity();
    for (std::size_t c = 0; c < scales.size(); ++c) {
      scales[c] = std::max(static_cast<float>(std::pow(static_cast<double>(magnitudes[c]), ratio)), 1e-4f);
      largest = std::max(largest, static_cast<double>(scales[c]));
      smallest = std::min(smallest, static_cast<double>(scales[c]));
    }
    const auto middle = static_cast<float>(std::sqrt(largest * smallest));
    for (float& scale : scales) scale /= middle;
  }

  /// round(weights * scales) / scales.
  template <Grid G>
  Result<void> round_scaled(const G& grid, MatrixView<const float> weights, std::span<const float> scales,
                            Matrix<float>& rounded, const Options& options) const {
    for (std::size_t r = 0; r < weights.rows; ++r)
      for (std::size_t c = 0; c < weights.cols; ++c) rounded(r, c) = weights(r, c) * scales[c];
    const auto matrix = RoundToNearest{.group = group}(grid, std::as_const(rounded).view(), options);
    if (!matrix) return matrix.error();
    for (std::size_t r = 0; r < weights.rows; ++r)
      for (std::size_t c = 0; c < weights.cols; ++c) rounded(r, c) = matrix->value(r, c) / scales[c];
    return {};
  }
};

}  // namespace pare
