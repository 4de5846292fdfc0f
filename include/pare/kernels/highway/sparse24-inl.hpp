// Pass file, read in the namespaces of dot-begin-inl.hpp: weights that hold two of every four columns.

/// How far ahead the weights are fetched, in bytes: from memory, farther than dense ones is faster.
inline constexpr std::size_t kept_prefetch_distance = 2048;

/// The places of kept columns among their four, which are columns 8 * Step and the seven that follow.
template <int Step>
HWY_INLINE DotBytes kept_places(DotBytes places) {
  const hn::Repartition<std::uint16_t, FloatTag> pairs;
  if constexpr (Step != 0) places = hn::BitCast(dot_bytes, hn::ShiftRight<2 * Step>(hn::BitCast(pairs, places)));
  return hn::And(places, hn::Set(dot_bytes, 3));
}

/// The activations of the kept ones of eight columns.
template <int Step>
HWY_INLINE Ints kept_activations(DotBytes places, DotBytes x) {
  static constexpr std::int8_t first_columns[4] = {0, 0, 4, 4};
  const DotBytes columns = hn::Or(kept_places<Step>(places), hn::BitCast(dot_bytes, four_codes(first_columns)));
  return hn::BitCast(ints, hn::TableLookupBytes(x, columns));
}

/// Row `row` of activations with Vectors vectors of weights, from the first block of `w` on, into `sums`. Activations
/// go to the weights' places; what their sum is worth at the weights' zero is taken off once a group.
template <class Codes, std::size_t Vectors>
HWY_INLINE void multiply_kept(const PreparedWeights& w, const QuantizedActivations& x, std::size_t row,
                              float* HWY_RESTRICT sums) {
  using Sum = DotSum<Codes, true>;
  using Activations = DotSum<PreparedNibbles, false>;
  constexpr std::size_t all_steps = 8, half_unit = unit_bytes<Codes> / 4;
  const DotBytes ones = hn::Set(dot_bytes, 1);
  const std::uint8_t* codes = w.codes;
  const std::size_t group = w.units * prepared_unit;
  Floats total[Vectors];
#pragma GCC unroll 8
  for (std::size_t v = 0; v < Vectors; ++v) total[v] = hn::Zero(floats);
  for (std::size_t g = 0; g < w.groups; ++g) {
    Sum sum[Vectors];
    Activations kept[Vectors];
#pragma GCC unroll 8
    for (std::size_t v = 0; v < Vectors; ++v) {
      sum[v].start(hn::Zero(ints));
      kept[v].start(hn::Zero(ints));
    }
    const std::int8_t* x_codes = x.codes + (g * x.rows + row) * group;
    for (std::size_t u = 0; u < w.units;
         ++u, x_codes += prepared_unit, codes += prepared_unit_bytes<Sparse24Codes<Codes>>) {
      const DotBytes x0 = eight_codes(x_codes), x1 = eight_codes(x_codes + 8), x2 = eight_codes(x_codes + 16),
                     x3 = eight_codes(x_codes + 24);
#pragma GCC unroll 8
      for (std::size_t v = 0; v < Vectors; ++v) {
        const std::uint8_t* from = codes + v / parts * w.code_stride + v % parts * vector_bytes;
        if (v % parts == 0)
          for (std::size_t line = 0; line < prepared_unit_bytes<Sparse24Codes<Codes>>; line += 64)
            hwy::Prefetch(from + line + kept_prefetch_distance);
        const DotBytes places = hn::Load(dot_bytes, from);
        from += sparse24_places_bytes;
        const Ints kept0 = kept_activations<0>(places, x0), kept1 = kept_activations<1>(places, x1),
                   kept2 = kept_activations<2>(places, x2), kept3 = kept_activations<3>(places, x3);
        DotBytes first, second;
        read_integers<Codes, Sum::shifts>(from, first, second);
        sum[v].add_first(first, kept0);
        sum[v].add_second(second, kept1);
        read_integers<Codes, Sum::shifts>(from + half_unit, first, second);
        sum[v].add_first(first, kept2);
        sum[v].add_second(second, kept3);
        sum[v].widen(all_steps);
        kept[v].add_first(ones, kept0);
        kept[v].add_first(ones, kept1);
        kept[v].add_first(ones, kept2);
        kept[v].add_first(ones, kept3);
        kept[v].widen(all_steps);
      }
    }
#pragma GCC unroll 8
    for (std::size_t v = 0; v < Vectors; ++v) {
      const std::size_t block = v / parts, first = v % parts * lanes;
      const Ints zero =
          w.zero_points == nullptr
              ? hn::Set(ints, w.zero)
              : load_zero_points(w.zero_points + block * w.zero_point_stride + g * w.zero_point_step + first);
      const Ints product = hn::Sub(sum[v].total(), multiply_small(zero, kept[v].total()));
      if (x.offset_step == 0) {
        total[v] = hn::BitCast(floats, hn::Add(hn::BitCast(ints, total[v]), product));
        continue;
      }
      const Floats scale = load_prepared_scales(w, block * w.scale_stride + g * w.scale_step, first);
      const Floats value = hn::ConvertTo(floats, product);
      total[v] = x.scale_step == 0 ? fused_multiply_add(value, scale, total[v])
                                   : fused_multiply_add(hn::Mul(value, scale),
                                                        hn::Set(floats, x.scales[g * x.scale_step + row]), total[v]);
    }
  }
#pragma GCC unroll 8
  for (std::size_t v = 0; v < Vectors; ++v) hn::Store(total[v], floats, sums + v * lanes);
}

