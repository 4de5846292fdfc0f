#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <utility>

#include "pare/quantize/channel_scales.hpp"

namespace pare {

/// SmoothQuant as NNCF has it for activations and weights of eight bits: scales = max|input|^alpha / (max|weights|^(1 -
/// alpha) + eps) with statistics of at least 1e-5, raised to their own tenth quantile and cut off at 100. Layers that
/// share an input do not share their weights' maxima: each gives scales of its own, and those win whose smallest is
/// nearest to their largest.
struct NncfSmoothQuant {
  float alpha = 0.95f;    ///< 0 to 1
  double quantile = 0.1;  ///< of the scales, below which none stays; 0 to 1
  float most = 100.0f;    ///< at which scales are cut off

  /// The scales for layers [out, in] and the largest magnitude of each input channel: multiply the layers' columns by
  /// them (scale_inputs) and divide what produces the input (divide_outputs). Errors: those of SmoothQuant, options out
  /// of range.
  Result<Array<float>> operator()(SharedInput layers, std::span<const float> magnitudes,
                                  const Options& options = {}) const {
    if (!(alpha >= 0.0f && alpha <= 1.0f) || !(quantile >= 0.0 && quantile <= 1.0) || !(most > 0.0f && is_finite(most)))
      return Error{ErrorCode::invalid_argument,
                   "pare: NNCF's SmoothQuant needs an alpha and a quantile from 0 to 1 and a positive largest scale"};
    if (Result<void> ok = detail::check_linears(layers, magnitudes.size()); !ok) return std::move(ok).error();
    if (Result<void> ok = detail::check_channels(magnitudes, magnitudes.size(), "largest magnitudes", false); !ok)
      return std::move(ok).error();
    auto best = Array<float>::create(magnitudes.size(), options.memory);
    if (!best || magnitudes.empty()) return best;
    auto scales = Array<float>::create(magnitudes.size(), options.memory);
    if (!scales) return scales;
    auto sorted = Array<float>::create(magnitudes.size(), options.memory);
    if (!sorted) return sorted;
    float best_ratio = 0.0f;
    for (const MatrixView<const float>& weights : layers) {
      fill(weights, magnitudes, scales->values());
      std::copy(scales->begin(), scales->end(), sorted->begin());
      const float low = std::min(pare::quantile(sorted->values(), quantile), most);
      for (float& scale : *scales) scale = std::clamp(scale, low, most);
      const auto [least, largest] = std::minmax_element(scales->begin(), scales->end());
      const float ratio = *least / (*largest + epsilon);
      if (!(ratio > best_ratio)) continue;
      best_ratio = ratio;
      std::copy(scales->begin(), scales->end(), best->begin());
    }
    return best;
  }

 private:
  static constexpr float epsilon = std::numeric_limits<float>::epsilon();
  static constexpr float least_statistic = 1e-5f;

  void fill(MatrixView<const float> weights, std::span<const float> magnitudes, std::span<float> scales) const {
    for (std::size_t c = 0; c < scales.size(); ++c) {
      float weight = least_statistic;
      for (std::size_t r = 0; r < weights.rows; ++r) weight = std::max(weight, std::fabs(weights(r, c)));
      const float input = std::max(magnitudes[c], least_statistic);
      scales[c] = std::pow(input, alpha) / (std::pow(weight, 1.0f - alpha) + epsilon);
    }
  }
};

}  // namespace pare
