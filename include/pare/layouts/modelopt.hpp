#pragma once

#include <string_view>
#include <vector>

#include "pare/layouts/float_blocks.hpp"
#include "pare/layouts/scaled_bytes.hpp"
#include "pare/schemes/schemes.hpp"

namespace pare {

/// What ModelOpt's checkpoints call the scales of a weight.
struct ModeloptNames {
  std::string_view scale = "weight_scale";
  std::string_view scale_2 = "weight_scale_2";
};

/// The same in TensorRT-LLM's own checkpoints.
inline constexpr ModeloptNames tensorrt_llm_names{.scale = "weights_scaling_factor",
                                                  .scale_2 = "weights_scaling_factor_2"};

/// ModelOpt's FP8 and FP8_PER_CHANNEL_PER_TOKEN: `weight` E4M3 [out, in], `weight_scale` float32, a scalar or [out].
struct ModeloptFp8 {
  static constexpr std::string_view name = "modelopt:fp8";

  ModeloptNames names{};

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const {
    return layout().read(parts, memory);
  }
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const {
    return layout().write(matrix, memory);
  }

 private:
  [[nodiscard]] constexpr detail::ScaledBytes layout() const noexcept {
    return {.layout = name, .scale = names.scale, .scalars = true, .only_float32 = true};
  }
};

/// DeepSeek's FP8: `weight` E4M3 [out, in], `weight_scale_inv` float32 [ceil(out / 128), ceil(in / 128)], which
/// multiplies whatever its name says.
struct DeepseekFp8 {
  static constexpr std::string_view name = "deepseek:fp8";

  Shape block{128, 128};  ///< "weight_block_size"

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const {
    return layout().read(parts, memory);
  }
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const {
    return layout().write(matrix, memory);
  }

 private:
  [[nodiscard]] constexpr detail::ScaledBytes layout() const noexcept {
    return {.layout = name, .scale = "weight_scale_inv", .block = block, .only_float32 = true};
  }
};

/// ModelOpt's W8A16 and W8A8: `weight` int8 [out, in], `weight_scale` float32 [out].
struct ModeloptInt8 {
  static constexpr std::string_view name = "modelopt:int8";

  ModeloptNames names{};

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const {
    return layout().read(parts, memory);
  }
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const {
    return layout().write(matrix, memory);
  }

 private:
  [[nodiscard]] constexpr detail::ScaledBytes layout() const noexcept {
    return {.layout = name, .weight_type = PartType::int8, .scale = names.scale, .scalars = true, .only_float32 = true};
  }
};

/// ModelOpt's INT4_AWQ and W4A8_AWQ: `weight` uint8 [out / 2, in], two's complement, the even output of a pair in the
/// low nibble; `weight_scale` float32 [out, groups]; for W4A8 `weight_scale_2` float32, the FP8 scale of the
/// dequantized weight, which does not enter its value (TensorScale::aside).
struct ModeloptInt4 {
  static constexpr std::string_view name = "modelopt:int4-awq";
  static constexpr Packing packing{.along = Along::outputs, .words = WordOrder::word_major};

  std::size_t group_size = 0;  ///< 0 for what the tensors say
  bool w4a8 = false;
  ModeloptNames names{};

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;
};

/// ModelOpt's NVFP4: `weight` uint8 [out, in / 2], the even column in the low nibble; `weight_scale` E4M3
/// [out, in / 16]; `weight_scale_2` float32 scalar. The value is code * (scale * scale 2).
struct ModeloptNvfp4 {
  static constexpr std::string_view name = "modelopt:nvfp4";

  bool round_reciprocal = false;  ///< take the reciprocal of a scale that divides even where it is not exact
  ModeloptNames names{};

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const {
    return layout().read(parts, memory);
  }
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const {
    return layout().write(matrix, memory);
  }

 private:
  [[nodiscard]] constexpr detail::FloatBlocks layout() const noexcept {
    return {.layout = name,
            .format = code_format<E2M1>(),
            .columns = 16,
            .scale = names.scale,
            .scale_type = PartType::float8_e4m3,
            .tensor_scale = names.scale_2,
            .round_reciprocal = round_reciprocal};
  }
};

/// ModelOpt's MXFP4: `weight` as NVFP4's, `weight_scale` uint8 [out, in / 32], E8M0.
struct ModeloptMxfp4 {
  static constexpr std::string_view name = "modelopt:mxfp4";

  ModeloptNames names{};

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const {
    return layout().read(parts, memory);
  }
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const {
    return layout().write(matrix, memory);
  }

