#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "llama/block.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// Puts the channels that enter a block's output or down projection in descending order of these magnitudes, as QoQ
/// (Lin et al., QServe, 2024) does so that groups hold channels of like size: the neurons of the MLP, and the channels
/// of each head of values, which the heads that share it have in the same order. The block computes what it did.
/// Errors: those of pare::salient_order.
pare::Result<void> order_channels(const Config& config, std::span<const float> magnitudes, LinearRole role,
                                  Block& block);

/// QoQ's SmoothAttention for a block: a few channels of the keys are much larger than the others, which a cache of 4
/// bits does not bear.
class KeySmoothing {
 public:
  explicit KeySmoothing(const Config& config) : config_(config), largest_(config.kv_heads * config.head_dim, 0.0f) {}

  /// Sees the keys of some tokens, [tokens, hidden], that enter the attention's projections.
  void add(pare::MatrixView<const float> tokens, const Block& block, pare::Executor executor);
  /// Divides the keys by the root of what is largest in their channels, and multiplies the queries by it. The block
  /// computes what it did. Errors: no token seen, those of
  /// pare::SmoothAttention.
  pare::Result<void> fold(Block& block) const;

 private:
  const Config& config_;
  std::vector<float> largest_, keys_;
};

}  // namespace llama
