#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <memory_resource>
#include <span>
#include <utility>

#include "pare/calibration/growing_array.hpp"
#include "pare/calibration/value_range.hpp"

namespace pare {

/// How the same limit of several samples becomes one: the lower limits with upper = false, the upper ones with true, in
/// the order of the samples, of which there is one at least; they may be reordered.
/// Models: ExtremeRange, MeanRange, MedianRange, RangeWithoutOutliers, MovingAverageRange.
template <class R>
concept RangeRule = requires(const R& rule, std::span<float> limits, bool upper) {
  { rule(limits, upper) } -> std::same_as<float>;
};

/// Over all samples: min-max.
struct ExtremeRange {
  float operator()(std::span<float> limits, bool upper) const {
    float extreme = limits.front();
    for (const float x : limits) extreme = upper ? std::max(extreme, x) : std::min(extreme, x);
    return extreme;
  }
};

/// The mean of the samples' limits: mean min-max.
struct MeanRange {
  float operator()(std::span<float> limits, bool) const {
    double sum = 0.0;
    for (const float x : limits) sum += static_cast<double>(x);
    return static_cast<float>(sum / static_cast<double>(limits.size()));
  }
};

/// The median, between the middle two of an even number: median min-max.
struct MedianRange {
  float operator()(std::span<float> limits, bool) const { return quantile(limits, 0.5); }
};

/// The mean of the limits within their quantiles `tail` and 1 - tail: mean without outliers.
struct RangeWithoutOutliers {
  double tail = 0.01;

  float operator()(std::span<float> limits, bool) const {
    const float low = quantile(limits, tail), high = quantile(limits, 1.0 - tail);
    std::sort(limits.begin(), limits.end());
    std::size_t first = 0, last = limits.size();
    while (first < last && limits[first] < low) ++first;
    while (first < last && limits[last - 1] > high) --last;
    return MeanRange{}(first < last ? limits.subspan(first, last - first) : limits, false);
  }
};

/// An exponential average that begins with the first sample's limit and moves by `momentum` of the way to each next.
struct MovingAverageRange {
  double momentum = 0.01;

  float operator()(std::span<float> limits, bool) const {
    auto average = static_cast<double>(limits.front());
    for (const float x : limits) average += momentum * (static_cast<double>(x) - average);
    return static_cast<float>(average);
  }
};

/// The ranges of each sample (one for a tensor, or one for each channel), kept so that any rule can combine them.
/// Eight bytes for each range and sample.
class SampleRanges {
 public:
  /// Of so many ranges in a sample.
  explicit SampleRanges(std::size_t count, std::pmr::memory_resource* memory = nullptr)
      : count_(count), ranges_(memory) {}

  /// Adds the ranges of one sample, or of several one after the other: what value_ranges returns, or what values()
  /// saved. Errors: another number of ranges, a range that is empty or not finite, out_of_memory.
  Result<void> add(std::span<const ValueRange> ranges) {
    if (count_ == 0 || ranges.size() % count_ != 0)
      return Error{ErrorCode::invalid_argument, "pare: samples of " + std::to_string(count_) +
                                                    " ranges cannot be filled by " + std::to_string(ranges.size())};
    for (const ValueRange& range : ranges)
      if (range.empty() || !is_finite(range.lowest) || !is_finite(range.highest))
        return Error{ErrorCode::invalid_argument, "pare: a sample's range is empty or not finite"};
    const auto copy = ranges_.append(ranges.size());
    if (!copy) return copy.error();
    std::copy(ranges.begin(), ranges.end(), copy->begin());
    return {};
  }
  /// Adds the samples of another. Errors: another number of ranges in a sample, out_of_memory.
  Result<void> merge(const SampleRanges& other) {
    if (other.count_ != count_)
      return Error{ErrorCode::invalid_argument, "pare: samples of " + std::to_string(other.count_) +
                                                    " ranges cannot be merged into ones of " + std::to_string(count_)};
    const std::size_t count = other.ranges_.size();
    const auto copy = ranges_.append(count);
    if (!copy) return copy.error();
    std::copy_n(other.values().begin(), count, copy->begin());
    return {};
  }

  /// Ranges in a sample.
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::size_t samples() const noexcept { return count_ == 0 ? 0 : ranges_.size() / count_; }
  /// The ranges of all samples, one sample after the other.
  [[nodiscard]] std::span<const ValueRange> values() const noexcept { return ranges_.values(); }

  /// One sample's worth of ranges for all. Errors: no samples, out_of_memory.
  template <RangeRule R>
  Result<Array<ValueRange>> combine(const R& rule) const {
    if (samples() == 0) return Error{ErrorCode::invalid_argument, "pare: there are no samples to take ranges from"};
    auto ranges = Array<ValueRange>::create(count_, ranges_.memory());
    if (!ranges) return ranges;
    auto limits = Array<float>::create(samples(), ranges_.memory());
    if (!limits) return std::move(limits).error();
    for (std::size_t i = 0; i < count_; ++i) {
      for (std::size_t s = 0; s < samples(); ++s) (*limits)[s] = values()[s * count_ + i].lowest;
      (*ranges)[i].lowest = rule(limits->values(), false);
      for (std::size_t s = 0; s < samples(); ++s) (*limits)[s] = values()[s * count_ + i].highest;
      (*ranges)[i].highest = rule(limits->values(), true);
    }
    return ranges;
  }

 private:
  std::size_t count_ = 0;
  GrowingArray<ValueRange> ranges_;
};

}  // namespace pare
