// Pass file, read once per target with AVX-512: values to codes, 64 at a time. Every value here is finite.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {

/// The codes of four registers of floats.
inline constexpr std::size_t pair = 2 * block;
using PairTag = hn::FixedTag<std::uint8_t, pair>;
using PairBytes = hn::Vec<PairTag>;

/// Values of one group to integers that narrow() makes bytes; built once per group.
template <class F>
struct WideEncoder;

template <IntegerFormat F>
struct WideEncoder<F> {
  static constexpr int subtracted = 0;
  Floats inverse, highest;
  Ints zero_point;

  HWY_INLINE explicit WideEncoder(const BlockParameters& p)
      : inverse(hn::Set(floats, p.inverse)),
        highest(hn::Set(floats, F::max - (UnsignedFormat<F> ? static_cast<float>(p.zero_point) : 0.0f))),
        zero_point(hn::Set(ints, p.zero_point)) {}

  HWY_INLINE Ints operator()(Floats x) const {
    // What is too low for an integer becomes the lowest of all; what is too high would become that as well.
    const Ints q{_mm512_cvtps_epi32(hn::Min(hn::Mul(x, inverse), highest).raw)};
    return UnsignedFormat<F> ? hn::Add(q, zero_point) : q;
  }
};

HWY_DIAGNOSTICS(push)
HWY_DIAGNOSTICS_OFF(disable : 4245, ignored "-Wsign-conversion")  // in gcc's macro for it where nothing is optimized
/// The value, or the limit where that is smaller in magnitude, without its sign or with it.
template <bool keep_sign>
HWY_INLINE Floats limited(Floats values, float limit) {
  return Floats{_mm512_range_ps(values.raw, _mm512_set1_ps(limit), keep_sign ? 0b0010 : 0b1010)};
}
HWY_DIAGNOSTICS(pop)

template <MinifloatFormat F>
struct WideEncoder<F> {
  static constexpr int drop = 23 - F::layout.mantissa;
  static constexpr int least_exponent = 128 - F::layout.bias;  // as a float has it
  /// By how much integers are above the codes of the magnitudes.
  static constexpr int subtracted = (least_exponent + drop) << F::layout.mantissa;
  Floats inverse;

  HWY_INLINE explicit WideEncoder(const BlockParameters& p) : inverse(hn::Set(floats, p.inverse)) {}

  HWY_INLINE Ints operator()(Floats x) const {
    const Floats magnitude = limited<false>(hn::Mul(x, inverse), F::max);
    const Ints exponent = hn::And(hn::BitCast(ints, magnitude), hn::Set(ints, 0x7f800000));
    // A power of two whose last place is the code's: adding it rounds there.
    const Ints power = hn::Add(hn::Max(exponent, hn::Set(ints, least_exponent << 23)), hn::Set(ints, drop << 23));
    const Ints steps = hn::Sub(hn::BitCast(ints, hn::Add(magnitude, hn::BitCast(floats, power))), power);
    return hn::Add(steps, hn::ShiftRight<drop>(power));
  }
};

/// Equal parts of a table's range, at most one threshold in each: what is in a part has one of two codes.
template <TableFormat F>
struct TableParts {
  static_assert(F::size == 16, "pare: vector kernels have tables of 16 values");
  static constexpr std::size_t count = 32;

  static constexpr std::int32_t part_of(double x, double parts) noexcept {
    return static_cast<std::int32_t>(x * parts + 100.5) - 100;
  }
  /// Whether every threshold has a part of its own, and stands so far inside that rounding cannot move it out.
  static constexpr bool divides(double parts) noexcept {
    std::int32_t before = -100;
    for (const float t : F::thresholds) {
      const std::int32_t part = part_of(t, parts);
      const double place = t * parts - part;
      if (part == before || place < -0.49 || place > 0.49) return false;
      before = part;
    }
    return true;
  }
  /// Parts in a unit; 0 where no number of them will do.
  static constexpr float factor = [] {
    for (double parts = 15.4; parts > 8.0; parts -= 0.05)
      if (divides(static_cast<double>(static_cast<float>(parts / F::max)))) return static_cast<float>(parts / F::max);
    return 0.0f;
  }();

  // The parts below zero stand behind the others.
  alignas(64) static constexpr std::array<float, count> thresholds = [] {
    std::array<float, count> all{};
    for (float& t : all) t = std::numeric_limits<float>::max();
    for (const float t : F::thresholds) all[static_cast<std::size_t>(part_of(t, factor) & 31)] = t;
    return all;
  }();
  alignas(64) static constexpr std::array<std::int32_t, count> lower_codes = [] {
    std::array<std::int32_t, count> all{};
    for (std::int32_t part = -16; part < 16; ++part)
      for (const float t : F::thresholds) all[static_cast<std::size_t>(part & 31)] += part_of(t, factor) < part ? 1 : 0;
    return all;
  }();
};

template <TableFormat F>
struct WideEncoder<F> {
  static constexpr int subtracted = 0;
  Floats inverse;

  HWY_INLINE explicit WideEncoder(const BlockParameters& p) : inverse(hn::Set(floats, p.inverse)) {}

