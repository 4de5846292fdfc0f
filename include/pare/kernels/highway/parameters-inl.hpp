// Pass file, read once per target: scales and zero points of many groups at once.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {
#if PARE_VECTORS

/// Scales as they are stored, what that decodes to, and its reciprocal.
struct Scales {
  Words code;
  Floats value;
  Floats inverse;
};

/// The stored form of scales that are finite and not negative; saturates, and what is below the smallest normal float
/// counts as 0.
template <class S>
HWY_INLINE Scales store_scales(Floats wanted) {
  Words code = bits_of(wanted);
  Floats value = wanted;
  if constexpr (std::is_same_v<S, F16>) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
    const hn::Rebind<hwy::float16_t, FloatTag> halves;
    const hn::Rebind<std::uint16_t, FloatTag> codes;
    const auto half = hn::Min(hn::BitCast(codes, hn::DemoteTo(halves, wanted)), hn::Set(codes, F16::max_code));
    code = hn::PromoteTo(words, half);
    value = hn::PromoteTo(floats, hn::BitCast(halves, half));
#else
    code = to_half(wanted);
    code = select(less(code, set(F16::max_code)), code, set(F16::max_code));
    value = from_half(code);
#endif
  } else if constexpr (std::is_same_v<S, BF16>) {
    code = to_bfloat16(wanted);
    code = select(less(code, set(BF16::max_code)), code, set(BF16::max_code));
    value = float_of(hn::ShiftLeft<16>(code));
  }
  const auto good = hn::Ge(value, hn::Set(floats, std::numeric_limits<float>::min()));
  return {hn::IfThenElseZero(hn::RebindMask(words, good), code), hn::IfThenElseZero(good, value),
          hn::IfThenElseZero(good, hn::Div(hn::Set(floats, 1.0f), value))};
}

/// The shared exponents of OCP MX v1.0 for finite magnitudes.
HWY_INLINE Scales shared_exponents(Floats magnitude, float format_max) {
  const auto top = static_cast<std::int32_t>(detail::float_bits(format_max) >> 23) - 127;
  const Ints field = hn::BitCast(ints, hn::ShiftRight<23>(bits_of(magnitude)));
  const Words code = hn::BitCast(words, hn::Max(hn::Sub(field, hn::Set(ints, top)), hn::Zero(ints)));
  const Words value = hn::ShiftLeft<23>(code), inverse = hn::ShiftLeft<23>(hn::Sub(set(254), code));
  const Words half_of_smallest = set(0x00400000u);  // 2^-127, where the exponent field is 0
  return {code, float_of(select(less(set(0), code), value, half_of_smallest)),
          float_of(select(less(code, set(254)), inverse, half_of_smallest))};
}

template <class S>
inline constexpr bool has_vector_scale =
    std::is_same_v<S, F32> || std::is_same_v<S, F16> || std::is_same_v<S, BF16> || std::is_same_v<S, E8M0>;

/// The limits that a symmetry rule reads.
template <class Rule, std::size_t Group, class T>
HWY_INLINE bool find_limits_for(const T* x, std::size_t group, Limits& limits) {
  if constexpr (Rule::has_zero_point)
    return find_limits<Group>(x, group, limits);
  else
    return find_magnitudes<Group>(x, group, limits);
}

/// What `lanes` groups store.
struct Stored {
  Words scale;
  Words zero_point;
};

/// The parameters of `lanes` groups with these limits. `finite` is 1 where all of a group's values are.
template <class Rule, class S>
HWY_NOINLINE Stored derive_from_limits(const Limits& limits, Words finite, float format_max,
                                       BlockParameters* parameters) {
  const Floats most = hn::Set(floats, format_max);
  // 0 - x is never -0, and neither is the larger of that and a highest value.
  const Floats below = hn::Sub(hn::Zero(floats), limits.lowest);
  Floats width;
  if constexpr (Rule::has_zero_point)
    width = hn::Min(hn::Sub(limits.highest, limits.lowest), hn::Set(floats, F32::max));
  else
    width = hn::Max(below, limits.highest);
  Scales stored;
  if constexpr (std::is_same_v<S, E8M0>)
    stored = shared_exponents(width, format_max);
  else
    stored = store_scales<S>(hn::Div(width, most));
  Words zero_point = set(0);
  if constexpr (Rule::has_zero_point)
    zero_point = hn::And(bits_of(hn::Add(hn::Min(hn::Mul(below, stored.inverse), most), hn::Set(floats, 12582912.0f))),
                         set(255u));
  const auto bounded =
      hn::Le(hn::Mul(hn::Max(below, limits.highest), stored.inverse), hn::Set(floats, format_max * bounded_by));
  const Words bounds = hn::IfThenElseZero(hn::RebindMask(words, bounded), hn::ShiftLeft<16>(finite));
  // The fields of BlockParameters side by side, as memory has them.
  static_assert(sizeof(BlockParameters) == 16 && offsetof(BlockParameters, inverse) == 4 &&
                offsetof(BlockParameters, scale_code) == 8 && offsetof(BlockParameters, zero_point) == 12 &&
                offsetof(BlockParameters, finite) == 13 && offsetof(BlockParameters, bounded) == 14);
  static_assert(std::endian::native == std::endian::little);
  HWY_ALIGN std::uint32_t fields[4 * lanes];
  hn::StoreInterleaved4(bits_of(stored.value), bits_of(stored.inverse), stored.code,
                        hn::Or(hn::Or(zero_point, hn::ShiftLeft<8>(finite)), bounds), words, fields);
  std::memcpy(parameters, fields, sizeof fields);
  return {stored.code, zero_point};
}

