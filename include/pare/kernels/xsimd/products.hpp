#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <type_traits>

#include "pare/kernels/xsimd/elements.hpp"

#ifdef PARE_HAS_XSIMD

PARE_XSIMD_BEGIN
namespace pare::detail {

/// Whether fused_multiply_add rounds once; where xsimd::fma is a product and a sum, it rounds twice.
template <class Arch>
inline constexpr bool has_fused_multiply_add = std::is_same_v<Arch, xsimd::neon64>;
template <class Base>
inline constexpr bool has_fused_multiply_add<xsimd::fma3<Base>> = true;
#ifdef __AVX512F__
template <class Arch>
  requires(FloatBatch<Arch>::size == 16)
inline constexpr bool has_fused_multiply_add<Arch> = true;
#endif

/// a * b + c.
template <class Arch>
FloatBatch<Arch> fused_multiply_add(const FloatBatch<Arch>& a, const FloatBatch<Arch>& b,
                                    const FloatBatch<Arch>& c) noexcept {
#ifdef __AVX512F__
  // xsimd 8.1 has no instruction for this.
  if constexpr (FloatBatch<Arch>::size == 16) return FloatBatch<Arch>(_mm512_fmadd_ps(a, b, c));
#endif
  return xsimd::fma(a, b, c);
}

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
          sum[i][j][p] =
              fused_multiply_add<Arch>(Floats::load_unaligned(a + i * a_stride + p * lanes), v, sum[i][j][p]);
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
