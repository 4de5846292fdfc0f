#pragma once

#include <string_view>
#include <vector>

#include "pare/layouts/sparse24_metadata.hpp"
#include "pare/layouts/sparse_bitmask.hpp"

namespace pare {

/// 2:4 sparse elements as CUTLASS and PyTorch's semi-structured tensors have them: `values` [out, in / 2], the kept
/// ones of a row in the order of their columns, and `meta`, a nibble first | second << 2 for every four columns, in
/// words of int16 for elements of 16 bits [out, in / 16] or int32 for bytes [out, in / 32], reordered as tensor cores
/// load them. Outputs are multiples of 64; inputs fill whole words, and pairs of them where they are reordered. For
/// float32 and int32, of which one in two is kept, `values` has [out, in / 2] and a nibble stands for two columns: 4
/// for the first, 14 for the second.
struct Sparse24Cutlass {
  static constexpr std::string_view name = "cutlass:2:4";

  bool reordered = true;  ///< else the words lie row by row

  /// The dense part `weight`.
  Result<Part> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  /// A group with fewer than two values that are not zero keeps zeros as kept24() says; a negative zero that finds no
  /// room comes back positive.
  Result<std::vector<Part>> write(const PartView& dense, std::pmr::memory_resource* memory = nullptr) const;

 private:
  /// Where word (row, column) of the metadata lies.
  [[nodiscard]] std::size_t place(std::size_t row, std::size_t column, Shape words, int word_bits) const noexcept {
    return reordered ? cutlass24_place(row, column, words.rows, word_bits) : row * words.cols + column;
  }
};

namespace detail {

/// How elements of a size are kept in CUTLASS's metadata.
struct Cutlass24Kind {
  PartType meta = PartType::int16;
  std::size_t columns = 4;  ///< that a nibble stands for
  std::size_t kept = 2;     ///< of them

  [[nodiscard]] int word_bits() const noexcept { return meta == PartType::int16 ? 16 : 32; }
  /// Columns of a word.
  [[nodiscard]] std::size_t word_columns() const noexcept {
    return static_cast<std::size_t>(word_bits()) / 4 * columns;
  }
  [[nodiscard]] Result<Shape> words(std::string_view layout, Shape dense, bool reordered) const {
    const std::size_t unit = word_columns() * (reordered ? 2 : 1);
    if (dense.rows % 64 == 0 && dense.cols % unit == 0) return Shape{dense.rows, dense.cols / word_columns()};
    return refuse(layout, std::to_string(dense.rows) + " x " + std::to_string(dense.cols) +
                              " elements, only multiples of 64 x " + std::to_string(unit));
  }
};

constexpr Cutlass24Kind cutlass24_kind(PartType element) noexcept {
  const std::size_t bytes = element_bytes(element);
  if (bytes == 1) return {.meta = PartType::int32};
  if (bytes == 2) return {};
  return {.columns = 2, .kept = 1};
}

}  // namespace detail

inline Result<Part> Sparse24Cutlass::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  const auto values = detail::find_any_part(parts, "values", 2);
  if (!values) return values.error();
  if (element_bytes(values->type) > 4) return detail::refuse(name, "elements of 64 bits");
  const detail::Cutlass24Kind kind = detail::cutlass24_kind(values->type);
  const auto cols = extent(*values, values->shape[1], 2);
  if (!cols) return cols.error();
  const Shape shape{values->shape[0], *cols};
  const auto words = kind.words(name, shape, reordered);
  if (!words) return words.error();
  const auto meta = find_part(parts, "meta", kind.meta, 2);
  if (!meta) return meta.error();
  if (auto fits = expect_shape(*meta, {words->rows, words->cols}); !fits) return fits.error();
  auto dense = make_part("weight", values->type, {shape.rows, shape.cols}, memory);
  if (!dense) return dense;
  const std::size_t bytes = element_bytes(dense->type), word_bytes = element_bytes(kind.meta);
  const auto expand = [&](std::size_t r, std::size_t w) -> Result<void> {
    const auto word = load_le(meta->bytes.data() + place(r, w, *words, kind.word_bits()) * word_bytes, word_bytes);
    for (std::size_t n = 0; n < 2 * word_bytes; ++n) {
      const Kept24 kept = Kept24::from_nibble(static_cast<std::uint32_t>(word >> (4 * n) & 15));
      const std::size_t begin = w * kind.word_columns() + n * kind.columns;
      if (!kept.valid() || (kind.kept == 1 && (kept.first % 2 != 0 || kept.second != kept.first + 1)))
        return Error{ErrorCode::corrupt_data, "pare: meta keeps columns " + std::to_string(kept.first) + " and " +
                                                  std::to_string(kept.second) + " of those from " +
                                                  std::to_string(begin) + " on in row " + std::to_string(r)};
      const auto copy = [&](std::size_t column, std::size_t i) {
        const std::size_t from = r * shape.cols / 2 + begin / kind.columns * kind.kept + i;
        store_le(dense->bytes().data() + (r * shape.cols + begin + column) * bytes,
                 load_le(values->bytes.data() + from * bytes, bytes), bytes);
      };
      if (kind.kept == 1) {
        copy(kept.first / 2u, 0);
      } else {
        copy(kept.first, 0);
        copy(kept.second, 1);
      }
    }
    return {};
  };
  if (auto done = for_each_place(*words, expand); !done) return done.error();
  return dense;
}

