#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "pare/layouts/flat_codes.hpp"
#include "pare/schemes/schemes.hpp"

namespace pare {

/// HQQ's weights: `W_q`, the codes of the grouped matrix, whose rows (group axis 1) or columns (group axis 0) are
/// groups of `group_size` elements of the flattened weight; `scale` and `zero` of the model's type, one for each. The
/// value is (code - zero) * scale, the zero any float.
///
/// W_q is uint8 (int32 for 3 bits) and holds rows far apart together: with R rows and k codes in a word the rows
/// r, r + R / k, r + 2 R / k, ... share a word, the first in the highest bits. For 3 bits k is 10, and R is filled up
/// to a multiple of it. Codes of 5, 6 and 8 bits have a byte each.
///
/// The matrix is [out, in] where groups lie within its rows (axis 1) or are whole columns (axis 0); else it is the
/// grouped one, whose elements lie in memory as those of the flattened weight.
struct Hqq {
  static constexpr std::string_view name = "hqq";

  int bits = 4;                 ///< 1 to 6 or 8
  int axis = 1;                 ///< 0 or 1
  std::size_t group_size = 64;  ///< elements that share a scale
  Shape shape{};                ///< of the weight; to write, {0, 0} for the matrix's own

  /// How the grouped matrix is packed.
  [[nodiscard]] Packing packing() const noexcept;

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;

 private:
  [[nodiscard]] Result<Shape> grouped(Shape weights) const;
  [[nodiscard]] PartType word_type() const noexcept { return bits == 3 ? PartType::int32 : PartType::uint8; }
  /// Whether the grouped matrix differs from the weight in its rows alone.
  [[nodiscard]] bool keeps_shape(Shape weights) const noexcept {
    return axis == 1 ? weights.cols % group_size == 0 : weights.rows == group_size;
  }
};

/// A group's grid by HQQ's rule without its optimizer.
struct HqqParameters {
  float scale = 1.0f;
  float zero = 0.0f;           ///< as it is stored: -lowest * inverse
  float inverse_scale = 1.0f;  ///< at most 20000; 1 where the weights differ by no more than 0.0001
};

/// The grid of a group with codes up to `last`: inverse scale = last * (1 / (highest - lowest)) with two roundings,
/// as in HQQ, zero = -lowest * inverse scale, which is not rounded. The range is that of the weights alone: zero need
/// not lie in it.
constexpr HqqParameters hqq_parameters_upto(float lowest, float highest, int last) noexcept {
  HqqParameters p;
  const float width = highest - lowest;
  if ((width < 0.0f ? -width : width) > 1e-4f) {
    p.inverse_scale = 1.0f / width * static_cast<float>(last);
    if (p.inverse_scale > 2e4f) p.inverse_scale = 2e4f;
  }
  p.zero = -lowest * p.inverse_scale;
  p.scale = 1.0f / p.inverse_scale;
  return p;
}

/// The same with all codes of so many bits.
constexpr HqqParameters hqq_parameters(float lowest, float highest, int bits) noexcept {
  return hqq_parameters_upto(lowest, highest, (1 << bits) - 1);
}

/// The code of a weight: round(x * inverse scale + zero), ties to even, within 0 .. 2^bits - 1.
inline std::uint8_t hqq_code(float x, const HqqParameters& p, int bits) noexcept {
  // A volatile product cannot be fused into the sum: the same bits on every machine.
  const volatile float product = x * p.inverse_scale;
  const std::int32_t q = round_to_int(product + p.zero), highest = (1 << bits) - 1;
  return static_cast<std::uint8_t>(q < 0 ? 0 : q > highest ? highest : q);
}

inline Packing Hqq::packing() const noexcept {
  Packing packing{.bits = bits > 4 ? 8 : bits, .along = Along::outputs, .words = WordOrder::word_major, .across = true};
  switch (bits) {
    case 1:
      packing.order = detail::high_first<8>;
      break;
    case 2:
      packing.order = detail::high_first<4>;
      break;
    case 3:
      packing.order = detail::high_first<10>;
      packing.word_bits = 32;
      break;
    case 4:
      packing.order = detail::high_first<2>;
      break;
    default:
      packing.across = false;
  }
  return packing;
}

inline Result<Shape> Hqq::grouped(Shape weights) const {
  if (bits < 1 || bits > 8 || bits == 7 || (axis != 0 && axis != 1) || group_size == 0)
    return Error{ErrorCode::invalid_argument,
                 "pare: hqq has 1 to 6 or 8 bits, groups along axis 0 or 1, and at least "
                 "one element in a group"};
  std::size_t count = 0;
  if (!checked_multiply(weights.rows, weights.cols, count))
    return Error{ErrorCode::invalid_argument, "pare: the shape is larger than memory can be"};
  if (count % group_size != 0)
    return Error{ErrorCode::invalid_argument, "pare: " + std::to_string(weights.rows) + " x " +
                                                  std::to_string(weights.cols) + " weights are no groups of " +
                                                  std::to_string(group_size)};
  const std::size_t groups = count / group_size;
  return axis == 1 ? Shape{groups, group_size} : Shape{group_size, groups};
}

inline Result<CodedMatrix> Hqq::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  const auto rows = grouped(shape);
  if (!rows) return rows.error();
  const auto words = find_part(parts, "W_q", word_type(), 2);
  if (!words) return words.error();
  const auto scales = find_float_part(parts, "scale", 2);
  if (!scales) return scales.error();
  const auto zeros = find_part(parts, "zero", scales->type, 2);
  if (!zeros) return zeros.error();
  const std::size_t groups = axis == 1 ? rows->rows : rows->cols;
  for (const PartView& part : {*scales, *zeros})
    if (auto fits = axis == 1 ? expect_shape(part, {groups, 1}) : expect_shape(part, {1, groups}); !fits)
      return fits.error();
  const Shape block = axis == 1 ? Shape{1, group_size} : Shape{group_size, 1};
  if (auto fits = expect_words(*words, packing(), *rows); !fits) return fits.error();
  auto matrix = CodedMatrix::allocate(keeps_shape(shape) ? shape : *rows, unsigned_format(bits), block,
                                      ShiftKind::real_zero, memory);
  if (!matrix) return matrix;
  const MatrixView<std::uint8_t> codes = bytes_view(matrix->codes_memory, *rows);
  if (auto unpacked = unpack_part(*words, packing(), codes); !unpacked) return unpacked.error();
  for (std::size_t i = 0; bits > 4 && bits < 8 && i < matrix->codes_memory.size(); ++i)
    if (codes.data[i] >> bits != 0)
      return Error{ErrorCode::corrupt_data,
                   "pare: W_q has code " + std::to_string(codes.data[i]) + " of " + std::to_string(bits) + " bits"};
  const auto place = by_rows(matrix->grid);
  read_scales(*scales, *matrix, place);
  static_cast<void>(for_each_place(matrix->grid, [&](std::size_t r, std::size_t g) -> Result<void> {
    matrix->shifts()(r, g) = scale_at(*zeros, place(r, g));
    return {};
  }));
  return matrix;
}

