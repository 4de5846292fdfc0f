#pragma once

#include <cstddef>
#include <vector>

#include "io/quantize_file.hpp"
#include "llama/perplexity.hpp"
#include "llama/pruned_layers.hpp"
#include "llama/pruning.hpp"
#include "llama/weight_files.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"
#include "pare/prune/prune.hpp"

namespace llama {

/// The sizes of a model that has become smaller, and the blocks that are left of the old ones.
struct SmallerModel {
  Config config;
  std::vector<std::size_t> blocks;  ///< empty: all
};

/// How the linear layers of one block share channels: the hidden states, which are fixed, the neurons of the MLP, and
/// the heads of attention, of which each head of keys and values goes with the queries that read it. Tensors have the
/// names of linear_names.
struct BlockGraph {
  pare::ChannelGraph graph;
  std::size_t neurons = 0;   ///< the value that the last layer of the MLP takes
  std::size_t attended = 0;  ///< the value that the last layer of attention takes
};
BlockGraph block_graph(const Config& config);

/// Takes neurons, heads, both or layers away, int(count * sparsity) of each block's or of the model's, the least
/// important ones: config.json has one width for all layers. The layer that read what is gone takes over as well as it
/// can, by least squares towards the dense model's outputs over the calibration tokens; in each block with the inputs
/// that the smaller blocks before it give. Changed layers go to `layers`. Errors: those of check_pruning and of the
/// files, a sparsity that takes nothing, or everything, away.
pare::Result<SmallerModel> prune_structure(const WeightFiles& files, const Config& config, const Pruning& pruning,
                                           const std::vector<Sequence>& sequences, PrunedLayers& layers,
                                           pare::Executor executor, io::ProgressCallback progress);

}  // namespace llama
