#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "pare/quantize/round_to_nearest.hpp"
#include "pare/quantize/soft_rounding.hpp"

namespace pare {

/// What AdaRound gives. Losses are the squared error of the outputs of one token, on average.
struct AdaRoundResult {
  CodedMatrix matrix;
  double nearest_loss = 0.0;  ///< of each weight rounded to the nearest
  double loss = 0.0;
};

/// Learns for each weight whether to round it up or down, so that the layer's outputs change least (Nagel et al., "Up
/// or Down? Adaptive Rounding for Post-Training Quantization", 2020; as in BRECQ). The error is taken over all tokens
/// at once by their second moment, so that a step costs O(out * in^2) for any number of tokens and nothing is drawn at
/// random. Adam with its usual moments; a penalty that grows sharper makes the choices definite. 80 bytes of memory for
/// each weight.
struct AdaRound {
  std::size_t group = 0;  ///< columns of a row that share a scale; 0: all of them
  int iterations = 20000;
  double learning_rate = 1e-3;
  double penalty = 0.01;  ///< its weight against the error of the outputs
  double warmup = 0.2;    ///< the share of the iterations that goes without the penalty
  double first_sharpness = 20.0;
  double last_sharpness = 2.0;

  /// The codes of a matrix [out, in] on the grid that its weights ask for. Errors: those of RoundToNearest and of
  /// refine.
  template <Grid G, class Real>
  Result<AdaRoundResult> operator()(const G& grid, MatrixView<const float> weights, const SecondMoment<Real>& moment,
                                    const Options& options = {}) const {
    if constexpr (requires { typename G::format_type; })
      static_assert(IntegerFormat<typename G::format_type>,
                    "pare: AdaRound rounds between neighbouring integers: give it a scheme of integer codes, or use "
                    "Gptq or RoundToNearest for this one");
    auto start = RoundToNearest{.group = group}(grid, weights, options);
    if (!start) return std::move(start).error();
    return refine(*std::move(start), weights, moment, options);
  }

  /// Better codes for a matrix whose scales and zero points are settled. The result does not depend on the executor.
  /// Reports its progress. Errors: codes that are not integers with zero points, other shapes, a weight that is not
  /// finite, a moment of other channels or without tokens, options out of range, out_of_memory, cancelled.
  template <class Real>
  Result<AdaRoundResult> refine(CodedMatrix start, MatrixView<const float> weights, const SecondMoment<Real>& moment,
                                const Options& options = {}) const {
    if (Result<void> ok = check(start, weights, moment.channels(), moment.tokens()); !ok) return std::move(ok).error();
    AdaRoundResult result{std::move(start)};
    if (weights.empty()) return result;
    auto covariance = Matrix<double>::copy(moment.sum(), options.memory);
    if (!covariance) return std::move(covariance).error();
    for (double& x : covariance->values()) x /= static_cast<double>(moment.tokens());
    std::vector<Rows> panels;
    for (std::size_t begin = 0; begin < weights.rows; begin += panel_rows) {
      auto rows =
          SoftRows::create(result.matrix, weights, begin, std::min(panel_rows, weights.rows - begin), options.memory);
      if (!rows) return std::move(rows).error();
      panels.push_back({*std::move(rows)});
    }
    ProgressMeter meter(options.progress, panels.size() * static_cast<std::size_t>(iterations));
    options.executor(panels.size(), [&](std::size_t p) {
      Rows& panel = panels[p];
      panel.nearest_loss = panel.rows.rounded_error(*covariance);
      for (int i = 0; i < iterations && !meter.cancelled(); ++i) {
        panel.rows.differentiate(*covariance);
        step(panel.rows.weights(), i);
        meter.advance(1);
      }
      panel.loss = panel.rows.rounded_error(*covariance);
      panel.rows.store(result.matrix);
    });
    if (Result<void> ok = meter.status(); !ok) return std::move(ok).error();
    for (const Rows& panel : panels) {
      result.nearest_loss += panel.nearest_loss;
      result.loss += panel.loss;
    }
    return result;
  }

 private:
  static constexpr std::size_t panel_rows = 16;

  struct Rows {
    SoftRows rows;
    double nearest_loss = 0.0;
    double loss = 0.0;
  };

  /// Iteration i of Adam; the gradients are those of the squared error.
  void step(MatrixView<SoftWeight> weights, int i) const {
    const double start = warmup * iterations;
    const double progress = std::clamp((i - start) / std::max(iterations - start, 1.0), 0.0, 1.0);
    const double sharpness = first_sharpness + (last_sharpness - first_sharpness) * progress;
    const double strength = i < start ? 0.0 : penalty;
    const double mean_share = 1.0 - std::pow(0.9, i + 1), square_share = 1.0 - std::pow(0.999, i + 1);
    for (std::size_t r = 0; r < weights.rows; ++r)
      for (std::size_t c = 0; c < weights.cols; ++c) {
        SoftWeight& w = weights(r, c);
        double gradient = w.gradient;
        if (strength != 0.0) gradient += strength * SoftRounding::at(w.alpha).penalty_slope(sharpness);
        w.mean = 0.9 * w.mean + 0.1 * gradient;
        w.square = 0.999 * w.square + 0.001 * gradient * gradient;
        w.alpha -= learning_rate * (w.mean / mean_share) / (std::sqrt(w.square / square_share) + 1e-8);
      }
  }

  [[nodiscard]] Result<void> check(const CodedMatrix& start, MatrixView<const float> weights, std::size_t channels,
                                   std::uint64_t tokens) const {
    if (!start.format.integer || start.shift_kind != ShiftKind::zero_point)
      return Error{ErrorCode::unsupported,
                   "pare: AdaRound rounds between neighbouring integers, not between codes of " +
                       std::string(start.format.name) + "; use Gptq or RoundToNearest"};
    if (start.shape != weights.shape()) return detail::shape_error("the weight", weights.shape(), start.shape);
    if (channels != weights.cols)
      return detail::shape_error("the second moment", {channels, channels}, {weights.cols, weights.cols});
    if (tokens == 0)
      return Error{ErrorCode::invalid_argument, "pare: the second moment has no tokens; add activations first"};
    for (const double option : {learning_rate, penalty, warmup, first_sharpness, last_sharpness})
      if (!(option >= 0.0 && std::isfinite(option)) || iterations < 0 || warmup > 1.0)
        return Error{ErrorCode::invalid_argument,
                     "pare: AdaRound's rates, weights and counts must be finite and not negative, its warm-up a share"};
    return check_finite(weights, "the weight");
  }
};

}  // namespace pare
