// Pass file, read in the namespaces of dot-begin-inl.hpp: products of prepared weights with quantized activations, in
// tiles whose sums stay in registers.

/// Adds groups [begin, end) of Rows rows of activations from `row` on with Vectors vectors of weights to `sums`, a row
/// of Vectors vectors for each row, of integers where products of whole rows are. `w` begins at the block of the first
/// vector, whose part `part` it is, and `codes` where that has its codes of group `begin`.
template <class Codes, std::size_t Rows, std::size_t Vectors>
HWY_INLINE void multiply_tile(const PreparedWeights& w, const std::uint8_t* codes, std::size_t part,
                              const QuantizedActivations& x, std::size_t row, std::size_t begin, std::size_t end,
                              float* HWY_RESTRICT sums) {
  using Sum = DotSum<Codes, Rows == 1>;
  const std::size_t group = w.units * prepared_unit;
  const bool of_whole_rows = x.offset_step == 0;
  Floats total[Rows][Vectors];
#pragma GCC unroll 16
  for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (std::size_t v = 0; v < Vectors; ++v) total[r][v] = hn::Load(floats, sums + (r * Vectors + v) * lanes);
  for (std::size_t g = begin; g < end; ++g) {
    Sum sum[Rows][Vectors];
    const std::int32_t* offsets = x.offsets + g * x.offset_step + row;
#pragma GCC unroll 8
    for (std::size_t v = 0; v < Vectors; ++v) {
      if (of_whole_rows) {
#pragma GCC unroll 16
        for (std::size_t r = 0; r < Rows; ++r) sum[r][v].start(hn::BitCast(ints, total[r][v]));
      } else if (w.minimums != nullptr) {
#pragma GCC unroll 16
        for (std::size_t r = 0; r < Rows; ++r) sum[r][v].start(hn::Zero(ints));
      } else if (w.zero_points == nullptr) {
#pragma GCC unroll 16
        for (std::size_t r = 0; r < Rows; ++r) sum[r][v].start(hn::Set(ints, offsets[r]));
      } else {
        const Ints zero_points = load_zero_points(w.zero_points + v / parts * w.zero_point_stride +
                                                  g * w.zero_point_step + (part + v % parts) * lanes);
#pragma GCC unroll 16
        for (std::size_t r = 0; r < Rows; ++r) sum[r][v].start(multiply_small(zero_points, hn::Set(ints, offsets[r])));
      }
    }
    const std::int8_t* x_codes = x.codes + (g * x.rows + row) * group;
    for (std::size_t u = 0; u < w.units; ++u, x_codes += prepared_unit, codes += unit_bytes<Codes>) {
#pragma GCC unroll 4
      for (std::size_t step = 0; step < 4; ++step) {
        DotBytes first[Vectors], second[Vectors];
#pragma GCC unroll 8
        for (std::size_t v = 0; v < Vectors; ++v) {
          const std::uint8_t* from =
              codes + v / parts * w.code_stride + step * (unit_bytes<Codes> / 4) + v % parts * vector_bytes;
          if constexpr (Rows == 1)
            if (v % parts == 0)
              for (std::size_t line = 0; line < unit_bytes<Codes> / 4; line += 64)
                hwy::Prefetch(from + line + prefetch_distance);
          read_integers<Codes, Sum::shifts>(from, first[v], second[v]);
        }
#pragma GCC unroll 16
        for (std::size_t r = 0; r < Rows; ++r) {
          const std::int8_t* at = x_codes + r * group + step * 8;
          const Ints x_first = four_codes(at), x_second = four_codes(at + 4);
#pragma GCC unroll 8
          for (std::size_t v = 0; v < Vectors; ++v) {
            sum[r][v].add_first(first[v], x_first);
            sum[r][v].add_second(second[v], x_second);
            sum[r][v].widen(2 * step + 2);
          }
        }
      }
    }
    if (of_whole_rows) {
#pragma GCC unroll 16
      for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 8
        for (std::size_t v = 0; v < Vectors; ++v) total[r][v] = hn::BitCast(floats, sum[r][v].total());
    } else {
      add_scaled<0>(w, g, part, sum, offsets, group_scales(x, g, row), total);
    }
  }
#pragma GCC unroll 16
  for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (std::size_t v = 0; v < Vectors; ++v) hn::Store(total[r][v], floats, sums + (r * Vectors + v) * lanes);
}

