#pragma once

#include <map>
#include <string>
#include <vector>

#include "io/quantize_file.hpp"
#include "llama/block_runner.hpp"
#include "llama/matrix_pruning.hpp"
#include "llama/perplexity.hpp"
#include "llama/weight_files.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// What takes a layer's place: `name` and `dtype` in the model, its weights, and what is known of the input that it
/// will have. For metrics with targets the weights are those that come closest to the dense model's outputs. Returns
/// the values that the layers after it are to see, rounded to the dtype by the caller.
using LayerPruner = pare::FunctionRef<pare::Result<std::vector<float>>(
    const std::string& name, pare::MatrixView<const float> weights, const LayerInput& input)>;

/// Takes calibration sequences through a model block by block and gives each linear layer to `prune`, in the order of
/// execution, with what the pruned layers before it give; for metrics that move no weights, the pruned blocks before
/// its own. Reads one block at a time; holds the hidden states of all tokens, twice for metrics with targets.
/// `progress` is told the blocks done. Errors: those of the files and of `prune`, by the names of file and tensor.
pare::Result<void> prune_blocks(const WeightFiles& files, const Config& config, const PruningMetric& metric,
                                const std::vector<Sequence>& sequences, LayerPruner prune, pare::Executor executor,
                                io::ProgressCallback progress);

}  // namespace llama