 private:
  [[nodiscard]] constexpr detail::FloatBlocks layout() const noexcept {
    return {.layout = name, .format = code_format<E2M1>(), .scale = names.scale};
  }
};

/// ModelOpt's MXFP8: `weight` E4M3 [out, in], `weight_scale` uint8 [out, in / 32], E8M0.
struct ModeloptMxfp8 {
  static constexpr std::string_view name = "modelopt:mxfp8";

  ModeloptNames names{};

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const {
    return layout().read(parts, memory);
  }
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const {
    return layout().write(matrix, memory);
  }

 private:
  [[nodiscard]] constexpr detail::FloatBlocks layout() const noexcept {
    return {.layout = name, .format = code_format<E4M3>(), .scale = names.scale};
  }
};

inline Result<CodedMatrix> ModeloptInt4::read(std::span<const PartView> parts,
                                              std::pmr::memory_resource* memory) const {
  const auto weight = find_part(parts, "weight", PartType::uint8, 2);
  if (!weight) return weight.error();
  const auto scales = find_part(parts, names.scale, PartType::float32, 2);
  if (!scales) return scales.error();
  const auto out = extent(*weight, weight->shape[0], 2);
  if (!out) return out.error();
  const std::size_t in = weight->shape[1], groups = scales->shape[1];
  if (auto fits = expect_shape(*scales, {*out, groups}); !fits) return fits.error();
  const auto columns = ColumnGroups::find(in, groups, group_size);
  if (!columns) return columns.error();
  auto matrix =
      CodedMatrix::allocate({*out, in}, unsigned_format(4), {1, columns->size}, ShiftKind::zero_point, memory);
  if (!matrix) return matrix;
  if (auto unpacked = unpack_part(*weight, packing, matrix->codes()); !unpacked) return unpacked.error();
  detail::flip_signs(matrix->codes(), 4);
  fill_shifts(*matrix, 8.0f);
  read_scales(*scales, *matrix, by_rows(matrix->grid));
  if (!w4a8) return matrix;
  const auto second = read_tensor_scale(parts, names.scale_2);
  if (!second) return second.error();
  matrix->tensor_scale = *second;
  matrix->tensor_scale_kind = TensorScale::aside;
  return matrix;
}

inline Result<std::vector<Part>> ModeloptInt4::write(const CodedMatrix& matrix,
                                                     std::pmr::memory_resource* memory) const {
  if (auto good = expect_no_tensor_scale(matrix, name); !good) return good.error();
  if (w4a8 && matrix.tensor_scale_kind != TensorScale::aside)
    return Error{ErrorCode::invalid_argument, "pare: W4A8 needs the FP8 scale of the weight, as TensorScale::aside"};
  if (auto good = expect_multiples(name, matrix.shape, {2, 1}); !good) return good.error();
  const auto block = group_block(matrix, name, group_size);
  if (!block) return block.error();
  const auto grid = ScaleGrid::fit(matrix, name, *block);
  if (!grid) return grid.error();
  auto codes = centred_codes(*grid, 4, memory);
  if (!codes) return codes.error();
  detail::flip_signs(bytes_view(*codes, matrix.shape), 4);
  auto weight = pack_part("weight", PartType::uint8, packing, bytes_view(*codes, matrix.shape), memory);
  if (!weight) return weight.error();
  const Shape places = grid->grid();
  auto scales =
      write_scales(names.scale, PartType::float32, {places.rows, places.cols}, *grid, by_rows(places), memory);
  if (!scales) return scales.error();
  if (!w4a8) return collect(*std::move(weight), *std::move(scales));
  auto second = write_tensor_scale(names.scale_2, matrix.tensor_scale, 0, memory);
  if (!second) return second.error();
  return collect(*std::move(weight), *std::move(scales), *std::move(second));
}

/// The scale of a group of INT4_AWQ: max|x| / 7, and 1 for a group of zeros.
constexpr float modelopt_int4_scale(const Range& range) noexcept {
  return range.magnitude() == 0.0f ? 1.0f : range.magnitude() / 7.0f;
}

/// The code of a weight, counted from -8: round(x / scale), ties to even, within -8 .. 7.
constexpr std::uint8_t modelopt_int4_code(float x, float scale) noexcept {
  const std::int32_t q = round_to_int(x / scale);
  return static_cast<std::uint8_t>((q < -8 ? -8 : q > 7 ? 7 : q) + 8);
}

}  // namespace pare
