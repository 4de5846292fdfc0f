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

/// A matrix of several that one threshold cuts.
template <class Scores>
struct ScoredLayer {
  Scores scores;
  Mask* mask;
};

/// visit(layer, rows) for each run of rows of a layer within [begin, end), rows counted through all layers.
template <class Scores, class Visit>
void each_layer(std::span<const ScoredLayer<Scores>> layers, RowRange rows, const Visit& visit) {
  std::size_t first = 0;
  for (const ScoredLayer<Scores>& layer : layers) {
    const std::size_t count = layer.mask->shape().rows;
    const std::size_t begin = std::max(rows.begin, first), end = std::min(rows.end, first + count);
    if (begin < end) visit(layer, RowRange{begin - first, end - first});
    first += count;
  }
}

/// Prunes the lowest `pruned` elements of all the matrices, at least 1 and at most all of them; ties go by layer, then
/// in row-major order, or all of them where `whole_ties`. A radix selection: each pass settles 16 more bits of the
/// threshold by counting, so that the memory does not grow with the matrices, and counts do not depend on who counted.
template <class Scores>
Result<void> prune_layers(std::span<const ScoredLayer<Scores>> layers, std::size_t pruned, bool whole_ties,
                          const PruneOptions& options) {
  constexpr std::size_t digits = std::size_t{1} << 16;
  constexpr std::size_t max_parts = 16;
  std::size_t rows = 0, elements = 0;
  for (const ScoredLayer<Scores>& layer : layers) {
    rows += layer.mask->shape().rows;
    elements += layer.mask->shape().rows * layer.mask->shape().cols;
  }
  const RowParts parts(rows, std::clamp<std::size_t>(elements / (4 * digits), 1, max_parts));
  auto counts = Scratch::create(parts.count(), digits, options.memory);
  if (!counts) return std::move(counts).error();

  SaliencyCut cut{.threshold = 0, .quota = pruned};
  std::uint64_t settled = 0;
  std::uint64_t digit = 0;
  for (int shift = 48; shift >= 0; shift -= 16) {
    options.executor(parts.count(), [&](std::size_t part) {
      const std::span<std::uint64_t> own = (*counts)[part];
      std::fill(own.begin(), own.end(), 0);
      each_layer(layers, parts[part], [&](const ScoredLayer<Scores>& layer, RowRange range) {
        const std::size_t cols = layer.mask->shape().cols;
        for (std::size_t r = range.begin; r < range.end; ++r)
          for (std::size_t c = 0; c < cols; ++c) {
            const std::uint64_t key = saliency_key(layer.scores(r, c));
            if ((key & settled) == cut.threshold) ++own[key >> shift & (digits - 1)];
          }
      });
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
  options.executor(parts.count(), [&](std::size_t part) {
    SaliencyCut own = cuts[part];
    each_layer(layers, parts[part], [&](const ScoredLayer<Scores>& layer, RowRange range) {
      own = prune_below(layer.scores, range, own, *layer.mask);
    });
  });
  return {};
}

/// The same for one matrix.
template <class Scores>
Result<void> prune_layer(const Scores& scores, std::size_t pruned, bool whole_ties, Mask& mask,
                         const PruneOptions& options) {
  const auto same = [&scores](std::size_t r, std::size_t c) -> double { return scores(r, c); };
  const ScoredLayer<decltype(same)> layer{same, &mask};
  return prune_layers(std::span<const ScoredLayer<decltype(same)>>(&layer, 1), pruned, whole_ties, options);
}

}  // namespace pare::detail
