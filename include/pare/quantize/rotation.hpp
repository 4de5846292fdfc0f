#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string>
#include <utility>

#include "pare/quantize/hadamard.hpp"
#include "pare/quantize/linear_layer.hpp"

namespace pare {

/// An orthogonal matrix Q [size, size] that multiplies rows: forward makes x of x Q, backward x of x Q^T. `scratch`
/// holds size() values. Models: HadamardRotation, DenseRotation.
template <class Q>
concept Rotation = requires(const Q& rotation, double* x, double* scratch) {
  { rotation.size() } -> std::convertible_to<std::size_t>;
  rotation.forward(x, scratch);
  rotation.backward(x, scratch);
};

static_assert(Rotation<Hadamard>);

/// The randomized Hadamard rotation Q = diag(signs) * H^T of QuIP# and QuaRot (H: Hadamard), by butterflies.
class HadamardRotation {
 public:
  /// Each sign is +1 or -1. Errors: another number, a size of no Hadamard transform, out_of_memory.
  static Result<HadamardRotation> create(std::span<const float> signs, std::pmr::memory_resource* memory = nullptr) {
    for (const float sign : signs)
      if (sign != 1.0f && sign != -1.0f)
        return Error{ErrorCode::invalid_argument, "pare: the signs of a randomized rotation must be +1 or -1"};
    auto hadamard = Hadamard::create(signs.size(), memory);
    if (!hadamard) return std::move(hadamard).error();
    auto copy = Array<float>::create(signs.size(), memory);
    if (!copy) return std::move(copy).error();
    std::copy(signs.begin(), signs.end(), copy->begin());
    return HadamardRotation(*std::move(hadamard), *std::move(copy));
  }
  /// Signs drawn from a seed, the same on every machine.
  static Result<HadamardRotation> random(std::size_t size, std::uint64_t seed,
                                         std::pmr::memory_resource* memory = nullptr) {
    auto signs = Array<float>::create(size, memory);
    if (!signs) return std::move(signs).error();
    for (float& sign : *signs) {
      // SplitMix64 (Steele et al., 2014).
      seed += 0x9e3779b97f4a7c15u;
      std::uint64_t mixed = seed;
      mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
      mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
      sign = ((mixed ^ (mixed >> 31)) & 1u) != 0 ? 1.0f : -1.0f;
    }
    return create(signs->values(), memory);
  }

  [[nodiscard]] std::size_t size() const noexcept { return hadamard_.size(); }
  [[nodiscard]] std::span<const float> signs() const noexcept { return signs_.values(); }

  template <class Real>
  void forward(Real* x, Real* scratch) const {
    flip(x);
    hadamard_.forward(x, scratch);
  }
  template <class Real>
  void backward(Real* x, Real* scratch) const {
    hadamard_.backward(x, scratch);
    flip(x);
  }

 private:
  HadamardRotation(Hadamard hadamard, Array<float> signs) : hadamard_(std::move(hadamard)), signs_(std::move(signs)) {}

  template <class Real>
  void flip(Real* x) const {
    for (std::size_t i = 0; i < size(); ++i) x[i] *= static_cast<Real>(signs_[i]);
  }

  Hadamard hadamard_;
  Array<float> signs_;
};

/// Any orthogonal matrix, such as one that SpinQuant learned.
class DenseRotation {
 public:
  /// Error: a matrix that is not square, or whose rows are not orthonormal within `tolerance`.
  template <std::same_as<double> Real>
  static Result<DenseRotation> create(Matrix<Real> matrix, double tolerance = 1e-5) {
    const std::size_t n = matrix.rows();
    if (matrix.cols() != n) return detail::shape_error("the rotation", matrix.shape(), {n, n});
    const auto q = as_eigen(std::as_const(matrix).view());
    if (!q.allFinite())
      return Error{ErrorCode::invalid_argument, "pare: the rotation holds a value that is not finite"};
    EigenMatrix<Real> products(q.rows(), q.cols());
    products.noalias() = q * q.transpose();
    products.diagonal().array() -= 1.0;
    const double apart = n == 0 ? 0.0 : products.cwiseAbs().maxCoeff();
    if (!(apart <= tolerance))
      return Error{ErrorCode::invalid_argument,
                   "pare: the rotation is not orthogonal: its products of rows are " + std::to_string(apart) + " off"};
    return DenseRotation(std::move(matrix));
  }

  [[nodiscard]] std::size_t size() const noexcept { return matrix_.rows(); }
  [[nodiscard]] const Matrix<double>& matrix() const noexcept { return matrix_; }

  void forward(double* x, double* scratch) const {
    std::fill_n(scratch, size(), 0.0);
    for (std::size_t i = 0; i < size(); ++i)
      for (std::size_t j = 0; j < size(); ++j) scratch[j] += x[i] * matrix_(i, j);
    std::copy_n(scratch, size(), x);
  }
  void backward(double* x, double* scratch) const {
    for (std::size_t i = 0; i < size(); ++i) {
      scratch[i] = 0.0;
      for (std::size_t j = 0; j < size(); ++j) scratch[i] += x[j] * matrix_(i, j);
    }
    std::copy_n(scratch, size(), x);
  }

 private:
  explicit DenseRotation(Matrix<double> matrix) : matrix_(std::move(matrix)) {}

  Matrix<double> matrix_;
};

/// Whether rows are multiplied by Q or by its transpose.
enum class RotationSide { forward, backward };

/// Multiplies every row of a matrix [rows, columns] by Q (or Q^T), in place and in `Real` arithmetic; where Q is
/// smaller than a row, each run of size() columns by itself (heads). The result does not depend on the executor.
/// Errors: columns that are no multiple of Q's size, a value that is not finite, out_of_memory.
template <class Real = double, Rotation Q>
Result<void> rotate_rows(const Q& rotation, MatrixView<float> rows, RotationSide side = RotationSide::forward,
                         const Options& options = {}) {
  if (Result<void> ok = detail::check_layer({rows}, "the matrix to rotate"); !ok) return ok;
  const std::size_t n = rotation.size();
  if (n == 0 || rows.cols % n != 0)
    return Error{ErrorCode::invalid_argument, "pare: rows of " + std::to_string(rows.cols) +
                                                  " values cannot be rotated by a matrix of " + std::to_string(n)};
  if (rows.empty()) return {};
  const detail::RowTasks tasks(rows.shape(), 1);
  auto scratch = Matrix<Real>::create({tasks.count, 2 * n}, options.memory);
  if (!scratch) return std::move(scratch).error();
  options.executor(tasks.count, [&](std::size_t task) {
    Real* const x = scratch->row(task).data();
    const std::size_t last = std::min(rows.rows, (task + 1) * tasks.rows_per_task);
    for (std::size_t r = task * tasks.rows_per_task; r < last; ++r)
      for (std::size_t begin = 0; begin < rows.cols; begin += n) {
        for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<Real>(rows(r, begin + i));
        if (side == RotationSide::forward)
          rotation.forward(x, x + n);
        else
          rotation.backward(x, x + n);
        for (std::size_t i = 0; i < n; ++i) rows(r, begin + i) = static_cast<float>(x[i]);
      }
  });
  return {};
}

}  // namespace pare
