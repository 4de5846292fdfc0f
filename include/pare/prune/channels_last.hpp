#pragma once

#include <cstddef>
#include <cstdint>
#include <memory_resource>

#include "pare/calibration/calibration.hpp"

namespace pare {

/// The columns of a convolution's weight with the channels last, [kernel.rows, kernel.cols, channels]: the order in
/// which N of M groups are formed where a kernel reads the channels of a pixel one after another, and OBC's.
inline Result<Array<std::uint32_t>> channels_last(const Convolution& convolution,
                                                  std::pmr::memory_resource* memory = nullptr) {
  auto order = Array<std::uint32_t>::create(convolution.columns(), memory);
  if (!order) return order;
  const std::size_t area = convolution.kernel.rows * convolution.kernel.cols, channels = convolution.channels;
  for (std::size_t place = 0; place < order->size(); ++place)
    (*order)[place] = static_cast<std::uint32_t>(place % channels * area + place / channels);
  return order;
}

}  // namespace pare
