#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <vector>

#include "pare/layouts/flat_codes.hpp"

namespace pare {

/// bitsandbytes' signed dynamic map of 8 bits, in ascending order: in each of seven decades from 1e-6 up, 2^i midpoints
/// of 2^i + 1 even steps from 0.1 to 1, both signs; and 0 and 1. It quantizes the absmax of double-quantized weights.
inline constexpr std::array<float, 256> bnb_dynamic_map = [] {
  constexpr float decades[] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
  std::array<float, 256> map{0.0f, 1.0f};
  std::size_t n = 2;
  for (std::size_t i = 0; i < 7; ++i) {
    const std::size_t steps = std::size_t{1} << i, count = steps + 1;
    const float step = (1.0f - 0.1f) / static_cast<float>(steps);
    // The files' values are those of PyTorch's vectors of eight: the first of each eight is counted from the nearer end
    // with one rounding, the others from the first; what is left after pairs of vectors stands for itself.
    const auto from_end = [&](std::size_t k) {
      const double distance = static_cast<double>(step) * static_cast<double>(k < count / 2 ? k : steps - k);
      return static_cast<float>(k < count / 2 ? static_cast<double>(0.1f) + distance : 1.0 - distance);
    };
    const auto boundary = [&](std::size_t k) {
      if (k >= count / 16 * 16) return from_end(k);
      return from_end(k / 8 * 8) + static_cast<float>(k % 8) * step;
    };
    for (std::size_t k = 0; k < steps; ++k) {
      const float mean = decades[i] * ((boundary(k) + boundary(k + 1)) / 2.0f);
      map[n++] = mean;
      map[n++] = -mean;
    }
  }
  std::sort(map.begin(), map.end());
  return map;
}();

/// The code of the nearest value of the dynamic map, the lower of two that are as near; NaN gives code 0.
constexpr std::uint8_t bnb_dynamic_code(float x) noexcept {
  if (x > bnb_dynamic_map.back()) return 255;
  std::size_t nearest = 0;
  float distance = x < bnb_dynamic_map[0] ? bnb_dynamic_map[0] - x : x - bnb_dynamic_map[0];
  for (std::size_t code = 1; code < bnb_dynamic_map.size(); ++code) {
    const float value = bnb_dynamic_map[code], d = x < value ? value - x : x - value;
    if (!(d < distance)) continue;
    nearest = code;
    distance = d;
  }
  return static_cast<std::uint8_t>(nearest);
}

/// bitsandbytes' 4-bit weights (`<p>.weight` and what stands beside it): `weight` uint8 [ceil(n / 2), 1] (or the same
/// bytes as any other type), the flattened matrix with the earlier element in the high nibble; `weight.absmax` float32,
/// one for each `blocksize` elements, across rows; `weight.quant_map` float32 [16]. Double quantization stores
/// uint8 absmax, `weight.nested_absmax` float32, one for each `nested_blocksize` of them, and
/// `weight.nested_quant_map` float32 [256]: absmax = map[code] * nested absmax + offset.
///
/// The members are what the JSON in `weight.quant_state.bitsandbytes__nf4` says. Where rows are no multiples of the
/// block the matrix is the flattened one, [1, rows * columns].
struct Bitsandbytes4Bit {
  static constexpr std::string_view name = "bitsandbytes-4bit";

  Shape shape{};                           ///< of the weight; {0, 0} to write the matrix's own
  CodeFormat format = code_format<NF4>();  ///< or BnbFP4
  std::size_t blocksize = 64;              ///< elements that share an absmax
  bool nested = false;                     ///< double quantization
  float nested_offset = 0.0f;              ///< the mean of the absmax: bnb_nested_offset()
  std::size_t nested_blocksize = 256;      ///< absmax that share a nested one
  std::span<const float> nested_absmax{};  ///< to write those of a file again; else the largest distances
  bool round_scales = false;               ///< take the nearest absmax that the nested ones allow; else exact ones

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;