/// In each lane four copies of its byte `Byte`.
template <int Byte>
HWY_INLINE DotBytes repeat_byte(DotBytes v) {
  alignas(16) static constexpr std::uint8_t bytes[16] = {Byte,      Byte,      Byte,      Byte,     Byte + 4, Byte + 4,
                                                         Byte + 4,  Byte + 4,  Byte + 8,  Byte + 8, Byte + 8, Byte + 8,
                                                         Byte + 12, Byte + 12, Byte + 12, Byte + 12};
  return hn::TableLookupBytes(v, hn::LoadDup128(dot_bytes, bytes));
}

/// Four columns of every lane: those kept are bytes First and First + 1 of `integers`, the others are `zero`.
template <int First>
HWY_INLINE DotBytes expand_four(DotBytes integers, DotBytes places, DotBytes zero) {
  static constexpr std::int8_t all_columns[4] = {0, 1, 2, 3};
  const DotBytes columns = hn::BitCast(dot_bytes, four_codes(all_columns));
  const DotBytes one = hn::IfThenElse(hn::Eq(repeat_byte<First>(places), columns), repeat_byte<First>(integers), zero);
  return hn::IfThenElse(hn::Eq(repeat_byte<First + 1>(places), columns), repeat_byte<First + 1>(integers), one);
}

/// As decode_integers, of weights that hold two of every four columns: all of them, with zeros where none is held.
template <class Codes, std::size_t Vectors>
HWY_INLINE void expand_kept(const PreparedWeights& w, std::size_t part, std::size_t begin, std::size_t end,
                            std::uint8_t* HWY_RESTRICT integers) {
  for (std::size_t v = 0; v < Vectors; ++v) {
    const std::size_t block = v / parts, row = (part + v) % parts * lanes;
    const std::uint8_t* from =
        w.codes + block * w.code_stride + row * 4 + begin * w.units * prepared_unit_bytes<Sparse24Codes<Codes>>;
    for (std::size_t g = begin; g < end; ++g) {
      const Ints zero_points =
          w.zero_points == nullptr
              ? hn::Set(ints, w.zero)
              : load_zero_points(w.zero_points + block * w.zero_point_stride + g * w.zero_point_step + row);
      const DotBytes zero = repeat_byte<0>(hn::BitCast(dot_bytes, zero_points));
      for (std::size_t u = 0; u < w.units; ++u, from += prepared_unit_bytes<Sparse24Codes<Codes>>) {
        for (std::size_t line = 0; line < prepared_unit_bytes<Sparse24Codes<Codes>>; line += 64)
          hwy::Prefetch(from + line + kept_prefetch_distance);
        const DotBytes places = hn::Load(dot_bytes, from);
        DotBytes kept[4];
        read_integers<Codes, true>(from + sparse24_places_bytes, kept[0], kept[1]);
        read_integers<Codes, true>(from + sparse24_places_bytes + unit_bytes<Codes> / 4, kept[2], kept[3]);
        const DotBytes among[4] = {kept_places<0>(places), kept_places<1>(places), kept_places<2>(places),
                                   kept_places<3>(places)};
#pragma GCC unroll 4
        for (std::size_t step = 0; step < 4; ++step, integers += 2 * vector_bytes) {
          hn::Store(expand_four<0>(kept[step], among[step], zero), dot_bytes, integers);
          hn::Store(expand_four<2>(kept[step], among[step], zero), dot_bytes, integers + vector_bytes);
        }
      }
    }
  }
}
