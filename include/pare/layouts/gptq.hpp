#pragma once

#include <string_view>
#include <vector>

#include "pare/layouts/column_groups.hpp"
#include "pare/layouts/zero_points.hpp"
#include "pare/schemes/schemes.hpp"

namespace pare {

/// What a stored zero point field means. The first two are checkpoint format "gptq" (v1), as two families of runtimes
/// read it; they differ where the field is all ones, and so in which zero points can be written at all.
enum class GptqZeros {
  plus_one,          ///< field + 1, all ones is 2^bits: AutoGPTQ, ExLlama; 0 cannot be held
  plus_one_wrapped,  ///< (field + 1) mod 2^bits, all ones is 0: GPTQModel
  as_stored,         ///< the field: "gptq_v2" and "gptq_p"
};

/// The zero point that a stored field of `bits` bits means.
constexpr std::int32_t gptq_zero(std::uint32_t field, int bits, GptqZeros zeros) noexcept {
  const auto stored = static_cast<std::int32_t>(field);
  if (zeros == GptqZeros::as_stored) return stored;
  return zeros == GptqZeros::plus_one ? stored + 1 : (stored + 1) & ((1 << bits) - 1);
}

namespace detail {
inline constexpr std::uint8_t gptq_plane_table[9][3] = {{}, {}, {2}, {2, 1}, {4}, {4, 1}, {4, 2}, {4, 2, 1}, {8}};

/// The planes that "gptq_p" splits 32 codes of `bits` bits into.
constexpr std::span<const std::uint8_t> gptq_planes(int bits) noexcept {
  std::size_t count = 0;
  while (count < 3 && gptq_plane_table[bits][count] != 0) ++count;
  return {gptq_plane_table[bits], count};
}
}  // namespace detail

/// GPTQ, as AutoGPTQ and GPTQModel write it: `qweight` int32 [in * bits / 32, out], a stream down the inputs for each
/// output; `qzeros` int32 [groups, out * bits / 32], a stream along the outputs; `scales` float16 or bfloat16
/// [groups, out]; `g_idx` int32 [in], the group of each input (may be missing when read, always written). The value is
/// (code - zero point) * scale. Inputs and outputs are multiples of what fills whole words (32 codes for odd widths).
struct AutoGptq {
  static constexpr std::string_view name = "gptq";

  int bits = 4;                ///< 2, 3, 4 or 8; 2 to 8 if planar
  std::size_t group_size = 0;  ///< inputs that share a scale; 0 for what the tensors say
  GptqZeros zeros = GptqZeros::plus_one;
  bool planar = false;  ///< "gptq_p": 32 codes are split into planes of 4, 2 and 1 bits

  /// How codes and zero points follow one another, along an axis.
  [[nodiscard]] constexpr Packing packing(Along along) const noexcept {
    Packing packing{.bits = bits, .word_bits = 32, .crosses_words = true, .along = along};
    if (along == Along::inputs) packing.words = WordOrder::word_major;
    if (planar) packing.planes = detail::gptq_planes(bits);
    return packing;
  }
  /// Codes that fill whole words.
  [[nodiscard]] constexpr std::size_t unit() const noexcept {
    return 32 % bits == 0 ? 32 / static_cast<std::size_t>(bits) : 32;
  }

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;

 private:
  [[nodiscard]] Result<void> check() const;
};

inline Result<void> AutoGptq::check() const {
  if (planar ? bits >= 2 && bits <= 8 : bits == 2 || bits == 3 || bits == 4 || bits == 8) return {};
  return Error{ErrorCode::invalid_argument, "pare: gptq has no codes of " + std::to_string(bits) + " bits"};
}

inline Result<CodedMatrix> AutoGptq::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  if (auto good = check(); !good) return good.error();
  const auto weight = find_part(parts, "qweight", PartType::int32, 2);
  if (!weight) return weight.error();
  const auto zero_words = find_part(parts, "qzeros", PartType::int32, 2);
  if (!zero_words) return zero_words.error();
  const auto scales = find_float_part(parts, "scales", 2);
  if (!scales) return scales.error();
  const std::size_t words = unit() * static_cast<std::size_t>(bits) / 32, out = weight->shape[1];
  if (weight->shape[0] % words != 0 || out % unit() != 0)
    return Error{ErrorCode::invalid_argument, "pare: qweight is [" + std::to_string(weight->shape[0]) + ", " +
                                                  std::to_string(out) + "], not whole units of " +
                                                  std::to_string(unit()) + " codes"};
  const auto in = extent(*weight, weight->shape[0] / words, unit());
  if (!in) return in.error();
  const std::size_t groups = scales->shape[0];
  if (auto fits = expect_shape(*scales, {groups, out}); !fits) return fits.error();

