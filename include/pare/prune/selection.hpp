#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <span>
#include <string>
#include <utility>

#include "pare/core/core.hpp"
#include "pare/tensor/tensor.hpp"

namespace pare::detail {

/// An integer that orders as saliencies do: -0 equals +0, NaN (of any sign) is above +infinity.
constexpr std::uint64_t saliency_key(double score) noexcept {
  constexpr std::uint64_t sign = std::uint64_t{1} << 63;
  const auto bits = std::bit_cast<std::uint64_t>(score + 0.0);
  const std::uint64_t key = (bits & sign) != 0 ? ~bits : bits | sign;
  return score != score ? std::numeric_limits<std::uint64_t>::max() : key;
}

/// Where the ascending order of the keys is cut: what lies below the threshold goes, and the first `quota` of what
/// equals it.
struct SaliencyCut {
  std::uint64_t threshold = 0;
  std::size_t quota = 0;
};

/// The cut that takes `pruned` of the keys, 1 <= pruned <= keys.size(). Reorders them.
inline SaliencyCut cut_keys(std::span<std::uint64_t> keys, std::size_t pruned) {
  const auto last = keys.begin() + static_cast<std::ptrdiff_t>(pruned - 1);
  std::nth_element(keys.begin(), last, keys.end());
  const std::uint64_t threshold = *last;
  const auto below = std::count_if(keys.begin(), last, [=](std::uint64_t key) { return key < threshold; });
  return {threshold, pruned - static_cast<std::size_t>(below)};
}

/// Consecutive rows of a matrix.
struct RowRange {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// The rows of a matrix in at most `max_parts` runs of equal length, the last aside.
class RowParts {
 public:
  RowParts(std::size_t rows, std::size_t max_parts) : rows_(rows), each_(ceil_div(rows, max_parts)) {}

  [[nodiscard]] std::size_t count() const { return rows_ == 0 ? 0 : ceil_div(rows_, each_); }
  [[nodiscard]] RowRange operator[](std::size_t part) const {
    const std::size_t begin = part * each_;
    return {begin, begin + std::min(each_, rows_ - begin)};
  }

 private:
  std::size_t rows_;
  std::size_t each_;
};

/// Equally long runs of uninitialized integers.
class Scratch {
 public:
  static Result<Scratch> create(std::size_t runs, std::size_t length, std::pmr::memory_resource* memory) {
    std::size_t bytes = 0;
    if (!checked_multiply(runs, length, bytes) || !checked_multiply(bytes, sizeof(std::uint64_t), bytes))
      return Error{ErrorCode::out_of_memory, "pare: the scratch memory for pruning is too large to address"};
    auto buffer = Buffer::allocate(bytes, memory);
    if (!buffer) return std::move(buffer).error();
    return Scratch(*std::move(buffer), length);
  }

  [[nodiscard]] std::span<std::uint64_t> operator[](std::size_t run) {
    return {reinterpret_cast<std::uint64_t*>(buffer_.data()) + run * length_, length_};
  }

 private:
  Scratch(Buffer buffer, std::size_t length) : buffer_(std::move(buffer)), length_(length) {}

  Buffer buffer_;
  std::size_t length_;
};

/// Success where there is one finite, not negative norm for each column.
inline Result<void> check_norms(std::span<const float> norms, std::size_t cols) {
  if (norms.size() != cols)
    return Error{ErrorCode::invalid_argument, "pare: " + std::to_string(norms.size()) + " activation norms for " +
                                                  std::to_string(cols) + " columns of weights"};
  for (std::size_t c = 0; c < cols; ++c)
    if (!(norms[c] >= 0 && std::isfinite(norms[c])))
      return Error{ErrorCode::invalid_argument,
                   "pare: the activation norm of column " + std::to_string(c) + " is not a finite non-negative number"};
  return {};
}

/// Prunes what lies below the cut, spending its quota in row-major order; the cut with what is left of its quota.
template <class Scores>
SaliencyCut prune_below(const Scores& scores, RowRange rows, SaliencyCut cut, Mask& mask) {
  const std::size_t cols = mask.shape().cols;
  for (std::size_t r = rows.begin; r < rows.end; ++r) {
    std::uint8_t* bits = mask.row(r);
    for (std::size_t begin = 0; begin < cols; begin += 8) {
      const std::size_t width = std::min<std::size_t>(8, cols - begin);
      unsigned kept = 0;
      // Without branches: which weights go is close to a coin toss.
      for (std::size_t i = 0; i < width; ++i) {
        const std::uint64_t key = saliency_key(scores(r, begin + i));
        const std::size_t tie = std::size_t{key == cut.threshold} & std::size_t{cut.quota != 0};
        cut.quota -= tie;
        kept |= static_cast<unsigned>(std::size_t{key >= cut.threshold} - tie) << i;
      }
      bits[begin / 8] = static_cast<std::uint8_t>(kept);
    }
  }
  return cut;
}

}  // namespace pare::detail
