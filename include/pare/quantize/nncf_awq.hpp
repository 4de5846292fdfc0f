#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <utility>

#include "pare/quantize/channel_scales.hpp"
#include "pare/quantize/grid.hpp"

namespace pare {

/// NNCF's variant of AWQ: only the groups that hold the channels of the largest inputs get scales other than 1. Within
/// such a group they are s^alpha with s the largest input of the channel, from the group's lowest decile to 100, at the
/// alpha of 0, 1 / steps, 2 / steps, ... whose rounded weights, with one scale for the row's part in the group, give
/// the least mean absolute error of the group's part of the output.
struct NncfAwq {
  std::size_t group = 128;  ///< columns of a row that share a scale; 0: all of them
  double share = 0.002;     ///< of all channels to look after; at least one is
  int steps = 100;          ///< exponents to try
  std::size_t subset = 32;  ///< errors are measured on every (samples / subset)-th sample; at least 1

  /// The scales that the columns of weights [out, in] are to be multiplied by (scale_inputs), and what produces the
  /// layer's input divided by (divide_outputs). `samples` [samples, in] are inputs of the layer, such as the mean token
  /// of each sequence; the longest come first. O(steps * groups * out * group * subset). The result does not depend on
  /// the executor. Errors: shapes that differ, no samples, values that are not finite, options out of range, a grid
  /// that fixes its own blocks, out_of_memory.
  template <Grid G>
  Result<Array<float>> operator()(const G& grid, MatrixView<const float> weights, MatrixView<const float> samples,
                                  const Options& options = {}) const {
    static_assert(!BlockedGrid<G>, "pare: NncfAwq fits a scale to whole groups: give it a grid without blocks");
    const std::size_t channels = weights.cols;
    if (samples.cols != channels)
      return detail::shape_error("the matrix of samples", samples.shape(), {samples.rows, channels});
    if (samples.rows == 0 || subset == 0 || steps < 1 || !(share >= 0.0 && share <= 1.0))
      return Error{ErrorCode::invalid_argument,
                   "pare: NNCF's AWQ needs samples, a subset of them, at least one exponent and a share of 0 to 1"};
    if (Result<void> ok = check_finite(weights, "the weight"); !ok) return std::move(ok).error();
    if (Result<void> ok = check_finite(samples, "the sample"); !ok) return std::move(ok).error();
    auto scales = Array<float>::create(channels, options.memory);
    if (!scales || channels == 0) return scales;
    std::fill(scales->begin(), scales->end(), 1.0f);
    auto largest = Array<float>::create(channels, options.memory);
    if (!largest) return std::move(largest).error();
    for (std::size_t s = 0; s < samples.rows; ++s)
      for (std::size_t c = 0; c < channels; ++c) (*largest)[c] = std::max((*largest)[c], std::fabs(samples(s, c)));

    auto order = Array<std::size_t>::create(channels, options.memory);
    if (!order) return std::move(order).error();
    std::iota(order->begin(), order->end(), std::size_t{0});
    std::sort(order->begin(), order->end(), [&](std::size_t a, std::size_t b) {
      return (*largest)[a] > (*largest)[b] || ((*largest)[a] == (*largest)[b] && a < b);
    });
    const MatrixView<const float> picked = detail::pick_samples(samples, subset);
    const std::size_t width = group == 0 ? channels : std::min(group, channels);
    auto found = Array<bool>::create(ceil_div(channels, width), options.memory);
    if (!found) return std::move(found).error();
    const auto chosen = std::max(std::size_t{1}, static_cast<std::size_t>(share * static_cast<double>(channels)));
    for (std::size_t i = 0; i < std::min(chosen, channels); ++i) {
      const std::size_t g = (*order)[i] / width, first = g * width, count = std::min(width, channels - first);
      if (std::exchange((*found)[g], true)) continue;
      Result<void> done =
          search(grid, columns(weights, first, count), columns(picked, first, count),
                 largest->values().subspan(first, count), scales->values().subspan(first, count), options);
      if (!done) return std::move(done).error();
    }
    return scales;
  }

 private:
  static MatrixView<const float> columns(MatrixView<const float> matrix, std::size_t first, std::size_t count) {
    return {matrix.data + first * matrix.col_stride, matrix.rows, count, matrix.row_stride, matrix.col_stride};
  }

  /// Finds the scales of one group.
  template <Grid G>
  Result<void> search(const G& grid, MatrixView<const float> weights, MatrixView<const float> samples,
                      std::span<float> largest, std::span<float> scales, const Options& options) const {
    auto sorted = Array<float>::create(largest.size(), options.memory);
    if (!sorted) return std::move(sorted).error();
    std::copy(largest.begin(), largest.end(), sorted->begin());
    const float decile = quantile(sorted->values(), 0.1);
    for (float& x : largest) x = std::min(std::max(x, decile), 100.0f);
    // Channels that never fire would be divided by 0 at every exponent but the first.
    if (std::find(largest.begin(), largest.end(), 0.0f) != largest.end()) return {};

    auto inputs = Matrix<double>::copy(samples, options.memory);
    if (!inputs) return std::move(inputs).error();
    auto candidate = Array<float>::create(scales.size(), options.memory);
    if (!candidate) return std::move(candidate).error();
    double least = std::numeric_limits<double>::infinity();
    for (int step = 0; step < steps; ++step) {
      const double alpha = static_cast<double>(step) / steps;
      for (std::size_t c = 0; c < scales.size(); ++c)
        (*candidate)[c] = static_cast<float>(std::pow(static_cast<double>(largest[c]), alpha));
      const Result<double> error = output_error(grid, weights, *inputs, candidate->values(), options);
      if (!error) return error.error();
      if (!(*error < least)) continue;
      least = *error;
      std::copy(candidate->begin(), candidate->end(), scales.begin());
    }
    return {};
  }

  /// The sum of the absolute errors of all outputs when the weights are rounded after they were scaled.
  template <Grid G>
  static Result<double> output_error(const G& grid, MatrixView<const float> weights, const Matrix<double>& inputs,
                                     std::span<const float> scales, const Options& options) {
    const detail::RowTasks tasks(weights.shape(), 1);
    auto sums = Array<double>::create(tasks.count, options.memory);
    if (!sums) return std::move(sums).error();
    auto scaled = Matrix<float>::create({tasks.count, weights.cols}, options.memory);
    if (!scaled) return std::move(scaled).error();
    auto differences = Matrix<double>::create({tasks.count, weights.cols}, options.memory);
    if (!differences) return std::move(differences).error();
    options.executor(tasks.count, [&](std::size_t task) {
      const std::span<float> row = scaled->row(task);
      const std::span<double> difference = differences->row(task);
      const std::size_t end = std::min(weights.rows, (task + 1) * tasks.rows_per_task);
      for (std::size_t r = task * tasks.rows_per_task; r < end; ++r) {
        for (std::size_t c = 0; c < weights.cols; ++c) row[c] = weights(r, c) * scales[c];
        const BlockGrid fitted = grid.fit(std::span<const float>(row));
        for (std::size_t c = 0; c < weights.cols; ++c)
          difference[c] =
              static_cast<double>(grid.decode(grid.encode(row[c], fitted), fitted)) / static_cast<double>(scales[c]) -
              static_cast<double>(weights(r, c));
        for (std::size_t s = 0; s < inputs.rows(); ++s)
          (*sums)[task] +=
              std::fabs(std::inner_product(difference.begin(), difference.end(), inputs.row(s).begin(), 0.0));
      }
    });
    return std::accumulate(sums->begin(), sums->end(), 0.0);
  }
};

}  // namespace pare
