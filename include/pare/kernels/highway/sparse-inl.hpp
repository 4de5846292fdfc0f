// Pass file, read once per target: products of float weights of which only some are held.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {

#if PARE_VECTORS
/// How far ahead float weights are fetched, in values.
inline constexpr std::size_t sparse_prefetch_distance = 512;
#endif

template <class Unused>
void multiply_csr(const float* x, const float* values, const std::uint32_t* columns, const std::size_t* offsets,
                  std::size_t rows, float* y) {
#if PARE_VECTORS
  const auto add = [](const float* at, const float* from, const std::uint32_t* which, Floats(&sum)[parts]) HWY_ATTR {
    for (std::size_t p = 0; p < parts; ++p) {
      const Ints index = hn::BitCast(ints, hn::LoadU(words, which + p * lanes));
      sum[p] = fused_multiply_add(hn::GatherIndex(floats, at, index), hn::LoadU(floats, from + p * lanes), sum[p]);
    }
  };
  for (std::size_t r = 0; r < rows; ++r) {
    Floats sum[parts];
    for (Floats& part : sum) part = hn::Zero(floats);
    std::size_t k = offsets[r];
    const std::size_t end = offsets[r + 1];
    for (; end - k >= 16; k += 16) {
      hwy::Prefetch(values + k + sparse_prefetch_distance);
      hwy::Prefetch(columns + k + sparse_prefetch_distance);
      add(x, values + k, columns + k, sum);
    }
    if (k < end) {
      // Products of zeros leave a partial sum as it is: none is -0, for they start at +0.
      static constexpr std::uint32_t order[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
      float tail_x[16] = {}, tail[16] = {};
      for (std::size_t i = 0; i < end - k; ++i) {
        tail_x[i] = x[columns[k + i]];
        tail[i] = values[k + i];
      }
      add(tail_x, tail, order, sum);
    }
    HWY_ALIGN float s[16];
    for (std::size_t p = 0; p < parts; ++p) hn::Store(sum[p], floats, s + p * lanes);
    y[r] = fold(s);
  }
#else
  ReferenceKernels::multiply_csr(x, values, columns, offsets, rows, y);
#endif
}

#if PARE_AVX512

/// `Rows` rows of multiply_bitmask.
template <std::size_t Rows>
HWY_INLINE void multiply_bitmask_rows(const float* HWY_RESTRICT x, const std::uint8_t* HWY_RESTRICT bits,
                                      std::size_t row_bytes, const float* HWY_RESTRICT values,
                                      const std::size_t* HWY_RESTRICT offsets, float* HWY_RESTRICT y) {
  Floats sum[Rows];
  const float* value[Rows];
#pragma GCC unroll 4
  for (std::size_t r = 0; r < Rows; ++r) {
    sum[r] = hn::Zero(floats);
    value[r] = values + offsets[r];
  }
  for (std::size_t b = 0; b < row_bytes; b += 2) {
#pragma GCC unroll 4
    for (std::size_t r = 0; r < Rows; ++r) {
      const std::uint8_t* at = bits + r * row_bytes + b;
      const auto kept = static_cast<std::uint16_t>(b + 1 < row_bytes ? at[0] | at[1] << 8 : at[0]);
      hwy::Prefetch(value[r] + sparse_prefetch_distance);
      // Only those kept are read, of x too, and only their sums change.
      const __m512 w = _mm512_maskz_expandloadu_ps(kept, value[r]);
      sum[r].raw = _mm512_mask3_fmadd_ps(_mm512_maskz_loadu_ps(kept, x + b * 8), w, sum[r].raw, kept);
      value[r] += static_cast<unsigned>(__builtin_popcount(kept));
    }
  }
#pragma GCC unroll 4
  for (std::size_t r = 0; r < Rows; ++r) {
    HWY_ALIGN float s[16];
    hn::Store(sum[r], floats, s);
    y[r] = fold(s);
  }
}

#elif PARE_EXPANDS

/// For each byte of a mask the places, among the values that it keeps, of those of its eight columns; bit 7 where one
/// is kept.
alignas(64) inline constexpr auto expansion = [] {
  std::array<std::array<std::uint8_t, 8>, 256> places{};
  for (unsigned kept = 0; kept < 256; ++kept)
    for (unsigned c = 0, k = 0; c < 8; ++c)
      if ((kept >> c & 1u) != 0) places[kept][c] = static_cast<std::uint8_t>(0x80u | k++);
  return places;
}();

/// How many columns each byte of a mask keeps; the target need not have an instruction that counts.
inline constexpr auto kept_counts = [] {
  std::array<std::uint8_t, 256> counts{};
  for (unsigned kept = 0; kept < 256; ++kept) counts[kept] = static_cast<std::uint8_t>(std::popcount(kept));
  return counts;
}();

/// A row of multiply_bitmask whose values begin at `value`; none stands at `end` or after it.
HWY_INLINE float multiply_bitmask_row(const float* HWY_RESTRICT x, const std::uint8_t* HWY_RESTRICT bits,
                                      std::size_t row_bytes, const float* value, const float* end) {
  const ByteTag bytes;
  Floats sum[2] = {hn::Zero(floats), hn::Zero(floats)};
  std::size_t b = 0;
  const auto add = [&](std::size_t part) HWY_ATTR {
    const std::uint8_t kept = bits[b];
    const Words places = hn::PromoteTo(words, hn::LoadU(bytes, expansion[kept].data()));
    const auto index = hn::IndicesFromVec(floats, hn::BitCast(ints, hn::And(places, set(7))));
    const auto mask = hn::RebindMask(floats, hn::TestBit(places, set(0x80)));
    const Floats w = hn::TableLookupLanes(hn::LoadU(floats, value), index);
    // Only those kept are read, of x, and only their sums change.
    sum[part] = hn::IfThenElse(mask, hn::MulAdd(hn::MaskedLoad(mask, floats, x + b * 8), w, sum[part]), sum[part]);
    value += kept_counts[kept];
    ++b;
  };
  // Eight values are read for each byte, however many of them it keeps.
  while (row_bytes - b >= 2 && end - value >= 16) {
    hwy::Prefetch(value + sparse_prefetch_distance);
    add(0);
    add(1);
  }
  HWY_ALIGN float s[16];
  hn::Store(sum[0], floats, s);
  hn::Store(sum[1], floats, s + 8);
  for (; b < row_bytes; ++b)
    for (unsigned left = bits[b]; left != 0; left &= left - 1) {
      const std::size_t c = b * 8 + static_cast<std::size_t>(std::countr_zero(left));
      s[c % 16] = std::fma(x[c], *value++, s[c % 16]);
    }
  return fold(s);
}

#endif

template <class Unused>
void multiply_bitmask(const float* x, const std::uint8_t* bits, std::size_t row_bytes, const float* values,
                      const std::size_t* offsets, std::size_t rows, float* y) {
#if PARE_AVX512
  if (offsets[rows] == offsets[0]) {
    std::fill_n(y, rows, 0.0f);
    return;
  }
  // The rows' sums do not wait for one another.
  constexpr std::size_t at_once = 4;
  std::size_t r = 0;
  for (; rows - r >= at_once; r += at_once)
    multiply_bitmask_rows<at_once>(x, bits + r * row_bytes, row_bytes, values, offsets + r, y + r);
  for (; r < rows; ++r) multiply_bitmask_rows<1>(x, bits + r * row_bytes, row_bytes, values, offsets + r, y + r);
#elif PARE_EXPANDS
  for (std::size_t r = 0; r < rows; ++r)
    y[r] = multiply_bitmask_row(x, bits + r * row_bytes, row_bytes, values + offsets[r], values + offsets[rows]);
#else
  ReferenceKernels::multiply_bitmask(x, bits, row_bytes, values, offsets, rows, y);
#endif
}

template <class Unused>
void multiply_block_csr(const float* x, std::size_t cols, const float* values, const std::uint32_t* columns,
                        const std::size_t* offsets, std::size_t block_rows, std::size_t block_cols, std::size_t rows,
                        float* y) {
#if PARE_VECTORS
  const std::size_t block_size = block_rows * block_cols, block_count = ceil_div(rows, block_rows);
  if (block_rows % 16 == 0) {
    for (std::size_t b = 0; b < block_count; ++b)
      for (std::size_t first = 0; first < block_rows && b * block_rows + first < rows; first += 16) {
        Floats sum[parts];
        for (Floats& part : sum) part = hn::Zero(floats);
        for (std::size_t k = offsets[b]; k < offsets[b + 1]; ++k) {
          const std::size_t column = columns[k] * block_cols, width = std::min(block_cols, cols - column);
          const float* from = values + k * block_size + first;
          for (std::size_t c = 0; c < width; ++c, from += block_rows) {
            hwy::Prefetch(from + sparse_prefetch_distance);
            for (std::size_t p = 0; p < parts; ++p)
              sum[p] = fused_multiply_add(hn::Set(floats, x[column + c]), hn::LoadU(floats, from + p * lanes), sum[p]);
          }
        }
        HWY_ALIGN float s[16];
        for (std::size_t p = 0; p < parts; ++p) hn::Store(sum[p], floats, s + p * lanes);
        const std::size_t at = b * block_rows + first;
        std::memcpy(y + at, s, std::min<std::size_t>(16, rows - at) * sizeof(float));
      }
    return;
  }
#endif
  ReferenceKernels::multiply_block_csr(x, cols, values, columns, offsets, block_rows, block_cols, rows, y);
}

}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_AFTER_NAMESPACE();
