#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string>
#include <utility>

#include "pare/calibration/triangular.hpp"
#include "pare/tensor/tensor.hpp"

namespace pare {

/// What is added to the diagonal of a Hessian before it is inverted.
struct Damping {
  double fraction = 0.01;        ///< of the mean of the diagonal
  int retries = 0;               ///< how often more is added when the matrix is not positive definite
  double retry_fraction = 0.01;  ///< of the mean of the diagonal, added at each retry
  double floor = 0.0;            ///< the least that is added
  double silent = 1.0;           ///< what a channel that never fired (0 on the diagonal) counts as there
};

/// The upper triangle U with U^T U = (H + damping * I)^-1, by which one column's error is spread over the later ones.
template <class Real>
struct InverseFactor {
  Matrix<Real> upper;    ///< [channels, channels], zero below the diagonal
  double damping = 0.0;  ///< what was added to each diagonal element
};

/// Factors the inverse of a symmetric matrix whose rows and columns are taken in the given `order` (all of them as they
/// are when it is empty). Channels that never fired count as Damping::silent before the damping's mean is taken.
/// O(n^3); one n x n matrix of memory. Errors: not square, values that are not finite, an order that is no
/// permutation, a matrix that no damping allowed makes positive definite, cancelled by the progress. The result does
/// not depend on the executor.
template <class Real>
Result<InverseFactor<Real>> inverse_factor(MatrixView<const Real> hessian, const Damping& damping,
                                           std::span<const std::uint32_t> order = {},
                                           std::pmr::memory_resource* memory = nullptr,
                                           const Executor& executor = serial, const Progress& progress = unobserved) {
  const std::size_t n = hessian.rows;
  if (hessian.cols != n) return detail::shape_error("the Hessian", hessian.shape(), {n, n});
  if (!order.empty()) {
    auto seen = Array<bool>::create(n, memory);
    if (!seen) return std::move(seen).error();
    bool good = order.size() == n;
    for (std::size_t i = 0; good && i < n; ++i) {
      good = order[i] < n && !(*seen)[order[i]];
      if (good) (*seen)[order[i]] = true;
    }
    if (!good) return Error{ErrorCode::invalid_argument, "pare: the order of columns must name each of them once"};
  }
  const auto at = [&](std::size_t i) { return order.empty() ? i : order[i]; };
  const auto diagonal = [&](std::size_t i) {
    const Real value = hessian(at(i), at(i));
    return value == Real{0} ? static_cast<Real>(damping.silent) : value;
  };

  double mean = 0.0;
  for (std::size_t i = 0; i < n; ++i) mean += static_cast<double>(diagonal(i)) / static_cast<double>(n);
  if (!(mean - mean == 0.0))
    return Error{ErrorCode::invalid_argument, "pare: the Hessian's diagonal holds a value that is not finite"};

  auto reversed = Matrix<Real>::create({n, n}, memory);
  if (!reversed) return std::move(reversed).error();
  double added = std::max(damping.fraction * mean, damping.floor);
  ProgressMeter meter(progress, n * n * n / 3);
  for (int attempt = 0; n > 0; ++attempt) {
    // H = R R^T with an upper R is the Cholesky factorization of H read backwards, and U = R^-1: no inverse is formed.
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j <= i; ++j) {
        const std::size_t a = n - 1 - i, b = n - 1 - j;
        (*reversed)(i, j) = a == b ? diagonal(a) + static_cast<Real>(added) : hessian(at(a), at(b));
      }
    if (detail::factor_lower(reversed->view(), executor, meter)) break;
    if (Result<void> ok = meter.status(); !ok) return std::move(ok).error();
    if (attempt == damping.retries)
      return Error{ErrorCode::invalid_argument,
                   "pare: the Hessian is not positive definite with " + std::to_string(added) +
                       " on its diagonal; give more samples, more damping or more retries"};
    added += damping.retry_fraction * mean;
  }
  detail::invert_lower(reversed->view(), executor, meter);
  if (Result<void> ok = meter.status(); !ok) return std::move(ok).error();
  // The inverse of the reversed factor, read backwards again.
  std::reverse(reversed->values().begin(), reversed->values().end());
  return InverseFactor<Real>{*std::move(reversed), added};
}

}  // namespace pare
