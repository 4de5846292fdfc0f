#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "pare/tensor/dequantize.hpp"

namespace pare {
namespace detail {

/// A few rows of x with rows [begin, end) of the weights: the codes are decoded as they are multiplied.
template <class Kernels, SchemeType S>
void multiply_codes(const PackedView<S>& weights, std::size_t begin, std::size_t end, MatrixView<const float> x,
                    MatrixView<float> y) {
  constexpr std::size_t most_scales = 4096;
  std::array<float, most_scales> scales;
  constexpr bool rows_have_scales = S::granularity_type::block_rows == 1;
  const std::size_t group = weights.group(), grid = S::granularity_type::grid(weights.shape).cols;
  const auto decode = [&](std::size_t row, std::size_t first, std::size_t count, float* to) {
    Kernels::template decode_scales<typename S::scale_type>(weights.stored_scale(weights.first_block(row) + first),
                                                            count, to);
  };
  // Whole rows with their scales where these fit, else the columns that are multiplied at once.
  const std::size_t window = grid <= most_scales ? x.cols : product_columns;
  for (std::size_t from = 0; from < x.cols; from += window) {
    const std::size_t to = std::min(from + window, x.cols);
    const std::size_t first = from / group, blocks = ceil_div(to, group) - first;
    const std::size_t most_rows = std::min<std::size_t>(end - begin, most_scales / blocks);
    for (std::size_t n = begin; n < end; n += most_rows) {
      const std::size_t rows = std::min(most_rows, end - n);
      if (rows_have_scales && blocks == grid)
        decode(n, 0, rows * blocks, scales.data());
      else  // rows of one block row share their scales, and so do the copies of them here
        for (std::size_t r = 0; r < rows; ++r) decode(n + r, first, blocks, scales.data() + r * blocks);
      for (std::size_t c = from; c < to; c += product_columns)
        for (std::size_t i = 0; i < x.rows; ++i)
          Kernels::template accumulate_coded_products<typename S::format_type>(
              x.row(i) + c, weights.row_codes(n) + c / 8 * S::bits, weights.row_bytes(), rows,
              std::min(product_columns, to - c), group, c % group, scales.data() + (c / group - first), blocks,
              S::has_zero_point ? weights.zero_points + weights.first_block(n) + c / group : nullptr,
              rows_have_scales ? grid : 0, y.row(i) + n);
    }
  }
}

/// Many rows of x with rows [begin, end) of the weights: each weight is decoded once for as many of them as stay in the
/// second-level cache.
template <class Kernels, SchemeType S>
void multiply_rows(const PackedView<S>& weights, std::size_t begin, std::size_t end, MatrixView<const float> x,
                   MatrixView<float> y) {
  constexpr std::size_t tile_rows = 8, rows_at_once = 128;
  alignas(Buffer::alignment) std::array<float, tile_rows * product_columns> tile;
  for (std::size_t i = 0; i < x.rows; i += rows_at_once)
    for (std::size_t c = 0; c < x.cols; c += product_columns) {
      const std::size_t width = std::min(product_columns, x.cols - c);
      for (std::size_t n = begin; n < end; n += tile_rows) {
        const std::size_t rows = std::min(tile_rows, end - n);
        for (std::size_t r = 0; r < rows; ++r)
          decode_columns<Kernels, S>(weights, n + r, c, width, tile.data() + r * product_columns);
        Kernels::accumulate_products(x.row(i) + c, std::min(rows_at_once, x.rows - i), x.row_stride, tile.data(), rows,
                                     product_columns, width, y.row(i) + n, y.row_stride);
      }
    }
}

}  // namespace detail

/// y = x * W^T straight from the codes: x is [m, in], the packed weights [out, in], y [m, out], all float.
///
/// Every backend, target and executor gives the same bits: each 1024 columns are multiplied by the dequantized weights
/// and summed as ReferenceKernels::accumulate_products says, and these sums are added in order, starting at 0. So the
/// error of each y is at most (in / 16 + in / 1024 + 6) * 2^-24 * sum |x_c * w_c|, to first order. Uses up to 40 KiB of
/// the stack; allocates nothing. Rows of x and y must have adjacent columns. Errors: shapes that do not fit, strided
/// columns, null pointers, overlapping memory.
template <SchemeType S, KernelBackend Kernels = HighwayKernels>
Result<void> matmul(PackedView<S> weights, MatrixView<const float> x, MatrixView<float> y,
                    const Options& options = {}) {
  const Result<PackedSizes> sizes = packed_sizes<S>(weights.shape);
  if (!sizes) return sizes.error();
  const auto part = [](const std::uint8_t* p, std::size_t bytes) {
    return std::as_bytes(std::span(p, p == nullptr ? 0 : bytes));
  };
  if (Result<void> ok = detail::check_product(weights.shape,
                                              {part(weights.codes, sizes->codes), part(weights.scales, sizes->scales),
                                               part(weights.zero_points, sizes->zero_points)},
                                              x, y);
      !ok)
    return ok;
  if (y.empty()) return {};
  for (std::size_t i = 0; i < y.rows; ++i) std::fill_n(y.row(i), y.cols, 0.0f);
  constexpr std::size_t rows_per_task = 64;
  options.executor(ceil_div(y.cols, rows_per_task), [&](std::size_t task) {
    const std::size_t begin = task * rows_per_task;
    const std::size_t end = std::min(y.cols, begin + rows_per_task);
    constexpr std::size_t block_rows = S::granularity_type::block_rows;
    // Zero points of blocks higher than a row change with the block row, within which the few-rows kernel stays.
    if (x.rows < 4 && (!S::has_zero_point || block_rows == 1 || block_rows == detail::whole))
      detail::multiply_codes<Kernels, S>(weights, begin, end, x, y);
    else
      detail::multiply_rows<Kernels, S>(weights, begin, end, x, y);
  });
  return {};
}

/// As above; x and y are MatrixViews or types with Eigen's accessors.
template <SchemeType S, KernelBackend Kernels = HighwayKernels, class X, class Y>
Result<void> matmul(const PackedTensor<S>& weights, const X& x, Y&& y, const Options& options = {}) {
  auto input = detail::to_view(x, Shape{});
  auto output = detail::to_view(y, Shape{});
  if (!input) return std::move(input).error();
  if (!output) return std::move(output).error();
  return matmul<S, Kernels>(weights.view(), MatrixView<const float>(*input), *output, options);
}

/// y = W * x for one vector: x has `in` values, y `out`.
template <SchemeType S, KernelBackend Kernels = HighwayKernels>
Result<void> matvec(PackedView<S> weights, std::span<const float> x, std::span<float> y, const Options& options = {}) {
  return matmul<S, Kernels>(weights, MatrixView<const float>(x.data(), 1, x.size()),
                            MatrixView<float>(y.data(), 1, y.size()), options);
}

template <SchemeType S, KernelBackend Kernels = HighwayKernels>
Result<void> matvec(const PackedTensor<S>& weights, std::span<const float> x, std::span<float> y,
                    const Options& options = {}) {
  return matvec<S, Kernels>(weights.view(), x, y, options);
}

}  // namespace pare
