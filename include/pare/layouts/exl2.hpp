#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "pare/layouts/flat_codes.hpp"

namespace pare {

/// EXL2's weights of exllamav2, whose groups of inputs have 2, 3, 4, 5, 6 or 8 bits each: `q_weight` int32
/// [sum of rows * bits / 32, out padded to 32], the groups one below another, each an LSB-first stream down every
/// column; `q_groups` int16 [2 * groups], the bits and the first row of words of each; `q_scale` int32
/// [groups, out / 8], nibbles less one; `q_scale_max` float16 [groups]; `q_invperm` int32 [in], the place of each input
/// among the rows. The scale is (nibble + 1)^2 * (q_scale_max / 256) and the value (code - 2^(bits - 1)) * scale, all
/// in half precision. Groups stand in the order of their bits, most first.
struct Exl2 {
  static constexpr std::string_view name = "exl2";
  static constexpr std::size_t unit = 32;  ///< outputs are padded to a multiple

  std::size_t outputs = 0;  ///< of the weight; 0 for all columns of q_weight
  std::span<const std::uint32_t>
      inverse_permutation{};  ///< to write: places of the inputs; else groups keep their order

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  /// A group's bits follow from its zero point, 2^(bits - 1). Bits of q_scale_max that the division loses are free.
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;
};

namespace detail {

/// One group of EXL2: its rows of inputs and of words.
struct Exl2Group {
  int bits = 0;
  std::size_t first_row = 0, rows = 0;
  std::size_t first_word = 0;

  [[nodiscard]] Packing packing() const noexcept {
    return {.bits = bits,
            .word_bits = 32,
            .crosses_words = true,
            .words = WordOrder::word_major,
            .padding = static_cast<std::uint16_t>(1 << (bits - 1))};
  }
  [[nodiscard]] std::size_t words() const noexcept { return packing().stream_words({1, rows}); }
};

constexpr bool exl2_has_bits(int bits) noexcept { return (bits >= 2 && bits <= 6) || bits == 8; }

/// (nibble + 1)^2 * unit in half precision.
constexpr float exl2_scale(int root, Half unit) noexcept {
  return static_cast<float>(Half(static_cast<float>(root * root) * static_cast<float>(unit)));
}

/// The half and the nibbles that give all scales of a group exactly, or nothing.
inline std::optional<Half> exl2_unit(std::span<const float> scales, std::span<std::uint8_t> nibbles) {
  float largest = scales.front();
  for (const float scale : scales) largest = std::max(largest, scale);
  for (int root = 16; root > 0; --root) {
    const Half unit(largest / static_cast<float>(root * root));
    bool exact = true;
    for (std::size_t i = 0; exact && i < scales.size(); ++i) {
      int r = 1;
      while (r < 16 && exl2_scale(r, unit) < scales[i]) ++r;
      nibbles[i] = static_cast<std::uint8_t>(r - 1);
      exact = exl2_scale(r, unit) == scales[i];
    }
    if (exact && is_finite(static_cast<float>(Half(static_cast<float>(unit) * 256.0f)))) return unit;
  }
  return std::nullopt;
}

inline Result<std::vector<Exl2Group>> exl2_groups(std::span<const PartView> parts, std::size_t word_rows,
                                                  std::size_t inputs) {
  const auto list = find_part(parts, "q_groups", PartType::int16, 1);
  if (!list) return list.error();
  const auto wrong = [](std::size_t g, const std::string& what) {
    return Error{ErrorCode::corrupt_data, "pare: q_groups has " + what + " for group " + std::to_string(g)};
  };
  const std::size_t count = list->shape[0] / 2;
  if (list->shape[0] % 2 != 0 || (count == 0 && inputs != 0))
    return Error{ErrorCode::invalid_argument, "pare: q_groups is no list of pairs"};
  const auto number = [&](std::size_t i) { return static_cast<std::size_t>(load_le(list->bytes.data() + 2 * i, 2)); };
  std::vector<Exl2Group> groups(count);
  std::size_t row = 0;
  for (std::size_t g = 0; g < count; ++g) {
    Exl2Group& group = groups[g];
    group.bits = static_cast<int>(number(2 * g));
    group.first_word = number(2 * g + 1);
    group.first_row = row;
    if (!exl2_has_bits(group.bits)) return wrong(g, std::to_string(group.bits) + " bits");
    const std::size_t end = g + 1 < count ? number(2 * g + 3) : word_rows;
    if (group.first_word > end || (g == 0 && group.first_word != 0) || end > word_rows)
      return wrong(g, "the first row of words " + std::to_string(group.first_word));
    group.rows = g + 1 < count ? (end - group.first_word) * 32 / static_cast<std::size_t>(group.bits)
                               : inputs - std::min(inputs, row);
    row += group.rows;
    if (group.first_word + group.words() != end || row > inputs)
      return wrong(g, std::to_string(end - group.first_word) + " rows of words, which do not hold its inputs");
  }
  if (row != inputs) return Error{ErrorCode::corrupt_data, "pare: q_groups has not all inputs"};
  return groups;
}

}  // namespace detail

inline Result<CodedMatrix> Exl2::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  const auto weight = find_part(parts, "q_weight", PartType::int32, 2);
  if (!weight) return weight.error();
  const auto places = find_part(parts, "q_invperm", PartType::int32, 1);
  if (!places) return places.error();
  const std::size_t in = places->shape[0], padded = weight->shape[1];
  const std::size_t out = outputs != 0 ? outputs : padded;
  if (padded % unit != 0 || ceil_div(out, unit) * unit != padded)
    return Error{ErrorCode::invalid_argument, "pare: q_weight has " + std::to_string(padded) + " columns, not " +
                                                  std::to_string(out) + " padded to a multiple of 32"};
  const auto groups = detail::exl2_groups(parts, weight->shape[0], in);
  if (!groups) return groups.error();
  const std::size_t count = groups->size();
  const auto nibbles = find_part(parts, "q_scale", PartType::int32, 2);
  if (!nibbles) return nibbles.error();
  const auto maxima = find_part(parts, "q_scale_max", PartType::float16, 1);
  if (!maxima) return maxima.error();
  if (auto fits = expect_shape(*nibbles, {count, padded / 8}); !fits) return fits.error();
  if (auto fits = expect_shape(*maxima, {count}); !fits) return fits.error();

