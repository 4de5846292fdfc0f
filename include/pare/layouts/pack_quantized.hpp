#pragma once

#include <string_view>
#include <vector>

#include "pare/layouts/column_groups.hpp"
#include "pare/layouts/zero_points.hpp"
#include "pare/schemes/schemes.hpp"

namespace pare {

/// How codes that do not divide 32 bits fill their words; nothing in a file tells, but often the width of its rows.
enum class PackedWords {
  dense,   ///< a code may continue in the next word: since 2026
  padded,  ///< 32 / bits codes in each word: before
};

/// compressed-tensors' "pack-quantized": `weight_packed` int32 [out, words], codes along the inputs, counted from
/// -2^(bits - 1); `weight_scale` [out, groups] of the model's type; `weight_shape` int64 [2]; for asymmetric codes
/// `weight_zero_point` int32 [words, groups], packed along the outputs; with act-order `weight_g_idx` int32 [in]. The
/// value is (code - zero point) * scale.
struct PackQuantized {
  static constexpr std::string_view name = "compressed-tensors:pack-quantized";

  int bits = 4;                            ///< 1 to 8
  std::size_t group_size = 0;              ///< 0 for what the tensors say
  bool symmetric = true;                   ///< writes no zero points; both kinds are read
  PackedWords words = PackedWords::dense;  ///< alike for 1, 2, 4 and 8 bits

  /// How codes follow one another along an axis: the weight's along the inputs, the zero points' along the outputs.
  [[nodiscard]] constexpr Packing packing(Along along) const noexcept {
    return {.bits = bits,
            .word_bits = 32,
            .crosses_words = words == PackedWords::dense,
            .along = along,
            .words = along == Along::inputs ? WordOrder::stream_major : WordOrder::word_major};
  }

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;

 private:
  [[nodiscard]] Result<void> check() const {
    if (bits >= 1 && bits <= 8) return {};
    return Error{ErrorCode::invalid_argument,
                 "pare: pack-quantized codes have 1 to 8 bits, not " + std::to_string(bits)};
  }
};

inline Result<CodedMatrix> PackQuantized::read(std::span<const PartView> parts,
                                               std::pmr::memory_resource* memory) const {
  if (auto good = check(); !good) return good.error();
  const auto weight = find_part(parts, "weight_packed", PartType::int32, 2);
  if (!weight) return weight.error();
  const auto scales = find_float_part(parts, "weight_scale", 2);
  if (!scales) return scales.error();
  const auto shape = read_shape(parts, "weight_shape", 1);
  if (!shape) return shape.error();
  if (auto fits = expect_words(*weight, packing(Along::inputs), *shape); !fits) {
    PackQuantized other = *this;
    other.words = words == PackedWords::dense ? PackedWords::padded : PackedWords::dense;
    if (!expect_words(*weight, other.packing(Along::inputs), *shape)) return fits.error();
    return Error{fits.error().code, fits.error().message + "; it has the words of PackedWords::" +
                                        (words == PackedWords::dense ? "padded" : "dense")};
  }
  const std::size_t groups = scales->shape[1];
  if (auto fits = expect_shape(*scales, {shape->rows, groups}); !fits) return fits.error();
  const auto columns = ColumnGroups::find(parts, "weight_g_idx", shape->cols, groups, group_size);
  if (!columns) return columns.error();
  auto matrix = CodedMatrix::allocate(*shape, unsigned_format(bits), {1, columns->size}, ShiftKind::zero_point, memory);
  if (!matrix) return matrix;
  if (auto stored = columns->store(*matrix, memory); !stored) return stored.error();
  if (auto unpacked = unpack_part(*weight, packing(Along::inputs), matrix->codes()); !unpacked) return unpacked.error();
  read_scales(*scales, *matrix, by_rows(matrix->grid));
  if (!has_part(parts, "weight_zero_point")) {
    fill_shifts(*matrix, static_cast<float>(1 << (bits - 1)));
    return matrix;
  }
  const auto zeros = find_part(parts, "weight_zero_point", PartType::int32, 2);
  if (!zeros) return zeros.error();
  if (auto read = read_zero_points(*zeros, packing(Along::outputs), *matrix, std::identity{}, memory); !read)
    return read.error();
  return matrix;
}

inline Result<std::vector<Part>> PackQuantized::write(const CodedMatrix& matrix,
                                                      std::pmr::memory_resource* memory) const {
  if (auto good = check(); !good) return good.error();
  if (auto good = expect_no_tensor_scale(matrix, name); !good) return good.error();
  const auto block = group_block(matrix, name, group_size);
  if (!block) return block.error();
  const auto grid = ScaleGrid::fit(matrix, name, *block, ColumnOrder::any);
  if (!grid) return grid.error();
  if (!symmetric)
    if (auto good = expect_integers(matrix, name, bits); !good) return good.error();
  auto codes = symmetric ? centred_codes(*grid, bits, memory) : copy_codes(matrix, memory);
  if (!codes) return codes.error();
  auto weight =
      pack_part("weight_packed", PartType::int32, packing(Along::inputs), bytes_view(*codes, matrix.shape), memory);
  if (!weight) return weight.error();
  const Shape places = grid->grid();
  auto scales =
      write_scales("weight_scale", model_type(matrix), {places.rows, places.cols}, *grid, by_rows(places), memory);
  if (!scales) return scales.error();
  auto shape = write_shape("weight_shape", matrix.shape, 1, memory);
  if (!shape) return shape.error();
  std::vector<Part> parts = collect(*std::move(weight), *std::move(scales), *std::move(shape));
  if (!symmetric) {
    auto zeros = write_zero_points("weight_zero_point", PartType::int32, packing(Along::outputs), *grid, 0,
                                   (1 << bits) - 1, 0, memory);
    if (!zeros) return zeros.error();
    parts.push_back(*std::move(zeros));
  }
  if (grid->reordered()) {
    auto index = write_column_groups("weight_g_idx", *grid, memory);
    if (!index) return index.error();
    parts.push_back(*std::move(index));
  }
  return parts;
}

}  // namespace pare
