#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "pare/quantize/error_feedback.hpp"
#include "pare/quantize/grid.hpp"

namespace pare {

/// A quantized layer, and what is known of it.
struct GptqResult {
  CodedMatrix matrix;
  double loss = 0.0;     ///< the squared errors of all outputs for all tokens of the moment, damping included
  double damping = 0.0;  ///< what was added to each element of the moment's diagonal
};

/// GPTQ (Frantar et al., ICLR 2023): the columns of a layer are rounded to the grid one after the other, and those
/// still to come make up for the error that each leaves in the layer's output, as the second moment of its input tells.
struct Gptq {
  std::size_t group = 0;    ///< columns of a row that share a scale; 0: all of them. A Scheme's grid has its own.
  std::size_t block = 128;  ///< columns whose errors reach the columns behind them together
  Damping damping{};
  /// Quantize columns in descending_order of their inputs' moments. Groups are then taken in that order, so that the
  /// result has column_groups(), unless they are static.
  bool act_order = false;
  bool static_groups = false;              ///< fit all groups before anything is rounded, on neighbouring columns
  std::span<const std::uint32_t> order{};  ///< another order of the columns, each of them once

  /// Whether groups are neighbouring columns, as most layouts want them.
  [[nodiscard]] bool keeps_groups() const noexcept { return static_groups || (!act_order && order.empty()); }

  /// The codes of weights [out, in] for a layer whose inputs had this moment. Scales are fitted to the weights as they
  /// are when their group is reached; where a row is one group, to the weights given. Weights of channels that never
  /// fired become 0. O(out * in^2 + in^3); 4 * (2 * out * in + in^2) bytes besides those of inverse_factor, which are
  /// free again by then. Rows are tasks of the executor, on which the result does not depend. Reports its progress.
  /// Errors: shapes that differ, weights that are not finite, no samples, a moment that is not positive definite with
  /// all the damping allowed, a block of 0, an order that is none, out_of_memory, cancelled.
  template <Grid G, class Real>
  Result<GptqResult> operator()(const G& grid, MatrixView<const float> weights, const SecondMoment<Real>& moment,
                                const Options& options = {}) const;

 private:
  /// Fits one block of a row of blocks to the weights `at(row, column)`.
  template <Grid G, class At>
  static void fit(const G& grid, CodedMatrix& matrix, std::size_t block_row, std::size_t group,
                  std::span<float> scratch, At&& at) {
    const std::size_t first = block_row * matrix.block.rows;
    const std::size_t rows = std::min(matrix.block.rows, matrix.shape.rows - first);
    const std::size_t begin = group * matrix.block.cols, cols = std::min(matrix.block.cols, matrix.shape.cols - begin);
    std::size_t count = 0;
    for (std::size_t r = first; r < first + rows; ++r)
      for (std::size_t c = begin; c < begin + cols; ++c) scratch[count++] = at(r, c);
    const std::span<const float> values = scratch.first(count);
    // Weights that left the range of float meanwhile will show in the loss.
    const bool finite = std::all_of(values.begin(), values.end(), [](float x) { return is_finite(x); });
    detail::set_block_grid(matrix, block_row, group, finite ? grid.fit(values) : BlockGrid{});
  }
};

template <Grid G, class Real>
Result<GptqResult> Gptq::operator()(const G& grid, MatrixView<const float> weights, const SecondMoment<Real>& moment,
                                    const Options& options) const {
  if (block == 0) return Error{ErrorCode::invalid_argument, "pare: GPTQ's block has at least one column"};
  const auto sequence = detail::ColumnSequence::create(order, act_order, moment, options.memory);
  if (!sequence) return sequence.error();
  const Shape blocks = block_shape(grid, weights.shape(), group);
  auto matrix = detail::allocate_coded(grid, weights.shape(), blocks, options.memory);
  if (!matrix) return std::move(matrix).error();
  if (weights.empty()) return GptqResult{*std::move(matrix)};
  auto feedback = detail::ErrorFeedback::create(weights, moment, damping, sequence->columns(),
                                                detail::SilentChannels::dropped, options);
  if (!feedback) return std::move(feedback).error();

  const bool whole_rows = matrix->grid.cols == 1, fitted_before = whole_rows || static_groups;
  if (!fitted_before && !sequence->columns().empty()) {
    if (auto room = matrix->allocate_column_groups(options.memory); !room) return std::move(room).error();
    for (std::size_t i = 0; i < weights.cols; ++i)
      matrix->column_groups()[sequence->column(i)] = static_cast<std::uint32_t>(i / blocks.cols);
  }
  // What is fitted on the way needs all rows of a block in one task.
  const std::size_t block_rows = std::min(blocks.rows, weights.rows), unit = fitted_before ? 1 : block_rows;
  const std::size_t tasks = ceil_div(weights.rows, detail::feedback_rows(weights.shape(), unit));
  std::size_t block_size = 0;
  if (!checked_multiply(block_rows, std::min(blocks.cols, weights.cols), block_size))
    return Error{ErrorCode::invalid_argument, "pare: a block of scales is more than memory can be"};
  auto scratch = Matrix<float>::create({fitted_before ? matrix->grid.rows : tasks, block_size}, options.memory);
  if (!scratch) return std::move(scratch).error();
  if (fitted_before)
    options.executor(matrix->grid.rows, [&](std::size_t b) {
      for (std::size_t g = 0; g < matrix->grid.cols; ++g)
        fit(grid, *matrix, b, g, scratch->row(b), [&](std::size_t r, std::size_t c) {
          return whole_rows || moment.sum()(c, c) != Real{0} ? weights(r, c) : 0.0f;
        });
    });

  const auto quantizer = [&](std::size_t task) {
    return [&, task](detail::Span rows, std::size_t place) {
      const std::size_t column = sequence->column(place), g = (fitted_before ? column : place) / blocks.cols;
      if (!fitted_before && place % blocks.cols == 0)
        for (std::size_t b = ceil_div(rows.begin, blocks.rows); b * blocks.rows < rows.end; ++b)
          fit(grid, *matrix, b, g, scratch->row(task),
              [&](std::size_t r, std::size_t c) { return feedback->weights()(r, c); });
      return [&, column, g](std::size_t row, float weight) {
        const BlockGrid fitted = detail::block_grid(*matrix, row / blocks.rows, g);
        const std::uint8_t code = grid.encode(weight, fitted);
        matrix->codes()(row, column) = code;
        return grid.decode(code, fitted);
      };
    };
  };
  auto steps = detail::FeedbackSteps::create(*feedback, block, unit, options);
  if (!steps) return std::move(steps).error();
  if (Result<void> ok = steps->quantize_all(block, quantizer); !ok) return std::move(ok).error();
  const auto loss = steps->loss();
  if (!loss) return loss.error();
  return GptqResult{*std::move(matrix), *loss, feedback->damping()};
}

}  // namespace pare
