#pragma once

#include <Eigen/Cholesky>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include "pare/quantize/grid.hpp"

namespace pare {

/// Betters the codes and scales of a quantized layer by the second moment of its inputs, whatever algorithm gave them.
/// Each sweep goes over the columns of a row and gives each the code that is best for the layer's output while all
/// others stay (Behdin et al., QuantEase, 2023); between sweeps the scales of a row's groups take the values that are
/// best for its codes, a linear least-squares problem. The error of no row grows.
struct CoordinateDescent {
  int rounds = 4;  ///< of a fit of the scales and sweeps until no code changes
  int sweeps = 8;  ///< at most, in each round
  /// Where scales belong to neighbouring columns of single rows and are no powers of two. For G groups the systems of
  /// a task take 32 * G * (G + 1) doubles.
  bool fit_scales = true;

  /// Changes `matrix`, which quantizes `weights` [out, in]; returns the squared error of all outputs summed over the
  /// tokens of the moment. O(out * in^2) for each round, and a few rows of doubles of scratch for each task. The result
  /// does not depend on the executor. Reports its progress; when cancelled, some rows are bettered and others not.
  /// Errors: shapes that differ, weights or values of codes that are not finite, codes with offsets or a tensor scale,
  /// out_of_memory, cancelled.
  template <Grid G, class Real>
  Result<double> operator()(const G& grid, MatrixView<const float> weights, const SecondMoment<Real>& moment,
                            CodedMatrix& matrix, const Options& options = {}) const {
    const std::size_t channels = moment.channels();
    if (weights.cols != channels) return detail::shape_error("the weight", weights.shape(), {weights.rows, channels});
    if (matrix.shape != weights.shape()) return detail::shape_error("the matrix", matrix.shape, weights.shape());
    if (matrix.shift_kind == ShiftKind::offset || matrix.tensor_scale != 1.0f)
      return Error{ErrorCode::unsupported, "pare: coordinate descent needs values of (code - zero point) * scale"};
    if (Result<void> ok = check_finite(weights, "the weight"); !ok) return std::move(ok).error();
    if (weights.empty()) return 0.0;
    for (std::size_t r = 0; r < weights.rows; ++r)
      for (std::size_t c = 0; c < channels; ++c)
        if (!is_finite(matrix.value(r, c)))
          return Error{ErrorCode::invalid_argument, "pare: a code's value is not finite"};

    constexpr std::size_t panel = 32;
    const std::size_t tasks = ceil_div(weights.rows, panel), groups = matrix.grid.cols;
    auto scratch = Matrix<double>::create({tasks * panel, 3 * channels + groups * (groups + 1)}, options.memory);
    if (!scratch) return std::move(scratch).error();
    auto losses = Array<double>::create(weights.rows, options.memory);
    if (!losses) return std::move(losses).error();
    ProgressMeter meter(options.progress, tasks * static_cast<std::size_t>(most_rounds()));
    options.executor(tasks, [&](std::size_t task) {
      if (meter.cancelled()) return;
      const std::size_t begin = task * panel, count = std::min(panel, weights.rows - begin);
      double* memory = scratch->row(begin).data();
      const Rows rows{.begin = begin,
                      .errors = {memory, count, channels},
                      .gradients = {memory + panel * channels, count, channels},
                      .units = {memory + 2 * panel * channels, count, channels},
                      .systems = {memory + 3 * panel * channels, count, groups * (groups + 1)}};
      descend(grid, weights, moment, matrix, rows, losses->values(), meter);
    });
    if (Result<void> ok = meter.status(); !ok) return std::move(ok).error();
    double total = 0.0;
    for (const double loss : *losses) total += loss;
    return total;
  }

 private:
  [[nodiscard]] int most_rounds() const noexcept { return std::max(rounds, 1); }

  /// Some rows of a layer: the errors of their weights, and half the derivative of their loss by each weight.
  struct Rows {
    std::size_t begin;
    MatrixView<double> errors, gradients, units, systems;
  };

