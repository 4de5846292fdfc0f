// Pass file, read once, for AVX-512 where AMX may be there: products of prepared weights with many rows of quantized
// activations.
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni,avx512vbmi,amx-tile,amx-int8")
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {
namespace amx {

/// The bytes of a tile's line, and the most lines that it has.
inline constexpr std::size_t tile_line = 64, tile_lines = 16;

/// The shapes of the tiles, as the processor reads them: for `rows` rows of activations and products over `columns`
/// columns. Tiles 0 to 3 hold sums, 4 and 5 activations, 6 and 7 weights.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t line_bytes[16] = {};
  std::uint8_t lines[16] = {};

  TileShapes(std::size_t rows, std::size_t columns) {
    for (int i = 0; i < 8; ++i) {
      lines[i] = static_cast<std::uint8_t>(i < 6 ? rows : columns / 4);
      line_bytes[i] = static_cast<std::uint16_t>(i == 4 || i == 5 ? columns : tile_line);
    }
  }
};

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
  Ints zero[Groups];  // what the offsets of the activations are multiplied by, for the sums and for their products
#pragma GCC unroll 2
  for (std::size_t i = 0; i < Groups; ++i) {
    scale[i] = load_prepared_scales(w, (g + i) * w.scale_step, 0);
    zero[i] = hn::Set(ints, -std::int32_t{bias});
    if constexpr (Corrected == Correction::zero_points)
      zero[i] = hn::Add(load_zero_points(w.zero_points + (g + i) * w.zero_point_step), zero[i]);
    zero[i] = hn::And(zero[i], hn::Set(ints, 0xffff));
    if constexpr (Corrected == Correction::minimums) minimums[i] = load_minimums(w, (g + i) * w.minimum_step, 0);
  }
#pragma GCC unroll 16
  for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 2
    for (std::size_t i = 0; i < Groups; ++i) {
      Ints sum = hn::Load(ints, sums[i] + r * lanes);
      const std::int32_t offset = Corrected == Correction::none ? 0 : x.offsets[(g + i) * x.offset_step + row + r];
      if constexpr (Corrected != Correction::none) sum = hn::Add(sum, multiply_small(zero[i], hn::Set(ints, offset)));
      const Floats value = hn::ConvertTo(floats, sum);
      Floats products = OneScale ? fused_multiply_add(value, scale[i], total[r]) : hn::Mul(value, scale[i]);
      if constexpr (Corrected == Correction::minimums)
        products = fused_multiply_add(hn::Set(floats, static_cast<float>(offset)), minimums[i], products);
      total[r] = OneScale ? products
                          : fused_multiply_add(products, hn::Set(floats, x.scales[(g + i) * x.scale_step + row + r]),
                                               total[r]);
    }
}

/// Adds groups [begin, end) of Rows rows of activations from `row` on with one block of weights, whose integers of
/// these groups are decoded, to `totals`, 16 floats for each row; the rest as add_groups says.
template <std::size_t Rows, Correction Corrected, bool OneScale>
void multiply_tile(const PreparedWeights& w, const std::uint8_t* integers, std::uint8_t bias,
                   const QuantizedActivations& x, std::size_t row, std::size_t begin, std::size_t end,
                   float* HWY_RESTRICT totals) {
  const std::size_t group = w.units * prepared_unit, x_step = x.rows * group, step = group * prepared_rows;
  const std::int8_t* x_codes = x.codes + (begin * x.rows + row) * group;
  HWY_ALIGN std::int32_t sums[2][2][Rows * lanes];
  Floats total[Rows];
#pragma GCC unroll 16
  for (std::size_t r = 0; r < Rows; ++r) total[r] = hn::Load(floats, totals + r * lanes);
  // Two groups at a time: a tile alone would wait for its own store. They take their time while the sums of the two
  // before are scaled.
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
#pragma GCC unroll 16
  for (std::size_t r = 0; r < Rows; ++r) hn::Store(total[r], floats, totals + r * lanes);
}

