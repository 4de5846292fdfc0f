#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "pare/core/core.hpp"
#include "pare/formats/formats.hpp"

namespace pare {

/// A format known at run time: the value of each code. Integer codes are counted from zero, whatever the storage
/// convention of the layout they come from; a symmetric layout's middle code is then the zero point.
struct CodeFormat {
  std::string_view name;          ///< "uint4", "e2m1", "nf4", ...
  int bits = 0;                   ///< of one code, at most 8
  bool integer = false;           ///< value == code
  std::span<const float> values;  ///< 2^bits of them

  friend constexpr bool operator==(const CodeFormat& a, const CodeFormat& b) noexcept { return a.name == b.name; }
};

namespace detail {
template <Format F>
inline constexpr auto format_values = [] {
  std::array<float, std::size_t{1} << F::bits> values{};
  for (std::size_t code = 0; code < values.size(); ++code) values[code] = F::decode(static_cast<std::uint32_t>(code));
  return values;
}();
}  // namespace detail

/// The run-time description of a format.
template <Format F>
  requires(F::bits <= 8)
constexpr CodeFormat code_format() noexcept {
  return {F::name(), F::bits, UnsignedFormat<F>, detail::format_values<F>};
}

/// Integers of 1 to 8 bits that count from zero, chosen at run time; the same description as code_format<UInt<bits>>().
/// Of other bits a format without values, which no matrix takes.
constexpr CodeFormat unsigned_format(int bits) noexcept {
  if (bits < 1 || bits > 8) return {};
  constexpr std::string_view names = "uint1uint2uint3uint4uint5uint6uint7uint8";
  const auto width = static_cast<std::size_t>(bits);
  return {names.substr((width - 1) * 5, 5), bits, true, std::span(detail::byte_values).first(std::size_t{1} << width)};
}

/// How stored scales are rounded; every value of a CodedMatrix's scales is one of this format.
enum class ScaleType { float32, float16, bfloat16, float8_e4m3, float8_e8m0 };

/// What shifts the values of a block.
enum class ShiftKind {
  none,        ///< value * scale
  zero_point,  ///< (value - shift) * scale, the shift an integer from 0 to 2^bits
  real_zero,   ///< (value - shift) * scale, the shift any float (HQQ)
  offset,      ///< value * scale + shift (GGUF's minimums, AWQ's and QServe's scaled zero points)
};

/// What the scale t of the whole tensor does to a value v of a block with the scale s.
enum class TensorScale {
  multiplies_value,  ///< (v * s) * t: GGUF's scale tensors
  divides_value,     ///< (v * s) / t: bitsandbytes' 127 of int8
  multiplies_scale,  ///< v * (s * t): ModelOpt and TensorRT-LLM
  divides_scale,     ///< v * (s / t): compressed-tensors
  aside,             ///< nothing: a runtime needs it elsewhere (W4A8's range of FP8)
};

/// A quantized matrix [out, in] with nothing packed: what every layout of single codes can be read into and written
/// from without rounding. Element (r, c) belongs to the block in row r / block.rows and column group_of(c), and means
/// what ShiftKind and TensorScale say.
struct CodedMatrix {
  Shape shape;
  CodeFormat format;
  Shape block{1, 1};  ///< rows and columns that share a scale; the last of each axis may be ragged
  Shape grid;         ///< scales as rows and columns
  ScaleType scale_type = ScaleType::float32;
  ShiftKind shift_kind = ShiftKind::none;
  TensorScale tensor_scale_kind = TensorScale::multiplies_value;
  float tensor_scale = 1.0f;
  Buffer codes_memory;
  Buffer scales_memory;
  Buffer shifts_memory;        ///< nothing under ShiftKind::none
  Buffer column_group_memory;  ///< nothing where the group of column c is c / block.cols

  /// Room for a matrix whose blocks tile it from (0, 0); all of it uninitialized.
  static Result<CodedMatrix> allocate(Shape shape, CodeFormat format, Shape block, ShiftKind shift,
                                      std::pmr::memory_resource* memory = nullptr);
  /// The same with so many groups of columns, of which each row has a scale: column_groups() is to be filled in.
  static Result<CodedMatrix> allocate_groups(Shape shape, CodeFormat format, std::size_t groups, ShiftKind shift,
                                             std::pmr::memory_resource* memory = nullptr);
  /// Gives every column a group of its own choice (act-order).
  Result<void> allocate_column_groups(std::pmr::memory_resource* memory = nullptr);

