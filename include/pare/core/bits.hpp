#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

namespace pare {

/// The smallest integer not below a / b.
constexpr std::size_t ceil_div(std::size_t a, std::size_t b) noexcept { return a / b + (a % b != 0 ? 1 : 0); }

/// Stores a * b in `product` and returns true, or returns false if it does not fit.
constexpr bool checked_multiply(std::size_t a, std::size_t b, std::size_t& product) noexcept {
  if (b != 0 && a > std::numeric_limits<std::size_t>::max() / b) return false;
  product = a * b;
  return true;
}

/// Bytes that hold `count` codes of `bits` bits as a dense stream. Needs count * bits to fit in size_t.
constexpr std::size_t packed_bytes(std::size_t count, int bits) noexcept {
  const auto width = static_cast<std::size_t>(bits);
  return count / 8 * width + ceil_div(count % 8 * width, 8);
}

/// The first `bytes` (at most 8) bytes at `p` as a little-endian integer, on any machine.
constexpr std::uint64_t load_le(const std::uint8_t* p, std::size_t bytes) noexcept {
  std::uint64_t word = 0;
  if (std::endian::native == std::endian::little && !std::is_constant_evaluated()) {
    if (bytes == 8 || bytes < 2) {
      std::memcpy(&word, p, bytes);
      return word;
    }
    // Two loads that overlap: what is put together in memory comes back from there late.
    const auto both = [&]<class Part>(Part first, Part last) {
      std::memcpy(&first, p, sizeof first);
      std::memcpy(&last, p + bytes - sizeof last, sizeof last);
      return first | std::uint64_t{last} << (8 * (bytes - sizeof last));
    };
    return bytes >= 4 ? both(std::uint32_t{}, std::uint32_t{}) : both(std::uint16_t{}, std::uint16_t{});
  }
  for (std::size_t i = 0; i < bytes; ++i) word |= std::uint64_t{p[i]} << (8 * i);
  return word;
}

/// Writes the low `bytes` (at most 8) bytes of `word` at `p` in little-endian order.
constexpr void store_le(std::uint8_t* p, std::uint64_t word, std::size_t bytes) noexcept {
  if (std::endian::native == std::endian::little && !std::is_constant_evaluated()) {
    std::memcpy(p, &word, bytes);
    return;
  }
  for (std::size_t i = 0; i < bytes; ++i) p[i] = static_cast<std::uint8_t>(word >> (8 * i));
}

/// Gathers eight codes of `Bits` bits, one in each byte of `spread`, into the low 8 * Bits bits.
template <int Bits>
constexpr std::uint64_t squeeze8(std::uint64_t spread) noexcept {
  constexpr std::uint64_t one = 0x00ff00ff00ff00ffu & (0x0101010101010101u * ((1u << Bits) - 1u));
  constexpr std::uint64_t two = 0x0000000100000001u * ((std::uint64_t{1} << (2 * Bits)) - 1u);
  constexpr std::uint64_t four = (std::uint64_t{1} << (4 * Bits)) - 1u;
  std::uint64_t v = (spread & one) | ((spread & one << 8) >> (8 - Bits));
  v = (v & two) | ((v & two << 16) >> (16 - 2 * Bits));
  return (v & four) | ((v & four << 32) >> (32 - 4 * Bits));
}

/// The inverse of squeeze8: eight codes from the low 8 * Bits bits, one into each byte.
template <int Bits>
constexpr std::uint64_t spread8(std::uint64_t dense) noexcept {
  constexpr std::uint64_t one = 0x00ff00ff00ff00ffu & (0x0101010101010101u * ((1u << Bits) - 1u));
  constexpr std::uint64_t two = 0x0000000100000001u * ((std::uint64_t{1} << (2 * Bits)) - 1u);
  constexpr std::uint64_t four = (std::uint64_t{1} << (4 * Bits)) - 1u;
  std::uint64_t v = (dense & four) | ((dense << (32 - 4 * Bits)) & four << 32);
  v = (v & two) | ((v << (16 - 2 * Bits)) & two << 16);
  return (v & one) | ((v << (8 - Bits)) & one << 8);
}

/// Sixteen codes from the low 16 * Bits bits, one into each four bits.
template <int Bits>
  requires(Bits <= 4)
constexpr std::uint64_t spread16(std::uint64_t dense) noexcept {
  constexpr std::uint64_t one = 0x0101010101010101u * ((1u << Bits) - 1u);
  constexpr std::uint64_t two = 0x0001000100010001u * ((1u << (2 * Bits)) - 1u);
  constexpr std::uint64_t four = 0x0000000100000001u * ((std::uint64_t{1} << (4 * Bits)) - 1u);
  constexpr std::uint64_t eight = (std::uint64_t{1} << (8 * Bits)) - 1u;
  std::uint64_t v = (dense & eight) | ((dense << (32 - 8 * Bits)) & eight << 32);
  v = (v & four) | ((v << (16 - 4 * Bits)) & four << 16);
  v = (v & two) | ((v << (8 - 2 * Bits)) & two << 8);
  return (v & one) | ((v << (4 - Bits)) & one << 4);
}

}  // namespace pare