/// Writes the results of `rows` rows of activations from `row` on with `outputs` rows of the first block of `w` to y.
HWY_INLINE void store_tile(const PreparedWeights& w, const QuantizedActivations& x, std::size_t row, std::size_t rows,
                           float* totals, float* y, std::size_t outputs, std::size_t y_stride) {
  finish_rows<1>(w, 0, x, row, rows, totals);
  for (std::size_t r = 0; r < rows; ++r) {
    const float* from = totals + r * lanes;
    float* to = y + (row + r) * y_stride;
    if (outputs == lanes)
      hn::StoreU(hn::Load(floats, from), floats, to);
    else
      std::memcpy(to, from, outputs * sizeof(float));
  }
}

/// The multiply_tile for these weights and activations.
template <std::size_t Rows>
HWY_INLINE auto choose_tile(const PreparedWeights& w, const QuantizedActivations& x) {
  const auto choose = [&]<bool OneScale>(std::bool_constant<OneScale>) {
    return w.minimums != nullptr      ? &multiply_tile<Rows, Correction::minimums, OneScale>
           : w.zero_points != nullptr ? &multiply_tile<Rows, Correction::zero_points, OneScale>
                                      : &multiply_tile<Rows, Correction::none, OneScale>;
  };
  return x.scale_step == 0 ? choose(std::true_type()) : choose(std::false_type());
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
  const auto multiply = choose_tile<Rows>(weights, x);
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
        multiply(w, integers, integer_bias<Codes>(w), x, first_row(t), begin, end, totals + t * tile_size);
      }
    }
    const std::size_t j = block * prepared_rows;
    for (std::size_t t = 0; t < tiles; ++t)
      store_tile(w, x, first_row(t), Rows, totals + t * tile_size, y + j, std::min(prepared_rows, outputs - j),
                 y_stride);
  }
  _tile_release();
}

/// What is to be read next of two blocks of weights, fetched in shares.
struct NextWeights {
  const std::uint8_t* first;
  const std::uint8_t* second;
  std::size_t share;  ///< bytes of each block, whole lines

  HWY_INLINE void fetch() {
    for (std::size_t i = 0; i < share; i += tile_line) {
      _mm_prefetch(reinterpret_cast<const char*>(first + i), _MM_HINT_T1);
      _mm_prefetch(reinterpret_cast<const char*>(second + i), _MM_HINT_T1);
    }
    first += share;
    second += share;
  }
};

/// Adds `steps` steps of 64 columns of two tiles of activations, or one, with two blocks of weights to `sums`, or
/// writes them there where they are the first ones: `x` points at the first row of each tile, `x_step` bytes from a
/// step to the next, `integers` at the unsigned bytes of each block. Sums of tiles and blocks stand their steps apart.
template <std::size_t Tiles>
HWY_INLINE void multiply_square(const std::array<const std::int8_t*, Tiles>& x, std::size_t x_step, std::size_t steps,
                                const std::array<const std::uint8_t*, 2>& integers, NextWeights& next, bool are_first,
                                float* HWY_RESTRICT sums, std::size_t tile_step, std::size_t block_step) {
  if (are_first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, sums, tile_line);
    _tile_loadd(1, sums + block_step, tile_line);
    if constexpr (Tiles == 2) {
      _tile_loadd(2, sums + tile_step, tile_line);
      _tile_loadd(3, sums + block_step + tile_step, tile_line);
    }
  }
  for (std::size_t i = 0; i < steps; ++i) {
    const std::size_t at = i * tile_line * prepared_rows;
    _tile_loadd(4, x[0] + i * x_step, tile_line);
    _tile_loadd(6, integers[0] + at, tile_line);
    _tile_loadd(7, integers[1] + at, tile_line);
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 7);
    if constexpr (Tiles == 2) {
      _tile_loadd(5, x[1] + i * x_step, tile_line);
      _tile_dpbsud(2, 5, 6);
      _tile_dpbsud(3, 5, 7);
    }
    next.fetch();
  }
  _tile_stored(0, sums, tile_line);
  _tile_stored(1, sums + block_step, tile_line);
  if constexpr (Tiles == 2) {
    _tile_stored(2, sums + tile_step, tile_line);
    _tile_stored(3, sums + block_step + tile_step, tile_line);
  }
}

