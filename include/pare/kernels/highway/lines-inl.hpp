// Pass file, read once per target: fits by least squares, a group in each lane.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {
#if PARE_VECTORS

/// The nearest level of each lane.
HWY_INLINE Floats nearest_level(Floats above, Floats inverse, Floats lowest, Floats highest) {
  const Floats magic = hn::Set(floats, ReferenceLines::line_magic);
  return hn::Min(hn::Max(hn::Sub(fused_multiply_add(above, inverse, magic), magic), lowest), highest);
}

/// `lanes` groups, value after value, over powers of two of their largest value and weight.
template <bool Weighted>
struct LineGroups {
  static constexpr std::size_t most = ReferenceLines::line_values;
  HWY_ALIGN float v[most * lanes];
  HWY_ALIGN float w[Weighted ? most * lanes : lanes];
  std::size_t n;
  Floats unit;
  Floats lowest, highest, weight, wx, wxx;

  /// Values of `lanes` groups, n of each one after the other, a group in each lane; returns the bits of the groups'
  /// exponents.
  static HWY_INLINE Ints transpose(const float* HWY_RESTRICT x, std::size_t n, float* HWY_RESTRICT out) {
    for (std::size_t g = 0; g < lanes; ++g)
      for (std::size_t i = 0; i < n; ++i) out[i * lanes + g] = x[g * n + i];
    Ints magnitude = hn::Zero(ints);
    for (std::size_t i = 0; i < n; ++i)
      magnitude = hn::Max(magnitude, hn::BitCast(ints, hn::Abs(hn::Load(floats, out + i * lanes))));
    const Ints exponent = hn::And(magnitude, hn::Set(ints, 0x7f800000));
    return hn::Min(hn::Max(exponent, bits(ReferenceLines::least_line_exponent)),
                   bits(ReferenceLines::most_line_exponent));
  }
  static HWY_INLINE Floats inverse_unit(Ints exponent) {
    return hn::BitCast(floats, hn::Sub(bits(ReferenceLines::line_exponents), exponent));
  }
  static HWY_INLINE Ints bits(std::uint32_t of) { return hn::BitCast(ints, set(of)); }

  HWY_INLINE LineGroups(const float* HWY_RESTRICT x, const float* HWY_RESTRICT weights, std::size_t count) : n(count) {
    const Ints exponent = transpose(x, n, v);
    unit = hn::BitCast(floats, exponent);
    const Floats inverse = inverse_unit(exponent);
    Floats weight_inverse = hn::Set(floats, 1.0f);
    if constexpr (Weighted) weight_inverse = inverse_unit(transpose(weights, n, w));
    lowest = weight = wx = wxx = hn::Zero(floats);
    highest = hn::Set(floats, -std::numeric_limits<float>::max());
    for (std::size_t i = 0; i < n * lanes; i += lanes) {
      const Floats value = hn::Mul(hn::Load(floats, v + i), inverse);
      hn::Store(value, floats, v + i);
      if constexpr (Weighted)
        hn::Store(hn::Max(hn::Mul(hn::Load(floats, w + i), weight_inverse),
                          hn::Set(floats, ReferenceLines::least_line_weight)),
                  floats, w + i);
      lowest = hn::Min(lowest, value);
      highest = hn::Max(highest, value);
      weight = hn::Add(weight, weight_of(i));
      wx = fused_multiply_add(weight_of(i), value, wx);
      wxx = fused_multiply_add(weighted(i, value), value, wxx);
    }
  }

  HWY_INLINE Floats weight_of(std::size_t i) const {
    if constexpr (Weighted) return hn::Load(floats, w + i);
    return hn::Set(floats, 1.0f);
  }
  HWY_INLINE Floats weighted(std::size_t i, Floats value) const {
    if constexpr (Weighted) return hn::Mul(hn::Load(floats, w + i), value);
    return value;
  }

  struct Lines {
    Floats scale, minimum, error;
  };

  template <bool HasMinimum>
  HWY_INLINE Lines fit(const LineTrials& trials) const {
    const Floats zero = hn::Zero(floats);
    const Floats least = hn::Set(floats, trials.lowest), greatest = hn::Set(floats, trials.highest);
    const Floats width =
        HasMinimum ? hn::Sub(highest, lowest) : hn::IfThenElse(hn::Lt(highest, hn::Neg(lowest)), lowest, highest);
    Lines best{zero, zero, hn::Set(floats, std::numeric_limits<float>::infinity())};
    // Several trials at once hide the latency of their sums.
    constexpr int together = lanes == 16 ? 4 : 2;
    for (int t = 0; t < trials.count(); t += together) {
      Floats inverse[together], base[together], l[together], ll[together], xl[together];
      for (int k = 0; k < together; ++k) {
        const LineTrials::Trial trial = trials[std::min(t + k, trials.count() - 1)];
        inverse[k] = hn::IfThenZeroElse(hn::Eq(width, zero), hn::Div(hn::Set(floats, trial.inverse), width));
        base[k] = HasMinimum ? fused_multiply_add(hn::Set(floats, trial.skipped), width, lowest) : zero;
        l[k] = ll[k] = xl[k] = zero;
      }
      for (std::size_t i = 0; i < n * lanes; i += lanes) {
        const Floats value = hn::Load(floats, v + i), wv = weighted(i, value);
#pragma GCC unroll 4
        for (int k = 0; k < together; ++k) {
          const Floats above = HasMinimum ? hn::Sub(value, base[k]) : value;
          const Floats level = nearest_level(above, inverse[k], least, greatest);
          if constexpr (HasMinimum)
            l[k] = Weighted ? fused_multiply_add(weight_of(i), level, l[k]) : hn::Add(l[k], level);
          ll[k] = fused_multiply_add(weighted(i, level), level, ll[k]);
          xl[k] = fused_multiply_add(wv, level, xl[k]);
        }
      }
      for (int k = 0; k < together; ++k) take_better<HasMinimum>(l[k], ll[k], xl[k], best);
    }
    return best;
  }

