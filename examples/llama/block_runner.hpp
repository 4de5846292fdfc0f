#pragma once

#include <cstddef>
#include <vector>

#include "llama/block.hpp"
#include "llama/perplexity.hpp"
#include "llama/weight_files.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// A sequence's hidden states before the next block.
struct Stream {
  std::size_t tokens = 0;
  std::vector<float> hidden;
};

/// The sequences before the first block. Errors: those of load_ends, an id outside the vocabulary.
pare::Result<std::vector<Stream>> embed_all(const WeightFiles& files, const Config& config,
                                            const std::vector<Sequence>& sequences);

/// Runs single blocks over whole sequences.
class BlockRunner {
 public:
  /// Has room for the longest of the streams.
  BlockRunner(const Config& config, const std::vector<Stream>& streams, pare::Executor executor);

  /// Takes a sequence through a block, in place. `observe` is told the inputs of the linear layers in pieces of a few
  /// tokens.
  pare::Result<void> run(const Block& block, Stream& stream, InputObserver observe);

 private:
  const Config& config_;
  std::vector<float> frequencies_;
  BlockCache cache_;
  Workspace workspace_;
  pare::Executor executor_;
};

}  // namespace llama