  template <Grid G, class Real>
  void descend(const G& grid, MatrixView<const float> weights, const SecondMoment<Real>& moment, CodedMatrix& matrix,
               const Rows& rows, std::span<double> losses, ProgressMeter& meter) const {
    // One scale cannot serve a row's own fit when other rows have it too; a power of two would be missed by rounding.
    const bool scales_fit = fit_scales && matrix.block.rows == 1 && matrix.column_groups().empty() &&
                            matrix.scale_type != ScaleType::float8_e8m0;
    int round = 0;
    for (bool changed = true; changed && round < most_rounds() && !meter.cancelled(); ++round) {
      measure(weights, moment, matrix, rows, losses);
      if (scales_fit) {
        refit(weights, moment, matrix, rows);
        measure(weights, moment, matrix, rows, losses);
      }
      changed = false;
      for (std::size_t i = 0; i < rows.errors.rows; ++i)
        for (int sweep = 0; sweep < sweeps; ++sweep) {
          if (!sweep_row(grid, moment, matrix, rows, i)) break;
          changed = true;
        }
      meter.advance(1);
    }
    meter.advance(static_cast<std::uint64_t>(most_rounds() - round));
    measure(weights, moment, matrix, rows, losses);
  }

  /// Computes errors, gradients and losses afresh.
  template <class Real>
  static void measure(MatrixView<const float> weights, const SecondMoment<Real>& moment, const CodedMatrix& matrix,
                      const Rows& rows, std::span<double> losses) {
    for (std::size_t i = 0; i < rows.errors.rows; ++i)
      for (std::size_t c = 0; c < rows.errors.cols; ++c)
        rows.errors(i, c) = double{matrix.value(rows.begin + i, c)} - double{weights(rows.begin + i, c)};
    multiply(rows.errors, moment.sum(), rows.gradients);
    for (std::size_t i = 0; i < rows.errors.rows; ++i) losses[rows.begin + i] = dot(rows.errors, rows.gradients, i);
  }

  /// Of row i of both.
  template <class Sum>
  static Sum dot(MatrixView<Sum> a, MatrixView<Sum> b, std::size_t i) {
    const auto row = static_cast<Eigen::Index>(i);
    return as_eigen(a).row(row).dot(as_eigen(b).row(row));
  }

  template <class Sum, class Real>
  static void multiply(MatrixView<Sum> a, MatrixView<const Real> moment, MatrixView<Sum> product) {
    if constexpr (std::is_same_v<Real, Sum>)
      as_eigen(product).noalias() = as_eigen(a) * as_eigen(moment);
    else
      as_eigen(product).noalias() = as_eigen(a) * as_eigen(moment).template cast<Sum>();
  }

  /// Gives every column of a row its best code in turn; whether any changed.
  template <Grid G, class Real>
  static bool sweep_row(const G& grid, const SecondMoment<Real>& moment, CodedMatrix& matrix, const Rows& rows,
                        std::size_t i) {
    const std::size_t r = rows.begin + i, channels = rows.errors.cols;
    double* const gradient = rows.gradients.row(i);
    bool changed = false;
    for (std::size_t c = 0; c < channels; ++c) {
      const Real* const column = moment.sum().row(c);  // the moment is symmetric
      const auto curvature = static_cast<double>(column[c]);
      if (!(curvature > 0.0)) continue;
      const std::size_t group = matrix.group_of(c);
      const BlockGrid fitted = detail::block_grid(matrix, r / matrix.block.rows, group);
      std::uint8_t& code = matrix.codes()(r, c);
      const double now = double{grid.decode(code, fitted)};
      const auto wanted = static_cast<float>(now - gradient[c] / curvature);
      if (!is_finite(wanted)) continue;
      const std::uint8_t better = grid.encode(wanted, fitted);
      if (better == code) continue;
      const double step = double{grid.decode(better, fitted)} - now;
      if (!(step * (2.0 * gradient[c] + step * curvature) < 0.0)) continue;
      code = better;
      changed = true;
      for (std::size_t k = 0; k < channels; ++k) gradient[k] += step * static_cast<double>(column[k]);
    }
    return changed;
  }

