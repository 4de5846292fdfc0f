#pragma once

#include <array>
#include <cstddef>
#include <cstring>

#include "pare/kernels/xsimd/elements.hpp"

#ifdef PARE_HAS_XSIMD

PARE_XSIMD_BEGIN
namespace pare::detail {

// Elsewhere xsimd::fma rounds twice.
#if defined(__FMA__) || defined(__FMA4__) || defined(__AVX512F__) || defined(__aarch64__)
inline constexpr bool xsimd_has_fused = true;
#else
inline constexpr bool xsimd_has_fused = false;
#endif

/// The products of M rows of x with N rows of w, their sixteen partial sums each in registers.
template <class Arch, std::size_t M, std::size_t N>
void accumulate_tile(const float* x, std::size_t x_stride, const float* w, std::size_t w_stride, std::size_t k,
                     float* y, std::size_t y_stride) noexcept {
  using Floats = FloatBatch<Arch>;
  constexpr std::size_t lanes = Floats::size, parts = 16 / lanes;
  Floats sum[M][N][parts];
  for (auto& row : sum)
    for (auto& cell : row)
      for (Floats& part : cell) part = Floats(0.0f);
  const auto add = [&sum](const float* a, std::size_t a_stride, const float* b, std::size_t b_stride) {
    for (std::size_t p = 0; p < parts; ++p)
      for (std::size_t j = 0; j < N; ++j) {
        const Floats v = Floats::load_unaligned(b + j * b_stride + p * lanes);
        for (std::size_t i = 0; i < M; ++i)
          sum[i][j][p] = xsimd::fma(Floats::load_unaligned(a + i * a_stride + p * lanes), v, sum[i][j][p]);
      }
  };
  std::size_t c = 0;
  for (; k - c >= 16; c += 16) add(x + c, x_stride, w + c, w_stride);
  if (c < k) {
    // Products of zeros leave a partial sum as it is: none is -0, for they start at +0.
    alignas(64) std::array<float, (M + N) * 16> tail{};
    for (std::size_t i = 0; i < M; ++i)
      std::memcpy(tail.data() + i * 16, x + i * x_stride + c, (k - c) * sizeof(float));
    for (std::size_t j = 0; j < N; ++j)
      std::memcpy(tail.data() + (M + j) * 16, w + j * w_stride + c, (k - c) * sizeof(float));
    add(tail.data(), 16, tail.data() + M * 16, 16);
  }
  for (std::size_t i = 0; i < M; ++i)
    for (std::size_t j = 0; j < N; ++j) {
      alignas(64) std::array<float, 16> s;
      for (std::size_t p = 0; p < parts; ++p) sum[i][j][p].store_aligned(s.data() + p * lanes);
      for (std::size_t half = 8; half > 0; half /= 2)
        for (std::size_t q = 0; q < half; ++q) s[q] += s[q + half];
      y[i * y_stride + j] += s[0];
    }
}

}  // namespace pare::detail
PARE_XSIMD_END

#endif