  int most_bits = 2;
  for (const auto& group : *groups) most_bits = std::max(most_bits, group.bits);
  auto matrix =
      CodedMatrix::allocate_groups({out, in}, unsigned_format(most_bits), count, ShiftKind::zero_point, memory);
  if (!matrix) return matrix;
  matrix->scale_type = ScaleType::float16;
  // Which input each row of words holds.
  auto permutation = Buffer::allocate(in * sizeof(std::uint32_t), memory);
  if (!permutation) return permutation.error();
  auto* const input_of = reinterpret_cast<std::uint32_t*>(permutation->data());
  std::fill_n(input_of, in, ~std::uint32_t{0});
  for (std::size_t c = 0; c < in; ++c) {
    const auto row = static_cast<std::uint32_t>(load_le(places->bytes.data() + 4 * c, 4));
    if (row >= in || input_of[row] != ~std::uint32_t{0})
      return Error{ErrorCode::corrupt_data, "pare: q_invperm is no permutation: place " + std::to_string(row) +
                                                " of input " + std::to_string(c)};
    input_of[row] = static_cast<std::uint32_t>(c);
  }
  for (std::size_t g = 0; g < count; ++g) {
    const detail::Exl2Group& group = (*groups)[g];
    auto unpacked = Buffer::allocate(group.rows * padded, memory);
    if (!unpacked) return unpacked.error();
    const MatrixView<std::uint8_t> codes = bytes_view(*unpacked, {padded, group.rows});
    const auto words = weight->bytes.subspan(group.first_word * padded * 4, group.words() * padded * 4);
    if (!codes.empty())
      if (auto done = unpack_codes(group.packing(), words, codes); !done) return done.error();
    const Half scale_unit(scale_at(*maxima, g) / 256.0f);
    for (std::size_t r = 0; r < out; ++r) {
      for (std::size_t i = 0; i < group.rows; ++i) matrix->codes()(r, input_of[group.first_row + i]) = codes(r, i);
      const std::size_t at = (g * padded + r) / 2;
      matrix->scales()(r, g) = detail::exl2_scale((nibbles->bytes[at] >> (r % 2 * 4) & 15) + 1, scale_unit);
      matrix->shifts()(r, g) = static_cast<float>(1 << (group.bits - 1));
    }
    for (std::size_t i = 0; i < group.rows; ++i)
      matrix->column_groups()[input_of[group.first_row + i]] = static_cast<std::uint32_t>(g);
  }
  return matrix;
}

