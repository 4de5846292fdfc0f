#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "pare/layouts/flat_tensor.hpp"
#include "pare/schemes/schemes.hpp"

namespace pare {

/// The tensors of ONNX's DequantizeLinear (operator sets 10 to 25): `x`, the raw_data of an initializer (row-major, 2
/// and 4 bits from the lowest on, the last byte filled up with zeros), `x_scale` of any float type or E8M0, and
/// `x_zero_point`, which may be missing, packed like x. The value is (code - zero point) * scale.
///
/// Rows and columns are those of x; MatMul's weights lie as [in, out].
struct OnnxLinear {
  static constexpr std::string_view name = "onnx:linear";

  StoredFormat elements = stored_int(8);
  Shape shape{};               ///< of x; to write, {0, 0} for the matrix's own
  std::optional<int> axis{};   ///< 0 or 1: scales of rows, of columns, or of blocks along the axis; none: one scale
  std::size_t block_size = 0;  ///< along the axis; 0 for a scale of each row (axis 0) or column (axis 1)
  bool zero_points = true;     ///< to write integers: whether there is an x_zero_point; else zero points are 0

  [[nodiscard]] constexpr Packing packing() const noexcept { return {.bits = elements.bits()}; }

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const {
    const auto flat = tensor(shape);
    if (!flat) return flat.error();
    return flat->read(parts, memory);
  }
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const {
    const auto flat = tensor(shape == Shape{} ? matrix.shape : shape);
    if (!flat) return flat.error();
    return flat->write(matrix, memory);
  }

 private:
  [[nodiscard]] Result<detail::FlatTensor> tensor(Shape weights) const;
};

/// QuantizeLinear's integer of a weight: round(x / scale) + zero point, ties to even, within lowest .. highest.
/// Infinities are limited too; NaN, of which ONNX says nothing, gives the zero point.
constexpr std::int32_t onnx_quantize(float x, float scale, std::int32_t zero_point, std::int32_t lowest,
                                     std::int32_t highest) noexcept {
  const float quotient = x / scale;
  const std::int32_t q = is_nan(quotient)      ? 0
                         : quotient < -65536.f ? -65536
                         : quotient > 65536.f  ? 65536
                                               : round_to_int(quotient);
  return q + zero_point < lowest ? lowest : q + zero_point > highest ? highest : q + zero_point;
}

/// The weights of ONNX Runtime's MatMulNBits (com.microsoft): `B` uint8 [N, blocks, block_size * bits / 8], the weight
/// [K, N] transposed, each block an LSB-first stream, the last filled up with codes of 0; `scales` of A's type
/// [N * blocks] or [N, blocks]; `zero_points` uint8 [N * ceil(blocks * bits / 8)] or [N, that], or of A's type with
/// one element for each block. Without them the zero point is 2^(bits - 1). The matrix is [N, K].
struct MatMulNBits {
  static constexpr std::string_view name = "onnx:matmulnbits";

  int bits = 4;                 ///< 2, 4 or 8
  std::size_t block_size = 32;  ///< inputs that share a scale: 16 or more, a power of two
  std::size_t columns = 0;      ///< K; 0 for all that the blocks hold, or to write the matrix's own
  bool zero_points = true;      ///< to write: whether zero points lie beside; else codes are counted from the middle
  bool flat = false;            ///< to write: scales [N * blocks] and zero points [N * bytes], as in older files

  [[nodiscard]] constexpr Packing packing() const noexcept { return {.bits = bits, .multiple = block_size}; }

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;

