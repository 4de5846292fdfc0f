#pragma once

#include <string_view>
#include <vector>

#include "pare/layouts/column_groups.hpp"
#include "pare/layouts/zero_points.hpp"
#include "pare/schemes/schemes.hpp"

namespace pare::detail {

/// What layouts of one byte for each weight differ in: a weight [out, in] and scales of the tensor, of its rows, of
/// groups in the rows, or of blocks.
struct ScaledBytes {
  std::string_view layout;
  PartType weight_type = PartType::float8_e4m3;  ///< or int8, for two's complement
  std::string_view scale = "weight_scale";
  Shape block{};              ///< of the scales; {0, 0} for what their shape says
  bool scalars = false;       ///< one scale is a scalar, and those of rows are [out]; else [1] and [out, 1]
  bool only_float32 = false;  ///< scales are float32; else of the model's type
  std::string_view zeros{};   ///< int8 zero points beside the scales; none without a name

  static constexpr Packing packing{.bits = 8};

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory) const;

  [[nodiscard]] bool integer() const noexcept { return weight_type == PartType::int8; }
  /// The shape of the scales' part.
  [[nodiscard]] std::vector<std::size_t> scale_shape(Shape grid, Shape weights) const {
    if (block.rows == 0 && grid == Shape{1, 1})
      return scalars ? std::vector<std::size_t>{} : std::vector<std::size_t>{1};
    if (scalars && grid == Shape{weights.rows, 1}) return {grid.rows};
    return {grid.rows, grid.cols};
  }

 private:
  Result<Shape> block_of(const PartView& scales, Shape weights) const;
};

inline Result<PartView> find_scales(std::span<const PartView> parts, std::string_view name) {
  for (const PartView& part : parts)
    if (part.name == name && part.shape.size() <= 2) return find_float_part(parts, name, part.shape.size());
  return find_float_part(parts, name, 2);
}

inline Result<Shape> ScaledBytes::block_of(const PartView& scales, Shape weights) const {
  std::size_t count = 1;
  for (const std::size_t extent : scales.shape) count *= extent;
  const Shape one{weights.rows != 0 ? weights.rows : 1, weights.cols != 0 ? weights.cols : 1};
  if (block.rows != 0 && block.cols != 0) {
    const Shape grid{ceil_div(weights.rows, block.rows), ceil_div(weights.cols, block.cols)};
    if (auto fits = expect_shape(scales, {grid.rows, grid.cols}); !fits) return fits.error();
    return block;
  }
  if (count == 1) return one;
  if (auto fits = scales.shape.size() == 1 ? expect_shape(scales, {weights.rows})
                                           : expect_shape(scales, {weights.rows, scales.shape[1]});
      !fits)
    return Error{fits.error().code, fits.error().message + " (scales of blocks need the block's size)"};
  const auto groups = ColumnGroups::find(weights.cols, scales.shape.size() == 1 ? 1 : scales.shape[1], 0);
  if (!groups) return groups.error();
  return Shape{1, groups->size};
}

inline Result<CodedMatrix> ScaledBytes::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  const auto weight = find_part(parts, "weight", weight_type, 2);
  if (!weight) return weight.error();
  const auto scales = find_scales(parts, scale);
  if (!scales) return scales.error();
  const Shape shape{weight->shape[0], weight->shape[1]};
  const auto block_shape = block_of(*scales, shape);
  if (!block_shape) return block_shape.error();
  auto matrix = CodedMatrix::allocate(shape, integer() ? unsigned_format(8) : code_format<E4M3>(), *block_shape,
                                      integer() ? ShiftKind::zero_point : ShiftKind::none, memory);
  if (!matrix) return matrix;
  if (auto unpacked = unpack_part(*weight, packing, matrix->codes()); !unpacked) return unpacked.error();
  read_scales(*scales, *matrix, by_rows(matrix->grid));
  if (!integer()) return matrix;
  flip_signs(matrix->codes(), 8);
  fill_shifts(*matrix, 128.0f);
  if (zeros.empty() || !has_part(parts, zeros)) return matrix;
  const auto zero_points = find_part(parts, zeros, PartType::int8, scales->shape.size());
  if (!zero_points) return zero_points.error();
  for (std::size_t axis = 0; axis < scales->shape.size(); ++axis)
    if (zero_points->shape[axis] != scales->shape[axis])
      return Error{ErrorCode::invalid_argument, "pare: " + std::string(zeros) + " is not of the shape of the scales"};
  const auto set = [&](std::size_t r, std::size_t g) -> Result<void> {
    const auto stored = static_cast<std::int8_t>(zero_points->bytes[r * matrix->grid.cols + g]);
    matrix->shifts()(r, g) = static_cast<float>(stored + 128);
    return {};
  };
  static_cast<void>(for_each_place(matrix->grid, set));
  return matrix;
}

