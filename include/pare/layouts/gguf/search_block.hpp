#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pare/formats/formats.hpp"
#include "pare/layouts/gguf/rounded.hpp"

namespace pare::gguf::detail {

/// The sum of N floats, a power of two, by halves: an order that compilers turn into vectors of any width without
/// changing a bit. The floats are overwritten.
template <std::size_t N>
constexpr float fold(float* v) noexcept {
  if constexpr (N == 1) {
    return v[0];
  } else {
    for (std::size_t i = 0; i < N / 2; ++i) v[i] += v[i + N / 2];
    return fold<N / 2>(v);
  }
}

/// Weighted sums over the elements of a sub-block and their levels l.
struct LevelSums {
  double l = 0.0;   ///< w * l
  double ll = 0.0;  ///< w * l^2
  double xl = 0.0;  ///< w * x * l
};

/// A block that is searched: values and weights over powers of two of their largest, so that no sum overflows.
template <std::size_t N>
struct SearchBlock {
  alignas(64) std::array<float, N> x;
  alignas(64) std::array<float, N> w;
  alignas(64) std::array<float, N> wx;
  int exponent = 0;  ///< x is the value over 2^exponent

  /// Weights must be finite and not negative; none means 1 for each. Zero weights count a little, so that no sum is
  /// empty: 2^-30 of the largest.
  constexpr SearchBlock(std::span<const float, N> values, std::span<const float> weights) noexcept {
    const auto exponent_of = [](float peak) {
      return peak > 0.0f ? static_cast<int>(E8M0::encode<ExponentRule::floor>(peak)) - 127 : 0;
    };
    float peak = 0.0f, heaviest = 0.0f;
    for (const float v : values) peak = -peak > v ? -v : v > peak ? v : peak;
    for (const float v : weights) heaviest = v > heaviest ? v : heaviest;
    exponent = exponent_of(peak);
    const double unit = power_of_two(-exponent), weight_unit = power_of_two(-exponent_of(heaviest));
    const Rounded rounded;
    constexpr float least = 0x1p-30f;
    for (std::size_t i = 0; i < N; ++i) {
      x[i] = static_cast<float>(static_cast<double>(values[i]) * unit);
      const float weight = weights.empty() ? 1.0f : static_cast<float>(static_cast<double>(weights[i]) * weight_unit);
      w[i] = weight > least ? weight : least;
      wx[i] = rounded(w[i] * x[i]);
    }
  }

  /// The f16 nearest to a scale in the units of x, saturating.
  [[nodiscard]] constexpr std::uint16_t to_f16(double scale) const noexcept {
    const double value = scale * power_of_two(exponent);
    constexpr double most = F16::max;
    const double bounded = value > most ? most : value < -most ? -most : value;
    return static_cast<std::uint16_t>(F16::encode<Conversion{}>(static_cast<float>(bounded)));
  }
  /// The inverse: what an f16 is in the units of x.
  [[nodiscard]] constexpr float from_f16(std::uint16_t bits) const noexcept {
    return static_cast<float>(static_cast<double>(F16::decode(bits)) * power_of_two(-exponent));
  }

  static constexpr double power_of_two(int e) noexcept {
    return std::bit_cast<double>(static_cast<std::uint64_t>(e + 1023) << 52);
  }
};

/// value * inverse as the nearest integer within limits.
constexpr int nearest_integer(float value, float inverse, int low, int high, Rounded rounded) noexcept {
  constexpr float magic = 12582912.0f;  // 1.5 * 2^23: adding it leaves the integer nearest to a quotient
  const float quotient = rounded(value * inverse);
  const auto least = static_cast<float>(low), most = static_cast<float>(high);
  const float bounded = quotient < least ? least : quotient > most ? most : quotient;
  return static_cast<int>((bounded + magic) - magic);
}

/// The level nearest to each (x + minimum) / scale, given 1 / scale.
template <class Levels, std::size_t N>
constexpr void nearest_levels(const float* x, float inverse, float minimum, Rounded rounded, float* levels) noexcept {
  const std::size_t n = rounded.count(N);
  for (std::size_t i = 0; i < n; ++i) levels[i] = Levels::nearest(rounded((x[i] + minimum) * inverse));
}

/// The weighted squared error of a sub-block of N values whose levels are scaled by `scale` and lowered by `minimum`,
/// each level being the nearest; `levels` receives them.
template <class Levels, std::size_t N>
constexpr float sub_block_error(const float* x, const float* w, float scale, float minimum, Rounded rounded,
                                float* levels) noexcept {
  nearest_levels<Levels, N>(x, scale != 0.0f ? 1.0f / scale : 0.0f, minimum, rounded, levels);
  alignas(64) std::array<float, N> errors;
  const std::size_t n = rounded.count(N);
  for (std::size_t i = 0; i < n; ++i) {
    const float error = x[i] - (rounded(scale * levels[i]) - minimum);
    errors[i] = rounded(rounded(error * error) * w[i]);
  }
  return fold<N>(errors.data());
}

/// The sums that the best scale and minimum for given levels follow from.
template <std::size_t N>
constexpr LevelSums level_sums(const float* w, const float* wx, const float* levels, Rounded rounded) noexcept {
  alignas(64) std::array<float, N> l, ll, xl;
  const std::size_t n = rounded.count(N);
  for (std::size_t i = 0; i < n; ++i) {
    l[i] = rounded(w[i] * levels[i]);
    ll[i] = rounded(l[i] * levels[i]);
    xl[i] = rounded(wx[i] * levels[i]);
  }
  return {fold<N>(l.data()), fold<N>(ll.data()), fold<N>(xl.data())};
}

template <std::size_t N>
constexpr float plain_sum(const float* values) noexcept {
  alignas(64) std::array<float, N> copy;
  for (std::size_t i = 0; i < N; ++i) copy[i] = values[i];
  return fold<N>(copy.data());
}

}  // namespace pare::gguf::detail