  template <bool HasMinimum>
  HWY_INLINE void take_better(Floats l, Floats ll, Floats xl, Lines& best) const {
    const Floats zero = hn::Zero(floats);
    Floats scale = hn::IfThenElseZero(hn::Lt(zero, ll), hn::Div(xl, ll)), minimum = zero;
    if constexpr (HasMinimum) {
      const Floats spread = fused_multiply_add(hn::Neg(l), l, hn::Mul(weight, ll));
      const Floats slope = hn::Div(fused_multiply_add(hn::Neg(wx), l, hn::Mul(weight, xl)), spread);
      const Floats both = hn::IfThenElseZero(hn::Lt(zero, spread), slope);
      const Floats lowered = hn::Div(fused_multiply_add(both, l, hn::Neg(wx)), weight);
      const auto alone = hn::Or(hn::Lt(lowered, zero), hn::Lt(both, zero));
      scale = hn::IfThenElse(alone, hn::Max(scale, zero), both);
      minimum = hn::IfThenElse(alone, zero, lowered);
    }
    const Floats error = fused_multiply_add(minimum, wx, fused_multiply_add(hn::Neg(scale), xl, wxx));
    const auto better = hn::Lt(error, best.error);
    best = {hn::IfThenElse(better, scale, best.scale), hn::IfThenElse(better, minimum, best.minimum),
            hn::IfThenElse(better, error, best.error)};
  }
};

template <bool Weighted, bool HasMinimum>
HWY_NOINLINE void fit_line_groups(const float* HWY_RESTRICT x, const float* HWY_RESTRICT weights, std::size_t n,
                                  const LineTrials& trials, float* HWY_RESTRICT scales, float* HWY_RESTRICT minimums) {
  const LineGroups<Weighted> groups(x, weights, n);
  const auto lines = groups.template fit<HasMinimum>(trials);
  hn::StoreU(hn::Mul(lines.scale, groups.unit), floats, scales);
  if constexpr (HasMinimum) hn::StoreU(hn::Mul(lines.minimum, groups.unit), floats, minimums);
}

#endif

template <class Unused>
void fit_lines(const float* x, const float* weights, std::size_t count, std::size_t n, const LineTrials& trials,
               float* scales, float* minimums) {
#if PARE_VECTORS
  const auto fit = weights == nullptr
                       ? (trials.has_minimum ? fit_line_groups<false, true> : fit_line_groups<false, false>)
                       : (trials.has_minimum ? fit_line_groups<true, true> : fit_line_groups<true, false>);
  if (count < lanes) {
    float values[ReferenceLines::line_values * lanes]{}, value_weights[ReferenceLines::line_values * lanes]{};
    float group_scales[lanes], group_minimums[lanes];
    std::memcpy(values, x, count * n * sizeof(float));
    if (weights != nullptr) std::memcpy(value_weights, weights, count * n * sizeof(float));
    fit(values, value_weights, n, trials, group_scales, group_minimums);
    std::memcpy(scales, group_scales, count * sizeof(float));
    if (trials.has_minimum) std::memcpy(minimums, group_minimums, count * sizeof(float));
    return;
  }
  // The last groups are fitted twice where their number is no multiple of the lanes.
  for (std::size_t g = 0; g < count; g += lanes) {
    const std::size_t first = std::min(g, count - lanes);
    fit(x + first * n, weights == nullptr ? nullptr : weights + first * n, n, trials, scales + first,
        trials.has_minimum ? minimums + first : nullptr);
  }
#else
  ReferenceKernels::fit_lines(x, weights, count, n, trials, scales, minimums);
#endif
}

template <class Unused>
void encode_lines(const float* x, std::size_t count, std::size_t n, const float* scales, const float* minimums,
                  float lowest, float highest, std::uint8_t* codes) {
#if PARE_VECTORS
  if (n % lanes == 0) {
    const Floats least = hn::Set(floats, lowest), most = hn::Set(floats, highest);
    for (std::size_t g = 0; g < count; ++g) {
      const float group_inverse = ReferenceLines::line_inverse(scales[g]);
      if (group_inverse == 0.0f) {
        const float level = std::min(std::max(0.0f, lowest), highest) - lowest;
        std::memset(codes + g * n, static_cast<std::uint8_t>(level), n);
        continue;
      }
      const Floats inverse = hn::Set(floats, group_inverse);
      const Floats minimum = hn::Set(floats, minimums == nullptr ? 0.0f : minimums[g]);
      for (std::size_t i = g * n; i < (g + 1) * n; i += lanes) {
        const Floats level = nearest_level(hn::Add(hn::LoadU(floats, x + i), minimum), inverse, least, most);
        hn::StoreU(hn::DemoteTo(ByteTag(), hn::ConvertTo(ints, hn::Sub(level, least))), ByteTag(), codes + i);
      }
    }
    return;
  }
#endif
  ReferenceKernels::encode_lines(x, count, n, scales, minimums, lowest, highest, codes);
}

}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_AFTER_NAMESPACE();
