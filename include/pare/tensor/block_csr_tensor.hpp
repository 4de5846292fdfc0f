#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include "pare/tensor/kept_blocks.hpp"
#include "pare/tensor/kept_codes.hpp"

namespace pare {

/// Packed weights in compressed rows of blocks: the codes of every kept block, column after column, with its block
/// column and all scales and zero points. S::bits for a kept weight and 32 for a block. Products are fast where blocks
/// have a multiple of 16 rows.
template <SchemeType S>
class BlockCsrTensor {
 public:
  using scheme_type = S;

  /// The blocks of `block.rows` x `block.cols` that `mask` keeps. Errors: as of BitmaskTensor::create and
  /// BlockCsrMatrix::create; a block of more than 1024 elements, or of no multiple of 8; one of which the mask keeps a
  /// part (which one), for not every scheme has a code for zero.
  template <KernelBackend Kernels = HighwayKernels>
  static Result<BlockCsrTensor> create(PackedView<S> packed, MaskView mask, Shape block, const Options& options = {}) {
    if (Result<void> ok = detail::check_masked(packed, mask); !ok) return std::move(ok).error();
    auto blocks = detail::KeptBlocks::of(mask, block, options);
    if (!blocks) return std::move(blocks).error();
    std::size_t area = 0, count = 0;
    if (!checked_multiply(block.rows, block.cols, area) || area > detail::kept_window || area % 8 != 0)
      return Error{ErrorCode::unsupported,
                   "pare: blocks of codes have a multiple of 8 elements and at most 1024, not " +
                       std::to_string(block.rows) + " x " + std::to_string(block.cols)};
    if (Result<void> ok = blocks->check_whole(mask); !ok) return std::move(ok).error();
    if (!checked_multiply(blocks->columns.size(), area, count))
      return Error{ErrorCode::invalid_argument, "pare: the kept blocks are too large to address"};
    auto codes = detail::KeptCodes<S>::create(packed, blocks->rows(), count, options);
    if (!codes) return std::move(codes).error();
    if (count != 0)
      options.executor(blocks->rows(), [&](std::size_t b) { fill_row<Kernels>(*codes, packed, *blocks, b); });
    return BlockCsrTensor(*std::move(blocks), *std::move(codes));
  }

  [[nodiscard]] Shape shape() const noexcept { return codes_.shape(); }
  [[nodiscard]] Shape block() const noexcept { return blocks_.block; }
  [[nodiscard]] std::size_t blocks() const noexcept { return blocks_.columns.size(); }
  /// The block column of each block.
  [[nodiscard]] std::span<const std::uint32_t> columns() const noexcept { return blocks_.columns.values(); }
  /// Where the blocks of each block row begin; the last one is the count of all.
  [[nodiscard]] std::span<const std::size_t> offsets() const noexcept { return blocks_.offsets.values(); }
  [[nodiscard]] std::span<const std::uint8_t> held() const noexcept { return codes_.bytes(); }
  [[nodiscard]] std::size_t bytes() const noexcept {
    return held().size() + blocks_.columns.size() * sizeof(std::uint32_t) +
           blocks_.offsets.size() * sizeof(std::size_t);
  }

  /// Writes every element: the value of its code, +0 for those not kept. Errors: as of BitmaskTensor::to_dense.
  template <KernelBackend Kernels = HighwayKernels>
  Result<void> to_dense(MatrixView<float> out) const {
    if (Result<void> ok = detail::clear_dense(shape(), out); !ok) return ok;
    if (out.empty()) return {};
    for (std::size_t b = 0; b < blocks_.rows(); ++b)
      for_windows<Kernels>(b, [&](const float* values, std::span<const std::uint32_t> columns) {
        for (const std::uint32_t column : columns)
          for (std::size_t c = column * block().cols; c < (column + 1) * block().cols; ++c, values += block().rows)
            for (std::size_t r = 0; c < out.cols && r < height(b); ++r) out(b * block().rows + r, c) = values[r];
      });
    return {};
  }