  /// Gives the groups of each row the scales that are best for its codes, where that lessens the row's loss.
  template <class Real>
  static void refit(MatrixView<const float> weights, const SecondMoment<Real>& moment, CodedMatrix& matrix,
                    const Rows& rows) {
    const std::size_t channels = rows.errors.cols, groups = matrix.grid.cols, count = rows.errors.rows;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t r = rows.begin + i;
      for (std::size_t c = 0; c < channels; ++c) {
        const double code = double{matrix.format.values[matrix.codes()(r, c)]};
        rows.units(i, c) =
            matrix.shift_kind == ShiftKind::none ? code : code - double{matrix.shifts()(r, c / matrix.block.cols)};
      }
      std::fill_n(rows.systems.row(i), rows.systems.cols, 0.0);
    }
    // With the value of column c as units(c) * scale(group of c), the loss of a row is s^T A s - 2 b^T s and a
    // constant.
    for (std::size_t g = 0; g < groups; ++g) {
      const std::size_t first = g * matrix.block.cols, width = std::min(matrix.block.cols, channels - first);
      multiply(MatrixView<double>(rows.units.data + first, count, width, channels, 1),
               MatrixView<const Real>(moment.sum().row(first), width, channels), rows.gradients);
      for (std::size_t i = 0; i < count; ++i) {
        double* const system = rows.systems.row(i) + g * (groups + 1);
        for (std::size_t c = 0; c < channels; ++c) {
          system[c / matrix.block.cols] += rows.gradients(i, c) * rows.units(i, c);
          system[groups] += rows.gradients(i, c) * double{weights(rows.begin + i, c)};
        }
      }
    }
    for (std::size_t i = 0; i < count; ++i)
      solve(MatrixView<double>(rows.systems.row(i), groups, groups + 1), matrix, rows.begin + i);
  }

  /// Gives the groups of row r the scales s for which s^T A s - 2 b^T s is least, where they are better than those it
  /// has; `equations` is A with b as its last column.
  template <class Sum>
  static void solve(MatrixView<Sum> equations, CodedMatrix& matrix, std::size_t r) {
    using Vector = Eigen::Matrix<Sum, Eigen::Dynamic, 1>;
    const auto system = as_eigen(equations);
    const auto size = static_cast<Eigen::Index>(equations.rows);
    Vector now(size);
    for (Eigen::Index g = 0; g < size; ++g) now(g) = Sum{matrix.scales()(r, static_cast<std::size_t>(g))};
    const auto loss = [&](const Vector& scales) {
      return scales.dot(system.leftCols(size) * scales) - 2 * system.col(size).dot(scales);
    };
    EigenMatrix<Sum> a = system.leftCols(size);
    Vector b = system.col(size);
    // A group of codes without value has no say, and its scale stays.
    for (Eigen::Index g = 0; g < size; ++g)
      if (!(a(g, g) > Sum{0})) {
        a(g, g) = Sum{1};
        b(g) = now(g);
      }
    Vector better = a.ldlt().solve(b);
    bool good = true;
    for (Sum& scale : better) {
      const float rounded = decode_scale(matrix.scale_type, round_scale(matrix.scale_type, static_cast<float>(scale)));
      good = good && is_finite(rounded) && rounded != 0.0f;
      scale = Sum{rounded};
    }
    if (!good || !(loss(better) < loss(now))) return;
    for (Eigen::Index g = 0; g < size; ++g)
      matrix.scales()(r, static_cast<std::size_t>(g)) = static_cast<float>(better(g));
  }
};

}  // namespace pare
