#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <utility>

#include "pare/quantize/channel_scales.hpp"

namespace pare {

/// Moves the difficulty of large activations into the weights (Xiao et al., SmoothQuant, 2023): layers that share an
/// input are multiplied by scales = max|input|^alpha / max|weights|^(1 - alpha), and what produces the input is divided
/// by them. Then weights and activations of 8 bits do, as with RoundToNearest over AwqGrid{.bits = 8, .zero_point =
/// false}: a scale for each row (output channel, token), or with WholeMatrix for each tensor.
struct SmoothQuant {
  float alpha = 0.5f;  ///< how much of the difficulty moves, 0 to 1; 0.8 to 0.9 for LLaMA

  /// The scales, at least 1e-5, for layers [out, in] and the largest magnitude of each input channel. The largest
  /// weight of a channel is that of all layers, and counts as at least 1e-5. Errors: weights that are not finite,
  /// magnitudes that are not finite and at least 0, numbers that do not fit together, an alpha beyond 0 to 1,
  /// out_of_memory.
  Result<Array<float>> operator()(SharedInput layers, std::span<const float> magnitudes,
                                  const Options& options = {}) const {
    if (!(alpha >= 0.0f && alpha <= 1.0f))
      return Error{ErrorCode::invalid_argument, "pare: SmoothQuant's alpha lies between 0 and 1"};
    if (Result<void> ok = detail::check_linears(layers, magnitudes.size()); !ok) return std::move(ok).error();
    if (Result<void> ok = detail::check_channels(magnitudes, magnitudes.size(), "largest magnitudes", false); !ok)
      return std::move(ok).error();
    auto scales = Array<float>::create(magnitudes.size(), options.memory);
    if (!scales) return scales;
    for (const MatrixView<const float>& weights : layers)
      for (std::size_t r = 0; r < weights.rows; ++r)
        for (std::size_t c = 0; c < weights.cols; ++c) (*scales)[c] = std::max((*scales)[c], std::fabs(weights(r, c)));
    for (std::size_t c = 0; c < magnitudes.size(); ++c) {
      const auto input = static_cast<float>(std::pow(static_cast<double>(magnitudes[c]), static_cast<double>(alpha)));
      const double weight = static_cast<double>(std::max((*scales)[c], least));
      const auto divisor = static_cast<float>(std::pow(weight, static_cast<double>(1.0f - alpha)));
      (*scales)[c] = std::max(input / divisor, least);
    }
    return scales;
  }

 private:
  static constexpr float least = 1e-5f;
};

}  // namespace pare