/// Products of whole rows, which are summed as integers, in groups of 64 columns: sums stay in tiles, of as many rows
/// as divides them best.
template <class Codes>
void multiply_whole_rows(const PreparedWeights& weights, std::size_t outputs, const QuantizedActivations& x, float* y,
                         std::size_t y_stride) {
  // The weights of these columns and a pair of tiles of activations stay in the first-level cache.
  constexpr std::size_t steps_at_once = 8, step_bytes = prepared_rows * exact_group;
  static_assert(exact_group == tile_line);
  constexpr bool is_decoded = Codes::bits != 8 || is_sparse24<Codes>;
  HWY_ALIGN std::uint8_t integers[is_decoded ? 2 * steps_at_once * step_bytes : 1];
  HWY_ALIGN float sums[2 * (prepared_batch + tile_lines) * lanes];
  const std::size_t tiles = ceil_div(x.rows, tile_lines), rows = ceil_div(x.rows, tiles);
  const std::size_t tile_step = rows * lanes, block_step = tiles * tile_step, blocks = ceil_div(outputs, prepared_rows);
  const std::size_t code_bytes = exact_group / prepared_unit * prepared_unit_bytes<Codes>;
  const TileShapes shapes(rows, tile_line);
  _tile_loadconfig(&shapes);
  const auto first_row = [&](std::size_t tile) { return std::min(tile * rows, x.rows - rows); };
  for (std::size_t first = 0; first < blocks; first += 2) {
    const PreparedWeights w = vnni::from_block(weights, first, blocks);
    for (std::size_t begin = 0; begin < w.groups; begin += steps_at_once) {
      const std::size_t end = std::min(w.groups, begin + steps_at_once), steps = end - begin;
      std::array<const std::uint8_t*, 2> from{w.codes + begin * code_bytes,
                                              w.codes + w.code_stride + begin * code_bytes};
      if constexpr (is_decoded) {
        if constexpr (is_sparse24<Codes>)
          vnni::expand_kept<typename Codes::codes_type, 2>(w, 0, begin, end, integers);
        else
          vnni::decode_integers<Codes, 2>(w, 0, begin, end, integers);
        from = {integers, integers + steps * step_bytes};
      }
      // The intrinsics that load tiles do not tell every compiler that they read memory.
      std::atomic_signal_fence(std::memory_order_seq_cst);
      // What is read next comes from memory while the tiles are multiplied.
      const bool last = end == w.groups;
      const PreparedWeights after = last ? vnni::from_block(weights, std::min(first + 2, blocks - 1), blocks) : w;
      const std::uint8_t* const next_codes = after.codes + (last ? 0 : end) * code_bytes;
      NextWeights next{next_codes, next_codes + after.code_stride,
                       ceil_div(steps * code_bytes / tile_line, steps * ceil_div(tiles, 2)) * tile_line};
      const auto at = [&](std::size_t tile) { return x.codes + (begin * x.rows + first_row(tile)) * tile_line; };
      std::size_t t = 0;
      for (; tiles - t >= 2; t += 2)
        multiply_square<2>({at(t), at(t + 1)}, x.rows * tile_line, steps, from, next, begin == 0, sums + t * tile_step,
                           tile_step, block_step);
      if (t < tiles)
        multiply_square<1>({at(t)}, x.rows * tile_line, steps, from, next, begin == 0, sums + t * tile_step, tile_step,
                           block_step);
    }
    std::atomic_signal_fence(std::memory_order_seq_cst);
    for (std::size_t b = 0; b < std::min<std::size_t>(2, blocks - first); ++b) {
      const PreparedWeights of_block = vnni::from_block(weights, first + b, blocks);
      const std::size_t j = (first + b) * prepared_rows;
      for (std::size_t t = 0; t < tiles; ++t)
        store_tile(of_block, x, first_row(t), rows, sums + b * block_step + t * tile_step, y + j,
                   std::min(prepared_rows, outputs - j), y_stride);
    }
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
