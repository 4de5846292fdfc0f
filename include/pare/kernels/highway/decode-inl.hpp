// Pass file, read once per target: codes to values.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {
#if PARE_VECTORS

template <class F>
  requires(F::bits > 4 && IntegerFormat<F>)
struct Decoder<F> {
  Floats scale;
  Ints zero_point;

  HWY_INLINE Decoder(float s, std::uint8_t zero) : scale(hn::Set(floats, s)), zero_point(hn::Set(ints, zero)) {}
  HWY_INLINE Floats operator()(const std::uint8_t* codes) const {
    if constexpr (std::is_same_v<F, Int<8>>) {
      const hn::Rebind<std::int8_t, FloatTag> bytes;
      const Ints value = hn::PromoteTo(ints, hn::LoadU(bytes, reinterpret_cast<const std::int8_t*>(codes)));
      return hn::Mul(hn::ConvertTo(floats, value), scale);
    }
    Ints q = hn::PromoteTo(ints, hn::LoadU(ByteTag(), codes));
    if constexpr (UnsignedFormat<F>)
      q = hn::Sub(q, zero_point);
    else
      q = hn::ShiftRight<32 - F::bits>(hn::ShiftLeft<32 - F::bits>(q));
    return hn::Mul(hn::ConvertTo(floats, q), scale);
  }
};

template <class F>
  requires(F::bits > 4 && MinifloatFormat<F>)
struct Decoder<F> {
  Floats scale;

  HWY_INLINE Decoder(float s, std::uint8_t) : scale(hn::Set(floats, s)) {}
  HWY_INLINE Floats operator()(const std::uint8_t* codes) const {
    constexpr int mantissa = F::layout.mantissa;
    constexpr std::uint32_t smallest = static_cast<std::uint32_t>(128 - F::layout.bias) << 23;  // bits of min_normal
    const Words code = hn::BitCast(words, hn::PromoteTo(ints, hn::LoadU(ByteTag(), codes)));
    const Words magnitude = hn::And(code, set(F::magnitude_mask));
    const Words sign = hn::ShiftLeft<32 - F::bits>(hn::And(code, set(F::sign_bit)));
    const Words aligned = hn::ShiftLeft<23 - mantissa>(magnitude);
    const Words normal = hn::Add(aligned, set(smallest - (1u << 23)));
    // A subnormal is what its mantissa adds to the smallest normal; going there avoids subnormal arithmetic.
    const Words subnormal = bits_of(hn::Sub(float_of(hn::Add(aligned, set(smallest))), hn::Set(floats, F::min_normal)));
    Words u = select(less(magnitude, set(1u << mantissa)), subnormal, normal);
    if constexpr (F::layout.specials == Specials::nan_only)
      u = select(less(magnitude, set(F::magnitude_mask)), u, set(0x7fc00000u));
    if constexpr (F::layout.specials == Specials::ieee)
      u = select(less(magnitude, set(F::infinity_code)), u,
                 hn::Add(aligned, set(0x7f800000u - (F::infinity_code << (23 - mantissa)))));
    return hn::Mul(float_of(hn::Or(u, sign)), scale);
  }
};

/// Fetches what is written after N floats: stores that wait for a line of the second-level cache hold up all behind
/// them, above all those that reach into two lines. Elements of two bytes come too slowly for that.
template <std::size_t N, class T>
HWY_INLINE void prefetch_output([[maybe_unused]] T* out) {
  constexpr std::size_t distance = 512, line = 64;
  if constexpr (std::is_same_v<T, float>) {
#pragma GCC unroll 2
    for (std::size_t i = 0; i < N * sizeof(T); i += line)
      __builtin_prefetch(reinterpret_cast<const std::uint8_t*>(out) + distance + i, 1);
  }
}

#if PARE_AVX512
/// Formats whose codes, shifted, are halves of 2^-half_scale times the value; the processor widens those.
template <class F>
inline constexpr bool widens_from_half = false;
template <>
inline constexpr bool widens_from_half<E4M3> = true;
template <>
inline constexpr bool widens_from_half<E5M2> = true;

