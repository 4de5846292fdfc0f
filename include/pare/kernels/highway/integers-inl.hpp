// Pass file, read once per target: what products of small integers are made of.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {
#if PARE_VECTORS

using DotByteTag = hn::Repartition<std::uint8_t, FloatTag>;
using DotShortTag = hn::Repartition<std::int16_t, FloatTag>;
using DotBytes = hn::Vec<DotByteTag>;
using DotShorts = hn::Vec<DotShortTag>;
inline constexpr DotByteTag dot_bytes;
inline constexpr DotShortTag dot_shorts;

/// Codes that are decoded in scratch memory: a byte for each integer, in lines of one vector.
template <class Codes>
struct PreparedIntegers {
  static constexpr int bits = 8;
  static constexpr std::uint32_t highest = Codes::highest;
};

/// The type of what is decoded from Codes.
template <class Codes>
struct Decoded {
  using type = PreparedIntegers<Codes>;
};
template <class Codes>
struct Decoded<Sparse24Codes<Codes>> {
  using type = PreparedIntegers<Codes>;
};
template <class Codes>
struct Decoded<Group16Codes<Codes>> {
  using type = Group16Codes<PreparedIntegers<Codes>>;
};
template <class Codes>
using DecodedCodes = typename Decoded<Codes>::type;

/// Bytes of six bits, as those of int5, Q5_K and Q6_K are.
struct SixBits {
  static constexpr int bits = 8;
  static constexpr std::uint32_t highest = 63;
};

inline constexpr std::size_t vector_bytes = 4 * lanes;

/// From four columns of all interleaved rows to the next four, in bytes.
template <class Codes>
inline constexpr std::size_t line_bytes = 4 * prepared_rows;
template <class Codes>
inline constexpr std::size_t line_bytes<PreparedIntegers<Codes>> = vector_bytes;
template <class Codes>
inline constexpr std::size_t line_bytes<Group16Codes<Codes>> = line_bytes<Codes>;

/// From a unit of columns to the next.
template <class Codes>
inline constexpr std::size_t unit_bytes = line_bytes<Codes> * Codes::bits;

HWY_INLINE DotBytes high_nibbles(DotBytes v) {
  const hn::Repartition<std::uint16_t, FloatTag> pairs;
  return hn::And(hn::BitCast(dot_bytes, hn::ShiftRight<4>(hn::BitCast(pairs, v))), hn::Set(dot_bytes, 15));
}

/// Eight codes of activations in every eight bytes.
HWY_INLINE DotBytes eight_codes(const std::int8_t* p) {
  std::uint64_t word;
  std::memcpy(&word, p, sizeof word);
  return hn::BitCast(dot_bytes, hn::Set(hn::Repartition<std::uint64_t, FloatTag>(), word));
}

/// Four codes of activations in every lane.
HWY_INLINE Ints four_codes(const std::int8_t* p) {
  std::int32_t word;
  std::memcpy(&word, p, sizeof word);
  return hn::Set(ints, word);
}

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_SSSE3
#undef PARE_PAIRS
#define PARE_PAIRS 1

/// Sums of two neighbours of unsigned * signed, saturating at 16 bits.
HWY_INLINE DotShorts multiply_pairs(DotBytes unsigned_bytes, Ints signed_bytes) {
#if HWY_TARGET <= HWY_AVX3
  return DotShorts{_mm512_maddubs_epi16(unsigned_bytes.raw, signed_bytes.raw)};
#elif HWY_TARGET == HWY_AVX2
  return DotShorts{_mm256_maddubs_epi16(unsigned_bytes.raw, signed_bytes.raw)};
#else
  return DotShorts{_mm_maddubs_epi16(unsigned_bytes.raw, signed_bytes.raw)};
#endif
}