HWY_INLINE void store_bytes(Words bytes, std::uint8_t* to) {
  hn::StoreU(hn::DemoteTo(ByteTag(), hn::BitCast(ints, bytes)), ByteTag(), to);
}

/// Scales as they stand in memory.
template <class S>
HWY_INLINE void store_scale_codes(Words codes, std::uint8_t* scales) {
  if constexpr (S::bits == 32)
    hn::StoreU(codes, words, reinterpret_cast<std::uint32_t*>(scales));
  else if constexpr (S::bits == 16)
    store_words(codes, reinterpret_cast<std::uint16_t*>(scales));
  else
    store_bytes(codes, scales);
}

/// The parameters of `lanes` groups.
template <class Rule, class S>
HWY_INLINE void derive_parameters_of_lanes(const Range* ranges, float format_max, BlockParameters* parameters) {
  HWY_ALIGN float low[lanes], high[lanes];
  HWY_ALIGN std::uint32_t finite[lanes];
  for (std::size_t i = 0; i < lanes; ++i) {
    low[i] = ranges[i].lowest;
    high[i] = ranges[i].highest;
    finite[i] = ranges[i].finite;
  }
  derive_from_limits<Rule, S>({hn::Load(floats, low), hn::Load(floats, high)}, hn::Load(words, finite), format_max,
                              parameters);
  if constexpr (S::kind == FormatKind::exponent)
    for (std::size_t i = 0; i < lanes; ++i)
      if (!ranges[i].finite) parameters[i] = Rule::template parameters<S>(ranges[i], format_max);
}

/// `lanes` stored scales.
template <class S>
HWY_INLINE Floats load_scales(const std::uint8_t* stored) {
  if constexpr (std::is_same_v<S, F16>) {
    return load_exactly(reinterpret_cast<const Half*>(stored));
  } else if constexpr (std::is_same_v<S, BF16>) {
    return load(reinterpret_cast<const BFloat16*>(stored));
  } else if constexpr (std::is_same_v<S, E8M0>) {
    const Words code = hn::BitCast(words, hn::PromoteTo(ints, hn::LoadU(ByteTag(), stored)));
    const Words power = select(less(set(0), code), hn::ShiftLeft<23>(code), set(0x00400000u));
    return float_of(select(less(code, set(E8M0::nan_code)), power, set(0x7fc00000u)));
  } else {
    return hn::LoadU(floats, reinterpret_cast<const float*>(stored));
  }
}

#endif

template <class S>
void decode_scales(const std::uint8_t* stored, std::size_t n, float* scales) {
  std::size_t i = 0;
#if PARE_VECTORS
  if constexpr (has_vector_scale<S>)
    for (; n - i >= lanes; i += lanes) store(load_scales<S>(stored + i * (S::bits / 8)), scales + i);
#endif
  ReferenceKernels::decode_scales<S>(stored + i * (S::bits / 8), n - i, scales + i);
}

/// `Signature` names the symmetry rule and the scale's format.
template <class Signature>
void derive_parameters(const Range* ranges, std::size_t n, float format_max, BlockParameters* parameters) {
  using Rule = typename Signature::symmetry_type;
  using S = typename Signature::scale_type;
  std::size_t i = 0;
#if PARE_VECTORS
  if constexpr (has_vector_scale<S>)
    for (; n - i >= lanes; i += lanes) derive_parameters_of_lanes<Rule, S>(ranges + i, format_max, parameters + i);
#endif
  ReferenceKernels::derive_parameters<Rule, S>(ranges + i, n - i, format_max, parameters + i);
}

/// `Signature` names the symmetry rule, the scale's format and the element type.
template <class Signature>
void find_parameters(const typename Signature::element_type* x, std::size_t n, std::size_t group, float format_max,
                     BlockParameters* parameters, std::uint8_t* scales, std::uint8_t* zero_points) {
  using Rule = typename Signature::symmetry_type;
  using S = typename Signature::scale_type;
  std::size_t begin = 0, g = 0;
#if PARE_VECTORS
  if constexpr (has_vector_scale<S>)
    if (group % lanes == 0) {
      for (; group <= (n - begin) / lanes; begin += lanes * group, g += lanes) {
        const auto* const values = x + begin;
        std::uint8_t* const to = scales + g * (S::bits / 8);
        Limits limits;
        if (group == 32 ? find_limits_for<Rule, 32>(values, group, limits)
                        : find_limits_for<Rule, 0>(values, group, limits)) {
          const Stored stored = derive_from_limits<Rule, S>(limits, set(1), format_max, parameters + g);
          store_scale_codes<S>(stored.scale, to);
          if constexpr (Rule::has_zero_point) store_bytes(stored.zero_point, zero_points + g);
        } else {
          ReferenceKernels::find_parameters<Rule, S>(values, lanes * group, group, format_max, parameters + g, to,
                                                     Rule::has_zero_point ? zero_points + g : nullptr);
        }
      }
    }
#endif
  for (; begin < n; ++g) {
    const std::size_t count = n - begin < group ? n - begin : group;
    Range range;
    find_range(x + begin, count, count, &range, 0);
    parameters[g] = Rule::template parameters<S>(range, format_max);
    ReferenceKernels::store_parameters<Rule, S>(parameters[g], g, scales, zero_points);
    begin += count;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_AFTER_NAMESPACE();
