#pragma once

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "pare/layouts/gguf/quantize.hpp"
#include "pare/layouts/zero_points.hpp"

namespace pare::gguf {

/// GGUF's blocks as a layout: one part `weight`, uint8 [out, bytes of a row]. Scales of types with two levels are their
/// products, which float holds exactly; to write them, a d and integers that give exactly these products have to exist.
struct Blocks {
  BlockType type = BlockType::q4_0;

  // Templates, so that only a caller compiles the code of every type.
  /// Errors: rows of no whole blocks; scales of Q8_0 and its like are any float16, but an E8M0 NaN is refused.
  template <class = void>
  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  template <class = void>
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;
};

namespace detail {

/// The format of a type's codes as a CodedMatrix has them. Q1_0's two are counted from 1/2.
template <BlockType T>
constexpr CodeFormat matrix_format() noexcept {
  constexpr LevelTable levels = block_layout<T>.levels;
  if constexpr (levels == LevelTable::iq4)
    return code_format<IQ4NL>();
  else if constexpr (levels == LevelTable::doubled_e2m1)
    return code_format<E2M1>();
  else
    return unsigned_format(block_layout<T>.code_bits);
}

template <BlockType T>
constexpr ShiftKind matrix_shift() noexcept {
  if constexpr (block_layout<T>.has_min) return ShiftKind::offset;
  if constexpr (T == BlockType::q1_0) return ShiftKind::real_zero;
  return block_layout<T>.levels == LevelTable::none ? ShiftKind::zero_point : ShiftKind::none;
}

/// What a code's level times this scale is worth: levels of E2M1 are doubled, those of Q1_0 are one apart.
template <BlockType T>
inline constexpr float matrix_scale_factor =
    block_layout<T>.levels == LevelTable::doubled_e2m1 || T == BlockType::q1_0 ? 2.0f : 1.0f;

template <BlockType T>
constexpr ScaleType matrix_scale_type() noexcept {
  if constexpr (block_layout<T>.block_scale == BlockScale::e8m0_half) return ScaleType::float8_e8m0;
  if constexpr (block_layout<T>.block_scale == BlockScale::none) return ScaleType::float8_e4m3;
  if constexpr (block_layout<T>.scale_field != ScaleField::none || T == BlockType::q1_0) return ScaleType::float32;
  return ScaleType::float16;
}

/// The integers that a scale field can hold.
struct IntegerRange {
  int lowest = 0;
  int highest = 0;
};
constexpr IntegerRange integer_range(ScaleField field) noexcept {
  switch (field) {
    case ScaleField::nibbles:
      return {0, 15};
    case ScaleField::pairs6:
      return {0, 63};
    case ScaleField::signed6:
    case ScaleField::split6:
      return {-32, 31};
    case ScaleField::signed8:
      return {-128, 127};
    default:
      return {1, 1};
  }
}

/// The half d and the integers of which d * integer are exactly these values, or nothing.
inline std::optional<Half> factor(std::span<const float> values, IntegerRange range, std::span<std::int16_t> integers) {
  const auto size = [](float x) { return x < 0.0f ? -x : x; };
  float largest = 0.0f;
  for (const float value : values)
    if (size(value) > size(largest)) largest = value;
  for (int divisor = range.highest; divisor >= range.lowest; --divisor) {
    if (divisor == 0) continue;
    const Half d(largest / static_cast<float>(divisor));
    const auto unit = static_cast<float>(d);
    bool exact = true;
    for (std::size_t j = 0; exact && j < values.size(); ++j) {
      const std::int32_t integer = unit == 0.0f ? 0 : round_to_int(values[j] / unit);
      exact = integer >= range.lowest && integer <= range.highest && unit * static_cast<float>(integer) == values[j];
      integers[j] = static_cast<std::int16_t>(exact ? integer : 0);
    }
    if (exact) return d;
  }
  return std::nullopt;
}

template <BlockType T>
Result<void> read_matrix(std::span<const std::uint8_t> bytes, CodedMatrix& matrix) {
  constexpr BlockInfo info = block_info<T>;
  constexpr const BlockLayout& layout = block_layout<T>;
  const std::size_t per_row = matrix.shape.cols / info.elements;
  matrix.scale_type = matrix_scale_type<T>();
  const Rounded rounded;
  return for_each_place({matrix.shape.rows, per_row}, [&](std::size_t r, std::size_t b) -> Result<void> {
    const BlockCodes block = unpack_block<T>(ConstBlockBytes<T>(&bytes[(r * per_row + b) * info.bytes], info.bytes));
    if (layout.block_scale == BlockScale::e8m0_half && block.d == 0xff)
      return Error{ErrorCode::unsupported, "pare: the scale of row " + std::to_string(r) + ", block " +
                                               std::to_string(b) + " is E8M0's NaN, which ggml takes for 2^128"};
    std::copy_n(block.codes.begin(), info.elements, &matrix.codes()(r, b * info.elements));
    for (std::size_t j = 0; j < sub_blocks<T>; ++j) {
      const std::size_t g = b * sub_blocks<T> + j;
      if constexpr (layout.block_scale == BlockScale::e8m0_half)
        matrix.scales()(r, g) = E8M0::decode(block.d);
      else
        matrix.scales()(r, g) = sub_block_scale<T>(block, j) * matrix_scale_factor<T>;
      if constexpr (layout.has_min)
        matrix.shifts()(r, g) = -rounded(F16::decode(block.dmin) * static_cast<float>(block.mins[j]));
      else if constexpr (matrix_shift<T>() != ShiftKind::none)
        matrix.shifts()(r, g) = T == BlockType::q1_0 ? 0.5f : static_cast<float>(layout.zero);
    }
    return {};
  });
}

/// Fills in d, dmin and the integers of one block.
template <BlockType T>
Result<void> set_scales(const ScaleGrid& grid, std::size_t r, std::size_t b, BlockCodes& block) {
  constexpr const BlockLayout& layout = block_layout<T>;
  constexpr std::size_t count = sub_blocks<T>;
  const std::size_t first = b * count;
  std::array<float, count> scales{}, minimums{};
  for (std::size_t j = 0; j < count; ++j) {
    scales[j] = grid.scale(r, first + j) / matrix_scale_factor<T>;
    if constexpr (layout.has_min) {
      const auto offset = grid.offset_code(r, first + j, ScaleType::float32, false);
      if (!offset) return offset.error();
      minimums[j] = -F32::decode(*offset);
    }
  }
  if constexpr (layout.block_scale == BlockScale::e8m0_half) {
    const auto code = grid.scale_code(r, first, ScaleType::float8_e8m0);
    if (!code) return code.error();
    if (*code == 0xff) return grid.refusal("scale", r, first, "ggml has no NaN in E8M0");
    block.d = static_cast<std::uint16_t>(*code);
  } else if constexpr (layout.block_scale == BlockScale::none) {
    for (std::size_t j = 0; j < count; ++j) {
      const auto code = grid.scale_code(r, first + j, ScaleType::float8_e4m3);
      if (!code) return code.error();
      if (*code >= 0x7f) return grid.refusal("scale", r, first + j, "it is negative or NaN");
      block.scales[j] = static_cast<std::int16_t>(*code);
    }
  } else if constexpr (layout.scale_field == ScaleField::none) {
    const auto d = encode_scale(ScaleType::float16, scales[0]);
    if (!d) return grid.refusal("scale", r, first, text(scales[0]) + " is no float16");
    block.d = static_cast<std::uint16_t>(*d);
  } else {
    const auto d = factor(scales, integer_range(layout.scale_field), block.scales);
    if (!d) return grid.refusal("scales", r, first, "they are no multiples, as the block holds them, of one float16");
    block.d = d->bits;
  }
  if constexpr (layout.has_min && layout.scale_field == ScaleField::none) {
    const auto m = encode_scale(ScaleType::float16, -minimums[0]);
    if (!m) return grid.refusal("offset", r, first, text(-minimums[0]) + " is no float16");
    block.dmin = static_cast<std::uint16_t>(*m);
  } else if constexpr (layout.has_min) {
    const auto dmin = factor(minimums, integer_range(layout.scale_field), block.mins);
    if (!dmin)
      return grid.refusal("offsets", r, first, "they are no multiples, as the block holds them, of one float16");
    block.dmin = dmin->bits;
  }
  return {};
}

template <BlockType T>
Result<void> write_matrix(const ScaleGrid& grid, MatrixView<const std::uint8_t> codes, std::span<std::uint8_t> bytes) {
  constexpr BlockInfo info = block_info<T>;
  const std::size_t per_row = codes.cols / info.elements;
  return for_each_place({codes.rows, per_row}, [&](std::size_t r, std::size_t b) -> Result<void> {
    BlockCodes block;
    std::copy_n(&codes(r, b * info.elements), info.elements, block.codes.begin());
    if constexpr (T == BlockType::tq1_0)
      for (std::size_t i = 0; i < info.elements; ++i)
        if (block.codes[i] > 2)
          return grid.refusal("code", r, b, std::to_string(block.codes[i]) + " is no ternary one");
    if (auto done = set_scales<T>(grid, r, b, block); !done) return done;
    pack_block<T>(block, BlockBytes<T>(&bytes[(r * per_row + b) * info.bytes], info.bytes));
    return {};
  });
}

/// The codes as the type counts them.
template <BlockType T>
Result<Buffer> block_codes(const ScaleGrid& grid, std::pmr::memory_resource* memory) {
  constexpr const BlockLayout& layout = block_layout<T>;
  const CodedMatrix& matrix = grid.matrix();
  constexpr CodeFormat format = matrix_format<T>();
  if constexpr (layout.levels == LevelTable::iq4 || layout.levels == LevelTable::doubled_e2m1) {
    if (auto good = expect_format(matrix, grid.layout(), format); !good) return good.error();
    if (auto good = grid.unshifted(); !good) return good.error();
  } else if constexpr (T == BlockType::q1_0) {
    if (auto good = expect_integers(matrix, grid.layout(), 1); !good) return good.error();
    if (matrix.shift_kind != ShiftKind::real_zero) return pare::detail::refuse(grid.layout(), "codes that are not +-d");
    const auto half = [&](std::size_t r, std::size_t g) -> Result<void> {
      const auto shift = grid.shift_code(r, g, ScaleType::float32);
      if (!shift || F32::decode(*shift) != 0.5f) return grid.refusal("zero point", r, g, "it is not 1/2");
      return {};
    };
    if (auto good = for_each_place(grid.grid(), half); !good) return good.error();
  } else if constexpr (layout.has_min) {
    if (auto good = expect_integers(matrix, grid.layout(), layout.code_bits); !good) return good.error();
  } else {
    return recentred_codes(grid, layout.code_bits, layout.zero, memory);
  }
  return copy_codes(matrix, memory);
}

}  // namespace detail

template <class>
Result<CodedMatrix> Blocks::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  const auto weight = find_part(parts, "weight", PartType::uint8, 2);
  if (!weight) return weight.error();
  const BlockInfo* info = find_block_type(static_cast<std::uint32_t>(type));
  if (info == nullptr) return Error{ErrorCode::unsupported, "pare: unknown block type"};
  const auto cols = extent(*weight, weight->shape[1] / info->bytes, info->elements);
  if (!cols) return cols.error();
  const Shape shape{weight->shape[0], *cols};
  if (auto fits = detail::check_blocks(type, shape, weight->bytes.size()); !fits) return fits.error();
  Result<CodedMatrix> result = Error{ErrorCode::unsupported, "pare: unknown block type"};
  detail::with_block_type(type, [&]<BlockType T>() {
    result = CodedMatrix::allocate(shape, detail::matrix_format<T>(), {1, block_layout<T>.sub_block},
                                   detail::matrix_shift<T>(), memory);
    if (!result) return;
    if (auto done = detail::read_matrix<T>(weight->bytes, *result); !done) result = done.error();
  });
  return result;
}

