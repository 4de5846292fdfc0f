#include <fmt/format.h>

#include <map>
#include <memory>

#include "llama/block_pruning.hpp"
#include "llama/block_store.hpp"
#include "llama/commands.hpp"
#include "llama/compression_report.hpp"
#include "llama/convert.hpp"
#include "llama/model_writer.hpp"
#include "llama/progress_bar.hpp"
#include "llama/structural_pruning.hpp"
#include "pare/quantize/quantize.hpp"

namespace llama {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

/// What calibration found out, or the reason why it cannot.
struct Calibration {
  Config config;
  std::vector<Sequence> sequences;
  std::size_t tokens = 0;

  static Result<Calibration> read(const WeightFiles& files, const PruneCommand& command) {
    if (auto free = check_output(command.output, command.overwrite); !free) return std::move(free).error();
    if (!command.calibration.given())
      return Error{ErrorCode::invalid_argument,
                   fmt::format("--metric {} with --structure {} needs --calibration TEXT or --calibration-ids FILE",
                               command.pruning.metric, command.pruning.structure)};
    const auto config = files.config();
    if (!config) return config.error();
    auto sequences = read_calibration(command.calibration, command.tokenizer, files, *config);
    if (!sequences) return std::move(sequences).error();
    Calibration result{*config, *std::move(sequences), 0};
    for (const Sequence& sequence : result.sequences) result.tokens += sequence.size();
    return result;
  }
};

std::filesystem::path finished_layers(const PruneCommand& command) { return command.output.string() + ".pruning"; }

/// Zeros and codes from one Hessian, as pare's own folder of packed layers.
Result<CompressedModel> prune_to_codes(const WeightFiles& files, const PruneCommand& command,
                                       const PruningMetric& metric, const Calibration& calibration, const Desk& desk) {
  if (const auto known = pare::AnyGrid::named(command.scheme); !known) return known.error();
  const auto store = BlockStore::open(finished_layers(command), {{"joint", command.scheme}}, true);
  if (!store) return store.error();
  std::map<std::string, std::size_t, std::less<>> places;
  std::map<std::string, std::size_t, std::less<>> zeros;
  const auto prune = [&](const std::string& name, pare::MatrixView<const float> weights,
                         const LayerInput& input) -> Result<std::vector<float>> {
    auto pruned = prune_to_codes(command.pruning, command.scheme, weights, input, desk.executor);
    if (!pruned) return std::move(pruned).error();
    QuantizedBlock::Layer layer{.codes = std::move(pruned->codes), .error = {}};
    std::vector<float> values = values_of(layer.codes);
    for (std::size_t r = 0; r < weights.rows; ++r)
      for (std::size_t c = 0; c < weights.cols; ++c) layer.error.add(weights(r, c), values[r * weights.cols + c]);
    zeros[name] = weights.rows * weights.cols - pruned->mask.kept();
    QuantizedBlock block;
    block.layers.emplace(name, std::move(layer));
    const std::size_t place = places.size();
    places[name] = place;
    if (auto done = store->save(place, block); !done) return std::move(done).error();
    return values;
  };
  auto done = prune_blocks(files, calibration.config, metric, calibration.sequences, prune, desk.executor,
                           ProgressBar("pruning"));
  if (!done) {
    store->remove();
    return std::move(done).error();
  }

  CompressedModel model{.tensors = {}, .scheme = std::string(pare::resolve_alias(command.scheme))};
  const auto codes = [&](const ListedTensor& tensor) -> Result<LayerCodes> {
    auto block = store->load(places.find(tensor.name)->second);
    if (!block) return std::move(block).error();
    auto& layer = block->layers.at(tensor.name);
    model.tensors.push_back(
        {.name = tensor.name, .shape = tensor.shape, .pruned = zeros[tensor.name], .error = layer.error});
    return std::move(layer.codes);
  };
  const auto floats = [](const ListedTensor&) { return Result(std::shared_ptr<const std::vector<float>>()); };
  const auto written =
      write_coded_model(files, {codes, floats}, "pare", command.output, command.overwrite, ProgressBar("writing"));
  store->remove();
  if (!written) return written.error();
  for (std::size_t i = 0; i < model.tensors.size(); ++i) model.tensors[i].bytes = written->layers[i].bytes_after;
  model.file_bytes = written->file_bytes;
  return model;
}

/// Zeros chosen by what flows into the layers; a scheme rounds what is left.
Result<CompressedModel> prune_calibrated(const WeightFiles& files, const PruneCommand& command,
                                         const PruningMetric& metric, const Calibration& calibration,
                                         const Desk& desk) {
  auto layers = PrunedLayers::create(finished_layers(command));
  if (!layers) return std::move(layers).error();
  const auto prune = [&](const std::string& name, pare::MatrixView<const float> weights,
                         const LayerInput& input) -> Result<std::vector<float>> {
    const auto pruned = prune_matrix(command.pruning, weights, input, desk.executor);
    if (!pruned) return pruned.error();
    const std::size_t zeros = weights.rows * weights.cols - pruned->mask.kept();
    if (auto done = layers->save(name, pruned->weights.view(), zeros); !done) return std::move(done).error();
    const auto values = pruned->weights.values();
    return std::vector<float>(values.begin(), values.end());
  };
  auto done = prune_blocks(files, calibration.config, metric, calibration.sequences, prune, desk.executor,
                           ProgressBar("pruning"));
  if (!done) return std::move(done).error();
  return write_model(files, command.output, {.scheme = command.scheme, .layers = &*layers}, command.overwrite,
                     desk.executor, ProgressBar("writing"));
}

/// What pruning made of the model's sizes.
struct Sizes {
  const char* name;
  std::size_t before;
  std::size_t after;
};

/// A smaller model, whose sizes go to `sizes`.
Result<CompressedModel> prune_physically(const WeightFiles& files, const PruneCommand& command,
                                         const Calibration& calibration, const Desk& desk, std::vector<Sizes>& sizes) {
  auto layers = PrunedLayers::create(finished_layers(command));
  if (!layers) return std::move(layers).error();
  const auto smaller = prune_structure(files, calibration.config, command.pruning, calibration.sequences, *layers,
                                       desk.executor, ProgressBar("pruning"));
  if (!smaller) return smaller.error();
  const Config& was = calibration.config;
  const Config& is = smaller->config;
  sizes = {{"layers", was.layers, is.layers},
           {"heads", was.heads, is.heads},
           {"key-value heads", was.kv_heads, is.kv_heads},
           {"neurons", was.intermediate_size, is.intermediate_size}};
  return write_model(files, command.output,
                     {.scheme = command.scheme, .layers = &*layers, .config = is, .blocks = smaller->blocks},
                     command.overwrite, desk.executor, ProgressBar("writing"));
}

}  // namespace

