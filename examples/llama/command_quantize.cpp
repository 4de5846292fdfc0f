#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <string_view>

#include "llama/calibrated_quantization.hpp"
#include "llama/commands.hpp"
#include "llama/compression_report.hpp"
#include "llama/convert.hpp"
#include "llama/gguf_export.hpp"
#include "llama/layer_methods.hpp"
#include "llama/model_writer.hpp"
#include "llama/progress_bar.hpp"
#include "llama/tokenizer_files.hpp"
#include "llama/weights.hpp"
#include "pare/quantize/quantize.hpp"

namespace llama {
namespace {

constexpr std::string_view gguf_prefix = "gguf:";

/// The block that a tensor, "model.layers.N. ...", belongs to; nothing for those outside the blocks.
std::optional<std::size_t> block_of(std::string_view name) {
  constexpr std::string_view prefix = "model.layers.";
  if (!name.starts_with(prefix)) return std::nullopt;
  std::size_t index = 0;
  std::from_chars(name.data() + prefix.size(), name.data() + name.size(), index);
  return index;
}

pare::Result<Report> quantize_to_gguf(const WeightFiles& files, const QuantizeCommand& command, const Desk& desk) {
  const auto type = gguf_type(std::string_view(command.layout).substr(gguf_prefix.size()));
  if (!type) return type.error();
  const auto config = files.config();
  if (!config) return config.error();
  const auto tokenizer = load_tokenizer(files, *config, command.tokenizer);
  if (!tokenizer) return tokenizer.error();
  const auto model = write_gguf(files, *tokenizer, command.output, {.type = *type, .fast = command.fast},
                                command.overwrite, desk.executor, ProgressBar("quantizing"));
  if (!model) return model.error();
  desk.say(compression_text(files, *model, command.output));
  Report kept = Report::array();
  for (const KeptLayer& layer : model->kept) {
    desk.say(fmt::format("{} stays F16: rows of {} values do not divide into blocks of {}\n", layer.name, layer.columns,
                         io::info_of(*type).elements));
    kept.push_back(layer.name);
  }
  Report report = compression_report(files, *model, command.output);
  report["kept_f16"] = std::move(kept);
  return report;
}

/// Says what was run, so that an interrupted run is taken up only by its like.
Report task_of(const WeightFiles& files, const QuantizeCommand& command, const std::vector<Sequence>& sequences) {
  std::uint64_t hash = 14695981039346656037u;  // FNV-1a over the token ids
  std::size_t tokens = 0;
  for (const Sequence& sequence : sequences) {
    tokens += sequence.size();
    for (const std::int32_t id : sequence) hash = (hash ^ static_cast<std::uint32_t>(id)) * 1099511628211u;
  }
  return {{"model", files.name()},    {"bytes", files.file_bytes()},
          {"scheme", command.scheme}, {"method", command.method},
          {"tokens", tokens},         {"ids", fmt::format("{:016x}", hash)}};
}

/// Whether the layout is there, the scheme too, and the one can hold what the method makes of the other.
pare::Result<void> check_layout(const QuantizeCommand& command) {
  const auto wrong = [](std::string message) {
    return pare::Error{pare::ErrorCode::invalid_argument, std::move(message)};
  };
  const auto layouts = convertible_layouts();
  if (std::ranges::find(layouts, command.layout) == layouts.end())
    return wrong(
        fmt::format("unknown layout \"{}\"; there are gguf:TYPE, {}", command.layout, fmt::join(layouts, ", ")));
  const auto scheme = scheme_named(command.scheme);
  if (!scheme) return scheme.error();
  const auto* grid = std::get_if<pare::AnyGrid>(&*scheme);
  if ((grid == nullptr) != (command.method == "aqlm"))
    return wrong(grid == nullptr ? fmt::format("--scheme {} is one of codebooks, for --method aqlm", command.scheme)
                                 : "--method aqlm needs a scheme of codebooks: 2x8 is two of 8 bits for groups of 8 "
                                   "weights, 1x16-g4 one of 16 bits for groups of 4");
  struct Restriction {
    std::string_view method, result;
    bool applies;
    std::vector<std::string_view> layouts;
  };
  const bool rows = grid != nullptr && has_whole_rows(*grid);
  const Restriction restrictions[] = {
      {"hqq", "HQQ's zero points are no integers", true, {"hqq", "float32"}},
      {"aqlm", "AQLM's codes stand for vectors", true, {"aqlm", "float32"}},
      {"qoq", "QoQ's zero points of whole rows are no integers", rows, {"qserve:per-channel", "float32"}},
      {"qoq", "QoQ's scales are products of two", !rows, {"qserve:per-group", "pare", "float32"}}};
  for (const Restriction& r : restrictions)
    if (r.applies && r.method == command.method && std::ranges::find(r.layouts, command.layout) == r.layouts.end())
      return wrong(fmt::format("{}, which --layout {} cannot hold; --layout {} can", r.result, command.layout,
                               fmt::join(r.layouts, " or ")));
  return {};
}

pare::Result<Report> quantize_with_codes(const WeightFiles& files, const QuantizeCommand& command, const Desk& desk) {
  if (auto free = check_output(command.output, command.overwrite); !free) return std::move(free).error();
  const auto config = files.config();
  if (!config) return config.error();
  std::vector<Sequence> sequences;
  if (command.calibration.given()) {
    auto read = read_calibration(command.calibration, command.tokenizer, files, *config);
    if (!read) return std::move(read).error();
    sequences = *std::move(read);
  } else if (std::ranges::any_of(calibrated_methods(), [&](const CalibratedMethod& method) {
               return method.name == command.method && method.calibrates;
             })) {
    return pare::Error{pare::ErrorCode::invalid_argument,
                       fmt::format("--method {} needs --calibration TEXT or --calibration-ids FILE", command.method)};
  }
  // Whatever can be known beforehand is: the work may take hours.
  if (auto fits = check_layout(command); !fits) return std::move(fits).error();
  if (auto complete = check_weights(files, *config); !complete) return std::move(complete).error();
  if (auto unpacked = files.require_floats(); !unpacked) return std::move(unpacked).error();
  const auto store =
      BlockStore::open(command.output.string() + ".unfinished", task_of(files, command, sequences), command.restart);
  if (!store) return store.error();
  if (auto done = quantize_blocks(files, *config, {.scheme = command.scheme, .method = command.method}, sequences,
                                  *store, desk.executor, ProgressBar("quantizing"));
      !done) {
    if (!store->has(0)) store->remove();
    return std::move(done).error();
  }

  CompressedModel model{.tensors = {}, .scheme = std::string(pare::resolve_alias(command.scheme))};
  std::size_t index = config->layers;
  QuantizedBlock block;
  const auto load = [&](std::size_t wanted) -> pare::Result<void> {
    if (wanted == index) return {};
    auto loaded = store->load(wanted);
    if (!loaded) return std::move(loaded).error();
    block = *std::move(loaded);
    index = wanted;
    return {};
  };
  Report choices = Report::array();
  const auto codes = [&](const ListedTensor& tensor) -> pare::Result<LayerCodes> {
    if (auto done = load(*block_of(tensor.name)); !done) return std::move(done).error();
    auto& layer = block.layers.at(tensor.name);
    model.tensors.push_back({.name = tensor.name, .shape = tensor.shape, .error = layer.error});
    choices.push_back({{"method", layer.method}, {"output_error", layer.output_error}});
    return std::move(layer.codes);
  };
  const auto floats = [&](const ListedTensor& tensor) -> pare::Result<std::shared_ptr<const std::vector<float>>> {
    const auto wanted = block_of(tensor.name);
    if (!wanted || *wanted >= config->layers) return std::shared_ptr<const std::vector<float>>();
    if (auto done = load(*wanted); !done) return std::move(done).error();
    const auto found = block.floats.find(tensor.name);
    if (found == block.floats.end()) return std::shared_ptr<const std::vector<float>>();
    return std::make_shared<const std::vector<float>>(found->second);
  };
  const auto written = write_coded_model(files, {codes, floats}, command.layout, command.output, command.overwrite,
                                         ProgressBar("writing"));
  if (!written) return written.error();
  for (std::size_t i = 0; i < model.tensors.size(); ++i) model.tensors[i].bytes = written->layers[i].bytes_after;
  model.file_bytes = written->file_bytes;
  store->remove();
  desk.say(compression_text(files, model, command.output));
  Report report = compression_report(files, model, command.output);
  report["method"] = command.method;
  report["layout"] = command.layout;
  for (std::size_t i = 0; i < choices.size(); ++i) report["tensors"][i].update(choices[i]);
  return report;
}

}  // namespace

pare::Result<Report> run(const QuantizeCommand& command, const Desk& desk) {
  const bool gguf = command.layout.starts_with(gguf_prefix);
  if (gguf != command.scheme.empty())
    return pare::Error{pare::ErrorCode::invalid_argument,
                       gguf ? "--layout gguf:TYPE says how to quantize; leave --scheme out"
                            : "--scheme is missing; llama quantize --help lists them"};
  if (command.fast && !gguf) return pare::Error{pare::ErrorCode::invalid_argument, "--fast is for --layout gguf:TYPE"};
  const auto files = WeightFiles::open(command.model);
  if (!files) return files.error();
  if (gguf && command.method != "rtn")
    return pare::Error{
        pare::ErrorCode::invalid_argument,
        fmt::format("--layout gguf:TYPE has its own encoders; quantize with --method {} to pare's folder "
                    "first and convert that",
                    command.method)};
  if (gguf) return quantize_to_gguf(*files, command, desk);
  if (command.method != "rtn" || command.layout != "pare") return quantize_with_codes(*files, command, desk);
  const auto model = write_model(*files, command.output, {.scheme = command.scheme}, command.overwrite, desk.executor,
                                 ProgressBar("quantizing"));
  if (!model) return model.error();
  desk.say(compression_text(*files, *model, command.output));
  return compression_report(*files, *model, command.output);
}

}  // namespace llama
