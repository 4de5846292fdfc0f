#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string>
#include <utility>

#include "pare/prune/obc_row.hpp"

namespace pare {

/// The removals of every row of a layer, from the dense row to the empty one. A unit is a run of `width` columns in the
/// order that `columns` gives them, the last of a row perhaps a shorter one.
struct ObcTrace {
  std::size_t width = 1;
  Matrix<std::uint32_t> order;   ///< [rows, units]: the units as they go
  Matrix<double> losses;         ///< [rows, units]: the squared error of the outputs each adds, per sample
  Array<std::uint32_t> columns;  ///< the column of the weight at each place
  double added = 0.0;            ///< to the diagonal of the moment's sum
  double silent = 0.0;           ///< there besides, for channels that never fired
};

/// How many removals each row of each layer makes when the `count` cheapest of all of them are made, ties by layer,
/// row, then step: one layer's rows after another's. Error: more removals than there are.
inline Result<Array<std::size_t>> cheapest_removals(std::span<const ObcTrace> layers, std::size_t count,
                                                    std::pmr::memory_resource* memory = nullptr) {
  std::size_t steps = 0, rows = 0;
  for (const ObcTrace& layer : layers) {
    steps += layer.losses.values().size();
    rows += layer.losses.rows();
  }
  if (count > steps)
    return Error{ErrorCode::invalid_argument, "pare: " + std::to_string(count) + " removals cannot be made where " +
                                                  std::to_string(steps) + " are possible"};
  auto counts = Array<std::size_t>::create(rows, memory);
  if (!counts || count == 0) return counts;
  auto keys = detail::Scratch::create(1, steps, memory);
  if (!keys) return std::move(keys).error();
  std::size_t filled = 0;
  for (const ObcTrace& layer : layers)
    for (const double loss : layer.losses.values()) (*keys)[0][filled++] = detail::saliency_key(loss);
  detail::SaliencyCut cut = detail::cut_keys((*keys)[0], count);
  std::size_t row = 0;
  for (const ObcTrace& layer : layers)
    for (std::size_t r = 0; r < layer.losses.rows(); ++r, ++row)
      for (const double loss : layer.losses.row(r)) {
        const std::uint64_t key = detail::saliency_key(loss);
        const bool tie = key == cut.threshold && cut.quota > 0;
        cut.quota -= tie ? 1 : 0;
        (*counts)[row] += key < cut.threshold || tie ? 1 : 0;
      }
  return counts;
}

namespace detail {

template <class Real>
Result<ObcTrace> trace_removals(const ObcLayer<Real>& layer, std::size_t width, const Options& options) {
  const Shape shape = layer.weights.shape();
  const std::size_t units = ceil_div(shape.cols, width);
  auto order = Matrix<std::uint32_t>::create({shape.rows, units}, options.memory);
  if (!order) return std::move(order).error();
  auto losses = Matrix<double>::create({shape.rows, units}, options.memory);
  if (!losses) return std::move(losses).error();
  auto columns = Array<std::uint32_t>::create(shape.cols, options.memory);
  if (!columns) return std::move(columns).error();
  std::copy(layer.columns.begin(), layer.columns.end(), columns->begin());
  const std::size_t side = std::min(width, shape.cols) + 1;
  auto scratch = Matrix<Real>::create({width == 1 ? 0 : shape.rows, side * side}, options.memory);
  if (!scratch) return std::move(scratch).error();

  Result<void> done = each_obc_row(layer, options, [&](ObcRow<Real>& row, std::size_t r) {
    const std::span<std::uint32_t> sequence = order->row(r);
    for (std::size_t u = 0; u < units; ++u) sequence[u] = static_cast<std::uint32_t>(u);
    for (std::size_t step = 0; step < units; ++step) {
      std::size_t best = 0;
      Real least{};
      if (width == 1) {
        best = row.cheapest([](std::size_t) { return true; });
        least = row.cost(best);
      } else {
        for (std::size_t i = step; i < units; ++i) {
          const std::size_t u = sequence[i], begin = u * width;
          const Real now = row.cost(begin, std::min(shape.cols, begin + width), scratch->row(r));
          if (i == step || now < least || (now == least && u < best)) {
            best = u;
            least = now;
          }
        }
      }
      std::iter_swap(sequence.begin() + static_cast<std::ptrdiff_t>(step),
                     std::find(sequence.begin(), sequence.end(), best));
      (*losses)(r, step) = least;
      for (std::size_t p = best * width; p < std::min(shape.cols, (best + 1) * width); ++p) row.eliminate(p);
    }
  });
  if (!done) return std::move(done).error();
  return ObcTrace{width, *std::move(order), *std::move(losses), *std::move(columns), layer.added, layer.silent};
}

}  // namespace detail
}  // namespace pare
