#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "pare/tensor/mask.hpp"

namespace pare::detail {

/// An integer that orders as saliencies do: -0 equals +0, NaN (of any sign) is above +infinity.
constexpr std::uint64_t saliency_key(double score) noexcept {
  if (score != score) return std::numeric_limits<std::uint64_t>::max();
  constexpr std::uint64_t sign = std::uint64_t{1} << 63;
  const auto bits = std::bit_cast<std::uint64_t>(score + 0.0);
  return (bits & sign) != 0 ? ~bits : bits | sign;
}

using DigitCounts = std::array<std::size_t, 256>;

/// Where a sequence of keys is cut in a radix selection: keys whose leading digits are below `prefix` go, and so do the
/// first `quota` of those whose leading digits equal it. Nothing is sorted, copied or allocated.
struct SaliencyCut {
  static constexpr int first_shift = 56;

  std::size_t quota = 0;
  std::uint64_t prefix = 0;
  std::uint64_t leading = 0;

  /// Settles the digit at `shift`, where `counts` says how often each of its values follows the prefix. Needs
  /// 1 <= quota <= the sum of the counts. Returns true when the cut is final.
  constexpr bool refine(const DigitCounts& counts, int shift) noexcept {
    std::uint64_t digit = 0;
    for (; counts[digit] < quota; ++digit) quota -= counts[digit];
    prefix |= digit << shift;
    leading |= std::uint64_t{0xff} << shift;
    return counts[digit] == quota || shift == 0;
  }
};

/// Consecutive rows of a matrix.
struct RowRange {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// Counts the values of the digit at `shift` among the keys that match the cut so far.
template <class Scores>
void count_digits(const Scores& scores, RowRange rows, std::size_t cols, const SaliencyCut& cut, int shift,
                  DigitCounts& counts) {
  counts.fill(0);
  for (std::size_t r = rows.begin; r < rows.end; ++r)
    for (std::size_t c = 0; c < cols; ++c) {
      const std::uint64_t key = saliency_key(scores(r, c));
      if ((key & cut.leading) == cut.prefix) ++counts[key >> shift & 0xff];
    }
}

/// Prunes what lies below the cut, in row-major order as far as the quota goes.
template <class Scores>
void prune_below(const Scores& scores, RowRange rows, SaliencyCut cut, Mask& mask) {
  const std::size_t cols = mask.shape().cols;
  for (std::size_t r = rows.begin; r < rows.end; ++r)
    for (std::size_t c = 0; c < cols; ++c) {
      const std::uint64_t leading = saliency_key(scores(r, c)) & cut.leading;
      const bool tie = leading == cut.prefix && cut.quota != 0;
      if (tie) --cut.quota;
      if (leading < cut.prefix || tie) mask.set(r, c, false);
    }
}

}  // namespace pare::detail
