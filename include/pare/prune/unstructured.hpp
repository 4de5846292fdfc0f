#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "pare/prune/selection.hpp"
#include "pare/prune/structure.hpp"

namespace pare {

/// The scope of Unstructured in which each row (output channel) loses the same share, as Wanda does.
struct PerRow {};
/// The scope of Unstructured in which the whole matrix loses a share, wherever its elements lie.
struct PerLayer {};
/// PerLayer by threshold, the magnitude baseline of the Wanda repository: everything not above the element of rank
/// int(count * sparsity) goes, that is one element more than PerLayer prunes, and all that tie with it.
struct PerLayerThreshold {};

/// Zeros anywhere. PerRow and PerLayer prune exactly int(count * sparsity) elements of each row or of the matrix, those
/// that come first in ascending order of (saliency, position), so ties go by the lower row, then the lower column.
/// PerLayerThreshold prunes all of a tie; unlike the reference it prunes nothing at sparsity 0, and all at 1.
/// The product count * sparsity is taken in double, so `sparsity` is best written as 0.7, not 0.7f. Error: a sparsity that
/// is NaN or outside [0, 1].
template <class Scope>
struct Unstructured {
  static_assert(std::is_same_v<Scope, PerRow> || std::is_same_v<Scope, PerLayer> ||
                    std::is_same_v<Scope, PerLayerThreshold>,
                "pare: Unstructured<Scope> takes PerRow, PerLayer or PerLayerThreshold as its scope");

  double sparsity = 0.5;

  template <class Scores>
  Result<void> select(const Scores& scores, Mask& mask, const PruneOptions& options) const {
    if (!(sparsity >= 0 && sparsity <= 1))
      return Error{ErrorCode::invalid_argument,
                   "pare: the sparsity must lie in [0, 1], it is " + std::to_string(sparsity)};
    const Shape shape = mask.shape();
    if constexpr (std::is_same_v<Scope, PerRow>)
      return select_rows(scores, rank(shape.cols), mask, options);
    else
      return select_layer(scores, rank(shape.rows * shape.cols), mask, options);
  }

 private:
  [[nodiscard]] std::size_t rank(std::size_t count) const noexcept {
    const double product = static_cast<double>(count) * sparsity;
    return product < static_cast<double>(count) ? static_cast<std::size_t>(product) : count;
  }

  template <class Scores>
  static Result<void> select_rows(const Scores& scores, std::size_t pruned, Mask& mask, const PruneOptions& options) {
    if (pruned == 0) return {};
    options.executor(mask.shape().rows, [&](std::size_t r) {
      const detail::RowRange row{r, r + 1};
      detail::SaliencyCut cut{.quota = pruned};
      detail::DigitCounts counts;
      for (int shift = detail::SaliencyCut::first_shift;; shift -= 8) {
        detail::count_digits(scores, row, mask.shape().cols, cut, shift, counts);
        if (cut.refine(counts, shift)) break;
      }
      detail::prune_below(scores, row, cut, mask);
    });
    return {};
  }

  template <class Scores>
  Result<void> select_layer(const Scores& scores, std::size_t pruned, Mask& mask, const PruneOptions& options) const {
    const Shape shape = mask.shape();
    constexpr bool by_threshold = std::is_same_v<Scope, PerLayerThreshold>;
    if (by_threshold && sparsity > 0) pruned = std::min(pruned + 1, shape.rows * shape.cols);
    if (pruned == 0) return {};

    constexpr std::size_t max_parts = 64;
    const std::size_t rows_each = ceil_div(shape.rows, max_parts);
    const std::size_t parts = ceil_div(shape.rows, rows_each);
    const auto range = [&](std::size_t part) {
      const std::size_t begin = part * rows_each;
      return detail::RowRange{begin, begin + std::min(rows_each, shape.rows - begin)};
    };
    auto scratch = Buffer::allocate(parts * sizeof(detail::DigitCounts), options.memory);
    if (!scratch) return std::move(scratch).error();
    auto* counts = reinterpret_cast<detail::DigitCounts*>(scratch->data());
    std::uninitialized_default_construct_n(counts, parts);

    detail::SaliencyCut cut{.quota = pruned};
    int shift = detail::SaliencyCut::first_shift;
    for (;; shift -= 8) {
      options.executor(parts, [&](std::size_t part) {
        detail::count_digits(scores, range(part), shape.cols, cut, shift, counts[part]);
      });
      detail::DigitCounts total{};
      for (std::size_t part = 0; part < parts; ++part)
        for (std::size_t digit = 0; digit < total.size(); ++digit) total[digit] += counts[part][digit];
      if (cut.refine(total, shift)) break;
    }

    std::array<detail::SaliencyCut, max_parts> cuts;
    cuts.fill(cut);
    for (std::size_t part = 0; part < parts; ++part) {
      const std::size_t ties = counts[part][cut.prefix >> shift & 0xff];
      cuts[part].quota = by_threshold ? ties : std::min(ties, cut.quota);
      cut.quota -= std::min(ties, cut.quota);
    }
    options.executor(parts, [&](std::size_t part) { detail::prune_below(scores, range(part), cuts[part], mask); });
    return {};
  }
};

}  // namespace pare
