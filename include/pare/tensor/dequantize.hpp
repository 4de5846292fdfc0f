#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "pare/tensor/operand.hpp"
#include "pare/tensor/packed.hpp"

namespace pare {
namespace detail {

/// The values of columns [begin, begin + count) of a row; begin * S::bits is a multiple of 8.
template <class Kernels, SchemeType S, class T>
void decode_columns(const PackedView<S>& packed, std::size_t row, std::size_t begin, std::size_t count, T* out) {
  constexpr std::size_t window = 256;
  const std::size_t group = packed.group();
  const std::size_t first_block = packed.first_block(row);
  const std::uint8_t* codes = packed.row_codes(row);
  for (std::size_t done = 0; done < count;) {
    const std::size_t column = begin + done;
    const std::size_t block = column / group, offset = column % group;
    // Windows end on multiples of eight columns unless they end the range: eight codes fill whole bytes.
    const std::size_t blocks = std::min(window, ceil_div(offset + count - done, group));
    const std::size_t width = blocks < window ? count - done : (window - 1) * group / 8 * 8;
    std::array<float, window> scales;
    Kernels::template decode_scales<typename S::scale_type>(packed.stored_scale(first_block + block), blocks,
                                                            scales.data());
    Kernels::template decode<typename S::format_type>(
        codes + column / 8 * S::bits, width, group, offset, scales.data(),
        S::has_zero_point ? packed.zero_points + first_block + block : nullptr, out + done);
    done += width;
  }
}

/// The matrix that decoded values are written to. Errors: another shape, null pointers, elements that overlap.
template <class Out>
auto decoded_view(Out& out, Shape shape) {
  auto view = to_view(out, shape);
  using T = typename std::remove_reference_t<decltype(*view)>::value_type;
  static_assert(Element<T>, "pare: dequantize writes float, pare::Half or pare::BFloat16");
  using View = Result<MatrixView<T>>;
  if (!view) return View(std::move(view).error());
  if (view->shape() != shape) return View(shape_error("the output", view->shape(), shape));
  if (Result<void> ok = check_output(*view, "the output"); !ok) return View(std::move(ok).error());
  return view;
}

/// Outputs of at least this many bytes leave no room in the caches for anything else.
inline constexpr std::size_t past_caches_bytes = std::size_t{32} << 20;

/// Writes every row of a matrix that is not empty: `decode(row, begin, count, to)` gives the values of columns
/// [begin, begin + count), where `begin` is a multiple of 1024. Rows that go past the caches are decoded a few values
/// at a time, so that some are decoded while others are on their way.
template <class Kernels, class T, class Decode>
Result<void> decode_rows(MatrixView<T> target, const Options& options, Decode&& decode) {
  const RowTasks tasks(target.shape(), 1);
  auto rows = ContiguousRows<T>::over(target, tasks.count, options.memory);
  if (!rows) return std::move(rows).error();
  const bool past_caches = rows->in_place() && target.rows >= past_caches_bytes / sizeof(T) / target.cols;
  const auto decode_past_caches = [&](std::size_t row) {
    alignas(64) std::array<T, 1024> values;
    for (std::size_t begin = 0; begin < target.cols; begin += values.size()) {
      const std::size_t count = std::min(values.size(), target.cols - begin);
      decode(row, begin, count, values.data());
      Kernels::copy_past_caches(reinterpret_cast<const std::uint8_t*>(values.data()), count * sizeof(T),
                                reinterpret_cast<std::uint8_t*>(target.row(row) + begin));
    }
  };
  options.executor(tasks.count, [&](std::size_t task) {
    const std::size_t end = std::min(target.rows, (task + 1) * tasks.rows_per_task);
    for (std::size_t r = task * tasks.rows_per_task; r < end; ++r) {
      if (past_caches)
        decode_past_caches(r);
      else
        decode(r, std::size_t{0}, target.cols, rows->target(task, r));
      rows->scatter(task, r);
    }
    if (past_caches) Kernels::flush_copies();
  });
  return {};
}

}  // namespace detail

/// Writes the values of a packed matrix into `out`: a MatrixView, anything with Eigen's accessors or a contiguous range
/// of rows * cols values in row-major order; of float, Half or BFloat16 (rounded to nearest even). Rows of a contiguous
/// output of 32 MiB and more are written past the caches. Errors: shapes differ, null pointers, overlapping memory.
template <SchemeType S, KernelBackend Kernels = HighwayKernels, class Out>
  requires MatrixOperand<std::remove_reference_t<Out>>
Result<void> dequantize(PackedView<S> packed, Out&& out, const Options& options = {}) {
  const auto view = detail::decoded_view(out, packed.shape);
  if (!view) return view.error();
  const auto target = *view;
  using T = typename decltype(target)::value_type;
  const Result<PackedSizes> sizes = packed_sizes<S>(packed.shape);
  if (!sizes) return sizes.error();
  if (detail::overlap(target.data, detail::extent(target), packed.codes, sizes->codes) ||
      detail::overlap(target.data, detail::extent(target), packed.scales, sizes->scales) ||
      detail::overlap(target.data, detail::extent(target), packed.zero_points, sizes->zero_points))
    return Error{ErrorCode::invalid_argument, "pare: the output overlaps the packed tensor"};
  if (target.empty()) return {};
  const auto decode = [&](PackedView<S> part, MatrixView<T> to) {
    return detail::decode_rows<Kernels>(to, options, [&](std::size_t row, std::size_t begin, std::size_t count, T* at) {
      detail::decode_columns<Kernels, S>(part, row, begin, count, at);
    });
  };
  if (!target.is_contiguous() || !detail::rows_join<S>(packed.shape)) return decode(packed, target);
  return detail::join_short_rows(packed.shape, [&](std::size_t first, Shape shape) {
    return decode(packed.joined(first, shape), {target.row(first), shape.rows, shape.cols});
  });
}

/// As above, for a tensor that owns its bytes.
template <SchemeType S, KernelBackend Kernels = HighwayKernels, class Out>
  requires MatrixOperand<std::remove_reference_t<Out>>
Result<void> dequantize(const PackedTensor<S>& packed, Out&& out, const Options& options = {}) {
  return dequantize<S, Kernels>(packed.view(), out, options);
}

}  // namespace pare