inline Result<std::vector<Part>> Sparse24Cutlass::write(const PartView& dense,
                                                        std::pmr::memory_resource* memory) const {
  const auto checked = find_part({&dense, 1}, dense.name, dense.type, 2);
  if (!checked) return checked.error();
  if (element_bytes(dense.type) > 4) return detail::refuse(name, "elements of 64 bits");
  const detail::Cutlass24Kind kind = detail::cutlass24_kind(dense.type);
  const Shape shape{dense.shape[0], dense.shape[1]};
  const auto words = kind.words(name, shape, reordered);
  if (!words) return words.error();
  auto values = make_part("values", dense.type, {shape.rows, shape.cols / 2}, memory);
  if (!values) return values.error();
  auto meta = make_part("meta", kind.meta, {words->rows, words->cols}, memory);
  if (!meta) return meta.error();
  const std::size_t bytes = element_bytes(dense.type), word_bytes = element_bytes(kind.meta);
  const auto compress = [&](std::size_t r, std::size_t w) -> Result<void> {
    std::uint64_t word = 0;
    for (std::size_t n = 0; n < 2 * word_bytes; ++n) {
      const std::size_t begin = w * kind.word_columns() + n * kind.columns;
      const auto element = [&](std::size_t column) {
        return load_le(dense.bytes.data() + (r * shape.cols + begin + column) * bytes, bytes);
      };
      unsigned nonzero = 0;
      for (std::size_t c = 0; c < kind.columns; ++c)
        if (!detail::is_zero(dense.type, element(c))) nonzero |= 1u << c;
      if (static_cast<std::size_t>(std::popcount(nonzero)) > kind.kept)
        return detail::refuse(name, "more than " + std::to_string(kind.kept) + " values that are not 0 in row " +
                                        std::to_string(r) + ", columns " + std::to_string(begin) + " to " +
                                        std::to_string(begin + kind.columns - 1));
      const bool second = kind.kept == 1 && nonzero != 1;
      const Kept24 kept = kind.kept == 2 ? kept24(nonzero) : Kept24::from_nibble(second ? 0xe : 0x4);
      word |= std::uint64_t{kept.nibble()} << (4 * n);
      const auto copy = [&](std::size_t column, std::size_t i) {
        const std::size_t to = r * shape.cols / 2 + begin / kind.columns * kind.kept + i;
        store_le(values->bytes().data() + to * bytes, element(column), bytes);
      };
      if (kind.kept == 1) {
        copy(second ? 1 : 0, 0);
      } else {
        copy(kept.first, 0);
        copy(kept.second, 1);
      }
    }
    store_le(meta->bytes().data() + place(r, w, *words, kind.word_bits()) * word_bytes, word, word_bytes);
    return {};
  };
  if (auto done = for_each_place(*words, compress); !done) return done.error();
  return collect(*std::move(values), *std::move(meta));
}

}  // namespace pare
