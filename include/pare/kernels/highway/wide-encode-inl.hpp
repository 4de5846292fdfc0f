// Pass file, read once per target with AVX-512: values to codes, 64 at a time. Every value here is finite.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {

/// The codes of four registers of floats.
inline constexpr std::size_t pair = 2 * block;

/// Values of one group to 16-bit integers; built once per group. `Bounded` is what BlockParameters says of the group.
template <class F, bool Bounded>
struct WideEncoder;

template <IntegerFormat F, bool Bounded>
struct WideEncoder<F, Bounded> {
  Floats inverse, highest;
  __m512i zero_point;

  HWY_INLINE explicit WideEncoder(const BlockParameters& p)
      : inverse(hn::Set(floats, p.inverse)),
        highest(hn::Set(floats, F::max - (UnsignedFormat<F> ? static_cast<float>(p.zero_point) : 0.0f))),
        zero_point(_mm512_set1_epi16(p.zero_point)) {}

  HWY_INLINE __m512i round(Floats x) const {
    Floats scaled = hn::Mul(x, inverse);
    // What is too low for an integer becomes the lowest of all; what is too high would become that as well.
    if constexpr (!Bounded) scaled = hn::Min(scaled, highest);
    return _mm512_cvtps_epi32(scaled.raw);
  }
  HWY_INLINE __m512i operator()(Floats a, Floats b) const {
    const __m512i q = _mm512_packs_epi32(round(a), round(b));
    return UnsignedFormat<F> ? _mm512_add_epi16(q, zero_point) : q;
  }
  /// The codes in the bytes of two registers of integers.
  static HWY_INLINE __m512i codes(__m512i low, __m512i high) {
    if constexpr (UnsignedFormat<F>) {
      const __m512i codes = _mm512_packus_epi16(low, high);
      return Bounded && F::bits < 8 ? _mm512_min_epu8(codes, _mm512_set1_epi8(static_cast<char>(F::highest))) : codes;
    } else {
      const __m512i codes = _mm512_packs_epi16(low, high);
      return Bounded ? codes : _mm512_max_epi8(codes, _mm512_set1_epi8(static_cast<char>(-F::highest)));
    }
  }
};

HWY_DIAGNOSTICS(push)
HWY_DIAGNOSTICS_OFF(disable : 4245, ignored "-Wsign-conversion")  // in gcc's macro for it where nothing is optimized
/// Of two vectors the values of smaller magnitude, with the signs of the first.
HWY_INLINE Floats smaller_magnitude(Floats a, Floats b) { return Floats{_mm512_range_ps(a.raw, b.raw, 0b0010)}; }
/// Of two vectors the values of larger magnitude, with the signs of the first.
HWY_INLINE Floats larger_magnitude(Floats a, Floats b) { return Floats{_mm512_range_ps(a.raw, b.raw, 0b0011)}; }
HWY_DIAGNOSTICS(pop)

template <MinifloatFormat F, bool Bounded>
struct WideEncoder<F, Bounded> {
  static constexpr int drop = 23 - F::layout.mantissa;
  static constexpr int least_exponent = 128 - F::layout.bias;  // as a float has it
  Floats inverse;

  HWY_INLINE explicit WideEncoder(const BlockParameters& p) : inverse(hn::Set(floats, p.inverse)) {}

  /// 128 / 2^mantissa codes of a scaled value's magnitude, and what join() takes off again; less 2^15 for a sign.
  static HWY_INLINE __m512i steps(Floats scaled) {
    if constexpr (!Bounded) scaled = smaller_magnitude(scaled, hn::Set(floats, F::max));
    const Floats power =
        larger_magnitude(hn::And(scaled, float_of(set(0xff800000u))),
                         hn::Set(floats, detail::bits_float(static_cast<std::uint32_t>(least_exponent) << 23)));
    // A float whose last place is the code's: adding it rounds there, and leaves steps from the power in the low bits.
    const Floats sum = hn::MulAdd(power, hn::Set(floats, detail::exp2_int(drop)), scaled);
    return _mm512_madd_epi16(bits_of(sum).raw, _mm512_set1_epi32((1 << 16) | (1 << (7 - F::layout.mantissa))));
  }
  static HWY_INLINE __m512i join(__m512i a, __m512i b) {
    return _mm512_sub_epi16(_mm512_packs_epi32(a, b),
                            _mm512_set1_epi16(static_cast<short>((least_exponent + drop) * 128)));
  }
  HWY_INLINE __m512i operator()(Floats a, Floats b) const {
    return join(steps(hn::Mul(a, inverse)), steps(hn::Mul(b, inverse)));
  }
  static HWY_INLINE __m512i shift(__m512i v) {
    constexpr int second_where_third_else_first = 0xd8;
    return _mm512_ternarylogic_epi32(_mm512_srli_epi16(v, 7 - F::layout.mantissa), _mm512_srli_epi16(v, 16 - F::bits),
                                     _mm512_set1_epi16(static_cast<short>(-(1 << (F::bits - 1)))),
                                     second_where_third_else_first);
  }
  static HWY_INLINE __m512i codes(__m512i low, __m512i high) { return _mm512_packus_epi16(shift(low), shift(high)); }
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

template <TableFormat F, bool Bounded>
struct WideEncoder<F, Bounded> {
  Floats inverse;

  HWY_INLINE explicit WideEncoder(const BlockParameters& p) : inverse(hn::Set(floats, p.inverse)) {}

