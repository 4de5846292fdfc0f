#pragma once

/// compressed-tensors, the checkpoint format of vLLM and llm-compressor. Its sparse formats are in sparse_bitmask.hpp
/// and marlin24.hpp.
#include "pare/layouts/float_blocks.hpp"
#include "pare/layouts/pack_quantized.hpp"
#include "pare/layouts/scaled_bytes.hpp"
#include "pare/schemes/schemes.hpp"

namespace pare {

/// "int-quantized": `weight` int8 [out, in], `weight_scale` [1], [out, 1] or [out, groups] of the model's type, and for
/// asymmetric codes `weight_zero_point` int8 beside it. The value is (weight - zero point) * scale.
struct IntQuantized {
  static constexpr std::string_view name = "compressed-tensors:int-quantized";

  bool symmetric = true;  ///< writes no zero points; both kinds are read

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const {
    return layout(false).read(parts, memory);
  }
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const {
    return layout(symmetric).write(matrix, memory);
  }

 private:
  static constexpr detail::ScaledBytes layout(bool no_zeros) noexcept {
    return {.layout = name, .weight_type = PartType::int8, .zeros = no_zeros ? "" : "weight_zero_point"};
  }
};

/// "float-quantized" and "naive-quantized": `weight` E4M3 [out, in], `weight_scale` [1], [out, 1], [out, groups] or,
/// where a block is named, [ceil(out / block.rows), ceil(in / block.cols)], of the model's type.
struct FloatQuantized {
  static constexpr std::string_view name = "compressed-tensors:float-quantized";

  Shape block{};  ///< of the scales ("block_structure"); {0, 0} for what their shape says

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const {
    return layout().read(parts, memory);
  }
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const {
    return layout().write(matrix, memory);
  }

 private:
  [[nodiscard]] constexpr detail::ScaledBytes layout() const noexcept { return {.layout = name, .block = block}; }
};

/// "nvfp4-pack-quantized": `weight_packed` uint8 [out, in / 2], the even column in the low nibble; `weight_scale` E4M3
/// [out, in / 16]; `weight_global_scale` float32 [1]. The value is code * (scale / global scale).
struct CompressedNvfp4 {
  static constexpr std::string_view name = "compressed-tensors:nvfp4-pack-quantized";

  bool round_reciprocal = false;  ///< take the reciprocal of a scale that multiplies even where it is not exact

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
            .weight = "weight_packed",
            .scale_type = PartType::float8_e4m3,
            .tensor_scale = "weight_global_scale",
            .tensor_scale_kind = TensorScale::divides_scale,
            .tensor_scale_rank = 1,
            .round_reciprocal = round_reciprocal};
  }
};

/// "mxfp4-pack-quantized": `weight_packed` uint8 [out, in / 2], the even column in the low nibble; `weight_scale` uint8
/// [out, in / 32], E8M0.
struct CompressedMxfp4 {
  static constexpr std::string_view name = "compressed-tensors:mxfp4-pack-quantized";

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const {
    return layout.read(parts, memory);
  }
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const {
    return layout.write(matrix, memory);
  }

 private:
  static constexpr detail::FloatBlocks layout{
      .layout = name, .format = code_format<E2M1>(), .columns = 32, .weight = "weight_packed"};
};

/// "mxfp8-quantized": `weight` E4M3 [out, in], `weight_scale` uint8 [out, in / 32], E8M0.
struct CompressedMxfp8 {
  static constexpr std::string_view name = "compressed-tensors:mxfp8-quantized";

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const {
    return layout.read(parts, memory);
  }
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const {
    return layout.write(matrix, memory);
  }

 private:
  static constexpr detail::FloatBlocks layout{.layout = name, .format = code_format<E4M3>(), .columns = 32};
};

/// The grid of a block by compressed-tensors' rule for `bits`-bit integers: scale = max|x| / ((2^bits - 1) / 2), or for
/// asymmetric ones (max - min) / (2^bits - 1) over a range that holds zero, and the zero point round(-min / scale),
/// ties to even, here counted from the lowest code. A block of zeros has the machine epsilon of float as its scale and
/// the middle code as its zero point.
constexpr BlockParameters compressed_parameters(const Range& range, int bits, bool symmetric) noexcept {
  const float steps = static_cast<float>((1 << bits) - 1), middle = static_cast<float>(1 << (bits - 1));
  BlockParameters p{.finite = range.finite};
  p.scale = symmetric ? range.magnitude() / (steps / 2.0f) : (range.highest - range.lowest) / steps;
  const std::int32_t half = 1 << (bits - 1);
  const float zero = -middle - range.lowest / p.scale;
  const float limited = zero < -middle ? -middle : zero > middle - 1.0f ? middle - 1.0f : zero;
  p.zero_point = static_cast<std::uint8_t>(symmetric || p.scale == 0.0f ? half : round_to_int(limited) + half);
  if (p.scale == 0.0f) p.scale = std::numeric_limits<float>::epsilon();
  p.inverse = 1.0f / p.scale;
  return p;
}

/// The code of a weight in such a grid, counted from the lowest: x / scale plus the zero point, first limited to the
/// range, then rounded, ties to even.
constexpr std::uint8_t compressed_code(float x, const BlockParameters& p, int bits) noexcept {
  const std::int32_t half = 1 << (bits - 1);
  const float scaled = x / p.scale + static_cast<float>(p.zero_point - half);
  const float lowest = static_cast<float>(-half), highest = static_cast<float>(half - 1);
  return static_cast<std::uint8_t>(round_to_int(scaled < lowest ? lowest : scaled > highest ? highest : scaled) + half);
}

}  // namespace pare
