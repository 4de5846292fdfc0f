#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <span>
#include <string>
#include <utility>

#include "pare/calibration/finite.hpp"

namespace pare {

/// A histogram of |x| in bins of one width from 0 on, gathered in parts. The first values that are not all zero choose
/// the width, so that the largest of them ends the last bin; a larger value later adds bins of the same width. What
/// TensorRT's and NVIDIA's calibrators count; thresholds over it: percentile_threshold, entropy_threshold,
/// mse_threshold.
class Histogram {
 public:
  /// With so many bins at first.
  static Result<Histogram> create(std::size_t bins = 2048, std::pmr::memory_resource* memory = nullptr) {
    if (bins == 0 || bins > most_bins)
      return Error{ErrorCode::invalid_argument,
                   "pare: a histogram has 1 to " + std::to_string(most_bins) + " bins, not " + std::to_string(bins)};
    auto counts = Array<std::uint64_t>::create(bins, memory);
    if (!counts) return std::move(counts).error();
    return Histogram(*std::move(counts), memory);
  }
  /// What counts(), width() and largest() saved. Errors: no bins, a width or a largest value that is not a finite
  /// number of 0 or more, counts but no width.
  static Result<Histogram> restore(std::span<const std::uint64_t> counts, float width, float largest,
                                   std::pmr::memory_resource* memory = nullptr) {
    auto histogram = create(counts.size(), memory);
    if (!histogram) return histogram;
    bool counted = false;
    for (const std::uint64_t n : counts.subspan(1)) counted = counted || n != 0;
    if (!(is_finite(width) && is_finite(largest) && width >= 0.0f && largest >= 0.0f) ||
        (width == 0.0f && (counted || largest != 0.0f)))
      return Error{ErrorCode::invalid_argument,
                   "pare: the width and the counts of the histogram contradict each other"};
    std::copy(counts.begin(), counts.end(), histogram->counts_.begin());
    histogram->width_ = width;
    histogram->largest_ = largest;
    return histogram;
  }

  /// Counts the values of a matrix. Errors: a value that is not finite (nothing is counted then), one so large that it
  /// needs more than 2^24 bins, out_of_memory.
  Result<void> add(MatrixView<const float> values) {
    if (Result<void> ok = check_finite(values, "the values"); !ok) return ok;
    float largest = 0.0f;
    for (std::size_t r = 0; r < values.rows; ++r)
      for (std::size_t c = 0; c < values.cols; ++c) largest = std::max(largest, std::fabs(values(r, c)));
    if (width_ == 0.0f && largest > 0.0f) {
      // A width that rounds to 0 would be none.
      width_ = std::max(largest / static_cast<float>(counts_.size()), std::numeric_limits<float>::min());
      largest_ = largest;
    } else if (Result<void> ok = reach(largest); !ok) {
      return ok;
    }
    for (std::size_t r = 0; r < values.rows; ++r)
      for (std::size_t c = 0; c < values.cols; ++c) ++counts_[bin(std::fabs(values(r, c)))];
    return {};
  }
  /// Counts what another one counted: exactly where both have the same width, else each bin of the other goes where its
  /// middle falls. Errors: those of add.
  Result<void> merge(const Histogram& other) {
    if (width_ == 0.0f) width_ = other.width_;
    if (Result<void> ok = reach(other.largest_); !ok) return ok;
    for (std::size_t i = 0; i < other.counts_.size(); ++i) {
      if (other.counts_[i] == 0) continue;
      const float middle = (static_cast<float>(i) + 0.5f) * other.width_;
      counts_[other.width_ == width_ ? std::min(i, counts_.size() - 1) : bin(middle)] += other.counts_[i];
    }
    return {};
  }

  [[nodiscard]] std::span<const std::uint64_t> counts() const noexcept { return counts_.values(); }
  /// Of a bin; 0 while all values were zero.
  [[nodiscard]] float width() const noexcept { return width_; }
  /// The largest |x|, which may lie within the last bin.
  [[nodiscard]] float largest() const noexcept { return largest_; }
  /// Where bin i begins and bin i - 1 ends.
  [[nodiscard]] float edge(std::size_t i) const noexcept { return static_cast<float>(i) * width_; }

 private:
  static constexpr std::size_t most_bins = std::size_t{1} << 24;

  Histogram(Array<std::uint64_t> counts, std::pmr::memory_resource* memory)
      : counts_(std::move(counts)), memory_(memory) {}

  [[nodiscard]] std::size_t bin(float magnitude) const noexcept {
    // A quotient above the count of bins by rounding still belongs to the last.
    const float place = width_ == 0.0f ? 0.0f : magnitude / width_;
    return std::min(static_cast<std::size_t>(place), counts_.size() - 1);
  }

  /// Adds bins until the largest value has one.
  Result<void> reach(float largest) {
    const float needed = width_ == 0.0f ? 0.0f : std::ceil(largest / width_);
    if (!(needed <= static_cast<float>(most_bins)))
      return Error{ErrorCode::invalid_argument, "pare: a histogram whose bins are " + std::to_string(width_) +
                                                    " wide cannot reach " + std::to_string(largest) +
                                                    "; begin it with values of the usual size"};
    const auto bins = static_cast<std::size_t>(needed);
    if (bins > counts_.size()) {
      auto larger = Array<std::uint64_t>::create(bins, memory_);
      if (!larger) return std::move(larger).error();
      std::copy(counts_.begin(), counts_.end(), larger->begin());
      counts_ = *std::move(larger);
    }
    largest_ = std::max(largest_, largest);
    return {};
  }

  Array<std::uint64_t> counts_;
  float width_ = 0.0f;
  float largest_ = 0.0f;
  std::pmr::memory_resource* memory_ = nullptr;
};

}  // namespace pare
