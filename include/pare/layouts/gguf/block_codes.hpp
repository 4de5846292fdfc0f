#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "pare/layouts/gguf/codes.hpp"

namespace pare::gguf {

/// A block with nothing packed, without loss: its value at element i of sub-block j is
/// (d * scales[j]) * level(codes[i]) - dmin * mins[j].
struct BlockCodes {
  std::array<std::uint8_t, max_block_elements> codes{};
  /// The integer of each sub-block; 1 for types with one scale, the stored byte (UE4M3) for NVFP4.
  std::array<std::int16_t, max_sub_blocks> scales{};
  /// The same for minimums; -1 for Q4_1 and Q5_1, whose m is added, 0 for types without.
  std::array<std::int16_t, max_sub_blocks> mins{};
  std::uint16_t d = 0;     ///< f16 bits; the E8M0 byte of MXFP4; nothing for NVFP4
  std::uint16_t dmin = 0;  ///< f16 bits: dmin of the K-quants, m of Q4_1 and Q5_1
};

namespace detail {

/// Reads the scale fields from `p`.
template <ScaleField F>
constexpr void read_scales(const std::uint8_t* p, BlockCodes& out) noexcept {
  const auto bits = [](int value) { return static_cast<std::int16_t>(value); };
  if constexpr (F == ScaleField::nibbles) {
    for (std::size_t j = 0; j < 16; ++j) {
      out.scales[j] = bits(p[j] & 15);
      out.mins[j] = bits(p[j] >> 4);
    }
  } else if constexpr (F == ScaleField::signed6) {
    for (std::size_t j = 0; j < 16; ++j) {
      const int low = j < 8 ? p[j] & 15 : p[j - 8] >> 4;
      const int high = (p[8 + j % 4] >> (2 * (j / 4))) & 3;
      out.scales[j] = bits((low | high << 4) - 32);
    }
  } else if constexpr (F == ScaleField::pairs6) {
    for (std::size_t j = 0; j < 4; ++j) {
      out.scales[j] = bits(p[j] & 63);
      out.mins[j] = bits(p[j + 4] & 63);
      out.scales[j + 4] = bits((p[j + 8] & 15) | (p[j] >> 6) << 4);
      out.mins[j + 4] = bits(p[j + 8] >> 4 | (p[j + 4] >> 6) << 4);
    }
  } else if constexpr (F == ScaleField::signed8) {
    for (std::size_t j = 0; j < 16; ++j) out.scales[j] = bits(static_cast<std::int8_t>(p[j]));
  } else if constexpr (F == ScaleField::split6) {
    for (std::size_t j = 0; j < 8; ++j) {
      const int low = (p[2 + j / 2] >> (4 * (j % 2))) & 15;
      const int high = (p[j / 4] >> (2 * (j % 4))) & 3;
      out.scales[j] = bits((low | high << 4) - 32);
    }
  } else if constexpr (F == ScaleField::minifloat) {
    for (std::size_t j = 0; j < 4; ++j) out.scales[j] = p[j];
  }
}

/// The inverse of read_scales.
template <ScaleField F>
constexpr void write_scales(const BlockCodes& in, std::uint8_t* p) noexcept {
  const auto byte = [](int value) { return static_cast<std::uint8_t>(value & 0xff); };
  if constexpr (F == ScaleField::nibbles) {
    for (std::size_t j = 0; j < 16; ++j) p[j] = byte((in.scales[j] & 15) | in.mins[j] << 4);
  } else if constexpr (F == ScaleField::signed6) {
    for (std::size_t j = 0; j < 8; ++j) p[j] = byte(((in.scales[j] + 32) & 15) | ((in.scales[j + 8] + 32) & 15) << 4);
    for (std::size_t j = 0; j < 4; ++j) {
      int high = 0;
      for (std::size_t k = 0; k < 4; ++k) high |= ((in.scales[j + 4 * k] + 32) >> 4 & 3) << (2 * k);
      p[8 + j] = byte(high);
    }
  } else if constexpr (F == ScaleField::pairs6) {
    for (std::size_t j = 0; j < 4; ++j) {
      p[j] = byte((in.scales[j] & 63) | (in.scales[j + 4] >> 4 & 3) << 6);
      p[j + 4] = byte((in.mins[j] & 63) | (in.mins[j + 4] >> 4 & 3) << 6);
      p[j + 8] = byte((in.scales[j + 4] & 15) | (in.mins[j + 4] & 15) << 4);
    }
  } else if constexpr (F == ScaleField::signed8) {
    for (std::size_t j = 0; j < 16; ++j) p[j] = byte(in.scales[j]);
  } else if constexpr (F == ScaleField::split6) {
    for (std::size_t j = 0; j < 8; j += 4) {
      int high = 0;
      for (std::size_t k = 0; k < 4; ++k) high |= ((in.scales[j + k] + 32) >> 4 & 3) << (2 * k);
      p[j / 4] = byte(high);
    }
    for (std::size_t j = 0; j < 8; j += 2)
      p[2 + j / 2] = byte(((in.scales[j] + 32) & 15) | ((in.scales[j + 1] + 32) & 15) << 4);
  } else if constexpr (F == ScaleField::minifloat) {
    for (std::size_t j = 0; j < 4; ++j) p[j] = byte(in.scales[j]);
  }
}

}  // namespace detail

/// Takes a block apart.
template <BlockType T>
constexpr BlockCodes unpack_block(ConstBlockBytes<T> block) noexcept {
  constexpr const BlockLayout& layout = block_layout<T>;
  BlockCodes out;
  unpack_codes<T>(block, std::span(out.codes).template first<block_info<T>.elements>());
  if constexpr (layout.scale_field == ScaleField::none) {
    out.scales[0] = 1;
    if constexpr (layout.has_min) out.mins[0] = -1;
  } else {
    detail::read_scales<layout.scale_field>(block.data() + layout.scale_offset, out);
  }
  const auto f16_at = [&](std::size_t offset) { return static_cast<std::uint16_t>(load_le(&block[offset], 2)); };
  if constexpr (layout.block_scale == BlockScale::f16) out.d = f16_at(layout.d_offset);
  if constexpr (layout.block_scale == BlockScale::e8m0_half) out.d = block[layout.d_offset];
  if constexpr (layout.has_min) out.dmin = f16_at(layout.min_offset);
  return out;
}

/// Puts a block together; every byte of it is written. Codes and integers must lie in the type's ranges.
template <BlockType T>
constexpr void pack_block(const BlockCodes& in, BlockBytes<T> block) noexcept {
  constexpr const BlockLayout& layout = block_layout<T>;
  pack_codes<T>(std::span(in.codes).template first<block_info<T>.elements>(), block);
  if constexpr (layout.scale_field != ScaleField::none)
    detail::write_scales<layout.scale_field>(in, block.data() + layout.scale_offset);
  if constexpr (layout.block_scale == BlockScale::f16) store_le(&block[layout.d_offset], in.d, 2);
  if constexpr (layout.block_scale == BlockScale::e8m0_half) block[layout.d_offset] = static_cast<std::uint8_t>(in.d);
  if constexpr (layout.has_min) store_le(&block[layout.min_offset], in.dmin, 2);
}

}  // namespace pare::gguf
