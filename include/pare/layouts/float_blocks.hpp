#pragma once

#include <string_view>
#include <vector>

#include "pare/layouts/tensor_scale.hpp"

namespace pare::detail {

/// What layouts of small floats in blocks of a row differ in: a weight of 4 bits (two in a byte, the even column low)
/// or 8 bits for each element, a scale for each block, and perhaps one for the whole tensor.
struct FloatBlocks {
  std::string_view layout;
  CodeFormat format;
  std::size_t columns = 32;  ///< of a block
  std::string_view weight = "weight";
  std::string_view scale = "weight_scale";
  PartType scale_type = PartType::uint8;  ///< E8M0 as bytes, or float8_e4m3
  std::string_view tensor_scale{};        ///< none without a name
  TensorScale tensor_scale_kind = TensorScale::multiplies_scale;
  std::size_t tensor_scale_rank = 0;
  bool round_reciprocal = false;

  [[nodiscard]] constexpr Packing packing() const noexcept { return {.bits = format.bits}; }
  [[nodiscard]] constexpr PartType weight_type() const noexcept {
    return format.bits == 4 ? PartType::uint8 : PartType::float8_e4m3;
  }

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory) const;
};

inline Result<CodedMatrix> FloatBlocks::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  const auto packed = find_part(parts, weight, weight_type(), 2);
  if (!packed) return packed.error();
  auto scales = find_part(parts, scale, scale_type, 2);
  if (!scales && scale_type == PartType::uint8) scales = find_part(parts, scale, PartType::float8_e8m0, 2);
  if (!scales) return scales.error();
  const auto in = extent(*packed, packed->shape[1], 8 / static_cast<std::size_t>(format.bits));
  if (!in) return in.error();
  if (*in % columns != 0)
    return Error{ErrorCode::invalid_argument, "pare: " + std::string(weight) + " has " + std::to_string(*in) +
                                                  " columns, not blocks of " + std::to_string(columns)};
  const Shape shape{packed->shape[0], *in};
  if (auto fits = expect_shape(*scales, {shape.rows, shape.cols / columns}); !fits) return fits.error();
  auto matrix = CodedMatrix::allocate(shape, format, {1, columns}, ShiftKind::none, memory);
  if (!matrix) return matrix;
  if (auto unpacked = unpack_part(*packed, packing(), matrix->codes()); !unpacked) return unpacked.error();
  read_scales(*scales, *matrix, by_rows(matrix->grid));
  if (tensor_scale.empty()) return matrix;
  const auto one_scale = read_tensor_scale(parts, tensor_scale);
  if (!one_scale) return one_scale.error();
  matrix->tensor_scale = *one_scale;
  matrix->tensor_scale_kind = tensor_scale_kind;
  return matrix;
}

inline Result<std::vector<Part>> FloatBlocks::write(const CodedMatrix& matrix,
                                                    std::pmr::memory_resource* memory) const {
  if (auto good = expect_format(matrix, layout, format); !good) return good.error();
  if (auto good = expect_multiples(layout, matrix.shape, {1, columns}); !good) return good.error();
  const auto grid = ScaleGrid::fit(matrix, layout, {1, columns});
  if (!grid) return grid.error();
  if (auto good = grid->unshifted(); !good) return good.error();
  auto packed = pack_part(weight, weight_type(), packing(), matrix.codes(), memory);
  if (!packed) return packed.error();
  const Shape shape = grid->grid();
  auto scales = write_scales(scale, scale_type, {shape.rows, shape.cols}, *grid, by_rows(shape), memory);
  if (!scales) return scales.error();
  if (tensor_scale.empty()) {
    if (auto good = expect_no_tensor_scale(matrix, layout); !good) return good.error();
    return collect(*std::move(packed), *std::move(scales));
  }
  const auto value = tensor_scale_as(matrix, layout, tensor_scale_kind, round_reciprocal);
  if (!value) return value.error();
  auto one_scale = write_tensor_scale(tensor_scale, *value, tensor_scale_rank, memory);
  if (!one_scale) return one_scale.error();
  return collect(*std::move(packed), *std::move(scales), *std::move(one_scale));
}

}  // namespace pare::detail
