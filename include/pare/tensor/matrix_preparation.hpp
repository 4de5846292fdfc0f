#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>

#include "pare/kernels/kernels.hpp"
#include "pare/layouts/layouts.hpp"

namespace pare::detail {

/// Whether codes are E2M1's, of which PreparedE2M1 makes integers: twice the value plus 12.
inline bool is_e2m1(const CodedMatrix& matrix) {
  return matrix.format == code_format<E2M1>() && matrix.shift_kind == ShiftKind::none;
}

/// Which matrices can be prepared.
inline Result<void> check_prepared(const CodedMatrix& matrix) {
  const auto refuse = [](const std::string& why) {
    return Error{ErrorCode::unsupported,
                 "pare: prepare takes integers and e2m1 in groups of a multiple of 16 columns, not " + why +
                     "; dequantize the matrix, and multiply its floats"};
  };
  if (!matrix.format.integer && !is_e2m1(matrix)) return refuse("codes of " + std::string(matrix.format.name));
  if (matrix.block.cols < matrix.shape.cols && matrix.block.cols % (prepared_unit / 2) != 0)
    return refuse("groups of " + std::to_string(matrix.block.cols));
  const std::span<const std::uint32_t> groups = matrix.column_groups();
  for (std::size_t c = 0; c < groups.size(); ++c)
    if (groups[c] != c / matrix.block.cols) return refuse("columns whose groups are out of order (act-order)");
  return {};
}

/// The integer that all codes are counted from, where there is one that leaves signed bytes.
inline std::optional<std::uint8_t> common_zero(const CodedMatrix& matrix) {
  if (is_e2m1(matrix)) return 12;
  if (matrix.shift_kind != ShiftKind::zero_point || matrix.grid.rows == 0 || matrix.grid.cols == 0) return std::nullopt;
  const MatrixView<const float> shifts = matrix.shifts();
  const float first = shifts(0, 0);
  const bool fits = matrix.format.bits == 8 ? first == 128.0f : first >= 0.0f && first <= 127.0f;
  if (!fits || first != static_cast<float>(static_cast<std::uint8_t>(first))) return std::nullopt;
  for (std::size_t r = 0; r < matrix.grid.rows; ++r)
    for (std::size_t c = 0; c < matrix.grid.cols; ++c)
      if (shifts(r, c) != first) return std::nullopt;
  return static_cast<std::uint8_t>(first);
}

/// What holds the scales: 16 bits where no value changes.
inline PreparedScale prepared_scale(const CodedMatrix& matrix) {
  const bool alone = matrix.tensor_scale == 1.0f || matrix.tensor_scale_kind == TensorScale::aside;
  if (alone && matrix.format.integer && matrix.scale_type == ScaleType::float16) return PreparedScale::float16;
  if (alone && matrix.format.integer && matrix.scale_type == ScaleType::bfloat16) return PreparedScale::bfloat16;
  if (alone && matrix.scale_type == ScaleType::float8_e8m0) return PreparedScale::bfloat16;
  return PreparedScale::float32;
}

/// Stores a scale or minimum; an integer is value / unit, or 0 where the unit is 0.
inline void store_parameter(PreparedScale type, float value, float unit, std::uint8_t* p) {
  if (type == PreparedScale::integer8) {
    *p = static_cast<std::uint8_t>(unit == 0.0f ? 0 : static_cast<std::int8_t>(value / unit));
  } else if (type == PreparedScale::float16) {
    const auto half = static_cast<std::uint16_t>(F16::encode<Conversion{}>(value));
    std::memcpy(p, &half, sizeof half);
  } else if (type == PreparedScale::bfloat16) {
    const auto half = static_cast<std::uint16_t>(BF16::encode<Conversion{}>(value));
    std::memcpy(p, &half, sizeof half);
  } else {
    std::memcpy(p, &value, sizeof value);
  }
}

/// value = integer * scale - minimum for one block of a matrix.
struct BlockLine {
  float scale;
  float minimum;
};
inline BlockLine block_line(const CodedMatrix& matrix, std::size_t row, std::size_t group) {
  const float t = matrix.tensor_scale, stored = matrix.scales()(row, group) * (is_e2m1(matrix) ? 0.5f : 1.0f);
  const float shift = matrix.shift_kind == ShiftKind::none ? 0.0f : matrix.shifts()(row, group);
  const bool is_offset = matrix.shift_kind == ShiftKind::offset;
  switch (matrix.tensor_scale_kind) {
    case TensorScale::multiplies_value:
      return {stored * t, is_offset ? -shift * t : shift * stored * t};
    case TensorScale::divides_value:
      return {stored / t, is_offset ? -shift / t : shift * stored / t};
    case TensorScale::multiplies_scale:
      return {stored * t, is_offset ? -shift : shift * (stored * t)};
    case TensorScale::divides_scale:
      return {stored / t, is_offset ? -shift : shift * (stored / t)};
    case TensorScale::aside:
      break;
  }
  return {stored, is_offset ? -shift : shift * stored};
}

}  // namespace pare::detail
