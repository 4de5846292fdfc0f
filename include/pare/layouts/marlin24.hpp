#pragma once

#include <bit>
#include <string_view>
#include <vector>

#include "pare/layouts/column_groups.hpp"
#include "pare/layouts/sparse24_metadata.hpp"
#include "pare/layouts/zero_points.hpp"

namespace pare {

namespace detail {

/// 16 kept inputs by 64 outputs in the order of Marlin-24's threads: words of 8 nibbles or 4 bytes.
template <std::size_t Codes>
inline constexpr auto marlin24_order = make_order<1024>([](std::size_t p) {
  const std::size_t thread = p / 32, column = p / 8 % 4, half = Codes / 2;
  const std::size_t slot = p % Codes, place = slot < half ? 2 * slot : 2 * (slot - half) + 1;
  const std::size_t element = p % 8 / Codes * Codes + place;
  const std::size_t input = 2 * (thread % 4) + element / 2 % 2 * 8 + element % 2;
  return input * 64 + thread / 8 * 16 + thread / 4 % 2 * 8 + element / 4 * 4 + column;
});

/// Where Marlin-24's kernels look for the scale of an output of groups.
constexpr std::size_t marlin24_scale_place(std::size_t output) noexcept {
  return output / 8 * 8 + output % 4 * 2 + output % 8 / 4;
}

}  // namespace detail

/// compressed-tensors' "marlin-24": 2:4 weights of 4 or 8 bits, counted from the middle code. `weight_packed` int32
/// [in / 32, out * bits / 2], the kept codes in tiles; `scale_packed` of the model's type [groups, out], permuted
/// where a group has fewer columns than half of the inputs (so the reference writes it); `meta` int16
/// [in / 32, out * 2], CUTLASS's metadata. in is a multiple of 32, out of 64. A matrix can be written if every four
/// neighbours of a row hold at least two zeros.
struct Marlin24 {
  static constexpr std::string_view name = "compressed-tensors:marlin-24";

  int bits = 4;                ///< or 8
  std::size_t group_size = 0;  ///< 0 for what the tensors say

  /// How the kept codes [out, in / 2] follow one another.
  [[nodiscard]] constexpr Packing packing() const noexcept {
    Packing packing{.bits = bits, .word_bits = 32, .along = Along::outputs, .strip = 16};
    packing.order = bits == 4 ? std::span<const std::uint16_t>(detail::marlin24_order<8>)
                              : std::span<const std::uint16_t>(detail::marlin24_order<4>);
    return packing;
  }

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;

 private:
  [[nodiscard]] Result<void> check() const {
    if (bits == 4 || bits == 8) return {};
    return Error{ErrorCode::invalid_argument, "pare: marlin-24 has codes of 4 or 8 bits, not " + std::to_string(bits)};
  }
  static constexpr auto place(Shape shape, std::size_t group) noexcept {
    return [shape, permuted = group < shape.cols / 2](std::size_t r, std::size_t g) {
      return g * shape.rows + (permuted ? detail::marlin24_scale_place(r) : r);
    };
  }
  /// The nibble, low ones first, of a group of four columns in the metadata.
  static constexpr std::size_t nibble_place(std::size_t row, std::size_t four, std::size_t rows) noexcept {
    return cutlass24_place(row, four / 4, rows, 16) * 4 + four % 4;
  }
};

inline Result<CodedMatrix> Marlin24::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  if (auto good = check(); !good) return good.error();
  const auto weight = find_part(parts, "weight_packed", PartType::int32, 2);
  if (!weight) return weight.error();
  const auto scales = find_float_part(parts, "scale_packed", 2);
  if (!scales) return scales.error();
  const auto meta = find_part(parts, "meta", PartType::int16, 2);
  if (!meta) return meta.error();
  const auto in = extent(*weight, weight->shape[0], 32);
  if (!in) return in.error();
  const std::size_t out = weight->shape[1] * 2 / static_cast<std::size_t>(bits), groups = scales->shape[0];
  if (out % 64 != 0) return detail::refuse(name, std::to_string(out) + " outputs, only multiples of 64");
  const Shape kept_shape{out, *in / 2};
  if (auto fits = expect_words(*weight, packing(), kept_shape); !fits) return fits.error();
  if (auto fits = expect_shape(*scales, {groups, out}); !fits) return fits.error();
  if (auto fits = expect_shape(*meta, {weight->shape[0], out * 2}); !fits) return fits.error();
  const auto columns = ColumnGroups::find(*in, groups, group_size);
  if (!columns) return columns.error();
  auto matrix =
      CodedMatrix::allocate({out, *in}, unsigned_format(bits), {1, columns->size}, ShiftKind::zero_point, memory);
  if (!matrix) return matrix;
  auto kept_memory = Buffer::allocate(matrix->codes_memory.size() / 2, memory);
  if (!kept_memory) return kept_memory.error();
  const auto kept = bytes_view(*kept_memory, kept_shape);
  if (auto unpacked = unpack_part(*weight, packing(), kept); !unpacked) return unpacked.error();

