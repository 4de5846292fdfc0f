#pragma once

#include <concepts>
#include <cstddef>

#include "pare/core/core.hpp"
#include "pare/tensor/tensor.hpp"

namespace pare {

/// What a Pruner borrows from its caller: threads over rows, and memory for the mask and for scratch.
using PruneOptions = Options;

/// Which patterns of zeros are allowed: select(scores, mask, options) prunes elements of a mask that keeps all, where
/// scores(r, c) is the saliency of element (r, c) as a double, computed on demand. Models: Unstructured, NofM,
/// WeightBlocks.
template <class S>
concept Structure =
    requires(const S& structure, double (*scores)(std::size_t, std::size_t), Mask& mask, const PruneOptions& options) {
      { structure.select(scores, mask, options) } -> std::same_as<Result<void>>;
    };

/// A structure that keeps kept() of every columns() consecutive columns of a row, and so judges each such group by
/// itself; check() says whether the two make sense. Models: NofM, AnyNofM.
template <class S>
concept GroupStructure = Structure<S> && requires(const S& structure) {
  { structure.kept() } -> std::same_as<std::size_t>;
  { structure.columns() } -> std::same_as<std::size_t>;
  { structure.check() } -> std::same_as<Result<void>>;
};

}  // namespace pare
