#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "pare/core/core.hpp"

namespace pare {

/// The two columns of four whose values a 2:4 matrix keeps, in ascending order.
struct Kept24 {
  std::uint8_t first = 0;
  std::uint8_t second = 1;

  /// The nibble of NVIDIA's sparse tensor cores: first | second << 2.
  [[nodiscard]] constexpr std::uint32_t nibble() const noexcept { return first | static_cast<unsigned>(second) << 2; }
  /// Whether the two are in order, as hardware needs them.
  [[nodiscard]] constexpr bool valid() const noexcept { return first < second; }
  static constexpr Kept24 from_nibble(std::uint32_t nibble) noexcept {
    return {static_cast<std::uint8_t>(nibble & 3u), static_cast<std::uint8_t>(nibble >> 2 & 3u)};
  }
};

/// The columns that PyTorch and CUTLASS keep of four, bit i of `nonzero` telling whether column i is: with fewer than
/// two, the others are filled up from the end, or from the second for the first column alone. Only for at most two.
constexpr Kept24 kept24(unsigned nonzero) noexcept {
  constexpr std::uint8_t nibbles[16] = {0xe, 0x8, 0x9, 0x4, 0xe, 0x8, 0x9, 0, 0xe, 0xc, 0xd, 0, 0xe, 0, 0, 0};
  return Kept24::from_nibble(nibbles[nonzero & 15u]);
}

/// Where CUTLASS's reordered, column-major interleaved metadata has the word (row, column) of a matrix of `rows` rows,
/// a multiple of 64; words of 16 bits (4 nibbles, for 16-bit values) or 32 (8 nibbles, for int8).
constexpr std::size_t cutlass24_place(std::size_t row, std::size_t column, std::size_t rows, int word_bits) noexcept {
  const std::size_t group = word_bits == 16 ? 32 : 16;
  std::size_t d = row / 64 * 64 + row % 2 * 2 + row % 8 / 4 + row % group % 4 / 2 * 32 + row % 64 / 8 * 4;
  if (d % 2 == 0 && column % 2 == 1)
    ++d, --column;
  else if (d % 2 == 1 && column % 2 == 0)
    --d, ++column;
  return column / 2 * 2 * rows + 2 * d + column % 2;
}

}  // namespace pare
