#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pare/tensor/preparation.hpp"

namespace pare {

/// The scales of activations in eight bits: one for each group of columns of a row (32, 64 or 128 of them), or one for
/// each row, which is faster, above all where rows of weights have one scale too, and coarser where few columns hold
/// values far larger than the others.
enum class ActivationScales : std::uint8_t { per_group, per_row };

namespace detail {

/// y = x * W^T for prepared weights of either kind, whose codes are in the order of Codes: activations are quantized in
/// groups of `group` columns, for weights whose zero stands at `offset`. Errors: as matmul says.
template <class Codes, KernelBackend Kernels, class Weights>
Result<void> multiply_prepared(const Weights& weights, std::size_t group, std::int32_t offset,
                               MatrixView<const float> x, MatrixView<float> y, const Options& options,
                               ActivationScales scales) {
  const Shape shape = weights.shape();
  PreparedWeights all = weights.weights();
  if (Result<void> ok = check_product(shape, {std::as_bytes(std::span(all.codes, weights.bytes()))}, x, y); !ok)
    return ok;
  if (y.empty()) return {};
  if (x.cols == 0) {
    for (std::size_t i = 0; i < y.rows; ++i) std::fill_n(y.row(i), y.cols, 0.0f);
    return {};
  }
  const bool one_scale = scales == ActivationScales::per_row;
  const bool one_offset = one_scale && all.scale_step == 0 && all.groups * group <= most_exact_columns;
  // Codes of a block lie together, whatever groups they are read in where all share a scale.
  if (one_offset && x.rows > 1) group = exact_group;
  const auto divide = [&](PreparedWeights w) {
    w.groups = ceil_div(x.cols, group);
    w.units = group / prepared_unit;
    return w;
  };
  all = divide(all);
  auto activations = ActivationBatches::allocate(x.rows, {all.groups, group, is_group16<Codes>, one_scale, one_offset},
                                                 options.memory);
  if (!activations) return std::move(activations).error();
  // A task has groups of all rows of a batch, which lie together, or, where all groups share a scale, whole rows.
  constexpr std::size_t values_per_task = 32768;
  const std::size_t batch_rows = std::min(x.rows, prepared_batch);
  const std::size_t rows_per_task =
      one_scale ? std::min(batch_rows, ceil_div(values_per_task, all.groups * group)) : batch_rows;
  const std::size_t groups_per_task = one_scale ? all.groups : ceil_div(values_per_task, batch_rows * group);
  const std::size_t tasks_of_groups = ceil_div(all.groups, groups_per_task);
  const std::size_t tasks = tasks_of_groups * ceil_div(batch_rows, rows_per_task);
  options.executor(activations->count() * tasks, [&](std::size_t task) {
    const std::size_t batch = task / tasks, first = task % tasks % tasks_of_groups * groups_per_task;
    const std::size_t row = task % tasks / tasks_of_groups * rows_per_task;
    QuantizedActivations part = (*activations)[batch];
    if (row >= part.rows) return;
    const float* from = x.row(batch * prepared_batch + row) + first * group;
    part.codes += (first * part.rows + row) * group;
    part.scales += first * part.scale_step + row;
    part.offsets += first * part.offset_step * prepared_sections<Codes> + row;
    const std::size_t columns = std::min(groups_per_task * group, x.cols - first * group);
    Kernels::quantize_activations(from, std::min(rows_per_task, part.rows - row), x.row_stride, columns, group, offset,
                                  part);
  });
  // Many rows of x keep few rows of weights in the caches; for few rows tasks are long enough to pay for their start.
  const std::size_t blocks_per_task = x.rows < 4 ? 16 : 4;
  options.executor(ceil_div(weights.blocks(), blocks_per_task), [&](std::size_t task) {
    const std::size_t block = task * blocks_per_task, row = block * prepared_rows;
    const std::size_t outputs = std::min(blocks_per_task * prepared_rows, shape.rows - row);
    for (std::size_t batch = 0; batch < activations->count(); ++batch)
      Kernels::template multiply_prepared<Codes>(divide(weights.weights(block)), outputs, (*activations)[batch],
                                                 y.row(batch * prepared_batch) + row, y.row_stride);
  });
  return {};
}

}  // namespace detail
}  // namespace pare
