#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>

#include "pare/calibration/calibration.hpp"
#include "pare/layouts/layouts.hpp"
#include "pare/prune/pruned_matrix.hpp"
#include "pare/prune/selection.hpp"
#include "pare/prune/structure.hpp"

namespace pare {

/// The grid of a joint pruning and quantization: which values codes can stand for, and how a block of weights chooses
/// its scale and shift. Models: the grids of pare/quantize.
template <class G>
concept CodeGrid = requires(const G& grid, std::span<const float> block, float x, std::uint8_t code) {
  { grid.format() } -> std::same_as<CodeFormat>;
  { grid.shift_kind() } -> std::same_as<ShiftKind>;
  { grid.scale_type() } -> std::same_as<ScaleType>;
  { grid.fit(block).scale } -> std::convertible_to<float>;
  { grid.fit(block).shift } -> std::convertible_to<float>;
  { grid.encode(x, grid.fit(block)) } -> std::same_as<std::uint8_t>;
  { grid.decode(code, grid.fit(block)) } -> std::same_as<float>;
};

/// What pruning and quantizing from one Hessian returns.
struct PrunedCodes {
  CodedMatrix codes;  ///< the nearest code to 0 where pruned
  Mask mask;          ///< what is kept
  double loss = 0.0;
  double damping = 0.0;
};

namespace detail {

/// The parts of SparseGPT that depend on neither structure nor grid.
template <class Real>
struct SparseGptState {
  Matrix<Real> weights;
  Matrix<Real> errors;  ///< [rows, block]: of the columns of the block at hand
  InverseFactor<Real> factor;
  Array<double> row_loss;
  Mask mask;

  static Result<SparseGptState> create(MatrixView<const float> weights, const SecondMoment<Real>& moment,
                                       Damping damping, std::size_t block, const Options& options) {
    if (Result<void> ok = check_moment(weights, moment); !ok) return std::move(ok).error();
    // The reference scales the moment by 2 / samples before it counts silent channels as 1.
    damping.silent = static_cast<double>(moment.samples()) / 2.0;
    auto copy = Matrix<Real>::copy(weights, options.memory);
    if (!copy) return std::move(copy).error();
    auto errors = Matrix<Real>::create({weights.rows, block}, options.memory);
    if (!errors) return std::move(errors).error();
    const ProgressPart progress(options.progress, 0.0, factoring_share(weights.shape()));
    auto factor = inverse_factor(moment.sum(), damping, {}, options.memory, options.executor, progress);
    if (!factor) return std::move(factor).error();
    auto loss = Array<double>::create(weights.rows, options.memory);
    if (!loss) return std::move(loss).error();
    auto mask = Mask::create(weights.shape(), options.memory);
    if (!mask) return std::move(mask).error();
    for (std::size_t c = 0; c < weights.cols; ++c)
      if (moment.sum()(c, c) == Real{0})
        for (std::size_t r = 0; r < weights.rows; ++r) (*copy)(r, c) = Real{0};
    return SparseGptState{*std::move(copy), *std::move(errors), *std::move(factor), *std::move(loss), *std::move(mask)};
  }

  /// The part of the work that the factor takes, before any column is pruned: in^3 * 2/3 beside out * in^2.
  static double factoring_share(Shape weights) noexcept {
    const auto in = static_cast<double>(weights.cols), out = static_cast<double>(weights.rows);
    return in == 0.0 ? 0.0 : in / (in + 1.5 * out);
  }

  /// Decides columns [begin, end) by what their weights are now.
  template <class S>
  Result<void> select(const S& structure, std::size_t begin, std::size_t end, const Options& options) {
    auto chosen = Mask::create({weights.rows(), end - begin}, options.memory);
    if (!chosen) return std::move(chosen).error();
    const auto scores = [&](std::size_t r, std::size_t c) {
      const Real ratio = weights(r, begin + c) / factor.upper(begin + c, begin + c);
      return static_cast<double>(ratio * ratio);
    };
    if (Result<void> ok = structure.select(scores, *chosen, options); !ok) return ok;
    for (std::size_t r = 0; r < weights.rows(); ++r)
      for (std::size_t c = begin; c < end; ++c) mask.set(r, c, chosen->test(r, c - begin));
    return {};
  }