inline Result<std::vector<Part>> ScaledBytes::write(const CodedMatrix& matrix,
                                                    std::pmr::memory_resource* memory) const {
  if (auto good = expect_no_tensor_scale(matrix, layout); !good) return good.error();
  const Shape have = matrix.block;
  if (block.rows == 0 && matrix.grid.rows > 1 && have.rows > 1)
    return refuse(layout, "scales of blocks, " + std::to_string(have.rows) + " x " + std::to_string(have.cols) +
                              ", without their size in .block");
  const auto groups = group_block(matrix, layout, 0);
  if (block.rows == 0 && !groups) return groups.error();
  const auto grid = ScaleGrid::fit(matrix, layout, block.rows != 0 ? block : have);
  if (!grid) return grid.error();
  const std::vector<std::size_t> shape = scale_shape(grid->grid(), matrix.shape);
  auto scales = write_scales(scale, only_float32 ? ScaleType::float32 : model_type(matrix), shape, *grid,
                             by_rows(grid->grid()), memory);
  if (!scales) return scales.error();
  if (!integer()) {
    if (auto good = expect_format(matrix, layout, code_format<E4M3>()); !good) return good.error();
    if (auto good = grid->unshifted(); !good) return good.error();
    auto weight = pack_part("weight", weight_type, packing, matrix.codes(), memory);
    if (!weight) return weight.error();
    return collect(*std::move(weight), *std::move(scales));
  }
  const bool stored_zeros = !zeros.empty();
  if (stored_zeros)
    if (auto good = expect_integers(matrix, layout, 8); !good) return good.error();
  auto codes = stored_zeros ? copy_codes(matrix, memory) : centred_codes(*grid, 8, memory);
  if (!codes) return codes.error();
  flip_signs(bytes_view(*codes, matrix.shape), 8);
  auto weight = pack_part("weight", weight_type, packing, bytes_view(*codes, matrix.shape), memory);
  if (!weight) return weight.error();
  if (!stored_zeros) return collect(*std::move(weight), *std::move(scales));
  auto stored = zero_point_codes(*grid, 8, 0, 255, 128, memory);
  if (!stored) return stored.error();
  auto zero_points = make_part(zeros, PartType::int8, shape, memory);
  if (!zero_points) return zero_points.error();
  if (stored->size() != 0) std::memcpy(zero_points->bytes().data(), stored->data(), stored->size());
  return collect(*std::move(weight), *std::move(scales), *std::move(zero_points));
}

}  // namespace pare::detail

namespace pare {

/// The scale of E4M3 weights by the rule of ModelOpt, DeepSeek and compressed-tensors: max|x| / 448. What stands for
/// the scale of zeros differs: compressed-tensors takes the machine epsilon of float.
constexpr float float8_scale(const Range& range, float of_zeros = 1.0f) noexcept {
  return range.magnitude() == 0.0f ? of_zeros : range.magnitude() / E4M3::max;
}

/// The E4M3 code of a weight: x / scale, limited to +-448, ties to even. With a scale of 0 the code of 0.
constexpr std::uint8_t float8_code(float x, float scale) noexcept {
  return static_cast<std::uint8_t>(E4M3::encode(scale == 0.0f ? 0.0f : x / scale));
}

}  // namespace pare
