#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pare/tensor/preparation.hpp"

namespace pare::detail {

/// y = x * W^T for prepared weights of either kind, whose codes are in the order of Codes: activations are quantized in
/// groups of `group` columns, for weights whose zero stands at `offset`. Errors: as matmul says.
template <class Codes, KernelBackend Kernels, class Weights>
Result<void> multiply_prepared(const Weights& weights, std::size_t group, std::int32_t offset,
                               MatrixView<const float> x, MatrixView<float> y, const Options& options) {
  const Shape shape = weights.shape();
  const std::span memory(weights.weights().codes, weights.bytes());
  if (Result<void> ok = check_product(shape, {std::as_bytes(memory)}, x, y); !ok) return ok;
  if (y.empty()) return {};
  if (x.cols == 0) {
    for (std::size_t i = 0; i < y.rows; ++i) std::fill_n(y.row(i), y.cols, 0.0f);
    return {};
  }
  auto activations =
      ActivationBatches::allocate(x.rows, weights.weights().groups, group, is_group16<Codes>, options.memory);
  if (!activations) return std::move(activations).error();
  // A task has groups of all rows of a batch, which lie together.
  constexpr std::size_t values_per_task = 32768;
  const std::size_t groups = weights.weights().groups;
  const std::size_t groups_per_task = ceil_div(values_per_task, std::min(x.rows, prepared_batch) * group);
  const std::size_t tasks = ceil_div(groups, groups_per_task);
  options.executor(activations->count() * tasks, [&](std::size_t task) {
    const std::size_t batch = task / tasks, first = task % tasks * groups_per_task;
    QuantizedActivations part = (*activations)[batch];
    const float* from = x.row(batch * prepared_batch) + first * group;
    part.codes += first * part.rows * group;
    part.scales += first * part.rows;
    part.offsets += first * part.rows * prepared_sections<Codes>;
    const std::size_t columns = std::min(groups_per_task * group, x.cols - first * group);
    Kernels::quantize_activations(from, part.rows, x.row_stride, columns, group, offset, part);
  });
  // Many rows of x keep few rows of weights in the caches; for few rows tasks are long enough to pay for their start.
  const std::size_t blocks_per_task = x.rows < 4 ? 16 : 4;
  options.executor(ceil_div(weights.blocks(), blocks_per_task), [&](std::size_t task) {
    const std::size_t block = task * blocks_per_task, row = block * prepared_rows;
    const std::size_t outputs = std::min(blocks_per_task * prepared_rows, shape.rows - row);
    for (std::size_t batch = 0; batch < activations->count(); ++batch)
      Kernels::template multiply_prepared<Codes>(weights.weights(block), outputs, (*activations)[batch],
                                                 y.row(batch * prepared_batch) + row, y.row_stride);
  });
  return {};
}

}  // namespace pare::detail
