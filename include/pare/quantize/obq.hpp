#pragma once

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include "pare/quantize/round_to_nearest.hpp"

namespace pare {

/// What Obq gives.
struct ObqResult {
  CodedMatrix matrix;
  double loss = 0.0;  ///< the squared error of the outputs, per sample, that the steps predicted
};

/// Quantizes a row's weights one at a time, at each step the one whose rounding costs the output least, and lets the
/// others make up for it (OBQ: Frantar and Alistarh, "Optimal Brain Compression", 2022). A weight that has drifted out
/// of its grid's range is rounded before it drifts farther. O(out * in^3 / 3) operations: for small layers; the greedy
/// order is no better than Gptq's where channels differ much in scale. parallel_rows + 2 matrices of in x in doubles.
struct Obq {
  std::size_t group = 0;          ///< columns of a row that share a scale; 0: all of them
  double damping = 0.0;           ///< of the mean of the Hessian's diagonal, added to the diagonal
  int retries = 10;               ///< how often 1 is added to the diagonal of a Hessian that cannot be inverted
  std::size_t parallel_rows = 8;  ///< rows that may be worked on at once

  /// The codes of a matrix [out, in], the scales being those of the weights as they are. Channels that never fired and
  /// are not damped count as weights of 0. The result does not depend on the executor. Reports its progress. Errors:
  /// a weight that is not finite, a moment of other channels or without samples, a Hessian that cannot be inverted,
  /// out_of_memory, cancelled.
  template <Grid G, class Real>
  Result<ObqResult> operator()(const G& grid, MatrixView<const float> weights, const SecondMoment<Real>& moment,
                               const Options& options = {}) const {
    if (moment.channels() != weights.cols)
      return detail::shape_error("the second moment", moment.sum().shape(), {weights.cols, weights.cols});
    if (moment.samples() == 0)
      return Error{ErrorCode::invalid_argument, "pare: the second moment has no samples; add activations first"};
    auto coded = RoundToNearest{.group = group}(grid, weights, options);
    if (!coded) return std::move(coded).error();
    ObqResult result{*std::move(coded)};
    if (weights.empty()) return result;

    auto inverse = inverted(moment, options);
    if (!inverse) return std::move(inverse).error();
    const std::size_t n = weights.cols, tasks = std::clamp<std::size_t>(parallel_rows, 1, weights.rows);
    auto matrices = Matrix<double>::create({tasks, n * n}, options.memory);
    if (!matrices) return std::move(matrices).error();
    auto rows = Matrix<Weight>::create({tasks, n}, options.memory);
    if (!rows) return std::move(rows).error();
    auto losses = Array<double>::create(weights.rows, options.memory);
    if (!losses) return std::move(losses).error();
    const float reach = half_gap(grid.format());
    ProgressMeter meter(options.progress, weights.rows);
    options.executor(tasks, [&](std::size_t task) {
      for (std::size_t r = task; r < weights.rows && !meter.cancelled(); r += tasks) {
        const std::span<Weight> row = rows->row(task);
        for (std::size_t c = 0; c < n; ++c) {
          const bool dead = inverse->dead[c];
          row[c] = {dead ? 0.0 : static_cast<double>(weights(r, c)), 0.0, 0.0, c, false};
        }
        (*losses)[r] = round_row(grid, r, reach, row, inverse->matrix, matrices->row(task), result.matrix);
        meter.advance(1);
      }
    });
    if (Result<void> ok = meter.status(); !ok) return std::move(ok).error();
    for (const double loss : *losses) result.loss += loss;
    return result;
  }

 private:
  /// One weight that is yet to be rounded; the last of the not yet rounded takes the place of one that is.
  struct Weight {
    double value = 0.0;
    double rounded = 0.0;
    double error = 0.0;  ///< squared
    std::size_t column = 0;
    bool outside = false;  ///< of the range of its grid
  };
  struct Inverse {
    Matrix<double> matrix;
    Array<bool> dead;
  };

  /// Half of the largest distance between neighbouring values of a format: who is farther from the nearest is outside.
  static float half_gap(const CodeFormat& format) {
    float largest = 0.0f;
    for (const float x : format.values) {
      float next = std::numeric_limits<float>::infinity();
      for (const float y : format.values) next = y > x && y < next ? y : next;
      if (is_finite(next)) largest = std::max(largest, next - x);
    }
    return largest / 2.0f;
  }

  template <class Real>
  Result<Inverse> inverted(const SecondMoment<Real>& moment, const Options& options) const {
    const std::size_t n = moment.channels();
    auto hessian = Matrix<double>::copy(moment.sum(), options.memory);
    if (!hessian) return std::move(hessian).error();
    auto dead = Array<bool>::create(n, options.memory);
    if (!dead) return std::move(dead).error();
    auto identity = Matrix<double>::create({n, n}, options.memory);
    if (!identity) return std::move(identity).error();
    const double factor = 2.0 / static_cast<double>(moment.samples());
    if (Result<void> ok = invert(hessian->view(), identity->view(), factor, dead->values()); !ok)
      return std::move(ok).error();
    return Inverse{*std::move(identity), *std::move(dead)};
  }

