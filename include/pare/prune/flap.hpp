#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "pare/calibration/calibration.hpp"
#include "pare/prune/structure.hpp"

namespace pare {

/// How FLAP (An et al., "Fluctuation-based Adaptive Structured Pruning for Large Language Models", 2023) judges an
/// input channel j of a layer.
enum class FlapMetric {
  wifv,  ///< the channel's fluctuation times the sum of W_ij^2
  ifv,   ///< the channel's fluctuation
  wifn,  ///< the mean of |W_ij| times the channel's l2 norm per sample
};

/// The importance of each input channel of a weight [out, in]. Errors: weights that are not finite, statistics of other
/// channels or of no sample, or of one sample where fluctuations are asked for.
inline Result<Array<double>> flap_importance(FlapMetric metric, MatrixView<const float> weights,
                                             const InputFluctuation& inputs, const PruneOptions& options = {}) {
  if (Result<void> ok = check_finite(weights, "the weight"); !ok) return std::move(ok).error();
  if (inputs.channels() != weights.cols)
    return Error{ErrorCode::invalid_argument, "pare: the input statistics have " + std::to_string(inputs.channels()) +
                                                  " channels where the weight has " + std::to_string(weights.cols) +
                                                  " columns"};
  if (const std::size_t needed = metric == FlapMetric::wifn ? 1 : 2; inputs.samples() < needed)
    return Error{ErrorCode::invalid_argument, "pare: this metric needs input statistics of at least " +
                                                  std::to_string(needed) + " samples, they have " +
                                                  std::to_string(inputs.samples())};
  auto result = Array<double>::create(weights.cols, options.memory);
  if (!result) return result;
  for (std::size_t r = 0; r < weights.rows && metric != FlapMetric::ifv; ++r)
    for (std::size_t c = 0; c < weights.cols; ++c) {
      const double w = weights(r, c);
      (*result)[c] += metric == FlapMetric::wifv ? w * w : std::fabs(w) / static_cast<double>(weights.rows);
    }
  for (std::size_t c = 0; c < weights.cols; ++c) {
    const double fluctuation = inputs.fluctuation()[c];
    if (metric == FlapMetric::ifv) (*result)[c] = fluctuation;
    if (metric == FlapMetric::wifv) (*result)[c] *= fluctuation;
    if (metric == FlapMetric::wifn)
      (*result)[c] *= std::sqrt(inputs.squares()[c] / static_cast<double>(inputs.samples()));
  }
  return result;
}

/// What can be removed of one layer: runs of input channels, as the heads of attention's output projection or the
/// single neurons of an MLP's.
struct FlapUnits {
  std::span<const double> importance;  ///< of each channel, finite
  std::size_t width = 1;               ///< channels in a unit; divides them
  int power = 1;                       ///< importance counts to this power; FLAP gives attention 2
  double cost = 1.0;  ///< weights in a unit, in any measure; FLAP's code has 1 for a neuron, 170 for a head of 128
};

/// What is kept of several layers: a mask [1, units] each.
struct FlapSelection {
  std::vector<Mask> masks;
  double threshold = 0.0;  ///< of the standardized importance: units above it are kept
};

namespace detail {

inline Result<void> check_units(const FlapUnits& units) {
  if (units.width == 0 || units.importance.size() % units.width != 0)
    return Error{ErrorCode::invalid_argument, "pare: " + std::to_string(units.importance.size()) +
                                                  " channels are not whole units of " + std::to_string(units.width)};
  if (!(units.cost > 0 && std::isfinite(units.cost)))
    return Error{ErrorCode::invalid_argument, "pare: the cost of a unit must be a positive number"};
  for (const double importance : units.importance)
    if (!std::isfinite(std::pow(importance, units.power)))
      return Error{ErrorCode::invalid_argument, "pare: the importance of a channel is not finite"};
  return {};
}

/// The mean of the units' channels, which are first standardized over the layer where `standardize`: less their mean,
/// divided by their standard deviation (unbiased; channels that are all alike are 0).
inline std::vector<double> unit_scores(const FlapUnits& units, bool standardize) {
  std::vector<double> channels(units.importance.size());
  for (std::size_t c = 0; c < channels.size(); ++c) channels[c] = std::pow(units.importance[c], units.power);
  const auto count = static_cast<double>(channels.size());
  if (standardize) {
    const double mean = std::accumulate(channels.begin(), channels.end(), 0.0) / count;
    double squares = 0.0;
    for (const double x : channels) squares += (x - mean) * (x - mean);
    const double deviation = squares > 0 ? std::sqrt(squares / (count - 1.0)) : 1.0;
    for (double& x : channels) x = (x - mean) / deviation;
  }
  std::vector<double> scores(channels.size() / units.width, 0.0);
  for (std::size_t c = 0; c < channels.size(); ++c) scores[c / units.width] += channels[c];
  for (double& score : scores) score /= static_cast<double>(units.width);
  return scores;
}

/// A unit of some layer, in the order in which units are removed.
struct RankedUnit {
  double score = 0.0;
  double cost = 0.0;