/// Sums of two neighbours of a * b.
HWY_INLINE Ints add_pairs(DotShorts a, DotShorts b) {
#if HWY_TARGET <= HWY_AVX3
  return Ints{_mm512_madd_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_AVX2
  return Ints{_mm256_madd_epi16(a.raw, b.raw)};
#else
  return Ints{_mm_madd_epi16(a.raw, b.raw)};
#endif
}

/// a * b for both within 16 bits, of which a has zeros above them.
HWY_INLINE Ints multiply_small(Ints a, Ints b) {
  return add_pairs(hn::BitCast(dot_shorts, a), hn::BitCast(dot_shorts, b));
}

#else
#undef PARE_PAIRS
#define PARE_PAIRS 0

HWY_INLINE Ints multiply_small(Ints a, Ints b) { return hn::Mul(a, b); }

#endif

HWY_INLINE Ints load_zero_points(const std::uint8_t* p) { return hn::PromoteTo(ints, hn::LoadU(ByteTag(), p)); }

/// Integers times what they share.
HWY_INLINE Floats load_prepared_integers(const PreparedUnits& units, const std::uint8_t* p) {
  const hn::Rebind<std::int8_t, FloatTag> bytes;
  const Ints integers = hn::PromoteTo(ints, hn::LoadU(bytes, reinterpret_cast<const std::int8_t*>(p)));
  return hn::Mul(hn::ConvertTo(floats, integers), hn::LoadU(floats, units.of(p)));
}

HWY_INLINE Floats load_prepared_scales(const PreparedWeights& w, std::size_t at, std::size_t row) {
  const std::uint8_t* p = w.scales + at;
  switch (w.scale) {
    case PreparedScale::float16: {
      const auto* halves = reinterpret_cast<const Half*>(p) + row;
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
      return hn::PromoteTo(
          floats, hn::LoadU(hn::Rebind<hwy::float16_t, FloatTag>(), reinterpret_cast<const hwy::float16_t*>(halves)));
#else
      return load(halves);
#endif
    }
    case PreparedScale::bfloat16:
      return load(reinterpret_cast<const BFloat16*>(p) + row);
    case PreparedScale::integer8:
      return load_prepared_integers(w.scale_units, p + row);
    case PreparedScale::float32:
      break;
  }
  return load(reinterpret_cast<const float*>(p) + row);
}

HWY_INLINE Floats load_minimums(const PreparedWeights& w, std::size_t at, std::size_t row) {
  const std::uint8_t* p = w.minimums + at;
  if (w.minimum == PreparedScale::integer8) return load_prepared_integers(w.minimum_units, p + row);
  return load(reinterpret_cast<const float*>(p) + row);
}

/// The scales of rows of activations from `row` on in group g, or null where rows have one.
HWY_INLINE const float* group_scales(const QuantizedActivations& x, std::size_t g, std::size_t row) {
  return x.scale_step == 0 ? nullptr : x.scales + g * x.scale_step + row;
}

/// The results of `rows` rows of activations from `row` on, of Vectors vectors of weights from part `part` of the first
/// block of `w` on, from what their tiles left in `sums`: integers where products of whole rows are, to which offsets
/// are still to be added unless HasOffsets.
template <std::size_t Vectors, bool HasOffsets = false>
HWY_INLINE void finish_rows(const PreparedWeights& w, std::size_t part, const QuantizedActivations& x, std::size_t row,
                            std::size_t rows, float* HWY_RESTRICT sums) {
  if (x.scale_step != 0) return;
  if (x.offset_step != 0) {
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t v = 0; v < Vectors; ++v, sums += lanes)
        hn::Store(hn::Mul(hn::Load(floats, sums), hn::Set(floats, x.scales[row + r])), floats, sums);
    return;
  }
#pragma GCC unroll 8
  for (std::size_t v = 0; v < Vectors; ++v) {
    const std::size_t first = (part + v % parts) * lanes;
    const Floats scale = load_prepared_scales(w, v / parts * w.scale_stride, first);
    // What offsets are multiplied by, in the sums and beside them.
    Ints zero = hn::Set(ints, HasOffsets || w.minimums != nullptr ? 0 : 1);
    if (!HasOffsets && w.zero_points != nullptr)
      zero = load_zero_points(w.zero_points + v / parts * w.zero_point_stride + first);
    Floats minimum = hn::Zero(floats);
    if (w.minimums != nullptr) minimum = load_minimums(w, v / parts * w.minimum_stride, first);
    for (std::size_t r = 0; r < rows; ++r) {
      float* const to = sums + (r * Vectors + v) * lanes;
      const Ints offset = hn::Set(ints, x.offsets[row + r]);
      const Ints sum = hn::Add(hn::BitCast(ints, hn::Load(floats, to)), hn::Mul(zero, offset));
      Floats total = fused_multiply_add(hn::ConvertTo(floats, sum), scale, hn::Zero(floats));
      if (w.minimums != nullptr) total = fused_multiply_add(hn::ConvertTo(floats, offset), minimum, total);
      hn::Store(hn::Mul(total, hn::Set(floats, x.scales[row + r])), floats, to);
    }
  }
}

/// How far ahead the weights of one row of activations are fetched, in bytes.
inline constexpr std::size_t prefetch_distance = 1024;

#endif
}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_AFTER_NAMESPACE();