  const auto middle = static_cast<std::uint8_t>(1 << (bits - 1));
  fill_shifts(*matrix, static_cast<float>(middle));
  read_scales(*scales, *matrix, place(matrix->shape, matrix->block.cols));
  const auto expand = [&](std::size_t r, std::size_t four) -> Result<void> {
    const std::size_t at = nibble_place(r, four, out);
    const auto columns_kept = Kept24::from_nibble(static_cast<std::uint32_t>(meta->bytes[at / 2]) >> (4 * (at % 2)));
    if (!columns_kept.valid())
      return Error{ErrorCode::corrupt_data, "pare: meta keeps no two columns in order of row " + std::to_string(r) +
                                                ", columns " + std::to_string(4 * four) + " to " +
                                                std::to_string(4 * four + 3)};
    for (std::size_t c = 0; c < 4; ++c) matrix->codes()(r, 4 * four + c) = middle;
    matrix->codes()(r, 4 * four + columns_kept.first) = kept(r, 2 * four);
    matrix->codes()(r, 4 * four + columns_kept.second) = kept(r, 2 * four + 1);
    return {};
  };
  if (auto done = for_each_place({out, *in / 4}, expand); !done) return done.error();
  return matrix;
}

inline Result<std::vector<Part>> Marlin24::write(const CodedMatrix& matrix, std::pmr::memory_resource* memory) const {
  if (auto good = check(); !good) return good.error();
  if (auto good = expect_no_tensor_scale(matrix, name); !good) return good.error();
  if (auto good = expect_multiples(name, matrix.shape, {64, 32}); !good) return good.error();
  const auto block = group_block(matrix, name, group_size);
  if (!block) return block.error();
  const auto grid = ScaleGrid::fit(matrix, name, *block);
  if (!grid) return grid.error();
  auto code_memory = centred_codes(*grid, bits, memory);
  if (!code_memory) return code_memory.error();
  const auto codes = bytes_view(*code_memory, matrix.shape);
  const std::size_t out = matrix.shape.rows, in = matrix.shape.cols, strips = in / 32;
  auto kept_memory = Buffer::allocate(code_memory->size() / 2, memory);
  if (!kept_memory) return kept_memory.error();
  const auto kept = bytes_view(*kept_memory, {out, in / 2});
  auto meta = make_part("meta", PartType::int16, {strips, out * 2}, memory);
  if (!meta) return meta.error();
  const auto compress = [&](std::size_t r, std::size_t four) -> Result<void> {
    unsigned nonzero = 0;
    for (unsigned c = 0; c < 4; ++c) nonzero |= codes(r, 4 * four + c) != 1 << (bits - 1) ? 1u << c : 0u;
    if (std::popcount(nonzero) > 2)
      return detail::refuse(name, "more than two values that are not 0 in row " + std::to_string(r) + ", columns " +
                                      std::to_string(4 * four) + " to " + std::to_string(4 * four + 3));
    const Kept24 columns = kept24(nonzero);
    kept(r, 2 * four) = codes(r, 4 * four + columns.first);
    kept(r, 2 * four + 1) = codes(r, 4 * four + columns.second);
    const std::size_t at = nibble_place(r, four, out);
    std::uint8_t& byte = meta->bytes()[at / 2];
    byte = static_cast<std::uint8_t>(byte | columns.nibble() << (4 * (at % 2)));
    return {};
  };
  if (auto done = for_each_place({out, in / 4}, compress); !done) return done.error();

  auto weight = pack_part("weight_packed", PartType::int32, packing(), kept, memory);
  if (!weight) return weight.error();
  auto scales = write_scales("scale_packed", model_type(matrix), {grid->grid().cols, out}, *grid,
                             place(matrix.shape, block->cols), memory);
  if (!scales) return scales.error();
  return collect(*std::move(weight), *std::move(scales), *std::move(meta));
}

}  // namespace pare
