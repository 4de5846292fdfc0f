#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "pare/layouts/column_groups.hpp"
#include "pare/layouts/zero_points.hpp"
#include "pare/schemes/schemes.hpp"

namespace pare {

namespace detail {

/// Which of eight neighbouring codes each nibble of a word holds.
inline constexpr auto awq_order = make_order<8>([](std::size_t p) { return p < 4 ? 2 * p : 2 * p - 7; });

/// A strip of 4 outputs by 64 inputs, as the kernels of llm-awq's second layout load it.
inline constexpr auto awq_fast_order = [] {
  std::array<std::uint16_t, 256> order{};
  for (std::size_t n = 0; n < 4; ++n)
    for (std::size_t k = 0; k < 64; ++k) {
      const std::size_t t = k % 32, first = t / 2 % 4 * 8 + t / 8 * 2 + t % 2;
      const std::size_t place = k / 32 * 32 + first / 8 * 8 + first % 2 * 4 + first % 8 / 2;
      order[n * 64 + place] = static_cast<std::uint16_t>(n * 64 + k);
    }
  return order;
}();

/// The room for the groups' scales of GEMV layouts, which their kernels read 8, 16 or 32 at a time; 0 for group sizes
/// that they do not know.
constexpr std::size_t awq_scale_room(std::size_t groups, std::size_t group_size) noexcept {
  const std::size_t unit = group_size >= 128 ? 8 : group_size == 64 ? 16 : group_size == 32 ? 32 : 0;
  return unit == 0 ? 0 : ceil_div(groups, unit) * unit;
}

inline Result<std::size_t> awq_groups(std::size_t columns, std::size_t group_size) {
  if (awq_scale_room(1, group_size) != 0 && columns % group_size == 0) return columns / group_size;
  return Error{ErrorCode::invalid_argument, "pare: " + std::to_string(columns) + " inputs are no groups of " +
                                                std::to_string(group_size) + ", which must be 32, 64 or 128 and more"};
}

}  // namespace detail

/// AWQ's GEMM layout, the default of AutoAWQ and what vLLM and transformers load: `qweight` int32 [in, out / 8] and
/// `qzeros` int32 [groups, out / 8], the nibbles of a word holding the outputs 0, 2, 4, 6, 1, 3, 5, 7 of eight;
/// `scales` float16 [groups, out]. The value is (code - zero point) * scale.
struct AwqGemm {
  static constexpr std::string_view name = "awq-gemm";
  static constexpr Packing packing{.word_bits = 32, .along = Along::outputs, .order = detail::awq_order};

  std::size_t group_size = 0;  ///< 0 for what the tensors say

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;
};

/// AWQ's GEMV layout: `qweight` int32 [out, in / 8] in natural order; `qzeros` int32 [out, w] and `scales` float16
/// [out, 8 w], where 8 w is the number of groups rounded up to 8 (16 for groups of 64, 32 for groups of 32), filled up
/// with zeros.
struct AwqGemv {
  static constexpr std::string_view name = "awq-gemv";
  static constexpr Packing packing{.word_bits = 32};

  std::size_t group_size = 128;  ///< 32, 64, or 128 and more; the tensors do not tell

  /// How the zero points of each output follow one another.
  [[nodiscard]] constexpr Packing zero_packing() const noexcept {
    return {.word_bits = 32, .multiple = detail::awq_scale_room(1, group_size)};
  }

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;
};

/// AutoAWQ's GEMV_FAST and llm-awq's second layout: `qweight` int16 [out / 4, in], strips of 4 outputs by 64 inputs;
/// `scales` and `qzeros` float16 [8 w, out] (w as in AwqGemv), the latter -(scale * zero point). The value is
/// code * scale + qzeros.
struct AwqGemvFast {
  static constexpr std::string_view name = "awq-gemv-fast";
  static constexpr Packing packing{.word_bits = 16, .strip = 4, .order = detail::awq_fast_order};

