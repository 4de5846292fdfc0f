#include <fmt/format.h>

#include <optional>
#include <utility>

#include "llama/commands.hpp"
#include "llama/model.hpp"
#include "llama/perplexity.hpp"
#include "llama/progress_bar.hpp"
#include "llama/tokenizer_files.hpp"

namespace llama {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

Result<std::vector<Sequence>> read_sequences(const PerplexityCommand& command, const Model& model) {
  if (!command.ids.empty()) return read_id_file(command.ids);
  const auto tokenizer = load_tokenizer(model.files(), model.config(), command.tokenizer);
  if (!tokenizer) return tokenizer.error();
  return read_text_file(command.text, *tokenizer);
}

}  // namespace

Result<Report> run(const PerplexityCommand& command, const Desk& desk) {
  const auto model = Model::load(command.model, {command.activations, desk.executor});
  if (!model) return model.error();
  const auto sequences = read_sequences(command, *model);
  if (!sequences) return sequences.error();
  const std::string& source = (command.ids.empty() ? command.text : command.ids).native();

  std::optional<Model> reference;
  if (!command.reference.empty()) {
    auto loaded = Model::load(command.reference);
    if (!loaded) return std::move(loaded).error();
    reference = *std::move(loaded);
  }
  const auto result = measure(*model, *sequences, command.window, desk.executor, ProgressBar("predicting"),
                              reference ? &*reference : nullptr);
  if (!result) return Error{result.error().code, fmt::format("{}: {}", source, result.error().message)};
  const double speed = static_cast<double>(result->predictions) / result->seconds;
  desk.say(fmt::format("mean NLL {:.5f}  perplexity {:.3f}  ({} predictions in {} sequences, {:.0f} tokens/s)\n",
                       result->mean_nll(), result->perplexity(), result->predictions, sequences->size(), speed));
  Report report{{"model", model->files().name()},
                {"activations", activation_names[static_cast<std::size_t>(model->activations())]},
                {"data", source},
                {"mean_nll", result->mean_nll()},
                {"perplexity", result->perplexity()},
                {"predictions", result->predictions},
                {"sequences", sequences->size()},
                {"window", command.window == 0 ? model->config().context : command.window},
                {"seconds", result->seconds},
                {"tokens_per_second", speed}};
  if (reference) {
    const double agreement = static_cast<double>(result->agreements) / static_cast<double>(result->predictions);
    desk.say(fmt::format("mean KL divergence from {}: {:.5f} nats; the most likely token is the same in {:.2f} %\n",
                         reference->files().name(), result->mean_divergence(), 100.0 * agreement));
    report["reference"] = reference->files().name();
    report["mean_divergence"] = result->mean_divergence();
    report["agreement"] = agreement;
  }
  return report;
}

}  // namespace llama
