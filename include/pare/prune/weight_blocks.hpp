#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "pare/prune/selection.hpp"
#include "pare/prune/structure.hpp"

namespace pare {

/// Zeros in whole blocks of rows x cols: int(blocks * sparsity) of them go, those with the least sum of saliencies,
/// ties by the lower block row, then the lower block column. WeightBlocks at the edges may be smaller, and compete by
/// their sum all the same; a block with a saliency that is not a number is the last to go. Errors: a sparsity that is
/// NaN or outside [0, 1], out_of_memory.
struct WeightBlocks {
  std::size_t rows = 1;  ///< 0: all of the matrix
  std::size_t cols = 4;  ///< 0: all of the matrix
  double sparsity = 0.5;

  template <class Scores>
  Result<void> select(const Scores& scores, Mask& mask, const PruneOptions& options) const {
    if (!(sparsity >= 0 && sparsity <= 1))
      return Error{ErrorCode::invalid_argument,
                   "pare: the sparsity must lie in [0, 1], it is " + std::to_string(sparsity)};
    const Shape shape = mask.shape();
    if (shape.rows == 0 || shape.cols == 0) return {};
    const std::size_t tall = rows == 0 ? shape.rows : std::min(rows, shape.rows);
    const std::size_t wide = cols == 0 ? shape.cols : std::min(cols, shape.cols);
    auto sums = Matrix<double>::create({ceil_div(shape.rows, tall), ceil_div(shape.cols, wide)}, options.memory);
    if (!sums) return std::move(sums).error();
    const std::size_t count = sums->rows() * sums->cols();
    const auto pruned = std::min(count, static_cast<std::size_t>(static_cast<double>(count) * sparsity));
    if (pruned == 0) return {};
    options.executor(sums->rows(), [&](std::size_t i) {
      for (std::size_t r = i * tall; r < i * tall + std::min(tall, shape.rows - i * tall); ++r)
        for (std::size_t c = 0; c < shape.cols; ++c) (*sums)(i, c / wide) += static_cast<double>(scores(r, c));
    });
    auto chosen = Mask::create(sums->shape(), options.memory);
    if (!chosen) return std::move(chosen).error();
    const auto sum = [&](std::size_t i, std::size_t j) { return (*sums)(i, j); };
    auto keys = detail::Scratch::create(1, count, options.memory);
    if (!keys) return std::move(keys).error();
    for (std::size_t i = 0; i < count; ++i) (*keys)[0][i] = detail::saliency_key(sums->values()[i]);
    detail::prune_below(sum, {0, sums->rows()}, detail::cut_keys((*keys)[0], pruned), *chosen);
    options.executor(shape.rows, [&](std::size_t r) {
      for (std::size_t c = 0; c < shape.cols; ++c)
        if (!chosen->test(r / tall, c / wide)) mask.set(r, c, false);
    });
    return {};
  }
};

/// Whole rows, `width` neighbours at a time: output channels, the filters of a convolution, the neurons of an MLP.
/// Otherwise as WeightBlocks.
struct WholeRows {
  std::size_t width = 1;
  double sparsity = 0.5;

  template <class Scores>
  Result<void> select(const Scores& scores, Mask& mask, const PruneOptions& options) const {
    return WeightBlocks{.rows = width, .cols = 0, .sparsity = sparsity}.select(scores, mask, options);
  }
};

/// Whole columns, `width` neighbours at a time: input channels, or the attention heads of an output projection, a head
/// being as wide as its dimension (times the query heads that share a key, where they go together). Otherwise as
/// WeightBlocks.
struct WholeColumns {
  std::size_t width = 1;
  double sparsity = 0.5;

  template <class Scores>
  Result<void> select(const Scores& scores, Mask& mask, const PruneOptions& options) const {
    return WeightBlocks{.rows = 0, .cols = width, .sparsity = sparsity}.select(scores, mask, options);
  }
};

static_assert(Structure<WeightBlocks> && Structure<WholeRows> && Structure<WholeColumns>);

}  // namespace pare
