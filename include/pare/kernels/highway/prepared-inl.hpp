// Pass file, read once per target: products of prepared weights with activations.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {
#if PARE_VECTORS

HWY_INLINE Ints magnitude_bits(const float* x) {
  return hn::BitCast(ints, hn::And(bits_of(hn::LoadU(floats, x)), set(0x7fffffffu)));
}

/// Rounds values of at most 127 to nearest even and stores them as bytes.
HWY_INLINE Ints round_and_store(Floats values, std::int8_t* codes) {
#if PARE_AVX512
  // Highway's operations also bear with values out of range, at three times the cost.
  const Ints code{_mm512_cvtps_epi32(values.raw)};
  _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), _mm512_cvtepi32_epi8(code.raw));
#else
  const hn::Rebind<std::int8_t, FloatTag> bytes;
  const Ints code = hn::NearestInt(values);
  hn::StoreU(hn::DemoteTo(bytes, code), bytes, codes);
#endif
  return code;
}

/// The codes of `columns` columns, a multiple of Unit, and the sum of each lane's.
template <std::size_t Unit>
HWY_INLINE Ints quantize_columns(const float* HWY_RESTRICT x, std::size_t columns, Floats inverse,
                                 std::int8_t* HWY_RESTRICT codes) {
  Ints sum = hn::Zero(ints);
  for (std::size_t unit = 0; unit < columns; unit += Unit)
#pragma GCC unroll 8
    for (std::size_t i = unit; i < unit + Unit; i += lanes)
      sum = hn::Add(sum, round_and_store(hn::Mul(hn::LoadU(floats, x + i), inverse), codes + i));
  return sum;
}

/// The largest magnitude of each of as many groups as there are lanes, x_step floats apart.
HWY_INLINE Floats largest_magnitudes(const float* HWY_RESTRICT x, std::size_t x_step, std::size_t group) {
  Floats largest[lanes];
  for (std::size_t g = 0; g < lanes; ++g) {
    Ints magnitude = hn::Zero(ints);
    for (std::size_t unit = 0; unit < group; unit += prepared_unit)
#pragma GCC unroll 8
      for (std::size_t i = 0; i < prepared_unit; i += lanes)
        magnitude = hn::Max(magnitude, magnitude_bits(x + g * x_step + unit + i));
    largest[g] = hn::BitCast(floats, magnitude);
  }
  return combine_lanes(largest, [](Floats a, Floats b) HWY_ATTR {
    return hn::BitCast(floats, hn::Max(hn::BitCast(ints, a), hn::BitCast(ints, b)));
  });
}

/// The codes and offsets, of Sections sections, of as many groups as there are lanes, x_step floats from one to the
/// next and, in `out`, `step` places, of offsets `offset_step`.
template <std::size_t Sections>
HWY_INLINE void encode_groups(const float* HWY_RESTRICT x, std::size_t x_step, std::size_t group, std::int32_t offset,
                              Floats inverse, std::size_t step, std::size_t offset_step,
                              const QuantizedActivations& out) {
  HWY_ALIGN float inverses[lanes];
  hn::Store(inverse, floats, inverses);
  for (std::size_t section = 0; section < Sections; ++section) {
    const std::size_t columns = group / Sections, first = section * columns;
    Floats sums[lanes];
    for (std::size_t g = 0; g < lanes; ++g)
      sums[g] = hn::BitCast(floats, quantize_columns<prepared_unit / Sections>(x + g * x_step + first, columns,
                                                                               hn::Set(floats, inverses[g]),
                                                                               out.codes + g * step * group + first));
    HWY_ALIGN std::int32_t offsets[lanes];
    const Floats sum = combine_lanes(sums, [](Floats a, Floats b) HWY_ATTR {
      return hn::BitCast(floats, hn::Add(hn::BitCast(ints, a), hn::BitCast(ints, b)));
    });
    hn::Store(hn::Mul(hn::BitCast(ints, sum), hn::Set(ints, -offset)), ints, offsets);
    for (std::size_t g = 0; g < lanes; ++g) out.offsets[section * out.offset_step + g * offset_step] = offsets[g];
  }
}

