#pragma once

#include <Eigen/QR>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory_resource>
#include <utility>

#include "pare/calibration/calibration.hpp"

namespace pare {

/// Gradient descent among the orthogonal matrices by Cayley transforms (Li et al., "Efficient Riemannian Optimization
/// on the Stiefel Manifold via the Cayley Transform", 2020), by which SpinQuant (Liu et al., 2024) learns its
/// rotations. Each step is O(n^3) in double; some n x n matrices of memory.
struct CayleyDescent {
  double learning_rate = 1.5;
  double momentum = 0.0;
  int iterations = 5;       ///< of the fixed point that stands for the inverse of the Cayley transform
  int retract_every = 101;  ///< steps after which rounding errors are removed by a QR factorization; 0: never
};

/// A matrix on its way through a CayleyDescent, with its momentum.
template <class Real = double>
class CayleyState {
 public:
  /// Starts from an orthogonal matrix. Errors: not square, not orthogonal, out_of_memory.
  static Result<CayleyState> create(MatrixView<const Real> start, std::pmr::memory_resource* memory = nullptr) {
    const std::size_t n = start.rows;
    if (start.cols != n) return detail::shape_error("the rotation", start.shape(), {n, n});
    if (Result<void> ok = detail::check_input(start, "the rotation"); !ok) return std::move(ok).error();
    auto matrix = Matrix<Real>::copy(start, memory);
    if (!matrix) return std::move(matrix).error();
    auto velocity = Matrix<Real>::create({n, n}, memory);
    if (!velocity) return std::move(velocity).error();
    const auto x = as_eigen(matrix->view());
    if (n > 0 && !((x * x.transpose() - EigenMatrix<Real>::Identity(x.rows(), x.cols())).norm() < 1e-3))
      return Error{ErrorCode::invalid_argument, "pare: the rotation to start from is not orthogonal"};
    return CayleyState(*std::move(matrix), *std::move(velocity));
  }

  [[nodiscard]] MatrixView<const Real> matrix() const noexcept { return matrix_.view(); }

  /// One step against the gradient [n, n] of a loss with respect to the matrix. Errors: another shape, a gradient that
  /// is not finite.
  template <class Element>
  Result<void> step(MatrixView<const Element> gradient, const CayleyDescent& descent) {
    if (gradient.shape() != matrix_.shape())
      return detail::shape_error("the gradient", gradient.shape(), matrix_.shape());
    if (Result<void> ok = detail::check_input(gradient, "the gradient"); !ok) return ok;
    using Dense = EigenMatrix<Real>;
    auto x = as_eigen(matrix_.view());
    auto velocity = as_eigen(velocity_.view());
    Dense moved = static_cast<Real>(descent.momentum) * velocity;
    for (std::size_t r = 0; r < gradient.rows; ++r)
      for (std::size_t c = 0; c < gradient.cols; ++c)
        moved(static_cast<Eigen::Index>(r), static_cast<Eigen::Index>(c)) -= static_cast<Real>(gradient(r, c));
    if (!moved.allFinite())
      return Error{ErrorCode::invalid_argument, "pare: the gradient holds a value that is not finite"};
    if (moved.size() == 0) return {};

    const Dense along = moved * x.transpose();
    const Dense half = along - 0.5 * x * (x.transpose() * along);
    const Dense skew = half - half.transpose();
    velocity = skew * x;
    const double norm = skew.cwiseAbs().colwise().sum().maxCoeff();
    const double length = std::min(1.0 / (norm + 1e-8), descent.learning_rate);
    Dense next = x + length * velocity;
    for (int i = 0; i < descent.iterations; ++i) next = x + 0.5 * length * (skew * (x + next));
    x = next;
    if (descent.retract_every > 0 && ++steps_ % descent.retract_every == 0) retract();
    return {};
  }

 private:
  CayleyState(Matrix<Real> matrix, Matrix<Real> velocity)
      : matrix_(std::move(matrix)), velocity_(std::move(velocity)) {}

  /// Replaces the matrix by the orthogonal factor whose triangular one has a positive diagonal: the nearest of its
  /// kind.
  void retract() {
    auto x = as_eigen(matrix_.view());
    const Eigen::HouseholderQR<EigenMatrix<Real>> factors(x);
    EigenMatrix<Real> q = factors.householderQ();
    for (Eigen::Index i = 0; i < q.cols(); ++i)
      if (factors.matrixQR()(i, i) < 0.0) q.col(i) = -q.col(i);
    x = q;
  }

  Matrix<Real> matrix_;
  Matrix<Real> velocity_;
  long steps_ = 0;
};

}  // namespace pare
