#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "pare/schemes/schemes.hpp"

namespace pare {

/// Prepared weights interleave this many rows, so that one vector holds four columns of each.
inline constexpr std::size_t prepared_rows = 16;
/// Prepared weights have their columns in units of this many.
inline constexpr std::size_t prepared_unit = 32;

/// Products take at most this many rows of activations at once, which keeps them near in memory.
inline constexpr std::size_t prepared_batch = 132;

/// How prepared weights hold an integer from 0 up: four bits that are the integer.
struct PreparedNibbles {
  static constexpr int bits = 4;
  static constexpr std::uint32_t highest = 15;
  static constexpr std::uint32_t integer(std::uint32_t code) noexcept { return code; }
};
/// Eight bits that are the integer.
struct PreparedBytes {
  static constexpr int bits = 8;
  static constexpr std::uint32_t highest = 255;
  static constexpr std::uint32_t integer(std::uint32_t code) noexcept { return code; }
};
/// Four bits that are a code of E2M1; the integer is twice its value plus 12.
struct PreparedE2M1 {
  static constexpr int bits = 4;
  static constexpr std::uint32_t highest = 24;
  alignas(16) static constexpr std::array<std::uint8_t, 16> integers = [] {
    std::array<std::uint8_t, 16> all{};
    for (std::uint32_t code = 0; code < 16; ++code)
      all[code] = static_cast<std::uint8_t>(static_cast<std::int32_t>(E2M1::decode(code) * 2.0f) + 12);
    return all;
  }();
  static constexpr std::uint32_t integer(std::uint32_t code) noexcept { return integers[code]; }
};

/// Two of every four columns, their integers in `Codes`; the others are worth 0. A unit begins with the places of the
/// kept ones: two bits each, four to a byte (sparse24_place); their codes follow as those of half as many columns.
template <class Codes>
struct Sparse24Codes {
  using codes_type = Codes;
  static constexpr int bits = Codes::bits;
};

template <class Codes>
inline constexpr bool is_sparse24 = false;
template <class Codes>
inline constexpr bool is_sparse24<Sparse24Codes<Codes>> = true;

/// Integers of `Codes` in groups of 16 columns, or of a multiple of it: each half of a unit has a scale of its own, and
/// a minimum of its own where groups have minimums. A group of activations is one unit.
template <class Codes>
struct Group16Codes : Codes {
  using codes_type = Codes;
};

template <class Codes>
inline constexpr bool is_group16 = false;
template <class Codes>
inline constexpr bool is_group16<Group16Codes<Codes>> = true;

/// The parts of a group of activations whose products with weights in `Codes` are scaled each for itself.
template <class Codes>
inline constexpr std::size_t prepared_sections = is_group16<Codes> ? 2 : 1;

/// The bytes of the places with which a unit of Sparse24Codes begins.
inline constexpr std::size_t sparse24_places_bytes = prepared_rows * prepared_unit / 8;

/// The bytes of one unit of columns of prepared_rows rows.
template <class Codes>
inline constexpr std::size_t prepared_unit_bytes = prepared_rows * prepared_unit / 8 * Codes::bits;
template <class Codes>
inline constexpr std::size_t prepared_unit_bytes<Sparse24Codes<Codes>> =
    sparse24_places_bytes + prepared_unit_bytes<Codes> / 2;

/// Where the code of row `row` (below prepared_rows) and column `column` (below prepared_unit) stands in a unit: its
/// byte and the shift of its lowest bit. Bytes hold four columns of row 0, four of row 1 and so on; the high nibbles
/// hold the four columns that follow those of the low ones.
struct PreparedPlace {
  std::size_t byte;
  int shift;
};
template <class Codes>
constexpr PreparedPlace prepared_place(std::size_t row, std::size_t column) noexcept {
  constexpr std::size_t codes_of_byte = 8 / Codes::bits, line = 4 * prepared_rows;
  return {column / (4 * codes_of_byte) * line + row * 4 + column % 4,
          static_cast<int>(column / 4 % codes_of_byte) * Codes::bits};
}

/// Where the place of kept column `kept` (below prepared_unit / 2) among its four columns stands in a unit of
/// Sparse24Codes. Columns 2i and 2i + 1 of the kept ones are two different ones of the four columns from 4i on.
constexpr PreparedPlace sparse24_place(std::size_t row, std::size_t kept) noexcept {
  return {row * 4 + kept % 4, static_cast<int>(kept / 4) * 2};
}

/// What the scales of prepared weights are stored as. Integers are signed bytes, of which prepared_run in a row share a
/// float that they are multiplied by.
enum class PreparedScale : std::uint8_t { float32, float16, bfloat16, integer8 };

/// So many scales in integers share a float.
inline constexpr std::size_t prepared_run = 8;

constexpr std::size_t prepared_scale_bytes(PreparedScale scale) noexcept {
  return scale == PreparedScale::float32 ? 4 : scale == PreparedScale::integer8 ? 1 : 2;
}

/// The floats that scales or minimums in integers are multiplied by: prepared_rows of them, a row's each, for every
/// prepared_run groups.
struct PreparedUnits {
  const float* units = nullptr;
  const std::uint8_t* integers = nullptr;  ///< where the integers of the first ones are

