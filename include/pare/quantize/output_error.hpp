#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include "pare/calibration/calibration.hpp"

namespace pare {

/// How far a layer's outputs move when `weights` [out, in] become `approximation`: the sum over all tokens x that the
/// moment saw and all outputs of ((weights - approximation) x)^2. O(out * in^2), and 32 rows of scratch for each of at
/// most 64 tasks. The result does not depend on the executor. Errors: shapes that differ, out_of_memory.
template <class Real>
Result<double> output_error(MatrixView<const float> weights, MatrixView<const float> approximation,
                            const SecondMoment<Real>& moment, const Options& options = {}) {
  const std::size_t channels = moment.channels();
  if (weights.cols != channels) return detail::shape_error("the weight", weights.shape(), {weights.rows, channels});
  if (approximation.shape() != weights.shape())
    return detail::shape_error("the approximation", approximation.shape(), weights.shape());
  if (Result<void> ok = detail::check_input(weights, "the weight"); !ok) return std::move(ok).error();
  if (Result<void> ok = detail::check_input(approximation, "the approximation"); !ok) return std::move(ok).error();
  if (weights.empty()) return 0.0;
  constexpr std::size_t panel = 32;
  const std::size_t rows_each = ceil_div(ceil_div(weights.rows, std::size_t{64}), panel) * panel;
  const std::size_t tasks = ceil_div(weights.rows, rows_each);
  auto scratch = Matrix<Real>::create({tasks * 2 * panel, channels}, options.memory);
  if (!scratch) return std::move(scratch).error();
  auto sums = Array<double>::create(tasks, options.memory);
  if (!sums) return std::move(sums).error();
  options.executor(tasks, [&](std::size_t task) {
    Real* const memory = scratch->row(task * 2 * panel).data();
    const std::size_t end = std::min(weights.rows, (task + 1) * rows_each);
    for (std::size_t begin = task * rows_each; begin < end; begin += panel) {
      const std::size_t count = std::min(panel, end - begin);
      const MatrixView<Real> difference(memory, count, channels);
      const MatrixView<Real> product(memory + panel * channels, count, channels);
      for (std::size_t r = 0; r < count; ++r)
        for (std::size_t c = 0; c < channels; ++c)
          difference(r, c) = static_cast<Real>(weights(begin + r, c)) - static_cast<Real>(approximation(begin + r, c));
      as_eigen(product).noalias() = as_eigen(difference) * as_eigen(moment.sum());
      (*sums)[task] += static_cast<double>(as_eigen(product).cwiseProduct(as_eigen(difference)).sum());
    }
  });
  double total = 0.0;
  for (const double sum : *sums) total += sum;
  return total;
}

}  // namespace pare