/// As many groups with scales of their own as there are lanes; false, and nothing written, where one is all zeros or
/// not finite. The rest is as encode_groups says.
template <std::size_t Sections>
HWY_INLINE bool quantize_groups(const float* HWY_RESTRICT x, std::size_t x_step, std::size_t group, std::int32_t offset,
                                std::size_t step, std::size_t offset_step, const QuantizedActivations& out) {
  const Floats scale = hn::Div(largest_magnitudes(x, x_step, group), hn::Set(floats, 127.0f));
  const auto usable = hn::And(hn::Ge(scale, hn::Set(floats, std::numeric_limits<float>::min())),
                              hn::Lt(scale, hn::Set(floats, std::numeric_limits<float>::infinity())));
  if (!hn::AllTrue(floats, usable)) return false;
  HWY_ALIGN float scales[lanes];
  hn::Store(scale, floats, scales);
  for (std::size_t g = 0; g < lanes; ++g) out.scales[g * step] = scales[g];
  encode_groups<Sections>(x, x_step, group, offset, hn::Div(hn::Set(floats, 1.0f), scale), step, offset_step, out);
  return true;
}

/// The codes and offsets of one group, where values are multiplied by `inverse`.
template <std::size_t Sections>
HWY_INLINE void encode_one_group(const float* HWY_RESTRICT x, std::size_t group, std::int32_t offset, float inverse,
                                 const QuantizedActivations& out) {
  if (inverse == 0.0f) std::memset(out.codes, 0, group);
  for (std::size_t section = 0; section < Sections; ++section) {
    const std::size_t columns = group / Sections, first = section * columns;
    out.offsets[section * out.offset_step] =
        inverse == 0.0f ? 0
                        : -offset * hn::GetLane(hn::SumOfLanes(
                                        ints, quantize_columns<prepared_unit / Sections>(
                                                  x + first, columns, hn::Set(floats, inverse), out.codes + first)));
  }
}

/// The bits of the largest magnitude of n values.
HWY_INLINE std::uint32_t largest_magnitude(const float* HWY_RESTRICT x, std::size_t n) {
  Ints largest[2] = {hn::Zero(ints), hn::Zero(ints)};
  std::size_t i = 0;
  for (; n - i >= 2 * lanes; i += 2 * lanes) {
    largest[0] = hn::Max(largest[0], magnitude_bits(x + i));
    largest[1] = hn::Max(largest[1], magnitude_bits(x + i + lanes));
  }
  const Ints both = hn::Max(largest[0], largest[1]);
  return std::max(static_cast<std::uint32_t>(hn::GetLane(hn::MaxOfLanes(ints, both))),
                  ReferenceKernels::largest_magnitude(x + i, n - i));
}

/// One group of a row, with offsets of Sections sections.
template <std::size_t Sections>
HWY_INLINE void quantize_one_group(const float* HWY_RESTRICT x, std::size_t group, std::int32_t offset,
                                   const QuantizedActivations& out) {
  *out.scales = ReferenceKernels::activation_scale(largest_magnitude(x, group));
  encode_one_group<Sections>(x, group, offset, ReferenceKernels::activation_inverse(*out.scales), out);
}

/// A row with one scale.
template <std::size_t Sections>
HWY_INLINE void quantize_row(const float* HWY_RESTRICT x, std::size_t cols, std::size_t group, std::int32_t offset,
                             const QuantizedActivations& out) {
  *out.scales = ReferenceKernels::activation_scale(largest_magnitude(x, cols));
  const float inverse = ReferenceKernels::activation_inverse(*out.scales);
  const std::size_t whole = cols / group;
  const auto from = [&](std::size_t g) {
    QuantizedActivations at = out;
    at.codes += g * out.rows * group;
    at.offsets += g * Sections * out.offset_step;
    return at;
  };
  std::size_t g = 0;
  if (inverse != 0.0f && out.offset_step != 0)
    for (; whole - g >= lanes; g += lanes)
      encode_groups<Sections>(x + g * group, group, group, offset, hn::Set(floats, inverse), out.rows,
                              Sections * out.offset_step, from(g));
  if (out.offset_step == 0) {
    Ints sum = hn::Zero(ints);
    for (; inverse != 0.0f && g < whole; ++g)
      sum = hn::Add(sum, quantize_columns<prepared_unit>(x + g * group, group, hn::Set(floats, inverse),
                                                         out.codes + g * out.rows * group));
    *out.offsets = -offset * hn::GetLane(hn::SumOfLanes(ints, sum));
  }
  for (; g < whole; ++g) encode_one_group<Sections>(x + g * group, group, offset, inverse, from(g));
  if (whole * group != cols)
    ReferenceKernels::encode_activations(x + whole * group, cols - whole * group, group, inverse, offset, whole, 0,
                                         out);
}

