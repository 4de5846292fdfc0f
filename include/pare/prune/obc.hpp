#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "pare/calibration/calibration.hpp"
#include "pare/prune/obc_row.hpp"
#include "pare/prune/obc_trace.hpp"
#include "pare/prune/reconstruction.hpp"
#include "pare/prune/structure.hpp"
#include "pare/prune/unstructured.hpp"
#include "pare/prune/weight_blocks.hpp"

namespace pare {

/// Optimal Brain Compression (Frantar and Alistarh, "Optimal Brain Compression", 2022): each row loses one weight at a
/// time, the one that w^2 / [H^-1] says costs the least, and the others are moved to make up for it, which changes the
/// costs of what remains. Exact for each removal, and accordingly dear: O(out * in^3), for small layers. Memory for
/// twelve bytes per weight and for at most 16 in x in matrices. Weights that are 0 already go first and cost nothing.
/// The result's weights are Reconstruct's for the mask, which are those of the last removal but for rounding.
///
/// No result depends on the executor. Errors: weights that are not finite, a moment of other channels or of no tokens,
/// or one that is not positive definite even with what the reference adds ten times over, what the structure rejects,
/// an order that is no permutation, out_of_memory.
struct Obc {
  double damping = 0.0;  ///< of the mean of the moment's diagonal, added to it; with none, silent channels lose all
  std::span<const std::uint32_t> order{};  ///< columns as groups and blocks take them, one after another; empty: as is

  /// The cheapest ceil(out * in * sparsity) removals of the whole layer (PerLayer), or the first int(in * sparsity) of
  /// each row (PerRow).
  template <class Scope, class Real>
  Result<PrunedMatrix> operator()(const Unstructured<Scope>& structure, MatrixView<const float> weights,
                                  const SecondMoment<Real>& moment, const Options& options = {}) const {
    static_assert(std::is_same_v<Scope, PerRow> || std::is_same_v<Scope, PerLayer>,
                  "pare: Obc takes Unstructured<PerRow> or Unstructured<PerLayer>");
    auto units = units_to_remove(structure.sparsity, weights.shape(), 1, std::is_same_v<Scope, PerRow>);
    if (!units) return std::move(units).error();
    auto removals = trace(1, weights, moment, options);
    if (!removals) return std::move(removals).error();
    if constexpr (std::is_same_v<Scope, PerRow>) {
      auto counts = Array<std::size_t>::create(weights.rows, options.memory);
      if (!counts) return std::move(counts).error();
      std::fill(counts->begin(), counts->end(), *units);
      return apply(*removals, counts->values(), weights, moment, options);
    } else {
      return apply_cheapest(*removals, *units, weights, moment, options);
    }
  }

  /// Whole blocks of a row: the cheapest ceil(blocks * sparsity) of the layer. Error: blocks of more than one row.
  template <class Real>
  Result<PrunedMatrix> operator()(const WeightBlocks& structure, MatrixView<const float> weights,
                                  const SecondMoment<Real>& moment, const Options& options = {}) const {
    if (structure.rows != 1)
      return Error{ErrorCode::unsupported, "pare: OBC removes blocks of one row: give WeightBlocks{.rows = 1}"};
    const std::size_t width = structure.cols == 0 ? weights.cols : structure.cols;
    auto units = units_to_remove(structure.sparsity, weights.shape(), width, false);
    if (!units) return std::move(units).error();
    auto removals = trace(width, weights, moment, options);
    if (!removals) return std::move(removals).error();
    return apply_cheapest(*removals, *units, weights, moment, options);
  }

