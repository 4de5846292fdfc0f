#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "pare/calibration/calibration.hpp"
#include "pare/prune/layer_selection.hpp"
#include "pare/prune/saliency.hpp"
#include "pare/prune/structure.hpp"

namespace pare {

/// One weight of a model: [out, in], and for metrics such as Wanda the l2 norm of each input column.
struct GlobalLayer {
  MatrixView<const float> weights;
  std::span<const float> activation_norms{};
};

/// One threshold for all layers of a model: int(elements * sparsity) of all of their weights go, those that come first
/// in ascending order of (saliency, layer, row, column), so that a layer loses as much as it can spare. Reads each
/// weight a few times and keeps no copy. A mask for each layer; the result does not depend on the executor.
///
/// Errors: a sparsity that is NaN or outside [0, 1], weights that are not finite, norms that a Pruner would reject,
/// elements that cannot be counted, out_of_memory.
template <class Metric>
  requires(WeightSaliency<Metric> || ActivationSaliency<Metric>)
struct GlobalPruner {
  double sparsity = 0.5;
  bool normalized = false;  ///< saliencies are divided by their layer's l2 norm of them, as NNCF's normed magnitude
  [[no_unique_address]] Metric metric{};

  Result<std::vector<Mask>> operator()(std::span<const GlobalLayer> layers, const PruneOptions& options = {}) const {
    if (!(sparsity >= 0 && sparsity <= 1))
      return Error{ErrorCode::invalid_argument,
                   "pare: the sparsity must lie in [0, 1], it is " + std::to_string(sparsity)};
    std::vector<Mask> masks;
    std::size_t elements = 0;
    for (const GlobalLayer& layer : layers) {
      if (Result<void> ok = check_finite(layer.weights, "the weight"); !ok) return std::move(ok).error();
      if constexpr (!WeightSaliency<Metric>)
        if (Result<void> ok = detail::check_norms(layer.activation_norms, layer.weights.cols); !ok)
          return std::move(ok).error();
      auto mask = Mask::create(layer.weights.shape(), options.memory);
      if (!mask) return std::move(mask).error();
      elements += layer.weights.rows * layer.weights.cols;
      masks.push_back(*std::move(mask));
    }
    const double product = static_cast<double>(elements) * sparsity;
    const std::size_t pruned = product < static_cast<double>(elements) ? static_cast<std::size_t>(product) : elements;
    if (pruned == 0) return masks;
    std::vector<detail::ScoredLayer<Scores>> scored;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const Scores scores{&metric, layers[i], 1.0};
      scored.push_back({{&metric, layers[i], normalized ? scores.norm() : 1.0}, &masks[i]});
    }
    const std::span<const detail::ScoredLayer<Scores>> all(scored);
    if (Result<void> ok = detail::prune_layers(all, pruned, false, options); !ok) return std::move(ok).error();
    return masks;
  }

 private:
  struct Scores {
    const Metric* metric;
    GlobalLayer layer;
    double divisor;

    double operator()(std::size_t r, std::size_t c) const {
      if constexpr (WeightSaliency<Metric>)
        return metric->score(layer.weights(r, c)) / divisor;
      else
        return metric->score(layer.weights(r, c), layer.activation_norms[c]) / divisor;
    }
    /// Of a layer without saliency, 1: its zeros stay zeros.
    [[nodiscard]] double norm() const {
      double sum = 0.0;
      for (std::size_t r = 0; r < layer.weights.rows; ++r)
        for (std::size_t c = 0; c < layer.weights.cols; ++c) sum += (*this)(r, c) * (*this)(r, c);
      return sum > 0 ? std::sqrt(sum) : 1.0;
    }
  };
};

}  // namespace pare