/// Rows of activations, with offsets of Sections sections of each group.
template <std::size_t Sections>
HWY_INLINE void quantize_rows(const float* x, std::size_t rows, std::size_t x_stride, std::size_t cols,
                              std::size_t group, std::int32_t offset, const QuantizedActivations& out) {
  const auto from = [&](std::size_t r, std::size_t g) {
    QuantizedActivations at = out;
    at.codes += (g * out.rows + r) * group;
    at.scales += g * out.scale_step + r;
    at.offsets += g * Sections * out.offset_step + r;
    return at;
  };
  if (out.scale_step == 0) {
    for (std::size_t r = 0; r < rows; ++r) quantize_row<Sections>(x + r * x_stride, cols, group, offset, from(r, 0));
    return;
  }
  const std::size_t whole = cols / group;
  // What is next to each other in `out` is written together: a group of many rows, else many groups of a row. Where
  // their number is no multiple of the lanes, the last ones are written once more.
  if (rows >= lanes) {
    for (std::size_t g = 0; g < whole; ++g)
      for (std::size_t r = 0; r < rows; r += lanes) {
        const std::size_t first = std::min(r, rows - lanes);
        const float* at = x + first * x_stride + g * group;
        if (!quantize_groups<Sections>(at, x_stride, group, offset, 1, 1, from(first, g)))
          for (std::size_t i = 0; i < lanes; ++i)
            quantize_one_group<Sections>(at + i * x_stride, group, offset, from(first + i, g));
      }
  } else {
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t g = 0; g < whole; g += lanes) {
        const std::size_t first = whole < lanes ? g : std::min(g, whole - lanes);
        const float* at = x + r * x_stride + first * group;
        if (whole < lanes ||
            !quantize_groups<Sections>(at, group, group, offset, out.rows, Sections * out.rows, from(r, first)))
          for (std::size_t i = 0; i < std::min(lanes, whole - first); ++i)
            quantize_one_group<Sections>(at + i * group, group, offset, from(r, first + i));
      }
  }
  if (whole * group != cols)
    ReferenceKernels::quantize_activations(x + whole * group, rows, x_stride, cols - whole * group, group, offset,
                                           from(0, whole));
}

#endif

template <class Unused>
void quantize_activations(const float* x, std::size_t rows, std::size_t x_stride, std::size_t cols, std::size_t group,
                          std::int32_t offset, const QuantizedActivations& out) {
#if PARE_VECTORS
  if (out.has_halves) return quantize_rows<2>(x, rows, x_stride, cols, group, offset, out);
  quantize_rows<1>(x, rows, x_stride, cols, group, offset, out);
#else
  ReferenceKernels::quantize_activations(x, rows, x_stride, cols, group, offset, out);
#endif
}

template <class Codes>
void multiply_prepared(const PreparedWeights& weights, std::size_t outputs, const QuantizedActivations& x, float* y,
                       std::size_t y_stride) {
#if PARE_VECTORS
  // Weights that are to be expanded pay for it with more rows than those that are to be decoded.
  const bool few = x.rows < (is_sparse24<Codes> ? 5 : 2);
#endif
#if PARE_AMX
  // Tiles of 16 columns take as long as those of 64: VNNI is a tenth faster then.
  if constexpr (!is_group16<Codes>)
    if (x.rows >= amx::tile_lines / 2 && has_vnni() && has_amx()) {
      if (x.rows < amx::tile_lines)
        return amx::multiply_prepared<Codes, amx::tile_lines / 2>(weights, outputs, x, y, y_stride);
      return amx::multiply_prepared<Codes, amx::tile_lines>(weights, outputs, x, y, y_stride);
    }
#endif
#if PARE_AVX512
  if (has_vnni()) {
    if (few) return vnni::multiply_few_rows<Codes>(weights, outputs, x, y, y_stride);
    return vnni::multiply_matrix<Codes>(weights, outputs, x, y, y_stride);
  }
#endif
#if PARE_VECTORS
  if (few) return plain::multiply_few_rows<Codes>(weights, outputs, x, y, y_stride);
  plain::multiply_matrix<Codes>(weights, outputs, x, y, y_stride);
#else
  ReferenceKernels::multiply_prepared<Codes>(weights, outputs, x, y, y_stride);
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_AFTER_NAMESPACE();
