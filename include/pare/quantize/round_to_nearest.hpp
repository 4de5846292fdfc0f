#pragma once

#include <algorithm>
#include <cstddef>

#include "pare/quantize/grid.hpp"

namespace pare {

/// Quantizes each weight by itself to the nearest code of its block's grid.
struct RoundToNearest {
  std::size_t group = 0;  ///< columns of a row that share a scale; 0: all of them. A Scheme's grid has its own.

  /// The codes of a matrix [out, in]. The result does not depend on the executor. Errors: a weight that is not finite,
  /// a format of no codes, out_of_memory.
  template <Grid G>
  Result<CodedMatrix> operator()(const G& grid, MatrixView<const float> weights, const Options& options = {}) const {
    if (Result<void> ok = check_finite(weights, "the weight"); !ok) return std::move(ok).error();
    const Shape block = block_shape(grid, weights.shape(), group);
    auto matrix = detail::allocate_coded(grid, weights.shape(), block, options.memory);
    if (!matrix || weights.empty()) return matrix;
    const detail::RowTasks tasks(weights.shape(), block.rows);
    std::size_t values = 0;
    if (!checked_multiply(std::min(block.rows, weights.rows), std::min(block.cols, weights.cols), values))
      return Error{ErrorCode::invalid_argument, "pare: a block of scales is more than memory can be"};
    auto scratch = Matrix<float>::create({tasks.count, values}, options.memory);
    if (!scratch) return std::move(scratch).error();
    options.executor(tasks.count, [&](std::size_t task) {
      const std::size_t last = std::min(weights.rows, (task + 1) * tasks.rows_per_task);
      for (std::size_t first = task * tasks.rows_per_task; first < last; first += std::min(block.rows, last - first))
        for (std::size_t g = 0; g < matrix->grid.cols; ++g) {
          const std::size_t begin = g * block.cols, end = begin + std::min(block.cols, weights.cols - begin);
          detail::fit_block(grid, weights, first / block.rows, g, begin, end, scratch->row(task), *matrix);
          const BlockGrid fitted = detail::block_grid(*matrix, first / block.rows, g);
          for (std::size_t r = first; r < first + std::min(block.rows, last - first); ++r)
            for (std::size_t c = begin; c < end; ++c) matrix->codes()(r, c) = grid.encode(weights(r, c), fitted);
        }
    });
    return matrix;
  }
};

}  // namespace pare
