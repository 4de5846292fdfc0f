#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pare/calibration/calibration.hpp"
#include "pare/layouts/layouts.hpp"

namespace pare {

/// The scale and the shift of one block; what they do to the value of a code, the grid's ShiftKind says.
struct BlockGrid {
  float scale = 1.0f;
  float shift = 0.0f;
};

/// The values that codes can stand for within a block of weights, and the rule by which a block chooses its scale and
/// shift: what every algorithm of this layer is composed with. `fit` is called with the finite weights of one block.
/// Models: MinMaxGrid, SchemeGrid<S>, ...
template <class G>
concept Grid =
    requires(const G& grid, std::span<const float> block, const BlockGrid& fitted, float x, std::uint8_t code) {
      { grid.format() } -> std::same_as<CodeFormat>;
      { grid.shift_kind() } -> std::same_as<ShiftKind>;
      { grid.scale_type() } -> std::same_as<ScaleType>;
      { grid.fit(block) } -> std::same_as<BlockGrid>;
      { grid.encode(x, fitted) } -> std::same_as<std::uint8_t>;
      { grid.decode(code, fitted) } -> std::same_as<float>;
    };

/// A grid whose fit can weigh errors: one importance, not negative, for each weight of the block.
template <class G>
concept WeightedGrid = Grid<G> && requires(const G& grid, std::span<const float> block) {
  { grid.fit(block, block) } -> std::same_as<BlockGrid>;
};

/// A grid that fixes the blocks it is for, as a Scheme does. Algorithms reject another block.
template <class G>
concept BlockedGrid = Grid<G> && requires(const G& grid, Shape shape) {
  { grid.block(shape) } -> std::same_as<Shape>;
};

/// The rows and columns that share a scale: `group` consecutive columns of one row, or all of them when it is 0; what
/// the grid itself says where it says something.
template <Grid G>
Shape block_shape(const G& grid, Shape weights, std::size_t group) {
  if constexpr (BlockedGrid<G>) {
    return grid.block(weights);
  } else {
    const std::size_t cols = group == 0 || group > weights.cols ? weights.cols : group;
    return {1, cols == 0 ? 1 : cols};
  }
}

namespace detail {

/// The result of an algorithm before its codes are known. Errors: out_of_memory, a format of no codes.
template <Grid G>
Result<CodedMatrix> allocate_coded(const G& grid, Shape weights, Shape block, std::pmr::memory_resource* memory) {
  auto matrix = CodedMatrix::allocate(weights, grid.format(), block, grid.shift_kind(), memory);
  if (matrix) matrix->scale_type = grid.scale_type();
  return matrix;
}

inline BlockGrid block_grid(const CodedMatrix& matrix, std::size_t block_row, std::size_t group) {
  return {matrix.scales()(block_row, group),
          matrix.shift_kind == ShiftKind::none ? 0.0f : matrix.shifts()(block_row, group)};
}

inline void set_block_grid(CodedMatrix& matrix, std::size_t block_row, std::size_t group, const BlockGrid& fitted) {
  matrix.scales()(block_row, group) = fitted.scale;
  if (matrix.shift_kind != ShiftKind::none) matrix.shifts()(block_row, group) = fitted.shift;
}

/// Fits the block in a block row and a group of columns [begin, end) of `weights`. `scratch` holds as many values.
template <Grid G>
void fit_block(const G& grid, MatrixView<const float> weights, std::size_t block_row, std::size_t group,
               std::size_t begin, std::size_t end, std::span<float> scratch, CodedMatrix& matrix) {
  const std::size_t first = block_row * matrix.block.rows;
  const std::size_t last = std::min(weights.rows, first + std::min(matrix.block.rows, weights.rows));
  std::size_t count = 0;
  for (std::size_t r = first; r < last; ++r)
    for (std::size_t c = begin; c < end; ++c) scratch[count++] = weights(r, c);
  set_block_grid(matrix, block_row, group, grid.fit(std::span<const float>(scratch.first(count))));
}

}  // namespace detail
}  // namespace pare