  /// Rows [begin, begin + rows), where a block row begins, times the rows of x: of as many kept blocks as 1024 values
  /// fill as ReferenceKernels::multiply_block_csr says, these sums added in order, from +0.
  template <KernelBackend Kernels>
  void multiply(MatrixView<const float> x, std::size_t begin, std::size_t rows, MatrixView<float> y) const noexcept {
    std::array<float, detail::kept_window> sums;
    for (std::size_t b = begin / block().rows; b * block().rows < begin + rows; ++b) {
      const std::size_t first = b * block().rows;
      for (std::size_t i = 0; i < x.rows; ++i) std::fill_n(y.row(i) + first, height(b), 0.0f);
      for_windows<Kernels>(b, [&](const float* values, std::span<const std::uint32_t> columns) {
        const std::size_t ends[2] = {0, columns.size()};
        for (std::size_t i = 0; i < x.rows; ++i) {
          Kernels::multiply_block_csr(x.row(i), x.cols, values, columns.data(), ends, block().rows, block().cols,
                                      height(b), sums.data());
          for (std::size_t r = 0; r < height(b); ++r) y.row(i)[first + r] += sums[r];
        }
      });
    }
  }
  [[nodiscard]] std::size_t row_unit() const noexcept { return block().rows; }

 private:
  BlockCsrTensor(detail::KeptBlocks blocks, detail::KeptCodes<S> codes)
      : blocks_(std::move(blocks)), codes_(std::move(codes)) {}

  [[nodiscard]] std::size_t area() const noexcept { return block().rows * block().cols; }
  [[nodiscard]] std::size_t height(std::size_t b) const noexcept {
    return std::min(block().rows, shape().rows - b * block().rows);
  }

  /// The codes of block row b; those past the matrix are 0.
  template <KernelBackend Kernels>
  static void fill_row(detail::KeptCodes<S>& codes, const PackedView<S>& packed, const detail::KeptBlocks& blocks,
                       std::size_t b) {
    const Shape block = blocks.block;
    const std::size_t row = b * block.rows;
    detail::RunWriter<S, Kernels> out(codes.codes(b, blocks.offsets[b] * block.rows * block.cols));
    for (std::size_t k = blocks.offsets[b]; k < blocks.offsets[b + 1]; ++k)
      for (std::size_t c = blocks.columns[k] * block.cols; c < (blocks.columns[k] + 1) * block.cols; ++c)
        for (std::size_t r = row; r < row + block.rows; ++r)
          out.push(r < packed.shape.rows && c < packed.shape.cols
                       ? static_cast<std::uint8_t>(read_code<S::bits>(packed.row_codes(r), c))
                       : std::uint8_t{0});
  }

  /// Calls visit(values, block columns) for the blocks of block row b, as many at once as a window holds.
  template <KernelBackend Kernels, class Visit>
  void for_windows(std::size_t b, const Visit& visit) const noexcept {
    detail::KeptValues values;
    const std::uint8_t* const codes = codes_.codes(b, blocks_.offsets[b] * area());
    const std::size_t most = detail::kept_window / area(), begin = blocks_.offsets[b], end = blocks_.offsets[b + 1];
    for (std::size_t k = begin; k < end; k += most) {
      const std::size_t count = std::min(most, end - k);
      float* const decoded =
          codes_.template decode<Kernels>(codes, (k - begin) * area(), count * area(), values.data());
      const std::span<const std::uint32_t> columns = blocks_.columns.values().subspan(k, count);
      scale(b, columns, decoded);
      visit(decoded, columns);
    }
  }

  /// Gives the values of these blocks of block row b their parameters.
  void scale(std::size_t b, std::span<const std::uint32_t> columns, float* values) const noexcept {
    const PackedView<S> parameters = codes_.parameters();
    std::array<float, detail::kept_window> factors, zeros;
    std::fill_n(factors.data(), block().rows, 0.0f);
    std::fill_n(zeros.data(), block().rows, 0.0f);
    std::size_t group = std::numeric_limits<std::size_t>::max();
    for (const std::uint32_t column : columns)
      for (std::size_t c = column * block().cols; c < (column + 1) * block().cols; ++c, values += block().rows) {
        // Past the matrix the last group goes on.
        if (const std::size_t g = c / parameters.group(); g != group && c < shape().cols) {
          group = g;
          for (std::size_t r = 0; r < height(b); ++r) {
            const std::size_t at = parameters.first_block(b * block().rows + r) + g;
            factors[r] = parameters.scale(at);
            if constexpr (S::has_zero_point) zeros[r] = static_cast<float>(parameters.zero_points[at]);
          }
        }
        for (std::size_t r = 0; r < block().rows; ++r)
          if constexpr (S::has_zero_point)
            values[r] = (values[r] - zeros[r]) * factors[r];
          else
            values[r] *= factors[r];
      }
  }

  detail::KeptBlocks blocks_;
  detail::KeptCodes<S> codes_;
};

}  // namespace pare
