// Pass file, read once per target: values of packed codes of up to four bits.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {
#if PARE_VECTORS

/// Decodes codes of one group; built once per group. Those of up to four bits are read as they are packed, `vectors`
/// vectors of them at a time; wider ones a vector at a time, a code a byte.
template <class F>
struct Decoder;

/// The values of a group's codes, as often as a vector holds them: (code - zero) * scale once per code, not per
/// element.
template <class F>
HWY_INLINE Floats group_values(float scale, std::uint8_t zero_point) {
  alignas(64) static constexpr std::array<float, lanes> values = [] {
    std::array<float, lanes> v{};
    for (std::uint32_t c = 0; c < lanes; ++c) v[c] = F::decode(c % (1u << F::bits));
    return v;
  }();
  Floats v = hn::Load(floats, values.data());
  if constexpr (UnsignedFormat<F>) v = hn::Sub(v, hn::Set(floats, detail::byte_values[zero_point]));
  return hn::Mul(v, hn::Set(floats, scale));
}

/// The values at the places that the lowest bits of each lane name.
HWY_INLINE Floats look_up_lanes(Floats values, Words places) {
#if PARE_AVX512
  // The instruction looks at no more than the lowest four bits.
  using Index = decltype(hn::IndicesFromVec(floats, hn::BitCast(ints, places)));
  return hn::TableLookupLanes(values, Index{places.raw});
#else
  const Words place = hn::And(places, set(static_cast<std::uint32_t>(lanes - 1)));
  return hn::TableLookupLanes(values, hn::IndicesFromVec(floats, hn::BitCast(ints, place)));
#endif
}

/// Whether one vector holds the values of all codes.
template <class F>
inline constexpr bool fits_vector = F::bits <= 4 && lanes >= 8 && (1u << F::bits) <= lanes;

// Shifting one broadcast word by a different amount in each lane brings every code to the lowest bits: no bytes.
template <class F>
  requires(fits_vector<F>)
struct Decoder<F> {
  static constexpr std::size_t vectors = 16 / lanes;
  Floats values;

  HWY_INLINE Decoder(float scale, std::uint8_t zero_point) : values(group_values<F>(scale, zero_point)) {}

  HWY_INLINE void operator()(const std::uint8_t* packed, Floats (&to)[vectors]) const {
    constexpr std::size_t bits = F::bits;
    const std::uint64_t dense = load_le(packed, 2 * bits);
    if constexpr (lanes * bits <= 32) {
      const Words shifts = hn::Load(words, amounts<std::uint32_t, bits>.data());
#pragma GCC unroll 4
      for (std::size_t v = 0; v < vectors; ++v) {
        const auto word = static_cast<std::uint32_t>(dense >> (v * lanes * bits));
        to[v] = look_up_lanes(values, hn::Shr(set(word), shifts));
      }
    } else {
      const hn::Repartition<std::uint64_t, FloatTag> longs;
      const auto pairs = hn::Shr(hn::Set(longs, dense), hn::Load(longs, amounts<std::uint64_t, 2 * bits>.data()));
      const auto even = hn::And(pairs, hn::Set(longs, 0xffffffffu)), odd = hn::ShiftLeft<32 - F::bits>(pairs);
      to[0] = look_up_lanes(values, hn::BitCast(words, hn::Or(even, odd)));
    }
  }

 private:
  template <class Word, std::size_t Step>
  alignas(64) static constexpr auto amounts = [] {
    std::array<Word, lanes * 4 / sizeof(Word)> a{};
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<Word>(i * Step);
    return a;
  }();
};

/// Byte `Byte` of the value of each code, before it is scaled, in each 16 bytes of a vector.
template <class F, int Byte>
alignas(64) inline constexpr auto value_bytes = [] {
  std::array<std::uint8_t, 4 * lanes> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i)
    if (const auto code = static_cast<std::uint32_t>(i % 16); code < 1u << F::bits)
      bytes[i] = static_cast<std::uint8_t>(detail::float_bits(F::decode(code)) >> 8 * Byte);
  return bytes;
}();

// A vector of bytes holds the codes of four vectors, and tables of 16 bytes give the bytes of their values: the upper
// two, or all four where the format needs them.
template <class F>
  requires(F::bits <= 4 && !fits_vector<F>)
struct Decoder<F> {
  static constexpr std::size_t vectors = 4;
  Floats scale, zero_point;

  HWY_INLINE Decoder(float s, std::uint8_t zero)
      : scale(hn::Set(floats, s)), zero_point(hn::Set(floats, static_cast<float>(zero))) {}

