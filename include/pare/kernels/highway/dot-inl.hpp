// Pass file, read in the namespaces of dot-begin-inl.hpp: the sums of products of prepared weights with quantized
// activations, of which each instruction set has its own.

#if PARE_VNNI

/// One instruction multiplies four bytes with four and adds. The high nibbles of a single row's weights stay where they
/// are: their sum is divided by 16 at the end.
template <class Codes, bool Single>
struct DotSum {
  static constexpr bool shifts = !Single || !std::is_same_v<Codes, PreparedNibbles>;
  Ints first, second;

  HWY_INLINE void start(Ints offset) {
    first = offset;
    second = hn::Zero(ints);
  }
  HWY_INLINE void add_first(DotBytes weights, Ints x) {
    first.raw = _mm512_dpbusd_epi32(first.raw, weights.raw, x.raw);
  }
  HWY_INLINE void add_second(DotBytes weights, Ints x) {
    if constexpr (Single)
      second.raw = _mm512_dpbusd_epi32(second.raw, weights.raw, x.raw);
    else
      add_first(weights, x);
  }
  HWY_INLINE void widen(std::size_t) {}
  HWY_INLINE Ints total() const {
    if constexpr (!shifts) return hn::Add(first, hn::ShiftRight<4>(second));
    if constexpr (Single) return hn::Add(first, second);
    return first;
  }
};

#elif PARE_PAIRS

/// Pairs of bytes are multiplied and added in 16 bits, which hold the sums of `steps` of them; bytes go as two
/// nibbles.
template <class Codes, bool Single>
struct DotSum {
  static constexpr bool shifts = true;
  static constexpr bool splits = Codes::highest > 127;
  static constexpr std::uint32_t step = 2 * 127 * (splits ? 15 : Codes::highest);
  static constexpr std::size_t steps = 32767 / step >= 8 ? 8 : 32767 / step >= 4 ? 4 : 2;
  static_assert(32767 / step >= steps);
  Ints sum;
  DotShorts low, high;

  HWY_INLINE void start(Ints offset) {
    sum = offset;
    low = high = hn::Zero(dot_shorts);
  }
  HWY_INLINE void add_first(DotBytes weights, Ints x) {
    if constexpr (splits) {
      low = hn::Add(low, multiply_pairs(hn::And(weights, hn::Set(dot_bytes, 15)), x));
      high = hn::Add(high, multiply_pairs(high_nibbles(weights), x));
    } else {
      low = hn::Add(low, multiply_pairs(weights, x));
    }
  }
  HWY_INLINE void add_second(DotBytes weights, Ints x) { add_first(weights, x); }
  HWY_INLINE void widen(std::size_t done) {
    if (done % steps != 0) return;
    sum = hn::Add(sum, add_pairs(low, hn::Set(dot_shorts, 1)));
    low = hn::Zero(dot_shorts);
    if constexpr (splits) {
      sum = hn::Add(sum, add_pairs(high, hn::Set(dot_shorts, 16)));
      high = hn::Zero(dot_shorts);
    }
  }
  HWY_INLINE Ints total() const { return sum; }
};

#else

/// The even and the odd bytes are multiplied and added in 32 bits.
template <class Codes, bool Single>
struct DotSum {
  static constexpr bool shifts = true;
  Ints low, high;

  HWY_INLINE void start(Ints offset) {
    low = high = hn::Zero(ints);
    start_ = offset;
  }
  HWY_INLINE void add_first(DotBytes weights, Ints x) {
    const auto w = hn::BitCast(dot_shorts, weights), v = hn::BitCast(dot_shorts, x);
    low = hn::ReorderWidenMulAccumulate(ints, hn::And(w, hn::Set(dot_shorts, 255)),
                                        hn::ShiftRight<8>(hn::ShiftLeft<8>(v)), low, high);
    const hn::RebindToUnsigned<decltype(dot_shorts)> unsigned_shorts;
    const auto odd = hn::BitCast(dot_shorts, hn::ShiftRight<8>(hn::BitCast(unsigned_shorts, weights)));
    low = hn::ReorderWidenMulAccumulate(ints, odd, hn::ShiftRight<8>(v), low, high);
  }
  HWY_INLINE void add_second(DotBytes weights, Ints x) { add_first(weights, x); }
  HWY_INLINE void widen(std::size_t) {}
  HWY_INLINE Ints total() const { return hn::Add(start_, hn::RearrangeToOddPlusEven(low, high)); }

