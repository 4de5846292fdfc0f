#include "llama/kernels.hpp"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "llama/kernels.cpp"
#include <hwy/foreach_target.h>
// after foreach_target.h
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace llama {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::CappedTag<float, row_step>;
using Floats = hn::Vec<Tag>;
constexpr Tag floats;
constexpr std::size_t lanes = hn::MaxLanes(floats);

/// A tile of y whose sums stay in registers.
template <std::size_t Rows, std::size_t Vectors>
HWY_INLINE void multiply_tile(const float* const* x, std::size_t k, const float* HWY_RESTRICT w, std::size_t w_stride,
                              float* HWY_RESTRICT y, std::size_t y_stride) {
  Floats sum[Rows][Vectors];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (std::size_t v = 0; v < Vectors; ++v) sum[r][v] = hn::Zero(floats);
  for (std::size_t c = 0; c < k; ++c, w += w_stride) {
    Floats weights[Vectors];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < Vectors; ++v) weights[v] = hn::LoadU(floats, w + v * lanes);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < Rows; ++r) {
      const Floats value = hn::Set(floats, x[r][c]);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < Vectors; ++v) sum[r][v] = hn::MulAdd(value, weights[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (std::size_t v = 0; v < Vectors; ++v) hn::StoreU(sum[r][v], floats, y + r * y_stride + v * lanes);
}

/// `Rows` rows, all columns.
template <std::size_t Rows, std::size_t Vectors>
HWY_INLINE void multiply_columns(const float* const* x, std::size_t k, const float* w, std::size_t w_stride,
                                 std::size_t columns, float* y, std::size_t y_stride) {
  std::size_t j = 0;
  for (; columns - j >= Vectors * lanes; j += Vectors * lanes)
    multiply_tile<Rows, Vectors>(x, k, w + j, w_stride, y + j, y_stride);
  for (; j < columns; j += lanes) multiply_tile<Rows, 1>(x, k, w + j, w_stride, y + j, y_stride);
}

void multiply(const float* const* x, std::size_t m, std::size_t k, const float* w, std::size_t w_stride,
              std::size_t columns, float* y, std::size_t y_stride) {
  constexpr std::size_t rows = lanes == 16 ? 8 : 4;  // as many sums as the registers hold
  std::size_t i = 0;
  for (; m - i >= rows; i += rows)
    multiply_columns<rows, 2>(x + i, k, w, w_stride, columns, y + i * y_stride, y_stride);
  for (; m - i >= 2; i += 2) multiply_columns<2, 4>(x + i, k, w, w_stride, columns, y + i * y_stride, y_stride);
  for (; i < m; ++i) multiply_columns<1, 4>(x + i, k, w, w_stride, columns, y + i * y_stride, y_stride);
}

float exponentials(float* scores, std::size_t n, float factor) {
  float largest = scores[0];
  for (std::size_t i = n / lanes * lanes; i < n; ++i) largest = scores[i] > largest ? scores[i] : largest;
  Floats most = hn::Set(floats, largest);
  for (std::size_t i = 0; i + lanes <= n; i += lanes) most = hn::Max(most, hn::LoadU(floats, scores + i));
  most = hn::MaxOfLanes(floats, most);
  for (std::size_t i = n; i < padded(n); ++i) scores[i] = 0.0f;

  const auto exponential = [&](Floats score) HWY_ATTR {
    const Floats exponent = hn::Mul(hn::Sub(score, most), hn::Set(floats, factor));
    return hn::IfThenElse(hn::IsNaN(exponent), exponent, hn::Exp(floats, exponent));
  };
  Floats sum = hn::Zero(floats);
  for (std::size_t i = 0; i < n; i += lanes) {
    Floats value = exponential(hn::LoadU(floats, scores + i));
    if (n - i < lanes) value = hn::IfThenElseZero(hn::FirstN(floats, n - i), value);
    hn::StoreU(value, floats, scores + i);
    sum = hn::Add(sum, value);
  }
  return hn::GetLane(hn::SumOfLanes(floats, sum));
}

void activate(float* gate, const float* up, std::size_t n) {
  const auto activated = [](Floats g, Floats u) HWY_ATTR {
    // Beyond 88 the exponential is no float, and the quotient next to nothing.
    const Floats exponent = hn::Min(hn::Neg(g), hn::Set(floats, 88.0f));
    return hn::Mul(hn::Div(g, hn::Add(hn::Set(floats, 1.0f), hn::Exp(floats, exponent))), u);
  };
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes)
    hn::StoreU(activated(hn::LoadU(floats, gate + i), hn::LoadU(floats, up + i)), floats, gate + i);
  for (; i < n; ++i) gate[i] = hn::GetLane(activated(hn::Set(floats, gate[i]), hn::Set(floats, up[i])));
}

void add(const float* values, float* x, std::size_t n) {
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes)
    hn::StoreU(hn::Add(hn::LoadU(floats, x + i), hn::LoadU(floats, values + i)), floats, x + i);
  for (; i < n; ++i) x[i] += values[i];
}

void scale(const float* x, const float* weights, float factor, std::size_t n, float* out) {
  const Floats factors = hn::Set(floats, factor);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes)
    hn::StoreU(hn::Mul(hn::LoadU(floats, weights + i), hn::Mul(hn::LoadU(floats, x + i), factors)), floats, out + i);
  for (; i < n; ++i) out[i] = weights[i] * (x[i] * factor);
}

}  // namespace HWY_NAMESPACE
}  // namespace llama
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llama {

HWY_EXPORT(multiply);
HWY_EXPORT(exponentials);
HWY_EXPORT(activate);
HWY_EXPORT(add);
HWY_EXPORT(scale);

void multiply_rows(const float* const* x, std::size_t m, std::size_t k, const float* w, std::size_t w_stride,
                   std::size_t n, float* y, std::size_t y_stride) noexcept {
  HWY_DYNAMIC_DISPATCH(multiply)(x, m, k, w, w_stride, padded(n), y, y_stride);
}

float exponentials(float* scores, std::size_t n, float factor) noexcept {
  return HWY_DYNAMIC_DISPATCH(exponentials)(scores, n, factor);
}

void activate(float* gate, const float* up, std::size_t n) noexcept { HWY_DYNAMIC_DISPATCH(activate)(gate, up, n); }

void add(const float* values, float* x, std::size_t n) noexcept { HWY_DYNAMIC_DISPATCH(add)(values, x, n); }

void normalize(const float* x, const float* weights, double epsilon, std::size_t n, float* out) noexcept {
  constexpr std::size_t count = 8;  // in a single sum each addition would wait for the one before
  double sums[count] = {};
  std::size_t i = 0;
  for (; i + count <= n; i += count)
#pragma GCC unroll 8
    for (std::size_t s = 0; s < count; ++s) sums[s] += double{x[i + s]} * x[i + s];
  for (; i < n; ++i) sums[0] += double{x[i]} * x[i];
  for (std::size_t s = 1; s < count; ++s) sums[0] += sums[s];
  const auto factor = static_cast<float>(1.0 / std::sqrt(sums[0] / static_cast<double>(n) + epsilon));
  HWY_DYNAMIC_DISPATCH(scale)(x, weights, factor, n, out);
}

}  // namespace llama
#endif
