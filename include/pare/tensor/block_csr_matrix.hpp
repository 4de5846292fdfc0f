#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "pare/tensor/kept_blocks.hpp"

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
    auto blocks = detail::KeptBlocks::of(mask, block, options);
    if (!blocks) return std::move(blocks).error();
    std::size_t area = 0, count = 0;
    if (!checked_multiply(block.rows, block.cols, area) || !checked_multiply(blocks->columns.size(), area, count))
      return Error{ErrorCode::invalid_argument, "pare: the kept blocks are too large to address"};
    auto values = Array<float>::create(count, options.memory);
    if (!values) return std::move(values).error();
    if (count != 0)
      options.executor(blocks->rows(), [&](std::size_t b) {
        for (std::size_t k = blocks->offsets[b]; k < blocks->offsets[b + 1]; ++k) {
          const std::size_t first = blocks->columns[k] * block.cols;
          float* out = values->data() + k * area;
          for (std::size_t c = first; c < std::min(mask.cols, first + block.cols); ++c, out += block.rows)
            for (std::size_t r = b * block.rows; r < std::min(mask.rows, (b + 1) * block.rows); ++r)
              if (mask.test(r, c)) out[r - b * block.rows] = weights(r, c);
        }
      });
    return BlockCsrMatrix(mask.shape(), *std::move(blocks), *std::move(values));
  }

  [[nodiscard]] Shape shape() const noexcept { return shape_; }
  [[nodiscard]] Shape block() const noexcept { return blocks_.block; }
  [[nodiscard]] std::size_t blocks() const noexcept { return blocks_.columns.size(); }
  [[nodiscard]] std::span<const float> values() const noexcept { return values_.values(); }
  [[nodiscard]] std::span<const float> held() const noexcept { return values(); }
  /// The block column of each block.
  [[nodiscard]] std::span<const std::uint32_t> columns() const noexcept { return blocks_.columns.values(); }
  /// Where the blocks of each block row begin; the last one is the count of all.
  [[nodiscard]] std::span<const std::size_t> offsets() const noexcept { return blocks_.offsets.values(); }
  [[nodiscard]] std::size_t bytes() const noexcept {
    return values_.size() * sizeof(float) + blocks_.columns.size() * sizeof(std::uint32_t) +
           blocks_.offsets.size() * sizeof(std::size_t);
  }

  /// Writes every element, +0 for those not kept. Errors: a shape that differs, a null pointer, overlapping elements.
  Result<void> to_dense(MatrixView<float> out) const {
    if (Result<void> ok = detail::clear_dense(shape_, out); !ok) return ok;
    for (std::size_t r = 0; r < out.rows; ++r)
      for (std::size_t k = blocks_.offsets[r / blocks_.block.rows]; k < blocks_.offsets[r / blocks_.block.rows + 1];
           ++k) {
        const float* value = values_.data() + k * blocks_.block.rows * blocks_.block.cols + r % blocks_.block.rows;
        const std::size_t first = blocks_.columns[k] * blocks_.block.cols;
        for (std::size_t c = first; c < std::min(out.cols, first + blocks_.block.cols);
             ++c, value += blocks_.block.rows)
          out(r, c) = *value;
      }
    return {};
  }

  /// Rows [begin, begin + rows), where a block row begins, times the rows of x, as ReferenceKernels::multiply_block_csr
  /// says.
  template <KernelBackend Kernels>
  void multiply(MatrixView<const float> x, std::size_t begin, std::size_t rows, MatrixView<float> y) const noexcept {
    for (std::size_t i = 0; i < x.rows; ++i)
      Kernels::multiply_block_csr(x.row(i), shape_.cols, values_.data(), blocks_.columns.data(),
                                  blocks_.offsets.data() + begin / blocks_.block.rows, blocks_.block.rows,
                                  blocks_.block.cols, rows, y.row(i) + begin);
  }
  [[nodiscard]] std::size_t row_unit() const noexcept { return blocks_.block.rows; }

 private:
  BlockCsrMatrix(Shape shape, detail::KeptBlocks blocks, Array<float> values)
      : shape_(shape), blocks_(std::move(blocks)), values_(std::move(values)) {}

  Shape shape_;
  detail::KeptBlocks blocks_;
  Array<float> values_;
};

}  // namespace pare
