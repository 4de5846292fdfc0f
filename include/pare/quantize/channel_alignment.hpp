#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <memory_resource>
#include <span>
#include <utility>

#include "pare/quantize/equalization.hpp"

namespace pare {

/// Gives the channels between two layers the same middle and width, so that one grid suits them all (NNCF's
/// ChannelAlignment, after the statistics of what the producer puts out): middles move into the consumer's bias, widths
/// are divided by their median. What both layers compute stays the same; a consumer that is a convolution must not pad,
/// as padding is no longer zero for it.
struct ChannelAlignment {
  float least = 1e-2f;  ///< of a channel's factor
  float largest = 1e2f;

  /// Aligns by the range of each of the producer's channels: NNCF takes quantiles of 1e-4 and 1 - 1e-4. Returns the
  /// factors; 1 for a channel of no width. Errors: shapes that do not fit, a missing bias of either layer, a range that
  /// is empty, a value that is not finite, out_of_memory.
  Result<Array<float>> operator()(const LayerPair& pair, std::span<const ValueRange> ranges,
                                  std::pmr::memory_resource* memory = nullptr) const {
    if (Result<void> ok = detail::check_pair(pair); !ok) return std::move(ok).error();
    const std::size_t channels = pair.producer.weight.rows;
    if (ranges.size() != channels) return detail::shape_error("the list of ranges", {1, ranges.size()}, {1, channels});
    if (pair.producer.bias.empty() || pair.consumer.bias.empty())
      return Error{ErrorCode::invalid_argument,
                   "pare: the alignment of channels moves biases: give both layers one, of zeros if need be"};
    for (const ValueRange& range : ranges)
      if (range.empty() || !is_finite(range.lowest) || !is_finite(range.highest))
        return Error{ErrorCode::invalid_argument, "pare: the alignment needs a finite range of each channel"};
    auto factors = Array<float>::create(channels, memory);
    if (!factors) return factors;
    auto widths = Array<float>::create(channels, memory);
    if (!widths) return std::move(widths).error();

    std::size_t wide = 0;
    for (const ValueRange& range : ranges)
      if (width_of(range) > 0.0f) (*widths)[wide++] = width_of(range);
    const float median = wide == 0 ? 1.0f : quantile(widths->values().first(wide), 0.5);
    for (std::size_t c = 0; c < channels; ++c) {
      const float middle = (ranges[c].highest + ranges[c].lowest) / 2.0f, width = width_of(ranges[c]);
      const float factor = width > 0.0f ? std::clamp(width / median, least, largest) : 1.0f;
      (*factors)[c] = factor;
      pair.producer.bias[c] = (pair.producer.bias[c] - middle) / factor;
      const MatrixView<float> from = detail::row_of(pair.producer.weight, c), into = detail::consumer_of(pair, c);
      for (std::size_t k = 0; k < from.cols; ++k) from(0, k) /= factor;
      for (std::size_t r = 0; r < into.rows; ++r) {
        double sum = 0.0;
        for (std::size_t k = 0; k < into.cols; ++k) {
          sum += static_cast<double>(into(r, k));
          into(r, k) *= factor;
        }
        float& bias = pair.consumer.bias[pair.depthwise ? c : r];
        bias = static_cast<float>(static_cast<double>(bias) + sum * static_cast<double>(middle));
      }
    }
    return factors;
  }

 private:
  /// 0 for what is as good as constant.
  static float width_of(const ValueRange& range) {
    const float width = range.highest - range.lowest;
    return width > std::numeric_limits<float>::epsilon() ? width : 0.0f;
  }
};

}  // namespace pare
