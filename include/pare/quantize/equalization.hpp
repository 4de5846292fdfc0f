#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory_resource>
#include <span>
#include <utility>

#include "pare/quantize/linear_layer.hpp"

namespace pare {

/// Two layers with nothing between them but a function that scales as its input does, such as ReLU.
struct LayerPair {
  LinearLayer producer;
  LinearLayer consumer;         ///< [out, channels * kernel]; its bias is only used where values are moved into it
  bool depthwise = false;       ///< the consumer has one row for each channel
  LinearLayer normalization{};  ///< the gain and bias of a BatchNorm that was folded into the producer, if kept
};

namespace detail {

inline Result<void> check_pair(const LayerPair& pair) {
  const std::size_t channels = pair.producer.weight.rows;
  if (Result<void> ok = check_layer(pair.producer, "the producer's weight"); !ok) return ok;
  if (Result<void> ok = check_layer(pair.consumer, "the consumer's weight"); !ok) return ok;
  if (Result<void> ok = check_layer(pair.normalization, "the normalization's gain"); !ok) return ok;
  if (pair.depthwise && pair.consumer.weight.rows != channels)
    return shape_error("the depthwise consumer's weight", pair.consumer.weight.shape(),
                       {channels, pair.consumer.weight.cols});
  if (!pair.depthwise)
    if (const auto width = columns_per_channel(pair.consumer.weight, channels); !width) return width.error();
  if (pair.normalization.weight.rows != 0 && pair.normalization.weight.rows != channels)
    return shape_error("the normalization's gain", pair.normalization.weight.shape(), {channels, 1});
  return {};
}

/// The part of a consumer that channel c flows into.
inline MatrixView<float> consumer_of(const LayerPair& pair, std::size_t c) {
  const MatrixView<float> w = pair.consumer.weight;
  if (pair.depthwise) return {w.row(c), 1, w.cols, w.row_stride, w.col_stride};
  const std::size_t width = w.cols / pair.producer.weight.rows;
  return {w.data + c * width * w.col_stride, w.rows, width, w.row_stride, w.col_stride};
}

inline MatrixView<float> row_of(MatrixView<float> w, std::size_t r) {
  return {w.row(r), 1, w.cols, w.row_stride, w.col_stride};
}

/// Multiplies all elements and returns the sum of what they changed by.
inline double scale_all(MatrixView<float> w, float factor) {
  double change = 0.0;
  for (std::size_t r = 0; r < w.rows; ++r)
    for (std::size_t c = 0; c < w.cols; ++c) {
      const float scaled = w(r, c) * factor;
      change += std::fabs(static_cast<double>(scaled) - static_cast<double>(w(r, c)));
      w(r, c) = scaled;
    }
  return change;
}

}  // namespace detail

/// Gives each channel between two layers the same range in both, which leaves what they compute as it was (Nagel et
/// al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019): with the ranges r1 and r2 of a
/// channel, S = sqrt(r1 r2) / r1 = sqrt(r2 / r1), the producer's row and bias are multiplied and the consumer's columns
/// divided by it.
struct CrossLayerEqualization {
  bool signed_weights = true;  ///< a range is the largest |w|, for symmetric grids; else the largest less the smallest
  float least = 1e-8f;         ///< of a channel's scale
  float largest = 1e8f;
  int rounds = 20;          ///< over all pairs, at most
  double tolerance = 2e-7;  ///< rounds end when the means of |change| of all weights sum up to less

  /// Equalizes one pair and returns the scale of each channel; 1 where either range is 0. Errors: shapes that do not
  /// fit, a value that is not finite, out_of_memory.
  Result<Array<float>> equalize(const LayerPair& pair, std::pmr::memory_resource* memory = nullptr) const {
    if (Result<void> ok = detail::check_pair(pair); !ok) return std::move(ok).error();
    auto scales = Array<float>::create(pair.producer.weight.rows, memory);
    if (scales) apply(pair, scales->values());
    return scales;
  }

