#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory_resource>
#include <span>
#include <utility>

#include "pare/calibration/value_range.hpp"

namespace pare {

/// OpenVINO's FakeQuantize: x is clipped to the input range, rounded to one of `levels` equal steps in it, and mapped
/// to the output range.
struct FakeQuantize {
  float input_low = 0.0f;
  float input_high = 0.0f;
  float output_low = 0.0f;
  float output_high = 0.0f;
  int levels = 256;

  [[nodiscard]] float operator()(float x) const noexcept {
    if (x <= std::min(input_low, input_high)) return output_low;
    if (x > std::max(input_low, input_high)) return output_high;
    const auto steps = static_cast<float>(levels - 1);
    const float step = std::nearbyint((x - input_low) / (input_high - input_low) * steps);
    // A volatile product cannot be fused into the sum: the same bits on every machine.
    const volatile float product = step / steps * (output_high - output_low);
    return product + output_low;
  }
};

/// How NNCF's min-max algorithm makes the ranges of FakeQuantize from those of weights or activations.
struct FakeQuantizeRule {
  int bits = 8;  ///< 2 to 8
  bool symmetric = true;
  bool narrow = false;      ///< one level less, so that both sides have as many
  bool half_range = false;  ///< only half of the levels are used, for int8 products that saturate 16 bits (AVX2)

  /// The least magnitude of a symmetric range.
  static constexpr float least_magnitude = 8e-5f;
  /// The least width of an asymmetric range, and by how much a narrower one is widened on both sides.
  static constexpr float least_width = 8e-4f;
  static constexpr float widening = 8e-4f;

  /// FakeQuantize for each range. Symmetric: as far as the largest magnitude, at least 1 % of the largest of all
  /// ranges, from zero on if no value of any is negative. Asymmetric: widened to hold zero, and then so that zero is
  /// one of the levels. Errors: bits out of range, an empty range, out_of_memory.
  Result<Array<FakeQuantize>> operator()(std::span<const ValueRange> ranges,
                                         std::pmr::memory_resource* memory = nullptr) const {
    if (bits < 2 || bits > 8 || (half_range && bits < 3))
      return Error{ErrorCode::invalid_argument,
                   "pare: FakeQuantize has 2 to 8 bits, and 3 at least to use half of the range"};
    ValueRange all;
    for (const ValueRange& range : ranges) {
      if (range.empty() || !is_finite(range.lowest) || !is_finite(range.highest))
        return Error{ErrorCode::invalid_argument, "pare: FakeQuantize needs ranges that hold a value and are finite"};
      all.merge(range);
    }
    auto result = Array<FakeQuantize>::create(ranges.size(), memory);
    if (!result) return result;
    const int used = half_range ? bits - 1 : bits;
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      ValueRange range = symmetric ? symmetric_range(ranges[i], all, used) : asymmetric_range(ranges[i], used);
      if (half_range) {
        const float factor = static_cast<float>((1 << bits) - 1) / static_cast<float>((1 << used) - 1);
        range = {range.lowest * factor, range.highest * factor};
      }
      (*result)[i] = {range.lowest, range.highest, range.lowest, range.highest, levels(bits)};
    }
    return result;
  }

 private:
  [[nodiscard]] int levels(int width) const noexcept { return (1 << width) - (narrow ? 1 : 0); }

  [[nodiscard]] ValueRange symmetric_range(const ValueRange& range, const ValueRange& all, int used) const noexcept {
    const float high = std::max({range.magnitude(), 0.01f * all.magnitude(), least_magnitude});
    if (all.lowest >= 0.0f) return {0.0f, high};
    const auto count = static_cast<float>(levels(used));
    return {narrow ? -high : -high * (count / (count - 2.0f)), high};
  }

  /// Zero falls on a level when the range is stretched on the side that needs less.
  [[nodiscard]] ValueRange asymmetric_range(const ValueRange& range, int used) const noexcept {
    double low = static_cast<double>(range.lowest), high = static_cast<double>(range.highest);
    if (high - low < static_cast<double>(least_width)) {
      low -= static_cast<double>(widening);
      high += static_cast<double>(widening);
    }
    low = std::min(low, 0.0);
    high = std::max(high, 0.0);
    const double steps = static_cast<double>(levels(used) - 1);
    const double level = std::nearbyint(-low * steps / (high - low));
    if (low < 0.0 && high > 0.0 && level > 0.0 && level < steps) {
      const double stretched_low = level / (level - steps) * high, stretched_high = (level - steps) / level * low;
      if (stretched_high - low > high - stretched_low)
        high = stretched_high;
      else
        low = stretched_low;
    }
    return {static_cast<float>(low), static_cast<float>(high)};
  }
};

}  // namespace pare
