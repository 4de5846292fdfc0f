#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "pare/quantize/channel_scales.hpp"
#include "pare/quantize/grid.hpp"

namespace pare {

/// Better scales for a grid's blocks (NNCF's scale estimation): the weighted mean of |weight| / |level|, in which
/// weights count by the largest input of their channel, is tried for the levels that its own scale gives, time and
/// again, and for those of smaller scales. What lowers the error of the block's part of the output most is kept; shifts
/// stay as they are.
struct ScaleEstimation {
  std::size_t group = 128;  ///< columns of a row that share a scale; 0: all of them. A Scheme's grid has its own.
  std::size_t subset = 64;  ///< errors are measured on every (samples / subset)-th sample; at least 1
  int repeats = 5;          ///< estimates by the levels of the best scale so far
  int shrinks = 5;          ///< estimates by the levels of the first scale times 1, 0.95, 0.9, ...; at most 20

  /// The codes of weights [out, in]. `samples` [samples, in] are inputs of the layer, such as the mean token of each
  /// sequence; the longest come first. O(out * in * (repeats + shrinks) * subset). The result does not depend on the
  /// executor. Reports its progress. Errors: shapes that differ, no samples, values that are not finite, options out of
  /// range, a grid whose blocks span rows or whose shifts are added, out_of_memory, cancelled.
  template <Grid G>
  Result<CodedMatrix> operator()(const G& grid, MatrixView<const float> weights, MatrixView<const float> samples,
                                 const Options& options = {}) const {
    if (samples.cols != weights.cols)
      return detail::shape_error("the matrix of samples", samples.shape(), {samples.rows, weights.cols});
    if (samples.rows == 0 || subset == 0 || repeats < 0 || shrinks < 0 || shrinks > 20)
      return Error{ErrorCode::invalid_argument,
                   "pare: the estimation of scales needs samples, a subset of them and at most 20 shrinks"};
    if (Result<void> ok = check_finite(weights, "the weight"); !ok) return std::move(ok).error();
    if (Result<void> ok = check_finite(samples, "the sample"); !ok) return std::move(ok).error();
    const Shape block = block_shape(grid, weights.shape(), group);
    if (block.rows != 1 || grid.shift_kind() == ShiftKind::offset)
      return Error{ErrorCode::unsupported,
                   "pare: the estimation of scales needs a grid of one row's scales, without offsets"};
    auto matrix = detail::allocate_coded(grid, weights.shape(), block, options.memory);
    if (!matrix || weights.empty()) return matrix;

    auto largest = Array<float>::create(weights.cols, options.memory);
    if (!largest) return std::move(largest).error();
    for (std::size_t s = 0; s < samples.rows; ++s)
      for (std::size_t c = 0; c < samples.cols; ++c) (*largest)[c] = std::max((*largest)[c], std::fabs(samples(s, c)));
    auto inputs = Matrix<float>::copy(detail::pick_samples(samples, subset), options.memory);
    if (!inputs) return std::move(inputs).error();
    const detail::RowTasks tasks(weights.shape(), 1);
    auto scratch = Matrix<float>::create({tasks.count * 4, std::min(block.cols, weights.cols)}, options.memory);
    if (!scratch) return std::move(scratch).error();
    ProgressMeter meter(options.progress, weights.rows);
    options.executor(tasks.count, [&](std::size_t task) {
      const std::size_t end = std::min(weights.rows, (task + 1) * tasks.rows_per_task);
      for (std::size_t r = task * tasks.rows_per_task; r < end && !meter.cancelled(); ++r) {
        for (std::size_t g = 0; g < matrix->grid.cols; ++g) {
          const std::size_t begin = g * block.cols, count = std::min(block.cols, weights.cols - begin);
          for (std::size_t c = 0; c < count; ++c) (*scratch)(task * 4, c) = weights(r, begin + c);
          const Block<G> values{.grid = grid,
                                .values = matrix->format.values,
                                .weights = scratch->row(task * 4).first(count),
                                .largest = largest->values().subspan(begin, count),
                                .inputs = {inputs->row(0).data() + begin, inputs->rows(), count, weights.cols, 1},
                                .importance = scratch->row(task * 4 + 1).first(count),
                                .levels = scratch->row(task * 4 + 2).first(count),
                                .differences = scratch->row(task * 4 + 3).first(count)};
          const BlockGrid fitted = estimate(values);
          detail::set_block_grid(*matrix, r, g, fitted);
          for (std::size_t c = 0; c < count; ++c)
            matrix->codes()(r, begin + c) = grid.encode(values.weights[c], fitted);
        }
        meter.advance(1);
      }
    });
    if (Result<void> ok = meter.status(); !ok) return std::move(ok).error();
    return matrix;
  }