  /// N of every M columns of a row: a group that has lost M - N is closed. A last group of fewer columns as NofM has
  /// it.
  template <GroupStructure S, class Real>
  Result<PrunedMatrix> operator()(const S& structure, MatrixView<const float> weights, const SecondMoment<Real>& moment,
                                  const Options& options = {}) const {
    if (Result<void> ok = structure.check(); !ok) return std::move(ok).error();
    auto layer = detail::ObcLayer<double>::create(weights, moment, damping, order, options.memory);
    if (!layer) return std::move(layer).error();
    auto mask = Mask::create(weights.shape(), options.memory);
    if (!mask) return std::move(mask).error();
    const std::size_t m = structure.columns();
    auto left = Matrix<std::uint32_t>::create({weights.rows, ceil_div(weights.cols, m)}, options.memory);
    if (!left) return std::move(left).error();
    Result<void> done = detail::each_obc_row(*layer, options, [&](detail::ObcRow<double>& row, std::size_t r) {
      const std::span<std::uint32_t> groups = left->row(r);
      for (std::size_t g = 0; g < groups.size(); ++g) {
        const std::size_t width = std::min(m, weights.cols - g * m);
        groups[g] = static_cast<std::uint32_t>(width - ceil_div(width * structure.kept(), m));
      }
      const auto open = [&](std::size_t place) { return groups[place / m] > 0; };
      for (std::size_t place = row.cheapest(open); place != row.none; place = row.cheapest(open)) {
        row.eliminate(place);
        mask->set(r, layer->columns[place], false);
        --groups[place / m];
      }
    });
    if (!done) return std::move(done).error();
    return Reconstruct::damped(*std::move(mask), weights, moment, layer->added, layer->silent, options);
  }

  /// Every removal of every row, down to the empty row, in units of `width` columns: what choices over several layers
  /// are made of, with cheapest_removals and apply.
  template <class Real>
  Result<ObcTrace> trace(std::size_t width, MatrixView<const float> weights, const SecondMoment<Real>& moment,
                         const Options& options = {}) const {
    auto layer = detail::ObcLayer<double>::create(weights, moment, damping, order, options.memory);
    if (!layer) return std::move(layer).error();
    return detail::trace_removals(*layer, std::max<std::size_t>(width, 1), options);
  }

  /// What is left of a layer when counts[r] of row r's removals are made. Errors: a trace or counts of another shape.
  template <class Real>
  Result<PrunedMatrix> apply(const ObcTrace& removals, std::span<const std::size_t> counts,
                             MatrixView<const float> weights, const SecondMoment<Real>& moment,
                             const Options& options = {}) const {
    const std::size_t units = removals.order.cols();
    if (removals.order.rows() != weights.rows || counts.size() != weights.rows ||
        removals.columns.size() != weights.cols ||
        std::any_of(counts.begin(), counts.end(), [&](std::size_t k) { return k > units; }))
      return Error{ErrorCode::invalid_argument, "pare: the removals and their counts are not those of a weight of " +
                                                    std::to_string(weights.rows) + " x " +
                                                    std::to_string(weights.cols)};
    auto mask = Mask::create(weights.shape(), options.memory);
    if (!mask) return std::move(mask).error();
    for (std::size_t r = 0; r < weights.rows; ++r)
      for (std::size_t k = 0; k < counts[r]; ++k) {
        const std::size_t begin = removals.order(r, k) * removals.width;
        for (std::size_t p = begin; p < std::min(weights.cols, begin + removals.width); ++p)
          mask->set(r, removals.columns[p], false);
      }
    return Reconstruct::damped(*std::move(mask), weights, moment, removals.added, removals.silent, options);
  }

 private:
  template <class Real>
  Result<PrunedMatrix> apply_cheapest(const ObcTrace& removals, std::size_t count, MatrixView<const float> weights,
                                      const SecondMoment<Real>& moment, const Options& options) const {
    auto counts = cheapest_removals(std::span(&removals, 1), count, options.memory);
    if (!counts) return std::move(counts).error();
    return apply(removals, counts->values(), weights, moment, options);
  }

  /// Of the layer, or of each row.
  static Result<std::size_t> units_to_remove(double sparsity, Shape shape, std::size_t width, bool of_row) {
    if (!(sparsity >= 0 && sparsity <= 1))
      return Error{ErrorCode::invalid_argument,
                   "pare: the sparsity must lie in [0, 1], it is " + std::to_string(sparsity)};
    const std::size_t units = shape.cols == 0 ? 0 : ceil_div(shape.cols, width);
    const double product = static_cast<double>(of_row ? units : units * shape.rows) * sparsity;
    return static_cast<std::size_t>(of_row ? product : std::ceil(product));
  }
};

}  // namespace pare