/// The weights from block `block` on; where it is the last one of `blocks`, the next ones are the same.
HWY_INLINE PreparedWeights from_block(PreparedWeights w, std::size_t block, std::size_t blocks) {
  w.codes += block * w.code_stride;
  w.scales += block * w.scale_stride;
  if (w.zero_points != nullptr) w.zero_points += block * w.zero_point_stride;
  if (w.minimums != nullptr) w.minimums += block * w.minimum_stride;
  if (block + 1 == blocks) w.code_stride = w.scale_stride = w.zero_point_stride = w.minimum_stride = 0;
  return w;
}

/// Each row of activations with `Blocks` blocks of weights, of which `outputs` rows count.
template <class Codes, std::size_t Blocks>
HWY_INLINE void multiply_blocks(const PreparedWeights& w, std::size_t outputs, const QuantizedActivations& x, float* y,
                                std::size_t y_stride) {
  for (std::size_t row = 0; row < x.rows; ++row) {
    HWY_ALIGN float sums[Blocks * prepared_rows] = {};
    if constexpr (is_sparse24<Codes>)
      multiply_kept<typename Codes::codes_type, Blocks * parts>(w, x, row, sums);
    else
      multiply_tile<Codes, 1, Blocks * parts>(w, w.codes, 0, x, row, 0, w.groups, sums);
    finish_rows<Blocks * parts, is_sparse24<Codes>>(w, 0, x, row, 1, sums);
    std::memcpy(y + row * y_stride, sums, std::min(outputs, Blocks * prepared_rows) * sizeof(float));
  }
}

/// Few rows of activations: the weights are decoded for each on their way from memory or, after the first, the cache.
template <class Codes>
void multiply_few_rows(const PreparedWeights& w, std::size_t outputs, const QuantizedActivations& x, float* y,
                       std::size_t y_stride) {
  constexpr std::size_t vectors = is_sparse24<Codes> && !PARE_VNNI ? 2 : 4;
  constexpr std::size_t at_once = parts > vectors ? 1 : vectors / parts;
  const std::size_t blocks = ceil_div(outputs, prepared_rows);
  std::size_t block = 0;
  for (; blocks - block >= at_once; block += at_once)
    multiply_blocks<Codes, at_once>(from_block(w, block, blocks), outputs - block * prepared_rows, x,
                                    y + block * prepared_rows, y_stride);
  if constexpr (at_once > 1)
    for (; block < blocks; ++block)
      multiply_blocks<Codes, 1>(from_block(w, block, blocks), outputs - block * prepared_rows, x,
                                y + block * prepared_rows, y_stride);
}

/// Whether bytes of Codes are multiplied as two nibbles unless they are known to be small.
template <class Codes>
inline constexpr bool splits_bytes = PARE_PAIRS && !PARE_VNNI && Codes::bits == 8 && !is_sparse24<Codes>;

/// Decodes groups [begin, end) of Vectors vectors, part `part` of a block and those after it, into `integers`; returns
/// whether six bits hold each of them, where that is of use.
template <class Codes, std::size_t Vectors>
HWY_INLINE bool decode_integers(const PreparedWeights& w, std::size_t part, std::size_t begin, std::size_t end,
                                std::uint8_t* HWY_RESTRICT integers) {
  const std::size_t units = (end - begin) * w.units;
  DotBytes all = hn::Zero(dot_bytes);
  for (std::size_t v = 0; v < Vectors; ++v) {
    const std::uint8_t* from =
        w.codes + v / parts * w.code_stride + (part + v) % parts * vector_bytes + begin * w.units * unit_bytes<Codes>;
    for (std::size_t i = 0; i < units * 4; ++i, integers += 2 * vector_bytes) {
      const std::uint8_t* step = from + i * (unit_bytes<Codes> / 4);
      hwy::Prefetch(step + prefetch_distance);
      DotBytes first, second;
      read_integers<Codes, true>(step, first, second);
      hn::Store(first, dot_bytes, integers);
      hn::Store(second, dot_bytes, integers + vector_bytes);
      if constexpr (splits_bytes<Codes>) all = hn::Or(all, hn::Or(first, second));
    }
  }
  if constexpr (splits_bytes<Codes>)
    return hn::AllTrue(dot_bytes, hn::Eq(hn::And(all, hn::Set(dot_bytes, 0xc0)), hn::Zero(dot_bytes)));
  return false;
}

