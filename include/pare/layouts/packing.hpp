#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "pare/core/core.hpp"

namespace pare {

/// The direction in which consecutive codes of a stream follow one another in the matrix [out, in].
enum class Along {
  inputs,   ///< along a row: one stream for each output, or for each strip of outputs
  outputs,  ///< down a column: one stream for each input, or for each strip of inputs
};

/// How the words of all streams lie together.
enum class WordOrder {
  stream_major,  ///< [streams, words]: each stream by itself
  word_major,    ///< [words, streams]: first words of every stream, then all second words, ...
};

/// Where each code of a matrix sits in memory, as data: strips of the matrix become LSB-first streams of bits, cut into
/// little-endian words. Element i of a stream takes its bits [i * bits, (i + 1) * bits).
///
/// A strip is `strip` rows (or columns) wide and is read in runs of `order.size()` codes: place p of run t holds the
/// element order[p] of it, counted across the strip first: element e lies e / run rows down and e % run along, where
/// run = order.size() / strip. Without an order the codes follow one another as they are.
struct Packing {
  int bits = 4;                ///< of one code, 1 to 16
  int word_bits = 8;           ///< 8, 16 or 32
  bool crosses_words = false;  ///< a code may continue in the next word; else spare bits are 0
  Along along = Along::inputs;
  WordOrder words = WordOrder::stream_major;
  std::size_t strip = 1;                   ///< rows (or columns) that share a stream
  std::span<const std::uint16_t> order{};  ///< the permutation of a run; empty for none
  bool across = false;                     ///< element e of a run lies e * ceil(length / run) along (HQQ)
  std::size_t multiple = 1;                ///< streams are padded to a multiple of so many codes per row
  std::uint16_t padding = 0;               ///< the code that fills up strips and runs
  std::span<const std::uint8_t> planes{};  ///< bits of the planes that 32 codes are split into, low first

