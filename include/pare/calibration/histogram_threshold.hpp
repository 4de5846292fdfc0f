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

#include "pare/calibration/histogram.hpp"

namespace pare {

/// Counts of |x| and the edges between them, one more: a Histogram, or what another calibrator saved.
struct HistogramView {
  std::span<const double> counts;
  std::span<const float> edges;
};

/// A Histogram's counts and edges as numbers.
class HistogramNumbers {
 public:
  /// Error: out_of_memory.
  static Result<HistogramNumbers> create(const Histogram& histogram, std::pmr::memory_resource* memory = nullptr) {
    const std::size_t bins = histogram.counts().size();
    auto counts = Array<double>::create(bins, memory);
    if (!counts) return std::move(counts).error();
    auto edges = Array<float>::create(bins + 1, memory);
    if (!edges) return std::move(edges).error();
    for (std::size_t i = 0; i < bins; ++i) (*counts)[i] = static_cast<double>(histogram.counts()[i]);
    for (std::size_t i = 0; i <= bins; ++i) (*edges)[i] = histogram.edge(i);
    return HistogramNumbers(*std::move(counts), *std::move(edges));
  }

  operator HistogramView() const noexcept { return {counts_.values(), edges_.values()}; }

 private:
  HistogramNumbers(Array<double> counts, Array<float> edges) : counts_(std::move(counts)), edges_(std::move(edges)) {}

  Array<double> counts_;
  Array<float> edges_;
};

/// The integers that activations are clipped for, and the first bin after which a clip is considered.
struct ClipSettings {
  int bits = 8;               ///< 2 to 8
  bool is_unsigned = false;   ///< whether the values have no sign, and so one more bit
  std::size_t first_bin = 0;  ///< no clip below it; 0: the count of levels, at most 128

  /// Magnitudes that the integers tell apart.
  [[nodiscard]] std::size_t levels() const noexcept { return std::size_t{1} << (bits - (is_unsigned ? 0 : 1)); }
  [[nodiscard]] std::size_t first() const noexcept {
    return first_bin != 0 ? first_bin : std::min<std::size_t>(levels(), 128);
  }
};

namespace detail {

inline Result<double> check_histogram(const HistogramView& histogram) {
  double total = 0.0;
  bool good = histogram.edges.size() == histogram.counts.size() + 1;
  for (const double n : histogram.counts) {
    good = good && n >= 0.0;
    total += n;
  }
  for (std::size_t i = 1; good && i < histogram.edges.size(); ++i)
    good = histogram.edges[i - 1] <= histogram.edges[i] && is_finite(histogram.edges[i]);
  if (!good || !std::isfinite(total))
    return Error{ErrorCode::invalid_argument,
                 "pare: a histogram has counts of 0 or more and one more rising, finite edges than these"};
  if (total == 0.0)
    return Error{ErrorCode::invalid_argument, "pare: the histogram is empty; give it activations first"};
  return total;
}

inline Result<double> check_clip(const HistogramView& histogram, const ClipSettings& clip) {
  if (clip.bits < 2 || clip.bits > 8)
    return Error{ErrorCode::invalid_argument,
                 "pare: activations are clipped for 2 to 8 bits, not " + std::to_string(clip.bits)};
  if (clip.first() >= histogram.counts.size())
    return Error{ErrorCode::invalid_argument, "pare: a clip from bin " + std::to_string(clip.first()) +
                                                  " on needs a histogram of more than the " +
                                                  std::to_string(histogram.counts.size()) + " bins it has"};
  return check_histogram(histogram);
}

/// KL(P || Q), up to a positive factor and the same summand for all, of the first `bins` bins with all that lies above
/// in the last, against the same bins averaged in `levels` groups; infinite where P is positive and Q is not.
inline double clip_divergence(std::span<const double> counts, std::size_t bins, double tail, std::size_t levels) {
  double total_p = tail, total_q = 0.0, sum = 0.0;
  for (std::size_t i = 0; i < bins; ++i) total_p += counts[i];
  const auto group_of = [&](std::size_t i) { return i * levels / bins; };
  for (std::size_t begin = 0, end = 0; begin < bins; begin = end) {
    double count = 0.0, filled = 0.0;
    for (end = begin; end < bins && group_of(end) == group_of(begin); ++end) {
      count += counts[end];
      filled += counts[end] != 0.0 ? 1.0 : 0.0;
    }
    total_q += count;
    for (std::size_t i = begin; i < end; ++i) {
      const double p = counts[i] + (i + 1 == bins ? tail : 0.0);
      if (p == 0.0) continue;
      if (counts[i] == 0.0) return std::numeric_limits<double>::infinity();
      sum += p / total_p * std::log(p / total_p / (count / filled));
    }
  }
  return sum + std::log(total_q);
}

}  // namespace detail

/// The edge below which a share of all values lies, 0 < share <= 1 (0.999 for the percentile 99.9). Errors: an empty
/// histogram, another share.
inline Result<float> percentile_threshold(const HistogramView& histogram, double share) {
  const Result<double> total = detail::check_histogram(histogram);
  if (!total) return total.error();
  if (!(share > 0.0 && share <= 1.0))
    return Error{ErrorCode::invalid_argument, "pare: a percentile is a share above 0 and not above 1"};
  double sum = 0.0;
  for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
    sum += histogram.counts[i] / *total;
    if (sum >= share) return histogram.edges[i];
  }
  return histogram.edges.back();
}

