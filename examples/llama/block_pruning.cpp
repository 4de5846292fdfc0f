#include "llama/block_pruning.hpp"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <utility>

#include "io/json.hpp"
#include "llama/block_stages.hpp"
#include "llama/elements.hpp"

namespace llama {
using pare::Error;
using pare::MatrixView;
using pare::Result;

namespace {

constexpr double damping = 0.01;

/// Puts what `prune` makes of a layer in its place; `target` is what its outputs ought to be, or nullptr.
Result<void> replace(io::DType dtype, const std::string& name, const pare::OutputTarget* target,
                     const LayerInput& input, LayerPruner prune, Linear& linear) {
  const MatrixView<const float> weights = linear.floats()->view();
  std::optional<pare::Matrix<float>> closest;
  if (target != nullptr) {
    auto found = target->weights(weights, *input.moment, damping);
    if (!found) return std::move(found).error();
    closest = *std::move(found);
  }
  auto pruned = prune(name, closest ? MatrixView<const float>(closest->view()) : weights, input);
  if (!pruned) return std::move(pruned).error();
  std::vector<std::byte> elements(pruned->size() * io::bits(dtype) / 8);
  from_floats(dtype, *pruned, elements);
  to_floats(dtype, elements, *pruned);
  linear = Linear(FloatMatrix::owning(std::make_shared<const std::vector<float>>(*std::move(pruned)), linear.shape()));
  return {};
}

}  // namespace

Result<void> prune_blocks(const WeightFiles& files, const Config& config, const PruningMetric& metric,
                          const std::vector<Sequence>& sequences, LayerPruner prune, pare::Executor executor,
                          io::ProgressCallback progress) {
  if (auto complete = check_weights(files, config); !complete) return complete;
  if (auto floats = files.require_floats(); !floats) return floats;
  auto streams =
      CalibrationStreams::create(files, config, sequences, {.moment = metric.moment, .targets = metric.targets});
  if (!streams) return std::move(streams).error();
  for (std::size_t index = 0; index < config.layers; ++index) {
    auto block = load_block(files, config, index);
    if (!block) return std::move(block).error();
    const Block dense = *block;
    for (const Stage stage : stages) {
      auto statistics = streams->gather(config, index, dense, config, metric.layers ? *block : dense, stage, executor);
      if (!statistics) return std::move(statistics).error();
      const auto norms = statistics->channels.norms();
      if (!norms) return norms.error();
      const LayerInput input{{norms->begin(), norms->end()}, std::move(statistics->moment)};
      for (std::size_t i = 0; i < stage.size(); ++i) {
        const std::string name = expected_linear(config, index, stage[i]).name;
        const auto done = replace(files.find(name)->dtype, name, metric.targets ? &statistics->targets[i] : nullptr,
                                  input, prune, (*block)[stage[i]]);
        if (!done)
          return Error{done.error().code,
                       fmt::format("{}: tensor {}: {}", files.name(), io::quote(name), done.error().message)};
      }
    }
    if (index + 1 < config.layers)
      if (auto done = streams->advance(config, dense, config, *block, executor); !done) return done;
    for (const LinearRole role : linear_roles)
      if (const auto tensor = files.read(expected_linear(config, index, role).name)) files.release(tensor->bytes);
    progress(index + 1, config.layers);
  }
  return {};
}

}  // namespace llama