template <class>
Result<std::vector<Part>> Blocks::write(const CodedMatrix& matrix, std::pmr::memory_resource* memory) const {
  const auto bytes = packed_size(type, matrix.shape);
  if (!bytes) return bytes.error();
  Result<std::vector<Part>> result = Error{ErrorCode::unsupported, "pare: unknown block type"};
  detail::with_block_type(type, [&]<BlockType T>() {
    result = [&]() -> Result<std::vector<Part>> {
      constexpr BlockInfo info = block_info<T>;
      const std::string_view layout = info.name;
      if (auto good = expect_no_tensor_scale(matrix, layout); !good) return good.error();
      const auto grid = ScaleGrid::fit(matrix, layout, {1, block_layout<T>.sub_block});
      if (!grid) return grid.error();
      auto codes = detail::block_codes<T>(*grid, memory);
      if (!codes) return codes.error();
      auto part = make_part("weight", PartType::uint8,
                            {matrix.shape.rows, matrix.shape.cols / info.elements * info.bytes}, memory);
      if (!part) return part.error();
      const MatrixView<const std::uint8_t> view = bytes_view(*codes, matrix.shape);
      if (auto done = detail::write_matrix<T>(*grid, view, part->bytes()); !done) return done.error();
      return collect(*std::move(part));
    }();
  });
  return result;
}

}  // namespace pare::gguf
