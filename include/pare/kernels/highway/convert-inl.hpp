// Pass file, read once per target: elements to and from float vectors.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {
#if PARE_VECTORS

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using IntTag = hn::RebindToSigned<FloatTag>;
using WordTag = hn::RebindToUnsigned<FloatTag>;
using Floats = hn::Vec<FloatTag>;
using Ints = hn::Vec<IntTag>;
using Words = hn::Vec<WordTag>;
using ByteTag = hn::Rebind<std::uint8_t, FloatTag>;  // as many bytes as there are floats
using BlockTag = hn::FixedTag<std::uint8_t, 16>;
inline constexpr FloatTag floats;
inline constexpr IntTag ints;
inline constexpr WordTag words;
inline constexpr std::size_t lanes = HWY_MAX_BYTES / sizeof(float);

HWY_INLINE Words bits_of(Floats x) { return hn::BitCast(words, x); }
HWY_INLINE Floats float_of(Words u) { return hn::BitCast(floats, u); }
HWY_INLINE Words set(std::uint32_t u) { return hn::Set(words, u); }
HWY_INLINE Words select(hn::Mask<WordTag> mask, Words yes, Words no) { return hn::IfThenElse(mask, yes, no); }
// Magnitudes are below 2^31, where signed comparison (which every target has) orders as unsigned does.
HWY_INLINE hn::Mask<WordTag> less(Words a, Words b) {
  return hn::RebindMask(words, hn::Lt(hn::BitCast(ints, a), hn::BitCast(ints, b)));
}

HWY_INLINE Floats load(const float* p) { return hn::LoadU(floats, p); }

HWY_INLINE Floats load(const BFloat16* p) {
  const hn::Rebind<std::uint16_t, FloatTag> halves;
  const auto raw = hn::LoadU(halves, reinterpret_cast<const std::uint16_t*>(p));
  return float_of(hn::ShiftLeft<16>(hn::PromoteTo(words, raw)));
}

/// The value of a half in the low 16 bits.
HWY_INLINE Floats from_half(Words h) {
  const Words magnitude = hn::And(h, set(0x7fffu));
  const Words sign = hn::ShiftLeft<16>(hn::And(h, set(0x8000u)));
  const Words rebias = set((127u - 15u) << 23);
  const Words normal = hn::Add(hn::ShiftLeft<13>(magnitude), rebias);
  const Words special = hn::Add(normal, rebias);
  const Floats subnormal =
      hn::Mul(hn::ConvertTo(floats, hn::BitCast(ints, magnitude)), hn::Set(floats, F16::min_subnormal));
  const Words finite = select(less(magnitude, set(0x0400u)), bits_of(subnormal), normal);
  return float_of(hn::Or(sign, select(less(magnitude, set(0x7c00u)), finite, special)));
}

/// Keeps the bits of every NaN; processors' own conversions make quiet ones of them.
HWY_INLINE Floats load_exactly(const Half* p) {
  const hn::Rebind<std::uint16_t, FloatTag> halves;
  return from_half(hn::PromoteTo(words, hn::LoadU(halves, reinterpret_cast<const std::uint16_t*>(p))));
}

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
HWY_INLINE Floats load(const Half* p) {
  const hn::Rebind<hwy::float16_t, FloatTag> halves;
  return hn::PromoteTo(floats, hn::LoadU(halves, reinterpret_cast<const hwy::float16_t*>(p)));
}
#else
HWY_INLINE Floats load(const Half* p) { return load_exactly(p); }
#endif

HWY_INLINE void store(Floats x, float* p) { hn::StoreU(x, floats, p); }

HWY_INLINE void store_words(Words w, std::uint16_t* p) {
  const hn::Rebind<std::uint16_t, FloatTag> halves;
  hn::StoreU(hn::DemoteTo(halves, hn::BitCast(ints, w)), halves, p);
}

HWY_INLINE Words to_bfloat16(Floats x) {
  const Words u = bits_of(x);
  const Words odd = hn::And(hn::ShiftRight<16>(u), set(1u));
  const Words rounded = hn::ShiftRight<16>(hn::Add(u, hn::Add(odd, set(0x7fffu))));
  const Words nan = hn::Or(hn::ShiftRight<16>(u), set(0x0040u));
  const auto is_number = less(hn::And(u, set(0x7fffffffu)), set(0x7f800001u));
  return select(is_number, rounded, nan);
}

HWY_INLINE void store(Floats x, BFloat16* p) { store_words(to_bfloat16(x), reinterpret_cast<std::uint16_t*>(p)); }

HWY_INLINE Words to_half(Floats x) {
  const Words u = bits_of(x);
  const Words sign = hn::ShiftRight<16>(hn::And(u, set(0x80000000u)));
  const Words magnitude = hn::And(u, set(0x7fffffffu));
  const Words odd = hn::And(hn::ShiftRight<13>(magnitude), set(1u));
  const Words normal =
      hn::ShiftRight<13>(hn::Sub(hn::Add(magnitude, hn::Add(odd, set(0x0fffu))), set((127u - 15u) << 23)));
  // Below 2^-14 the last place is 2^-24, that of 0.5: the sum rounds there.
  const Words subnormal = hn::Sub(bits_of(hn::Add(float_of(magnitude), hn::Set(floats, 0.5f))), set(0x3f000000u));
  const Words nan = hn::Or(hn::And(hn::ShiftRight<13>(magnitude), set(0x7fffu)), set(0x7e00u));
  Words h = select(less(magnitude, set(0x38800000u)), subnormal, normal);
  h = select(less(magnitude, set(0x477ff000u)), h, set(0x7c00u));
  h = select(less(magnitude, set(0x7f800001u)), h, nan);
  return hn::Or(h, sign);
}

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
HWY_INLINE void store(Floats x, Half* p) {
  const hn::Rebind<hwy::float16_t, FloatTag> halves;
  hn::StoreU(hn::DemoteTo(halves, x), halves, reinterpret_cast<hwy::float16_t*>(p));
}
#else
HWY_INLINE void store(Floats x, Half* p) { store_words(to_half(x), reinterpret_cast<std::uint16_t*>(p)); }
#endif

#if PARE_AVX512
/// The upper halves of two vectors of words, one after the other.
HWY_INLINE __m512i upper_halves(Words a, Words b) {
  alignas(64) static constexpr std::array<std::uint16_t, 2 * lanes> places = [] {
    std::array<std::uint16_t, 2 * lanes> of{};
    for (std::size_t i = 0; i < of.size(); ++i) of[i] = static_cast<std::uint16_t>(2 * i + 1);
    return of;
  }();
  return _mm512_permutex2var_epi16(a.raw, _mm512_load_si512(places.data()), b.raw);
}
/// A vector without NaN, rounded to BFloat16 in the upper halves of its words.
HWY_INLINE Words round_to_upper_half(Floats x) {
  const Words u = bits_of(x), odd = hn::And(hn::ShiftRight<16>(u), set(1u));
  return hn::Add(u, hn::Add(odd, set(0x7fffu)));
}
#endif

/// Two vectors one after the other, of which none holds a NaN.
template <class T>
HWY_INLINE void store_numbers(Floats a, Floats b, T* p) {
#if PARE_AVX512
  if constexpr (std::is_same_v<T, BFloat16>) {
    _mm512_storeu_si512(p, upper_halves(round_to_upper_half(a), round_to_upper_half(b)));
    return;
  }
#endif
  store(a, p);
  store(b, p + lanes);
}

#endif
}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_AFTER_NAMESPACE();