 private:
  Ints start_;
};

#endif

/// Two vectors of integers, of four columns each, from where their codes begin. `Shifts` is false where the high
/// nibbles may stay where they are.
template <class Codes, bool Shifts>
HWY_INLINE void read_integers(const std::uint8_t* codes, DotBytes& first, DotBytes& second) {
  first = hn::Load(dot_bytes, codes);
#if PARE_VNNI
  // Else the compiler loads anew for each use.
  asm("" : "+v"(first.raw));
#endif
  if constexpr (Codes::bits == 8) {
    second = hn::Load(dot_bytes, codes + line_bytes<Codes>);
  } else if constexpr (std::is_same_v<Codes, PreparedNibbles>) {
    second = Shifts ? high_nibbles(first) : hn::AndNot(hn::Set(dot_bytes, 15), first);
    first = hn::And(first, hn::Set(dot_bytes, 15));
  } else {
    const auto table = hn::LoadDup128(dot_bytes, Codes::integers.data());
#if PARE_VNNI
    // The instruction looks at six bits of a byte; four tables side by side make two of them count for nothing.
    second.raw = _mm512_permutexvar_epi8(hn::BitCast(dot_bytes, hn::ShiftRight<4>(hn::BitCast(dot_shorts, first))).raw,
                                         table.raw);
    first.raw = _mm512_permutexvar_epi8(first.raw, table.raw);
#else
    second = hn::TableLookupBytes(table, high_nibbles(first));
    first = hn::TableLookupBytes(table, hn::And(first, hn::Set(dot_bytes, 15)));
#endif
  }
}

/// Adds the sums of one section of a group, scaled, to `total`: those of Rows rows of activations, whose offsets are
/// given, with Vectors vectors of weights from part `part` of the first block of `w` on. Their scales are given too;
/// null where rows have one, by which totals are multiplied at the end. Steps is not 0 where the sums of so many steps
/// are still to be widened.
template <std::size_t Steps, std::size_t Rows, std::size_t Vectors, class Sum>
HWY_INLINE void add_scaled(const PreparedWeights& w, std::size_t section, std::size_t part, Sum (&sum)[Rows][Vectors],
                           const std::int32_t* offsets, const float* x_scales, Floats (&total)[Rows][Vectors]) {
#pragma GCC unroll 8
  for (std::size_t v = 0; v < Vectors; ++v) {
    const std::size_t row = (part + v % parts) * lanes;
    const Floats scale = load_prepared_scales(w, v / parts * w.scale_stride + section * w.scale_step, row);
    Floats products[Rows];
#pragma GCC unroll 16
    for (std::size_t r = 0; r < Rows; ++r) {
      if constexpr (Steps != 0) sum[r][v].widen(Steps);
      products[r] = hn::ConvertTo(floats, sum[r][v].total());
    }
    if (x_scales == nullptr) {
#pragma GCC unroll 16
      for (std::size_t r = 0; r < Rows; ++r) products[r] = fused_multiply_add(products[r], scale, total[r][v]);
    } else {
#pragma GCC unroll 16
      for (std::size_t r = 0; r < Rows; ++r) products[r] = hn::Mul(products[r], scale);
    }
    if (w.minimums != nullptr) {
      const Floats minimums = load_minimums(w, v / parts * w.minimum_stride + section * w.minimum_step, row);
#pragma GCC unroll 16
      for (std::size_t r = 0; r < Rows; ++r)
        products[r] = fused_multiply_add(hn::Set(floats, static_cast<float>(offsets[r])), minimums, products[r]);
    }
    if (x_scales == nullptr) {
#pragma GCC unroll 16
      for (std::size_t r = 0; r < Rows; ++r) total[r][v] = products[r];
    } else {
#pragma GCC unroll 16
      for (std::size_t r = 0; r < Rows; ++r)
        total[r][v] = fused_multiply_add(products[r], hn::Set(floats, x_scales[r]), total[r][v]);
    }
  }
}