  HWY_INLINE __m512i find(Floats x) const {
    using Parts = TableParts<F>;
    Floats v = hn::Mul(x, inverse);
    if constexpr (!Bounded) v = smaller_magnitude(v, hn::Set(floats, F::max));
    const __m512i part = bits_of(hn::MulAdd(v, hn::Set(floats, Parts::factor), hn::Set(floats, 12582912.0f))).raw;
    const float* const t = Parts::thresholds.data();
    const std::int32_t* const c = Parts::lower_codes.data();
    const __m512 threshold = _mm512_permutex2var_ps(hn::Load(floats, t).raw, part, hn::Load(floats, t + lanes).raw);
    const __m512i lower = _mm512_permutex2var_epi32(hn::Load(ints, c).raw, part, hn::Load(ints, c + lanes).raw);
    return _mm512_mask_add_epi32(lower, _mm512_cmp_ps_mask(threshold, v.raw, _CMP_LT_OQ), lower, _mm512_set1_epi32(1));
  }
  HWY_INLINE __m512i operator()(Floats a, Floats b) const { return _mm512_packs_epi32(find(a), find(b)); }
  static HWY_INLINE __m512i codes(__m512i low, __m512i high) { return _mm512_packus_epi16(low, high); }
};

/// The codes in the bytes of a register, four of each of four registers of values side by side, to memory.
template <class F>
HWY_INLINE void pack_pair(__m512i codes, std::uint8_t* packed) {
  if constexpr (F::bits == 4) {
    // Each word becomes the byte of its two codes.
    constexpr bool is_signed = IntegerFormat<F> && !UnsignedFormat<F>;
    if constexpr (is_signed) codes = _mm512_and_si512(codes, _mm512_set1_epi16(static_cast<short>(0xff0f)));
    const __m512i both = _mm512_maddubs_epi16(_mm512_set1_epi16(0x1001), codes);
    const __m512i bytes = is_signed ? _mm512_packs_epi16(both, both) : _mm512_packus_epi16(both, both);
    const __m256i order = _mm256_setr_epi16(0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(packed),
                        _mm512_castsi512_si256(_mm512_permutexvar_epi16(_mm512_castsi256_si512(order), bytes)));
  } else {
    codes = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), codes);
    if constexpr (F::bits == 8) {
      _mm512_storeu_si512(packed, codes);
    } else {
      HWY_ALIGN std::uint8_t bytes[pair];
      _mm512_store_si512(bytes, _mm512_and_si512(codes, _mm512_set1_epi8((1 << F::bits) - 1)));
      pack_block<F::bits>(bytes, packed);
      pack_block<F::bits>(bytes + block, packed + block / 8 * F::bits);
    }
  }
}

/// Encodes a pair of blocks.
template <class F, bool Bounded, class T>
HWY_INLINE void encode_pair(const WideEncoder<F, Bounded>& first, const WideEncoder<F, Bounded>& second, const T* x,
                            std::uint8_t* codes, bool reads_ahead) {
  if (reads_ahead) prefetch_window<pair>(x);
  pack_pair<F>(
      WideEncoder<F, Bounded>::codes(first(load(x), load(x + lanes)), second(load(x + 2 * lanes), load(x + 3 * lanes))),
      codes);
}

/// Encodes the pairs of blocks of n values of one group, and returns how many values.
template <class F, bool Bounded, class T>
HWY_INLINE std::size_t encode_pairs_of_group(const T* x, std::size_t n, const BlockParameters& parameters,
                                             std::uint8_t* codes, bool reads_ahead) {
  const WideEncoder<F, Bounded> encoder(parameters);
  std::size_t i = 0;
  for (; n - i >= pair; i += pair) encode_pair<F>(encoder, encoder, x + i, codes + i / 8 * F::bits, reads_ahead);
  return i;
}

template <class F>
inline constexpr bool has_wide_encoder = true;
template <TableFormat F>
inline constexpr bool has_wide_encoder<F> = TableParts<F>::factor != 0.0f;

/// Encodes whole pairs of blocks from the start of a row, and returns how many values: none where pairs cannot have
/// parameters of their own, and those before the first group with a value that is not finite.
template <class F, class T>
HWY_INLINE std::size_t encode_pairs(const T* x, std::size_t n, std::size_t group, const BlockParameters* parameters,
                                    std::uint8_t* codes, bool reads_ahead) {
  constexpr std::size_t pair_bytes = pair / 8 * F::bits;
  // Small floats have shared exponents here, which bound few groups.
  constexpr bool reads_bounds = !MinifloatFormat<F>;
  if (group == block) {
    const std::size_t pairs = n / pair;
    for (std::size_t i = 0; i < pairs; ++i, x += pair, parameters += 2, codes += pair_bytes) {
      const BlockParameters &first = parameters[0], &second = parameters[1];
      if (reads_bounds && (first.bounded & second.bounded)) {
        using Encoder = WideEncoder<F, reads_bounds>;
        encode_pair<F>(Encoder(first), Encoder(second), x, codes, reads_ahead);
      } else if (first.finite & second.finite) {
        using Encoder = WideEncoder<F, false>;
        encode_pair<F>(Encoder(first), Encoder(second), x, codes, reads_ahead);
      } else {
        return i * pair;
      }
    }
    return pairs * pair;
  }
  if (group % pair != 0 && group < n) return 0;
  std::size_t begin = 0;
  for (; n - begin >= pair && parameters->finite; ++parameters) {
    const std::size_t count = n - begin < group ? n - begin : group;
    std::uint8_t* const to = codes + begin / 8 * F::bits;
    begin += parameters->bounded ? encode_pairs_of_group<F, true>(x + begin, count, *parameters, to, reads_ahead)
                                 : encode_pairs_of_group<F, false>(x + begin, count, *parameters, to, reads_ahead);
  }
  return begin;
}

}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_AFTER_NAMESPACE();
