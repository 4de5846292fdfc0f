#pragma once

#include <algorithm>
#include <cstddef>

namespace pare {

/// The scalar definition of the kernels of the fast Hadamard transform, for float and double. Every target adds and
/// subtracts in this order: the same bytes.
struct ReferenceHadamard {
  /// y[k] = sum over i of (-1)^popcount(k & i) * x[i] in place, level after level; `length` is a power of two.
  template <class Real>
  static constexpr void butterflies(Real* x, std::size_t length) noexcept {
    for (std::size_t half = 1; half < length; half *= 2)
      for (std::size_t begin = 0; begin < length; begin += 2 * half)
        for (std::size_t i = begin; i < begin + half; ++i) {
          const Real a = x[i], b = x[i + half];
          x[i] = a + b;
          x[i + half] = a - b;
        }
  }

  /// sums[a, k] = sum over b of sign(a, b) * x[b, k], [order, length] both, four b at a time from +0; `order` is a
  /// multiple of 4. sign(a, b), 1 or -1, is signs[a * a_step + b * b_step].
  template <class Real>
  static constexpr void multiply_signs(const Real* x, const float* signs, std::size_t a_step, std::size_t b_step,
                                       std::size_t order, std::size_t length, Real* sums) noexcept {
    for (std::size_t a = 0; a < order; ++a) {
      Real* const sum = sums + a * length;
      std::fill_n(sum, length, Real{0});
      for (std::size_t b = 0; b < order; b += 4) {
        const auto sign = [&](std::size_t i) { return static_cast<Real>(signs[a * a_step + (b + i) * b_step]); };
        const Real s0 = sign(0), s1 = sign(1), s2 = sign(2), s3 = sign(3);
        const Real *const x0 = x + b * length, *const x1 = x0 + length, *const x2 = x1 + length,
                          *const x3 = x2 + length;
        for (std::size_t k = 0; k < length; ++k) sum[k] += (s0 * x0[k] + s1 * x1[k]) + (s2 * x2[k] + s3 * x3[k]);
      }
    }
  }
};

}  // namespace pare
