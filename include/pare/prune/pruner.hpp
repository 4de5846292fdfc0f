#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "pare/prune/saliency.hpp"
#include "pare/prune/selection.hpp"
#include "pare/prune/structure.hpp"

namespace pare {

/// Decides which weights to prune: the least salient by `metric` that `structure` allows. The result keeps 1 for each
/// weight to keep; the weights are only read, and `apply(mask, weights)` prunes them. A weight is [out, in], where the
/// l2 norms are those of its input columns over the calibration tokens; a convolution is [out, in * kh * kw], and a
/// norm goes over its im2col rows. Reads each weight a few times, O(rows * cols); beside the mask it allocates at most
/// 64 rows of eight-byte keys (PerRow) or 8 MiB of counters (the layer scopes).
///
/// Errors: a view with elements but no data, norms that are not one finite non-negative number for each column, an
/// option that the structure rejects, out_of_memory.
template <class Metric, class Pattern>
struct Pruner {
  static_assert(Saliency<Metric>,
                "pare: the first parameter of Pruner must be a Saliency such as Magnitude or Wanda: give it a const "
                "member score(float weight) or score(float weight, float norm) that returns a number");
  static_assert(Structure<Pattern>,
                "pare: the second parameter of Pruner must be a Structure such as Unstructured<PerRow> or NofM<2, 4>: "
                "give it a const member select(scores, mask, options) that returns Result<void>");

  [[no_unique_address]] Metric metric{};
  [[no_unique_address]] Pattern structure{};

  /// The mask by weights alone, for metrics such as Magnitude.
  Result<Mask> operator()(MatrixView<const float> weights, const PruneOptions& options = {}) const {
    static_assert(WeightSaliency<Metric> || PlaceSaliency<Metric> || !ActivationSaliency<Metric>,
                  "pare: Wanda, as every metric with score(weight, norm), needs the activation norms of each input "
                  "column: call pruner(weights, norms)");
    static_assert(WeightSaliency<Metric> || PlaceSaliency<Metric> || !GradientSaliency<Metric>,
                  "pare: Taylor, as every metric with score(weight, gradient), needs the gradient of each weight: call "
                  "pruner(weights, gradients)");
    if constexpr (WeightSaliency<Metric>)
      return run(weights, [&](std::size_t r, std::size_t c) -> double { return metric.score(weights(r, c)); }, options);
    else if constexpr (PlaceSaliency<Metric>)
      return run(weights, [&](std::size_t r, std::size_t c) -> double { return metric.score_at(r, c); }, options);
  }

  /// The mask by weights and activation norms, norms[c] being that of column c, for metrics such as Wanda.
  Result<Mask> operator()(MatrixView<const float> weights, std::span<const float> activation_norms,
                          const PruneOptions& options = {}) const {
    static_assert(ActivationSaliency<Metric>,
                  "pare: Magnitude, as every metric with score(weight), takes no activation norms: call "
                  "pruner(weights)");
    if (Result<void> ok = detail::check_norms(activation_norms, weights.cols); !ok) return std::move(ok).error();
    if constexpr (ActivationSaliency<Metric>)
      return run(
          weights,
          [&](std::size_t r, std::size_t c) -> double { return metric.score(weights(r, c), activation_norms[c]); },
          options);
  }

  /// The mask by weights and their gradients, a matrix of the same shape, for metrics such as Taylor.
  Result<Mask> operator()(MatrixView<const float> weights, MatrixView<const float> gradients,
                          const PruneOptions& options = {}) const
    requires GradientSaliency<Metric>
  {
    if (gradients.shape() != weights.shape())
      return detail::shape_error("the gradient", gradients.shape(), weights.shape());
    if (Result<void> ok = detail::check_input(gradients, "the gradient"); !ok) return std::move(ok).error();
    return run(
        weights,
        [&](std::size_t r, std::size_t c) -> double { return metric.score(weights(r, c), Gradient{gradients(r, c)}); },
        options);
  }

  /// Any of the above on another library's matrix, such as Eigen::MatrixXf.
  template <StridedMatrix M, class... Rest>
  Result<Mask> operator()(const M& weights, const Rest&... rest) const {
    return (*this)(MatrixView<const float>(view(weights)), rest...);
  }

 private:
  template <class Scores>
  Result<Mask> run(MatrixView<const float> weights, const Scores& scores, const PruneOptions& options) const {
    if (!weights.empty() && weights.data == nullptr)
      return Error{ErrorCode::invalid_argument, "pare: the weight matrix is a null pointer"};
    auto mask = Mask::create(weights.shape(), options.memory);
    if (!mask) return mask;
    if (auto selected = structure.select(scores, *mask, options); !selected) return std::move(selected).error();
    return mask;
  }
};

}  // namespace pare