inline Result<std::vector<Part>> Hqq::write(const CodedMatrix& matrix, std::pmr::memory_resource* memory) const {
  const Shape weights = shape == Shape{} ? matrix.shape : shape;
  const auto rows = grouped(weights);
  if (!rows) return rows.error();
  if (auto good = expect_integers(matrix, name, bits); !good) return good.error();
  if (auto good = expect_no_tensor_scale(matrix, name); !good) return good.error();
  if (matrix.shape != (keeps_shape(weights) ? weights : *rows))
    return detail::refuse(name, "a matrix of " + std::to_string(matrix.shape.rows) + " x " +
                                    std::to_string(matrix.shape.cols) + " where its groups make " +
                                    std::to_string(rows->rows) + " x " + std::to_string(rows->cols));
  if (matrix.shift_kind == ShiftKind::offset) return detail::refuse(name, "shifts that are added");
  const auto grid = ScaleGrid::fit(matrix, name, axis == 1 ? Shape{1, group_size} : Shape{group_size, 1});
  if (!grid) return grid.error();
  const MatrixView<const std::uint8_t> codes{matrix.codes().data, rows->rows, rows->cols};
  auto words = pack_part("W_q", word_type(), packing(), codes, memory);
  if (!words) return words.error();
  const std::size_t groups = axis == 1 ? rows->rows : rows->cols;
  const std::vector<std::size_t> list =
      axis == 1 ? std::vector<std::size_t>{groups, 1} : std::vector<std::size_t>{1, groups};
  const ScaleType type = model_type(matrix);
  const auto place = by_rows(grid->grid());
  auto scales = write_scales("scale", type, list, *grid, place, memory);
  if (!scales) return scales.error();
  auto zeros = make_part("zero", part_type(type), list, memory);
  if (!zeros) return zeros.error();
  const std::size_t bytes = element_bytes(zeros->type);
  const auto store = [&](std::size_t r, std::size_t g) -> Result<void> {
    const auto code = grid->shift_code(r, g, type);
    if (!code) return code.error();
    store_le(zeros->bytes().data() + place(r, g) * bytes, *code, bytes);
    return {};
  };
  if (auto stored = for_each_place(grid->grid(), store); !stored) return stored.error();
  return collect(*std::move(words), *std::move(scales), *std::move(zeros));
}

}  // namespace pare
