#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <numeric>
#include <span>
#include <utility>

#include "pare/calibration/calibration.hpp"
#include "pare/prune/pruned_matrix.hpp"
#include "pare/prune/reconstruction.hpp"
#include "pare/prune/selection.hpp"

namespace pare::detail {

/// What the removals of all rows of a layer start from; columns are in the order in which groups are formed.
template <class Real>
struct ObcLayer {
  Matrix<Real> weights;
  Matrix<Real> inverse;          ///< of the Hessian per sample, damped
  Array<std::uint32_t> columns;  ///< the column of the weight at each place
  double added = 0.0;            ///< to the diagonal of the moment's sum
  double silent = 0.0;           ///< there, for channels that never fired

  template <class Moment>
  static Result<ObcLayer> create(MatrixView<const float> weights, const SecondMoment<Moment>& moment, double damping,
                                 std::span<const std::uint32_t> order, std::pmr::memory_resource* memory) {
    if (Result<void> ok = check_moment(weights, moment); !ok) return std::move(ok).error();
    const std::size_t n = weights.cols;
    double mean = 0.0;
    for (std::size_t c = 0; c < n; ++c) mean += static_cast<double>(moment.sum()(c, c)) / static_cast<double>(n);
    // The reference's Hessian is the sum times 2 / samples: what it sets to 1 or adds 1 to is this here.
    const double one = static_cast<double>(moment.samples()) / 2.0;
    const double silent = damping * mean > 0 ? 0.0 : one;
    const Damping added{
        .fraction = damping, .retries = 10, .retry_fraction = mean > 0 ? one / mean : 1.0, .silent = silent};
    auto factor = inverse_factor(moment.sum(), added, order, memory);
    if (!factor) return std::move(factor).error();
    auto copy = Matrix<Real>::create(weights.shape(), memory);
    if (!copy) return std::move(copy).error();
    auto inverse = Matrix<Real>::create({n, n}, memory);
    if (!inverse) return std::move(inverse).error();
    auto columns = Array<std::uint32_t>::create(n, memory);
    if (!columns) return std::move(columns).error();
    std::iota(columns->begin(), columns->end(), 0u);
    if (!order.empty()) std::copy(order.begin(), order.end(), columns->begin());
    for (std::size_t p = 0; p < n; ++p) {
      const std::size_t c = (*columns)[p];
      const bool dead = silent > 0 && moment.sum()(c, c) == Moment{0};
      for (std::size_t r = 0; r < weights.rows && !dead; ++r) (*copy)(r, p) = static_cast<Real>(weights(r, c));
    }
    const auto upper = as_eigen(std::as_const(factor->upper).view()).template cast<Real>().eval();
    as_eigen(inverse->view()).noalias() = static_cast<Real>(one) * (upper.transpose() * upper);
    return ObcLayer{*std::move(copy), *std::move(inverse), *std::move(columns), factor->damping, silent};
  }
};

/// One row in the course of its removals. What remains of its inverse Hessian is kept compact in the upper left corner
/// of a matrix, of which only the lower triangle counts, so that a removal costs half of what remains squared.
template <class Real>
class ObcRow {
 public:
  static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

  ObcRow(std::size_t size, Real* matrix, std::uint32_t* numbers)
      : stride_(size), inverse_(matrix), weights_(matrix + size * size), places_(numbers), slots_(numbers + size) {}
  static constexpr std::size_t values(std::size_t n) noexcept { return n * n + n; }

  void start(const ObcLayer<Real>& layer, std::size_t row) {
    size_ = stride_;
    std::copy_n(layer.inverse.values().data(), size_ * size_, inverse_);
    std::copy_n(layer.weights.row(row).data(), size_, weights_);
    std::iota(places_, places_ + size_, 0u);
    std::iota(slots_, slots_ + size_, 0u);
  }

  /// The error that the removal of one column adds; a column that rounding has made immovable costs infinitely much.
  [[nodiscard]] Real cost(std::size_t place) const { return slot_cost(slots_[place]); }

  /// The cheapest of the remaining columns that `open(place)` admits, the leftmost on a tie, or none.
  template <class Open>
  [[nodiscard]] std::size_t cheapest(const Open& open) const {
    std::size_t best = none;
    Real least{};
    for (std::size_t s = 0; s < size_; ++s) {
      if (!open(places_[s])) continue;
      const Real now = slot_cost(s);
      if (best == none || now < least || (now == least && places_[s] < best)) {
        best = places_[s];
        least = now;
      }
    }
    return best;
  }

