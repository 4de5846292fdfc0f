#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "pare/quantize/channel_scales.hpp"
#include "pare/quantize/linear_layer.hpp"

namespace pare {

/// Which channels of a head a rotary embedding turns together.
enum class RotaryPairs {
  none,      ///< there is no rotary embedding
  halves,    ///< d and d + width / 2: Hugging Face's models
  adjacent,  ///< 2 d and 2 d + 1: llama2.c's and GGUF's
};

/// SmoothAttention of QoQ (Lin et al., QServe, 2024): a few channels of the keys are much larger than the others, which
/// a cache of 4 bits does not bear. Keys are divided by scales = max|key|^alpha, queries multiplied by them, and no
/// score changes. Channels that are turned together share the larger scale, so that both sides commute with the
/// rotation.
struct SmoothAttention {
  float alpha = 0.5f;  ///< 0 to 1
  RotaryPairs pairs = RotaryPairs::halves;

  /// The scales of keys of heads of `width` channels from each channel's largest magnitude, [heads * width] of both; 1
  /// for channels of zeros. Errors: magnitudes that are not finite and at least 0, or no whole heads, a width that
  /// cannot be paired, an alpha beyond 0 to 1, out_of_memory.
  Result<Array<float>> operator()(std::span<const float> key_magnitudes, std::size_t width,
                                  const Options& options = {}) const {
    if (!(alpha >= 0.0f && alpha <= 1.0f))
      return Error{ErrorCode::invalid_argument, "pare: SmoothAttention's alpha lies between 0 and 1"};
    if (width == 0 || key_magnitudes.size() % width != 0 || (pairs != RotaryPairs::none && width % 2 != 0))
      return Error{ErrorCode::invalid_argument, "pare: " + std::to_string(key_magnitudes.size()) +
                                                    " channels of keys are no heads of " + std::to_string(width) +
                                                    (pairs == RotaryPairs::none ? "" : " that a rotation pairs")};
    if (Result<void> ok = detail::check_channels(key_magnitudes, key_magnitudes.size(), "largest magnitudes", false);
        !ok)
      return std::move(ok).error();
    auto scales = Array<float>::create(key_magnitudes.size(), options.memory);
    if (!scales) return scales;
    for (std::size_t begin = 0; begin < scales->size(); begin += width)
      for (std::size_t d = 0; d < width; ++d) {
        const float largest = std::max(key_magnitudes[begin + d], key_magnitudes[begin + partner(d, width)]);
        const auto scale = static_cast<float>(std::pow(static_cast<double>(largest), static_cast<double>(alpha)));
        (*scales)[begin + d] = scale > 0.0f ? scale : 1.0f;
      }
    return scales;
  }

  /// Divides what the key's projection puts out by the scales, and multiplies what the query's does; the query may have
  /// several heads for each of the key's, next to each other. Nothing changes on an error: other shapes, scales that
  /// are not finite and positive, weights that are not finite.
  static Result<void> fold(const LinearLayer& key, const LinearLayer& query, std::span<const float> scales,
                           std::size_t width) {
    if (Result<void> ok = detail::check_layer(key, "the key's weight"); !ok) return ok;
    if (Result<void> ok = detail::check_layer(query, "the query's weight"); !ok) return ok;
    if (Result<void> ok = detail::check_channels(scales, key.outputs(), "scales", true); !ok) return ok;
    if (width == 0 || scales.size() % width != 0 || scales.empty() || query.outputs() % scales.size() != 0)
      return Error{ErrorCode::invalid_argument, "pare: a query of " + std::to_string(query.outputs()) +
                                                    " outputs has no heads of " + std::to_string(width) +
                                                    " for a key of " + std::to_string(scales.size())};
    if (Result<void> ok = divide_outputs(key.weight, key.bias, scales); !ok) return ok;
    const std::size_t each = query.outputs() / scales.size();
    for (std::size_t r = 0; r < query.outputs(); ++r) {
      const float scale = scales[r / width / each * width + r % width];
      for (std::size_t c = 0; c < query.weight.cols; ++c) query.weight(r, c) *= scale;
      if (!query.bias.empty()) query.bias[r] *= scale;
    }
    return {};
  }

 private:
  [[nodiscard]] std::size_t partner(std::size_t d, std::size_t width) const noexcept {
    if (pairs == RotaryPairs::halves) return (d + width / 2) % width;
    return pairs == RotaryPairs::adjacent ? d ^ 1u : d;
  }
};

}  // namespace pare
