#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "llama/pruning.hpp"
#include "pare/calibration/calibration.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"
#include "pare/prune/prune.hpp"

namespace llama {

/// What is known of a layer's input.
struct LayerInput {
  std::vector<float> norms;  ///< of its channels over all calibration tokens
  std::optional<pare::SecondMoment<double>> moment;
};

/// Prunes a linear layer. Errors: those of check_pruning, an input that lacks what the metric reads, those of the
/// metric's algorithm.
pare::Result<pare::PrunedMatrix> prune_matrix(const Pruning& pruning, pare::MatrixView<const float> weights,
                                              const LayerInput& input, pare::Executor executor);

/// Which weights of a layer to keep, by a metric that moves none. Errors as above, and a metric that moves them.
pare::Result<pare::Mask> make_mask(const Pruning& pruning, pare::MatrixView<const float> weights,
                                   const std::vector<float>& norms, pare::Executor executor);

/// Prunes a linear layer and quantizes what is left from the same second moment: SparseGPT on a scheme's grid; where
/// the metric is refined, of the weights and zeros that it settles on. Errors as above, an unknown scheme, a metric
/// that reads no moment.
pare::Result<pare::PrunedCodes> prune_to_codes(const Pruning& pruning, std::string_view scheme,
                                               pare::MatrixView<const float> weights, const LayerInput& input,
                                               pare::Executor executor);

}  // namespace llama
