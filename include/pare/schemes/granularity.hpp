#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "pare/core/core.hpp"

namespace pare {

namespace detail {
/// "As far as the tensor goes", as the extent of a block.
inline constexpr std::size_t whole = std::numeric_limits<std::size_t>::max();
}  // namespace detail

/// The rectangle of a matrix that shares one scale. Blocks start at (0, 0); the last ones of each axis may be ragged.
template <std::size_t BlockRows, std::size_t BlockCols>
struct Blocks {
  static_assert(BlockRows > 0 && BlockCols > 0, "pare: a granularity's block has at least one row and one column");

  static constexpr std::size_t block_rows = BlockRows;
  static constexpr std::size_t block_cols = BlockCols;

  /// How many scales a matrix of this shape has, as rows and columns of blocks.
  static constexpr Shape grid(Shape shape) noexcept {
    return {ceil_div(shape.rows, BlockRows), ceil_div(shape.cols, BlockCols)};
  }
};

/// One scale for the whole tensor.
struct PerTensor : Blocks<detail::whole, detail::whole> {};
/// One scale for each row, that is for each output channel.
struct PerChannel : Blocks<1, detail::whole> {};
/// One scale for each N consecutive columns of a row.
template <std::size_t N>
struct PerGroup : Blocks<1, N> {};
/// One scale for each R x C tile.
template <std::size_t R, std::size_t C>
struct PerBlock : Blocks<R, C> {};

/// Models: PerTensor, PerChannel, PerGroup<128>, PerBlock<128, 128>.
template <class G>
concept Granularity = requires(Shape shape) {
  { G::block_rows } -> std::convertible_to<std::size_t>;
  { G::block_cols } -> std::convertible_to<std::size_t>;
  { G::grid(shape) } -> std::same_as<Shape>;
};

}  // namespace pare
