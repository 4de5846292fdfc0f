#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "pare/prune/layer_selection.hpp"
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
/// PerLayer by the k-th value, "granular" magnitude pruning: everything not above the element of rank
/// k = round(count * sparsity), ties to even, goes, and all that tie with it.
struct PerLayerKthValue {};

/// Zeros anywhere. PerRow and PerLayer prune exactly int(count * sparsity) elements of each row or of the matrix, those
/// that come first in ascending order of (saliency, position), so ties go by the lower row, then the lower column.
/// PerLayerThreshold and PerLayerKthValue prune all of a tie; unlike the references they prune nothing at sparsity 0,
/// and all at 1.
/// The product count * sparsity is taken in double, so `sparsity` is best written as 0.7, not 0.7f. Error: a sparsity
/// that is NaN or outside [0, 1].
template <class Scope>
struct Unstructured {
  static_assert(std::is_same_v<Scope, PerRow> || std::is_same_v<Scope, PerLayer> ||
                    std::is_same_v<Scope, PerLayerThreshold> || std::is_same_v<Scope, PerLayerKthValue>,
                "pare: Unstructured<Scope> takes PerRow, PerLayer, PerLayerThreshold or PerLayerKthValue as its scope");

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
    const double exact = static_cast<double>(count) * sparsity;
    const double product = std::is_same_v<Scope, PerLayerKthValue> ? std::nearbyint(exact) : exact;
    return product < static_cast<double>(count) ? static_cast<std::size_t>(product) : count;
  }

  template <class Scores>
  static Result<void> select_rows(const Scores& scores, std::size_t pruned, Mask& mask, const PruneOptions& options) {
    if (pruned == 0) return {};
    const Shape shape = mask.shape();
    const detail::RowParts parts(shape.rows, 64);
    auto scratch = detail::Scratch::create(parts.count(), shape.cols, options.memory);
    if (!scratch) return std::move(scratch).error();
    options.executor(parts.count(), [&](std::size_t part) {
      const std::span<std::uint64_t> keys = (*scratch)[part];
      for (std::size_t r = parts[part].begin; r < parts[part].end; ++r) {
        for (std::size_t c = 0; c < shape.cols; ++c) keys[c] = detail::saliency_key(scores(r, c));
        detail::prune_below(scores, {r, r + 1}, detail::cut_keys(keys, pruned), mask);
      }
    });
    return {};
  }

  template <class Scores>
  Result<void> select_layer(const Scores& scores, std::size_t pruned, Mask& mask, const PruneOptions& options) const {
    constexpr bool above = std::is_same_v<Scope, PerLayerThreshold>;
    if (above && sparsity > 0) pruned = std::min(pruned + 1, mask.shape().rows * mask.shape().cols);
    if (pruned == 0) return {};
    return detail::prune_layer(scores, pruned, above || std::is_same_v<Scope, PerLayerKthValue>, mask, options);
  }
};

}  // namespace pare
