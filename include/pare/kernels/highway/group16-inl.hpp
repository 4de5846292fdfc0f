// Pass file, read in the namespaces of dot-begin-inl.hpp: products of prepared weights in groups of 16 columns, where
// tiles differ from those of tile-inl.hpp.

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
    const std::int32_t* offsets = x.offsets + half * x.offset_step + row;
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
          if (step == 0) sum[r][v].widen(2);
        }
      }
    }
    add_scaled<all_steps>(w, half, part, sum, offsets, group_scales(x, half / 2, row), total);
  }
#pragma GCC unroll 16
  for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (std::size_t v = 0; v < Vectors; ++v) hn::Store(total[r][v], floats, sums + (r * Vectors + v) * lanes);
}
