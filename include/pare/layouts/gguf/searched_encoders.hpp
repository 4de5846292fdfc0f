#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "pare/layouts/gguf/search_joint.hpp"
#include "pare/layouts/gguf/search_levels.hpp"

namespace pare::gguf {

namespace detail {

/// The search of one block type. Types that are encoded by a rule are searched where there are importance weights.
template <BlockType T>
inline constexpr SearchLimits search_limits{};
template <>
inline constexpr SearchLimits search_limits<BlockType::q4_0>{.grid = {0.70f, 0.0125f, 48}};
template <>
inline constexpr SearchLimits search_limits<BlockType::q5_0>{.grid = {0.84f, 0.01f, 24}};
template <>
inline constexpr SearchLimits search_limits<BlockType::iq4_nl>{.grid = {0.70f, 0.0125f, 48}};
template <>
inline constexpr SearchLimits search_limits<BlockType::q4_1>{
    .min_low = -1, .min_high = -1, .grid = {0.90f, 0.02f, 20, 5}};
template <>
inline constexpr SearchLimits search_limits<BlockType::q5_1>{
    .min_low = -1, .min_high = -1, .grid = {0.94f, 0.01f, 16, 5}};
template <>
inline constexpr SearchLimits search_limits<BlockType::q2_k>{
    .scale_low = 0, .scale_high = 15, .min_high = 15, .tops = 6, .min_tops = 6, .grid = {0.80f, 0.1f, 12, 3}};
template <>
inline constexpr SearchLimits search_limits<BlockType::q3_k>{
    .scale_low = -32, .scale_high = 31, .tops = 6, .reach = 2, .grid = {0.70f, 0.025f, 28}};
template <>
inline constexpr SearchLimits search_limits<BlockType::q4_k>{
    .scale_low = 0, .scale_high = 63, .min_high = 63, .tops = 4, .min_tops = 4, .grid = {0.92f, 0.025f, 14, 5}};
template <>
inline constexpr SearchLimits search_limits<BlockType::q5_k>{
    .scale_low = 0, .scale_high = 63, .min_high = 63, .tops = 4, .min_tops = 4, .grid = {0.95f, 0.015f, 14, 5}};
template <>
inline constexpr SearchLimits search_limits<BlockType::q6_k>{
    .scale_low = -128, .scale_high = 127, .tops = 8, .reach = 3, .grid = {0.93f, 0.0075f, 32}};
template <>
inline constexpr SearchLimits search_limits<BlockType::iq4_xs>{
    .scale_low = -32, .scale_high = 31, .tops = 8, .grid = {0.70f, 0.0125f, 48}};

template <BlockType T>
using SearchLevels = std::conditional_t<
    block_layout<T>.levels != LevelTable::none, Iq4Levels,
    IntegerLevels<-block_layout<T>.zero, (1 << block_layout<T>.code_bits) - 1 - block_layout<T>.zero>>;

}  // namespace detail

/// Whether pare has a search for the type: the K-quants and IQ4 always, Q4_0 to Q5_1 with importance weights.
template <BlockType T>
inline constexpr bool searchable = detail::search_limits<T>.grid.steps > 0;

/// Encodes a block of finite values for a small sum of weight * (value - decoded value)^2. `weights` are empty (1 for
/// each), or one for each value, finite and not negative. The same bytes on every machine and compiler.
template <BlockType T>
  requires searchable<T>
constexpr BlockCodes encode_by_search(ConstBlockValues<T> x, std::span<const float> weights = {}) noexcept {
  const detail::SearchBlock<block_info<T>.elements> block(x, weights);
  return detail::JointSearch<detail::SearchLevels<T>, block_layout<T>.sub_block, sub_blocks<T>,
                             detail::search_limits<T>>(block)
      .run();
}

}  // namespace pare::gguf