/// Decodes blocks of one group by way of halves; false, and nothing written, where a code is a NaN that no half stands
/// for.
template <class F, class T>
HWY_INLINE bool decode_block_from_half(const std::uint8_t* codes, Floats scale, T* out) {
  constexpr int shift = 10 - F::layout.mantissa;
  prefetch_output<block>(out);
  const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
  __m512i halves = _mm512_slli_epi16(_mm512_cvtepi8_epi16(bytes), shift);
  if constexpr (F::layout.specials == Specials::nan_only) {
    // The exponent of a half has one more bit, where the sign was copied to.
    halves = _mm512_and_si512(halves, _mm512_set1_epi16(static_cast<short>(0xbfff)));
    const __m512i nan = _mm512_set1_epi16(static_cast<short>(F::magnitude_mask << shift));
    if (_mm512_cmpeq_epi16_mask(_mm512_and_si512(halves, nan), nan) != 0) return false;
  }
  store_numbers(hn::Mul(Floats{_mm512_cvtph_ps(_mm512_castsi512_si256(halves))}, scale),
                hn::Mul(Floats{_mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1))}, scale), out);
  return true;
}

/// What a half of a format is multiplied by for a group with this scale; infinite where float does not reach.
template <MinifloatFormat F>
float half_scale(float scale) {
  return scale * detail::exp2_int(15 - F::layout.bias);
}
#endif

/// Decodes Count codes of one group, a block of them or half of one; integers of a finite scale are Numbers, not NaN.
template <std::size_t Count, bool Numbers, class F, class T>
HWY_INLINE void decode_block(const Decoder<F>& decoder, const std::uint8_t* codes, T* out) {
  if constexpr (F::bits <= 4) {
    constexpr std::size_t vectors = std::min(Decoder<F>::vectors, Count / lanes);
#pragma GCC unroll 2
    for (std::size_t i = 0; i < Count; i += vectors * lanes) {
      Floats values[vectors];
      decoder(codes + i / 8 * F::bits, values);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < vectors; ++v) store(values[v], out + i + v * lanes);
    }
  } else {
    static_assert(Count == block);
    HWY_ALIGN std::uint8_t bytes[block];
    if constexpr (F::bits != 8) {
      unpack_block<F::bits>(codes, bytes);
      codes = bytes;
    }
    for (std::size_t i = 0; i < block; i += 2 * lanes) {
      if constexpr (Numbers) {
        store_numbers(decoder(codes + i), decoder(codes + i + lanes), out + i);
      } else {
        store(decoder(codes + i), out + i);
        store(decoder(codes + i + lanes), out + i + lanes);
      }
    }
  }
}

/// Whether codes are looked up in a table of two-byte elements.
template <class F, class T>
inline constexpr bool looks_up_halves = PARE_AVX512 && F::bits == 4 && sizeof(T) == 2;

#if PARE_AVX512
/// The elements of a group's four-bit codes, twice: rounded once for each code, not for each element.
template <class F, class T>
HWY_INLINE __m512i group_halves(float scale, std::uint8_t zero_point) {
  const Floats values = group_values<F>(scale, zero_point);
  if constexpr (std::is_same_v<T, Half>)
    return _mm512_broadcast_i64x4(_mm512_cvtps_ph(values.raw, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  const Words rounded = is_finite(scale) ? round_to_upper_half(values) : hn::ShiftLeft<16>(to_bfloat16(values));
  return upper_halves(rounded, rounded);
}

/// Count four-bit codes of one group, a block of them or half of one. The lookup sees five bits, of which the fifth
/// chooses between tables that are alike.
template <std::size_t Count, class T>
HWY_INLINE void look_up_codes(__m512i table, const std::uint8_t* codes, T* out) {
  if constexpr (Count == block) {
    const __m512i pairs = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
    const __m512i places = _mm512_or_si512(pairs, _mm512_slli_epi32(pairs, 12));
    _mm512_storeu_si512(out, _mm512_permutexvar_epi16(places, table));
  } else {
    const __m256i pairs = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes)));
    const __m256i places = _mm256_or_si256(pairs, _mm256_slli_epi32(pairs, 12));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                        _mm256_permutexvar_epi16(places, _mm512_castsi512_si256(table)));
  }
}
#endif

