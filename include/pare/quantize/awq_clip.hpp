#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <utility>

#include "pare/quantize/channel_scales.hpp"
#include "pare/quantize/grid.hpp"

namespace pare {

/// AWQ's search for the magnitude at which each block of weights is best clipped before it is quantized: of absmax * (1
/// - i / steps) for i = 0, 1, ... below shrink * steps, the one whose rounded weights give the least squared error of
/// the block's part of the output; the first of equals.
struct AwqClip {
  int steps = 20;           ///< none: nothing is clipped
  double shrink = 0.5;      ///< how much of the magnitude the search may give up, 0 to 1
  std::size_t group = 128;  ///< columns of a row that share a scale; 0: all of them

  /// The limits [out, groups] for weights [out, in]. `moment` is that of the layer's inputs before the weights were
  /// multiplied by `scales` (none: by 1) and the inputs divided by them. O(candidates * out * in * group), and a few
  /// rows of a group as scratch for each task. The result does not depend on the executor. Errors: shapes that differ,
  /// weights or scales that are not finite, a grid whose blocks span rows, out_of_memory.
  template <Grid G, class Real>
  Result<Matrix<float>> operator()(const G& grid, MatrixView<const float> weights, const SecondMoment<Real>& moment,
                                   std::span<const float> scales = {}, const Options& options = {}) const {
    const std::size_t channels = moment.channels();
    if (weights.cols != channels) return detail::shape_error("the weight", weights.shape(), {weights.rows, channels});
    if (Result<void> ok = check_finite(weights, "the weight"); !ok) return std::move(ok).error();
    if (!scales.empty())
      if (Result<void> ok = detail::check_channels(scales, channels, "scales", true); !ok) return std::move(ok).error();
    const Shape block = block_shape(grid, weights.shape(), group);
    if (block.rows != 1)
      return Error{ErrorCode::unsupported, "pare: clipping needs a grid whose scales are of one row each"};
    auto limits = Matrix<float>::create({weights.rows, ceil_div(channels, block.cols)}, options.memory);
    if (!limits || weights.empty()) return limits;

    const detail::RowTasks tasks(weights.shape(), 1);
    const std::size_t rows = tasks.rows_per_task, width = std::min(block.cols, channels);
    auto clipped = Matrix<float>::create({tasks.count, width}, options.memory);
    if (!clipped) return std::move(clipped).error();
    auto errors = Matrix<double>::create({tasks.count, rows}, options.memory);
    if (!errors) return std::move(errors).error();
    auto differences = Matrix<Real>::create({tasks.count * 2 * rows, width}, options.memory);
    if (!differences) return std::move(differences).error();
    options.executor(tasks.count, [&](std::size_t task) {
      for (std::size_t g = 0; g < limits->cols(); ++g) {
        const std::size_t first = task * rows, column = g * block.cols;
        const std::size_t height = std::min(rows, weights.rows - first);
        const std::size_t count = std::min(block.cols, channels - column);
        Real* const memory = differences->row(task * 2 * rows).data();
        const BlockTask<Real> block_task{
            .weights = {weights.data + first * weights.row_stride + column * weights.col_stride, height, count,
                        weights.row_stride, weights.col_stride},
            .moment = {moment.sum().row(column) + column, count, count, channels, 1},
            .scales = scales.empty() ? scales : scales.subspan(column, count),
            .clipped = clipped->row(task).first(count),
            .difference = {memory, height, count},
            .product = {memory + rows * width, height, count},
            .errors = errors->row(task),
            .limits = {&(*limits)(first, g), height, 1, limits->cols(), 1}};
        search(grid, block_task);
      }
    });
    return limits;
  }

 private:
  /// One group of columns in some rows: what is searched, where the limits go, and room to work.
  template <class Real>
  struct BlockTask {
    MatrixView<const float> weights;
    MatrixView<const Real> moment;
    std::span<const float> scales;
    std::span<float> clipped;
    MatrixView<Real> difference, product;
    std::span<double> errors;
    MatrixView<float> limits;
  };

  template <Grid G, class Real>
  void search(const G& grid, const BlockTask<Real>& task) const {
    const MatrixView<const float>& weights = task.weights;
    for (double& error : task.errors) error = std::numeric_limits<double>::infinity();
    const int candidates = std::max(1, static_cast<int>(shrink * steps));
    for (int i = 0; i < candidates; ++i) {
      const float part = steps > 0 ? static_cast<float>(1.0 - static_cast<double>(i) / steps) : 1.0f;
      for (std::size_t r = 0; r < weights.rows; ++r) {
        const float limit = largest(weights, r) * part;
        for (std::size_t c = 0; c < weights.cols; ++c) task.clipped[c] = std::clamp(weights(r, c), -limit, limit);
        const BlockGrid fitted = grid.fit(std::span<const float>(task.clipped));
        for (std::size_t c = 0; c < weights.cols; ++c) {
          const float rounded = grid.decode(grid.encode(task.clipped[c], fitted), fitted);
          const Real error = static_cast<Real>(rounded) - static_cast<Real>(weights(r, c));
          task.difference(r, c) = task.scales.empty() ? error : error / static_cast<Real>(task.scales[c]);
        }
      }
      as_eigen(task.product).noalias() = as_eigen(task.difference) * as_eigen(task.moment);
      for (std::size_t r = 0; r < weights.rows; ++r) {
        double error = 0.0;
        for (std::size_t c = 0; c < weights.cols; ++c)
          error += static_cast<double>(task.difference(r, c)) * static_cast<double>(task.product(r, c));
        if (error < task.errors[r]) {
          task.errors[r] = error;
          task.limits(r, 0) = largest(weights, r) * part;
        }
      }
    }
  }

  static float largest(MatrixView<const float> weights, std::size_t r) {
    float magnitude = 0.0f;
    for (std::size_t c = 0; c < weights.cols; ++c) magnitude = std::max(magnitude, std::fabs(weights(r, c)));
    return magnitude;
  }
};

/// Clips each weight to the limit of its group: the result of AwqClip put into effect. A limit counts by its
/// magnitude. Errors: shapes that differ, a limit that is not finite.
inline Result<void> clip_groups(MatrixView<float> weights, MatrixView<const float> limits, std::size_t group) {
  const std::size_t width = group == 0 ? std::max<std::size_t>(weights.cols, 1) : group;
  const Shape needed{weights.rows, ceil_div(weights.cols, width)};
  if (limits.shape() != needed) return detail::shape_error("the matrix of limits", limits.shape(), needed);
  if (Result<void> ok = detail::check_input(weights, "the weight"); !ok) return ok;
  if (Result<void> ok = check_finite(limits, "the limit"); !ok) return ok;
  for (std::size_t r = 0; r < weights.rows; ++r)
    for (std::size_t c = 0; c < weights.cols; ++c) {
      const float limit = std::fabs(limits(r, c / width));
      weights(r, c) = std::clamp(weights(r, c), -limit, limit);
    }
  return {};
}

}  // namespace pare