inline Result<std::vector<Part>> Exl2::write(const CodedMatrix& matrix, std::pmr::memory_resource* memory) const {
  if (auto good = expect_integers(matrix, name, 8); !good) return good.error();
  if (auto good = expect_no_tensor_scale(matrix, name); !good) return good.error();
  if (matrix.shift_kind != ShiftKind::zero_point || matrix.block.rows != 1)
    return detail::refuse(name, "anything but a scale and a zero point for each row and group");
  const std::size_t out = matrix.shape.rows, in = matrix.shape.cols, count = matrix.grid.cols;
  if (out == 0 || in == 0 || in > 0x7fffffff || count > 0x7fff)
    return detail::refuse(name, "matrices without elements, or with more inputs or groups than 31 and 15 bits count");
  const std::size_t padded = ceil_div(out, unit) * unit;

  // The groups, and the inputs of each in the order of their places.
  std::vector<detail::Exl2Group> groups(count);
  for (std::size_t c = 0; c < in; ++c) ++groups[matrix.group_of(c)].rows;
  std::size_t row = 0, word = 0;
  for (std::size_t g = 0; g < count; ++g) {
    detail::Exl2Group& group = groups[g];
    const float zero = matrix.shifts()(0, g);
    while (group.bits < 9 && static_cast<float>(1 << group.bits) <= zero) ++group.bits;
    for (std::size_t r = 0; r < out; ++r)
      if (matrix.shifts()(r, g) != zero || !detail::exl2_has_bits(group.bits) ||
          zero != static_cast<float>(1 << (group.bits - 1)))
        return detail::refuse(name, "the zero point " + text(matrix.shifts()(r, g)) + " of row " + std::to_string(r) +
                                        ", group " + std::to_string(g) + ": not half the codes of 2 to 6 or 8 bits");
    if (g != 0 && group.bits > groups[g - 1].bits)
      return detail::refuse(name, "groups of more bits behind such of fewer, as group " + std::to_string(g));
    if (g + 1 < count && group.rows * static_cast<std::size_t>(group.bits) % 32 != 0)
      return detail::refuse(name, std::to_string(group.rows) + " inputs of " + std::to_string(group.bits) +
                                      " bits in group " + std::to_string(g) + ", no whole words of 32 bits");
    group.first_row = row;
    group.first_word = word;
    row += group.rows;
    word += group.words();
  }
  if (word > 0x7fff) return detail::refuse(name, "more than 32767 rows of words");
  std::vector<std::uint32_t> place_of(in), next(count);
  for (std::size_t g = 0; g < count; ++g) next[g] = static_cast<std::uint32_t>(groups[g].first_row);
  for (std::size_t c = 0; c < in; ++c) place_of[c] = next[matrix.group_of(c)]++;
  if (!inverse_permutation.empty()) {
    std::vector<std::uint8_t> taken(in);
    for (std::size_t c = 0; c < in; ++c) {
      const std::size_t place = c < inverse_permutation.size() ? inverse_permutation[c] : in;
      const detail::Exl2Group& group = groups[matrix.group_of(c)];
      if (inverse_permutation.size() != in || place < group.first_row || place - group.first_row >= group.rows ||
          taken[place])
        return Error{ErrorCode::invalid_argument,
                     "pare: inverse_permutation does not put input " + std::to_string(c) + " into its group"};
      taken[place] = 1;
      place_of[c] = static_cast<std::uint32_t>(place);
    }
  }

  auto weight = make_part("q_weight", PartType::int32, {word, padded}, memory);
  if (!weight) return weight.error();
  auto nibbles = make_part("q_scale", PartType::int32, {count, padded / 8}, memory);
  if (!nibbles) return nibbles.error();
  auto maxima = make_part("q_scale_max", PartType::float16, {count}, memory);
  if (!maxima) return maxima.error();
  auto pairs = make_part("q_groups", PartType::int16, {2 * count}, memory);
  if (!pairs) return pairs.error();
  auto places = make_part("q_invperm", PartType::int32, {in}, memory);
  if (!places) return places.error();
  for (std::size_t c = 0; c < in; ++c) store_le(places->bytes().data() + 4 * c, place_of[c], 4);
  std::vector<float> scales(out);
  std::vector<std::uint8_t> roots(out);
  for (std::size_t g = 0; g < count; ++g) {
    const detail::Exl2Group& group = groups[g];
    store_le(pairs->bytes().data() + 4 * g, static_cast<std::uint64_t>(group.bits), 2);
    store_le(pairs->bytes().data() + 4 * g + 2, group.first_word, 2);
    auto padded_codes = Buffer::allocate(padded * group.rows, memory);
    if (!padded_codes) return padded_codes.error();
    const MatrixView<std::uint8_t> codes = bytes_view(*padded_codes, {padded, group.rows});
    std::fill_n(codes.data, padded * group.rows, static_cast<std::uint8_t>(group.packing().padding));
    for (std::size_t c = 0; c < in; ++c)
      if (matrix.group_of(c) == g)
        for (std::size_t r = 0; r < out; ++r) codes(r, place_of[c] - group.first_row) = matrix.codes()(r, c);
    const auto words = weight->bytes().subspan(group.first_word * padded * 4, group.words() * padded * 4);
    if (!codes.empty())
      if (auto done = pack_codes(group.packing(), MatrixView<const std::uint8_t>(codes), words); !done)
        return done.error();
    for (std::size_t r = 0; r < out; ++r) scales[r] = matrix.scales()(r, g);
    const auto scale_unit = detail::exl2_unit(scales, roots);
    if (!scale_unit)
      return detail::refuse(
          name, "the scales of group " + std::to_string(g) + ": they are no squares, 1 to 256, times one float16");
    store_le(maxima->bytes().data() + 2 * g, Half(static_cast<float>(*scale_unit) * 256.0f).bits, 2);
    for (std::size_t r = 0; r < out; ++r) {
      std::uint8_t& byte = nibbles->bytes()[(g * padded + r) / 2];
      byte = static_cast<std::uint8_t>(byte | roots[r] << (r % 2 * 4));
    }
  }
  return collect(*std::move(weight), *std::move(nibbles), *std::move(maxima), *std::move(pairs), *std::move(places));
}

}  // namespace pare
