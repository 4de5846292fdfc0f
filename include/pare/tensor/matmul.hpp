#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <utility>

#include "pare/tensor/dequantize.hpp"

namespace pare {
namespace detail {

/// The columns whose products are summed before they join the result; also bounds the scratch on the stack.
inline constexpr std::size_t product_columns = 1024;

template <class Kernels, std::size_t TileRows, SchemeType S>
void multiply_rows(const PackedView<S>& weights, std::size_t begin, std::size_t end, MatrixView<const float> x,
                   MatrixView<float> y) {
  alignas(Buffer::alignment) std::array<float, TileRows * product_columns> tile;
  for (std::size_t n = begin; n < end; n += TileRows) {
    const std::size_t rows = std::min(TileRows, end - n);
    for (std::size_t c = 0; c < x.cols; c += product_columns) {
      const std::size_t width = std::min(product_columns, x.cols - c);
      for (std::size_t r = 0; r < rows; ++r)
        decode_columns<Kernels, S>(weights, n + r, c, width, tile.data() + r * product_columns);
      Kernels::accumulate_products(x.data + c, x.rows, x.row_stride, tile.data(), rows, product_columns, width,
                                   y.data + n, y.row_stride);
    }
  }
}

}  // namespace detail

/// y = x * W^T straight from the codes: x is [m, in], the packed weights [out, in], y [m, out], all float.
///
/// Every backend, target and executor gives the same bits: each 1024 columns are multiplied by the dequantized weights and
/// summed as ReferenceKernels::accumulate_products says, and these sums are added in order, starting at 0. So the error of
/// each y is at most (in / 16 + in / 1024 + 6) * 2^-24 * sum |x_c * w_c|, to first order.
/// Uses up to 64 KiB of the stack; allocates nothing. Rows of x and y must have adjacent columns. Errors: shapes that do
/// not fit, strided columns, null pointers, overlapping memory.
template <SchemeType S, KernelBackend Kernels = HighwayKernels>
Result<void> matmul(PackedView<S> weights, MatrixView<const float> x, MatrixView<float> y, const Options& options = {}) {
  if (x.cols != weights.shape.cols) return detail::shape_error("x", x.shape(), {x.rows, weights.shape.cols});
  if (y.shape() != Shape{x.rows, weights.shape.rows})
    return detail::shape_error("y", y.shape(), {x.rows, weights.shape.rows});
  if (Result<void> ok = detail::check_input(x, "x"); !ok) return ok;
  if (Result<void> ok = detail::check_output(y, "y"); !ok) return ok;
  if ((x.col_stride != 1 && x.cols > 1) || (y.col_stride != 1 && y.cols > 1))
    return Error{ErrorCode::unsupported, "pare: matmul needs row-major x and y; use Eigen's RowMajor storage order"};
  const Result<PackedSizes> sizes = packed_sizes<S>(weights.shape);
  if (!sizes) return sizes.error();
  if (detail::overlap(y.data, detail::extent(y), x.data, detail::extent(x)) ||
      detail::overlap(y.data, detail::extent(y), weights.codes, sizes->codes) ||
      detail::overlap(y.data, detail::extent(y), weights.scales, sizes->scales) ||
      detail::overlap(y.data, detail::extent(y), weights.zero_points, sizes->zero_points))
    return Error{ErrorCode::invalid_argument, "pare: y overlaps x or the weights"};
  if (y.empty()) return {};
  for (std::size_t i = 0; i < y.rows; ++i) std::fill_n(y.row(i), y.cols, 0.0f);
  constexpr std::size_t rows_per_task = 64;
  options.executor(ceil_div(y.cols, rows_per_task), [&](std::size_t task) {
    const std::size_t begin = task * rows_per_task;
    const std::size_t end = std::min(y.cols, begin + rows_per_task);
    // A few rows of x use each decoded weight a few times only: keep the decoded ones in the first-level cache.
    if (x.rows < 8)
      detail::multiply_rows<Kernels, 4, S>(weights, begin, end, x, y);
    else
      detail::multiply_rows<Kernels, 16, S>(weights, begin, end, x, y);
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
