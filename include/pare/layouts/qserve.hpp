#pragma once

#include <cmath>
#include <span>
#include <string_view>
#include <vector>

#include "pare/layouts/flat_codes.hpp"

namespace pare {

namespace detail {

/// A tile of 32 outputs by 32 inputs as QServe's kernels load it: outputs 16 apart share a byte.
inline constexpr auto qserve_order = [] {
  std::array<std::uint16_t, 1024> order{};
  for (std::size_t n = 0; n < 32; ++n)
    for (std::size_t k = 0; k < 32; ++k) {
      const std::size_t byte = (n % 8 * 4 + k / 4 % 4) * 16 + (k / 16 * 2 + n / 8 % 2) * 4 + k % 4;
      order[byte * 2 + n / 16] = static_cast<std::uint16_t>(n * 32 + k);
    }
  return order;
}();

inline constexpr Packing qserve_packing{.strip = 32, .order = qserve_order};

/// Reads `qweight` int8 [out, in / 2] into a matrix whose blocks have `group` columns, or whole rows where that is 0.
inline Result<CodedMatrix> read_qserve_codes(std::span<const PartView> parts, std::size_t group, ShiftKind shift,
                                             std::pmr::memory_resource* memory) {
  const auto weight = find_part(parts, "qweight", PartType::int8, 2);
  if (!weight) return weight.error();
  const auto in = extent(*weight, weight->shape[1], 2);
  if (!in) return in.error();
  const Shape shape{weight->shape[0], *in};
  const std::size_t unit = group != 0 ? group : 32;
  if (shape.rows % 32 != 0 || shape.cols % 32 != 0 || shape.cols % unit != 0)
    return Error{ErrorCode::invalid_argument, "pare: qweight is " + std::to_string(shape.rows) + " x " +
                                                  std::to_string(shape.cols) + ", no tiles of 32 x 32 in groups of " +
                                                  std::to_string(unit)};
  auto matrix =
      CodedMatrix::allocate(shape, unsigned_format(4), {1, group != 0 ? group : row_length(shape)}, shift, memory);
  if (!matrix) return matrix;
  if (shape.rows == 0 || shape.cols == 0) return matrix;
  if (auto unpacked = unpack_codes(qserve_packing, weight->bytes, matrix->codes()); !unpacked) return unpacked.error();
  return matrix;
}

inline Result<Part> write_qserve_codes(const CodedMatrix& matrix, std::string_view layout,
                                       std::pmr::memory_resource* memory) {
  if (auto good = expect_integers(matrix, layout, 4); !good) return good.error();
  if (auto good = expect_no_tensor_scale(matrix, layout); !good) return good.error();
  if (auto good = expect_multiples(layout, matrix.shape, {32, 32}); !good) return good.error();
  auto weight = pack_part("qweight", PartType::int8, qserve_packing, matrix.codes(), memory);
  if (weight) weight->shape = {matrix.shape.rows, matrix.shape.cols / 2};
  return weight;
}

}  // namespace detail

/// QServe's W4A8 weights with a scale for each output (QoQ): `qweight` int8 [out, in / 2], tiles of 32 x 32 codes;
/// `s1_scales` and `s1_szeros` float16 [out]. The value is code * s1_scales - s1_szeros.
struct QServePerChannel {
  static constexpr std::string_view name = "qserve:per-channel";
  static constexpr Packing packing = detail::qserve_packing;

  bool round_offsets = false;  ///< round scale * zero point to float16; else only exact ones

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;
};

/// In which order QServe's second level has the outputs of every 32.
enum class QServeOrder {
  kernel,          ///< 4 * (n % 8) + n / 8: what omniserve converts to and its kernel reads
  deepcompressor,  ///< 16 * (n / 16) + 2 * (n % 8) + n / 8 % 2: what deepcompressor writes
};

/// QServe's W4A8 weights with groups (QoQ's two levels): `qweight` as above; `s1_scales` float16 [out]; `s2_scales` and
/// `s2_zeros` int8 [groups, out], outputs in an order of their own. The 8-bit weight of the first level is
/// code * s2_scales + s2_zeros modulo 256, and the value that times s1_scales. Scales of the second level are 1 to 17,
/// its zeros -(zero point * scale). The matrix has s1 * s2 as scales, which is exact.
struct QServePerGroup {
  static constexpr std::string_view name = "qserve:per-group";
  static constexpr Packing packing = detail::qserve_packing;

  std::size_t group_size = 128;
  QServeOrder order = QServeOrder::kernel;
  std::span<const float> channel_scales{};  ///< to write: s1_scales of each output; else the largest that divide its
                                            ///< groups' scales

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;