 private:
  [[nodiscard]] Result<void> check() const;
  Result<void> read_zeros(std::span<const PartView> parts, CodedMatrix& matrix,
                          std::pmr::memory_resource* memory) const;
};

/// The grid of a block by ONNX Runtime's rule. Asymmetric: the range with zero in it, scale = (highest - lowest) /
/// (2^bits - 1), zero point = round(-lowest / scale). Symmetric: scale = -(the end of larger magnitude, the lowest of
/// two equal ones) / 2^(bits - 1), which may be negative, or 0. Halves round away from zero.
constexpr BlockParameters matmulnbits_parameters(const Range& range, int bits, bool symmetric) noexcept {
  BlockParameters p{.finite = range.finite};
  if (symmetric) {
    const float end = range.highest > -range.lowest ? range.highest : range.lowest;
    p.scale = end / -static_cast<float>(1 << (bits - 1));
    p.zero_point = static_cast<std::uint8_t>(1 << (bits - 1));
  } else {
    const auto most = static_cast<float>((1 << bits) - 1);
    p.scale = (range.highest - range.lowest) / most;
    const float zero = p.scale == 0.0f ? 0.0f : -range.lowest / p.scale;
    p.zero_point = static_cast<std::uint8_t>(round_to_int(zero < 0.0f   ? 0.0f
                                                          : zero > most ? most
                                                                        : zero,
                                                          Rounding::nearest_away));
  }
  p.inverse = p.scale == 0.0f ? 0.0f : 1.0f / p.scale;
  return p;
}

/// The code of a weight in such a grid: round(x * (1 / scale) + zero point), halves away from zero, within the codes.
inline std::uint8_t matmulnbits_code(float x, const BlockParameters& p, int bits) noexcept {
  // A volatile product cannot be fused into the sum: the same bits on every machine.
  const volatile float product = x * p.inverse;
  const std::int32_t q = round_to_int(product + static_cast<float>(p.zero_point), Rounding::nearest_away);
  const std::int32_t most = (1 << bits) - 1;
  return static_cast<std::uint8_t>(q < 0 ? 0 : q > most ? most : q);
}

inline Result<detail::FlatTensor> OnnxLinear::tensor(Shape weights) const {
  if ((axis && *axis != 0 && *axis != 1) || (!axis && block_size != 0))
    return Error{ErrorCode::invalid_argument, "pare: axis is 0 or 1, and blocks need one"};
  const std::size_t rows = weights.rows != 0 ? weights.rows : 1, cols = detail::row_length(weights);
  detail::FlatTensor flat{.layout = name,
                          .elements = elements,
                          .packing = packing(),
                          .shape = weights,
                          .block = {rows, cols},
                          .codes = "x",
                          .scales = "x_scale",
                          .zero_points = zero_points ? "x_zero_point" : "",
                          .scale_shape = {}};
  if (!axis) return flat;
  if (block_size == 0) {
    flat.block = *axis == 0 ? Shape{1, cols} : Shape{rows, 1};
    flat.scale_shape = {*axis == 0 ? weights.rows : weights.cols};
  } else {
    flat.block = *axis == 0 ? Shape{block_size, 1} : Shape{1, block_size};
    flat.scale_shape = {flat.grid().rows, flat.grid().cols};
  }
  return flat;
}

inline Result<void> MatMulNBits::check() const {
  if ((bits == 2 || bits == 4 || bits == 8) && block_size >= 16 && (block_size & (block_size - 1)) == 0) return {};
  return Error{ErrorCode::invalid_argument,
               "pare: onnx:matmulnbits has 2, 4 or 8 bits and blocks of a power of two, 16 "
               "or more"};
}

inline Result<void> MatMulNBits::read_zeros(std::span<const PartView> parts, CodedMatrix& matrix,
                                            std::pmr::memory_resource* memory) const {
  fill_shifts(matrix, static_cast<float>(1 << (bits - 1)));
  if (!has_part(parts, "zero_points")) return {};
  const Shape grid = matrix.grid;
  for (const PartView& part : parts)
    if (part.name == "zero_points" && part.type != PartType::uint8) {
      const auto values = detail::find_scale_list(parts, "zero_points", grid.rows * grid.cols);
      if (!values) return values.error();
      matrix.shift_kind = ShiftKind::real_zero;
      return for_each_place(grid, [&](std::size_t r, std::size_t g) -> Result<void> {
        matrix.shifts()(r, g) = scale_at(*values, r * grid.cols + g);
        return {};
      });
    }
  const auto found = find_packed_bytes(parts, "zero_points");
  if (!found) return found.error();
  const Packing row_packing{.bits = bits};
  const Shape words = row_packing.word_shape(grid);
  const std::size_t word_list[] = {words.rows, words.cols};
  if (found->bytes.size() != words.rows * words.cols)
    return Error{ErrorCode::invalid_argument, "pare: zero_points has " + std::to_string(found->bytes.size()) +
                                                  " bytes, not " + std::to_string(words.rows * words.cols)};
  const PartView rows{"zero_points", PartType::uint8, word_list, found->bytes};
  return read_zero_points(rows, row_packing, matrix, [](std::uint8_t code) { return code; }, memory);
}

inline Result<CodedMatrix> MatMulNBits::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  if (auto good = check(); !good) return good.error();
  const auto weight = find_part(parts, "B", PartType::uint8, 3);
  if (!weight) return weight.error();
  const std::size_t blocks = weight->shape[1];
  if (auto fits = expect_shape(*weight, {weight->shape[0], blocks, block_size * static_cast<std::size_t>(bits) / 8});
      !fits)
    return fits.error();
  const auto held = extent(*weight, blocks, block_size);
  if (!held) return held.error();
  const Shape shape{weight->shape[0], columns != 0 ? columns : *held};
  if (ceil_div(shape.cols, block_size) != blocks)
    return Error{ErrorCode::invalid_argument, "pare: B has " + std::to_string(blocks) + " blocks, not those of " +
                                                  std::to_string(shape.cols) + " inputs"};
  const auto scales = detail::find_scale_list(parts, "scales", shape.rows * blocks);
  if (!scales) return scales.error();
  if (auto fits = detail::check_packing(packing(), shape, weight->bytes.size()); !fits) return fits.error();
  auto matrix = CodedMatrix::allocate(shape, unsigned_format(bits), {1, block_size}, ShiftKind::zero_point, memory);
  if (!matrix) return matrix;
  if (shape.rows != 0 && shape.cols != 0)
    if (auto unpacked = unpack_codes(packing(), weight->bytes, matrix->codes()); !unpacked) return unpacked.error();
  read_scales(*scales, *matrix, by_rows(matrix->grid));
  if (auto done = read_zeros(parts, *matrix, memory); !done) return done.error();
  return matrix;
}