  /// Codes of one stream that lie in the same row of a strip, padding included.
  [[nodiscard]] constexpr std::size_t stream_length(Shape shape) const noexcept {
    const std::size_t length = along == Along::inputs ? shape.cols : shape.rows;
    const std::size_t unit = planes.empty() ? (order.empty() ? 1 : order.size() / strip) : 32;
    const std::size_t step = unit > multiple ? unit : multiple;
    return ceil_div(length, step) * step;
  }
  [[nodiscard]] constexpr std::size_t streams(Shape shape) const noexcept {
    return ceil_div(along == Along::inputs ? shape.rows : shape.cols, strip);
  }
  /// Words of one stream.
  [[nodiscard]] constexpr std::size_t stream_words(Shape shape) const noexcept {
    const std::size_t codes = stream_length(shape) * strip;
    const auto width = static_cast<std::size_t>(bits);
    const auto word = static_cast<std::size_t>(word_bits);
    if (!crosses_words) return ceil_div(codes, word / width);
    return codes / word * width + ceil_div(codes % word * width, word);
  }
  /// The words of the whole matrix as rows and columns of their array.
  [[nodiscard]] constexpr Shape word_shape(Shape shape) const noexcept {
    const Shape by_stream{streams(shape), stream_words(shape)};
    return words == WordOrder::stream_major ? by_stream : Shape{by_stream.cols, by_stream.rows};
  }
};

/// The bytes that codes of a matrix take; invalid_argument if they are more than memory can hold.
inline Result<std::size_t> packed_size(const Packing& packing, Shape shape) {
  const Shape words = packing.word_shape(shape);
  std::size_t count = 0, bytes = 0;
  constexpr std::size_t limit = ~std::size_t{0} / 64;
  if (shape.rows > limit || shape.cols > limit || !checked_multiply(words.rows, words.cols, count) ||
      !checked_multiply(count, static_cast<std::size_t>(packing.word_bits) / 8, bytes))
    return Error{ErrorCode::invalid_argument, "pare: a shape of " + std::to_string(shape.rows) + " x " +
                                                  std::to_string(shape.cols) + " codes is more than memory can hold"};
  return bytes;
}

namespace detail {

/// A constexpr table of 0 .. N-1 in an order given by a function of the place.
template <std::size_t N, class Function>
constexpr std::array<std::uint16_t, N> make_order(Function&& element) noexcept {
  std::array<std::uint16_t, N> order{};
  for (std::size_t p = 0; p < N; ++p) order[p] = static_cast<std::uint16_t>(element(p));
  return order;
}

/// Words of 1, 2 or 4 bytes; sizes that the compiler knows make one move of each.
constexpr std::uint64_t load_word(const std::uint8_t* p, std::size_t bytes) noexcept {
  return bytes == 4 ? load_le(p, 4) : bytes == 2 ? load_le(p, 2) : *p;
}
constexpr void store_word(std::uint8_t* p, std::uint64_t word, std::size_t bytes) noexcept {
  if (bytes == 4) return store_le(p, word, 4);
  if (bytes == 2) return store_le(p, word, 2);
  *p = static_cast<std::uint8_t>(word);
}

/// Walks through the places of every stream and calls visit(row, column, byte offset of its word, shift in the word,
/// bits, shift in the code) for each piece of a code that lies within one word. Padding has row >= shape.rows or
/// column >= shape.cols.
template <class Visit>
constexpr void for_each_piece(const Packing& packing, Shape shape, Visit&& visit) {
  const bool by_row = packing.along == Along::inputs;
  const std::size_t length = packing.stream_length(shape), streams = packing.streams(shape);
  const std::size_t stream_words = packing.stream_words(shape), strip = packing.strip;
  const std::size_t run = packing.order.empty() ? 1 : packing.order.size() / strip, runs = length / run;
  const auto width = static_cast<std::size_t>(packing.bits), word_bits = static_cast<std::size_t>(packing.word_bits);
  const std::size_t slots = word_bits / width, word_bytes = word_bits / 8;
  const int word_shift = std::countr_zero(word_bits);
  const std::size_t word_step = packing.words == WordOrder::stream_major ? 1 : streams;
  // What a word has to spare beside its codes is skipped with the last of them.
  const std::size_t spare = packing.crosses_words ? 0 : word_bits - slots * width;

  for (std::size_t stream = 0; stream < streams; ++stream) {
    const std::size_t first_word = packing.words == WordOrder::stream_major ? stream * stream_words : stream;
    const auto visit_bits = [&](std::size_t row, std::size_t column, std::size_t bit, std::size_t count,
                                std::size_t code_shift) {
      while (count != 0) {
        const std::size_t word = bit >> word_shift, shift = bit & (word_bits - 1);
        const std::size_t piece = count < word_bits - shift ? count : word_bits - shift;
        visit(row, column, (first_word + word * word_step) * word_bytes, shift, piece, code_shift);
        bit += piece;
        code_shift += piece;
        count -= piece;
      }
    };
    std::size_t place = 0, bit = 0, slot = 0;
    const auto visit_place = [&](std::size_t along, std::size_t beside) {
      const std::size_t row = by_row ? beside : along, column = by_row ? along : beside;
      if (packing.planes.empty()) {
        visit_bits(row, column, bit, width, 0);
        bit += width;
        if (++slot == slots) {
          slot = 0;
          bit += spare;
        }
        return;
      }
      std::size_t unit_bit = place / 32 * 32 * width, shift = 0;
      for (const std::size_t plane : packing.planes) {
        visit_bits(row, column, unit_bit + place % 32 * plane, plane, shift);
        unit_bit += 32 * plane;
        shift += plane;
      }
      ++place;
    };
    const std::size_t beside = stream * strip;
    for (std::size_t t = 0; t < runs; ++t) {
      if (packing.order.empty()) {
        for (std::size_t p = 0; p < strip; ++p) visit_place(t, beside + p);
        continue;
      }
      for (const std::uint16_t element : packing.order) {
        const std::size_t along = element % static_cast<std::uint32_t>(run);
        visit_place(packing.across ? along * runs + t : t * run + along,
                    beside + element / static_cast<std::uint32_t>(run));
      }
    }
  }
}

inline Result<void> check_packing(const Packing& packing, Shape codes, std::size_t have) {
  const auto need = packed_size(packing, codes);
  if (!need) return need.error();
  if (have != *need)
    return Error{ErrorCode::invalid_argument, "pare: " + std::to_string(codes.rows) + " x " +
                                                  std::to_string(codes.cols) + " codes take " + std::to_string(*need) +
                                                  " bytes in this layout, not " + std::to_string(have)};
  return {};
}

}  // namespace detail

/// Packs codes [out, in], one in each element, into exactly packed_size() bytes. A code of more than `packing.bits`
/// bits is an invalid_argument error that names its place.
template <class Code>
Result<void> pack_codes(const Packing& packing, MatrixView<const Code> codes, std::span<std::uint8_t> bytes) {
  if (auto fits = detail::check_packing(packing, codes.shape(), bytes.size()); !fits) return fits;
  for (std::size_t r = 0; r < codes.rows; ++r)
    for (std::size_t c = 0; c < codes.cols; ++c)
      if (codes(r, c) >> packing.bits != 0)
        return Error{ErrorCode::invalid_argument, "pare: code " + std::to_string(codes(r, c)) + " at (" +
                                                      std::to_string(r) + ", " + std::to_string(c) +
                                                      ") does not fit in " + std::to_string(packing.bits) + " bits"};
  for (std::uint8_t& byte : bytes) byte = 0;
  const std::size_t word_bytes = static_cast<std::size_t>(packing.word_bits) / 8;
  detail::for_each_piece(packing, codes.shape(),
                         [&](std::size_t row, std::size_t column, std::size_t offset, std::size_t shift,
                             std::size_t count, std::size_t code_shift) {
                           const std::uint64_t code = row < codes.rows && column < codes.cols
                                                          ? std::uint64_t{codes(row, column)}
                                                          : std::uint64_t{packing.padding};
                           const std::uint64_t piece = (code >> code_shift) & ((std::uint64_t{1} << count) - 1);
                           std::uint8_t* word = bytes.data() + offset;
                           detail::store_word(word, detail::load_word(word, word_bytes) | piece << shift, word_bytes);
                         });
  return {};
}

/// Unpacks exactly packed_size() bytes into codes [out, in]. Padding is not looked at.
template <class Code>
Result<void> unpack_codes(const Packing& packing, std::span<const std::uint8_t> bytes, MatrixView<Code> codes) {
  if (auto fits = detail::check_packing(packing, codes.shape(), bytes.size()); !fits) return fits;
  const std::size_t word_bytes = static_cast<std::size_t>(packing.word_bits) / 8;
  detail::for_each_piece(packing, codes.shape(),
                         [&](std::size_t row, std::size_t column, std::size_t offset, std::size_t shift,
                             std::size_t count, std::size_t code_shift) {
                           if (row >= codes.rows || column >= codes.cols) return;
                           const std::uint64_t word = detail::load_word(bytes.data() + offset, word_bytes);
                           const std::uint64_t piece = (word >> shift) & ((std::uint64_t{1} << count) - 1);
                           Code& code = codes(row, column);
                           code = static_cast<Code>((code_shift == 0 ? 0 : code) | piece << code_shift);
                         });
  return {};
}

}  // namespace pare
