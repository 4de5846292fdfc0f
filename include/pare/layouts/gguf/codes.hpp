#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pare/core/core.hpp"
#include "pare/layouts/gguf/block_layout.hpp"

namespace pare::gguf {

/// The bytes and the values of one block.
template <BlockType T>
using BlockBytes = std::span<std::uint8_t, block_info<T>.bytes>;
template <BlockType T>
using ConstBlockBytes = std::span<const std::uint8_t, block_info<T>.bytes>;
template <BlockType T>
using BlockValues = std::span<float, block_info<T>.elements>;
template <BlockType T>
using ConstBlockValues = std::span<const float, block_info<T>.elements>;
template <BlockType T>
using CodeSpan = std::span<std::uint8_t, block_info<T>.elements>;
template <BlockType T>
using ConstCodeSpan = std::span<const std::uint8_t, block_info<T>.elements>;

namespace detail {

/// Calls visit(byte, element, shift) for every element of a plane.
template <class Visit>
constexpr void for_each_of(const Plane& plane, std::size_t elements, Visit&& visit) noexcept {
  const std::size_t per_byte = 8 / static_cast<std::size_t>(plane.bits);
  std::size_t byte = plane.offset;
  for (std::size_t first = 0; first < elements; first += per_byte * plane.period, byte += plane.period)
    for (std::size_t n = 0; n < per_byte; ++n)
      for (std::size_t l = 0; l < plane.period; ++l)
        visit(byte + l, first + n * plane.period + l, static_cast<int>(n) * plane.bits);
}

/// TQ1_0: trit n of a byte stands for element first + n * period + l of its part; the last part has four trits.
struct TritPart {
  std::size_t offset;
  std::size_t period;
  std::size_t first;
  std::size_t trits;
};
inline constexpr std::array<TritPart, 3> trit_parts{{{0, 32, 0, 5}, {32, 16, 160, 5}, {48, 4, 240, 4}}};

/// A byte holds ceil(v * 256 / 243), so that multiplying by 3 carries one trit after the other out of the byte.
constexpr void unpack_trits(std::span<const std::uint8_t> block, std::span<std::uint8_t> codes) noexcept {
  for (const TritPart& part : trit_parts)
    for (std::size_t l = 0; l < part.period; ++l) {
      std::uint32_t rest = block[part.offset + l];
      for (std::size_t n = 0; n < part.trits; ++n) {
        const std::uint32_t product = rest * 3;
        codes[part.first + n * part.period + l] = static_cast<std::uint8_t>(product >> 8);
        rest = product & 0xffu;
      }
    }
}

constexpr void pack_trits(std::span<const std::uint8_t> codes, std::span<std::uint8_t> block) noexcept {
  for (const TritPart& part : trit_parts)
    for (std::size_t l = 0; l < part.period; ++l) {
      std::uint32_t value = 0;
      for (std::size_t n = 0; n < 5; ++n)
        value = value * 3 + (n < part.trits ? codes[part.first + n * part.period + l] : 0u);
      block[part.offset + l] = static_cast<std::uint8_t>((value * 256 + 242) / 243);
    }
}

}  // namespace detail

/// Writes the code of every element of a block, counted from zero.
template <BlockType T>
constexpr void unpack_codes(ConstBlockBytes<T> block, CodeSpan<T> codes) noexcept {
  constexpr const BlockLayout& layout = block_layout<T>;
  if constexpr (T == BlockType::tq1_0) {
    detail::unpack_trits(block, codes);
  } else {
    constexpr Plane low = layout.planes[0], high = layout.planes[1];
    detail::for_each_of(low, codes.size(), [&](std::size_t byte, std::size_t element, int shift) {
      codes[element] = static_cast<std::uint8_t>(((block[byte] ^ layout.flip) >> shift) & ((1 << low.bits) - 1));
    });
    if constexpr (high.bits != 0)
      detail::for_each_of(high, codes.size(), [&](std::size_t byte, std::size_t element, int shift) {
        codes[element] =
            static_cast<std::uint8_t>(codes[element] | ((block[byte] >> shift) & ((1 << high.bits) - 1)) << high.shift);
      });
  }
}

/// The inverse of unpack_codes; the rest of the block stays as it is. Bits of a code that the type lacks are dropped;
/// ternary codes must be 0, 1 or 2.
template <BlockType T>
constexpr void pack_codes(ConstCodeSpan<T> codes, BlockBytes<T> block) noexcept {
  constexpr const BlockLayout& layout = block_layout<T>;
  if constexpr (T == BlockType::tq1_0) {
    detail::pack_trits(codes, block);
  } else {
    const auto pack = [&](const Plane& plane, std::uint8_t flip) {
      detail::for_each_of(plane, codes.size(), [&](std::size_t byte, std::size_t element, int shift) {
        const int piece = ((codes[element] ^ flip) >> plane.shift) & ((1 << plane.bits) - 1);
        block[byte] = static_cast<std::uint8_t>((shift == 0 ? 0 : block[byte]) | piece << shift);
      });
    };
    pack(layout.planes[0], layout.flip);
    if constexpr (layout.planes[1].bits != 0) pack(layout.planes[1], 0);
  }
}

}  // namespace pare::gguf
