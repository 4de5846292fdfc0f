#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#include "pare/core/core.hpp"
#include "pare/metrics/error_statistics.hpp"

namespace pare {

/// The error sums of `approximation` against `reference`; views may be strided or transposed. The partition into
/// partial sums depends on the shape alone, so the result is the same for every executor. Error: the shapes differ, or
/// a view that has elements has no data.
inline Result<ErrorStatistics> error_statistics(MatrixView<const float> reference,
                                                MatrixView<const float> approximation, Executor executor = serial) {
  if (reference.shape() != approximation.shape())
    return Error{ErrorCode::invalid_argument, "pare: the reference and its approximation differ in shape"};
  if (reference.empty()) return ErrorStatistics{};
  if (reference.data == nullptr || approximation.data == nullptr)
    return Error{ErrorCode::invalid_argument, "pare: a view with elements has no data"};

  std::array<ErrorStatistics, 64> partial{};
  const std::size_t rows_each = ceil_div(reference.rows, partial.size());
  const std::size_t parts = ceil_div(reference.rows, rows_each);
  executor(parts, [&](std::size_t part) {
    const std::size_t begin = part * rows_each;
    const std::size_t end = begin + std::min(rows_each, reference.rows - begin);
    ErrorStatistics sums;
    for (std::size_t r = begin; r < end; ++r)
      for (std::size_t c = 0; c < reference.cols; ++c) sums.add(reference(r, c), approximation(r, c));
    partial[part] = sums;
  });

  ErrorStatistics total;
  for (std::size_t part = 0; part < parts; ++part) total.merge(partial[part]);
  return total;
}

/// The error sums of two flat runs of values. Error: the lengths differ.
inline Result<ErrorStatistics> error_statistics(std::span<const float> reference,
                                                std::span<const float> approximation) {
  return error_statistics(MatrixView<const float>(reference.data(), 1, reference.size()),
                          MatrixView<const float>(approximation.data(), 1, approximation.size()));
}

/// A pair of operands that error_statistics takes. Models: two MatrixView<const float> and an optional Executor, two
/// spans of float.
template <class... Operands>
concept Comparable = requires(const Operands&... operands) { error_statistics(operands...); };

/// ErrorStatistics::mse of the operands, with the errors of error_statistics.
template <class... Operands>
  requires Comparable<Operands...>
Result<double> mse(const Operands&... operands) {
  return error_statistics(operands...).and_then([](ErrorStatistics s) -> Result<double> { return s.mse(); });
}

/// ErrorStatistics::sqnr of the operands, in dB, with the errors of error_statistics.
template <class... Operands>
  requires Comparable<Operands...>
Result<double> sqnr(const Operands&... operands) {
  return error_statistics(operands...).and_then([](ErrorStatistics s) -> Result<double> { return s.sqnr(); });
}

/// ErrorStatistics::cosine of the operands, with the errors of error_statistics.
template <class... Operands>
  requires Comparable<Operands...>
Result<double> cosine(const Operands&... operands) {
  return error_statistics(operands...).and_then([](ErrorStatistics s) -> Result<double> { return s.cosine(); });
}

/// ErrorStatistics::max_error of the operands, with the errors of error_statistics.
template <class... Operands>
  requires Comparable<Operands...>
Result<double> max_error(const Operands&... operands) {
  return error_statistics(operands...).and_then([](ErrorStatistics s) -> Result<double> { return s.max_error(); });
}

}  // namespace pare
