#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "pare/prune/selection.hpp"
#include "pare/prune/structure.hpp"

namespace pare {

namespace detail {

/// Keeps `kept` of every `group` consecutive columns, both constants where the caller has them as such.
template <class Scores, class Kept, class Group>
void prune_groups(const Scores& scores, Kept kept, Group group, Mask& mask, const PruneOptions& options) {
  const Shape shape = mask.shape();
  if (shape.cols == 0) return;
  options.executor(shape.rows, [&](std::size_t r) {
    const std::size_t n = kept, m = group;
    std::array<std::uint64_t, 256> keys;
    for (std::size_t begin = 0; begin < shape.cols;) {
      const std::size_t width = std::min(m, shape.cols - begin);
      const std::size_t pruned = width - ceil_div(width * n, m);
      for (std::size_t i = 0; i < width; ++i) keys[i] = saliency_key(scores(r, begin + i));
      for (std::size_t i = 0; i < width; ++i) {
        std::size_t before = 0;
        for (std::size_t j = 0; j < width; ++j)
          before += j < i ? std::size_t{keys[j] <= keys[i]} : std::size_t{keys[j] < keys[i]};
        mask.set(r, begin + i, before >= pruned);
      }
      begin += width;
    }
  });
}

}  // namespace detail

/// Keeps N of every M consecutive columns of a row, as NofM<2, 4> for sparse tensor cores: in each block the elements
/// that come first in ascending order of (saliency, column) go. A last block of k < M columns keeps ceil(k * N / M),
/// so it is never sparser than the others and never denser than the pattern allows.
template <std::size_t N, std::size_t M>
struct NofM {
  static_assert(0 < N && N <= M, "pare: NofM<N, M> keeps N of every M columns: N must be at least 1 and at most M");
  static_assert(M <= 256, "pare: NofM<N, M> ranks each block against itself: M must be at most 256");

  [[nodiscard]] static constexpr std::size_t kept() noexcept { return N; }
  [[nodiscard]] static constexpr std::size_t columns() noexcept { return M; }
  static Result<void> check() { return {}; }

  template <class Scores>
  Result<void> select(const Scores& scores, Mask& mask, const PruneOptions& options) const {
    detail::prune_groups(scores, std::integral_constant<std::size_t, N>{}, std::integral_constant<std::size_t, M>{},
                         mask, options);
    return {};
  }
};

/// NofM with numbers chosen at run time: keeps `keep` of every `of` columns. Error: not 1 <= keep <= of <= 256.
struct AnyNofM {
  std::size_t keep = 2;
  std::size_t of = 4;

  [[nodiscard]] constexpr std::size_t kept() const noexcept { return keep; }
  [[nodiscard]] constexpr std::size_t columns() const noexcept { return of; }
  /// Success where the two numbers make a pattern.
  [[nodiscard]] Result<void> check() const {
    if (keep >= 1 && keep <= of && of <= 256) return {};
    return Error{ErrorCode::invalid_argument,
                 "pare: a pattern keeps N of every M columns with 1 <= N <= M <= 256, not " + std::to_string(keep) +
                     " of " + std::to_string(of)};
  }

  template <class Scores>
  Result<void> select(const Scores& scores, Mask& mask, const PruneOptions& options) const {
    if (Result<void> ok = check(); !ok) return ok;
    detail::prune_groups(scores, keep, of, mask, options);
    return {};
  }
};

}  // namespace pare
