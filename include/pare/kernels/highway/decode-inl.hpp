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
  const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
  __m512i halves = _mm512_slli_epi16(_mm512_cvtepi8_epi16(bytes), shift);
  if constexpr (F::layout.specials == Specials::nan_only) {
    // The exponent of a half has one more bit, where the sign was copied to.
    halves = _mm512_and_si512(halves, _mm512_set1_epi16(static_cast<short>(0xbfff)));
    const __m512i nan = _mm512_set1_epi16(static_cast<short>(F::magnitude_mask << shift));
    if (_mm512_cmpeq_epi16_mask(_mm512_and_si512(halves, nan), nan) != 0) return false;
  }
  store(hn::Mul(Floats{_mm512_cvtph_ps(_mm512_castsi512_si256(halves))}, scale), out);
  store(hn::Mul(Floats{_mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1))}, scale), out + lanes);
  return true;
}

/// What a half of a format is multiplied by for a group with this scale; infinite where float does not reach.
template <MinifloatFormat F>
float half_scale(float scale) {
  return scale * detail::exp2_int(15 - F::layout.bias);
}
#endif

/// Decodes Count codes of one group, a block of them or half of one.
template <std::size_t Count, class F, class T>
HWY_INLINE void decode_block(const Decoder<F>& decoder, const std::uint8_t* codes, T* out) {
  if constexpr (F::bits <= 4) {
    constexpr std::size_t vectors = std::min(Decoder<F>::vectors, Count / lanes);
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
    for (std::size_t i = 0; i < block; i += lanes) store(decoder(codes + i), out + i);
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
  if constexpr (F::bits <= 4) {
    constexpr std::size_t half = block / 2;
    if (group == half && offset == 0) {
      std::size_t begin = 0, g = 0;
      for (; n - begin >= half; begin += half, ++g)
        decode_block<half>(Decoder<F>(scales[g], UnsignedFormat<F> ? zero_points[g] : std::uint8_t{0}),
                           codes + begin / 8 * F::bits, out + begin);
      ReferenceKernels::decode<F>(codes + begin / 8 * F::bits, n - begin, group, 0, scales + g,
                                  UnsignedFormat<F> ? zero_points + g : nullptr, out + begin);
      return;
    }
  }
  if (one_group || (group % block == 0 && offset % block == 0)) {
    std::size_t begin = 0, remaining = group - offset;
    for (std::size_t g = 0; n - begin >= block; ++g, remaining = group) {
      const std::size_t end = begin + std::min(n - begin, remaining) / block * block;
      const Decoder<F> decoder(scales[g], UnsignedFormat<F> ? zero_points[g] : std::uint8_t{0});
#if PARE_AVX512
      if constexpr (widens_from_half<F>)
        if (const float factor = half_scale<F>(scales[g]); is_finite(factor))
          while (begin < end &&
                 decode_block_from_half<F>(codes + begin / 8 * F::bits, hn::Set(floats, factor), out + begin))
            begin += block;
#endif
      for (; begin < end; begin += block) decode_block<block>(decoder, codes + begin / 8 * F::bits, out + begin);
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
