#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/quantize_file.hpp"
#include "llama/model.hpp"
#include "llama/perplexity.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"
#include "pare/tensor/mask.hpp"

namespace llama {

/// How to prune, in the words of the command line.
struct Pruning {
  std::string metric = "magnitude";        ///< magnitude, wanda
  std::string structure = "unstructured";  ///< unstructured (a share of each row), per-layer, 2:4, 4:8
  double sparsity = 0.5;                   ///< the share to prune, where the structure does not fix it
};

/// For each linear layer the l2 norms of its input columns over the calibration tokens.
using ActivationNorms = std::map<std::string, std::shared_ptr<const std::vector<float>>, std::less<>>;

/// Which weights of a linear layer to keep; `norms` is read by wanda only. Errors: an unknown metric or structure, a
/// sparsity outside [0, 1], norms that do not fit.
pare::Result<pare::Mask> make_mask(const Pruning& pruning, pare::MatrixView<const float> weights,
                                   const std::vector<float>& norms, pare::Executor executor);

/// Runs calibration sequences through the model block by block, each block seeing what the pruned blocks before it
/// give, and returns the norms by the names of the linear layers. Reads one block at a time; holds the hidden states of
/// all tokens. Sequences are cut at `window` tokens. `progress` is told the blocks done.
pare::Result<ActivationNorms> calibrate(const WeightFiles& files, const Config& config, const Pruning& pruning,
                                        const std::vector<Sequence>& sequences, pare::Executor executor,
                                        io::ProgressCallback progress);

}  // namespace llama
