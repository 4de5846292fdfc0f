#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "pare/prune/saliency.hpp"
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
    static_assert(WeightSaliency<Metric>,
                  "pare: Wanda, as every metric with score(weight, norm), needs the activation norms of each input "
                  "column: call pruner(weights, norms)");
    if constexpr (WeightSaliency<Metric>)
      return run(weights, [&](std::size_t r, std::size_t c) -> double { return metric.score(weights(r, c)); }, options);
  }

  /// The mask by weights and activation norms, norms[c] being that of column c, for metrics such as Wanda.
  Result<Mask> operator()(MatrixView<const float> weights, std::span<const float> activation_norms,
                          const PruneOptions& options = {}) const {
    static_assert(ActivationSaliency<Metric>,
                  "pare: Magnitude, as every metric with score(weight), takes no activation norms: call "
                  "pruner(weights)");
    if (activation_norms.size() != weights.cols)
      return Error{ErrorCode::invalid_argument, "pare: " + std::to_string(activation_norms.size()) +
                                                    " activation norms for " + std::to_string(weights.cols) +
                                                    " columns of weights"};
    for (std::size_t c = 0; c < weights.cols; ++c)
      if (!(activation_norms[c] >= 0 && std::isfinite(activation_norms[c])))
        return Error{ErrorCode::invalid_argument, "pare: the activation norm of column " + std::to_string(c) +
                                                      " is not a finite non-negative number"};
    if constexpr (ActivationSaliency<Metric>)
      return run(
          weights,
          [&](std::size_t r, std::size_t c) -> double { return metric.score(weights(r, c), activation_norms[c]); },
          options);
  }

  /// Either of the above on another library's matrix, such as Eigen::MatrixXf.
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
