#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "pare/layouts/gguf/block_type.hpp"

namespace pare::gguf {

/// Some bits of every code of a block. A period is `period` bytes that hold 8 / bits codes each: byte l of period p,
/// counted from `offset`, holds the codes of the elements p * period * 8 / bits + n * period + l in its bits n * bits.
/// A period of 1 is the natural order, 16 over 32 elements of 4 bits the "half split".
struct Plane {
  int bits = 0;            ///< 0: no such plane
  int shift = 0;           ///< of these bits within the code
  std::size_t offset = 0;  ///< bytes from the start of the block
  std::size_t period = 1;
};

/// How the integers that scale the sub-blocks are stored.
enum class ScaleField {
  none,       ///< one scale for the whole block
  nibbles,    ///< scale and minimum in the nibbles of a byte: Q2_K
  signed6,    ///< sixteen 6-bit scales less 32: Q3_K
  pairs6,     ///< eight 6-bit scales and minimums: Q4_K, Q5_K
  signed8,    ///< sixteen int8: Q6_K
  split6,     ///< eight 6-bit scales less 32, high bits apart: IQ4_XS
  minifloat,  ///< four UE4M3: NVFP4
};

/// The table that codes of a type are looked up in.
enum class LevelTable {
  none,          ///< codes count up
  iq4,           ///< iq4_levels
  doubled_e2m1,  ///< doubled_e2m1_levels
  signs,         ///< sign_levels
};

/// What scales the whole block.
enum class BlockScale { f16, e8m0_half, none };

/// Where the fields of a block are and what its codes mean: value = (d * scale) * level - dmin * minimum, where level
/// is that of the table, or code - zero for types without a table.
struct BlockLayout {
  BlockType type;
  std::array<Plane, 2> planes{};
  int code_bits = 0;
  int zero = 0;
  std::uint8_t flip = 0;  ///< stored code ^ flip is the code: two's complement becomes counted from zero
  LevelTable levels = LevelTable::none;
  std::size_t sub_block = 0;  ///< elements that share a scale
  ScaleField scale_field = ScaleField::none;
  std::size_t scale_offset = 0;
  BlockScale block_scale = BlockScale::f16;
  std::size_t d_offset = 0;
  bool has_min = false;
  std::size_t min_offset = 0;
};

/// The levels of IQ4_NL and IQ4_XS.
inline constexpr std::array<std::int8_t, 16> iq4_levels{-127, -104, -83, -65, -49, -35, -22, -10,
                                                        1,    13,   25,  38,  53,  69,  89,  113};
/// Twice the values of E2M1, the levels of MXFP4 and NVFP4.
inline constexpr std::array<std::int8_t, 16> doubled_e2m1_levels{0, 1,  2,  3,  4,  6,  8,  12,
                                                                 0, -1, -2, -3, -4, -6, -8, -12};
/// The levels of Q1_0.
inline constexpr std::array<std::int8_t, 2> sign_levels{-1, 1};

namespace detail {

// The planes of TQ1_0 are powers of three and have code of their own.
inline constexpr std::array<BlockLayout, 18> block_layouts{{
    {.type = BlockType::q4_0, .planes = {{{4, 0, 2, 16}}}, .code_bits = 4, .zero = 8, .sub_block = 32},
    {.type = BlockType::q4_1,
     .planes = {{{4, 0, 4, 16}}},
     .code_bits = 4,
     .sub_block = 32,
     .has_min = true,
     .min_offset = 2},
    {.type = BlockType::q5_0, .planes = {{{4, 0, 6, 16}, {1, 4, 2, 1}}}, .code_bits = 5, .zero = 16, .sub_block = 32},
    {.type = BlockType::q5_1,
     .planes = {{{4, 0, 8, 16}, {1, 4, 4, 1}}},
     .code_bits = 5,
     .sub_block = 32,
     .has_min = true,
     .min_offset = 2},
    {.type = BlockType::q8_0, .planes = {{{8, 0, 2, 1}}}, .code_bits = 8, .zero = 128, .flip = 0x80, .sub_block = 32},
    {.type = BlockType::q2_k,
     .planes = {{{2, 0, 16, 32}}},
     .code_bits = 2,
     .sub_block = 16,
     .scale_field = ScaleField::nibbles,
     .d_offset = 80,
     .has_min = true,
     .min_offset = 82},
    {.type = BlockType::q3_k,
     .planes = {{{2, 0, 32, 32}, {1, 2, 0, 32}}},
     .code_bits = 3,
     .zero = 4,
     .sub_block = 16,
     .scale_field = ScaleField::signed6,
     .scale_offset = 96,
     .d_offset = 108},
    {.type = BlockType::q4_k,
     .planes = {{{4, 0, 16, 32}}},
     .code_bits = 4,
     .sub_block = 32,
     .scale_field = ScaleField::pairs6,
     .scale_offset = 4,
     .has_min = true,
     .min_offset = 2},
    {.type = BlockType::q5_k,
     .planes = {{{4, 0, 48, 32}, {1, 4, 16, 32}}},
     .code_bits = 5,
     .sub_block = 32,
     .scale_field = ScaleField::pairs6,
     .scale_offset = 4,
     .has_min = true,
     .min_offset = 2},
    {.type = BlockType::q6_k,
     .planes = {{{4, 0, 0, 64}, {2, 4, 128, 32}}},
     .code_bits = 6,
     .zero = 32,
     .sub_block = 16,
     .scale_field = ScaleField::signed8,
     .scale_offset = 192,
     .d_offset = 208},
    {.type = BlockType::iq4_nl,
     .planes = {{{4, 0, 2, 16}}},
     .code_bits = 4,
     .levels = LevelTable::iq4,
     .sub_block = 32},
    {.type = BlockType::iq4_xs,
     .planes = {{{4, 0, 8, 16}}},
     .code_bits = 4,
     .levels = LevelTable::iq4,
     .sub_block = 32,
     .scale_field = ScaleField::split6,
     .scale_offset = 2},
    {.type = BlockType::tq1_0, .code_bits = 2, .zero = 1, .sub_block = 256, .d_offset = 52},
    {.type = BlockType::tq2_0,
     .planes = {{{2, 0, 0, 32}}},
     .code_bits = 2,
     .zero = 1,
     .sub_block = 256,
     .d_offset = 64},
    {.type = BlockType::mxfp4,
     .planes = {{{4, 0, 1, 16}}},
     .code_bits = 4,
     .levels = LevelTable::doubled_e2m1,
     .sub_block = 32,
     .block_scale = BlockScale::e8m0_half},
    {.type = BlockType::nvfp4,
     .planes = {{{4, 0, 4, 8}}},
     .code_bits = 4,
     .levels = LevelTable::doubled_e2m1,
     .sub_block = 16,
     .scale_field = ScaleField::minifloat,
     .block_scale = BlockScale::none},
    {.type = BlockType::q1_0,
     .planes = {{{1, 0, 2, 1}}},
     .code_bits = 1,
     .levels = LevelTable::signs,
     .sub_block = 128},
    {.type = BlockType::q2_0, .planes = {{{2, 0, 2, 1}}}, .code_bits = 2, .zero = 1, .sub_block = 64},
}};

constexpr const BlockLayout* find_block_layout(BlockType type) noexcept {
  for (const BlockLayout& layout : block_layouts)
    if (layout.type == type) return &layout;
  return nullptr;
}

}  // namespace detail

/// The description of a block type, from which its reader and its writer follow.
template <BlockType T>
inline constexpr const BlockLayout& block_layout = *detail::find_block_layout(T);

/// Sub-blocks of a block.
template <BlockType T>
inline constexpr std::size_t sub_blocks = block_info<T>.elements / block_layout<T>.sub_block;

/// What a code stands for before it is scaled.
template <BlockType T>
constexpr int level(std::uint8_t code) noexcept {
  constexpr LevelTable levels = block_layout<T>.levels;
  if constexpr (levels == LevelTable::iq4)
    return iq4_levels[code];
  else if constexpr (levels == LevelTable::doubled_e2m1)
    return doubled_e2m1_levels[code];
  else if constexpr (levels == LevelTable::signs)
    return sign_levels[code];
  else
    return static_cast<int>(code) - block_layout<T>.zero;
}

}  // namespace pare::gguf
