#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>

#include "pare/core/core.hpp"

namespace pare {

// Each schedule below is called with a time, in steps or in epochs or in fractions of them, and returns the sparsity or
// the fraction of that time, a double. Its numbers are taken as they are; times before the beginning count as it.

/// Gradual magnitude pruning (Zhu and Gupta, "To prune, or not to prune", 2017): final + (initial - final) *
/// (1 - (t - begin) / duration)^3, fast at first, when much is redundant.
struct CubicSchedule {
  double initial = 0.0;
  double final = 0.5;
  double begin = 0.0;
  double duration = 1.0;  ///< the paper's n * dt; nothing: final at once

  double operator()(double time) const noexcept {
    const double left = time < begin + duration ? std::min(1.0, 1.0 - (time - begin) / duration) : 0.0;
    return final + (initial - final) * left * left * left;
  }
};

/// From initial to final by a power of the time that has passed (convex), or that is left (concave), as NNCF has it.
struct PolynomialSchedule {
  double initial = 0.0;
  double final = 0.5;
  double duration = 1.0;  ///< nothing: final at once
  double power = 0.9;
  bool concave = true;

  double operator()(double time) const noexcept {
    const double progress = time < duration ? std::max(0.0, time / duration) : 1.0;
    return concave ? final - (final - initial) * std::pow(1.0 - progress, power)
                   : initial + (final - initial) * std::pow(progress, power);
  }
};

/// The density 1 - sparsity falls, or rises, by the same factor in equal times. Both ends must be below 1.
struct ExponentialSchedule {
  double initial = 0.0;
  double final = 0.5;
  double duration = 1.0;  ///< nothing: final at once

  double operator()(double time) const noexcept {
    if (!(time < duration)) return final;
    const double progress = std::max(0.0, time / duration);
    return 1.0 - (1.0 - initial) * std::pow((1.0 - final) / (1.0 - initial), progress);
  }
};

/// scale * exp(-rate * t) + bias through initial at 0, 3/4 of final at an eighth of the duration, and final at its end,
/// where it stays: NNCF's "exponential with bias" of filter pruning.
class BiasedExponentialSchedule {
 public:
  /// Errors: no duration, or not 0 <= initial < 3/4 of final.
  static Result<BiasedExponentialSchedule> create(double initial, double final, double duration) {
    if (!(initial >= 0 && initial < 0.75 * final && std::isfinite(final) && duration > 0 && std::isfinite(duration)))
      return Error{ErrorCode::invalid_argument,
                   "pare: this schedule needs a duration and 0 <= initial < 3/4 of final, not " +
                       std::to_string(initial) + " to " + std::to_string(final) + " in " + std::to_string(duration)};
    // With y = exp(-rate * duration / 8) the three conditions leave 1 + y + ... + y^7 = ratio, which rises with y.
    const double ratio = (final - initial) / (0.75 * final - initial);
    double low = 0.0, high = ratio;
    for (int i = 0; i < 200; ++i) {
      const double y = low + (high - low) / 2;
      double sum = 1.0;
      for (int k = 0; k < 7; ++k) sum = sum * y + 1.0;
      (sum < ratio ? low : high) = y;
    }
    BiasedExponentialSchedule schedule;
    schedule.rate_ = -8.0 * std::log(low) / duration;
    schedule.scale_ = (initial - 0.75 * final) / (1.0 - low);
    schedule.bias_ = initial - schedule.scale_;
    schedule.final_ = final;
    schedule.duration_ = duration;
    return schedule;
  }

  double operator()(double time) const noexcept {
    return time < duration_ ? scale_ * std::exp(-rate_ * std::max(0.0, time)) + bias_ : final_;
  }

  [[nodiscard]] double scale() const noexcept { return scale_; }
  [[nodiscard]] double bias() const noexcept { return bias_; }
  [[nodiscard]] double rate() const noexcept { return rate_; }

 private:
  BiasedExponentialSchedule() = default;

  double scale_ = 0.0, bias_ = 0.0, rate_ = 0.0;
  double final_ = 0.0, duration_ = 1.0;
};

/// levels[k] from times[k - 1] on, levels[0] before the first: one level more than times, which rise.
struct MultistepSchedule {
  std::span<const double> times;
  std::span<const double> levels;

  /// Error: another number of levels, or times that do not rise.
  [[nodiscard]] Result<void> check() const {
    if (levels.size() == times.size() + 1 &&
        std::adjacent_find(times.begin(), times.end(), [](double a, double b) { return !(a < b); }) == times.end())
      return {};
    return Error{ErrorCode::invalid_argument,
                 "pare: a multistep schedule has rising times and one level more than times"};
  }
  /// Needs check() to succeed.
  double operator()(double time) const noexcept {
    return levels[static_cast<std::size_t>(std::upper_bound(times.begin(), times.end(), time) - times.begin())];
  }
};

/// RigL's share of the weights to drop and regrow at an update (Evci et al., "Rigging the Lottery", 2020): half a
/// cosine from `initial` down to 0 at `end`, where the updates stop.
struct CosineSchedule {
  double initial = 0.3;
  double end = 1.0;

  double operator()(double time) const noexcept {
    constexpr double pi = 3.14159265358979323846;
    return time < end ? initial / 2.0 * (1.0 + std::cos(std::max(0.0, time) * pi / end)) : 0.0;
  }
};

}  // namespace pare