  /// The first level of a row's quantization: max|x| over this, so that no 8-bit weight of the second leaves int8.
  static constexpr int protective_range = 119;

 private:
  [[nodiscard]] std::size_t place(std::size_t n) const noexcept {
    return n / 32 * 32 +
           (order == QServeOrder::kernel ? 4 * (n % 8) + n % 32 / 8 : n % 32 / 16 * 16 + 2 * (n % 8) + n / 8 % 2);
  }
  [[nodiscard]] Result<float> channel_scale(const ScaleGrid& grid, std::size_t row) const;
};

inline Result<CodedMatrix> QServePerChannel::read(std::span<const PartView> parts,
                                                  std::pmr::memory_resource* memory) const {
  auto matrix = detail::read_qserve_codes(parts, 0, ShiftKind::offset, memory);
  if (!matrix) return matrix;
  const auto scales = find_part(parts, "s1_scales", PartType::float16, 1);
  if (!scales) return scales.error();
  const auto offsets = find_part(parts, "s1_szeros", PartType::float16, 1);
  if (!offsets) return offsets.error();
  for (const PartView& part : {*scales, *offsets})
    if (auto fits = expect_shape(part, {matrix->shape.rows}); !fits) return fits.error();
  read_scales(*scales, *matrix, by_rows(matrix->grid));
  static_cast<void>(for_each_place(matrix->grid, [&](std::size_t r, std::size_t g) -> Result<void> {
    matrix->shifts()(r, g) = -scale_at(*offsets, r);
    return {};
  }));
  return matrix;
}

inline Result<std::vector<Part>> QServePerChannel::write(const CodedMatrix& matrix,
                                                         std::pmr::memory_resource* memory) const {
  auto weight = detail::write_qserve_codes(matrix, name, memory);
  if (!weight) return weight.error();
  const auto grid = ScaleGrid::fit(matrix, name, {1, detail::row_length(matrix.shape)});
  if (!grid) return grid.error();
  const std::size_t out = matrix.shape.rows;
  auto scales = write_scales("s1_scales", ScaleType::float16, {out}, *grid, by_rows(grid->grid()), memory);
  if (!scales) return scales.error();
  auto offsets = make_part("s1_szeros", PartType::float16, {out}, memory);
  if (!offsets) return offsets.error();
  const auto store = [&](std::size_t r, std::size_t g) -> Result<void> {
    const auto code = grid->offset_code(r, g, ScaleType::float16, round_offsets);
    if (!code) return code.error();
    store_le(offsets->bytes().data() + 2 * r, *code ^ 0x8000u, 2);
    return {};
  };
  if (auto stored = for_each_place(grid->grid(), store); !stored) return stored.error();
  return collect(*std::move(weight), *std::move(scales), *std::move(offsets));
}

inline Result<CodedMatrix> QServePerGroup::read(std::span<const PartView> parts,
                                                std::pmr::memory_resource* memory) const {
  if (group_size == 0) return Error{ErrorCode::invalid_argument, "pare: group_size is 0"};
  auto matrix = detail::read_qserve_codes(parts, group_size, ShiftKind::zero_point, memory);
  if (!matrix) return matrix;
  const auto channel = find_part(parts, "s1_scales", PartType::float16, 1);
  if (!channel) return channel.error();
  const auto scales = find_part(parts, "s2_scales", PartType::int8, 2);
  if (!scales) return scales.error();
  const auto zeros = find_part(parts, "s2_zeros", PartType::int8, 2);
  if (!zeros) return zeros.error();
  const std::size_t out = matrix->shape.rows, groups = matrix->grid.cols;
  if (auto fits = expect_shape(*channel, {out}); !fits) return fits.error();
  for (const PartView& part : {*scales, *zeros})
    if (auto fits = expect_shape(part, {groups, out}); !fits) return fits.error();
  const auto read_block = [&](std::size_t r, std::size_t g) -> Result<void> {
    const std::size_t i = g * out + place(r);
    const auto wrong = [&](const std::string& what) {
      return Error{ErrorCode::corrupt_data,
                   "pare: " + what + " of row " + std::to_string(r) + ", group " + std::to_string(g)};
    };
    const int byte = scales->bytes[i], scale = byte < 128 ? byte : byte - 256;
    if (scale < 1 || scale > 17) return wrong("s2_scales is " + std::to_string(scale) + ", not 1 to 17, the one");
    int zero = 0;
    while (zero < 16 && static_cast<std::uint8_t>(-(zero * scale)) != zeros->bytes[i]) ++zero;
    if (zero == 16) return wrong("s2_zeros is no multiple of the scale, the one");
    for (std::size_t c = g * group_size; c < (g + 1) * group_size; ++c) {
      const int weight = (matrix->codes()(r, c) - zero) * scale;
      if (weight < -128 || weight > 127) return wrong("an 8-bit weight overflows, that of column " + std::to_string(c));
    }
    matrix->scales()(r, g) = scale_at(*channel, r) * static_cast<float>(scale);
    matrix->shifts()(r, g) = static_cast<float>(zero);
    return {};
  };
  if (auto done = for_each_place(matrix->grid, read_block); !done) return done.error();
  return matrix;
}

inline Result<float> QServePerGroup::channel_scale(const ScaleGrid& grid, std::size_t row) const {
  if (!channel_scales.empty()) return channel_scales[row];
  // The least scale of a row is 1 to 17 times the channel's.
  float least = grid.scale(row, 0);
  for (std::size_t g = 1; g < grid.grid().cols; ++g) least = std::fmin(least, grid.scale(row, g));
  for (int divisor = 1; divisor <= 17; ++divisor) {
    const float candidate = least / static_cast<float>(divisor);
    bool divides = encode_scale(ScaleType::float16, candidate).has_value();
    for (std::size_t g = 0; divides && g < grid.grid().cols; ++g) {
      const std::int32_t multiple = round_to_int(grid.scale(row, g) / candidate);
      divides = multiple >= 1 && multiple <= 17 && static_cast<float>(multiple) * candidate == grid.scale(row, g);
    }
    if (divides) return candidate;
  }
  return grid.refusal("scales", row, 0, "they are no multiples, 1 to 17, of a float16");
}

inline Result<std::vector<Part>> QServePerGroup::write(const CodedMatrix& matrix,
                                                       std::pmr::memory_resource* memory) const {
  if (group_size == 0) return Error{ErrorCode::invalid_argument, "pare: group_size is 0"};
  auto weight = detail::write_qserve_codes(matrix, name, memory);
  if (!weight) return weight.error();
  if (auto good = expect_multiples(name, matrix.shape, {1, group_size}); !good) return good.error();
  const auto grid = ScaleGrid::fit(matrix, name, {1, group_size});
  if (!grid) return grid.error();
  const std::size_t out = matrix.shape.rows, groups = grid->grid().cols;
  if (!channel_scales.empty() && channel_scales.size() != out)
    return Error{ErrorCode::invalid_argument, "pare: channel_scales has " + std::to_string(channel_scales.size()) +
                                                  " values for " + std::to_string(out) + " outputs"};
  auto channel = make_part("s1_scales", PartType::float16, {out}, memory);
  if (!channel) return channel.error();
  auto scales = make_part("s2_scales", PartType::int8, {groups, out}, memory);
  if (!scales) return scales.error();
  auto zeros = make_part("s2_zeros", PartType::int8, {groups, out}, memory);
  if (!zeros) return zeros.error();
  float unit = 0.0f;
  const auto store = [&](std::size_t r, std::size_t g) -> Result<void> {
    if (g == 0) {
      const auto found = channel_scale(*grid, r);
      if (!found) return found.error();
      unit = *found;
      const auto code = encode_scale(ScaleType::float16, unit);
      if (!code) return grid->refusal("channel's scale", r, g, text(unit) + " is no float16");
      store_le(channel->bytes().data() + 2 * r, *code, 2);
    }
    const std::int32_t scale = round_to_int(grid->scale(r, g) / unit);
    if (scale < 1 || scale > 17 || static_cast<float>(scale) * unit != grid->scale(r, g))
      return grid->refusal("scale", r, g, text(grid->scale(r, g)) + " is no multiple, 1 to 17, of " + text(unit));
    const auto zero = grid->zero_point(r, g, 0, 15);
    if (!zero) return zero.error();
    for (std::size_t c = g * group_size; c < (g + 1) * group_size; ++c) {
      const std::int32_t level = (matrix.codes()(r, c) - *zero) * scale;
      if (level < -128 || level > 127)
        return grid->refusal("weight", r, g, std::to_string(level) + " of the first level does not fit in 8 bits");
    }
    scales->bytes()[g * out + place(r)] = static_cast<std::uint8_t>(scale);
    zeros->bytes()[g * out + place(r)] = static_cast<std::uint8_t>(-(*zero * scale));
    return {};
  };
  if (auto stored = for_each_place(grid->grid(), store); !stored) return stored.error();
  return collect(*std::move(weight), *std::move(channel), *std::move(scales), *std::move(zeros));
}

}  // namespace pare