  [[nodiscard]] MatrixView<std::uint8_t> codes() noexcept {
    return {reinterpret_cast<std::uint8_t*>(codes_memory.data()), shape.rows, shape.cols};
  }
  [[nodiscard]] MatrixView<const std::uint8_t> codes() const noexcept {
    return {reinterpret_cast<const std::uint8_t*>(codes_memory.data()), shape.rows, shape.cols};
  }
  [[nodiscard]] MatrixView<float> scales() noexcept {
    return {reinterpret_cast<float*>(scales_memory.data()), grid.rows, grid.cols};
  }
  [[nodiscard]] MatrixView<const float> scales() const noexcept {
    return {reinterpret_cast<const float*>(scales_memory.data()), grid.rows, grid.cols};
  }
  [[nodiscard]] MatrixView<float> shifts() noexcept {
    return {reinterpret_cast<float*>(shifts_memory.data()), grid.rows, grid.cols};
  }
  [[nodiscard]] MatrixView<const float> shifts() const noexcept {
    return {reinterpret_cast<const float*>(shifts_memory.data()), grid.rows, grid.cols};
  }
  /// The group of each column, or nothing.
  [[nodiscard]] std::span<std::uint32_t> column_groups() noexcept {
    return {reinterpret_cast<std::uint32_t*>(column_group_memory.data()), column_group_memory.size() / 4};
  }
  [[nodiscard]] std::span<const std::uint32_t> column_groups() const noexcept {
    return {reinterpret_cast<const std::uint32_t*>(column_group_memory.data()), column_group_memory.size() / 4};
  }
  [[nodiscard]] std::size_t group_of(std::size_t column) const noexcept {
    return column_group_memory.size() == 0 ? column / block.cols : column_groups()[column];
  }

  /// The value of one element, in float with one rounding for each operation of the two formulas.
  [[nodiscard]] float value(std::size_t row, std::size_t column) const noexcept;

 private:
  static Result<CodedMatrix> allocate(Shape shape, CodeFormat format, Shape block, Shape grid, ShiftKind shift,
                                      std::pmr::memory_resource* memory);
};

inline Result<CodedMatrix> CodedMatrix::allocate(Shape shape, CodeFormat format, Shape block, ShiftKind shift,
                                                 std::pmr::memory_resource* memory) {
  if (block.rows == 0 || block.cols == 0)
    return Error{ErrorCode::invalid_argument, "pare: a block of scales has at least one row and one column"};
  return allocate(shape, format, block, {ceil_div(shape.rows, block.rows), ceil_div(shape.cols, block.cols)}, shift,
                  memory);
}

inline Result<CodedMatrix> CodedMatrix::allocate_groups(Shape shape, CodeFormat format, std::size_t groups,
                                                        ShiftKind shift, std::pmr::memory_resource* memory) {
  const std::size_t columns = groups == 0 ? shape.cols : ceil_div(shape.cols, groups);
  auto matrix = allocate(shape, format, {1, columns == 0 ? 1 : columns}, {shape.rows, groups}, shift, memory);
  if (!matrix) return matrix;
  if (auto room = matrix->allocate_column_groups(memory); !room) return room.error();
  return matrix;
}

inline Result<CodedMatrix> CodedMatrix::allocate(Shape shape, CodeFormat format, Shape block, Shape grid,
                                                 ShiftKind shift, std::pmr::memory_resource* memory) {
  if (format.bits < 1 || format.bits > 8 || format.values.size() != std::size_t{1} << format.bits)
    return Error{ErrorCode::invalid_argument, "pare: codes have 1 to 8 bits, and a format a value for each"};
  CodedMatrix matrix;
  matrix.shape = shape;
  matrix.format = format;
  matrix.block = block;
  matrix.grid = grid;
  matrix.shift_kind = shift;
  std::size_t codes = 0, blocks = 0, bytes = 0;
  if (!checked_multiply(shape.rows, shape.cols, codes) ||
      !checked_multiply(matrix.grid.rows, matrix.grid.cols, blocks) || !checked_multiply(blocks, sizeof(float), bytes))
    return Error{ErrorCode::invalid_argument, "pare: the shape is larger than memory can be"};
  auto code_memory = Buffer::allocate(codes, memory);
  if (!code_memory) return code_memory.error();
  auto scale_memory = Buffer::allocate(bytes, memory);
  if (!scale_memory) return scale_memory.error();
  auto shift_memory = Buffer::allocate(shift == ShiftKind::none ? 0 : bytes, memory);
  if (!shift_memory) return shift_memory.error();
  matrix.codes_memory = *std::move(code_memory);
  matrix.scales_memory = *std::move(scale_memory);
  matrix.shifts_memory = *std::move(shift_memory);
  return matrix;
}

inline Result<void> CodedMatrix::allocate_column_groups(std::pmr::memory_resource* memory) {
  std::size_t bytes = 0;
  if (!checked_multiply(shape.cols, sizeof(std::uint32_t), bytes))
    return Error{ErrorCode::invalid_argument, "pare: the shape is larger than memory can be"};
  auto groups = Buffer::allocate(bytes, memory);
  if (!groups) return groups.error();
  column_group_memory = *std::move(groups);
  return {};
}

inline float CodedMatrix::value(std::size_t row, std::size_t column) const noexcept {
  const float code = format.values[codes()(row, column)];
  const std::size_t r = row / block.rows, c = group_of(column);
  float scale = scales()(r, c);
  if (tensor_scale_kind == TensorScale::multiplies_scale) scale *= tensor_scale;
  if (tensor_scale_kind == TensorScale::divides_scale) scale /= tensor_scale;
  float result = 0.0f;
  if (shift_kind == ShiftKind::offset) {
    // A volatile product cannot be fused into the sum: the same bits on every machine.
    const volatile float product = code * scale;
    result = product + shifts()(r, c);
  } else {
    result = (shift_kind == ShiftKind::none ? code : code - shifts()(r, c)) * scale;
  }
  if (tensor_scale_kind == TensorScale::multiplies_value) result *= tensor_scale;
  if (tensor_scale_kind == TensorScale::divides_value) result /= tensor_scale;
  return result;
}

}  // namespace pare
