#pragma once

#include <cmath>
#include <cstddef>
#include <memory_resource>
#include <string>
#include <utility>

#include "pare/kernels/kernels.hpp"
#include "pare/quantize/hadamard_matrix.hpp"

namespace pare {

/// The orthogonal Hadamard transform of vectors of n = K * 2^m values, symmetric for K = 1: y[a, k] = n^(-1/2) * sum
/// over a', i of H_K[a, a'] * (-1)^popcount(k & i) * x[a', i], where a counts runs of 2^m values. O(n (K + m))
/// operations, K^2 floats of memory (K: hadamard_order).
class Hadamard {
 public:
  /// Errors: a size that no construction of a Hadamard matrix fits, out_of_memory.
  static Result<Hadamard> create(std::size_t size, std::pmr::memory_resource* memory = nullptr) {
    const std::size_t order = hadamard_order(size);
    if (order == 0)
      return Error{ErrorCode::unsupported, "pare: no Hadamard transform of " + std::to_string(size) +
                                               " values is known; pad them, or rotate by blocks of another size"};
    auto matrix = hadamard_matrix(order, memory);
    if (!matrix) return std::move(matrix).error();
    return Hadamard(size, *std::move(matrix));
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// K, the order of the part that is a stored matrix.
  [[nodiscard]] std::size_t order() const noexcept { return matrix_.rows(); }

  /// Transforms size() values in place; `scratch` holds as many.
  template <class Real>
  void forward(Real* values, Real* scratch) const {
    run(values, scratch, 1, order());
  }
  /// The inverse of forward.
  template <class Real>
  void backward(Real* values, Real* scratch) const {
    run(values, scratch, order(), 1);
  }

 private:
  Hadamard(std::size_t size, Matrix<float> matrix) : size_(size), matrix_(std::move(matrix)) {}

  /// Element (a, b) of the matrix is at a * b_step + b * a_step: transposed for the inverse.
  template <class Real>
  void run(Real* values, Real* scratch, std::size_t b_step, std::size_t a_step) const {
    const std::size_t length = size_ / order();
    const auto scale = static_cast<Real>(1.0 / std::sqrt(static_cast<double>(size_)));
    for (std::size_t i = 0; i < size_; ++i) values[i] *= scale;
    for (std::size_t a = 0; a < order(); ++a) HighwayKernels::butterflies(values + a * length, length);
    if (order() == 1) return;
    HighwayKernels::multiply_signs(values, matrix_.values().data(), a_step, b_step, order(), length, scratch);
    for (std::size_t i = 0; i < size_; ++i) values[i] = scratch[i];
  }

  std::size_t size_ = 0;
  Matrix<float> matrix_;
};

}  // namespace pare
