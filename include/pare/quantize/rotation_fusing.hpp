#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include "pare/quantize/rotation.hpp"

namespace pare {

/// Lets a layer take inputs that have been rotated, x Q in place of x: W becomes W Q. Embeddings [tokens, hidden],
/// which put out their rows, are rotated by the same product. Errors: those of rotate_rows.
template <Rotation Q>
Result<void> rotate_inputs(const Q& rotation, MatrixView<float> weight, const Options& options = {}) {
  return rotate_rows(rotation, weight, RotationSide::forward, options);
}

/// Lets a layer put out y Q in place of y: W becomes Q^T W and b becomes b Q. Errors: those of rotate_rows.
template <Rotation Q>
Result<void> rotate_outputs(const Q& rotation, const LinearLayer& layer, const Options& options = {}) {
  if (Result<void> ok = detail::check_layer(layer, "the weight"); !ok) return ok;
  const MatrixView<float> w = layer.weight;
  const MatrixView<float> columns(w.data, w.cols, w.rows, w.col_stride, w.row_stride);
  if (Result<void> ok = rotate_rows(rotation, columns, RotationSide::forward, options); !ok) return ok;
  if (layer.bias.empty()) return {};
  const MatrixView<float> bias(layer.bias.data(), 1, layer.bias.size());
  return rotate_rows(rotation, bias, RotationSide::forward, options);
}

/// Moves the gain and the bias of a normalization into the layers behind it, which a rotation needs: W becomes
/// W diag(gain), b becomes b + W bias, and the gain 1, the bias 0. `norm_bias` may be empty. Errors: sizes that do not
/// fit, a value that is not finite, a bias of the normalization but none of a layer.
inline Result<void> fold_normalization(std::span<float> gain, std::span<float> norm_bias,
                                       std::span<const LinearLayer> layers) {
  const std::size_t channels = gain.size();
  const MatrixView<const float> gains(gain.data(), 1, channels), shifts(norm_bias.data(), 1, norm_bias.size());
  if (!norm_bias.empty() && norm_bias.size() != channels)
    return detail::shape_error("the normalization's bias", shifts.shape(), {1, channels});
  if (Result<void> ok = check_finite(gains, "the normalization's gain"); !ok) return ok;
  if (Result<void> ok = check_finite(shifts, "the normalization's bias"); !ok) return ok;
  for (const LinearLayer& layer : layers) {
    if (Result<void> ok = detail::check_layer(layer, "the weight"); !ok) return ok;
    if (layer.weight.cols != channels)
      return detail::shape_error("the weight", layer.weight.shape(), {layer.weight.rows, channels});
    if (!norm_bias.empty() && layer.bias.empty())
      return Error{ErrorCode::invalid_argument,
                   "pare: a normalization with a bias needs a layer with one behind it; give it a bias of zeros"};
  }
  for (const LinearLayer& layer : layers)
    for (std::size_t r = 0; r < layer.weight.rows; ++r) {
      double moved = 0.0;
      for (std::size_t c = 0; c < channels; ++c) {
        float& w = layer.weight(r, c);
        if (!norm_bias.empty()) moved += static_cast<double>(w) * static_cast<double>(norm_bias[c]);
        w *= gain[c];
      }
      if (!layer.bias.empty()) layer.bias[r] = static_cast<float>(static_cast<double>(layer.bias[r]) + moved);
    }
  std::fill(gain.begin(), gain.end(), 1.0f);
  std::fill(norm_bias.begin(), norm_bias.end(), 0.0f);
  return {};
}

/// Takes the mean over its outputs from what a layer puts out, so that a LayerNorm behind it need not, and is an
/// RMSNorm, which no rotation changes. Errors: a value that is not finite, a bias of another size.
inline Result<void> center_outputs(const LinearLayer& layer) {
  if (Result<void> ok = detail::check_layer(layer, "the weight"); !ok) return ok;
  const auto center = [](MatrixView<float> matrix) {
    for (std::size_t c = 0; c < matrix.cols; ++c) {
      double mean = 0.0;
      for (std::size_t r = 0; r < matrix.rows; ++r)
        mean += static_cast<double>(matrix(r, c)) / static_cast<double>(matrix.rows);
      for (std::size_t r = 0; r < matrix.rows; ++r)
        matrix(r, c) = static_cast<float>(static_cast<double>(matrix(r, c)) - mean);
    }
  };
  center(layer.weight);
  center(MatrixView<float>(layer.bias.data(), layer.bias.size(), 1));
  return {};
}

}  // namespace pare