  /// Equalizes chains of pairs, again and again until nothing changes any more; returns the rounds that took. Errors as
  /// above; nothing has been changed then.
  Result<int> operator()(std::span<const LayerPair> pairs, std::pmr::memory_resource* memory = nullptr) const {
    std::size_t channels = 0;
    for (const LayerPair& pair : pairs) {
      if (Result<void> ok = detail::check_pair(pair); !ok) return std::move(ok).error();
      channels = std::max(channels, pair.producer.weight.rows);
    }
    auto scales = Array<float>::create(channels, memory);
    if (!scales) return std::move(scales).error();
    for (int round = 1; round <= rounds; ++round) {
      double change = 0.0;
      for (const LayerPair& pair : pairs) change += apply(pair, scales->values().first(pair.producer.weight.rows));
      if (change < tolerance) return round;
    }
    return rounds;
  }

 private:
  [[nodiscard]] float range(MatrixView<const float> w) const {
    ValueRange found;
    for (std::size_t r = 0; r < w.rows; ++r)
      for (std::size_t c = 0; c < w.cols; ++c) found.include(w(r, c));
    return signed_weights || found.empty() ? found.magnitude() : found.highest - found.lowest;
  }

  /// Returns the mean of |change| of both weights, summed.
  double apply(const LayerPair& pair, std::span<float> scales) const {
    const MatrixView<float> w1 = pair.producer.weight, w2 = pair.consumer.weight;
    double change1 = 0.0, change2 = 0.0;
    for (std::size_t c = 0; c < w1.rows; ++c) {
      const float r1 = range(detail::row_of(w1, c)), r2 = range(detail::consumer_of(pair, c));
      const float scale = r1 > 0.0f && r2 > 0.0f ? std::clamp(std::sqrt(r2 / r1), least, largest) : 1.0f;
      scales[c] = scale;
      change1 += detail::scale_all(detail::row_of(w1, c), scale);
      change2 += detail::scale_all(detail::consumer_of(pair, c), 1.0f / scale);
      if (!pair.producer.bias.empty()) pair.producer.bias[c] *= scale;
      if (pair.normalization.weight.rows != 0) detail::scale_all(detail::row_of(pair.normalization.weight, c), scale);
      if (!pair.normalization.bias.empty()) pair.normalization.bias[c] *= scale;
    }
    return change1 / static_cast<double>(std::max<std::size_t>(w1.rows * w1.cols, 1)) +
           change2 / static_cast<double>(std::max<std::size_t>(w2.rows * w2.cols, 1));
  }
};

/// Moves that part of a channel's mean which ReLU will not see anyway into the consumer's bias, so that activations
/// range less (the same paper): c = max(0, bias - deviations * |gain|) of the normalization, producer bias - c,
/// consumer bias + W c. Exact where no value falls below c. Returns the c of each channel. Errors: shapes that do not
/// fit, values that are not finite, a missing bias or normalization, out_of_memory.
inline Result<Array<float>> absorb_bias(const LayerPair& pair, float deviations = 3.0f,
                                        std::pmr::memory_resource* memory = nullptr) {
  if (Result<void> ok = detail::check_pair(pair); !ok) return std::move(ok).error();
  const LinearLayer& norm = pair.normalization;
  if (pair.producer.bias.empty() || pair.consumer.bias.empty() || norm.bias.empty() || norm.weight.cols != 1)
    return Error{
        ErrorCode::invalid_argument,
        "pare: bias absorption needs biases of both layers and the gain and bias of the normalization between"};
  if (!is_finite(deviations) || deviations < 0.0f)
    return Error{ErrorCode::invalid_argument, "pare: the deviations kept below the mean must be a number of 0 or more"};
  auto absorbed = Array<float>::create(pair.producer.weight.rows, memory);
  if (!absorbed) return absorbed;
  for (std::size_t c = 0; c < absorbed->size(); ++c) {
    const float part = std::max(0.0f, norm.bias[c] - deviations * std::fabs(norm.weight(c, 0)));
    (*absorbed)[c] = part;
    pair.producer.bias[c] -= part;
    norm.bias[c] -= part;
    const MatrixView<float> into = detail::consumer_of(pair, c);
    for (std::size_t r = 0; r < into.rows; ++r) {
      double sum = 0.0;
      for (std::size_t k = 0; k < into.cols; ++k) sum += static_cast<double>(into(r, k));
      float& bias = pair.consumer.bias[pair.depthwise ? c : r];
      bias = static_cast<float>(static_cast<double>(bias) + sum * static_cast<double>(part));
    }
  }
  return absorbed;
}

}  // namespace pare
