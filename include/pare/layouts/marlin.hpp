#pragma once

#include <string_view>
#include <vector>

#include "pare/layouts/column_groups.hpp"
#include "pare/layouts/zero_points.hpp"

namespace pare {

namespace detail {

/// 16 inputs by 64 outputs (four tiles) in the order in which the threads of a warp hold them: 32 threads, each with
/// eight codes of every tile, the nibbles of a word in the order 0, 2, 4, 6, 1, 3, 5, 7.
inline constexpr auto marlin_order = make_order<1024>([](std::size_t p) {
  const std::size_t thread = p / 32, tile = p / 8 % 4, nibble = p % 8;
  const std::size_t element = nibble < 4 ? 2 * nibble : 2 * nibble - 7;
  const std::size_t input = 2 * (thread % 4) + element / 2 % 2 * 8 + element % 2;
  return input * 64 + tile * 16 + thread / 4 + element / 4 * 8;
});

/// Where Marlin's kernels look for the scale of an output within 64 (of groups), or within 32 (of whole columns).
constexpr std::size_t marlin_scale_place(std::size_t output, bool one_group) noexcept {
  if (!one_group) return output / 64 * 64 + output % 8 * 8 + output % 64 / 8;
  return output / 32 * 32 + output % 8 / 2 * 8 + output % 32 / 8 * 2 + output % 2;
}

}  // namespace detail

/// Marlin's own checkpoint layout (symmetric 4-bit codes, counted from 8): `B` int32 [in / 16, out * 2], tiles of 16
/// inputs by 16 outputs; `s` float16 [groups, out], permuted. in is a multiple of 16, out of 64.
struct Marlin {
  static constexpr std::string_view name = "marlin";
  static constexpr Packing packing{
      .word_bits = 32, .along = Along::outputs, .strip = 16, .order = detail::marlin_order};

  std::size_t group_size = 0;  ///< 0 for what the tensors say

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;

 private:
  static constexpr auto place(Shape grid) noexcept {
    return
        [grid](std::size_t r, std::size_t g) { return g * grid.rows + detail::marlin_scale_place(r, grid.cols == 1); };
  }
};

inline Result<CodedMatrix> Marlin::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  const auto weight = find_part(parts, "B", PartType::int32, 2);
  if (!weight) return weight.error();
  const auto scales = find_float_part(parts, "s", 2);
  if (!scales) return scales.error();
  const auto in = extent(*weight, weight->shape[0], 16);
  if (!in) return in.error();
  const std::size_t out = weight->shape[1] / 2, groups = scales->shape[0];
  if (out % 64 != 0) return detail::refuse(name, std::to_string(out) + " outputs, only multiples of 64");
  if (auto fits = expect_shape(*scales, {groups, out}); !fits) return fits.error();
  const auto columns = ColumnGroups::find(*in, groups, group_size);
  if (!columns) return columns.error();
  auto matrix =
      CodedMatrix::allocate({out, *in}, unsigned_format(4), {1, columns->size}, ShiftKind::zero_point, memory);
  if (!matrix) return matrix;
  fill_shifts(*matrix, 8.0f);
  if (auto unpacked = unpack_part(*weight, packing, matrix->codes()); !unpacked) return unpacked.error();
  read_scales(*scales, *matrix, place(matrix->grid));
  return matrix;
}

inline Result<std::vector<Part>> Marlin::write(const CodedMatrix& matrix, std::pmr::memory_resource* memory) const {
  if (auto good = expect_no_tensor_scale(matrix, name); !good) return good.error();
  if (auto good = expect_multiples(name, matrix.shape, {64, 16}); !good) return good.error();
  const auto block = group_block(matrix, name, group_size);
  if (!block) return block.error();
  const auto grid = ScaleGrid::fit(matrix, name, *block);
  if (!grid) return grid.error();
  auto codes = centred_codes(*grid, 4, memory);
  if (!codes) return codes.error();
  auto weight = pack_part("B", PartType::int32, packing, bytes_view(*codes, matrix.shape), memory);
  if (!weight) return weight.error();
  auto scales =
      write_scales("s", half_type(matrix), {grid->grid().cols, grid->grid().rows}, *grid, place(grid->grid()), memory);
  if (!scales) return scales.error();
  return collect(*std::move(weight), *std::move(scales));
}

}  // namespace pare
