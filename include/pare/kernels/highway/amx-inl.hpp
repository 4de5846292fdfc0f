// Pass file, read once, for AVX-512 where AMX may be there: products of prepared weights with many rows of quantized
// activations, whose groups are scaled one by one or, as amx-rows-inl.hpp has it, not at all.
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni,avx512vbmi,amx-tile,amx-int8")
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {
namespace amx {

/// What the sums of integers are corrected by.
enum class Correction { none, zero_points, minimums };

/// What is subtracted from the weights' integers so that they fit signed bytes.
template <class Codes>
HWY_INLINE std::uint8_t integer_bias(const PreparedWeights& w) {
  if (w.zero_points == nullptr && w.minimums == nullptr) return w.zero;
  return Codes::bits == 8 ? 128 : 0;
}

/// Decodes groups [begin, end) of the first block of `w` into signed bytes, lines of four columns of each of its rows.
template <class Codes>
HWY_INLINE void decode_signed(const PreparedWeights& w, std::size_t begin, std::size_t end,
                              std::uint8_t* HWY_RESTRICT integers) {
  const DotBytes bias = hn::Set(dot_bytes, integer_bias<Codes>(w));
  const std::size_t pairs = (end - begin) * w.units * 4;
  if constexpr (is_sparse24<Codes>) vnni::expand_kept<typename Codes::codes_type, 1>(w, 0, begin, end, integers);
  const std::uint8_t* from = w.codes + begin * w.units * unit_bytes<Codes>;
  for (std::size_t i = 0; i < pairs; ++i, integers += 2 * tile_line) {
    DotBytes first, second;
    if constexpr (is_sparse24<Codes>) {
      first = hn::Load(dot_bytes, integers);
      second = hn::Load(dot_bytes, integers + tile_line);
    } else {
      const std::uint8_t* pair = from + i * (unit_bytes<Codes> / 4);
      hwy::Prefetch(pair + prefetch_distance);
      vnni::read_integers<Codes, true>(pair, first, second);
    }
    hn::Store(hn::Sub(first, bias), dot_bytes, integers);
    hn::Store(hn::Sub(second, bias), dot_bytes, integers + tile_line);
  }
}

/// Leaves the sums of products of one group in tile `Tile`, 0 or 1: `x` points at the first row of activations,
/// `integers` at the weights.
template <int Tile>
HWY_INLINE void multiply_group(const std::int8_t* x, std::size_t group, const std::uint8_t* integers) {
  if constexpr (Tile == 0)
    _tile_zero(0);
  else
    _tile_zero(1);
  for (std::size_t c = 0; c < group; c += tile_line) {
    if constexpr (Tile == 0) {
      _tile_loadd(4, x + c, group);
      _tile_loadd(6, integers + c * prepared_rows, tile_line);
      _tile_dpbssd(0, 4, 6);
    } else {
      _tile_loadd(5, x + c, group);
      _tile_loadd(7, integers + c * prepared_rows, tile_line);
      _tile_dpbssd(1, 5, 7);
    }
  }
}

/// Adds the sums of Groups groups from g on, 16 integers for each of Rows rows of activations from `row` on, to
/// `total`. OneScale is true where rows of activations have one, by which totals are multiplied at the end.
template <std::size_t Groups, std::size_t Rows, Correction Corrected, bool OneScale>
HWY_INLINE void add_groups(const PreparedWeights& w, std::uint8_t bias, const QuantizedActivations& x, std::size_t row,
                           std::size_t g, const std::int32_t (*HWY_RESTRICT sums)[Rows * lanes],
                           Floats (&total)[Rows]) {
  Floats scale[Groups], minimums[Groups];
  HWY_ALIGN float offsets[Groups][Rows];
  Ints zero[Groups];  // what the offsets of the activations are multiplied by, for the sums and for their products
#pragma GCC unroll 2
  for (std::size_t i = 0; i < Groups; ++i) {
    scale[i] = load_prepared_scales(w, (g + i) * w.scale_step, 0);
    zero[i] = hn::Set(ints, -std::int32_t{bias});
    if constexpr (Corrected == Correction::zero_points)
      zero[i] = hn::Add(load_zero_points(w.zero_points + (g + i) * w.zero_point_step), zero[i]);
    zero[i] = hn::And(zero[i], hn::Set(ints, 0xffff));
    if constexpr (Corrected == Correction::minimums) {
      minimums[i] = load_minimums(w, (g + i) * w.minimum_step, 0);
      for (std::size_t r = 0; r < Rows; ++r)
        offsets[i][r] = static_cast<float>(x.offsets[(g + i) * x.offset_step + row + r]);
    }
  }
#pragma GCC unroll 16
  for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 2
    for (std::size_t i = 0; i < Groups; ++i) {
      Ints sum = hn::Load(ints, sums[i] + r * lanes);
      // Nibbles with minimums have no bias.
      if (Corrected == Correction::zero_points || (Corrected == Correction::minimums && bias != 0))
        sum = hn::Add(sum, multiply_small(zero[i], hn::Set(ints, x.offsets[(g + i) * x.offset_step + row + r])));
      const Floats value = hn::ConvertTo(floats, sum);
      Floats products = OneScale ? fused_multiply_add(value, scale[i], total[r]) : hn::Mul(value, scale[i]);
      if constexpr (Corrected == Correction::minimums)
        products = fused_multiply_add(hn::Set(floats, offsets[i][r]), minimums[i], products);
      total[r] = OneScale ? products
                          : fused_multiply_add(products, hn::Set(floats, x.scales[(g + i) * x.scale_step + row + r]),
                                               total[r]);
    }
}

/// Adds groups [begin, end) of Rows rows of activations from `row` on with one block of weights, whose integers of
/// these groups are decoded, to `totals`, 16 floats for each row; the rest as add_groups says.
template <std::size_t Rows, Correction Corrected, bool OneScale>
HWY_INLINE void multiply_tile(const PreparedWeights& w, const std::uint8_t* integers, std::uint8_t bias,
                              const QuantizedActivations& x, std::size_t row, std::size_t begin, std::size_t end,
                              float* HWY_RESTRICT totals) {
  const std::size_t group = w.units * prepared_unit, x_step = x.rows * group, step = group * prepared_rows;
  const std::int8_t* x_codes = x.codes + (begin * x.rows + row) * group;
  HWY_ALIGN std::int32_t sums[2][2][Rows * lanes];
  Floats total[Rows];
#pragma GCC unroll 16
  for (std::size_t r = 0; r < Rows; ++r) total[r] = hn::Load(floats, totals + r * lanes);
  // Tiles take their time while the sums of those before are scaled.
  if constexpr (!OneScale) {
    multiply_group<0>(x_codes, group, integers);
    for (std::size_t g = begin; g < end; ++g) {
      _tile_stored(0, sums[0][0], tile_line);
      if (g + 1 < end) multiply_group<0>(x_codes + (g + 1 - begin) * x_step, group, integers + (g + 1 - begin) * step);
      add_groups<1, Rows, Corrected, OneScale>(w, bias, x, row, g, sums[0], total);
    }
  } else {
    // Where that is short, a tile alone would wait for its own store: two at a time.
    const std::size_t pairs = (end - begin) / 2;
    for (std::size_t p = 0; p <= pairs; ++p) {
      if (p < pairs) {
        multiply_group<0>(x_codes + 2 * p * x_step, group, integers + 2 * p * step);
        multiply_group<1>(x_codes + (2 * p + 1) * x_step, group, integers + (2 * p + 1) * step);
      }
      if (p > 0) add_groups<2, Rows, Corrected, OneScale>(w, bias, x, row, begin + 2 * p - 2, sums[(p + 1) % 2], total);
      if (p < pairs) {
        _tile_stored(0, sums[p % 2][0], tile_line);
        _tile_stored(1, sums[p % 2][1], tile_line);
      }
    }
    if ((end - begin) % 2 != 0) {
      multiply_group<0>(x_codes + 2 * pairs * x_step, group, integers + 2 * pairs * step);
      _tile_stored(0, sums[0][0], tile_line);
      add_groups<1, Rows, Corrected, OneScale>(w, bias, x, row, end - 1, sums[0], total);
    }
  }
#pragma GCC unroll 16
  for (std::size_t r = 0; r < Rows; ++r) hn::Store(total[r], floats, totals + r * lanes);
}

/// The same with the correction that the weights ask for.
template <class Codes, std::size_t Rows, bool OneScale>
HWY_INLINE void multiply_corrected_tile(const PreparedWeights& w, const std::uint8_t* integers,
                                        const QuantizedActivations& x, std::size_t row, std::size_t begin,
                                        std::size_t end, float* HWY_RESTRICT totals) {
  const std::uint8_t bias = integer_bias<Codes>(w);  // a constant where there is something to correct
  if (w.minimums != nullptr)
    multiply_tile<Rows, Correction::minimums, OneScale>(w, integers, bias, x, row, begin, end, totals);
  else if (w.zero_points != nullptr)
    multiply_tile<Rows, Correction::zero_points, OneScale>(w, integers, bias, x, row, begin, end, totals);
  else
    multiply_tile<Rows, Correction::none, OneScale>(w, integers, bias, x, row, begin, end, totals);
}

/// Rows rows of activations and more. Where their number is no multiple of it, the last tile takes rows once more that
/// the one before it has.
template <class Codes, std::size_t Rows>
void multiply_matrix(const PreparedWeights& weights, std::size_t outputs, const QuantizedActivations& x, float* y,
                     std::size_t y_stride) {
  // What is decoded of a block and its sums stay in the first-level cache.
  constexpr std::size_t columns_at_once = 512;
  constexpr std::size_t most_rows = Rows == tile_lines ? prepared_batch : 2 * Rows, tile_size = Rows * lanes;
  HWY_ALIGN std::uint8_t integers[prepared_rows * columns_at_once];
  HWY_ALIGN float totals[ceil_div(most_rows, Rows) * tile_size];
  const TileShapes shapes(Rows, std::min(tile_line, weights.units * prepared_unit));
  _tile_loadconfig(&shapes);
  const std::size_t tiles = ceil_div(x.rows, Rows), blocks = ceil_div(outputs, prepared_rows);
  const std::size_t groups_at_once = columns_at_once / prepared_unit / weights.units;
  const std::size_t group_bytes = weights.units * unit_bytes<Codes>;
  const auto first_row = [&](std::size_t tile) { return std::min(tile * Rows, x.rows - Rows); };
  for (std::size_t block = 0; block < blocks; ++block) {
    const PreparedWeights w = vnni::from_block(weights, block, blocks);
    std::fill_n(totals, tiles * tile_size, 0.0f);
    for (std::size_t begin = 0; begin < w.groups; begin += groups_at_once) {
      const std::size_t end = std::min(w.groups, begin + groups_at_once);
      decode_signed<Codes>(w, begin, end, integers);
      // The intrinsics that load tiles do not tell every compiler that they read memory.
      std::atomic_signal_fence(std::memory_order_seq_cst);
      const std::size_t share = ceil_div((end - begin) * group_bytes, tiles);
      for (std::size_t t = 0; t < tiles; ++t) {
        // What is decoded next comes from memory while the tiles are multiplied.
        const std::uint8_t* const next = w.codes + end * group_bytes + t * share;
        for (std::size_t line = 0; line < share; line += tile_line)
          _mm_prefetch(reinterpret_cast<const char*>(next + line), _MM_HINT_T1);
        float* const to = totals + t * tile_size;
        if (x.scale_step == 0)
          multiply_corrected_tile<Codes, Rows, true>(w, integers, x, first_row(t), begin, end, to);
        else
          multiply_corrected_tile<Codes, Rows, false>(w, integers, x, first_row(t), begin, end, to);
      }
    }
    const std::size_t j = block * prepared_rows;
    for (std::size_t t = 0; t < tiles; ++t)
      store_tile(w, x, first_row(t), Rows, totals + t * tile_size, y + j, std::min(prepared_rows, outputs - j),
                 y_stride);
  }
  _tile_release();
}

/// Rows rows of activations and more.
template <class Codes, std::size_t Rows>
void multiply_prepared(const PreparedWeights& w, std::size_t outputs, const QuantizedActivations& x, float* y,
                       std::size_t y_stride) {
  if (x.offset_step == 0) return multiply_whole_rows<Codes>(w, outputs, x, y, y_stride);
  multiply_matrix<Codes, Rows>(w, outputs, x, y, y_stride);
}

}  // namespace amx
}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_POP_ATTRIBUTES