  /// Settles columns [begin, end) of a row, each at round(r, c, what it is to be), and spreads each error over the
  /// rest of the block, which ends at block_end.
  template <class Round>
  void settle(std::size_t r, std::size_t begin, std::size_t end, std::size_t block_begin, std::size_t block_end,
              const Round& round) {
    Real* w = weights.row(r).data();
    for (std::size_t j = begin; j < end; ++j) {
      const Real* u = factor.upper.row(j).data();
      const Real value = round(r, j, mask.test(r, j) ? w[j] : Real{0});
      const Real error = (w[j] - value) / u[j];
      w[j] = value;
      errors(r, j - block_begin) = error;
      row_loss[r] += static_cast<double>(error * error);
      if (error != Real{0}) detail::subtract_multiple(w + j + 1, error, u + j + 1, block_end - j - 1);
    }
  }

  /// Spreads the errors of a block of columns over all later columns.
  void spread(std::size_t begin, std::size_t end, const Options& options) {
    const std::size_t rest = weights.cols() - end;
    if (rest == 0) return;
    constexpr std::size_t panel = 64;
    options.executor(ceil_div(weights.rows(), panel), [&](std::size_t task) {
      const std::size_t first = task * panel, count = std::min(panel, weights.rows() - first);
      as_eigen(MatrixView<Real>(&weights(first, end), count, rest, weights.cols(), 1)).noalias() -=
          as_eigen(MatrixView<const Real>(&errors(first, 0), count, end - begin, errors.cols(), 1)) *
          as_eigen(MatrixView<const Real>(&factor.upper(begin, end), end - begin, rest, weights.cols(), 1));
    });
  }

  template <class S, class Round>
  Result<void> run(const S& structure, std::size_t block, const Options& options, const Round& round) {
    const std::size_t rows = weights.rows(), cols = weights.cols();
    const ProgressPart progress(options.progress, factoring_share(weights.shape()), 1.0);
    ProgressMeter meter(progress, cols);
    for (std::size_t begin = 0; begin < cols; begin += block) {
      const std::size_t end = std::min(cols, begin + block);
      std::size_t stage = end - begin;
      if constexpr (GroupStructure<S>) stage = structure.columns();
      for (std::size_t from = begin; from < end; from += stage) {
        const std::size_t to = std::min(end, from + stage);
        if (Result<void> ok = select(structure, from, to, options); !ok) return ok;
        const RowParts parts(rows, 64);
        options.executor(parts.count(), [&](std::size_t part) {
          for (std::size_t r = parts[part].begin; r < parts[part].end; ++r) settle(r, from, to, begin, end, round);
        });
      }
      spread(begin, end, options);
      if (!meter.advance(end - begin)) return meter.status();
    }
    return {};
  }

  [[nodiscard]] double loss() const { return std::accumulate(row_loss.begin(), row_loss.end(), 0.0); }
};

}  // namespace detail

/// SparseGPT (Frantar and Alistarh, 2023): prunes columns from left to right and makes up for each error in the columns
/// that follow. What goes in a block of columns is chosen when the block is reached, by the weights as they are then:
/// the structure sees the block as a matrix of saliencies w^2 / [H^-1], so that Unstructured<PerLayerThreshold> is the
/// paper's choice, PerRow prunes each row alike; NofM chooses at each group. Channels that never fired lose their
/// weights. O(in^3 + out * in^2) in `Real`; memory for a copy of the weight and two in x in matrices. Reports its
/// progress.
///
/// Errors: weights that are not finite or that compensation drives out of float's range, a moment of other channels or
/// of no tokens, what the structure, the grid or inverse_factor rejects, out_of_memory, cancelled.
struct SparseGpt {
  std::size_t block = 128;  ///< columns; rounded up to whole groups of N of M. 0: all of them
  Damping damping{};
  std::size_t group = 0;  ///< columns that share a scale in joint quantization; 0: all. A Scheme's grid has its own.
  bool static_groups = true;  ///< scales of the weights as given, not of what they have become when it is their turn

  /// The pruned and compensated weights [out, in]. The result does not depend on the executor.
  template <Structure S, class Real>
  Result<PrunedMatrix> operator()(const S& structure, MatrixView<const float> weights, const SecondMoment<Real>& moment,
                                  const Options& options = {}) const {
    auto columns = columns_at_once(structure, weights.cols);
    if (!columns) return std::move(columns).error();
    auto state = detail::SparseGptState<Real>::create(weights, moment, damping, *columns, options);
    if (!state) return std::move(state).error();
    const auto exact = [](std::size_t, std::size_t, Real w) { return w; };
    if (Result<void> ok = state->run(structure, *columns, options, exact); !ok) return std::move(ok).error();
    auto result = Matrix<float>::copy(std::as_const(state->weights).view(), options.memory);
    if (!result) return std::move(result).error();
    if (Result<void> ok = check_finite(*result, "the compensated weight"); !ok) return std::move(ok).error();
    return PrunedMatrix{*std::move(result), std::move(state->mask), state->loss(), state->factor.damping};
  }

