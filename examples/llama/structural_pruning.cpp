#include "llama/structural_pruning.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <utility>

#include "io/json.hpp"
#include "llama/block_stages.hpp"
#include "llama/elements.hpp"

namespace llama {
using pare::Error;
using pare::ErrorCode;
using pare::MatrixView;
using pare::Result;

namespace {

constexpr double damping = 0.01;

std::string name_of(LinearRole role) { return std::string(linear_names[static_cast<std::size_t>(role)]); }

/// How many of `count` go.
Result<std::size_t> removed_of(std::size_t count, double sparsity, std::string_view what) {
  const auto removed = static_cast<std::size_t>(static_cast<double>(count) * sparsity);
  if (removed > 0 && removed < count) return removed;
  return Error{ErrorCode::invalid_argument, fmt::format("a sparsity of {} takes {} of {} {} away", sparsity,
                                                        removed == 0 ? "none" : "all", count, what)};
}

/// The `count` lowest of the scores, ascending; ties go by the lower place.
std::vector<std::size_t> lowest(const std::vector<double>& scores, std::size_t count) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return std::pair(scores[i], i); });
  order.resize(count);
  std::ranges::sort(order);
  return order;
}

/// How much each input channel of a layer matters.
Result<std::vector<double>> channel_importance(std::string_view metric, MatrixView<const float> weights,
                                               const pare::InputFluctuation& inputs, const pare::Options& options) {
  if (metric == "flap") {
    const auto values = pare::flap_importance(pare::FlapMetric::wifv, weights, inputs, options);
    if (!values) return values.error();
    return std::vector<double>(values->begin(), values->end());
  }
  if (metric == "median") {
    auto readers = pare::Matrix<float>::create({weights.cols, weights.rows}, options.memory);
    if (!readers) return std::move(readers).error();
    for (std::size_t r = 0; r < weights.rows; ++r)
      for (std::size_t c = 0; c < weights.cols; ++c) (*readers)(c, r) = weights(r, c);
    const auto values = pare::GeometricMedian{}(readers->view(), options);
    if (!values) return values.error();
    return std::vector<double>(values->begin(), values->end());
  }
  std::vector<double> sums(weights.cols, 0.0);
  if (metric == "random") {
    for (std::size_t c = 0; c < weights.cols; ++c) sums[c] = pare::Random{}.score_at(0, c);
    return sums;
  }
  for (std::size_t r = 0; r < weights.rows; ++r)
    for (std::size_t c = 0; c < weights.cols; ++c) {
      const double square = double{weights(r, c)} * weights(r, c);
      sums[c] += metric == "wanda" ? square * inputs.squares()[c] : square;
    }
  return sums;
}

/// Replaces a layer in the block, by values as the model's dtype has them, and keeps it.
Result<void> replace(const WeightFiles& files, const std::string& name, const pare::Matrix<float>& weights,
                     PrunedLayers& layers, Linear& linear) {
  const io::DType dtype = files.find(name)->dtype;
  std::vector<float> values(weights.values().begin(), weights.values().end());
  std::vector<std::byte> elements(values.size() * io::bits(dtype) / 8);
  from_floats(dtype, values, elements);
  to_floats(dtype, elements, values);
  const MatrixView<const float> rounded(values.data(), weights.rows(), weights.cols());
  if (auto done = layers.save(name, rounded, 0); !done) return done;
  linear = Linear(FloatMatrix::owning(std::make_shared<const std::vector<float>>(std::move(values)),
                                      {weights.rows(), weights.cols()}));
  return {};
}

/// Which units of one block go, and what is left of its layers.
class BlockShrinker {
 public:
  BlockShrinker(const WeightFiles& files, const Config& config, const Pruning& pruning, PrunedLayers& layers,
                pare::Executor executor)
      : files_(files), config_(config), pruning_(pruning), layers_(layers), options_{.executor = executor} {}

