#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "pare/prune/selection.hpp"
#include "pare/prune/structure.hpp"

namespace pare::detail {

/// Prunes the lowest `pruned` elements of the whole matrix, 1 <= pruned <= rows * cols; ties go in row-major order, or
/// all of them where `whole_ties`. A radix selection: each pass settles 16 more bits of the threshold by counting, so
/// that the memory does not grow with the matrix, and counts do not depend on who counted.
template <class Scores>
Result<void> prune_layer(const Scores& scores, std::size_t pruned, bool whole_ties, Mask& mask,
                         const PruneOptions& options) {
  constexpr std::size_t digits = std::size_t{1} << 16;
  constexpr std::size_t max_parts = 16;
  const Shape shape = mask.shape();
  const RowParts parts(shape.rows, std::clamp<std::size_t>(shape.rows * shape.cols / (4 * digits), 1, max_parts));
  auto counts = Scratch::create(parts.count(), digits, options.memory);
  if (!counts) return std::move(counts).error();

  SaliencyCut cut{.threshold = 0, .quota = pruned};
  std::uint64_t settled = 0;
  std::uint64_t digit = 0;
  for (int shift = 48; shift >= 0; shift -= 16) {
    options.executor(parts.count(), [&](std::size_t part) {
      const std::span<std::uint64_t> own = (*counts)[part];
      std::ranges::fill(own, 0);
      for (std::size_t r = parts[part].begin; r < parts[part].end; ++r)
        for (std::size_t c = 0; c < shape.cols; ++c) {
          const std::uint64_t key = saliency_key(scores(r, c));
          if ((key & settled) == cut.threshold) ++own[key >> shift & (digits - 1)];
        }
    });
    for (digit = 0;; ++digit) {
      std::size_t count = 0;
      for (std::size_t part = 0; part < parts.count(); ++part) count += (*counts)[part][digit];
      if (count >= cut.quota) break;
      cut.quota -= count;
    }
    cut.threshold |= digit << shift;
    settled |= (digits - 1) << shift;
  }

  std::array<SaliencyCut, max_parts> cuts;
  for (std::size_t part = 0; part < parts.count(); ++part) {
    const std::size_t ties = (*counts)[part][digit];
    cuts[part] = {cut.threshold, whole_ties ? ties : std::min(ties, cut.quota)};
    cut.quota -= std::min(ties, cut.quota);
  }
  options.executor(parts.count(), [&](std::size_t part) { prune_below(scores, parts[part], cuts[part], mask); });
  return {};
}

}  // namespace pare::detail
