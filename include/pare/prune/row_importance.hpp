#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <utility>

#include "pare/calibration/calibration.hpp"
#include "pare/prune/selection.hpp"
#include "pare/prune/structure.hpp"

namespace pare {

/// How much each row of a matrix matters: the output channels of a linear layer, the filters of a convolution. What a
/// structured pruning ranks; for columns give `transposed(weights)`. The values do not depend on the executor.
/// Models: L1Norm, L2Norm, GeometricMedian.
template <class I>
concept RowImportance = requires(const I& importance, MatrixView<const float> weights, const PruneOptions& options) {
  { importance(weights, options) } -> std::same_as<Result<Array<double>>>;
};

/// The same matrix with rows and columns exchanged.
template <class T>
constexpr MatrixView<T> transposed(MatrixView<T> matrix) noexcept {
  return {matrix.data, matrix.cols, matrix.rows, matrix.col_stride, matrix.row_stride};
}

namespace detail {

/// value(r) for each row of a matrix whose elements are all finite.
template <class Value>
Result<Array<double>> each_row(MatrixView<const float> weights, const PruneOptions& options, const Value& value) {
  if (Result<void> ok = check_finite(weights, "the weight"); !ok) return std::move(ok).error();
  auto result = Array<double>::create(weights.rows, options.memory);
  if (result) options.executor(weights.rows, [&](std::size_t r) { (*result)[r] = value(r); });
  return result;
}

}  // namespace detail

/// The sum of the absolute values of a row. Error: a weight that is not finite.
struct L1Norm {
  Result<Array<double>> operator()(MatrixView<const float> weights, const PruneOptions& options = {}) const {
    return detail::each_row(weights, options, [&](std::size_t r) {
      double sum = 0.0;
      for (std::size_t c = 0; c < weights.cols; ++c) sum += std::fabs(double{weights(r, c)});
      return sum;
    });
  }
};

/// The square root of the sum of the squares of a row. Error: a weight that is not finite.
struct L2Norm {
  Result<Array<double>> operator()(MatrixView<const float> weights, const PruneOptions& options = {}) const {
    return detail::each_row(weights, options, [&](std::size_t r) {
      double sum = 0.0;
      for (std::size_t c = 0; c < weights.cols; ++c) sum += double{weights(r, c)} * double{weights(r, c)};
      return std::sqrt(sum);
    });
  }
};

/// The sum of a row's Euclidean distances to all rows: a row near the others' median is redundant (He et al., "Filter
/// Pruning via Geometric Median", 2019). O(rows^2 * cols). Error: a weight that is not finite.
struct GeometricMedian {
  Result<Array<double>> operator()(MatrixView<const float> weights, const PruneOptions& options = {}) const {
    return detail::each_row(weights, options, [&](std::size_t r) {
      double total = 0.0;
      for (std::size_t other = 0; other < weights.rows; ++other) {
        double sum = 0.0;
        for (std::size_t c = 0; c < weights.cols; ++c) {
          const double difference = double{weights(r, c)} - double{weights(other, c)};
          sum += difference * difference;
        }
        total += std::sqrt(sum);
      }
      return total;
    });
  }
};

/// Venum's channel form: the L2 norm of a row whose elements each count |weight| * norm of their input column, as
/// Wanda's do. Errors: a weight that is not finite, norms that are not one finite non-negative number for each
/// column.
struct ActivationNorm {
  std::span<const float> norms;

  Result<Array<double>> operator()(MatrixView<const float> weights, const PruneOptions& options = {}) const {
    if (Result<void> ok = detail::check_norms(norms, weights.cols); !ok) return std::move(ok).error();
    return detail::each_row(weights, options, [&](std::size_t r) {
      double sum = 0.0;
      for (std::size_t c = 0; c < weights.cols; ++c) {
        const double score = double{weights(r, c)} * double{norms[c]};
        sum += score * score;
      }
      return std::sqrt(sum);
    });
  }
};

static_assert(RowImportance<L1Norm> && RowImportance<L2Norm> && RowImportance<GeometricMedian> &&
              RowImportance<ActivationNorm>);

}  // namespace pare
