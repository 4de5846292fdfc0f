#pragma once

#include <Eigen/Cholesky>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <numeric>
#include <string>
#include <utility>

#include "pare/calibration/calibration.hpp"
#include "pare/prune/pruned_matrix.hpp"
#include "pare/prune/selection.hpp"

namespace pare {

namespace detail {

/// So many equal parts of the rows that n x n doubles for each of them stay within 256 MiB, if they can.
inline RowParts square_parts(std::size_t rows, std::size_t n) {
  const std::size_t bytes = std::max<std::size_t>(n * n * sizeof(double), 1);
  return {rows, std::clamp<std::size_t>((std::size_t{1} << 28) / bytes, 1, 16)};
}

}  // namespace detail

/// The best weights that a mask allows: those that change the layer's outputs over the calibration tokens the least, by
/// one least squares problem for each row. What OBC's removals lead to one by one; any mask may be given, so that
/// Pruner<Wanda, ...> with this after it is a one-shot method of its own. Rows that lose only zeros stay as they are.
/// O(kept^3) for each row; memory for the result and for at most 16 in x in matrices.
struct Reconstruct {
  double damping = 0.01;  ///< of the mean of the moment's diagonal, added to it; holds the weights near what they were

  /// The weights [out, in], +0 where pruned. The result does not depend on the executor. Errors: weights that are not
  /// finite, shapes that differ, a moment of no tokens, kept columns whose moment is not positive definite,
  /// out_of_memory.
  template <class Real>
  Result<PrunedMatrix> operator()(Mask mask, MatrixView<const float> weights, const SecondMoment<Real>& moment,
                                  const Options& options = {}) const {
    if (Result<void> ok = detail::check_moment(weights, moment); !ok) return std::move(ok).error();
    const std::size_t n = weights.cols;
    double mean = 0.0;
    for (std::size_t c = 0; c < n; ++c) mean += static_cast<double>(moment.sum()(c, c)) / static_cast<double>(n);
    return damped(std::move(mask), weights, moment, damping * mean, 0.0, options);
  }

  /// The same with `added` on the diagonal; where `silent` is positive it stands for channels that never fired, whose
  /// weights become 0.
  template <class Real>
  static Result<PrunedMatrix> damped(Mask mask, MatrixView<const float> weights, const SecondMoment<Real>& moment,
                                     double added, double silent, const Options& options) {
    if (mask.shape() != weights.shape()) return detail::shape_error("the mask", mask.shape(), weights.shape());
    auto result = Matrix<float>::create(weights.shape(), options.memory);
    if (!result) return std::move(result).error();
    const std::size_t n = weights.cols;
    const detail::RowParts parts = detail::square_parts(weights.rows, n);
    auto scratch = Matrix<double>::create({parts.count(), n * n + 2 * n}, options.memory);
    if (!scratch) return std::move(scratch).error();
    auto kept = Matrix<std::uint32_t>::create({parts.count(), n}, options.memory);
    if (!kept) return std::move(kept).error();
    auto losses = Array<double>::create(weights.rows, options.memory);
    if (!losses) return std::move(losses).error();
    auto good = Array<bool>::create(weights.rows, options.memory);
    if (!good) return std::move(good).error();
    const auto hessian = [&](std::size_t i, std::size_t j) {
      const auto value = static_cast<double>(moment.sum()(i, j));
      return i != j ? value : value + added + (value == 0.0 ? silent : 0.0);
    };
    const auto dead = [&](std::size_t c) { return silent > 0.0 && moment.sum()(c, c) == Real{0}; };
    options.executor(parts.count(), [&](std::size_t part) {
      double* const matrix = scratch->row(part).data();
      double* const vector = matrix + n * n;
      double* const change = vector + n;
      std::uint32_t* const columns = kept->row(part).data();
      for (std::size_t r = parts[part].begin; r < parts[part].end; ++r) {
        // The pruned weights' share in the outputs is what the kept ones have to take over.
        std::size_t k = 0;
        bool loses = false;
        std::fill_n(change, n, 0.0);
        for (std::size_t c = 0; c < n; ++c) {
          const bool stays = mask.test(r, c) && !dead(c);
          (*result)(r, c) = stays ? weights(r, c) : 0.0f;
          if (stays) columns[k++] = static_cast<std::uint32_t>(c);
          if (!stays) change[c] = -static_cast<double>(weights(r, c));
          loses = loses || change[c] != 0.0;
        }
        (*good)[r] = true;
        if (!loses) continue;
        for (std::size_t i = 0; i < k; ++i) {
          double sum = 0.0;
          for (std::size_t c = 0; c < n; ++c)
            if (change[c] != 0.0) sum -= hessian(columns[i], c) * change[c];
          vector[i] = sum;
          for (std::size_t j = 0; j <= i; ++j) matrix[i * k + j] = hessian(columns[i], columns[j]);
        }
        (*good)[r] = solve(matrix, vector, k);
        for (std::size_t i = 0; i < k; ++i) {
          change[columns[i]] = vector[i];
          (*result)(r, columns[i]) = static_cast<float>(static_cast<double>(weights(r, columns[i])) + vector[i]);
        }
        // At the optimum the gradient of every kept weight is 0.
        double loss = 0.0;
        for (std::size_t i = 0; i < n; ++i)
          if ((*result)(r, i) == 0.0f)
            for (std::size_t j = 0; j < n; ++j) loss += change[i] * hessian(i, j) * change[j];
        (*losses)[r] = loss;
      }
    });
    for (std::size_t r = 0; r < weights.rows; ++r)
      if (!(*good)[r])
        return Error{ErrorCode::invalid_argument, "pare: the second moment of the columns kept in row " +
                                                      std::to_string(r) +
                                                      " is not positive definite; give more samples or more damping"};
    if (Result<void> ok = check_finite(*result, "the reconstructed weight"); !ok) return std::move(ok).error();
    return PrunedMatrix{*std::move(result), std::move(mask), std::accumulate(losses->begin(), losses->end(), 0.0),
                        added};
  }

 private:
  /// Solves the k x k system whose lower triangle is `matrix` in place of the right hand side.
  template <class Real>
  static bool solve(Real* matrix, Real* vector, std::size_t k) {
    if (k == 0) return true;
    Eigen::Ref<EigenMatrix<Real>, 0, Eigen::OuterStride<>> lower = as_eigen(MatrixView<Real>(matrix, k, k));
    const Eigen::LLT<decltype(lower)> factorization(lower);
    if (factorization.info() != Eigen::Success) return false;
    Eigen::Map<Eigen::Matrix<Real, Eigen::Dynamic, 1>> right(vector, static_cast<Eigen::Index>(k));
    factorization.solveInPlace(right);
    return true;
  }
};

}  // namespace pare
