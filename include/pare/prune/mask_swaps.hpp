#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string>
#include <utility>

#include "pare/calibration/calibration.hpp"
#include "pare/prune/pruned_matrix.hpp"
#include "pare/prune/reconstruction.hpp"
#include "pare/prune/selection.hpp"

namespace pare {

namespace detail {

/// One row's least squares problem over the weights that are kept, and what each change of that set would cost, in one
/// symmetric matrix to which the sweep operator (Goodnight, "A Tutorial on the SWEEP Operator", 1979) adds or removes a
/// weight in O(n^2). The last row and column belong to the target.
class SweptRow {
 public:
  SweptRow(double* memory, std::size_t n) : matrix_(memory), n_(n) {}

  /// With no weight kept yet: H, and H times the target weights.
  template <class Hessian>
  void start(MatrixView<const float> weights, std::size_t row, const Hessian& hessian) {
    std::fill_n(&at(n_, 0), n_ + 1, 0.0);
    for (std::size_t i = 0; i < n_; ++i) {
      for (std::size_t j = 0; j < n_; ++j) {
        at(i, j) = hessian(i, j);
        at(n_, i) += at(i, j) * static_cast<double>(weights(row, j));
      }
      at(i, n_) = at(n_, i);
    }
  }

  /// What keeping weight `i`, which is not kept now, would take off the loss.
  [[nodiscard]] double gain(std::size_t i) const { return pivot(i) > 0.0 ? at(i, n_) * at(i, n_) / pivot(i) : -1.0; }
  /// What removing weight `i`, which is kept now, would add to the loss.
  [[nodiscard]] double cost(std::size_t i) const { return at(i, n_) * at(i, n_) / -pivot(i); }
  /// The best value of weight `i`, which is kept now.
  [[nodiscard]] double value(std::size_t i) const { return at(i, n_); }

  /// Keeps weight `k` if it is not kept, and removes it if it is. False where rounding leaves no pivot.
  bool toggle(std::size_t k) {
    const double pivot = at(k, k);
    if (!(pivot - pivot == 0.0) || pivot == 0.0) return false;
    // Removing is the same with the signs of the weight's own row and column exchanged.
    const double sign = pivot > 0.0 ? 1.0 : -1.0;
    const double* const by = &at(k, 0);
    for (std::size_t i = 0; i <= n_; ++i) {
      if (i == k) continue;
      double* const row = &at(i, 0);
      const double factor = row[k] / pivot;
      for (std::size_t j = 0; j <= n_; ++j) row[j] -= factor * by[j];
      row[k] = sign * factor;
    }
    for (std::size_t j = 0; j <= n_; ++j) at(k, j) *= sign / pivot;
    at(k, k) = -1.0 / pivot;
    return true;
  }

 private:
  double& at(std::size_t i, std::size_t j) { return matrix_[i * (n_ + 1) + j]; }
  [[nodiscard]] double at(std::size_t i, std::size_t j) const { return matrix_[i * (n_ + 1) + j]; }
  [[nodiscard]] double pivot(std::size_t i) const { return at(i, i); }

  double* matrix_;
  std::size_t n_;
};

}  // namespace detail

/// Improves a mask by exchanges, and then gives the kept weights their best values, as Reconstruct does. In each pass
/// every kept weight of a row, the one that costs the least first, gives its place to the pruned weight whose return
/// lessens the loss the most once it is gone, which may be itself. The loss never rises, no row changes its number of
/// zeros, and where `group` is set no group of that many columns does.
/// O(out * in^3): as dear as OBC. Memory for the result and for at most 16 in x in matrices.
struct MaskSwaps {
  int passes = 2;
  std::size_t group = 0;  ///< exchanges stay within so many columns; 0: within the row
  double damping = 0.01;  ///< of the mean of the moment's diagonal, added to it

  /// The weights [out, in], +0 where pruned, and the new mask. The result does not depend on the executor. Errors:
  /// those of Reconstruct.
  template <class Real>
  Result<PrunedMatrix> operator()(Mask mask, MatrixView<const float> weights, const SecondMoment<Real>& moment,
                                  const Options& options = {}) const {
    if (Result<void> ok = detail::check_moment(weights, moment); !ok) return std::move(ok).error();
    if (mask.shape() != weights.shape()) return detail::shape_error("the mask", mask.shape(), weights.shape());
    const std::size_t n = weights.cols;
    double mean = 0.0;
    for (std::size_t c = 0; c < n; ++c) mean += static_cast<double>(moment.sum()(c, c)) / static_cast<double>(n);
    const double added = damping * mean;
    const detail::RowParts parts = detail::square_parts(weights.rows, n + 1);
    auto scratch = Matrix<double>::create({parts.count(), (n + 1) * (n + 1)}, options.memory);
    if (!scratch) return std::move(scratch).error();
    auto order = Matrix<std::uint32_t>::create({parts.count(), n}, options.memory);
    if (!order) return std::move(order).error();
    const auto hessian = [&](std::size_t i, std::size_t j) {
      return static_cast<double>(moment.sum()(i, j)) + (i == j ? added : 0.0);
    };
    options.executor(parts.count(), [&](std::size_t part) {
      detail::SweptRow row(scratch->row(part).data(), n);
      for (std::size_t r = parts[part].begin; r < parts[part].end; ++r) {
        row.start(weights, r, hessian);
        improve(row, r, n, order->row(part), mask);
      }
    });
    return Reconstruct{.damping = damping}(std::move(mask), weights, moment, options);
  }

 private:
  void improve(detail::SweptRow& row, std::size_t r, std::size_t n, std::span<std::uint32_t> order, Mask& mask) const {
    for (std::size_t c = 0; c < n; ++c)
      if (mask.test(r, c) && !row.toggle(c)) return;  // Reconstruct says what is wrong
    for (int pass = 0; pass < passes; ++pass) {
      std::size_t count = 0;
      for (std::size_t c = 0; c < n; ++c)
        if (mask.test(r, c)) order[count++] = static_cast<std::uint32_t>(c);
      const std::span<std::uint32_t> kept = order.first(count);
      std::sort(kept.begin(), kept.end(), [&](std::uint32_t a, std::uint32_t b) {
        const double x = row.cost(a), y = row.cost(b);
        return x != y ? x < y : a < b;
      });
      bool changed = false;
      for (const std::uint32_t leaves : kept) {
        if (!mask.test(r, leaves)) continue;
        if (!row.toggle(leaves)) return;
        const std::size_t begin = group == 0 ? 0 : leaves / group * group;
        std::size_t best = leaves;
        double most = row.gain(leaves) * (1.0 + 1e-9);  // no exchange of equals
        mask.set(r, leaves, false);
        for (std::size_t c = begin; c < (group == 0 ? n : std::min(n, begin + group)); ++c)
          if (!mask.test(r, c) && row.gain(c) > most) {
            most = row.gain(c);
            best = c;
          }
        mask.set(r, best, true);
        if (!row.toggle(best)) return;
        changed = changed || best != leaves;
      }
      if (!changed) break;
    }
  }
};

}  // namespace pare
