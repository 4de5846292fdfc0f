// Pass file, read once per target: products of one vector with rows of codes, decoded in registers.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {
#if PARE_VECTORS

/// Reads codes as vectors of values from vector `part` on, at most `most_vectors` at once; `interleaved` where elements
/// i and i + 8 of each 16 stand side by side. Built once per group. Only widths of up to four bits and of eight are
/// read without unpacking.
template <class F>
struct CodeReader {
  static constexpr std::size_t most_vectors = [] {
    if constexpr (F::bits <= 4) return Decoder<F>::vectors;
    return std::size_t{1};
  }();
  static constexpr bool interleaved = false;
  Decoder<F> decoder;

  HWY_INLINE CodeReader(float scale, std::uint8_t zero_point) : decoder(scale, zero_point) {}
  template <std::size_t Vectors>
  HWY_INLINE void operator()(const std::uint8_t* codes, std::size_t part, Floats (&values)[Vectors]) const {
    if constexpr (F::bits <= 4)
      decoder(codes + part * lanes / 8 * F::bits, values);
    else
      values[0] = decoder(codes + part * lanes);
  }
};

// Shifting one broadcast word by a different amount in each lane brings every code to the lowest bits: no shuffle. The
// word has 64 bits, whose halves alternate.
template <class F>
  requires(F::bits == 4 && lanes == 16)
struct CodeReader<F> {
  static constexpr std::size_t most_vectors = 1;
  static constexpr bool interleaved = true;
  Floats table;
  Words shifts;

  HWY_INLINE CodeReader(float scale, std::uint8_t zero_point) : table(group_values<F>(scale, zero_point)) {
    alignas(64) static constexpr auto amounts = [] {
      std::array<std::uint32_t, lanes> a{};
      for (std::uint32_t i = 0; i < lanes; ++i) a[i] = i / 2 * 4;
      return a;
    }();
    shifts = hn::Load(words, amounts.data());
  }
  HWY_INLINE void operator()(const std::uint8_t* codes, std::size_t part, Floats (&values)[1]) const {
    const hn::Repartition<std::uint64_t, FloatTag> longs;
    const Words code = hn::Shr(hn::BitCast(words, hn::Set(longs, load_le(codes + 8 * part, 8))), shifts);
    values[0] = look_up_lanes(table, code);
  }
};

template <class F>
inline constexpr bool reads_codes = F::bits == 8 || F::bits <= 4;

/// Where the lanes of an interleaving reader's vectors come from among 16 elements, and where these come from there.
struct Interleaving {
  std::array<std::int32_t, 16> lanes{}, elements{};

  constexpr Interleaving() {
    for (std::size_t i = 0; i < 16; ++i) {
      lanes[i] = static_cast<std::int32_t>(i / 2 + i % 2 * 8);
      elements[i] = static_cast<std::int32_t>(i % 8 * 2 + i / 8);
    }
  }
};
alignas(64) inline constexpr Interleaving interleaving;

HWY_INLINE Floats reorder(Floats v, const std::array<std::int32_t, 16>& sources) {
  return hn::TableLookupLanes(v, hn::SetTableIndices(floats, sources.data()));
}

/// n values in the order of a reader's lanes, filled up with zeros to a multiple of 16.
template <class F>
HWY_INLINE void arrange(const float* HWY_RESTRICT from, std::size_t n, float* HWY_RESTRICT to) {
  const auto arrange16 = [](const float* values, float* out) HWY_ATTR {
    for (std::size_t p = 0; p < parts; ++p) {
      Floats v = hn::LoadU(floats, values + p * lanes);
      if constexpr (CodeReader<F>::interleaved) v = reorder(v, interleaving.lanes);
      hn::Store(v, floats, out + p * lanes);
    }
  };
  std::size_t i = 0;
  for (; n - i >= 16; i += 16) arrange16(from + i, to + i);
  if (i == n) return;
  HWY_ALIGN float last[16] = {};
  std::memcpy(last, from + i, (n - i) * sizeof(float));
  arrange16(last, to + i);
}

