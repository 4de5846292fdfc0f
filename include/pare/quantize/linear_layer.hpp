#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "pare/calibration/calibration.hpp"

namespace pare {

/// A layer that is changed in place: its weight [out, in], or [out, in * kernel] of a convolution, and its bias, which
/// may be empty. The gain and bias of a normalization are a layer of one column.
struct LinearLayer {
  MatrixView<float> weight;
  std::span<float> bias{};

  [[nodiscard]] std::size_t outputs() const noexcept { return weight.rows; }
};

namespace detail {

/// A layer whose weight can be written and is finite, as is its bias of one value for each output, if it has one.
inline Result<void> check_layer(const LinearLayer& layer, const char* what) {
  if (Result<void> ok = check_output(layer.weight, what); !ok) return ok;
  if (Result<void> ok = check_finite(layer.weight, what); !ok) return ok;
  if (layer.bias.empty()) return {};
  if (layer.bias.size() != layer.weight.rows)
    return Error{ErrorCode::invalid_argument, "pare: " + std::string(what) + " has " +
                                                  std::to_string(layer.weight.rows) + " rows and a bias of " +
                                                  std::to_string(layer.bias.size()) + " values"};
  return check_finite(MatrixView<const float>(layer.bias.data(), 1, layer.bias.size()), "the bias");
}

/// How many columns (pixels of the kernel) the consumer has for each of so many channels; an error where not equally
/// many.
inline Result<std::size_t> columns_per_channel(MatrixView<const float> consumer, std::size_t channels) {
  if (channels == 0 || consumer.cols % channels != 0)
    return Error{ErrorCode::invalid_argument, "pare: the consumer's " + std::to_string(consumer.cols) +
                                                  " columns are no multiple of the producer's " +
                                                  std::to_string(channels) + " channels"};
  return consumer.cols / channels;
}

}  // namespace detail
}  // namespace pare
