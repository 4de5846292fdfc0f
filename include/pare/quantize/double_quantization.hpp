#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "pare/calibration/calibration.hpp"
#include "pare/layouts/layouts.hpp"

namespace pare {

/// A matrix of NF4 whose scales are themselves quantized: scale i of the matrix is bnb_dynamic_map[scale_codes[i]] *
/// nested[i / nested_block] + offset.
struct DoubleQuantized {
  CodedMatrix matrix;
  float offset = 0.0f;
  Array<float> nested;
  Array<std::uint8_t> scale_codes;
};

/// NF4 with double quantization (Dettmers et al., QLoRA, 2023): the absmax of each block of the flattened weight, less
/// the mean of all, goes to the nearest value of an 8-bit dynamic map, times the largest distance of some blocks. The
/// layout Bitsandbytes4Bit stores it with `nested` and the offset; nested absmax are then what it finds itself.
struct DoubleQuantization {
  std::size_t block = 64;          ///< weights that share an absmax
  std::size_t nested_block = 256;  ///< absmax that share a scale

  /// What a weight takes where blocks are full: 4.127 bits by default.
  [[nodiscard]] double bits_per_weight() const {
    const auto weights = static_cast<double>(block);
    return 4.0 + 8.0 / weights + 32.0 / (weights * static_cast<double>(nested_block));
  }

  /// The codes of weights [out, in]: [out, in] where blocks lie within rows, else the flattened matrix [1, out * in].
  /// Codes are chosen by the exact absmax. The result does not depend on the executor. Errors: a block of 0, weights
  /// that are not finite, out_of_memory.
  Result<DoubleQuantized> operator()(MatrixView<const float> weights, const Options& options = {}) const {
    if (block == 0 || nested_block == 0)
      return Error{ErrorCode::invalid_argument, "pare: double quantization needs blocks of at least one element"};
    if (Result<void> ok = check_finite(weights, "the weight"); !ok) return std::move(ok).error();
    const auto shape = detail::shape_of_blocks(weights.shape(), block);
    if (!shape) return shape.error();
    auto matrix = CodedMatrix::allocate(*shape, code_format<NF4>(), {1, block}, ShiftKind::none, options.memory);
    if (!matrix) return std::move(matrix).error();
    const std::size_t count = matrix->grid.rows * matrix->grid.cols;
    auto nested = Array<float>::create(ceil_div(count, nested_block), options.memory);
    if (!nested) return std::move(nested).error();
    auto scale_codes = Array<std::uint8_t>::create(count, options.memory);
    if (!scale_codes) return std::move(scale_codes).error();
    DoubleQuantized result{*std::move(matrix), 0.0f, *std::move(nested), *std::move(scale_codes)};
    options.executor(result.matrix.grid.rows * ceil_div(result.matrix.grid.cols, blocks_each),
                     [&](std::size_t task) { encode(weights, task, result.matrix); });
    round_scales(result);
    return result;
  }

 private:
  static constexpr std::size_t blocks_each = 1024;

  /// The codes and the absmax of some blocks of a row.
  void encode(MatrixView<const float> weights, std::size_t task, CodedMatrix& matrix) const {
    const std::size_t tasks = ceil_div(matrix.grid.cols, blocks_each), row = task / tasks;
    const std::size_t end = std::min(matrix.grid.cols, (task % tasks + 1) * blocks_each);
    for (std::size_t b = task % tasks * blocks_each; b < end; ++b) {
      const std::size_t begin = b * block, count = std::min(block, matrix.shape.cols - begin);
      const auto weight = [&](std::size_t c) {
        const std::size_t place = row * matrix.shape.cols + begin + c;
        return weights(place / weights.cols, place % weights.cols);
      };
      float& absmax = matrix.scales()(row, b);
      absmax = 0.0f;
      for (std::size_t c = 0; c < count; ++c) absmax = std::max(absmax, std::fabs(weight(c)));
      for (std::size_t c = 0; c < count; ++c)
        matrix.codes()(row, begin + c) = static_cast<std::uint8_t>(NF4::encode(bnb_scaled(weight(c), absmax)));
    }
  }

  void round_scales(DoubleQuantized& result) const {
    result.offset = bnb_nested_offset(result.matrix);
    float* const scales = result.matrix.scales().data;
    for (std::size_t n = 0; n < result.nested.size(); ++n) {
      const std::size_t begin = n * nested_block, end = std::min(result.scale_codes.size(), begin + nested_block);
      float& largest = result.nested[n];
      for (std::size_t i = begin; i < end; ++i) largest = std::max(largest, std::fabs(scales[i] - result.offset));
      for (std::size_t i = begin; i < end; ++i) {
        const std::uint8_t code = bnb_dynamic_code(largest == 0.0f ? 0.0f : (scales[i] - result.offset) / largest);
        // A volatile product cannot be fused into the sum: the same bits on every machine.
        const volatile float product = bnb_dynamic_map[code] * largest;
        scales[i] = product + result.offset;
        result.scale_codes[i] = code;
      }
    }
  }
};

}  // namespace pare