  /// The same with every kept weight on a grid: pruning and quantization share the Hessian and each other's errors. The
  /// grid of a block of more than one row is always that of the weights as given. A pruned weight has the code nearest
  /// to 0, which integer grids with a zero point hold exactly.
  template <Structure S, CodeGrid G, class Real>
  Result<PrunedCodes> operator()(const S& structure, const G& grid, MatrixView<const float> weights,
                                 const SecondMoment<Real>& moment, const Options& options = {}) const {
    using Fitted = decltype(grid.fit(std::span<const float>()));
    auto columns = columns_at_once(structure, weights.cols);
    if (!columns) return std::move(columns).error();
    auto state = detail::SparseGptState<Real>::create(weights, moment, damping, *columns, options);
    if (!state) return std::move(state).error();
    auto matrix = allocate(grid, weights.shape(), options);
    if (!matrix) return std::move(matrix).error();
    const Shape tile{std::min(matrix->block.rows, weights.rows), std::min(matrix->block.cols, weights.cols)};
    auto scratch = Matrix<float>::create({matrix->grid.rows, tile.rows * tile.cols}, options.memory);
    if (!scratch) return std::move(scratch).error();
    const auto original = [&](std::size_t r, std::size_t c) { return weights(r, c); };
    options.executor(matrix->grid.rows, [&](std::size_t i) {
      for (std::size_t g = 0; g < matrix->grid.cols; ++g) fit(grid, original, i, g, scratch->row(i), *matrix);
    });
    const bool moving = !static_groups && matrix->block.rows == 1;
    const auto current = [&](std::size_t r, std::size_t c) {
      return state->mask.test(r, c) ? static_cast<float>(state->weights(r, c)) : 0.0f;
    };
    const bool shifted = matrix->shift_kind != ShiftKind::none;
    const auto quantized = [&](std::size_t r, std::size_t c, Real w) {
      const std::size_t row = r / matrix->block.rows, column = c / matrix->block.cols;
      if (moving && c % matrix->block.cols == 0) fit(grid, current, row, column, scratch->row(row), *matrix);
      const Fitted fitted{matrix->scales()(row, column), shifted ? matrix->shifts()(row, column) : 0.0f};
      const std::uint8_t code = grid.encode(static_cast<float>(w), fitted);
      matrix->codes()(r, c) = code;
      return static_cast<Real>(grid.decode(code, fitted));
    };
    if (Result<void> ok = state->run(structure, *columns, options, quantized); !ok) return std::move(ok).error();
    return PrunedCodes{*std::move(matrix), std::move(state->mask), state->loss(), state->factor.damping};
  }

 private:
  template <class S>
  [[nodiscard]] Result<std::size_t> columns_at_once(const S& structure, std::size_t cols) const {
    const std::size_t all = std::max<std::size_t>(cols, 1);
    std::size_t columns = block == 0 ? all : std::min(block, all);
    if constexpr (GroupStructure<S>) {
      if (Result<void> ok = structure.check(); !ok) return std::move(ok).error();
      columns = ceil_div(columns, structure.columns()) * structure.columns();
    }
    return columns;
  }

  template <class G>
  Result<CodedMatrix> allocate(const G& grid, Shape shape, const Options& options) const {
    Shape tile{1, std::max<std::size_t>(group == 0 ? shape.cols : std::min(group, shape.cols), 1)};
    if constexpr (requires { grid.block(shape); }) tile = grid.block(shape);
    auto matrix = CodedMatrix::allocate(shape, grid.format(), tile, grid.shift_kind(), options.memory);
    if (matrix) matrix->scale_type = grid.scale_type();
    return matrix;
  }

  /// Fits one block of scales to what `weight(r, c)` says.
  template <class G, class Weight>
  static void fit(const G& grid, const Weight& weight, std::size_t row, std::size_t column, std::span<float> scratch,
                  CodedMatrix& matrix) {
    const Shape shape = matrix.shape;
    const std::size_t top = row * matrix.block.rows, left = column * matrix.block.cols;
    std::size_t count = 0;
    for (std::size_t r = top; r < top + std::min(matrix.block.rows, shape.rows - top); ++r)
      for (std::size_t c = left; c < left + std::min(matrix.block.cols, shape.cols - left); ++c)
        scratch[count++] = weight(r, c);
    const auto fitted = grid.fit(std::span<const float>(scratch.first(count)));
    matrix.scales()(row, column) = fitted.scale;
    if (matrix.shift_kind != ShiftKind::none) matrix.shifts()(row, column) = fitted.shift;
  }
};

}  // namespace pare
