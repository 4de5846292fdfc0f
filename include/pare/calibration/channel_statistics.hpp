#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string>
#include <utility>

#include "pare/calibration/value_range.hpp"

namespace pare {

/// What the values of one channel came to.
struct ChannelSums {
  double sum = 0.0;
  double magnitudes = 0.0;  ///< sum of |x|
  double squares = 0.0;     ///< sum of x^2
  ValueRange range;

  void merge(const ChannelSums& other) noexcept {
    sum += other.sum;
    magnitudes += other.magnitudes;
    squares += other.squares;
    range.merge(other.range);
  }
};

/// First moments, norms and ranges of a layer's inputs, channel by channel, gathered one sample at a time: what Wanda,
/// AWQ, SmoothQuant, FLAP and min-max observers ask for. 32 bytes for each channel.
class ChannelStatistics {
 public:
  static Result<ChannelStatistics> create(std::size_t channels, std::pmr::memory_resource* memory = nullptr) {
    auto sums = Array<ChannelSums>::create(channels, memory);
    if (!sums) return std::move(sums).error();
    return ChannelStatistics(*std::move(sums));
  }
  /// What channels(), samples() and tokens() saved. Errors: a sum that is not finite, negative squares or magnitudes,
  /// out_of_memory.
  static Result<ChannelStatistics> restore(std::span<const ChannelSums> sums, std::uint64_t samples,
                                           std::uint64_t tokens, std::pmr::memory_resource* memory = nullptr) {
    for (const ChannelSums& s : sums)
      if (!(std::isfinite(s.sum) && std::isfinite(s.magnitudes) && std::isfinite(s.squares) && s.magnitudes >= 0.0 &&
            s.squares >= 0.0) ||
          s.range.empty() != (tokens == 0))
        return Error{ErrorCode::invalid_argument, "pare: the sums of a channel contradict themselves"};
    auto statistics = create(sums.size(), memory);
    if (!statistics) return statistics;
    std::copy(sums.begin(), sums.end(), statistics->sums_.begin());
    statistics->samples_ = samples;
    statistics->tokens_ = tokens;
    return statistics;
  }

  /// Adds the tokens [tokens, channels] of one sample. The result does not depend on the executor. Errors: another
  /// number of channels, a value that is not finite (nothing is added then).
  Result<void> add(MatrixView<const float> tokens, const Options& options = {}) {
    if (tokens.cols != sums_.size())
      return detail::shape_error("the activations", tokens.shape(), {tokens.rows, sums_.size()});
    if (Result<void> ok = check_finite(tokens, "the activations"); !ok) return ok;
    constexpr std::size_t panel = 64;
    options.executor(ceil_div(tokens.cols, panel), [&](std::size_t task) {
      const std::size_t begin = task * panel, end = std::min(tokens.cols, begin + panel);
      for (std::size_t t = 0; t < tokens.rows; ++t)
        for (std::size_t c = begin; c < end; ++c) {
          const float x = tokens(t, c);
          const auto wide = static_cast<double>(x);
          sums_[c].sum += wide;
          sums_[c].magnitudes += std::fabs(wide);
          sums_[c].squares += wide * wide;
          sums_[c].range.include(x);
        }
    });
    ++samples_;
    tokens_ += tokens.rows;
    return {};
  }

  /// Adds what another one gathered. Error: another number of channels.
  Result<void> merge(const ChannelStatistics& other) {
    if (other.sums_.size() != sums_.size())
      return detail::shape_error("the other statistics", {1, other.sums_.size()}, {1, sums_.size()});
    for (std::size_t c = 0; c < sums_.size(); ++c) sums_[c].merge(other.sums_[c]);
    samples_ += other.samples_;
    tokens_ += other.tokens_;
    return {};
  }

  [[nodiscard]] std::span<const ChannelSums> channels() const noexcept { return sums_.values(); }
  [[nodiscard]] std::uint64_t samples() const noexcept { return samples_; }
  [[nodiscard]] std::uint64_t tokens() const noexcept { return tokens_; }

  /// The mean of the channel's values; 0 before the first token, as of the other measures.
  [[nodiscard]] float mean(std::size_t channel) const noexcept { return average(sums_[channel].sum); }
  /// The mean of |x|, AWQ's measure of a channel.
  [[nodiscard]] float mean_magnitude(std::size_t channel) const noexcept { return average(sums_[channel].magnitudes); }
  /// The largest |x|, SmoothQuant's measure.
  [[nodiscard]] float largest_magnitude(std::size_t channel) const noexcept { return sums_[channel].range.magnitude(); }
  /// The l2 norm over all tokens, Wanda's measure.
  [[nodiscard]] float norm(std::size_t channel) const noexcept {
    return static_cast<float>(std::sqrt(sums_[channel].squares));
  }
  /// The range over all channels, min-max of the tensor.
  [[nodiscard]] ValueRange range() const noexcept {
    ValueRange all;
    for (const ChannelSums& s : sums_) all.merge(s.range);
    return all;
  }

 private:
  explicit ChannelStatistics(Array<ChannelSums> sums) : sums_(std::move(sums)) {}

  [[nodiscard]] float average(double sum) const noexcept {
    return tokens_ == 0 ? 0.0f : static_cast<float>(sum / static_cast<double>(tokens_));
  }

  Array<ChannelSums> sums_;
  std::uint64_t samples_ = 0;
  std::uint64_t tokens_ = 0;
};

}  // namespace pare