 private:
  [[nodiscard]] Packing packing() const noexcept;
  Result<void> read_nested(std::span<const PartView> parts, CodedMatrix& matrix) const;
  Result<void> write_nested(const ScaleGrid& grid, std::vector<Part>& parts, std::pmr::memory_resource* memory) const;
};

/// The mean of a matrix's scales: what double quantization takes away from each absmax first.
inline float bnb_nested_offset(const CodedMatrix& matrix) noexcept {
  double sum = 0.0;
  const auto* scales = reinterpret_cast<const float*>(matrix.scales_memory.data());
  const std::size_t count = matrix.grid.rows * matrix.grid.cols;
  for (std::size_t i = 0; i < count; ++i) sum += static_cast<double>(scales[i]);
  return count == 0 ? 0.0f : static_cast<float>(sum / static_cast<double>(count));
}

/// A weight as the encoders of 4-bit formats take it: x * (1 / absmax) within +-1, or 0 in a block of zeros. Files made
/// on CPUs have BnbFP4Rule::bucketize's codes of it.
constexpr float bnb_scaled(float x, float absmax) noexcept {
  const float scaled = absmax == 0.0f ? 0.0f : x * (1.0f / absmax);
  return scaled < -1.0f ? -1.0f : scaled > 1.0f ? 1.0f : scaled;
}

/// bitsandbytes' LLM.int8() weights: `weight` int8 [out, in], `SCB` float32 [out], the absmax of each row, and
/// `weight_format` uint8, a scalar 0 (rows as they are). The value is (code * SCB) / 127.
struct BitsandbytesInt8 {
  static constexpr std::string_view name = "bitsandbytes-int8";
  static constexpr Packing packing{.bits = 8};

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;
};

inline Packing Bitsandbytes4Bit::packing() const noexcept {
  std::uint16_t zero = 0;
  while (format.values[zero] != 0.0f) ++zero;
  return {.order = detail::high_first<2>, .padding = zero};
}

inline Result<void> Bitsandbytes4Bit::read_nested(std::span<const PartView> parts, CodedMatrix& matrix) const {
  const auto absmax = find_part(parts, "weight.absmax", PartType::uint8, 1);
  if (!absmax) return absmax.error();
  const auto nested_scales = find_part(parts, "weight.nested_absmax", PartType::float32, 1);
  if (!nested_scales) return nested_scales.error();
  const auto map = find_part(parts, "weight.nested_quant_map", PartType::float32, 1);
  if (!map) return map.error();
  const std::size_t count = matrix.grid.rows * matrix.grid.cols;
  if (nested_blocksize == 0) return Error{ErrorCode::invalid_argument, "pare: nested_blocksize is 0"};
  if (auto fits = expect_shape(*absmax, {count}); !fits) return fits;
  if (auto fits = expect_shape(*nested_scales, {ceil_div(count, nested_blocksize)}); !fits) return fits;
  if (auto fits = expect_shape(*map, {256}); !fits) return fits;
  matrix.scale_type = ScaleType::float32;
  return for_each_place(matrix.grid, [&](std::size_t r, std::size_t g) -> Result<void> {
    const std::size_t i = r * matrix.grid.cols + g;
    // A volatile product cannot be fused into the sum: the same bits on every machine.
    const volatile float product = scale_at(*map, absmax->bytes[i]) * scale_at(*nested_scales, i / nested_blocksize);
    matrix.scales()(r, g) = product + nested_offset;
    return {};
  });
}

inline Result<CodedMatrix> Bitsandbytes4Bit::read(std::span<const PartView> parts,
                                                  std::pmr::memory_resource* memory) const {
  if (blocksize == 0) return Error{ErrorCode::invalid_argument, "pare: blocksize is 0"};
  const auto codes_shape = detail::shape_of_blocks(shape, blocksize);
  if (!codes_shape) return codes_shape.error();
  auto weight = find_packed_bytes(parts, "weight");
  if (!weight) return weight.error();
  const auto map = find_part(parts, "weight.quant_map", PartType::float32, 1);
  if (!map) return map.error();
  if (auto fits = expect_shape(*map, {format.values.size()}); !fits) return fits.error();
  for (std::size_t code = 0; code < format.values.size(); ++code)
    if (scale_at(*map, code) != format.values[code])
      return Error{ErrorCode::unsupported, "pare: weight.quant_map has " + text(scale_at(*map, code)) + " for code " +
                                               std::to_string(code) + " where " + std::string(format.name) + " has " +
                                               text(format.values[code])};
  if (auto fits = expect_flat(*weight, packing(), *codes_shape); !fits) return fits.error();
  auto matrix = CodedMatrix::allocate(*codes_shape, format, {1, blocksize}, ShiftKind::none, memory);
  if (!matrix) return matrix;
  if (auto unpacked = unpack_flat(*weight, packing(), matrix->codes()); !unpacked) return unpacked.error();
  if (nested) {
    if (auto done = read_nested(parts, *matrix); !done) return done.error();
    return matrix;
  }
  const auto absmax = find_part(parts, "weight.absmax", PartType::float32, 1);
  if (!absmax) return absmax.error();
  if (auto fits = expect_shape(*absmax, {matrix->grid.rows * matrix->grid.cols}); !fits) return fits.error();
  read_scales(*absmax, *matrix, by_rows(matrix->grid));
  return matrix;
}

inline Result<void> Bitsandbytes4Bit::write_nested(const ScaleGrid& grid, std::vector<Part>& parts,
                                                   std::pmr::memory_resource* memory) const {
  const Shape blocks = grid.grid();
  const std::size_t count = blocks.rows * blocks.cols;
  if (nested_blocksize == 0) return Error{ErrorCode::invalid_argument, "pare: nested_blocksize is 0"};
  const std::size_t nested_count = ceil_div(count, nested_blocksize);
  if (!nested_absmax.empty() && nested_absmax.size() != nested_count)
    return Error{ErrorCode::invalid_argument, "pare: " + std::to_string(nested_absmax.size()) +
                                                  " nested absmax where there should be " +
                                                  std::to_string(nested_count)};
  auto absmax = make_part("weight.absmax", PartType::uint8, {count}, memory);
  if (!absmax) return absmax.error();
  auto scales = make_part("weight.nested_absmax", PartType::float32, {nested_count}, memory);
  if (!scales) return scales.error();
  auto map = detail::float_part("weight.nested_quant_map", bnb_dynamic_map, memory);
  if (!map) return map.error();
  for (std::size_t block = 0; block < nested_count; ++block) {
    const std::size_t begin = block * nested_blocksize, end = std::min(count, begin + nested_blocksize);
    const auto scale = [&](std::size_t i) { return grid.scale(i / blocks.cols, i % blocks.cols); };
    float largest = 0.0f;
    for (std::size_t i = begin; i < end; ++i) {
      const float distance = scale(i) - nested_offset;
      largest = std::max(largest, distance < 0.0f ? -distance : distance);
    }
    if (!nested_absmax.empty()) largest = nested_absmax[block];
    store_le(scales->bytes().data() + 4 * block, F32::encode(largest), 4);
    for (std::size_t i = begin; i < end; ++i) {
      const std::uint8_t code = bnb_dynamic_code(largest == 0.0f ? 0.0f : (scale(i) - nested_offset) / largest);
      const volatile float product = bnb_dynamic_map[code] * largest;
      if (!round_scales && product + nested_offset != scale(i))
        return grid.refusal("scale", i / blocks.cols, i % blocks.cols,
                            text(scale(i)) + " has to be rounded for double quantization");
      absmax->bytes()[i] = code;
    }
  }
  parts.push_back(*std::move(absmax));
  parts.push_back(*std::move(scales));
  parts.push_back(*std::move(map));
  return {};
}

inline Result<std::vector<Part>> Bitsandbytes4Bit::write(const CodedMatrix& matrix,
                                                         std::pmr::memory_resource* memory) const {
  if (auto good = expect_format(matrix, name, format); !good) return good.error();
  if (auto good = expect_no_tensor_scale(matrix, name); !good) return good.error();
  if (auto good = detail::expect_blocks_in_rows(matrix, name, shape, blocksize); !good) return good.error();
  const auto grid = ScaleGrid::fit(matrix, name, {1, blocksize});
  if (!grid) return grid.error();
  if (auto good = grid->unshifted(); !good) return good.error();
  auto weight = pack_flat("weight", PartType::uint8, packing(), matrix.codes(), memory);
  if (!weight) return weight.error();
  weight->shape = {weight->memory.size(), 1};
  auto map = detail::float_part("weight.quant_map", format.values, memory);
  if (!map) return map.error();
  std::vector<Part> parts = collect(*std::move(weight), *std::move(map));
  if (nested) {
    if (auto done = write_nested(*grid, parts, memory); !done) return done.error();
    return parts;
  }
  const std::size_t count = grid->grid().rows * grid->grid().cols;
  auto absmax = write_scales("weight.absmax", ScaleType::float32, {count}, *grid, by_rows(grid->grid()), memory);
  if (!absmax) return absmax.error();
  parts.push_back(*std::move(absmax));
  return parts;
}

inline Result<CodedMatrix> BitsandbytesInt8::read(std::span<const PartView> parts,
                                                  std::pmr::memory_resource* memory) const {
  const auto weight = find_part(parts, "weight", PartType::int8, 2);
  if (!weight) return weight.error();
  const auto absmax = find_part(parts, "SCB", PartType::float32, 1);
  if (!absmax) return absmax.error();
  const Shape shape{weight->shape[0], weight->shape[1]};
  if (auto fits = expect_shape(*absmax, {shape.rows}); !fits) return fits.error();
  if (has_part(parts, "weight_format")) {
    const auto order = find_part(parts, "weight_format", PartType::uint8, 0);
    if (!order) return order.error();
    if (order->bytes[0] != 0)
      return Error{ErrorCode::unsupported, "pare: weight_format " + std::to_string(order->bytes[0]) +
                                               " is an order of old GPUs; only 0, rows, is read"};
  }
  auto matrix =
      CodedMatrix::allocate(shape, unsigned_format(8), {1, detail::row_length(shape)}, ShiftKind::zero_point, memory);
  if (!matrix) return matrix;
  if (auto unpacked = unpack_part(*weight, packing, matrix->codes()); !unpacked) return unpacked.error();
  detail::flip_signs(matrix->codes(), 8);
  fill_shifts(*matrix, 128.0f);
  read_scales(*absmax, *matrix, by_rows(matrix->grid));
  matrix->tensor_scale = 127.0f;
  matrix->tensor_scale_kind = TensorScale::divides_value;
  return matrix;
}

inline Result<std::vector<Part>> BitsandbytesInt8::write(const CodedMatrix& matrix,
                                                         std::pmr::memory_resource* memory) const {
  if (matrix.tensor_scale != 127.0f || matrix.tensor_scale_kind != TensorScale::divides_value)
    return detail::refuse(name, "scales that are no absmax; its values are code * absmax / 127");
  const auto grid = ScaleGrid::fit(matrix, name, {1, detail::row_length(matrix.shape)});
  if (!grid) return grid.error();
  auto codes = centred_codes(*grid, 8, memory);
  if (!codes) return codes.error();
  detail::flip_signs(bytes_view(*codes, matrix.shape), 8);
  auto weight = pack_part("weight", PartType::int8, packing, bytes_view(*codes, matrix.shape), memory);
  if (!weight) return weight.error();
  auto absmax = write_scales("SCB", ScaleType::float32, {matrix.shape.rows}, *grid, by_rows(grid->grid()), memory);
  if (!absmax) return absmax.error();
  auto order = make_part("weight_format", PartType::uint8, {}, memory);
  if (!order) return order.error();
  return collect(*std::move(weight), *std::move(absmax), *std::move(order));
}

/// The code of a weight in such a row: round(x * 127 / absmax), ties to even, within int8, 128 added; of 0 in a row of
/// zeros and for NaN.
constexpr std::uint8_t bnb_int8_code(float x, float absmax) noexcept {
  const std::int32_t q = absmax == 0.0f ? 0 : round_to_int(x * (127.0f / absmax));
  return static_cast<std::uint8_t>((q < -128 ? -128 : q > 127 ? 127 : q) + 128);
}

}  // namespace pare