 private:
  /// One block of a row: its weights and inputs, and room to work.
  template <Grid G>
  struct Block {
    const G& grid;
    std::span<const float> values;  ///< of the codes
    std::span<const float> weights, largest;
    MatrixView<const float> inputs;
    std::span<float> importance, levels, differences;

    /// What each weight's code stands for in units of the scale.
    void find_levels(const BlockGrid& fitted) const {
      for (std::size_t c = 0; c < weights.size(); ++c)
        levels[c] = values[grid.encode(weights[c], fitted)] - fitted.shift;
    }
    /// The scale at which the levels come nearest to the weights that matter.
    [[nodiscard]] float scale(float sign) const {
      double sum = 0.0;
      for (std::size_t c = 0; c < weights.size(); ++c) {
        const float level = levels[c] == 0.0f ? zero_level : std::fabs(levels[c]);
        sum += static_cast<double>(std::fabs(weights[c]) / level) * static_cast<double>(importance[c]);
      }
      const auto value = std::copysign(static_cast<float>(sum), sign);
      return decode_scale(grid.scale_type(), round_scale(grid.scale_type(), value));
    }
    /// The sum over the inputs of the squared error of their products with the weights.
    [[nodiscard]] double error(const BlockGrid& fitted) const {
      for (std::size_t c = 0; c < weights.size(); ++c)
        differences[c] = grid.decode(grid.encode(weights[c], fitted), fitted) - weights[c];
      double total = 0.0;
      for (std::size_t s = 0; s < inputs.rows; ++s) {
        double sum = 0.0;
        for (std::size_t c = 0; c < weights.size(); ++c)
          sum += static_cast<double>(differences[c]) * static_cast<double>(inputs(s, c));
        total += sum * sum;
      }
      return total;
    }
  };

  template <Grid G>
  [[nodiscard]] BlockGrid estimate(const Block<G>& block) const {
    const BlockGrid first = block.grid.fit(block.weights);
    block.find_levels(first);
    double total = 0.0;
    for (std::size_t c = 0; c < block.weights.size(); ++c)
      if (block.levels[c] != 0.0f) total += static_cast<double>(block.largest[c]);
    for (std::size_t c = 0; c < block.weights.size(); ++c)
      block.importance[c] = block.levels[c] == 0.0f
                                ? 0.0f
                                : static_cast<float>(static_cast<double>(block.largest[c]) / (total + 0x1p-23));
    BlockGrid best = first;
    double least = block.error(first);
    const auto consider = [&] {
      const BlockGrid candidate{block.scale(first.scale), first.shift};
      if (candidate.scale == 0.0f || !is_finite(candidate.scale)) return;
      if (const double error = block.error(candidate); error <= least) {
        least = error;
        best = candidate;
      }
    };
    for (int i = 0; i < repeats; ++i) {
      if (i > 0) block.find_levels(best);
      consider();
    }
    for (int i = 0; i < shrinks; ++i) {
      const BlockGrid smaller{static_cast<float>(1.0 - 0.05 * i) * first.scale, first.shift};
      if (smaller.scale == 0.0f) continue;
      block.find_levels(smaller);
      consider();
    }
    return best;
  }

  static constexpr float zero_level = 0.001f;
};

}  // namespace pare
