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
  /// BlockCsrMatrix::create; a block of more than 256 rows, or of which the mask keeps a part (which one): not every
  /// scheme has a code for zero.
  template <KernelBackend Kernels = HighwayKernels>
  static Result<BlockCsrTensor> create(PackedView<S> packed, MaskView mask, Shape block, const Options& options = {}) {
    if (Result<void> ok = detail::check_masked(packed, mask); !ok) return std::move(ok).error();
    if (block.rows > most_block_rows)
      return Error{ErrorCode::unsupported,
                   "pare: blocks of codes have at most 256 rows, not " + std::to_string(block.rows)};
    auto blocks = detail::KeptBlocks::of(mask, block, options);
    if (!blocks) return std::move(blocks).error();
    if (Result<void> ok = blocks->check_whole(mask); !ok) return std::move(ok).error();
    std::size_t area = 0, count = 0;
    if (!checked_multiply(block.rows, block.cols, area) || !checked_multiply(blocks->columns.size(), area, count))
      return Error{ErrorCode::invalid_argument, "pare: the kept blocks are too large to address"};
    auto codes = detail::KeptCodes<S>::create(packed, blocks->columns.size(), count, options);
    if (!codes) return std::move(codes).error();
    if (count != 0)
      options.executor(blocks->rows(), [&](std::size_t b) {
        for (std::size_t k = blocks->offsets[b]; k < blocks->offsets[b + 1]; ++k)
          fill_block<Kernels>(*codes, packed, *blocks, b, k);
      });
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
        for (std::size_t i = 0; i < columns.size(); ++i)
          for (std::size_t r = 0; r < height(b); ++r)
            out(b * block().rows + r, columns[i]) = values[i * block().rows + r];
      });
    return {};
  }

  /// Rows [begin, begin + rows), where a block row begins, times the rows of x: of as many kept columns as 1024 values
  /// fill as ReferenceKernels::multiply_block_csr says, these sums added in order, from +0.
  template <KernelBackend Kernels>
  void multiply(MatrixView<const float> x, std::size_t begin, std::size_t rows, MatrixView<float> y) const noexcept {
    for (std::size_t b = begin / block().rows; b * block().rows < begin + rows; ++b) {
      const std::size_t first = b * block().rows;
      for (std::size_t i = 0; i < x.rows; ++i) std::fill_n(y.row(i) + first, height(b), 0.0f);
      for_windows<Kernels>(b, [&](const float* values, std::span<const std::uint32_t> columns) {
        const std::size_t ends[2] = {0, columns.size()};
        for (std::size_t i = 0; i < x.rows; ++i) {
          std::array<float, most_block_rows> sums;
          Kernels::multiply_block_csr(x.row(i), x.cols, values, columns.data(), ends, block().rows, 1, height(b),
                                      sums.data());
          for (std::size_t r = 0; r < height(b); ++r) y.row(i)[first + r] += sums[r];
        }
      });
    }
  }
  [[nodiscard]] std::size_t row_unit() const noexcept { return block().rows; }

 private:
  static constexpr std::size_t most_block_rows = 256;

  BlockCsrTensor(detail::KeptBlocks blocks, detail::KeptCodes<S> codes)
      : blocks_(std::move(blocks)), codes_(std::move(codes)) {}

  [[nodiscard]] std::size_t height(std::size_t b) const noexcept {
    return std::min(block().rows, shape().rows - b * block().rows);
  }

  /// The codes of block k in block row b; those past the matrix are 0.
  template <KernelBackend Kernels>
  static void fill_block(detail::KeptCodes<S>& codes, const PackedView<S>& packed, const detail::KeptBlocks& blocks,
                         std::size_t b, std::size_t k) {
    const Shape block = blocks.block;
    const std::size_t first = blocks.columns[k] * block.cols, row = b * block.rows;
    detail::RunWriter<S, Kernels> out(codes.codes(k, k * block.rows * block.cols));
    for (std::size_t c = first; c < first + block.cols; ++c)
      for (std::size_t r = row; r < row + block.rows; ++r)
        out.push(r < packed.shape.rows && c < packed.shape.cols
                     ? static_cast<std::uint8_t>(read_code<S::bits>(packed.row_codes(r), c))
                     : std::uint8_t{0});
  }

  /// Calls visit(values, columns) for the kept columns of block row b, as many at once as a window holds.
  template <KernelBackend Kernels, class Visit>
  void for_windows(std::size_t b, const Visit& visit) const noexcept {
    detail::KeptValues values;
    std::array<float, detail::kept_window> gathered;
    std::array<std::uint32_t, detail::kept_window> columns;
    const std::size_t most = detail::kept_window / block().rows;
    std::size_t count = 0;
    const auto finish = [&] {
      const auto full = std::span<const std::uint32_t>(columns).first(count);
      scale(b, full, gathered.data());
      visit(gathered.data(), full);
      count = 0;
    };
    for (std::size_t k = blocks_.offsets[b]; k < blocks_.offsets[b + 1]; ++k) {
      const std::size_t first = blocks_.columns[k] * block().cols, width = std::min(block().cols, shape().cols - first);
      const std::uint8_t* const codes = codes_.codes(k, k * block().rows * block().cols);
      for (std::size_t c = 0; c < width;) {
        const std::size_t n = std::min(width - c, most - count);
        const float* from = codes_.template decode<Kernels>(codes, c * block().rows, n * block().rows, values.data());
        std::copy_n(from, n * block().rows, gathered.data() + count * block().rows);
        for (std::size_t i = 0; i < n; ++i) columns[count + i] = static_cast<std::uint32_t>(first + c + i);
        c += n;
        count += n;
        if (count == most) finish();
      }
    }
    if (count != 0) finish();
  }

  /// Gives the values of these columns of block row b their parameters.
  void scale(std::size_t b, std::span<const std::uint32_t> columns, float* values) const noexcept {
    const PackedView<S> parameters = codes_.parameters();
    std::array<float, most_block_rows> factors{}, zeros{};
    std::size_t group = std::numeric_limits<std::size_t>::max();
    for (const std::uint32_t column : columns) {
      if (const std::size_t g = column / parameters.group(); g != group) {
        group = g;
        for (std::size_t r = 0; r < height(b); ++r) {
          const std::size_t at = parameters.first_block(b * block().rows + r) + g;
          factors[r] = parameters.scale(at);
          if constexpr (S::has_zero_point) zeros[r] = static_cast<float>(parameters.zero_points[at]);
        }
      }
      for (std::size_t r = 0; r < block().rows; ++r) {
        if constexpr (S::has_zero_point)
          values[r] = (values[r] - zeros[r]) * factors[r];
        else
          values[r] *= factors[r];
      }
      values += block().rows;
    }
  }

  detail::KeptBlocks blocks_;
  detail::KeptCodes<S> codes_;
};

}  // namespace pare
