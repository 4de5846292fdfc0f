#pragma once

#include <Eigen/Cholesky>
#include <algorithm>
#include <array>
#include <cstddef>

#include "pare/calibration/eigen_map.hpp"

namespace pare::detail {

/// Rows or columns of one task of the functions below, which depend on the size alone: no result depends on the
/// executor.
inline constexpr std::size_t triangular_panel = 128;

/// Calls work(begin, count) for each panel of so many rows or columns.
template <class Work>
void each_panel(std::size_t size, const Executor& executor, Work&& work) {
  executor(ceil_div(size, triangular_panel), [&](std::size_t task) {
    const std::size_t begin = task * triangular_panel;
    work(begin, std::min(triangular_panel, size - begin));
  });
}

template <class Real>
MatrixView<Real> part(MatrixView<Real> matrix, std::size_t row, std::size_t col, std::size_t rows, std::size_t cols) {
  return {&matrix(row, col), rows, cols, matrix.row_stride, 1};
}

/// The factor L with L L^T = matrix, in place of its lower triangle; the upper one is neither read nor written. Returns
/// false where the matrix is not positive definite, or not finite, or the meter stopped. O(n^3 / 3); the meter counts
/// multiplications, n^3 / 6 in all.
template <class Real>
bool factor_lower(MatrixView<Real> matrix, const Executor& executor, ProgressMeter& meter) {
  const std::size_t n = matrix.rows;
  for (std::size_t begin = 0; begin < n; begin += triangular_panel) {
    const std::size_t width = std::min(triangular_panel, n - begin), rest = n - begin - width;
    Eigen::Ref<EigenMatrix<Real>, 0, Eigen::OuterStride<>> corner = as_eigen(part(matrix, begin, begin, width, width));
    if (Eigen::LLT<decltype(corner)>(corner).info() != Eigen::Success) return false;
    for (std::size_t i = begin; i < begin + width; ++i)
      if (const Real pivot = matrix(i, i); !(pivot > Real{0} && pivot - pivot == Real{0})) return false;
    if (!meter.advance(width * (n - begin) * (n - begin) / 2)) return false;
    if (rest == 0) return true;
    const MatrixView<Real> below = part(matrix, begin + width, begin, rest, width);
    each_panel(rest, executor, [&](std::size_t row, std::size_t count) {
      auto rows = as_eigen(part(below, row, 0, count, width));
      corner.transpose().template triangularView<Eigen::Upper>().template solveInPlace<Eigen::OnTheRight>(rows);
    });
    each_panel(rest, executor, [&](std::size_t row, std::size_t count) {
      const std::size_t place = begin + width;
      const auto rows = as_eigen(part(below, row, 0, count, width));
      if (row != 0)
        as_eigen(part(matrix, place + row, place, count, row)).noalias() -=
            rows * as_eigen(part(below, 0, 0, row, width)).transpose();
      as_eigen(part(matrix, place + row, place + row, count, count))
          .template selfadjointView<Eigen::Lower>()
          .rankUpdate(rows, Real{-1});
    });
  }
  return true;
}

/// The inverse of a lower triangle, in its place, left halfway where the meter stops. O(n^3 / 3), in products of
/// blocks; the meter counts multiplications, n^3 / 6 in all.
template <class Real>
void invert_lower(MatrixView<Real> lower, const Executor& executor, ProgressMeter& meter) {
  constexpr std::size_t small = 64;
  const std::size_t n = lower.rows;
  if (n > small) {
    const std::size_t half = n / 2, rest = n - half;
    const MatrixView<Real> first = part(lower, 0, 0, half, half), last = part(lower, half, half, rest, rest);
    const MatrixView<Real> below = part(lower, half, 0, rest, half);
    each_panel(half, executor, [&](std::size_t column, std::size_t count) {
      auto columns = as_eigen(part(below, 0, column, rest, count));
      as_eigen(last).template triangularView<Eigen::Lower>().solveInPlace(columns);
    });
    each_panel(rest, executor, [&](std::size_t row, std::size_t count) {
      auto rows = as_eigen(part(below, row, 0, count, half));
      as_eigen(first).template triangularView<Eigen::Lower>().template solveInPlace<Eigen::OnTheRight>(rows);
      rows = -rows;
    });
    if (!meter.advance(half * rest * n / 2)) return;
    invert_lower(first, executor, meter);
    invert_lower(last, executor, meter);
    return;
  }
  for (std::size_t i = 0; i < n; ++i) {
    std::array<Real, small> sums{};
    for (std::size_t k = 0; k < i; ++k)
      for (std::size_t j = 0; j <= k; ++j) sums[j] += lower(i, k) * lower(k, j);
    for (std::size_t j = 0; j < i; ++j) lower(i, j) = -sums[j] / lower(i, i);
    lower(i, i) = Real{1} / lower(i, i);
  }
}

}  // namespace pare::detail
