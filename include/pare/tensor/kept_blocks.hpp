#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "pare/tensor/sparse_storage.hpp"

namespace pare::detail {

/// The blocks of a matrix of which a mask keeps something, block row after block row.
struct KeptBlocks {
  Shape block;
  Array<std::size_t> offsets;    ///< where the blocks of each block row begin; the last one is the count of all
  Array<std::uint32_t> columns;  ///< the block column of each

  /// Errors: a block without rows or columns, or larger than the matrix filled up to 16 rows; out_of_memory.
  static Result<KeptBlocks> of(MaskView mask, Shape block, const Options& options) {
    if (block.rows == 0 || block.cols == 0 ||
        (!mask.empty() && (block.rows > std::max<std::size_t>(mask.rows, 16) || block.cols > mask.cols)))
      return Error{ErrorCode::invalid_argument, "pare: blocks of " + std::to_string(block.rows) + " x " +
                                                    std::to_string(block.cols) + " do not fit a matrix of " +
                                                    std::to_string(mask.rows) + " x " + std::to_string(mask.cols)};
    const Shape grid{ceil_div(mask.rows, block.rows), mask.rows == 0 ? 0 : ceil_div(mask.cols, block.cols)};
    auto chosen = Mask::create(grid, options.memory);
    if (!chosen) return std::move(chosen).error();
    if (grid.cols != 0)
      options.executor(grid.rows, [&](std::size_t b) {
        std::fill_n(chosen->row(b), ceil_div(grid.cols, 8), std::uint8_t{0});
        for (std::size_t r = b * block.rows; r < std::min(mask.rows, (b + 1) * block.rows); ++r)
          for (std::size_t c = 0; c < mask.cols; ++c)
            if (mask.test(r, c)) chosen->set(b, c / block.cols, true);
      });
    auto offsets = kept_offsets(*chosen, options.memory);
    if (!offsets) return std::move(offsets).error();
    auto columns = Array<std::uint32_t>::create((*offsets)[grid.rows], options.memory);
    if (!columns) return std::move(columns).error();
    if (columns->size() != 0)
      options.executor(grid.rows, [&](std::size_t b) {
        std::size_t k = (*offsets)[b];
        for (std::size_t j = 0; j < grid.cols; ++j)
          if (chosen->test(b, j)) (*columns)[k++] = static_cast<std::uint32_t>(j);
      });
    return KeptBlocks{block, *std::move(offsets), *std::move(columns)};
  }

  /// An error where the mask, which these blocks are of, keeps a part of a block only.
  [[nodiscard]] Result<void> check_whole(MaskView mask) const {
    for (std::size_t b = 0; b < rows(); ++b)
      for (std::size_t k = offsets[b]; k < offsets[b + 1]; ++k)
        for (std::size_t r = b * block.rows; r < std::min(mask.rows, (b + 1) * block.rows); ++r)
          for (std::size_t c = columns[k] * block.cols; c < std::min(mask.cols, (columns[k] + 1) * block.cols); ++c)
            if (!mask.test(r, c))
              return Error{ErrorCode::invalid_argument,
                           "pare: the mask keeps a part of the block from row " + std::to_string(b * block.rows) +
                               " and column " + std::to_string(columns[k] * block.cols) + " on, and not all of it"};
    return {};
  }

  [[nodiscard]] std::size_t rows() const noexcept { return offsets.size() - 1; }
};

}  // namespace pare::detail
