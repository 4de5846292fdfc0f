#pragma once

#include <string_view>
#include <vector>

#include "pare/layouts/flat_codes.hpp"

namespace pare {

/// MLC-LLM's group quantization: `q_weight` uint32 [out, words] with the codes of a row, lowest bits first, each group
/// starting at a word of its own, and `q_scale` of the model's type [out, groups]; transposed, both are [.., out]. The
/// value is (code - (2^(bits - 1) - 1)) * scale; the highest code is not used. The last group of a row may be shorter:
/// its words are filled up with codes of 0.
///
/// q4f16_1 is the default, q4f16_0 its transposed form; q3f16_1 has 3 bits, ten codes in a word, and groups of 40.
struct Mlc {
  static constexpr std::string_view name = "mlc";

  int bits = 4;                 ///< 3 or 4 (or 2, 8)
  std::size_t group_size = 32;  ///< a multiple of the codes in a word
  bool transposed = false;      ///< the layouts q*f16_0
  std::size_t columns = 0;      ///< of the weight; 0 for all that the words hold, or to write the matrix's own

  [[nodiscard]] constexpr Packing packing() const noexcept {
    return {.bits = bits,
            .word_bits = 32,
            .words = transposed ? WordOrder::word_major : WordOrder::stream_major,
            .multiple = group_size};
  }
  /// The code of zero.
  [[nodiscard]] constexpr int middle() const noexcept { return (1 << (bits - 1)) - 1; }

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;

 private:
  [[nodiscard]] std::size_t codes_in_word() const noexcept { return 32 / static_cast<std::size_t>(bits); }
  [[nodiscard]] Result<void> check() const;
};

/// The scale of a group by MLC's rule: max|x| / (2^(bits - 1) - 1), both in half precision. Zeros alone give 0, by
/// which MLC itself divides: their codes are not defined there, and those of zero here.
constexpr Half mlc_scale(float magnitude, int bits) noexcept {
  return Half(static_cast<float>(Half(magnitude)) / static_cast<float>((1 << (bits - 1)) - 1));
}

/// The code of a weight: round(x / scale + middle), every operation in half precision, within 0 .. 2 * middle. Ties go
/// to even as on GPUs and in TVM since 2026, or away from zero as on CPUs before.
constexpr std::uint8_t mlc_code(Half x, Half scale, int bits, Rounding ties = Rounding::nearest_even) noexcept {
  const std::int32_t middle = (1 << (bits - 1)) - 1;
  const float s = static_cast<float>(scale);
  if (s == 0.0f) return static_cast<std::uint8_t>(middle);
  const auto quotient = static_cast<float>(Half(static_cast<float>(x) / s));
  const std::int32_t q = round_to_int(static_cast<float>(Half(quotient + static_cast<float>(middle))), ties);
  return static_cast<std::uint8_t>(q < 0 ? 0 : q > 2 * middle ? 2 * middle : q);
}

inline Result<void> Mlc::check() const {
  if (bits >= 2 && bits <= 8 && group_size != 0 && group_size % codes_in_word() == 0) return {};
  return Error{ErrorCode::invalid_argument,
               "pare: mlc has 2 to 8 bits and groups that are multiples of the codes in a word of 32 bits"};
}

inline Result<CodedMatrix> Mlc::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  if (auto good = check(); !good) return good.error();
  const auto words = find_part(parts, "q_weight", PartType::uint32, 2);
  if (!words) return words.error();
  const auto scales = find_float_part(parts, "q_scale", 2);
  if (!scales) return scales.error();
  const std::size_t by_word = transposed ? 0 : 1, by_row = 1 - by_word;
  const auto held = extent(*words, words->shape[by_word], codes_in_word());
  if (!held) return held.error();
  const Shape shape{words->shape[by_row], columns != 0 ? columns : *held};
  const std::size_t groups = ceil_div(shape.cols, group_size);
  if (auto fits =
          transposed ? expect_shape(*scales, {groups, shape.rows}) : expect_shape(*scales, {shape.rows, groups});
      !fits)
    return fits.error();
  if (auto fits = expect_words(*words, packing(), shape); !fits) return fits.error();
  auto matrix = CodedMatrix::allocate(shape, unsigned_format(bits), {1, group_size}, ShiftKind::zero_point, memory);
  if (!matrix) return matrix;
  if (auto unpacked = unpack_part(*words, packing(), matrix->codes()); !unpacked) return unpacked.error();
  fill_shifts(*matrix, static_cast<float>(middle()));
  if (transposed)
    read_scales(*scales, *matrix, by_columns(matrix->grid));
  else
    read_scales(*scales, *matrix, by_rows(matrix->grid));
  return matrix;
}

inline Result<std::vector<Part>> Mlc::write(const CodedMatrix& matrix, std::pmr::memory_resource* memory) const {
  if (auto good = check(); !good) return good.error();
  if (auto good = expect_no_tensor_scale(matrix, name); !good) return good.error();
  if (columns != 0 && columns != matrix.shape.cols)
    return Error{ErrorCode::invalid_argument, "pare: the matrix has " + std::to_string(matrix.shape.cols) +
                                                  " columns, not " + std::to_string(columns)};
  const auto grid = ScaleGrid::fit(matrix, name, {1, group_size});
  if (!grid) return grid.error();
  auto codes = recentred_codes(*grid, bits, middle(), memory);
  if (!codes) return codes.error();
  auto words = pack_part("q_weight", PartType::uint32, packing(), bytes_view(*codes, matrix.shape), memory);
  if (!words) return words.error();
  const Shape list = grid->grid();
  auto scales =
      transposed ? write_scales("q_scale", model_type(matrix), {list.cols, list.rows}, *grid, by_columns(list), memory)
                 : write_scales("q_scale", model_type(matrix), {list.rows, list.cols}, *grid, by_rows(list), memory);
  if (!scales) return scales.error();
  return collect(*std::move(words), *std::move(scales));
}

}  // namespace pare