  /// `sizes` are those of the block as it comes.
  Result<void> shrink(std::size_t index, const Config& sizes, bool heads, std::size_t removed,
                      StageStatistics& statistics, Block& block) {
    const LinearRole last = heads ? LinearRole::output : LinearRole::down;
    const BlockGraph described = block_graph(sizes);
    const std::size_t value = heads ? described.attended : described.neurons;
    auto groups = pare::ChannelGroups::create(described.graph);
    if (!groups) return std::move(groups).error();
    const MatrixView<const float> weights = block[last].floats()->view();
    const auto importance = channel_importance(pruning_.metric, weights, statistics.channels, options_);
    if (!importance) return importance.error();
    const auto units = groups->units(value);
    std::vector<double> scores(units.size(), 0.0);
    for (std::size_t u = 0; u < units.size(); ++u)
      for (const std::size_t channel : units[u]) scores[u] += (*importance)[channel];
    std::vector<std::size_t> gone;
    for (const std::size_t u : lowest(scores, removed)) gone.insert(gone.end(), units[u].begin(), units[u].end());
    if (auto done = groups->remove(value, gone); !done) return done;

    // The last layer's kept columns make up for the others before these are cut off.
    const std::vector<std::uint32_t> kept = groups->kept(value);
    const auto inputs = pare::columns_of(*statistics.moment, kept);
    if (!inputs) return inputs.error();
    const auto target = statistics.targets.front().columns(kept);
    if (!target) return target.error();
    for (const LinearRole role : linear_roles) {
      if (groups->kept(name_of(role), 0).whole && groups->kept(name_of(role), 1).whole) continue;
      auto rest = groups->compact(name_of(role), block[role].floats()->view(), 1, options_);
      if (!rest) return std::move(rest).error();
      if (rest->shape() == block[role].shape()) continue;
      if (role == last) {
        rest = target->weights(rest->view(), *inputs, damping, options_);
        if (!rest) return std::move(rest).error();
      }
      const std::string name = expected_linear(config_, index, role).name;
      if (auto done = replace(files_, name, *rest, layers_, block[role]); !done) return done;
    }
    return {};
  }

 private:
  const WeightFiles& files_;
  const Config& config_;
  const Pruning& pruning_;
  PrunedLayers& layers_;
  pare::Options options_;
};

/// The blocks that turn the hidden states the least go (Men et al., "ShortGPT", 2024): 1 - the mean cosine between what
/// enters a block and what leaves it.
Result<SmallerModel> prune_layers(const WeightFiles& files, const Config& config, std::size_t removed,
                                  const std::vector<Sequence>& sequences, pare::Executor executor,
                                  io::ProgressCallback progress) {
  auto streams = CalibrationStreams::create(files, config, sequences, {});
  if (!streams) return std::move(streams).error();
  std::vector<double> influence(config.layers, 0.0);
  for (std::size_t index = 0; index < config.layers; ++index) {
    const auto block = load_block(files, config, index);
    if (!block) return block.error();
    const std::vector<Stream> before = streams->streams();
    if (auto done = streams->advance(config, *block, config, *block, executor); !done) return std::move(done).error();
    for (std::size_t s = 0; s < before.size(); ++s)
      for (std::size_t t = 0; t < before[s].tokens; ++t) {
        const float* a = before[s].hidden.data() + t * config.hidden_size;
        const float* b = streams->streams()[s].hidden.data() + t * config.hidden_size;
        double product = 0.0, square_a = 0.0, square_b = 0.0;
        for (std::size_t c = 0; c < config.hidden_size; ++c) {
          product += double{a[c]} * b[c];
          square_a += double{a[c]} * a[c];
          square_b += double{b[c]} * b[c];
        }
        if (square_a > 0 && square_b > 0) influence[index] += 1.0 - product / std::sqrt(square_a * square_b);
      }
    progress(index + 1, config.layers);
  }
  SmallerModel model{config, {}};
  const std::vector<std::size_t> gone = lowest(influence, removed);
  for (std::size_t index = 0; index < config.layers; ++index)
    if (!std::ranges::binary_search(gone, index)) model.blocks.push_back(index);
  model.config.layers = model.blocks.size();
  return model;
}

}  // namespace

