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
  auto activations = ActivationBatches::allocate(x.rows, weights.weights().groups, group, options.memory);
  if (!activations) return std::move(activations).error();
  constexpr std::size_t rows_per_task = 12;
  static_assert(prepared_batch % rows_per_task == 0);
  options.executor(ceil_div(x.rows, rows_per_task), [&](std::size_t task) {
    const std::size_t first = task * rows_per_task, row = first % prepared_batch;
    QuantizedActivations part = (*activations)[first / prepared_batch];
    part.codes += row * group;
    part.scales += row;
    part.offsets += row;
    Kernels::quantize_activations(x.row(first), std::min(rows_per_task, x.rows - first), x.row_stride, x.cols, group,
                                  offset, part);
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
