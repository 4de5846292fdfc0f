#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "pare/tensor/sparse_storage.hpp"

namespace pare {

/// A matrix in compressed rows of blocks (BCSR): every block of which something is kept, whole, with its block column.
/// Within a block column follows column; blocks at the edges are filled up with zeros. Products are fast where blocks
/// have a multiple of 16 rows.
class BlockCsrMatrix {
 public:
  /// Blocks of `block.rows` x `block.cols` of which `mask` keeps an element; what it does not keep of them is +0.
  /// Errors: as of CsrMatrix::create; a block without rows or columns, or larger than the matrix filled up to 16 rows.
  static Result<BlockCsrMatrix> create(MatrixView<const float> weights, MaskView mask, Shape block,
                                       const Options& options = {}) {
    if (Result<void> ok = detail::check_masked(weights, mask); !ok) return std::move(ok).error();
    if (block.rows == 0 || block.cols == 0 ||
        (!mask.empty() && (block.rows > std::max<std::size_t>(mask.rows, 16) || block.cols > mask.cols)))
      return Error{ErrorCode::invalid_argument, "pare: blocks of " + std::to_string(block.rows) + " x " +
                                                    std::to_string(block.cols) + " do not fit a matrix of " +
                                                    std::to_string(mask.rows) + " x " + std::to_string(mask.cols)};
    const Shape grid{ceil_div(mask.rows, block.rows), mask.rows == 0 ? 0 : ceil_div(mask.cols, block.cols)};
    auto chosen = Mask::create(grid, options.memory);
    if (!chosen) return std::move(chosen).error();
    const auto height = [&](std::size_t b) { return std::min(block.rows, mask.rows - b * block.rows); };
    if (grid.cols != 0)
      options.executor(grid.rows, [&](std::size_t b) {
        std::fill_n(chosen->row(b), ceil_div(grid.cols, 8), std::uint8_t{0});
        for (std::size_t r = b * block.rows; r < b * block.rows + height(b); ++r)
          for (std::size_t c = 0; c < mask.cols; ++c)
            if (mask.test(r, c)) chosen->set(b, c / block.cols, true);
      });
    auto offsets = detail::kept_offsets(*chosen, options.memory);
    if (!offsets) return std::move(offsets).error();
    const std::size_t kept = (*offsets)[grid.rows];
    std::size_t area = 0, count = 0;
    if (!checked_multiply(block.rows, block.cols, area) || !checked_multiply(kept, area, count))
      return Error{ErrorCode::invalid_argument, "pare: the kept blocks are too large to address"};
    auto values = Array<float>::create(count, options.memory);
    if (!values) return std::move(values).error();
    auto columns = Array<std::uint32_t>::create(kept, options.memory);
    if (!columns) return std::move(columns).error();
    options.executor(grid.rows, [&](std::size_t b) {
      std::size_t k = (*offsets)[b];
      for (std::size_t j = 0; j < grid.cols; ++j) {
        if (!chosen->test(b, j)) continue;
        (*columns)[k] = static_cast<std::uint32_t>(j);
        float* out = values->data() + k++ * area;
        for (std::size_t c = j * block.cols; c < std::min(mask.cols, (j + 1) * block.cols); ++c, out += block.rows)
          for (std::size_t r = 0; r < height(b); ++r)
            if (mask.test(b * block.rows + r, c)) out[r] = weights(b * block.rows + r, c);
      }
    });
    return BlockCsrMatrix(mask.shape(), block, *std::move(offsets), *std::move(values), *std::move(columns));
  }

  [[nodiscard]] Shape shape() const noexcept { return shape_; }
  [[nodiscard]] Shape block() const noexcept { return block_; }
  [[nodiscard]] std::size_t blocks() const noexcept { return columns_.size(); }
  [[nodiscard]] std::span<const float> values() const noexcept { return values_.values(); }
  /// The block column of each block.
  [[nodiscard]] std::span<const std::uint32_t> columns() const noexcept { return columns_.values(); }
  /// Where the blocks of each block row begin; the last one is the count of all.
  [[nodiscard]] std::span<const std::size_t> offsets() const noexcept { return offsets_.values(); }
  [[nodiscard]] std::size_t bytes() const noexcept {
    return values_.size() * sizeof(float) + columns_.size() * sizeof(std::uint32_t) +
           offsets_.size() * sizeof(std::size_t);
  }

  /// Writes every element, +0 for those not kept. Errors: a shape that differs, a null pointer, overlapping elements.
  Result<void> to_dense(MatrixView<float> out) const {
    if (Result<void> ok = detail::clear_dense(shape_, out); !ok) return ok;
    for (std::size_t r = 0; r < out.rows; ++r)
      for (std::size_t k = offsets_[r / block_.rows]; k < offsets_[r / block_.rows + 1]; ++k) {
        const float* value = values_.data() + k * block_.rows * block_.cols + r % block_.rows;
        const std::size_t first = columns_[k] * block_.cols;
        for (std::size_t c = first; c < std::min(out.cols, first + block_.cols); ++c, value += block_.rows)
          out(r, c) = *value;
      }
    return {};
  }

  /// Rows [begin, begin + rows), where a block row begins, times one row of x, as ReferenceKernels::multiply_block_csr
  /// says.
  template <KernelBackend Kernels>
  void multiply(const float* x, std::size_t begin, std::size_t rows, float* y) const noexcept {
    Kernels::multiply_block_csr(x, shape_.cols, values_.data(), columns_.data(), offsets_.data() + begin / block_.rows,
                                block_.rows, block_.cols, rows, y);
  }
  [[nodiscard]] std::size_t row_unit() const noexcept { return block_.rows; }

 private:
  BlockCsrMatrix(Shape shape, Shape block, Array<std::size_t> offsets, Array<float> values,
                 Array<std::uint32_t> columns)
      : shape_(shape),
        block_(block),
        offsets_(std::move(offsets)),
        values_(std::move(values)),
        columns_(std::move(columns)) {}

  Shape shape_, block_;
  Array<std::size_t> offsets_;
  Array<float> values_;
  Array<std::uint32_t> columns_;
};

}  // namespace pare