  std::size_t group_size = 128;         ///< 32, 64, or 128 and more; the tensors do not tell
  std::string_view offsets = "qzeros";  ///< llm-awq: "scaled_zeros"
  bool round_offsets = false;           ///< round scale * zero point to float16 as AutoAWQ does; else only exact ones

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;
};

inline Result<CodedMatrix> AwqGemm::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  const auto weight = find_part(parts, "qweight", PartType::int32, 2);
  if (!weight) return weight.error();
  const auto zeros = find_part(parts, "qzeros", PartType::int32, 2);
  if (!zeros) return zeros.error();
  const auto scales = find_float_part(parts, "scales", 2);
  if (!scales) return scales.error();
  const auto out = extent(*weight, weight->shape[1], 8);
  if (!out) return out.error();
  const std::size_t in = weight->shape[0], groups = scales->shape[0];
  if (auto fits = expect_shape(*scales, {groups, *out}); !fits) return fits.error();
  const auto columns = ColumnGroups::find(in, groups, group_size);
  if (!columns) return columns.error();
  auto matrix =
      CodedMatrix::allocate({*out, in}, unsigned_format(4), {1, columns->size}, ShiftKind::zero_point, memory);
  if (!matrix) return matrix;
  if (auto unpacked = unpack_part(*weight, packing, matrix->codes()); !unpacked) return unpacked.error();
  read_scales(*scales, *matrix, by_columns(matrix->grid));
  if (auto read = read_zero_points(*zeros, packing, *matrix, std::identity{}, memory); !read) return read.error();
  return matrix;
}

inline Result<std::vector<Part>> AwqGemm::write(const CodedMatrix& matrix, std::pmr::memory_resource* memory) const {
  if (auto good = expect_integers(matrix, name, 4); !good) return good.error();
  if (auto good = expect_no_tensor_scale(matrix, name); !good) return good.error();
  if (auto good = expect_multiples(name, matrix.shape, {8, 1}); !good) return good.error();
  const auto block = group_block(matrix, name, group_size);
  if (!block) return block.error();
  const auto grid = ScaleGrid::fit(matrix, name, *block);
  if (!grid) return grid.error();
  auto weight = pack_part("qweight", PartType::int32, packing, matrix.codes(), memory);
  if (!weight) return weight.error();
  auto zeros = write_zero_points("qzeros", PartType::int32, packing, *grid, 0, 15, 0, memory);
  if (!zeros) return zeros.error();
  auto scales = write_scales("scales", half_type(matrix), {grid->grid().cols, matrix.shape.rows}, *grid,
                             by_columns(grid->grid()), memory);
  if (!scales) return scales.error();
  return collect(*std::move(weight), *std::move(zeros), *std::move(scales));
}

inline Result<CodedMatrix> AwqGemv::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  const auto weight = find_part(parts, "qweight", PartType::int32, 2);
  if (!weight) return weight.error();
  const auto zeros = find_part(parts, "qzeros", PartType::int32, 2);
  if (!zeros) return zeros.error();
  const auto scales = find_float_part(parts, "scales", 2);
  if (!scales) return scales.error();
  const auto in = extent(*weight, weight->shape[1], 8);
  if (!in) return in.error();
  const auto groups = detail::awq_groups(*in, group_size);
  if (!groups) return groups.error();
  const std::size_t out = weight->shape[0], room = detail::awq_scale_room(*groups, group_size);
  if (auto fits = expect_shape(*scales, {out, room}); !fits) return fits.error();
  auto matrix = CodedMatrix::allocate({out, *in}, unsigned_format(4), {1, group_size}, ShiftKind::zero_point, memory);
  if (!matrix) return matrix;
  if (auto unpacked = unpack_part(*weight, packing, matrix->codes()); !unpacked) return unpacked.error();
  read_scales(*scales, *matrix, by_rows({out, room}));
  if (auto read = read_zero_points(*zeros, zero_packing(), *matrix, std::identity{}, memory); !read)
    return read.error();
  return matrix;
}

inline Result<std::vector<Part>> AwqGemv::write(const CodedMatrix& matrix, std::pmr::memory_resource* memory) const {
  if (auto good = expect_integers(matrix, name, 4); !good) return good.error();
  if (auto good = expect_no_tensor_scale(matrix, name); !good) return good.error();
  if (auto good = expect_multiples(name, matrix.shape, {1, 8}); !good) return good.error();
  const auto groups = detail::awq_groups(matrix.shape.cols, group_size);
  if (!groups) return groups.error();
  const auto grid = ScaleGrid::fit(matrix, name, {1, group_size});
  if (!grid) return grid.error();
  auto weight = pack_part("qweight", PartType::int32, packing, matrix.codes(), memory);
  if (!weight) return weight.error();
  auto zeros = write_zero_points("qzeros", PartType::int32, zero_packing(), *grid, 0, 15, 0, memory);
  if (!zeros) return zeros.error();
  const Shape room{matrix.shape.rows, detail::awq_scale_room(*groups, group_size)};
  auto scales = write_scales("scales", half_type(matrix), {room.rows, room.cols}, *grid, by_rows(room), memory);
  if (!scales) return scales.error();
  return collect(*std::move(weight), *std::move(zeros), *std::move(scales));
}

