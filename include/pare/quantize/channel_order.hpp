#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <numeric>
#include <span>
#include <string>
#include <utility>

#include "pare/quantize/linear_layer.hpp"

namespace pare {

/// The channels from the largest magnitude to the least, equal ones in their own order: QoQ (Lin et al., QServe, 2024)
/// puts the channels of a layer's input in this order, so that groups hold channels of like size. Errors: magnitudes
/// that are not finite and at least 0, out_of_memory.
inline Result<Array<std::uint32_t>> salient_order(std::span<const float> magnitudes,
                                                  std::pmr::memory_resource* memory = nullptr) {
  for (const float x : magnitudes)
    if (!is_finite(x) || x < 0.0f)
      return Error{ErrorCode::invalid_argument, "pare: the magnitude of a channel is no finite number of 0 or more"};
  auto order = Array<std::uint32_t>::create(magnitudes.size(), memory);
  if (!order) return order;
  std::iota(order->begin(), order->end(), 0u);
  std::sort(order->begin(), order->end(), [&](std::uint32_t a, std::uint32_t b) {
    return magnitudes[a] != magnitudes[b] ? magnitudes[a] > magnitudes[b] : a < b;
  });
  return order;
}

/// Puts the input channels of a layer in another order: column i becomes what column order[i] was. With
/// reorder_outputs of what produces the input nothing else changes. Errors: an order that does not name each channel
/// once, out_of_memory.
inline Result<void> reorder_inputs(MatrixView<float> weight, std::span<const std::uint32_t> order,
                                   std::pmr::memory_resource* memory = nullptr) {
  if (Result<void> ok = detail::check_output(weight, "the weight"); !ok) return ok;
  auto seen = Array<bool>::create(order.size(), memory);
  if (!seen) return std::move(seen).error();
  bool good = order.size() == weight.cols;
  for (std::size_t i = 0; good && i < order.size(); ++i) {
    good = order[i] < order.size() && !(*seen)[order[i]];
    if (good) (*seen)[order[i]] = true;
  }
  if (!good)
    return Error{ErrorCode::invalid_argument,
                 "pare: an order of " + std::to_string(weight.cols) + " channels must name each of them once"};
  auto row = Array<float>::create(weight.cols, memory);
  if (!row) return std::move(row).error();
  for (std::size_t r = 0; r < weight.rows; ++r) {
    for (std::size_t i = 0; i < order.size(); ++i) (*row)[i] = weight(r, order[i]);
    for (std::size_t i = 0; i < order.size(); ++i) weight(r, i) = (*row)[i];
  }
  return {};
}

/// Puts what a layer puts out in another order: row i, and value i of the bias, become what those at order[i] were.
/// Errors: those of reorder_inputs, a bias of another size.
inline Result<void> reorder_outputs(const LinearLayer& layer, std::span<const std::uint32_t> order,
                                    std::pmr::memory_resource* memory = nullptr) {
  if (!layer.bias.empty() && layer.bias.size() != layer.weight.rows)
    return Error{ErrorCode::invalid_argument, "pare: the layer's bias has another size than its outputs"};
  const MatrixView<float> w = layer.weight;
  const MatrixView<float> columns(w.data, w.cols, w.rows, w.col_stride, w.row_stride);
  if (Result<void> ok = reorder_inputs(columns, order, memory); !ok || layer.bias.empty()) return ok;
  return reorder_inputs(MatrixView<float>(layer.bias.data(), 1, layer.bias.size()), order, memory);
}

}  // namespace pare
