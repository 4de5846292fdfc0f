// Pass file, read once, for AVX-512 where AMX may be there: its tiles, and products of whole rows that are summed as
// integers.
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

/// Products of whole rows, which are summed as integers, in groups of 64 columns: sums stay in tiles, which have as
/// equal numbers of rows as there can be; the last one takes rows once more that the one before it has.
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

}  // namespace amx
}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_POP_ATTRIBUTES