inline Result<CodedMatrix> AwqGemvFast::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  const auto weight = find_part(parts, "qweight", PartType::int16, 2);
  if (!weight) return weight.error();
  const auto scales = find_float_part(parts, "scales", 2);
  if (!scales) return scales.error();
  const auto shifts = find_part(parts, offsets, scales->type, 2);
  if (!shifts) return shifts.error();
  const auto out = extent(*weight, weight->shape[0], 4);
  if (!out) return out.error();
  const std::size_t in = weight->shape[1];
  const auto groups = detail::awq_groups(in, group_size);
  if (!groups) return groups.error();
  const std::size_t room = detail::awq_scale_room(*groups, group_size);
  if (auto fits = expect_shape(*scales, {room, *out}); !fits) return fits.error();
  if (auto fits = expect_shape(*shifts, {room, *out}); !fits) return fits.error();
  auto matrix = CodedMatrix::allocate({*out, in}, unsigned_format(4), {1, group_size}, ShiftKind::offset, memory);
  if (!matrix) return matrix;
  if (auto unpacked = unpack_part(*weight, packing, matrix->codes()); !unpacked) return unpacked.error();
  const auto place = by_columns({*out, room});
  read_scales(*scales, *matrix, place);
  static_cast<void>(for_each_place(matrix->grid, [&](std::size_t r, std::size_t g) -> Result<void> {
    matrix->shifts()(r, g) = scale_at(*shifts, place(r, g));
    return {};
  }));
  return matrix;
}

inline Result<std::vector<Part>> AwqGemvFast::write(const CodedMatrix& matrix,
                                                    std::pmr::memory_resource* memory) const {
  if (auto good = expect_integers(matrix, name, 4); !good) return good.error();
  if (auto good = expect_no_tensor_scale(matrix, name); !good) return good.error();
  if (auto good = expect_multiples(name, matrix.shape, {4, 64}); !good) return good.error();
  const auto groups = detail::awq_groups(matrix.shape.cols, group_size);
  if (!groups) return groups.error();
  const auto grid = ScaleGrid::fit(matrix, name, {1, group_size});
  if (!grid) return grid.error();
  auto weight = pack_part("qweight", PartType::int16, packing, matrix.codes(), memory);
  if (!weight) return weight.error();
  const std::size_t out = matrix.shape.rows, room = detail::awq_scale_room(*groups, group_size);
  const auto place = by_columns({out, room});
  const ScaleType type = half_type(matrix);
  auto scales = write_scales("scales", type, {room, out}, *grid, place, memory);
  if (!scales) return scales.error();
  auto shifts = make_part(offsets, part_type(type), {room, out}, memory);
  if (!shifts) return shifts.error();
  const auto store = [&](std::size_t r, std::size_t g) -> Result<void> {
    const auto code = grid->offset_code(r, g, type, round_offsets);
    if (!code) return code.error();
    store_le(shifts->bytes().data() + 2 * place(r, g), *code, 2);
    return {};
  };
  if (auto stored = for_each_place(grid->grid(), store); !stored) return stored.error();
  return collect(*std::move(weight), *std::move(scales), *std::move(shifts));
}

/// The grid of one group by AWQ's rule: scale = max(highest - lowest, 1e-5) / 15, zero point = -round(lowest / scale),
/// ties to even, within 0 .. 15. The range is that of the weights alone: zero need not lie in it.
constexpr BlockParameters awq_parameters(float lowest, float highest) noexcept {
  BlockParameters p;
  const float width = highest - lowest;
  p.scale = (width > 1e-5f ? width : 1e-5f) / 15.0f;
  p.inverse = 1.0f / p.scale;
  const std::int32_t zero = -round_to_int(lowest / p.scale);
  p.zero_point = static_cast<std::uint8_t>(zero < 0 ? 0 : zero > 15 ? 15 : zero);
  return p;
}

/// The code of a weight in such a grid: round(x / scale) + zero point, ties to even, within 0 .. 15.
constexpr std::uint8_t awq_code(float x, const BlockParameters& p) noexcept {
  const std::int32_t q = round_to_int(x / p.scale), zero = p.zero_point;
  return static_cast<std::uint8_t>(q < -zero ? 0 : q > 15 - zero ? 15 : q + zero);
}

}  // namespace pare