  /// The values of the first Vectors * lanes codes, which are 16 or 32.
  template <std::size_t Vectors>
  HWY_INLINE void operator()(const std::uint8_t* packed, Floats (&values)[Vectors]) const {
    const Bytes codes = arrange_codes<Vectors * lanes>(packed);
    const Bytes third = look_up<2>(codes), fourth = look_up<3>(codes);
    if constexpr (upper_halves) {
      split(hn::InterleaveLower(bytes, third, fourth), values);
      if constexpr (Vectors == 4) split(hn::InterleaveUpper(bytes, third, fourth), values + 2);
    } else {
      const Bytes first = look_up<0>(codes), second = look_up<1>(codes);
      merge(hn::InterleaveLower(bytes, first, second), hn::InterleaveLower(bytes, third, fourth), values);
      if constexpr (Vectors == 4)
        merge(hn::InterleaveUpper(bytes, first, second), hn::InterleaveUpper(bytes, third, fourth), values + 2);
    }
#pragma GCC unroll 4
    for (Floats& v : values) {
      if constexpr (UnsignedFormat<F>) v = hn::Sub(v, zero_point);
      v = hn::Mul(v, scale);
    }
  }

 private:
  static constexpr hn::Repartition<std::uint8_t, FloatTag> bytes{};
  static constexpr hn::Repartition<std::uint16_t, FloatTag> halves{};
  static constexpr hn::Repartition<std::uint64_t, FloatTag> longs{};
  using Bytes = hn::Vec<hn::Repartition<std::uint8_t, FloatTag>>;

  static constexpr bool upper_halves = [] {
    for (std::uint32_t c = 0; c < 1u << F::bits; ++c)
      if (detail::float_bits(F::decode(c)) % 65536 != 0) return false;
    return true;
  }();

  template <int Byte>
  static HWY_INLINE Bytes look_up(Bytes codes) {
    return hn::TableLookupBytes(hn::Load(bytes, value_bytes<F, Byte>.data()), codes);
  }

  /// Floats from their upper halves, which stand in the even and in the odd halves of words.
  static HWY_INLINE void split(Bytes upper, Floats* values) {
    values[0] = float_of(hn::ShiftLeft<16>(hn::BitCast(words, upper)));
    values[1] = float_of(hn::And(hn::BitCast(words, upper), set(0xffff0000u)));
  }
  /// The same with their lower halves.
  static HWY_INLINE void merge(Bytes lower, Bytes upper, Floats* values) {
    const auto even = hn::BitCast(halves, hn::ShiftLeft<16>(hn::BitCast(words, upper)));
    const auto odd = hn::BitCast(halves, hn::ShiftRight<16>(hn::BitCast(words, lower)));
    values[0] = hn::BitCast(floats, hn::OddEven(even, hn::BitCast(halves, lower)));
    values[1] = hn::BitCast(floats, hn::OddEven(hn::BitCast(halves, upper), odd));
  }

  /// Codes, one a byte, so that interleaving such bytes leaves vectors v and v + 1 in the even and odd halves of words.
  template <std::size_t Count>
  static HWY_INLINE Bytes arrange_codes(const std::uint8_t* packed) {
    // Two bytes with four codes for each word.
    alignas(64) static constexpr auto sources = [] {
      std::array<std::uint8_t, 4 * lanes> of{};
      for (std::size_t i = 0; i < of.size(); i += 4) {
        of[i] = static_cast<std::uint8_t>(i % 16 / 8 * lanes + i / 16 * 2 + i / 4 % 2);
        of[i + 1] = static_cast<std::uint8_t>(of[i] + lanes / 2);
        of[i + 2] = of[i + 3] = 0x80;
      }
      return of;
    }();
    const auto word = [&](std::size_t i) HWY_ATTR {
      constexpr std::size_t bytes_of_16 = 2 * F::bits;
      return hn::Set(longs, spread16<F::bits>(load_le(packed + i * bytes_of_16, bytes_of_16)));
    };
    Bytes nibbles;
    if constexpr (Count == 16)
      nibbles = hn::BitCast(bytes, word(0));
    else if constexpr (F::bits == 4)
      nibbles = hn::LoadDup128(bytes, packed);
    else
      nibbles = hn::BitCast(bytes, hn::InterleaveLower(longs, word(0), word(1)));
    const Words pairs = hn::BitCast(words, hn::TableLookupBytesOr0(nibbles, hn::Load(bytes, sources.data())));
    return hn::BitCast(bytes, hn::And(hn::Or(pairs, hn::ShiftLeft<12>(pairs)), set(0x0f0f0f0fu)));
  }
};

#endif
}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_AFTER_NAMESPACE();
