#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory_resource>
#include <numbers>
#include <span>
#include <utility>

#include "pare/quantize/linear_layer.hpp"

namespace pare {

/// What a BiasCorrection found.
struct CorrectedBias {
  Array<float> bias;       ///< the new one, or the old one where the correction was not applied
  float magnitude = 0.0f;  ///< the largest |shift / bias|; infinite where a bias is 0
  bool applied = false;
};

/// Adds to a layer's bias what quantization took from the mean of its outputs (Nagel et al., 2019; Finkelstein et al.,
/// 2019). Fast, as NNCF has it: each layer by itself, the quantized one fed with the mean of its exact inputs
/// (constant_image_means, mean_outputs), threshold 2. Full: layer after layer, the quantized one fed with real data
/// that flowed through the layers already quantized and corrected, threshold 1000.
struct BiasCorrection {
  float threshold = 2.0f;  ///< a correction is taken back where it is as much times the bias or more

  /// Thresholds of the two ways.
  static constexpr BiasCorrection fast() { return {2.0f}; }
  static constexpr BiasCorrection full() { return {1000.0f}; }

  /// The bias by the means of the outputs of the exact and of the quantized layer. Errors: not as many means as biases,
  /// a value that is not finite, out_of_memory.
  Result<CorrectedBias> operator()(std::span<const float> bias, std::span<const float> exact_means,
                                   std::span<const float> quantized_means,
                                   std::pmr::memory_resource* memory = nullptr) const {
    for (const std::span<const float> values : {bias, exact_means, quantized_means}) {
      if (values.size() != bias.size())
        return detail::shape_error("the list of means", {1, values.size()}, {1, bias.size()});
      if (Result<void> ok = check_finite({values.data(), 1, values.size()}, "the bias or a mean"); !ok)
        return std::move(ok).error();
    }
    auto corrected = Array<float>::create(bias.size(), memory);
    if (!corrected) return std::move(corrected).error();
    CorrectedBias result{*std::move(corrected)};
    for (std::size_t c = 0; c < bias.size(); ++c) {
      const float shift = exact_means[c] - quantized_means[c];
      const float part = bias[c] == 0.0f ? std::numeric_limits<float>::infinity() : std::fabs(shift / bias[c]);
      result.magnitude = std::max(result.magnitude, part);
      result.bias[c] = bias[c] + shift;
    }
    result.applied = result.magnitude < threshold;
    if (!result.applied) std::copy(bias.begin(), bias.end(), result.bias.begin());
    return result;
  }
};

/// The means of a linear layer's outputs by those of its inputs: W mean + b. `bias` may be empty. Exact for any data,
/// as the layer is linear; a convolution takes the means of its unfolded inputs. Errors: sizes that do not fit, a value
/// that is not finite, out_of_memory.
inline Result<Array<float>> mean_outputs(MatrixView<const float> weight, std::span<const float> bias,
                                         std::span<const float> input_means,
                                         std::pmr::memory_resource* memory = nullptr) {
  if (weight.cols != input_means.size())
    return detail::shape_error("the list of means", {1, input_means.size()}, {1, weight.cols});
  if (!bias.empty() && bias.size() != weight.rows)
    return detail::shape_error("the bias", {1, bias.size()}, {1, weight.rows});
  if (Result<void> ok = check_finite(weight, "the weight"); !ok) return std::move(ok).error();
  if (Result<void> ok = check_finite({input_means.data(), 1, input_means.size()}, "the list of means"); !ok)
    return std::move(ok).error();
  if (Result<void> ok = check_finite({bias.data(), 1, bias.size()}, "the bias"); !ok) return std::move(ok).error();
  auto means = Array<float>::create(weight.rows, memory);
  for (std::size_t r = 0; means && r < weight.rows; ++r) {
    double sum = bias.empty() ? 0.0 : static_cast<double>(bias[r]);
    for (std::size_t c = 0; c < weight.cols; ++c)
      sum += static_cast<double>(weight(r, c)) * static_cast<double>(input_means[c]);
    (*means)[r] = static_cast<float>(sum);
  }
  return means;
}

/// The means of the unfolded inputs of a convolution whose images have one value, the channel's mean, everywhere: less
/// than the mean where the kernel reaches into the padding. In the order of the weight's columns. Errors: not a mean
/// for each channel, an image smaller than the kernel, out_of_memory.
inline Result<Array<float>> constant_image_means(std::span<const float> channel_means, Shape image,
                                                 const Convolution& convolution,
                                                 std::pmr::memory_resource* memory = nullptr) {
  const Shape out = convolution.output(image);
  if (channel_means.size() != convolution.channels || out.rows == 0 || out.cols == 0)
    return Error{ErrorCode::invalid_argument,
                 "pare: a convolution needs a mean of each channel and an image that its kernel fits into"};
  const auto share = [](std::size_t size, std::size_t out_size, std::size_t tap, std::size_t stride,
                        std::size_t padding) {
    std::size_t within = 0;
    for (std::size_t i = 0; i < out_size; ++i) within += i * stride + tap - padding < size ? 1u : 0u;
    return static_cast<double>(within) / static_cast<double>(out_size);
  };
  auto means = Array<float>::create(convolution.columns(), memory);
  if (!means) return means;
  std::size_t column = 0;
  for (const float mean : channel_means)
    for (std::size_t i = 0; i < convolution.kernel.rows; ++i)
      for (std::size_t j = 0; j < convolution.kernel.cols; ++j)
        (*means)[column++] = static_cast<float>(static_cast<double>(mean) *
                                                share(image.rows, out.rows, i * convolution.dilation.rows,
                                                      convolution.stride.rows, convolution.padding.rows) *
                                                share(image.cols, out.cols, j * convolution.dilation.cols,
                                                      convolution.stride.cols, convolution.padding.cols));
  return means;
}

/// The mean of max(0, x) for a normal x of the given mean and deviation: what DFQ takes for a layer's inputs, without
/// data, from the bias and the gain of the BatchNorm before a ReLU.
inline float relu_mean(float mean, float deviation) noexcept {
  const auto m = static_cast<double>(mean), d = std::fabs(static_cast<double>(deviation));
  if (d == 0.0) return std::max(mean, 0.0f);
  const double z = m / d;
  const double density = std::exp(-0.5 * z * z) / std::sqrt(2.0 * std::numbers::pi);
  const double below = 0.5 * std::erfc(-z / std::numbers::sqrt2);
  return static_cast<float>(d * density + m * below);
}

}  // namespace pare