  bool operator<(const RankedUnit& b) const noexcept { return score != b.score ? score < b.score : cost < b.cost; }
};

/// Keeps the scores above `threshold` and, where `ties`, those at it.
inline Result<FlapSelection> keep_above(const std::vector<std::vector<double>>& scores, double threshold, bool ties,
                                        const PruneOptions& options) {
  FlapSelection selection{.masks = {}, .threshold = threshold};
  for (const std::vector<double>& layer : scores) {
    auto mask = Mask::create({1, layer.size()}, options.memory);
    if (!mask) return std::move(mask).error();
    for (std::size_t u = 0; u < layer.size(); ++u)
      mask->set(0, u, layer[u] > threshold || (ties && layer[u] == threshold));
    selection.masks.push_back(*std::move(mask));
  }
  return selection;
}

/// The standardized scores of all layers, and all of their units in ascending order.
inline Result<std::vector<std::vector<double>>> rank_units(std::span<const FlapUnits> layers,
                                                           std::vector<RankedUnit>& ranked) {
  std::vector<std::vector<double>> scores;
  for (const FlapUnits& units : layers) {
    if (Result<void> ok = check_units(units); !ok) return std::move(ok).error();
    scores.push_back(unit_scores(units, true));
    for (const double score : scores.back()) ranked.push_back({score, units.cost});
  }
  std::sort(ranked.begin(), ranked.end());
  return scores;
}

}  // namespace detail

/// FLAP's UL-UM and UL-MM: a mask [1, units] that removes the `removed` least important units of one layer and keeps
/// all that tie with the first of the others; int(units * ratio) is the uniform choice. Errors: more units than there
/// are, units that check fails for.
inline Result<Mask> flap_uniform(const FlapUnits& units, std::size_t removed, const PruneOptions& options = {}) {
  if (Result<void> ok = detail::check_units(units); !ok) return std::move(ok).error();
  std::vector<std::vector<double>> scores{detail::unit_scores(units, false)};
  std::vector<double> sorted = scores.front();
  if (removed > sorted.size())
    return Error{ErrorCode::invalid_argument, "pare: " + std::to_string(removed) + " units cannot go where there are " +
                                                  std::to_string(sorted.size())};
  std::sort(sorted.begin(), sorted.end());
  const bool all = removed == sorted.size();
  auto kept = detail::keep_above(scores, all ? HUGE_VAL : sorted[removed], !all, options);
  if (!kept) return std::move(kept).error();
  return std::move(kept->masks.front());
}

/// FLAP's AL-MM: removes the `removed` least important units of all layers together, and what ties with the last of
/// them; importance is standardized within each layer. Errors as flap_uniform's.
inline Result<FlapSelection> flap_adaptive_count(std::span<const FlapUnits> layers, std::size_t removed,
                                                 const PruneOptions& options = {}) {
  std::vector<detail::RankedUnit> ranked;
  auto scores = detail::rank_units(layers, ranked);
  if (!scores) return std::move(scores).error();
  if (removed > ranked.size())
    return Error{ErrorCode::invalid_argument, "pare: " + std::to_string(removed) + " units cannot go where there are " +
                                                  std::to_string(ranked.size())};
  return detail::keep_above(*scores, removed == 0 ? -HUGE_VAL : ranked[removed - 1].score, false, options);
}

/// FLAP's AL-AM, its default: as AL-MM, with as many units as bring the cost of what is kept nearest to 1 - ratio of
/// the whole. The last unit counted towards that is removed itself. Errors as flap_uniform's, and a ratio outside
/// [0, 1].
inline Result<FlapSelection> flap_adaptive(std::span<const FlapUnits> layers, double ratio,
                                           const PruneOptions& options = {}) {
  if (!(ratio >= 0 && ratio <= 1))
    return Error{ErrorCode::invalid_argument, "pare: the ratio must lie in [0, 1], it is " + std::to_string(ratio)};
  std::vector<detail::RankedUnit> ranked;
  auto scores = detail::rank_units(layers, ranked);
  if (!scores) return std::move(scores).error();
  double total = 0.0;
  for (const detail::RankedUnit& unit : ranked) total += unit.cost;
  double threshold = -HUGE_VAL;
  if (ratio > 0) {
    double nearest = HUGE_VAL, kept = 0.0;
    for (std::size_t i = ranked.size(); i-- > 0;) {
      kept += ranked[i].cost;
      if (const double distance = std::fabs(kept - total * (1.0 - ratio)); distance < nearest) {
        nearest = distance;
        threshold = ranked[i].score;
      }
    }
  }
  return detail::keep_above(*scores, threshold, false, options);
}

/// What a layer's output loses on average with the units that a mask [1, units] removes, to be added to its bias: the
/// weight [out, in] times the mean of the removed input channels. Errors: statistics of other channels, a mask that is
/// not of whole units.
inline Result<Array<float>> flap_bias(MatrixView<const float> weights, const InputFluctuation& inputs, MaskView kept,
                                      const PruneOptions& options = {}) {
  if (Result<void> ok = check_finite(weights, "the weight"); !ok) return std::move(ok).error();
  if (inputs.channels() != weights.cols || kept.rows != 1 || kept.cols == 0 || weights.cols % kept.cols != 0)
    return Error{ErrorCode::invalid_argument, "pare: a weight of " + std::to_string(weights.cols) +
                                                  " columns needs as many channels of input statistics, and a mask of "
                                                  "one row whose units divide them"};
  const std::size_t width = weights.cols / kept.cols;
  auto bias = Array<float>::create(weights.rows, options.memory);
  if (bias)
    options.executor(weights.rows, [&](std::size_t r) {
      double sum = 0.0;
      for (std::size_t c = 0; c < weights.cols; ++c)
        if (!kept.test(0, c / width)) sum += double{weights(r, c)} * inputs.mean()[c];
      (*bias)[r] = static_cast<float>(sum);
    });
  return bias;
}

}  // namespace pare