  const auto columns = ColumnGroups::find(parts, "g_idx", *in, groups, group_size);
  if (!columns) return columns.error();
  auto matrix =
      CodedMatrix::allocate({out, *in}, unsigned_format(bits), {1, columns->size}, ShiftKind::zero_point, memory);
  if (!matrix) return matrix;
  if (auto stored = columns->store(*matrix, memory); !stored) return stored.error();
  if (auto unpacked = unpack_part(*weight, packing(Along::inputs), matrix->codes()); !unpacked) return unpacked.error();
  read_scales(*scales, *matrix, by_columns(matrix->grid));
  const auto meaning = [this](std::uint32_t field) { return gptq_zero(field, bits, zeros); };
  if (auto read = read_zero_points(*zero_words, packing(Along::outputs), *matrix, meaning, memory); !read)
    return read.error();
  return matrix;
}

inline Result<std::vector<Part>> AutoGptq::write(const CodedMatrix& matrix, std::pmr::memory_resource* memory) const {
  if (auto good = check(); !good) return good.error();
  if (auto good = expect_integers(matrix, name, bits); !good) return good.error();
  if (auto good = expect_no_tensor_scale(matrix, name); !good) return good.error();
  if (auto good = expect_multiples(name, matrix.shape, {unit(), unit()}); !good) return good.error();
  const std::size_t size = group_size != 0 ? group_size : matrix.block.cols;
  const auto blocks = ScaleGrid::fit(matrix, name, {1, size}, ColumnOrder::any);
  if (!blocks) return blocks.error();

  auto weight = pack_part("qweight", PartType::int32, packing(Along::inputs), matrix.codes(), memory);
  if (!weight) return weight.error();
  const std::int32_t bias = zeros == GptqZeros::as_stored ? 0 : 1, lowest = zeros == GptqZeros::plus_one ? 1 : 0;
  auto zero_words = write_zero_points("qzeros", PartType::int32, packing(Along::outputs), *blocks, lowest,
                                      lowest + (1 << bits) - 1, bias, memory);
  if (!zero_words) return zero_words.error();
  const Shape grid = blocks->grid();
  auto scales = write_scales("scales", half_type(matrix), {grid.cols, grid.rows}, *blocks, by_columns(grid), memory);
  if (!scales) return scales.error();
  auto index = write_column_groups("g_idx", *blocks, memory);
  if (!index) return index.error();
  return collect(*std::move(weight), *std::move(zero_words), *std::move(scales), *std::move(index));
}

/// The grid of one group by GPTQ's own round-to-nearest rule (AutoGPTQ's find_params): the range always holds zero and
/// a symmetric one is mirrored only where it has negatives, scale = (max - min) / (2^bits - 1), zero point =
/// round(-min / scale), ties to even, or the middle code if symmetric. An all-zero group spans -1 .. 1. Ranges with
/// NaN or infinities take the finite values alone.
constexpr BlockParameters gptq_parameters(Range range, int bits, bool symmetric) noexcept {
  if (symmetric) {
    range.highest = range.magnitude();
    if (range.lowest < 0.0f) range.lowest = -range.highest;
  }
  if (range.lowest == 0.0f && range.highest == 0.0f) range = {.lowest = -1.0f, .highest = 1.0f, .finite = range.finite};
  BlockParameters p{.finite = range.finite};
  const auto highest = (1 << bits) - 1;
  p.scale = (range.highest - range.lowest) / static_cast<float>(highest);
  const std::int32_t zero = symmetric ? 1 << (bits - 1) : round_to_int(-range.lowest / p.scale);
  p.zero_point = static_cast<std::uint8_t>(zero);
  p.inverse = 1.0f / p.scale;
  return p;
}

/// The code of a weight in such a grid: round(x / scale) + zero point, ties to even, within 0 .. 2^bits - 1.
constexpr std::uint8_t gptq_code(float x, const BlockParameters& p, int bits) noexcept {
  const std::int32_t q = round_to_int(x / p.scale), zero = p.zero_point, highest = (1 << bits) - 1;
  return static_cast<std::uint8_t>(q < -zero ? 0 : q > highest - zero ? highest : q + zero);
}

}  // namespace pare
