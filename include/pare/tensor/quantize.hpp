#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "pare/tensor/mask.hpp"
#include "pare/tensor/operand.hpp"
#include "pare/tensor/packed.hpp"

namespace pare {
namespace detail {

/// How many blocks of a row can be in work at once.
inline constexpr std::size_t window_blocks = 64;

/// How many are, for blocks of this many columns: few kilobytes, which stay in the first-level cache from the search of
/// their ranges to their codes.
constexpr std::size_t blocks_at_once(std::size_t group) noexcept {
  constexpr std::size_t values = 2048, fewest = 16;
  return std::clamp(values / group, fewest, window_blocks);
}

/// Quantizes the rows [begin, end) of one row of blocks, or given `ranges`, with those instead of the rows' own.
template <class Kernels, SchemeType S, class T>
void quantize_block_row(ContiguousRows<const T>& rows, std::size_t task, std::size_t begin, std::size_t end,
                        PackedSpan<S> out, const Range* given) {
  const std::size_t cols = out.shape.cols, group = out.group();
  using Rule = typename S::symmetry_type;
  using Scale = typename S::scale_type;
  std::array<BlockParameters, window_blocks> parameters;
  const std::size_t most = blocks_at_once(group);
  for (std::size_t column = 0, block = out.first_block(begin); column < cols;) {
    const std::size_t blocks = std::min(most, ceil_div(cols - column, group));
    const std::size_t width = std::min(cols - column, blocks < most ? cols - column : blocks * group);
    if (given == nullptr && end - begin == 1) {
      Kernels::template find_parameters<Rule, Scale>(rows.gather(task, begin) + column, width, group,
                                                     S::format_type::max, parameters.data(), out.stored_scale(block),
                                                     S::has_zero_point ? out.zero_points + block : nullptr);
    } else {
      std::array<Range, window_blocks> ranges;
      if (given != nullptr) {
        std::copy_n(given, blocks, ranges.begin());
      } else {
        for (std::size_t r = begin; r < end; ++r) {
          std::array<Range, window_blocks> more;
          Kernels::find_range(rows.gather(task, r) + column, width, group, more.data(),
                              rows.following(r, column + width));
          for (std::size_t b = 0; b < blocks; ++b) ranges[b].merge(more[b]);
        }
      }
      Kernels::template derive_parameters<Rule, Scale>(ranges.data(), blocks, S::format_type::max, parameters.data());
      // Tasks that share a block row share its scales and write the same bytes; only its first row's task does.
      if (given == nullptr || begin == 0)
        for (std::size_t b = 0; b < blocks; ++b)
          ReferenceKernels::store_parameters<Rule, Scale>(parameters[b], block + b, out.scales, out.zero_points);
    }
    for (std::size_t r = begin; r < end; ++r)
      Kernels::template encode<typename S::format_type>(rows.gather(task, r) + column, width, group, parameters.data(),
                                                        out.row_codes(r) + packed_bytes(column, S::bits),
                                                        rows.following(r, column + width));
    column += width;
    block += blocks;
  }
}

/// At most so many tasks leave a result each before what comes next.
inline constexpr std::size_t most_parts = 64;

/// The tasks of a matrix that is read in few parts.
inline RowTasks few_tasks(Shape shape) {
  RowTasks tasks(shape, 1);
  tasks.rows_per_task = std::max(tasks.rows_per_task, ceil_div(shape.rows, most_parts));
  tasks.count = ceil_div(shape.rows, tasks.rows_per_task);
  return tasks;
}

/// The range of all values of a matrix that is not empty, in few_tasks.
template <class Kernels, class T>
Range find_range_of_all(ContiguousRows<const T>& rows, Shape shape, const Options& options) {
  const RowTasks tasks = few_tasks(shape);
  std::array<Range, most_parts> ranges{};
  options.executor(tasks.count, [&](std::size_t task) {
    const std::size_t end = std::min(shape.rows, (task + 1) * tasks.rows_per_task);
    for (std::size_t r = task * tasks.rows_per_task; r < end; ++r) {
      Range range;
      Kernels::find_range(rows.gather(task, r), shape.cols, shape.cols, &range, rows.following(r, shape.cols));
      ranges[task].merge(range);
    }
  });
  for (std::size_t task = 1; task < tasks.count; ++task) ranges[0].merge(ranges[task]);
  return ranges[0];
}

/// One scale for the whole matrix: its range, then codes in parallel.
template <class Kernels, SchemeType S, class T>
Result<void> quantize_per_tensor(MatrixView<const T> weights, PackedSpan<S> out, const Options& options) {
  const RowTasks tasks = few_tasks(weights.shape());
  auto rows = ContiguousRows<const T>::over(weights, tasks.count, options.memory);
  if (!rows) return std::move(rows).error();
  const Range range = find_range_of_all<Kernels>(*rows, weights.shape(), options);
  options.executor(tasks.count, [&](std::size_t task) {
    const std::size_t end = std::min(weights.rows, (task + 1) * tasks.rows_per_task);
    quantize_block_row<Kernels, S>(*rows, task, task * tasks.rows_per_task, end, out, &range);
  });
  return {};
}

/// Blocks of one row or of several, which are not the whole matrix.
template <class Kernels, SchemeType S, class T>
Result<void> quantize_rows(MatrixView<const T> weights, PackedSpan<S> out, const Options& options) {
  constexpr std::size_t block_rows = S::granularity_type::block_rows;
  const RowTasks tasks(weights.shape(), block_rows);
  auto rows = ContiguousRows<const T>::over(weights, tasks.count, options.memory);
  if (!rows) return std::move(rows).error();
  options.executor(tasks.count, [&](std::size_t task) {
    const std::size_t end = std::min(weights.rows, (task + 1) * tasks.rows_per_task);
    for (std::size_t r = task * tasks.rows_per_task; r < end; r += block_rows)
      quantize_block_row<Kernels, S>(*rows, task, r, std::min(end, r + block_rows), out, nullptr);
  });
  return {};
}

}  // namespace detail

/// Quantizes a matrix of float, Half or BFloat16 into memory that the caller has prepared (see packed_sizes), rounding
/// to nearest. Every byte of `out` is written; bits past the end of a row are 0. Allocates only one scratch row per
/// task, and only when the columns of `weights` are not adjacent. Errors: shapes differ, null pointers, overlapping
/// memory.
template <SchemeType S, KernelBackend Kernels = HighwayKernels, Element T>
Result<void> quantize_into(MatrixView<const T> weights, PackedSpan<S> out, const Options& options = {}) {
  if (weights.shape() != out.shape) return detail::shape_error("the packed tensor", out.shape, weights.shape());
  if (Result<void> ok = detail::check_input(weights, "the weight matrix"); !ok) return ok;
  const Result<PackedSizes> sizes = packed_sizes<S>(out.shape);
  if (!sizes) return sizes.error();
  if (detail::overlap(weights.data, detail::extent(weights), out.codes, sizes->codes) ||
      detail::overlap(weights.data, detail::extent(weights), out.scales, sizes->scales) ||
      detail::overlap(weights.data, detail::extent(weights), out.zero_points, sizes->zero_points))
    return Error{ErrorCode::invalid_argument, "pare: the packed tensor overlaps the weights"};
  if (weights.empty()) return {};
  if constexpr (S::granularity_type::block_rows == detail::whole)
    return detail::quantize_per_tensor<Kernels, S, T>(weights, out, options);
  else if (weights.is_contiguous() && detail::rows_join<S>(out.shape))
    return detail::join_short_rows(out.shape, [&](std::size_t first, Shape shape) {
      return detail::quantize_rows<Kernels, S, T>({weights.row(first), shape.rows, shape.cols},
                                                  out.joined(first, shape), options);
    });
  else
    return detail::quantize_rows<Kernels, S, T>(weights, out, options);
}

/// The packed form of a matrix: a MatrixView or anything with Eigen's accessors, of float, Half or BFloat16.
/// Errors as for quantize_into, and out_of_memory.
template <SchemeType S, KernelBackend Kernels = HighwayKernels, class M>
  requires ShapedMatrix<const M>
Result<PackedTensor<S>> quantize(const M& weights, const Options& options = {}) {
  auto view = detail::to_view(weights, Shape{});
  if (!view) return std::move(view).error();
  using T = typename std::remove_reference_t<decltype(*view)>::value_type;
  static_assert(Element<T>, "pare: weights are float, pare::Half or pare::BFloat16");
  Result<PackedTensor<S>> packed = PackedTensor<S>::allocate(view->shape(), options.memory);
  if (!packed) return packed;
  if (Result<void> ok = quantize_into<S, Kernels>(MatrixView<const T>(*view), packed->view(), options); !ok)
    return std::move(ok).error();
  return packed;
}

/// As above, from rows * cols values in row-major order.
template <SchemeType S, KernelBackend Kernels = HighwayKernels, class Values>
  requires requires(const Values& v) { std::span(v); }
Result<PackedTensor<S>> quantize(const Values& weights, Shape shape, const Options& options = {}) {
  auto view = pare::view(std::span(weights), shape);
  if (!view) return std::move(view).error();
  return quantize<S, Kernels>(*view, options);
}

/// The packed form of what a mask keeps: pruned weights count as 0 in the range, and decode to 0 whatever stood there.
/// Copies the matrix. Errors as above, and where the mask has another shape.
template <SchemeType S, KernelBackend Kernels = HighwayKernels, class M>
  requires MatrixOperand<const M>
Result<PackedTensor<S>> quantize(const M& weights, MaskView mask, const Options& options = {}) {
  auto view = detail::to_view(weights, mask.shape());
  if (!view) return std::move(view).error();
  using T = typename std::remove_reference_t<decltype(*view)>::value_type;
  static_assert(Element<T>, "pare: weights are float, pare::Half or pare::BFloat16");
  if (view->shape() != mask.shape()) return detail::shape_error("the mask", mask.shape(), view->shape());
  if (Result<void> ok = detail::check_input(*view, "the weight matrix"); !ok) return std::move(ok).error();
  std::size_t count = 0, bytes = 0;
  if (!checked_multiply(view->rows, view->cols, count) || !checked_multiply(count, sizeof(T), bytes))
    return Error{ErrorCode::invalid_argument, "pare: the matrix is too large to copy"};
  Result<Buffer> copy = Buffer::allocate(bytes, options.memory);
  if (!copy) return std::move(copy).error();
  const MatrixView<T> kept(reinterpret_cast<T*>(copy->data()), view->rows, view->cols);
  for (std::size_t r = 0; r < kept.rows; ++r)
    for (std::size_t c = 0; c < kept.cols; ++c) kept(r, c) = mask.test(r, c) ? (*view)(r, c) : T{};
  return quantize<S, Kernels>(kept, options);
}

}  // namespace pare
