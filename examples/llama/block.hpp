#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "llama/attention.hpp"
#include "llama/config.hpp"
#include "llama/weights.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/matrix.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// Memory that blocks reuse from call to call.
struct Workspace {
  std::vector<float> normed, queries, keys, values, attended, gate, up, projected;
};

/// Told what enters the linear layers, before they run: `first` is the layer, or the first of the layers, that read
/// `input`, [tokens, in]: query (and key and value), output, gate (and up), down.
using InputObserver = pare::FunctionRef<void(LinearRole first, pare::MatrixView<const float> input)>;
inline constexpr auto ignore_inputs = [](LinearRole, pare::MatrixView<const float>) {};

/// Runs one block on the residual stream `x`, [tokens, hidden_size], in place. Row t stands at position `first` + t;
/// the cache holds all earlier positions and receives these. Errors: those of Linear::apply.
pare::Result<void> run_block(const Config& config, std::span<const float> frequencies, const Block& block,
                             pare::MatrixView<float> x, BlockCache& cache, std::size_t first, Workspace& workspace,
                             pare::Executor executor, InputObserver observe = ignore_inputs);

/// Writes each row of `x` divided by its root mean square and multiplied by `weights`.
void normalize(pare::MatrixView<const float> x, std::span<const float> weights, double epsilon,
               pare::MatrixView<float> out, pare::Executor executor = pare::serial);

}  // namespace llama
