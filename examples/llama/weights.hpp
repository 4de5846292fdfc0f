#pragma once

#include <cstddef>
#include <vector>

#include "llama/architecture.hpp"
#include "llama/config.hpp"
#include "llama/linear.hpp"
#include "llama/weight_files.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// The weights of one decoder block.
struct Block {
  std::vector<float> attention_norm;
  std::vector<float> mlp_norm;
  std::array<Linear, linear_names.size()> linears;

  [[nodiscard]] const Linear& operator[](LinearRole role) const noexcept {
    return linears[static_cast<std::size_t>(role)];
  }
  [[nodiscard]] Linear& operator[](LinearRole role) noexcept { return linears[static_cast<std::size_t>(role)]; }
};

/// The weights outside the blocks.
struct Ends {
  FloatMatrix embedding;
  std::vector<float> norm;
  Linear head;
};

/// Checks that the files hold every tensor that the configuration asks for, in its shape, without reading any. The
/// error is WeightFiles::require's.
pare::Result<void> check_weights(const WeightFiles& files, const Config& config);

/// Reads a linear layer. It stays in the files' memory where it can: the files must outlive it.
pare::Result<Linear> load_linear(const WeightFiles& files, const ExpectedTensor& expected);

/// Reads a block, its linear layers by load_linear or by `load`.
pare::Result<Block> load_block(const WeightFiles& files, const Config& config, std::size_t layer);
pare::Result<Block> load_block(const WeightFiles& files, const Config& config, std::size_t layer,
                               pare::FunctionRef<pare::Result<Linear>(const ExpectedTensor&)> load);

/// Reads embedding, final norm and head. Of a tied pair either may be missing.
pare::Result<Ends> load_ends(const WeightFiles& files, const Config& config);

}  // namespace llama
