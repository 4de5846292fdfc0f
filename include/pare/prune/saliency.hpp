#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>

namespace pare {

/// A metric that judges a weight by its value: score(weight). Model: Magnitude.
template <class M>
concept WeightSaliency = requires(const M& metric, float weight) {
  { metric.score(weight) } -> std::convertible_to<double>;
};

/// A metric that also needs the l2 norm of the weight's input column over the calibration tokens: score(weight, norm).
/// Model: Wanda.
template <class M>
concept ActivationSaliency = requires(const M& metric, float weight, float norm) {
  { metric.score(weight, norm) } -> std::convertible_to<double>;
};

/// The derivative of the loss by a weight, averaged or summed over a calibration set.
struct Gradient {
  float value = 0.0f;
};

/// A metric that also needs the gradient of the weight: score(weight, gradient). Model: Taylor.
template <class M>
concept GradientSaliency = requires(const M& metric, float weight, Gradient gradient) {
  { metric.score(weight, gradient) } -> std::convertible_to<double>;
};

/// A metric that judges a weight by its place: score_at(row, column). Model: Random.
template <class M>
concept PlaceSaliency = requires(const M& metric, std::size_t row, std::size_t column) {
  { metric.score_at(row, column) } -> std::convertible_to<double>;
};

/// How much a weight matters: the lowest scores are pruned first. Any number is a valid score; -0 equals +0, and NaN
/// ranks above +infinity, so that a weight which cannot be judged is the last to go.
template <class M>
concept Saliency = WeightSaliency<M> || ActivationSaliency<M> || GradientSaliency<M> || PlaceSaliency<M>;

/// |weight|. A NaN weight is the last to go.
struct Magnitude {
  [[nodiscard]] double score(float weight) const noexcept { return std::fabs(weight); }
};

/// |weight| * norm, where norm is the l2 norm of the weight's input column over the calibration tokens (Sun et al., "A
/// Simple and Effective Pruning Approach for Large Language Models", 2023). The product of two floats is exact in
/// double: it neither overflows nor makes ties by rounding, and norms multiplied by a power of two give the same mask.
/// An infinite weight of a dead column (norm 0) has no score and is the last to go.
struct Wanda {
  [[nodiscard]] double score(float weight, float norm) const noexcept { return std::fabs(double{weight}) * norm; }
};

/// |weight * gradient|, what the loss changes by to first order when the weight goes (Molchanov et al., "Importance
/// Estimation for Neural Network Pruning", 2019). Sums of it over a structure are the importance of a filter.
struct Taylor {
  [[nodiscard]] double score(float weight, Gradient gradient) const noexcept {
    return std::fabs(double{weight} * double{gradient.value});
  }
};

/// A number in [0, 1) for each place that looks random and is the same for the same seed everywhere: the baseline that
/// every other metric must beat.
struct Random {
  std::uint64_t seed = 0;

  [[nodiscard]] constexpr double score_at(std::size_t row, std::size_t column) const noexcept {
    const std::uint64_t bits = mixed(mixed(mixed(seed) + row) + column);
    return static_cast<double>(bits >> 11) * 0x1p-53;
  }

 private:
  /// A bijection of 64 bits in which each bit of the result hangs on each of the input (SplitMix64's).
  static constexpr std::uint64_t mixed(std::uint64_t x) noexcept {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
  }
};

}  // namespace pare