/// The edge at which clipping, and rounding to 2^(bits - 1) levels (twice as many without a sign), changes the
/// distribution least by its KL divergence: TensorRT's calibration (Migacz, 2017) as NVIDIA's tools have it. The first
/// bin counts as much as the second; of equal divergences the largest edge is taken. O(bins^2). Errors: an empty
/// histogram, one of too few bins, bits out of range.
inline Result<float> entropy_threshold(const HistogramView& histogram, const ClipSettings& clip,
                                       std::pmr::memory_resource* memory = nullptr) {
  if (const Result<double> ok = detail::check_clip(histogram, clip); !ok) return ok.error();
  const std::size_t bins = histogram.counts.size();
  auto counts = Array<double>::create(bins, memory);
  if (!counts) return std::move(counts).error();
  std::copy(histogram.counts.begin(), histogram.counts.end(), counts->begin());
  (*counts)[0] = (*counts)[1];
  double tail = 0.0, least = std::numeric_limits<double>::infinity();
  std::size_t best = bins;
  for (std::size_t i = bins; i >= clip.first(); --i) {
    if (i < bins) tail += (*counts)[i];
    const double divergence = detail::clip_divergence(counts->values(), i, tail, clip.levels());
    if (divergence < least) {
      least = divergence;
      best = i;
    }
  }
  return histogram.edges[best];
}

/// The middle of the bin at which clipping and rounding to integers, symmetric and without the lowest one (0 to
/// 2^bits - 1 without a sign), gives the least squared error over the histogram's middles; the first of equal ones.
/// O(bins^2). Errors: those of entropy_threshold.
inline Result<float> mse_threshold(const HistogramView& histogram, const ClipSettings& clip) {
  if (const Result<double> ok = detail::check_clip(histogram, clip); !ok) return ok.error();
  const auto middle = [&](std::size_t i) { return (histogram.edges[i] + histogram.edges[i + 1]) / 2.0f; };
  const auto highest = static_cast<float>(clip.levels() - 1);
  double least = std::numeric_limits<double>::infinity();
  float best = histogram.edges.back();
  for (std::size_t i = clip.first(); i < histogram.counts.size(); ++i) {
    const float limit = middle(i), scale = highest / limit;
    double error = 0.0;
    for (std::size_t j = 0; j < histogram.counts.size(); ++j) {
      const float x = middle(j), rounded = std::min(std::nearbyint(x * scale), highest) / scale;
      const auto difference = static_cast<double>(rounded) - static_cast<double>(x);
      error += difference * difference * histogram.counts[j];
    }
    if (error < least) {
      least = error;
      best = limit;
    }
  }
  return best;
}

}  // namespace pare
