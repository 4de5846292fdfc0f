// Pass file, read once per target: values to codes. Every value here is finite; blocks that hold others take the scalar
// path.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {
#if PARE_VECTORS

#if PARE_AVX512
/// Whether what stands above the lowest byte of a code counts for nothing.
inline constexpr bool stores_lowest_byte = true;
HWY_INLINE void store_codes(Words codes, std::uint8_t* bytes) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes), _mm512_cvtepi32_epi8(codes.raw));
}
#else
inline constexpr bool stores_lowest_byte = false;
HWY_INLINE void store_codes(Words codes, std::uint8_t* bytes) {
  hn::StoreU(hn::DemoteTo(ByteTag(), hn::BitCast(ints, codes)), ByteTag(), bytes);
}
#endif

/// Encodes scaled values of one group; built once per group.
template <class F>
struct Encoder;

template <IntegerFormat F>
struct Encoder<F> {
  // Limits are whole numbers, so clamping before rounding gives what clamping after it does.
  Floats lowest, highest;
  Words zero_point;

  HWY_INLINE explicit Encoder(const BlockParameters& p) {
    const float zero = UnsignedFormat<F> ? static_cast<float>(p.zero_point) : 0.0f;
    lowest = hn::Set(floats, UnsignedFormat<F> ? -zero : -F::max);
    highest = hn::Set(floats, F::max - zero);
    zero_point = set(static_cast<std::uint32_t>(zero));
  }
  HWY_INLINE Words operator()(Floats x) const {
    // In a float as large as 1.5 * 2^23 the last place is 1: adding it rounds, and leaves the integer in the low bits.
    const Words q = bits_of(hn::Add(hn::Min(hn::Max(x, lowest), highest), hn::Set(floats, 12582912.0f)));
    const Words code = UnsignedFormat<F> ? hn::Add(q, zero_point) : q;
    return F::bits == 8 && stores_lowest_byte ? code : hn::And(code, set(F::mask));
  }
};

template <MinifloatFormat F>
struct Encoder<F> {
  HWY_INLINE explicit Encoder(const BlockParameters&) {}
  HWY_INLINE Words operator()(Floats x) const {
    constexpr int drop = 23 - F::layout.mantissa;
    // A float whose last place is the smallest subnormal: adding it rounds there.
    constexpr float align = detail::exp2_int(1 - F::layout.bias + drop);
    const Words sign = hn::And(bits_of(x), set(0x80000000u));
    const Floats magnitude = hn::Min(hn::Abs(x), hn::Set(floats, F::max));
    const Words u = bits_of(magnitude);
    const Words odd = hn::And(hn::ShiftRight<drop>(u), set(1u));
    constexpr std::uint32_t rebias = static_cast<std::uint32_t>(127 - F::layout.bias) << 23;
    const Words normal =
        hn::ShiftRight<drop>(hn::Sub(hn::Add(u, hn::Add(odd, set((1u << (drop - 1)) - 1u))), set(rebias)));
    const Words subnormal =
        hn::Sub(bits_of(hn::Add(magnitude, hn::Set(floats, align))), set(detail::float_bits(align)));
    const Words code = select(less(u, set(detail::float_bits(F::min_normal))), subnormal, normal);
    return hn::Or(code, hn::ShiftRight<32 - F::bits>(sign));
  }
};

template <TableFormat F>
struct Encoder<F> {
  static_assert(F::size == 16, "pare: vector kernels have tables of 16 values");

  // Level l of the search compares with the thresholds that divide the table in 2^(l + 1) equal parts.
  static constexpr auto level(std::size_t l) noexcept {
    std::array<float, 16> t{};
    const std::size_t step = 16u >> l;
    for (std::size_t i = 0; i < (std::size_t{1} << l); ++i) t[i] = F::thresholds[step / 2 - 1 + i * step];
    return t;
  }

  HWY_INLINE explicit Encoder(const BlockParameters&) {}
  HWY_INLINE Words operator()(Floats x) const {
    Ints code = hn::Zero(ints);
    if constexpr (lanes >= 8) {
      alignas(64) static constexpr std::array<std::array<float, 16>, 4> levels = {level(0), level(1), level(2),
                                                                                  level(3)};
      for (const auto& thresholds : levels) {
        const Floats t = hn::TableLookupLanes(hn::Load(floats, thresholds.data()), hn::IndicesFromVec(floats, code));
        const Ints above = hn::BitCast(ints, hn::VecFromMask(floats, hn::Lt(t, x)));
        code = hn::Sub(hn::Add(code, code), above);
      }
    } else {
      for (const float t : F::thresholds)
        code = hn::Sub(code, hn::BitCast(ints, hn::VecFromMask(floats, hn::Lt(hn::Set(floats, t), x))));
    }
    return hn::BitCast(words, code);
  }
};

#endif

/// `Signature` names the format and the element type: a dispatch table takes one template argument.
template <class Signature>
void encode(const typename Signature::element_type* x, std::size_t n, std::size_t group,
            const BlockParameters* parameters, std::uint8_t* codes, [[maybe_unused]] std::size_t following) {
  using F = typename Signature::format_type;
#if PARE_VECTORS
  const bool reads_ahead = prefetches<typename Signature::element_type>(following);
  if (group % block == 0 || group >= n) {
    std::size_t begin = 0;
#if PARE_AVX512
    if constexpr (has_wide_encoder<F>) {
      begin = encode_pairs<F>(x, n, group, parameters, codes, reads_ahead);
      parameters += begin / group;
    }
#endif
    for (; begin < n; ++parameters) {
      const std::size_t end = n - begin > group ? begin + group : n;
      if (parameters->finite) {
        const Encoder<F> encoder(*parameters);
        const Floats inverse = hn::Set(floats, parameters->inverse);
        for (; end - begin >= block; begin += block) {
          HWY_ALIGN std::uint8_t bytes[block];
          if (reads_ahead) prefetch_window<block>(x + begin);
          std::uint8_t* const packed = codes + begin / 8 * F::bits;
          std::uint8_t* const unpacked = F::bits == 8 ? packed : bytes;
          for (std::size_t j = 0; j < block; j += lanes)
            store_codes(encoder(hn::Mul(load(x + begin + j), inverse)), unpacked + j);
          if constexpr (F::bits != 8) pack_block<F::bits>(bytes, packed);
        }
      }
      if (begin < end)
        ReferenceKernels::encode<F>(x + begin, end - begin, group, parameters, codes + begin / 8 * F::bits);
      begin = end;
    }
    return;
  }
#endif
  ReferenceKernels::encode<F>(x, n, group, parameters, codes);
}

}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_AFTER_NAMESPACE();
