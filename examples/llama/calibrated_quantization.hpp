#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/quantize_file.hpp"
#include "llama/block_store.hpp"
#include "llama/perplexity.hpp"
#include "llama/weight_files.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// How linear layers are quantized with the help of what flows into them.
struct CalibratedQuantization {
  std::string scheme;           ///< of pare's catalog
  std::string method = "gptq";  ///< of calibrated_methods()
};

/// A method's name, and what --help says of it.
struct CalibratedMethod {
  std::string_view name;
  std::string_view summary;
  bool calibrates = true;  ///< whether it needs sequences
};
const std::vector<CalibratedMethod>& calibrated_methods();

/// Quantizes a model block by block, and within a block layer by layer in the order of execution, each with the inputs
/// that the quantized layers before it give. Finished blocks go to `store`, norms included that took scales in, and
/// those that are there are not computed again. Reads one block at a time; holds the hidden states of all tokens and
/// the second moment of one layer's input; for methods that match the float model's outputs, those of the float model
/// too, and a matrix of twice the size of each weight that reads the same input. `progress` is told the blocks done.
/// Errors: an unknown scheme or method, those of the files and of the method, by the names of file and tensor.
pare::Result<void> quantize_blocks(const WeightFiles& files, const Config& config, const CalibratedQuantization& how,
                                   const std::vector<Sequence>& sequences, const BlockStore& store,
                                   pare::Executor executor, io::ProgressCallback progress);

}  // namespace llama