BlockGraph block_graph(const Config& config) {
  using Kind = pare::ChannelGraph::Kind;
  BlockGraph result;
  pare::ChannelGraph& graph = result.graph;
  const std::size_t hidden = graph.add("hidden states", config.hidden_size, true);
  const std::size_t queries = graph.add("queries", config.query_size());
  const std::size_t keys = graph.add("keys", config.kv_size()), values = graph.add("values", config.kv_size());
  result.attended = graph.add("attended", config.query_size());
  const std::size_t gate = graph.add("gate", config.intermediate_size);
  const std::size_t up = graph.add("up", config.intermediate_size);
  result.neurons = graph.add("neurons", config.intermediate_size);
  const auto layer = [&](LinearRole role, std::size_t out, std::size_t in) {
    graph.axes.push_back({name_of(role), 0, out});
    graph.axes.push_back({name_of(role), 1, in});
  };
  layer(LinearRole::query, queries, hidden);
  layer(LinearRole::key, keys, hidden);
  layer(LinearRole::value, values, hidden);
  layer(LinearRole::output, hidden, result.attended);
  layer(LinearRole::gate, gate, hidden);
  layer(LinearRole::up, up, hidden);
  layer(LinearRole::down, hidden, result.neurons);
  graph.couplings = {{Kind::heads, {queries, keys, values}, config.head_dim},
                     {Kind::same, {queries, result.attended}},
                     {Kind::same, {gate, up, result.neurons}}};
  return result;
}

Result<SmallerModel> prune_structure(const WeightFiles& files, const Config& config, const Pruning& pruning,
                                     const std::vector<Sequence>& sequences, PrunedLayers& layers,
                                     pare::Executor executor, io::ProgressCallback progress) {
  if (auto good = check_pruning(pruning); !good) return std::move(good).error();
  const bool heads = pruning.structure == "heads" || pruning.structure == "units";
  const bool neurons = pruning.structure == "neurons" || pruning.structure == "units";
  const auto count = [&](bool removes, std::size_t of, std::string_view what) -> Result<std::size_t> {
    return removes ? removed_of(of, pruning.sparsity, what) : Result<std::size_t>(std::size_t{0});
  };
  const auto lost_layers = count(!heads && !neurons, config.layers, "layers");
  if (!lost_layers) return lost_layers.error();
  const auto lost_heads = count(heads, config.kv_heads, "key-value heads");
  if (!lost_heads) return lost_heads.error();
  const auto lost_neurons = count(neurons, config.intermediate_size, "neurons");
  if (!lost_neurons) return lost_neurons.error();
  if (auto complete = check_weights(files, config); !complete) return std::move(complete).error();
  if (auto floats = files.require_floats(); !floats) return std::move(floats).error();
  if (*lost_layers != 0) return prune_layers(files, config, *lost_layers, sequences, executor, progress);

  Config fewer_heads = config;
  fewer_heads.heads -= *lost_heads * (config.heads / config.kv_heads);
  fewer_heads.kv_heads -= *lost_heads;
  SmallerModel model{fewer_heads, {}};
  model.config.intermediate_size -= *lost_neurons;
  auto streams = CalibrationStreams::create(files, config, sequences, {.moment = true, .targets = true});
  if (!streams) return std::move(streams).error();
  BlockShrinker shrinker(files, config, pruning, layers, executor);
  for (std::size_t index = 0; index < config.layers; ++index) {
    auto block = load_block(files, config, index);
    if (!block) return std::move(block).error();
    const Block dense = *block;
    const auto shrink = [&](bool of_heads, std::size_t removed) -> Result<void> {
      if (removed == 0) return {};
      const Config& sizes = of_heads ? config : fewer_heads;
      auto statistics = streams->gather(config, index, dense, sizes, *block, stages[of_heads ? 1 : 3], executor);
      if (!statistics) return std::move(statistics).error();
      if (auto done = shrinker.shrink(index, sizes, of_heads, removed, *statistics, *block); !done)
        return Error{done.error().code, fmt::format("{}: layer {}: {}", files.name(), index, done.error().message)};
      return {};
    };
    if (auto done = shrink(true, *lost_heads); !done) return std::move(done).error();
    if (auto done = shrink(false, *lost_neurons); !done) return std::move(done).error();
    if (auto done = streams->advance(config, dense, model.config, *block, executor); !done)
      return std::move(done).error();
    for (const LinearRole role : linear_roles)
      if (const auto tensor = files.read(expected_linear(config, index, role).name)) files.release(tensor->bytes);
    progress(index + 1, config.layers);
  }
  return model;
}

}  // namespace llama
