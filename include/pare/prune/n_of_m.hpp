#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "pare/prune/selection.hpp"
#include "pare/prune/structure.hpp"

namespace pare {

/// Keeps N of every M consecutive columns of a row, as NofM<2, 4> for sparse tensor cores: in each block the elements
/// that come first in ascending order of (saliency, column) go. A last block of k < M columns keeps ceil(k * N / M),
/// so it is never sparser than the others and never denser than the pattern allows.
template <std::size_t N, std::size_t M>
struct NofM {
  static_assert(0 < N && N <= M, "pare: NofM<N, M> keeps N of every M columns: N must be at least 1 and at most M");
  static_assert(M <= 256, "pare: NofM<N, M> ranks each block against itself: M must be at most 256");

  template <class Scores>
  Result<void> select(const Scores& scores, Mask& mask, const PruneOptions& options) const {
    const Shape shape = mask.shape();
    if (shape.cols == 0) return {};
    options.executor(shape.rows, [&](std::size_t r) {
      std::array<std::uint64_t, M> keys;
      for (std::size_t begin = 0; begin < shape.cols;) {
        const std::size_t width = std::min(M, shape.cols - begin);
        const std::size_t pruned = width - ceil_div(width * N, M);
        for (std::size_t i = 0; i < width; ++i) keys[i] = detail::saliency_key(scores(r, begin + i));
        for (std::size_t i = 0; i < width; ++i) {
          std::size_t before = 0;
          for (std::size_t j = 0; j < width; ++j)
            before += j < i ? std::size_t{keys[j] <= keys[i]} : std::size_t{keys[j] < keys[i]};
          mask.set(r, begin + i, before >= pruned);
        }
        begin += width;
      }
    });
    return {};
  }
};

}  // namespace pare