  HWY_INLINE Ints operator()(Floats x) const {
    using Parts = TableParts<F>;
    const Floats v = limited<true>(hn::Mul(x, inverse), F::max);
    const __m512i part = bits_of(hn::MulAdd(v, hn::Set(floats, Parts::factor), hn::Set(floats, 12582912.0f))).raw;
    const float* const t = Parts::thresholds.data();
    const std::int32_t* const c = Parts::lower_codes.data();
    const Floats threshold{_mm512_permutex2var_ps(hn::Load(floats, t).raw, part, hn::Load(floats, t + lanes).raw)};
    const Ints lower{_mm512_permutex2var_epi32(hn::Load(ints, c).raw, part, hn::Load(ints, c + lanes).raw)};
    return hn::Sub(lower, hn::BitCast(ints, hn::VecFromMask(floats, hn::Lt(threshold, v))));
  }
};

/// The integers of four registers less `Subtracted` as bytes that saturate; their quarters are not in order yet.
template <bool Signed, int Subtracted>
HWY_INLINE __m512i narrow(Ints a, Ints b, Ints c, Ints d) {
  __m512i low = _mm512_packs_epi32(a.raw, b.raw), high = _mm512_packs_epi32(c.raw, d.raw);
  if constexpr (Subtracted != 0) {
    low = _mm512_sub_epi16(low, _mm512_set1_epi16(Subtracted));
    high = _mm512_sub_epi16(high, _mm512_set1_epi16(Subtracted));
  }
  return Signed ? _mm512_packs_epi16(low, high) : _mm512_packus_epi16(low, high);
}

/// A code in each byte, with anything in the bits above it.
template <class F, class T>
HWY_INLINE PairBytes encode_pair(const WideEncoder<F>& first, const WideEncoder<F>& second, const T* x) {
  constexpr bool is_signed = IntegerFormat<F> && !UnsignedFormat<F>;
  const Floats a = load(x), b = load(x + lanes), c = load(x + 2 * lanes), d = load(x + 3 * lanes);
  __m512i codes = narrow<is_signed, WideEncoder<F>::subtracted>(first(a), first(b), second(c), second(d));
  if constexpr (is_signed) codes = _mm512_max_epi8(codes, _mm512_set1_epi8(static_cast<char>(-F::highest)));
  if constexpr (MinifloatFormat<F>) {
    const __m512i signs =
        narrow<true, 0>(hn::BitCast(ints, a), hn::BitCast(ints, b), hn::BitCast(ints, c), hn::BitCast(ints, d));
    constexpr int first_or_both_others = 0xf8;
    codes = _mm512_ternarylogic_epi32(codes, F::bits == 8 ? signs : _mm512_srli_epi16(signs, 8 - F::bits),
                                      _mm512_set1_epi8(static_cast<char>(F::sign_bit)), first_or_both_others);
  }
  return {_mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), codes)};
}

template <int Bits>
HWY_INLINE void pack_pair(PairBytes codes, std::uint8_t* packed) {
  if constexpr (Bits == 8) {
    hn::StoreU(codes, PairTag(), packed);
  } else if constexpr (Bits == 4) {
    constexpr int second_where_first_else_third = 0xca;
    const __m512i both = _mm512_ternarylogic_epi32(_mm512_set1_epi16(15), codes.raw, _mm512_srli_epi16(codes.raw, 4),
                                                   second_where_first_else_third);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(packed), _mm512_cvtepi16_epi8(both));
  } else {
    HWY_ALIGN std::uint8_t bytes[pair];
    hn::Store(hn::And(codes, hn::Set(PairTag(), (1u << Bits) - 1u)), PairTag(), bytes);
    pack_block<Bits>(bytes, packed);
    pack_block<Bits>(bytes + block, packed + block / 8 * Bits);
  }
}

template <class F>
inline constexpr bool has_wide_encoder = true;
template <TableFormat F>
inline constexpr bool has_wide_encoder<F> = TableParts<F>::factor != 0.0f;

/// Encodes whole pairs of blocks from the start of a row, and returns how many values: none where pairs cannot have
/// parameters of their own, and those before the first group with a value that is not finite.
template <class F, class T>
HWY_INLINE std::size_t encode_pairs(const T* x, std::size_t n, std::size_t group, const BlockParameters* parameters,
                                    std::uint8_t* codes) {
  constexpr std::size_t pair_bytes = pair / 8 * F::bits;
  if (group == block) {
    const std::size_t pairs = n / pair;
    for (std::size_t i = 0; i < pairs; ++i, x += pair, parameters += 2, codes += pair_bytes) {
      if (!(parameters[0].finite & parameters[1].finite)) return i * pair;
      prefetch_weights<1>(x, pair);
      pack_pair<F::bits>(encode_pair<F>(WideEncoder<F>(parameters[0]), WideEncoder<F>(parameters[1]), x), codes);
    }
    return pairs * pair;
  }
  if (group % pair != 0 && group < n) return 0;
  std::size_t begin = 0;
  for (; n - begin >= pair && parameters->finite; ++parameters) {
    const WideEncoder<F> encoder(*parameters);
    const std::size_t end = n - begin < group ? n : begin + group;
    for (; end - begin >= pair; begin += pair, codes += pair_bytes) {
      prefetch_weights<1>(x + begin, pair);
      pack_pair<F::bits>(encode_pair<F>(encoder, encoder, x + begin), codes);
    }
  }
  return begin;
}

}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_AFTER_NAMESPACE();