  /// Fills the inverse of the Hessian times a factor, damped, and says which channels never fired.
  template <class Value>
  Result<void> invert(MatrixView<Value> hessian, MatrixView<Value> result, Value factor, std::span<bool> dead) const {
    auto h = as_eigen(hessian);
    auto inverse = as_eigen(result);
    h *= factor;
    h.diagonal().array() += static_cast<Value>(damping) * h.diagonal().mean();
    if (!h.allFinite()) return Error{ErrorCode::invalid_argument, "pare: the Hessian holds a value that is not finite"};
    for (std::size_t c = 0; c < dead.size(); ++c) {
      dead[c] = hessian(c, c) == Value{0};
      if (dead[c]) hessian(c, c) = Value{1};
    }
    for (int attempt = 0; attempt <= retries; ++attempt) {
      const Eigen::LLT<EigenMatrix<Value>> factors(h);
      inverse.setIdentity();
      factors.solveInPlace(inverse);
      if (factors.info() == Eigen::Success && inverse.allFinite() && (inverse.diagonal().array() > Value{0}).all())
        return {};
      h.diagonal().array() += Value{1};
    }
    return Error{ErrorCode::invalid_argument,
                 "pare: the Hessian is not positive definite; give more samples, more damping or more retries"};
  }

  /// Rounds the weights of row r and returns their loss. `h` is room for the inverse Hessian of those that are left.
  template <Grid G>
  double round_row(const G& grid, std::size_t r, float reach, std::span<Weight> row, const Matrix<double>& inverse,
                   std::span<double> h, CodedMatrix& matrix) const {
    const std::size_t n = row.size();
    std::copy_n(inverse.values().data(), n * n, h.begin());
    const auto fitted = [&](std::size_t column) {
      return detail::block_grid(matrix, r / matrix.block.rows, matrix.group_of(column));
    };
    const auto judge = [&](Weight& w) {
      const BlockGrid g = fitted(w.column);
      const auto value = static_cast<float>(w.value);
      w.rounded = static_cast<double>(grid.decode(grid.encode(value, g), g));
      w.error = (w.value - w.rounded) * (w.value - w.rounded);
      const auto half = static_cast<double>(reach) * static_cast<double>(g.scale);
      w.outside = w.error > half * half;
    };
    double loss = 0.0;
    // Takes weight p of those left out: sets it, lets the others make up for it, and moves the last one to its place.
    const auto fix = [&](std::size_t p, std::size_t left) {
      const double* const column = h.data() + p * n;
      const double pivot = column[p];
      matrix.codes()(r, row[p].column) = grid.encode(static_cast<float>(row[p].value), fitted(row[p].column));
      // Where rounding errors have eaten the pivot up, no other weight can make up for this one.
      if (pivot > 0.0) {
        const double step = (row[p].value - row[p].rounded) / pivot;
        loss += 0.5 * step * step * pivot;
        for (std::size_t i = 0; i < left; ++i) row[i].value -= step * column[i];
        for (std::size_t i = 0; i < left; ++i) {
          if (i == p || column[i] == 0.0) continue;
          const double factor = column[i] / pivot;
          double* const changed = h.data() + i * n;
          for (std::size_t j = 0; j < left; ++j) changed[j] -= factor * column[j];
        }
      }
      const std::size_t last = left - 1;
      std::swap(row[p], row[last]);
      for (std::size_t j = 0; j < last; ++j) h[p * n + j] = h[last * n + j];
      for (std::size_t i = 0; i < last; ++i) h[i * n + p] = h[i * n + last];
      h[p * n + p] = h[last * n + last];
    };
    std::size_t left = n;
    for (std::size_t i = n; i-- > 0;)
      if (row[i].value == 0.0) {
        judge(row[i]);
        fix(i, left--);
      }
    for (; left > 0; --left) {
      std::size_t best = 0, worst = 0;
      bool outside = false;
      double least = std::numeric_limits<double>::infinity();
      for (std::size_t i = 0; i < left; ++i) {
        judge(row[i]);
        const double score = row[i].error / std::max(h[i * n + i], std::numeric_limits<double>::min());
        if (score < least || (score == least && row[i].column < row[best].column)) {
          least = score;
          best = i;
        }
        outside = outside || row[i].outside;
        if (row[i].error > row[worst].error) worst = i;
      }
      fix(outside ? worst : best, left);
    }
    return loss;
  }
};

}  // namespace pare
