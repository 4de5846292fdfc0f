#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory_resource>
#include <string>
#include <utility>

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
    for (std::size_t a = 0; a < order(); ++a) butterflies(values + a * length, length);
    if (order() == 1) return;
    for (std::size_t a = 0; a < order(); ++a) {
      Real* const sum = scratch + a * length;
      std::fill_n(sum, length, Real{0});
      // Every order beyond 2 is a multiple of 4: four runs at a time, so that a sum is read and written less often.
      for (std::size_t b = 0; b < order(); b += 4) {
        const auto sign = [&](std::size_t i) {
          return static_cast<Real>(matrix_.values()[a * a_step + (b + i) * b_step]);
        };
        const Real s0 = sign(0), s1 = sign(1), s2 = sign(2), s3 = sign(3);
        const Real *const x0 = values + b * length, *const x1 = x0 + length, *const x2 = x1 + length,
                          *const x3 = x2 + length;
        for (std::size_t k = 0; k < length; ++k) sum[k] += (s0 * x0[k] + s1 * x1[k]) + (s2 * x2[k] + s3 * x3[k]);
      }
    }
    for (std::size_t i = 0; i < size_; ++i) values[i] = scratch[i];
  }

  template <class Real>
  static void butterflies(Real* x, std::size_t length) {
    std::size_t half = 1;
    // Two levels at once while the distance is too short for vectors.
    if (length % 4 == 0) {
      for (Real* p = x; p != x + length; p += 4) {
        const Real a = p[0] + p[1], b = p[0] - p[1], c = p[2] + p[3], d = p[2] - p[3];
        p[0] = a + c;
        p[1] = b + d;
        p[2] = a - c;
        p[3] = b - d;
      }
      half = 4;
    }
    for (; half < length; half *= 2)
      for (std::size_t begin = 0; begin < length; begin += 2 * half)
        for (std::size_t i = begin; i < begin + half; ++i) {
          const Real a = x[i], b = x[i + half];
          x[i] = a + b;
          x[i + half] = a - b;
        }
  }

  std::size_t size_ = 0;
  Matrix<float> matrix_;
};

}  // namespace pare
