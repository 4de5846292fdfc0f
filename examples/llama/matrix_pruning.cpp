#include "llama/matrix_pruning.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>
#include <variant>

#include "io/json.hpp"
#include "pare/quantize/quantize.hpp"

namespace llama {
using pare::Error;
using pare::ErrorCode;
using pare::Mask;
using pare::MatrixView;
using pare::Options;
using pare::PrunedMatrix;
using pare::Result;

namespace {

constexpr double damping = 0.01;

/// A share of each row, or of the layer wherever it lies.
struct Share {
  bool rows = true;
  double sparsity = 0.5;

  template <class Scores>
  Result<void> select(const Scores& scores, Mask& mask, const Options& options) const {
    return rows ? pare::Unstructured<pare::PerRow>{sparsity}.select(scores, mask, options)
                : pare::Unstructured<pare::PerLayer>{sparsity}.select(scores, mask, options);
  }
};

using Pattern = std::variant<Share, pare::AnyNofM, pare::AdaptiveRows, pare::WeightBlocks>;

/// A structure whose zeros can be chosen while the weights that stay move.
template <class Structure>
inline constexpr bool follows_moves = std::is_same_v<Structure, Share> || std::is_same_v<Structure, pare::AnyNofM>;

Result<Pattern> find_pattern(const Pruning& pruning) {
  if (auto good = check_pruning(pruning); !good) return std::move(good).error();
  if (is_physical(pruning.structure))
    return Error{ErrorCode::invalid_argument,
                 fmt::format("structure {} takes more than single weights away", pruning.structure)};
  if (const auto groups = parse_numbers(pruning.structure, ':'))
    return Pattern(pare::AnyNofM{(*groups)[0], (*groups)[1]});
  if (const auto block = parse_numbers(pruning.structure, 'x'))
    return Pattern(pare::WeightBlocks{(*block)[0], (*block)[1], pruning.sparsity});
  if (pruning.structure == "adaptive") return Pattern(pare::AdaptiveRows{pruning.sparsity});
  return Pattern(Share{pruning.structure == "unstructured", pruning.sparsity});
}

/// The mask by a saliency that is known of each weight.
template <class Structure>
Result<Mask> mask_by_saliency(std::string_view metric, const Structure& structure, MatrixView<const float> weights,
                              const std::vector<float>& norms, const Options& options) {
  auto mask = Mask::create(weights.shape(), options.memory);
  if (!mask) return mask;
  const bool by_inputs = metric == "wanda", random = metric == "random";
  if (by_inputs)
    if (auto good = pare::detail::check_norms(norms, weights.cols); !good) return std::move(good).error();
  const auto scores = [&](std::size_t r, std::size_t c) {
    if (random) return pare::Random{}.score_at(r, c);
    return by_inputs ? pare::Wanda{}.score(weights(r, c), norms[c]) : pare::Magnitude{}.score(weights(r, c));
  };
  if (auto selected = structure.select(scores, *mask, options); !selected) return std::move(selected).error();
  return mask;
}

std::size_t group_of(const Share&) { return 0; }
std::size_t group_of(const pare::AnyNofM& groups) { return groups.of; }

Result<PrunedMatrix> remove_exactly(const Share& share, MatrixView<const float> weights,
                                    const pare::SecondMoment<double>& moment, const Options& options) {
  const pare::Obc obc{.damping = damping};
  return share.rows ? obc(pare::Unstructured<pare::PerRow>{share.sparsity}, weights, moment, options)
                    : obc(pare::Unstructured<pare::PerLayer>{share.sparsity}, weights, moment, options);
}
Result<PrunedMatrix> remove_exactly(const pare::AnyNofM& groups, MatrixView<const float> weights,
                                    const pare::SecondMoment<double>& moment, const Options& options) {
  return pare::Obc{.damping = damping}(groups, weights, moment, options);
}

template <class Structure>
Result<PrunedMatrix> prune_by(std::string_view metric, const Structure& structure, MatrixView<const float> weights,
                              const LayerInput& input, const Options& options) {
  if constexpr (follows_moves<Structure>) {
    if (metric == "obc") return remove_exactly(structure, weights, *input.moment, options);
    if (metric == "sparsegpt" || metric == "refined") {
      auto pruned = pare::SparseGpt{.damping = {.fraction = damping}}(structure, weights, *input.moment, options);
      if (!pruned || metric == "sparsegpt") return pruned;
      return pare::MaskSwaps{.group = group_of(structure), .damping = damping}(std::move(pruned->mask), weights,
                                                                               *input.moment, options);
    }
  }
  auto mask = mask_by_saliency(metric, structure, weights, input.norms, options);
  if (!mask) return std::move(mask).error();
  auto kept = pare::Matrix<float>::create(weights.shape(), options.memory);
  if (!kept) return std::move(kept).error();
  if (auto done = pare::apply(*mask, weights, kept->view(), options); !done) return std::move(done).error();
  return PrunedMatrix{*std::move(kept), *std::move(mask)};
}

/// Success where the input has what the metric reads.
Result<PruningMetric> check_input(const Pruning& pruning, const LayerInput& input) {
  auto metric = find_metric(pruning.metric);
  if (metric && metric->moment && !input.moment)
    return Error{ErrorCode::invalid_argument, fmt::format("metric {} needs calibration", pruning.metric)};
  return metric;
}

}  // namespace

Result<PrunedMatrix> prune_matrix(const Pruning& pruning, MatrixView<const float> weights, const LayerInput& input,
                                  pare::Executor executor) {
  const auto metric = check_input(pruning, input);
  if (!metric) return metric.error();
  const auto pattern = find_pattern(pruning);
  if (!pattern) return pattern.error();
  return std::visit(
      [&](const auto& structure) { return prune_by(metric->name, structure, weights, input, {.executor = executor}); },
      *pattern);
}

Result<Mask> make_mask(const Pruning& pruning, MatrixView<const float> weights, const std::vector<float>& norms,
                       pare::Executor executor) {
  const auto metric = find_metric(pruning.metric);
  if (!metric) return metric.error();
  if (metric->moment)
    return Error{ErrorCode::invalid_argument, fmt::format("metric {} needs calibration", pruning.metric)};
  const auto pattern = find_pattern(pruning);
  if (!pattern) return pattern.error();
  return std::visit(
      [&](const auto& structure) {
        return mask_by_saliency(metric->name, structure, weights, norms, {.executor = executor});
      },
      *pattern);
}

Result<pare::PrunedCodes> prune_to_codes(const Pruning& pruning, std::string_view scheme,
                                         MatrixView<const float> weights, const LayerInput& input,
                                         pare::Executor executor) {
  const auto metric = check_input(pruning, input);
  if (!metric) return metric.error();
  if (!metric->moment || metric->name == "obc")
    return Error{ErrorCode::invalid_argument,
                 fmt::format("metric {} does not quantize; sparsegpt and refined do", pruning.metric)};
  const auto pattern = find_pattern(pruning);
  if (!pattern) return pattern.error();
  const auto grid = pare::AnyGrid::named(scheme);
  if (!grid) return grid.error();
  const Options options{.executor = executor};
  return std::visit(
      [&]<class Structure>(const Structure& structure) -> Result<pare::PrunedCodes> {
        if constexpr (follows_moves<Structure>) {
          pare::SparseGpt sparse_gpt{.damping = {.fraction = damping}};
          if (metric->name == "sparsegpt") return sparse_gpt(structure, *grid, weights, *input.moment, options);
          const auto pruned = prune_by(metric->name, structure, weights, input, options);
          if (!pruned) return pruned.error();
          // All columns are decided at once, when the zeros are still those of the least saliency.
          sparse_gpt.block = 0;
          return sparse_gpt(structure, *grid, pruned->weights.view(), *input.moment, options);
        }
        return Error{ErrorCode::invalid_argument,
                     fmt::format("structure {} has no zeros and codes at once", pruning.structure)};
      },
      *pattern);
}

}  // namespace llama
