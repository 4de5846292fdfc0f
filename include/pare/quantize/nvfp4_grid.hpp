#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pare/quantize/grid.hpp"

namespace pare {

/// NVFP4 as ModelOpt writes it: E2M1 codes, a scale for each 16 columns of a row that is an E4M3 value times a float of
/// the whole tensor. The grid's scales are these products; `separate` takes them apart again for a layout.
struct Nvfp4Grid {
  float tensor_scale = 1.0f;  ///< largest magnitude / (6 * 448)

  /// The grid for values up to a magnitude, which a calibration may have found. Error: one that is not a finite number
  /// of 0 or more.
  static Result<Nvfp4Grid> up_to(float magnitude) {
    if (!(magnitude >= 0.0f && is_finite(magnitude)))
      return Error{ErrorCode::invalid_argument, "pare: NVFP4's range is a finite number of 0 or more"};
    const float scale = nvfp4_tensor_scale<Nvfp4Dialect::modelopt>(magnitude);
    // Of zeros, and of values so small that their scale would be none.
    return Nvfp4Grid{scale > 0.0f ? scale : 1.0f};
  }
  /// The grid for all values of a matrix. Error: a value that is not finite.
  static Result<Nvfp4Grid> over(MatrixView<const float> values) {
    if (Result<void> ok = check_finite(values, "the weight"); !ok) return std::move(ok).error();
    ValueRange range;
    for (std::size_t r = 0; r < values.rows; ++r)
      for (std::size_t c = 0; c < values.cols; ++c) range.include(values(r, c));
    return up_to(range.magnitude());
  }

  [[nodiscard]] static CodeFormat format() { return code_format<E2M1>(); }
  [[nodiscard]] static ShiftKind shift_kind() { return ShiftKind::none; }
  [[nodiscard]] static ScaleType scale_type() { return ScaleType::float32; }
  [[nodiscard]] static Shape block(Shape) { return {1, nvfp4_block}; }

  [[nodiscard]] BlockGrid fit(std::span<const float> block) const {
    float largest = 0.0f;
    for (const float x : block) largest = std::max(largest, std::fabs(x));
    const std::uint32_t code = nvfp4_block_scale<Nvfp4Dialect::modelopt>(largest, tensor_scale);
    return {nvfp4_scale<Nvfp4Dialect::modelopt>(code, tensor_scale)};
  }
  [[nodiscard]] static std::uint8_t encode(float x, const BlockGrid& fitted) {
    return static_cast<std::uint8_t>(
        encode_e2m1<E2M1Rule::positive_zero>(fitted.scale == 0.0f ? 0.0f : x / fitted.scale));
  }
  [[nodiscard]] static float decode(std::uint8_t code, const BlockGrid& fitted) {
    return E2M1::decode(code) * fitted.scale;
  }

  /// Takes the tensor's scale out of a matrix on this grid, whose scales are then E4M3 values, as layouts of NVFP4 have
  /// them; no value changes. Error: a scale that is no product of an E4M3 value and the tensor's.
  [[nodiscard]] Result<void> separate(CodedMatrix& matrix) const {
    const MatrixView<float> scales = matrix.scales();
    for (const bool write : {false, true})
      for (std::size_t r = 0; r < scales.rows; ++r)
        for (std::size_t g = 0; g < scales.cols; ++g) {
          const std::uint32_t code = E4M3::encode(scales(r, g) / tensor_scale);
          if (!write && nvfp4_scale<Nvfp4Dialect::modelopt>(code, tensor_scale) != scales(r, g))
            return Error{ErrorCode::unsupported, "pare: the matrix has scales that NVFP4 would round"};
          if (write) scales(r, g) = E4M3::decode(code);
        }
    matrix.scale_type = ScaleType::float8_e4m3;
    matrix.tensor_scale = tensor_scale;
    matrix.tensor_scale_kind = TensorScale::multiplies_scale;
    return {};
  }
};

static_assert(BlockedGrid<Nvfp4Grid>);

}  // namespace pare