/// Tiles of Rows rows of activations from `row` on; returns the first row left over.
template <class Codes, std::size_t Rows, std::size_t Vectors>
HWY_INLINE std::size_t multiply_rows(const PreparedWeights& w, const std::uint8_t* codes, std::size_t part,
                                     const QuantizedActivations& x, std::size_t row, std::size_t begin, std::size_t end,
                                     float* sums) {
  for (; x.rows - row >= Rows; row += Rows)
    multiply_tile<Codes, Rows, Vectors>(w, codes, part, x, row, begin, end, sums + row * Vectors * lanes);
  return row;
}

/// Tiles of Rows rows of activations, and of fewer at the end.
template <class Codes, std::size_t Rows, std::size_t Vectors>
HWY_INLINE void multiply_all_rows(const PreparedWeights& w, const std::uint8_t* codes, std::size_t part,
                                  const QuantizedActivations& x, std::size_t begin, std::size_t end, float* sums) {
  std::size_t row = multiply_rows<Codes, Rows, Vectors>(w, codes, part, x, 0, begin, end, sums);
  row = multiply_rows<Codes, 2, Vectors>(w, codes, part, x, row, begin, end, sums);
  multiply_rows<Codes, 1, Vectors>(w, codes, part, x, row, begin, end, sums);
}

/// Several rows of activations: a few rows of weights at a time are decoded once for all of them.
template <class Codes>
void multiply_matrix(const PreparedWeights& weights, std::size_t outputs, const QuantizedActivations& x, float* y,
                     std::size_t y_stride) {
  // As many sums as the registers hold.
  constexpr std::size_t rows = PARE_VNNI ? 6 : 4, vectors = lanes == 16 ? 2 : 1, width = vectors * lanes;
  // What is decoded, the sums and a tile of activations stay in the first-level cache.
  constexpr std::size_t columns_at_once = 512;
  using Integers = DecodedCodes<Codes>;
  HWY_ALIGN std::uint8_t integers[width * columns_at_once];
  HWY_ALIGN float sums[width * prepared_batch];
  const std::size_t groups_at_once = columns_at_once / prepared_unit / weights.units;
  const std::size_t blocks = ceil_div(outputs, prepared_rows);
  for (std::size_t j = 0; j < outputs; j += width) {
    const PreparedWeights w = from_block(weights, j / prepared_rows, blocks);
    const std::size_t part = j % prepared_rows / lanes;
    std::fill_n(sums, width * x.rows, 0.0f);
    for (std::size_t begin = 0; begin < w.groups; begin += groups_at_once) {
      const std::size_t end = std::min(w.groups, begin + groups_at_once), units = (end - begin) * w.units;
      bool small = false;
      if constexpr (is_sparse24<Codes>)
        expand_kept<typename Codes::codes_type, vectors>(w, part, begin, end, integers);
      else
        small = decode_integers<Codes, vectors>(w, part, begin, end, integers);
      PreparedWeights decoded = w;
      decoded.code_stride = units * unit_bytes<Integers>;
      if constexpr (splits_bytes<Codes>)
        if (small) {
          using Small = std::conditional_t<is_group16<Codes>, Group16Codes<SixBits>, SixBits>;
          multiply_all_rows<DecodedCodes<Small>, rows, vectors>(decoded, integers, part, x, begin, end, sums);
          continue;
        }
      multiply_all_rows<Integers, rows, vectors>(decoded, integers, part, x, begin, end, sums);
    }
    finish_rows<vectors>(w, part, x, 0, x.rows, sums);
    for (std::size_t r = 0; r < x.rows; ++r)
      std::memcpy(y + r * y_stride + j, sums + r * width, std::min(width, outputs - j) * sizeof(float));
  }
}
