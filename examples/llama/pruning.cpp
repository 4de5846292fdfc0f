#include "llama/pruning.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "io/json.hpp"
#include "llama/block_runner.hpp"
#include "pare/prune/prune.hpp"

namespace llama {
using pare::Error;
using pare::ErrorCode;
using pare::MatrixView;
using pare::Result;

namespace {

template <class Structure>
Result<pare::Mask> make_mask_of(const Pruning& pruning, Structure structure, MatrixView<const float> weights,
                                const std::vector<float>& norms, pare::Executor executor) {
  if (pruning.metric == "magnitude")
    return pare::Pruner<pare::Magnitude, Structure>{.structure = structure}(weights, {.executor = executor});
  if (pruning.metric == "wanda")
    return pare::Pruner<pare::Wanda, Structure>{.structure = structure}(weights, norms, {.executor = executor});
  return Error{ErrorCode::invalid_argument,
               fmt::format("unknown metric {}; the known ones are magnitude, wanda", io::quote(pruning.metric))};
}

/// Squares of the inputs of a block's linear layers, summed over tokens.
class InputSquares {
 public:
  explicit InputSquares(const Config& config) {
    for (const LinearRole first : {LinearRole::query, LinearRole::output, LinearRole::gate, LinearRole::down})
      sums_[static_cast<std::size_t>(first)].assign(expected_linear(config, 0, first).shape[1], 0.0);
  }

  void add(LinearRole first, MatrixView<const float> input) {
    std::vector<double>& sums = sums_[static_cast<std::size_t>(first)];
    for (std::size_t t = 0; t < input.rows; ++t)
      for (std::size_t c = 0; c < input.cols; ++c) sums[c] += double{input(t, c)} * input(t, c);
  }

  /// The norms of the input that a layer reads, which may be that of a layer before it.
  [[nodiscard]] std::vector<float> norms(LinearRole role) const {
    std::size_t first = static_cast<std::size_t>(role);
    while (sums_[first].empty()) --first;
    std::vector<float> norms(sums_[first].size());
    std::ranges::transform(sums_[first], norms.begin(), [](double sum) { return static_cast<float>(std::sqrt(sum)); });
    return norms;
  }

 private:
  std::array<std::vector<double>, linear_names.size()> sums_;
};

/// Replaces a linear layer by its pruned self.
Result<void> prune_linear(const Pruning& pruning, const std::vector<float>& norms, Linear& linear,
                          pare::Executor executor) {
  const MatrixView<const float> weights = linear.floats()->view();
  const auto mask = make_mask(pruning, weights, norms, executor);
  if (!mask) return mask.error();
  auto pruned = std::make_shared<std::vector<float>>(weights.rows * weights.cols);
  auto done = pare::apply(*mask, weights, MatrixView<float>(pruned->data(), weights.rows, weights.cols),
                          {.executor = executor});
  if (!done) return done;
  linear = Linear(FloatMatrix::owning(std::move(pruned), weights.shape()));
  return {};
}

}  // namespace

Result<pare::Mask> make_mask(const Pruning& pruning, MatrixView<const float> weights, const std::vector<float>& norms,
                             pare::Executor executor) {
  if (pruning.structure == "unstructured")
    return make_mask_of(pruning, pare::Unstructured<pare::PerRow>{pruning.sparsity}, weights, norms, executor);
  if (pruning.structure == "per-layer")
    return make_mask_of(pruning, pare::Unstructured<pare::PerLayer>{pruning.sparsity}, weights, norms, executor);
  if (pruning.structure == "2:4") return make_mask_of(pruning, pare::NofM<2, 4>{}, weights, norms, executor);
  if (pruning.structure == "4:8") return make_mask_of(pruning, pare::NofM<4, 8>{}, weights, norms, executor);
  return Error{ErrorCode::invalid_argument,
               fmt::format("unknown structure {}; the known ones are unstructured, per-layer, 2:4, 4:8",
                           io::quote(pruning.structure))};
}

Result<ActivationNorms> calibrate(const WeightFiles& files, const Config& config, const Pruning& pruning,
                                  const std::vector<Sequence>& sequences, pare::Executor executor,
                                  io::ProgressCallback progress) {
  if (auto complete = check_weights(files, config); !complete) return std::move(complete).error();
  if (auto floats = files.require_floats(); !floats) return std::move(floats).error();
  auto streams = embed_all(files, config, sequences);
  if (!streams) return std::move(streams).error();
  BlockRunner runner(config, *streams, executor);
  ActivationNorms norms;
  for (std::size_t layer = 0; layer < config.layers; ++layer) {
    auto block = load_block(files, config, layer);
    if (!block) return std::move(block).error();

    InputSquares squares(config);
    const auto observe = [&](LinearRole first, MatrixView<const float> input) { squares.add(first, input); };
    Stream copy;
    for (const Stream& stream : *streams) {
      copy = stream;
      if (auto done = runner.run(*block, copy, observe); !done) return std::move(done).error();
    }
    for (const LinearRole role : linear_roles) {
      const std::string name = expected_linear(config, layer, role).name;
      const auto of_input = std::make_shared<const std::vector<float>>(squares.norms(role));
      norms.emplace(name, of_input);
      auto done = prune_linear(pruning, *of_input, (*block)[role], executor);
      if (!done)
        return Error{done.error().code,
                     fmt::format("{}: tensor {}: {}", files.name(), io::quote(name), done.error().message)};
      if (const auto tensor = files.read(name)) files.release(tensor->bytes);
    }
    for (Stream& stream : *streams)
      if (auto done = runner.run(*block, stream, ignore_inputs); !done) return std::move(done).error();
    progress(layer + 1, config.layers);
  }
  return norms;
}

}  // namespace llama
