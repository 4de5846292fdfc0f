#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "pare/calibration/calibration.hpp"

namespace pare {

/// The weights [out, in] of linear layers that take the same input.
using SharedInput = std::span<const MatrixView<const float>>;

namespace detail {

/// One finite number for each channel, greater than zero where `positive`, else not less.
inline Result<void> check_channels(std::span<const float> values, std::size_t channels, std::string_view what,
                                   bool positive) {
  if (values.size() != channels)
    return Error{ErrorCode::invalid_argument, "pare: there are " + std::to_string(values.size()) + " " +
                                                  std::string(what) + " for " + std::to_string(channels) + " channels"};
  for (std::size_t c = 0; c < channels; ++c)
    if (!is_finite(values[c]) || values[c] < 0.0f || (positive && values[c] == 0.0f))
      return Error{ErrorCode::invalid_argument, "pare: number " + std::to_string(c) + " of the " + std::string(what) +
                                                    " is no finite number " +
                                                    (positive ? "greater than 0" : "of 0 or more")};
  return {};
}

/// Layers with the same number of input channels, all weights finite.
inline Result<void> check_linears(SharedInput linears, std::size_t channels) {
  if (linears.empty()) return Error{ErrorCode::invalid_argument, "pare: there is no layer to scale"};
  for (const MatrixView<const float>& weights : linears) {
    if (weights.cols != channels) return detail::shape_error("the weight", weights.shape(), {weights.rows, channels});
    if (Result<void> ok = check_finite(weights, "the weight"); !ok) return ok;
  }
  return {};
}

/// Every (samples / subset)-th row.
inline MatrixView<const float> pick_samples(MatrixView<const float> samples, std::size_t subset) noexcept {
  const std::size_t step = std::max<std::size_t>(1, samples.rows / subset);
  return {samples.data, ceil_div(samples.rows, step), samples.cols, step * samples.row_stride, samples.col_stride};
}

}  // namespace detail

/// Multiplies each input channel of a layer by its scale: weights(r, c) *= scales[c]. Errors: a scale that is not
/// finite and positive, or not as many as columns.
inline Result<void> scale_inputs(MatrixView<float> weights, std::span<const float> scales) {
  if (Result<void> ok = detail::check_input(weights, "the weight"); !ok) return ok;
  if (Result<void> ok = detail::check_channels(scales, weights.cols, "scales", true); !ok) return ok;
  for (std::size_t r = 0; r < weights.rows; ++r)
    for (std::size_t c = 0; c < weights.cols; ++c) weights(r, c) *= scales[c];
  return {};
}

/// Divides what a layer puts out, so that the layers behind it may be scaled by scale_inputs and all compute what they
/// did: weights(r, c) /= scales[r] and bias[r] /= scales[r]. The gain and bias of a normalization are such a layer of
/// one column. Either may be empty. Errors: a scale that is not finite and positive, or not as many as rows.
inline Result<void> divide_outputs(MatrixView<float> weights, std::span<float> bias, std::span<const float> scales) {
  if (Result<void> ok = detail::check_input(weights, "the producer's weight"); !ok) return ok;
  if (Result<void> ok = detail::check_channels(scales, scales.size(), "scales", true); !ok) return ok;
  if (!weights.empty() && weights.rows != scales.size())
    return detail::shape_error("the producer's weight", weights.shape(), {scales.size(), weights.cols});
  if (!bias.empty() && bias.size() != scales.size())
    return Error{ErrorCode::invalid_argument, "pare: the producer's bias has " + std::to_string(bias.size()) +
                                                  " values for " + std::to_string(scales.size()) + " scales"};
  for (std::size_t r = 0; r < weights.rows; ++r)
    for (std::size_t c = 0; c < weights.cols; ++c) weights(r, c) /= scales[r];
  for (std::size_t r = 0; r < bias.size(); ++r) bias[r] /= scales[r];
  return {};
}

}  // namespace pare
