#include "llama/block.hpp"

#include <algorithm>

#include "llama/kernels.hpp"
#include "llama/rope.hpp"

namespace llama {
using pare::MatrixView;
using pare::Result;

namespace {

MatrixView<float> matrix(std::vector<float>& memory, std::size_t rows, std::size_t cols) {
  memory.resize(std::max(memory.size(), rows * cols));
  return {memory.data(), rows, cols};
}

void add(MatrixView<const float> values, MatrixView<float> x, pare::Executor executor) {
  executor(x.rows, [&](std::size_t t) { llama::add(values.row(t), x.row(t), x.cols); });
}

}  // namespace

void normalize(MatrixView<const float> x, std::span<const float> weights, double epsilon, MatrixView<float> out,
               pare::Executor executor) {
  executor(x.rows, [&](std::size_t t) { normalize(x.row(t), weights.data(), epsilon, x.cols, out.row(t)); });
}

Result<void> run_block(const Config& config, std::span<const float> frequencies, const Block& block,
                       MatrixView<float> x, BlockCache& cache, std::size_t first, Workspace& workspace,
                       pare::Executor executor, InputObserver observe) {
  const std::size_t tokens = x.rows;
  const MatrixView normed = matrix(workspace.normed, tokens, config.hidden_size);
  const MatrixView projected = matrix(workspace.projected, tokens, config.hidden_size);
  const MatrixView queries = matrix(workspace.queries, tokens, config.query_size());
  const MatrixView keys = matrix(workspace.keys, tokens, config.kv_size());
  const MatrixView values = matrix(workspace.values, tokens, config.kv_size());
  const MatrixView attended = matrix(workspace.attended, tokens, config.query_size());
  const MatrixView gate = matrix(workspace.gate, tokens, config.intermediate_size);
  const MatrixView up = matrix(workspace.up, tokens, config.intermediate_size);
  Result<void> done;
  const auto apply = [&](LinearRole role, MatrixView<const float> in, MatrixView<float> out) {
    done = block[role].apply(in, out, executor);
    return done.has_value();
  };

  normalize(x, block.attention_norm, config.norm_epsilon, normed, executor);
  observe(LinearRole::query, normed);
  if (!apply(LinearRole::query, normed, queries) || !apply(LinearRole::key, normed, keys) ||
      !apply(LinearRole::value, normed, values))
    return done;
  executor(tokens, [&](std::size_t t) {
    for (const MatrixView<float> heads : {queries, keys})
      rotate({heads.row(t), 1, heads.cols}, config.head_dim, frequencies, first + t);
  });
  cache.store(first, keys, values);
  attend(config, queries, cache, first, attended, executor);
  observe(LinearRole::output, attended);
  if (!apply(LinearRole::output, attended, projected)) return done;
  add(projected, x, executor);

  normalize(x, block.mlp_norm, config.norm_epsilon, normed, executor);
  observe(LinearRole::gate, normed);
  if (!apply(LinearRole::gate, normed, gate) || !apply(LinearRole::up, normed, up)) return done;
  executor(tokens, [&](std::size_t t) { activate(gate.row(t), up.row(t), gate.cols); });
  observe(LinearRole::down, gate);
  if (!apply(LinearRole::down, gate, projected)) return done;
  add(projected, x, executor);
  return {};
}

}  // namespace llama