  /// The error that the removal of the columns [begin, end) together adds. `scratch` holds (end - begin + 1)^2 values.
  [[nodiscard]] Real cost(std::size_t begin, std::size_t end, std::span<Real> scratch) const {
    const std::size_t n = end - begin;
    Real* const h = scratch.data();
    Real* const w = h + n * n;
    for (std::size_t i = 0; i < n; ++i) {
      w[i] = weights_[slots_[begin + i]];
      for (std::size_t j = 0; j < n; ++j) h[i * n + j] = inverse_at(slots_[begin + i], slots_[begin + j]);
    }
    Real sum{};
    for (std::size_t p = 0; p < n; ++p) {
      sum += removal(w[p], h[p * n + p]);
      if (!(h[p * n + p] > Real{0})) continue;
      for (std::size_t i = p + 1; i < n; ++i) {
        const Real part = h[i * n + p] / h[p * n + p];
        w[i] -= part * w[p];
        for (std::size_t j = p + 1; j < n; ++j) h[i * n + j] -= part * h[p * n + j];
      }
    }
    return sum;
  }

  /// Removes a column and makes up for it.
  void eliminate(std::size_t place) {
    const std::size_t last = --size_;
    swap_slots(slots_[place], last);
    const Real* const row = inverse_ + last * stride_;
    const Real pivot = row[last];
    if (!(pivot > Real{0})) return;
    subtract_multiple(weights_, weights_[last] / pivot, row, last);
    for (std::size_t i = 0; i < last; ++i) subtract_multiple(inverse_ + i * stride_, row[i] / pivot, row, i + 1);
  }

 private:
  static Real removal(Real weight, Real pivot) {
    if (weight == Real{0}) return Real{0};
    return pivot > Real{0} ? weight * weight / pivot / 2 : std::numeric_limits<Real>::infinity();
  }
  [[nodiscard]] Real slot_cost(std::size_t s) const { return removal(weights_[s], inverse_[s * stride_ + s]); }

  [[nodiscard]] Real inverse_at(std::size_t a, std::size_t b) const {
    return inverse_[std::max(a, b) * stride_ + std::min(a, b)];
  }

  /// Exchanges slots a <= b, b the last.
  void swap_slots(std::size_t a, std::size_t b) {
    if (a == b) return;
    Real* const first = inverse_ + a * stride_;
    Real* const second = inverse_ + b * stride_;
    std::swap_ranges(first, first + a, second);
    std::swap(first[a], second[b]);
    for (std::size_t i = a + 1; i < b; ++i) std::swap(inverse_[i * stride_ + a], second[i]);
    std::swap(weights_[a], weights_[b]);
    std::swap(places_[a], places_[b]);
    slots_[places_[a]] = static_cast<std::uint32_t>(a);
    slots_[places_[b]] = static_cast<std::uint32_t>(b);
  }

  std::size_t stride_;
  std::size_t size_ = 0;
  Real* inverse_;
  Real* weights_;
  std::uint32_t* places_;  ///< of each slot
  std::uint32_t* slots_;   ///< of each place that remains
};

/// run(row, r) for each row of the layer, in parallel. Error: out_of_memory.
template <class Real, class Run>
Result<void> each_obc_row(const ObcLayer<Real>& layer, const Options& options, const Run& run) {
  const std::size_t n = layer.weights.cols();
  const RowParts parts = square_parts(layer.weights.rows(), n);
  auto matrices = Matrix<Real>::create({parts.count(), ObcRow<Real>::values(n)}, options.memory);
  if (!matrices) return std::move(matrices).error();
  auto numbers = Matrix<std::uint32_t>::create({parts.count(), 2 * n}, options.memory);
  if (!numbers) return std::move(numbers).error();
  options.executor(parts.count(), [&](std::size_t part) {
    ObcRow<Real> row(n, matrices->row(part).data(), numbers->row(part).data());
    for (std::size_t r = parts[part].begin; r < parts[part].end; ++r) {
      row.start(layer, r);
      run(row, r);
    }
  });
  return {};
}

}  // namespace pare::detail