/// Decodes blocks of Count codes of one group, from `begin` to `end`.
template <std::size_t Count, class F, class T>
HWY_INLINE void decode_blocks(const std::uint8_t* codes, std::size_t begin, std::size_t end, float scale,
                              std::uint8_t zero_point, T* out) {
  constexpr std::size_t bits = F::bits;
  if constexpr (looks_up_halves<F, T>) {
#if PARE_AVX512
    const __m512i table = group_halves<F, T>(scale, zero_point);
    for (; begin < end; begin += Count) look_up_codes<Count>(table, codes + begin / 8 * bits, out + begin);
#endif
  } else {
    const Decoder<F> decoder(scale, zero_point);
    if constexpr (std::is_same_v<T, BFloat16> && IntegerFormat<F> && bits > 4)
      if (is_finite(scale))
        for (; begin < end; begin += Count) decode_block<Count, true>(decoder, codes + begin / 8 * bits, out + begin);
    for (; begin < end; begin += Count) {
      prefetch_output<Count>(out + begin);
      decode_block<Count, false>(decoder, codes + begin / 8 * bits, out + begin);
    }
  }
}
#endif

/// `Signature` names the format and the element type: a dispatch table takes one template argument.
template <class Signature>
void decode(const std::uint8_t* codes, std::size_t n, std::size_t group, std::size_t offset, const float* scales,
            const std::uint8_t* zero_points, typename Signature::element_type* out) {
  using F = typename Signature::format_type;
#if PARE_VECTORS
  const bool one_group = group - offset >= n;
  const auto zero_point = [&](std::size_t g) { return UnsignedFormat<F> ? zero_points[g] : std::uint8_t{0}; };
  if constexpr (F::bits <= 4) {
    constexpr std::size_t half = block / 2;
    if (group == half && offset == 0) {
      const std::size_t whole = n / half;
      for (std::size_t g = 0; g < whole; ++g)
        decode_blocks<half, F>(codes, g * half, (g + 1) * half, scales[g], zero_point(g), out);
      ReferenceKernels::decode<F>(codes + whole * (half / 8 * F::bits), n - whole * half, group, 0, scales + whole,
                                  UnsignedFormat<F> ? zero_points + whole : nullptr, out + whole * half);
      return;
    }
  }
  if (one_group || (group % block == 0 && offset % block == 0)) {
    std::size_t begin = 0, remaining = group - offset;
    for (std::size_t g = 0; n - begin >= block; ++g, remaining = group) {
      const std::size_t end = begin + std::min(n - begin, remaining) / block * block;
#if PARE_AVX512
      if constexpr (widens_from_half<F>)
        if (const float factor = half_scale<F>(scales[g]); is_finite(factor))
          while (begin < end &&
                 decode_block_from_half<F>(codes + begin / 8 * F::bits, hn::Set(floats, factor), out + begin))
            begin += block;
#endif
      decode_blocks<block, F>(codes, begin, end, scales[g], zero_point(g), out);
      begin = end;
    }
    // Fewer codes than a block are the last ones of a group. A call between groups would cost the constants' registers.
    if (begin < n) {
      const std::size_t g = (offset + begin) / group;
      ReferenceKernels::decode<F>(codes + begin / 8 * F::bits, n - begin, n - begin, 0, scales + g,
                                  UnsignedFormat<F> ? zero_points + g : nullptr, out + begin);
    }
    return;
  }
#endif
  ReferenceKernels::decode<F>(codes, n, group, offset, scales, zero_points, out);
}

}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_AFTER_NAMESPACE();
