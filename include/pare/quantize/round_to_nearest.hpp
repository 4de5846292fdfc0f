#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>

#include "pare/quantize/grid.hpp"

namespace pare {

/// Quantizes each weight by itself to the nearest code of its block's grid.
struct RoundToNearest {
  std::size_t group = 0;  ///< columns of a row that share a scale; 0: all of them. A Scheme's grid has its own.
  /// How much errors in each column count when a block's range is chosen, such as the second moments of the inputs that
  /// llama.cpp gathers as an imatrix; empty: all alike. For a grid that weighs them, as ClipSearchGrid does over any.
  std::span<const float> importance{};

  /// The codes of a matrix [out, in]. The result does not depend on the executor. Errors: a weight that is not finite,
  /// a format of no codes, importances of another number than the columns, negative or not finite ones, a grid that
  /// does not weigh errors though there are some, out_of_memory.
  template <Grid G>
  Result<CodedMatrix> operator()(const G& grid, MatrixView<const float> weights, const Options& options = {}) const {
    if (Result<void> ok = check_finite(weights, "the weight"); !ok) return std::move(ok).error();
    if (Result<void> ok = check_importance<G>(weights.cols); !ok) return std::move(ok).error();
    const Shape block = block_shape(grid, weights.shape(), group);
    auto matrix = detail::allocate_coded(grid, weights.shape(), block, options.memory);
    if (!matrix || weights.empty()) return matrix;
    const detail::RowTasks tasks(weights.shape(), block.rows);
    std::size_t values = 0;
    if (!checked_multiply(std::min(block.rows, weights.rows), std::min(block.cols, weights.cols), values) ||
        !checked_multiply(values, importance.empty() ? 1 : 2, values))
      return Error{ErrorCode::invalid_argument, "pare: a block of scales is more than memory can be"};
    auto scratch = Matrix<float>::create({tasks.count, values}, options.memory);
    if (!scratch) return std::move(scratch).error();
    options.executor(tasks.count, [&](std::size_t task) {
      const std::size_t last = std::min(weights.rows, (task + 1) * tasks.rows_per_task);
      for (std::size_t first = task * tasks.rows_per_task; first < last; first += std::min(block.rows, last - first))
        for (std::size_t g = 0; g < matrix->grid.cols; ++g) {
          const std::size_t begin = g * block.cols, end = begin + std::min(block.cols, weights.cols - begin);
          if (importance.empty())
            detail::fit_block(grid, weights, first / block.rows, g, begin, end, scratch->row(task), *matrix);
          else
            fit_weighted(grid, weights, first / block.rows, g, begin, end, scratch->row(task), *matrix);
          const BlockGrid fitted = detail::block_grid(*matrix, first / block.rows, g);
          for (std::size_t r = first; r < first + std::min(block.rows, last - first); ++r)
            for (std::size_t c = begin; c < end; ++c) matrix->codes()(r, c) = grid.encode(weights(r, c), fitted);
        }
    });
    return matrix;
  }

 private:
  template <Grid G>
  [[nodiscard]] Result<void> check_importance(std::size_t columns) const {
    if (importance.empty()) return {};
    if (!WeightedGrid<G>)
      return Error{ErrorCode::unsupported,
                   "pare: importances need a grid that weighs errors, such as a ClipSearchGrid over this one"};
    if (importance.size() != columns)
      return Error{ErrorCode::invalid_argument, "pare: " + std::to_string(importance.size()) + " importances for " +
                                                    std::to_string(columns) + " columns"};
    for (std::size_t c = 0; c < columns; ++c)
      if (!is_finite(importance[c]) || importance[c] < 0.0f)
        return Error{ErrorCode::invalid_argument,
                     "pare: the importance of column " + std::to_string(c) + " is negative or not finite"};
    return {};
  }

  /// detail::fit_block with the importance of each weight's column; `scratch` has room for both.
  template <Grid G>
  void fit_weighted(const G& grid, MatrixView<const float> weights, std::size_t block_row, std::size_t g,
                    std::size_t begin, std::size_t end, std::span<float> scratch, CodedMatrix& matrix) const {
    if constexpr (WeightedGrid<G>) {
      const std::size_t first = block_row * matrix.block.rows;
      const std::size_t rows = std::min(matrix.block.rows, weights.rows - first), count = rows * (end - begin);
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t c = begin + i % (end - begin);
        scratch[i] = weights(first + i / (end - begin), c);
        scratch[count + i] = importance[c];
      }
      const std::span<const float> values(scratch);
      detail::set_block_grid(matrix, block_row, g, grid.fit(values.first(count), values.subspan(count, count)));
    }
  }
};

}  // namespace pare