Result<Report> run(const PruneCommand& command, const Desk& desk) {
  if (auto good = check_pruning(command.pruning); !good) return std::move(good).error();
  auto metric = find_metric(command.pruning.metric);
  if (!metric) return metric.error();
  if (!command.inputs.empty()) metric->layers = command.inputs == "layer";
  if (command.joint && (command.scheme.empty() || !metric->moment || metric->name == "obc"))
    return Error{ErrorCode::invalid_argument,
                 "--joint needs --scheme, and --metric sparsegpt or refined: the others do not quantize"};
  const auto files = WeightFiles::open(command.model);
  if (!files) return files.error();
  std::size_t calibration_tokens = 0;
  std::vector<Sizes> sizes;
  const bool physical = is_physical(command.pruning.structure);
  const auto compress = [&]() -> Result<CompressedModel> {
    if (!metric->inputs && !physical)
      return write_model(*files, command.output, {.scheme = command.scheme, .pruning = command.pruning},
                         command.overwrite, desk.executor, ProgressBar("pruning"));
    const auto calibration = Calibration::read(*files, command);
    if (!calibration) return calibration.error();
    calibration_tokens = calibration->tokens;
    if (physical) return prune_physically(*files, command, *calibration, desk, sizes);
    return command.joint ? prune_to_codes(*files, command, *metric, *calibration, desk)
                         : prune_calibrated(*files, command, *metric, *calibration, desk);
  };
  const auto model = compress();
  if (!model) return model.error();
  desk.say(compression_text(*files, *model, command.output));
  Report report = compression_report(*files, *model, command.output);
  for (const Sizes& size : sizes) {
    desk.say(fmt::format("{}: {} -> {}\n", size.name, size.before, size.after));
    report["sizes"][size.name] = {size.before, size.after};
  }
  report["metric"] = command.pruning.metric;
  report["structure"] = command.pruning.structure;
  report["calibration_tokens"] = calibration_tokens;
  return report;
}

}  // namespace llama
