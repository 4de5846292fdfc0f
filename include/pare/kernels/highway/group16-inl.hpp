// Pass file, read once per target, and once more with PARE_VNNI: products of prepared weights in groups of 16 columns,
// where tiles differ from those of tile-inl.hpp.
#if PARE_VNNI
#define PARE_DOT vnni
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni,avx512vbmi")
#else
#define PARE_DOT plain
HWY_BEFORE_NAMESPACE();
#endif
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {
#if PARE_VECTORS
namespace PARE_DOT {

/// The codes stand where those of other groups do.
template <class Codes, bool Shifts>
  requires is_group16<Codes>
HWY_INLINE void read_integers(const std::uint8_t* codes, DotBytes& first, DotBytes& second) {
  read_integers<typename Codes::codes_type, Shifts>(codes, first, second);
}

/// As the tiles of other groups; the sums of each half of a unit are scaled before those of the next begin.
template <class Codes, std::size_t Rows, std::size_t Vectors>
  requires is_group16<Codes>
HWY_INLINE void multiply_tile(const PreparedWeights& w, const std::uint8_t* codes, std::size_t part,
                              const QuantizedActivations& x, std::size_t row, std::size_t begin, std::size_t end,
                              float* HWY_RESTRICT sums) {
  using Sum = DotSum<typename Codes::codes_type, Rows == 1>;
  constexpr std::size_t half_bytes = unit_bytes<Codes> / 2, half_columns = prepared_unit / 2, all_steps = 8;
  Floats total[Rows][Vectors];
#pragma GCC unroll 16
  for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (std::size_t v = 0; v < Vectors; ++v) total[r][v] = hn::Load(floats, sums + (r * Vectors + v) * lanes);
  for (std::size_t half = 2 * begin; half < 2 * end; ++half, codes += half_bytes) {
    Sum sum[Rows][Vectors];
    const std::int32_t* offsets = x.offsets + half * x.rows + row;
#pragma GCC unroll 16
    for (std::size_t r = 0; r < Rows; ++r) {
      const Ints start = w.minimums != nullptr ? hn::Zero(ints) : hn::Set(ints, offsets[r]);
#pragma GCC unroll 8
      for (std::size_t v = 0; v < Vectors; ++v) sum[r][v].start(start);
    }
    const std::int8_t* x_codes = x.codes + (half / 2 * x.rows + row) * prepared_unit + half % 2 * half_columns;
#pragma GCC unroll 2
    for (std::size_t step = 0; step < 2; ++step) {
      DotBytes first[Vectors], second[Vectors];
#pragma GCC unroll 8
      for (std::size_t v = 0; v < Vectors; ++v) {
        const std::uint8_t* from =
            codes + v / parts * w.code_stride + step * (half_bytes / 2) + v % parts * vector_bytes;
        if constexpr (Rows == 1)
          if (v % parts == 0)
            for (std::size_t line = 0; line < half_bytes / 2; line += 64)
              hwy::Prefetch(from + line + prefetch_distance);
        read_integers<Codes, Sum::shifts>(from, first[v], second[v]);
      }
#pragma GCC unroll 16
      for (std::size_t r = 0; r < Rows; ++r) {
        const std::int8_t* at = x_codes + r * prepared_unit + step * 8;
        const Ints x_first = four_codes(at), x_second = four_codes(at + 4);
#pragma GCC unroll 8
        for (std::size_t v = 0; v < Vectors; ++v) {
          sum[r][v].add_first(first[v], x_first);
          sum[r][v].add_second(second[v], x_second);
        }
      }
    }
    const float* x_scales = x.scales + half / 2 * x.rows + row;
#pragma GCC unroll 8
    for (std::size_t v = 0; v < Vectors; ++v) {
      const Floats scale =
          load_prepared_scales(w, v / parts * w.scale_stride + half * w.scale_step, (part + v % parts) * lanes);
      Floats products[Rows];
#pragma GCC unroll 16
      for (std::size_t r = 0; r < Rows; ++r) {
        sum[r][v].widen(all_steps);
        products[r] = hn::Mul(hn::ConvertTo(floats, sum[r][v].total()), scale);
      }
      if (w.minimums != nullptr) {
        const Floats minimums =
            load_minimums(w, v / parts * w.minimum_stride + half * w.minimum_step, (part + v % parts) * lanes);
#pragma GCC unroll 16
        for (std::size_t r = 0; r < Rows; ++r)
          products[r] = fused_multiply_add(hn::Set(floats, static_cast<float>(offsets[r])), minimums, products[r]);
      }
#pragma GCC unroll 16
      for (std::size_t r = 0; r < Rows; ++r)
        total[r][v] = fused_multiply_add(products[r], hn::Set(floats, x_scales[r]), total[r][v]);
    }
  }
#pragma GCC unroll 16
  for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (std::size_t v = 0; v < Vectors; ++v) hn::Store(total[r][v], floats, sums + (r * Vectors + v) * lanes);
}

}  // namespace PARE_DOT
#endif
}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
#if PARE_VNNI
HWY_POP_ATTRIBUTES
#else
HWY_AFTER_NAMESPACE();
#endif
#undef PARE_DOT