  /// Of the integer at `p`.
  [[nodiscard]] const float* of(const std::uint8_t* p) const noexcept {
    const auto at = static_cast<std::size_t>(p - integers);
    return units + at / (prepared_run * prepared_rows) * prepared_rows + at % prepared_rows;
  }
};

/// Blocks of prepared_rows rows of weights. Codes, scales and zero points of a block lie together, group after group;
/// a group has one scale and zero point for each row. Strides are bytes. Of Group16Codes each half of a group has a
/// scale for each row, and steps go from a half to the next; there are no zero points, and groups are of one unit.
struct PreparedWeights {
  const std::uint8_t* codes = nullptr;
  const std::uint8_t* scales = nullptr;       ///< in the machine's byte order
  const std::uint8_t* zero_points = nullptr;  ///< null where the integers have a fixed offset
  const std::uint8_t* minimums = nullptr;     ///< not null where value = integer * scale - minimum; no zero points then
  std::size_t code_stride = 0;                ///< from a block to the next
  std::size_t scale_stride = 0;               ///< from a block to the next
  std::size_t scale_step = 0;                 ///< from a group to the next; 0 where all share one
  std::size_t zero_point_stride = 0;
  std::size_t zero_point_step = 0;
  std::size_t minimum_stride = 0;
  std::size_t minimum_step = 0;
  std::size_t groups = 0;  ///< in a row
  std::size_t units = 0;   ///< in a group
  PreparedScale scale = PreparedScale::float32;
  PreparedScale minimum = PreparedScale::float32;  ///< or integer8
  PreparedUnits scale_units, minimum_units;        ///< where they are integer8; their strides are whole runs then
  std::uint8_t zero = 0;  ///< where there is neither of them: the integer of the value 0, within 128 of any other
};

/// Integers of rows of at most so many columns are summed exactly in 32 bits: 65536 * 255 * 127 < 2^31.
inline constexpr std::size_t most_exact_columns = 65536;
/// Where they are, several rows of activations are in groups of so many columns.
inline constexpr std::size_t exact_group = 64;

/// At most prepared_batch rows of activations as eight-bit integers: value = code * scale. Group g of row r has its
/// codes from codes[(g * rows + r) * columns of a group] on, its scale at [g * scale_step + r] and its offset at
/// [g * offset_step + r].
struct QuantizedActivations {
  std::int8_t* codes = nullptr;
  float* scales = nullptr;
  std::int32_t* offsets =
      nullptr;  ///< the sum of the group's codes * -zero of the weights, * -1 where they have zero points or minimums
  std::size_t rows = 0;
  std::size_t scale_step = 0;   ///< `rows`; 0 where a row has one scale
  std::size_t offset_step = 0;  ///< `rows`; 0 where products of a whole row are summed as integers: one scale then, for
                                ///< weights that share theirs, and exact_group columns in a group of several rows
  bool has_halves = false;      ///< for Group16Codes: half h of a group has an offset of its own, at
                                ///< [(2g + h) * offset_step + r]
};

}  // namespace pare
