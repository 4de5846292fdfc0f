// Pass file, read once per target: products of rows, summed in the order that ReferenceKernels defines.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {
#if PARE_VECTORS

/// a * b + c with one rounding, also where the target has no such instruction.
HWY_INLINE Floats fused_multiply_add(Floats a, Floats b, Floats c) {
#if HWY_NATIVE_FMA
  return hn::MulAdd(a, b, c);
#else
  // The product of two floats is exact in double. Rounding its sum with c to odd there leaves the second rounding, to
  // float, the only one that counts (Boldo and Melquiond, 2008).
  const hn::Rebind<double, hn::Half<FloatTag> > doubles;
  const hn::RebindToUnsigned<decltype(doubles)> longs;
  const hn::Half<FloatTag> half;
  const auto rounded = [&](hn::Vec<hn::Half<FloatTag> > x, hn::Vec<hn::Half<FloatTag> > y,
                           hn::Vec<hn::Half<FloatTag> > z) HWY_ATTR {
    const auto product = hn::Mul(hn::PromoteTo(doubles, x), hn::PromoteTo(doubles, y));
    const auto addend = hn::PromoteTo(doubles, z);
    const auto sum = hn::Add(product, addend);
    const auto back = hn::Sub(sum, product);
    const auto error = hn::Add(hn::Sub(product, hn::Sub(sum, back)), hn::Sub(addend, back));
    const auto zero = hn::Zero(doubles);
    const auto u = hn::BitCast(longs, sum);
    const auto even = hn::Eq(hn::And(u, hn::Set(longs, 1)), hn::Zero(longs));
    const auto inexact = hn::Or(hn::Lt(error, zero), hn::Lt(zero, error));
    const auto outward = hn::Xor(hn::Lt(error, zero), hn::Not(hn::Lt(sum, zero)));
    const auto one = hn::Set(longs, 1);
    const auto moved = hn::IfThenElse(hn::RebindMask(longs, outward), hn::Add(u, one), hn::Sub(u, one));
    const auto odd = hn::IfThenElse(hn::And(even, hn::RebindMask(longs, inexact)), moved, u);
    return hn::DemoteTo(half, hn::BitCast(doubles, odd));
  };
  return hn::Combine(floats, rounded(hn::UpperHalf(half, a), hn::UpperHalf(half, b), hn::UpperHalf(half, c)),
                     rounded(hn::LowerHalf(half, a), hn::LowerHalf(half, b), hn::LowerHalf(half, c)));
#endif
}

/// How many vectors hold the sixteen partial sums.
inline constexpr std::size_t parts = 16 / lanes;

/// Folds sixteen partial sums in halves.
HWY_INLINE float fold(float (&s)[16]) {
  for (std::size_t half = 8; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) s[i] += s[i + half];
  return s[0];
}

/// The sixteen partial sums of s[i], folded in halves, in lane i.
HWY_INLINE Floats fold_rows(Floats (&s)[lanes][parts]) {
  Floats rows[lanes];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < lanes; ++i) {
    for (std::size_t half = parts / 2; half > 0; half /= 2)
      for (std::size_t p = 0; p < half; ++p) s[i][p] = hn::Add(s[i][p], s[i][p + half]);
    rows[i] = s[i][0];
  }
  return combine_lanes(rows, [](Floats a, Floats b) HWY_ATTR { return hn::Add(a, b); });
}

