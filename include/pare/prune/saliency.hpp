#pragma once

#include <cmath>
#include <concepts>

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

/// How much a weight matters: the lowest scores are pruned first. Any number is a valid score; -0 equals +0, and NaN
/// ranks above +infinity, so that a weight which cannot be judged is the last to go.
template <class M>
concept Saliency = WeightSaliency<M> || ActivationSaliency<M>;

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

}  // namespace pare