/// Rows of codes with one stretch of scales and zero points each.
struct CodedRows {
  const std::uint8_t* codes;
  std::size_t row_bytes;
  const float* scales;
  std::size_t scale_stride;
  const std::uint8_t* zero_points;
  std::size_t zero_point_stride;
};

/// Adds the products of the last n < 16 codes of each row, which begin at `first` and are of group g.
template <class F>
HWY_NOINLINE void add_last_codes(const float* x, const CodedRows& w, std::size_t rows, std::size_t first, std::size_t n,
                                 std::size_t g, Floats (*HWY_RESTRICT sums)[parts]) {
  for (std::size_t r = 0; r < rows; ++r) {
    HWY_ALIGN float values[16] = {}, arranged[16];
    ReferenceKernels::decode<F>(w.codes + r * w.row_bytes + first / 8 * F::bits, n, n, 0,
                                w.scales + r * w.scale_stride + g,
                                UnsignedFormat<F> ? w.zero_points + r * w.zero_point_stride + g : nullptr, values);
    arrange<F>(values, n, arranged);
    for (std::size_t p = 0; p < parts; ++p)
      sums[r][p] =
          fused_multiply_add(hn::Load(floats, x + p * lanes), hn::Load(floats, arranged + p * lanes), sums[r][p]);
  }
}