/// An M x N tile of y, its sums in registers.
template <std::size_t M, std::size_t N>
HWY_INLINE void accumulate_tile(const float* HWY_RESTRICT x, std::size_t x_stride, const float* HWY_RESTRICT w,
                                std::size_t w_stride, std::size_t k, float* HWY_RESTRICT y, std::size_t y_stride) {
  Floats sum[M][N][parts];
#pragma GCC unroll 8
  for (std::size_t i = 0; i < M; ++i)
#pragma GCC unroll 8
    for (std::size_t j = 0; j < N; ++j)
#pragma GCC unroll 8
      for (std::size_t p = 0; p < parts; ++p) sum[i][j][p] = hn::Zero(floats);
  std::size_t c = 0;
  for (; k - c >= 16; c += 16)
#pragma GCC unroll 8
    for (std::size_t p = 0; p < parts; ++p) {
      Floats row[N];
#pragma GCC unroll 8
      for (std::size_t j = 0; j < N; ++j) row[j] = hn::LoadU(floats, w + j * w_stride + c + p * lanes);
#pragma GCC unroll 8
      for (std::size_t i = 0; i < M; ++i) {
        const Floats v = hn::LoadU(floats, x + i * x_stride + c + p * lanes);
#pragma GCC unroll 8
        for (std::size_t j = 0; j < N; ++j) sum[i][j][p] = fused_multiply_add(v, row[j], sum[i][j][p]);
      }
    }
  if (c < k) {
    // Zeros past the end leave a partial sum as it is, but for a -0, which no sum that began at +0 is.
    HWY_ALIGN float tail[M + N][16] = {};
#pragma GCC unroll 8
    for (std::size_t i = 0; i < M; ++i) std::memcpy(tail[i], x + i * x_stride + c, (k - c) * sizeof(float));
#pragma GCC unroll 8
    for (std::size_t j = 0; j < N; ++j) std::memcpy(tail[M + j], w + j * w_stride + c, (k - c) * sizeof(float));
#pragma GCC unroll 8
    for (std::size_t i = 0; i < M; ++i)
#pragma GCC unroll 8
      for (std::size_t j = 0; j < N; ++j)
#pragma GCC unroll 8
        for (std::size_t p = 0; p < parts; ++p)
          sum[i][j][p] = fused_multiply_add(hn::Load(floats, tail[i] + p * lanes),
                                            hn::Load(floats, tail[M + j] + p * lanes), sum[i][j][p]);
  }
  // As many rows of the tile at once as one fold takes.
  constexpr std::size_t rows = std::max<std::size_t>(1, std::min(M, lanes / N));
#pragma GCC unroll 8
  for (std::size_t first = 0; first < M; first += rows) {
    Floats folded[lanes][parts];
    HWY_ALIGN float total[lanes];
#pragma GCC unroll 16
    for (std::size_t i = 0; i < lanes; ++i)
#pragma GCC unroll 8
      for (std::size_t p = 0; p < parts; ++p)
        folded[i][p] = i < rows * N && first + i / N < M ? sum[first + i / N][i % N][p] : hn::Zero(floats);
    hn::Store(fold_rows(folded), floats, total);
    const hn::CappedTag<float, N> row;
    for (std::size_t i = first; i < std::min(first + rows, M); ++i)
      hn::StoreU(hn::Add(hn::LoadU(row, y + i * y_stride), hn::LoadU(row, total + (i - first) * N)), row,
                 y + i * y_stride);
  }
}

/// Rows of x from i on, M at a time, with all rows of w, N at a time; returns the first row left over.
template <std::size_t M, std::size_t N>
HWY_INLINE std::size_t accumulate_rows(const float* x, std::size_t i, std::size_t m, std::size_t x_stride,
                                       const float* w, std::size_t n, std::size_t w_stride, std::size_t k, float* y,
                                       std::size_t y_stride) {
  for (; m - i >= M; i += M) {
    std::size_t j = 0;
    for (; n - j >= N; j += N)
      accumulate_tile<M, N>(x + i * x_stride, x_stride, w + j * w_stride, w_stride, k, y + i * y_stride + j, y_stride);
    for (; j < n; ++j)
      accumulate_tile<M, 1>(x + i * x_stride, x_stride, w + j * w_stride, w_stride, k, y + i * y_stride + j, y_stride);
  }
  return i;
}

#endif

template <class Unused>
void accumulate_products(const float* x, std::size_t m, std::size_t x_stride, const float* w, std::size_t n,
                         std::size_t w_stride, std::size_t k, float* y, std::size_t y_stride) {
#if PARE_VECTORS
  // As many sums as the registers hold: 32 with AVX-512 and NEON, 16 elsewhere.
  constexpr std::size_t tile_m = lanes == 16 ? 6 : HWY_TARGET == HWY_NEON ? 2 : 3;
  constexpr std::size_t tile_n = lanes == 16 ? 4 : lanes == 8 ? 2 : HWY_TARGET == HWY_NEON ? 2 : 1;
  // 1024 columns of so many rows of weights stay in the first-level cache.
  constexpr std::size_t rows_at_once = 8;
  for (std::size_t j = 0; j < n; j += rows_at_once) {
    const float* const from = w + j * w_stride;
    float* const to = y + j;
    const std::size_t rows = std::min(rows_at_once, n - j);
    std::size_t i = accumulate_rows<tile_m, tile_n>(x, 0, m, x_stride, from, rows, w_stride, k, to, y_stride);
    i = accumulate_rows<2, tile_n>(x, i, m, x_stride, from, rows, w_stride, k, to, y_stride);
    accumulate_rows<1, tile_n>(x, i, m, x_stride, from, rows, w_stride, k, to, y_stride);
  }
#else
  ReferenceKernels::accumulate_products(x, m, x_stride, w, n, w_stride, k, y, y_stride);
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_AFTER_NAMESPACE();
