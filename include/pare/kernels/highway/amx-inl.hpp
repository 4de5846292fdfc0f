// Pass file, read once, for AVX-512 where AMX may be there: products of prepared weights with many rows of quantized
// activations.
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni,avx512vbmi,amx-tile,amx-int8")
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {
namespace amx {

/// The bytes of a tile's line, and the most lines that it has.
inline constexpr std::size_t tile_line = 64, tile_lines = 16;

/// The shapes of the tiles of sums (0), activations (1) and weights (2), as the processor reads them: for `rows` rows
/// of activations and products over `columns` columns.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t line_bytes[16] = {};
  std::uint8_t lines[16] = {};

  TileShapes(std::size_t rows, std::size_t columns) {
    lines[0] = lines[1] = static_cast<std::uint8_t>(rows);
    line_bytes[0] = line_bytes[2] = tile_line;
    line_bytes[1] = static_cast<std::uint16_t>(columns);
    lines[2] = static_cast<std::uint8_t>(columns / 4);
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

/// Leaves the sums of products of one group in tile 0: `x` points at the first row of activations, `integers` at the
/// weights.
HWY_INLINE void multiply_group(const std::int8_t* x, std::size_t group, const std::uint8_t* integers) {
  _tile_zero(0);
  for (std::size_t c = 0; c < group; c += tile_line) {
    _tile_loadd(1, x + c, group);
    _tile_loadd(2, integers + c * prepared_rows, tile_line);
    _tile_dpbssd(0, 1, 2);
  }
}

/// Adds groups [begin, end) of Rows rows of activations from `row` on with one block of weights, whose integers of
/// these groups are decoded, to `totals`, 16 floats for each row.
template <std::size_t Rows, Correction Corrected>
HWY_INLINE void multiply_tile(const PreparedWeights& w, const std::uint8_t* integers, std::uint8_t bias,
                              const QuantizedActivations& x, std::size_t row, std::size_t begin, std::size_t end,
                              float* HWY_RESTRICT totals) {
  const std::size_t group = w.units * prepared_unit;
  HWY_ALIGN std::int32_t sums[Rows * lanes];
  const auto multiply = [&](std::size_t g) {
    multiply_group(x.codes + (g * x.rows + row) * group, group, integers + (g - begin) * group * prepared_rows);
  };
  Floats total[Rows];
#pragma GCC unroll 16
  for (std::size_t r = 0; r < Rows; ++r) total[r] = hn::Load(floats, totals + r * lanes);
  multiply(begin);
  for (std::size_t g = begin; g < end; ++g) {
    _tile_stored(0, sums, tile_line);
    // The products of the next group take their time while the sums of this one are scaled.
    if (g + 1 < end) multiply(g + 1);
    const Floats scale = load_prepared_scales(w, g * w.scale_step, 0);
    const float* x_scales = x.scales + g * x.rows + row;
    // What the offsets of the activations are multiplied by, for the sums and for their products.
    Ints zero = hn::Set(ints, -std::int32_t{bias});
    if constexpr (Corrected == Correction::zero_points)
      zero = hn::Add(load_zero_points(w.zero_points + g * w.zero_point_step), zero);
    Floats minimums = hn::Zero(floats);
    if constexpr (Corrected == Correction::minimums) minimums = load_minimums(w, g * w.minimum_step, 0);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < Rows; ++r) {
      Ints sum = hn::Load(ints, sums + r * lanes);
      const std::int32_t offset = Corrected == Correction::none ? 0 : x.offsets[g * x.rows + row + r];
      if constexpr (Corrected != Correction::none) sum = hn::Add(sum, hn::Mul(zero, hn::Set(ints, offset)));
      Floats products = hn::Mul(hn::ConvertTo(floats, sum), scale);
      if constexpr (Corrected == Correction::minimums)
        products = fused_multiply_add(hn::Set(floats, static_cast<float>(offset)), minimums, products);
      total[r] = fused_multiply_add(products, hn::Set(floats, x_scales[r]), total[r]);
    }
  }
#pragma GCC unroll 16
  for (std::size_t r = 0; r < Rows; ++r) hn::Store(total[r], floats, totals + r * lanes);
}

/// Rows rows of activations and more. Where their number is no multiple of it, the last tile takes rows once more that
/// the one before it has.
template <class Codes, std::size_t Rows>
void multiply_matrix(const PreparedWeights& weights, std::size_t outputs, const QuantizedActivations& x, float* y,
                     std::size_t y_stride) {
  // The activations of these columns stay in the caches for so many blocks of weights.
  constexpr std::size_t columns_at_once = 512, blocks_at_once = 4;
  constexpr std::size_t most_rows = Rows == tile_lines ? prepared_batch : 2 * Rows, tile_size = Rows * lanes;
  HWY_ALIGN std::uint8_t integers[prepared_rows * columns_at_once];
  HWY_ALIGN float totals[blocks_at_once * ceil_div(most_rows, Rows) * tile_size];
  const TileShapes shapes(Rows, std::min(tile_line, weights.units * prepared_unit));
  _tile_loadconfig(&shapes);
  const std::size_t tiles = ceil_div(x.rows, Rows), blocks = ceil_div(outputs, prepared_rows);
  const std::size_t groups_at_once = columns_at_once / prepared_unit / weights.units;
  const auto first_row = [&](std::size_t tile) { return std::min(tile * Rows, x.rows - Rows); };
  for (std::size_t first = 0; first < blocks; first += blocks_at_once) {
    const std::size_t count = std::min(blocks_at_once, blocks - first);
    std::fill_n(totals, count * tiles * tile_size, 0.0f);
    for (std::size_t begin = 0; begin < weights.groups; begin += groups_at_once) {
      const std::size_t end = std::min(weights.groups, begin + groups_at_once);
      for (std::size_t b = 0; b < count; ++b) {
        const PreparedWeights w = vnni::from_block(weights, first + b, blocks);
        decode_signed<Codes>(w, begin, end, integers);
        // The intrinsics that load tiles do not tell every compiler that they read memory.
        std::atomic_signal_fence(std::memory_order_seq_cst);
        // What is decoded next comes from memory while the tiles are multiplied.
        const bool last = b + 1 == count;
        const std::uint8_t* const next = weights.codes + (first + (last ? 0 : b + 1)) * weights.code_stride +
                                         (last ? end : begin) * weights.units * unit_bytes<Codes>;
        const std::size_t share = ceil_div((end - begin) * weights.units * unit_bytes<Codes>, tiles);
        for (std::size_t t = 0; t < tiles; ++t) {
          for (std::size_t line = 0; line < share; line += tile_line)
            _mm_prefetch(reinterpret_cast<const char*>(next + t * share + line), _MM_HINT_T1);
          float* tile = totals + (b * tiles + t) * tile_size;
          const std::uint8_t bias = integer_bias<Codes>(w);
          if (w.minimums != nullptr)
            multiply_tile<Rows, Correction::minimums>(w, integers, bias, x, first_row(t), begin, end, tile);
          else if (w.zero_points != nullptr)
            multiply_tile<Rows, Correction::zero_points>(w, integers, bias, x, first_row(t), begin, end, tile);
          else
            multiply_tile<Rows, Correction::none>(w, integers, bias, x, first_row(t), begin, end, tile);
        }
      }
    }
    for (std::size_t b = 0; b < count; ++b) {
      const std::size_t j = (first + b) * prepared_rows, width = std::min(prepared_rows, outputs - j);
      for (std::size_t t = 0; t < tiles; ++t)
        for (std::size_t r = 0; r < Rows; ++r) {
          const float* from = totals + (b * tiles + t) * tile_size + r * lanes;
          float* to = y + (first_row(t) + r) * y_stride + j;
          if (width == lanes)
            hn::StoreU(hn::Load(floats, from), floats, to);
          else
            std::memcpy(to, from, width * sizeof(float));
        }
    }
  }
  _tile_release();
}

}  // namespace amx
}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_POP_ATTRIBUTES