inline Result<std::vector<Part>> MatMulNBits::write(const CodedMatrix& matrix,
                                                    std::pmr::memory_resource* memory) const {
  if (auto good = check(); !good) return good.error();
  if (auto good = expect_no_tensor_scale(matrix, name); !good) return good.error();
  if (columns != 0 && columns != matrix.shape.cols)
    return Error{ErrorCode::invalid_argument, "pare: the matrix has " + std::to_string(matrix.shape.cols) +
                                                  " columns, not " + std::to_string(columns)};
  if (zero_points)
    if (auto good = expect_integers(matrix, name, bits); !good) return good.error();
  const auto grid = ScaleGrid::fit(matrix, name, {1, block_size});
  if (!grid) return grid.error();
  auto codes = zero_points ? copy_codes(matrix, memory) : centred_codes(*grid, bits, memory);
  if (!codes) return codes.error();
  auto weight = pack_part("B", PartType::uint8, packing(), bytes_view(*codes, matrix.shape), memory);
  if (!weight) return weight.error();
  const std::size_t blocks = grid->grid().cols, rows = matrix.shape.rows;
  weight->shape = {rows, blocks, block_size * static_cast<std::size_t>(bits) / 8};
  auto scales = write_scales("scales", model_type(matrix), {rows, blocks}, *grid, by_rows(grid->grid()), memory);
  if (!scales) return scales.error();
  if (flat) scales->shape = {rows * blocks};
  if (!zero_points) return collect(*std::move(weight), *std::move(scales));
  const Packing row_packing{.bits = bits};
  auto zeros = write_zero_points("zero_points", PartType::uint8, row_packing, *grid, 0, (1 << bits) - 1, 0, memory);
  if (!zeros) return zeros.error();
  if (flat) zeros->shape = {zeros->memory.size()};
  return collect(*std::move(weight), *std::move(scales), *std::move(zeros));
}

}  // namespace pare
