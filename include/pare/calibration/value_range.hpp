#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <utility>

#include "pare/calibration/finite.hpp"

namespace pare {

/// From the smallest to the largest of some values; lowest > highest where there were none. Other than a Range it need
/// not hold zero.
struct ValueRange {
  float lowest = std::numeric_limits<float>::infinity();
  float highest = -std::numeric_limits<float>::infinity();

  [[nodiscard]] constexpr bool empty() const noexcept { return !(lowest <= highest); }
  /// The largest absolute value; 0 of none.
  [[nodiscard]] constexpr float magnitude() const noexcept {
    return empty() ? 0.0f : -lowest > highest ? -lowest : highest;
  }
  constexpr void include(float x) noexcept {
    lowest = x < lowest ? x : lowest;
    highest = x > highest ? x : highest;
  }
  constexpr void merge(const ValueRange& other) noexcept {
    lowest = other.lowest < lowest ? other.lowest : lowest;
    highest = other.highest > highest ? other.highest : highest;
  }
  friend constexpr bool operator==(const ValueRange&, const ValueRange&) = default;
};

/// Which elements of a matrix [tokens, channels] share a range: all, those of a channel (column), those of a token
/// (row).
enum class RangeScope { tensor, channel, token };

/// The value below which a share of some values lies, 0 <= share <= 1, interpolated between neighbours as numpy's
/// default does. Reorders the values, of which there must be one.
inline float quantile(std::span<float> values, double share) noexcept {
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = std::min(static_cast<std::size_t>(place), values.size() - 1);
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(below);
  std::nth_element(values.begin(), middle, values.end());
  if (below + 1 == values.size()) return *middle;
  const auto low = static_cast<double>(*middle);
  const auto high = static_cast<double>(*std::min_element(middle + 1, values.end()));
  return static_cast<float>(low + (place - static_cast<double>(below)) * (high - low));
}

/// The ranges of a matrix: one, or one for each column or row. With a tail they reach from its quantile to that of
/// 1 - tail instead of from the least to the largest value. The result does not depend on the executor. Errors: a value
/// that is not finite, a tail outside [0, 0.5], out_of_memory.
inline Result<Array<ValueRange>> value_ranges(MatrixView<const float> values, RangeScope scope, double tail = 0.0,
                                              const Options& options = {}) {
  if (Result<void> ok = check_finite(values, "the values"); !ok) return std::move(ok).error();
  if (!(tail >= 0.0 && tail <= 0.5))
    return Error{ErrorCode::invalid_argument, "pare: the tail of a range must lie between 0 and 0.5"};
  // Columns are the rows of the transposed view.
  const bool channels = scope == RangeScope::channel;
  const MatrixView<const float> runs =
      channels ? MatrixView<const float>(values.data, values.cols, values.rows, values.col_stride, values.row_stride)
               : values;
  const bool whole = scope == RangeScope::tensor;
  std::size_t count = 0;
  if (!checked_multiply(values.rows, values.cols, count))
    return Error{ErrorCode::invalid_argument, "pare: rows * cols is more than memory can be"};
  auto ranges = Array<ValueRange>::create(whole ? 1 : runs.rows, options.memory);
  if (!ranges || values.empty()) return ranges;
  if (whole && tail == 0.0) {
    for (std::size_t r = 0; r < runs.rows; ++r)
      for (std::size_t c = 0; c < runs.cols; ++c) (*ranges)[0].include(runs(r, c));
    return ranges;
  }
  const Shape sorted = whole ? Shape{1, count} : runs.shape();
  const detail::RowTasks tasks(sorted, 1);
  auto scratch = Matrix<float>::create({tail == 0.0 ? 0 : tasks.count, sorted.cols}, options.memory);
  if (!scratch) return std::move(scratch).error();
  options.executor(tasks.count, [&](std::size_t task) {
    const std::size_t last = std::min(sorted.rows, (task + 1) * tasks.rows_per_task);
    for (std::size_t r = task * tasks.rows_per_task; r < last; ++r) {
      ValueRange& range = (*ranges)[r];
      if (tail == 0.0) {
        for (std::size_t c = 0; c < runs.cols; ++c) range.include(runs(r, c));
        continue;
      }
      const std::span<float> copy = scratch->row(task);
      std::size_t next = 0;
      for (std::size_t i = r; i < (whole ? runs.rows : r + 1); ++i)
        for (std::size_t c = 0; c < runs.cols; ++c) copy[next++] = runs(i, c);
      range.lowest = quantile(copy, tail);
      range.highest = quantile(copy, 1.0 - tail);
    }
  });
  return ranges;
}

}  // namespace pare