/// The sixteen partial sums of dot(x, row r) for Rows rows; x is arranged, groups and offset are multiples of 16.
template <class F, std::size_t Rows>
HWY_INLINE void accumulate_coded_rows(const float* HWY_RESTRICT x, const CodedRows& w, std::size_t n, std::size_t group,
                                      std::size_t offset, Floats (*HWY_RESTRICT sums)[parts]) {
  Floats sum[Rows][parts];
  for (auto& row : sum)
    for (Floats& part : row) part = hn::Zero(floats);
  const auto zero_point = [&](std::size_t r, std::size_t g) HWY_ATTR {
    return UnsignedFormat<F> ? w.zero_points[r * w.zero_point_stride + g] : std::uint8_t{0};
  };
  constexpr std::size_t codes_of_line = 512 / F::bits;
  std::size_t begin = 0, remaining = group - offset, fetched = 0;
  for (std::size_t g = 0; n - begin >= 16; ++g, remaining = group) {
    const std::size_t end = begin + std::min(n - begin, remaining) / 16 * 16;
    // The next rows stand far off in memory, where the processor's own prefetching does not look.
    for (; fetched < end; fetched += codes_of_line)
#pragma GCC unroll 8
      for (std::size_t r = 0; r < Rows; ++r) hwy::Prefetch(w.codes + (Rows + r) * w.row_bytes + fetched / 8 * F::bits);
    const auto multiply = [&](const CodeReader<F>(&readers)[Rows]) HWY_ATTR {
      const auto step = [&]<std::size_t Codes>(std::size_t at, std::integral_constant<std::size_t, Codes>) HWY_ATTR {
        constexpr std::size_t vectors = std::min(CodeReader<F>::most_vectors, Codes / lanes);
#pragma GCC unroll 8
        for (std::size_t first = 0; first < Codes / lanes; first += vectors) {
          Floats v[vectors];
#pragma GCC unroll 8
          for (std::size_t p = 0; p < vectors; ++p) v[p] = hn::Load(floats, x + at + (first + p) * lanes);
#pragma GCC unroll 8
          for (std::size_t r = 0; r < Rows; ++r) {
            Floats values[vectors];
            readers[r](w.codes + r * w.row_bytes + at / 8 * F::bits, first, values);
#pragma GCC unroll 8
            for (std::size_t p = 0; p < vectors; ++p)
              sum[r][(first + p) % parts] = fused_multiply_add(v[p], values[p], sum[r][(first + p) % parts]);
          }
        }
      };
      constexpr std::integral_constant<std::size_t, 16> fewest;
      constexpr bool twice = lanes == 16 || CodeReader<F>::most_vectors * lanes == 32;
      constexpr std::integral_constant<std::size_t, twice ? 32 : 16> most;
      std::size_t i = begin;
      for (; end - i >= most; i += most) step(i, most);
      for (; i < end; i += 16) step(i, fewest);
    };
    const auto reader = [&](std::size_t r)
                            HWY_ATTR { return CodeReader<F>(w.scales[r * w.scale_stride + g], zero_point(r, g)); };
    if constexpr (Rows == 8)
      multiply({reader(0), reader(1), reader(2), reader(3), reader(4), reader(5), reader(6), reader(7)});
    else if constexpr (Rows == 4)
      multiply({reader(0), reader(1), reader(2), reader(3)});
    else
      multiply({reader(0)});
    begin = end;
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (std::size_t p = 0; p < parts; ++p) sums[r][p] = sum[r][p];
  if (begin < n) add_last_codes<F>(x + begin, w, Rows, begin, n - begin, (offset + begin) / group, sums);
}

#endif

template <class Signature>
void accumulate_coded_products(const float* x, const std::uint8_t* codes, std::size_t row_bytes, std::size_t rows,
                               std::size_t n, std::size_t group, std::size_t offset, const float* scales,
                               std::size_t scale_stride, const std::uint8_t* zero_points, std::size_t zero_point_stride,
                               float* y) {
  using F = typename Signature::format_type;
#if PARE_VECTORS
  if constexpr (reads_codes<F>) {
    if (group - offset >= n || (group % 16 == 0 && offset % 16 == 0)) {
      constexpr std::size_t rows_at_once = lanes == 16 && F::bits <= 4 ? 8 : 4;
      HWY_ALIGN float arranged[product_columns];
      arrange<F>(x, n, arranged);
      const auto from = [&](std::size_t row) {
        return CodedRows{codes + row * row_bytes,
                         row_bytes,
                         scales + row * scale_stride,
                         scale_stride,
                         UnsignedFormat<F> ? zero_points + row * zero_point_stride : nullptr,
                         zero_point_stride};
      };
      for (std::size_t first = 0; first < rows; first += lanes) {
        Floats sums[lanes][parts];
        const std::size_t count = std::min(lanes, rows - first);
        for (std::size_t i = count; i < lanes; ++i)
          for (Floats& part : sums[i]) part = hn::Zero(floats);
        std::size_t r = 0;
        for (; count - r >= rows_at_once; r += rows_at_once)
          accumulate_coded_rows<F, rows_at_once>(arranged, from(first + r), n, group, offset, sums + r);
        for (; r < count; ++r) accumulate_coded_rows<F, 1>(arranged, from(first + r), n, group, offset, sums + r);
        if constexpr (CodeReader<F>::interleaved)
          for (Floats(&row)[parts] : sums) row[0] = reorder(row[0], interleaving.elements);
        HWY_ALIGN float totals[lanes];
        hn::Store(fold_rows(sums), floats, totals);
        for (std::size_t i = 0; i < count; ++i) y[first + i] += totals[i];
      }
      return;
    }
  }
  constexpr std::size_t tile = 4;
  HWY_ALIGN float values[tile * product_columns];
  for (std::size_t r = 0; r < rows; r += tile) {
    const std::size_t count = rows - r < tile ? rows - r : tile;
    for (std::size_t i = 0; i < count; ++i)
      decode<Signature>(codes + (r + i) * row_bytes, n, group, offset, scales + (r + i) * scale_stride,
                        UnsignedFormat<F> ? zero_points + (r + i) * zero_point_stride : nullptr,
                        values + i * product_columns);
    accumulate_products<void>(x, 1, n, values, count, product_columns, n, y + r, count);
  }
#else
  ReferenceKernels::accumulate_coded_products<F>(x, codes, row_bytes, rows, n, group, offset, scales, scale_stride,
                                                 zero_points, zero_point_stride, y);
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_AFTER_NAMESPACE();
