#include <fmt/format.h>

#include <array>
#include <system_error>

#include "llama/commands.hpp"
#include "llama/compression_report.hpp"
#include "llama/model.hpp"
#include "llama/model_writer.hpp"
#include "llama/perplexity.hpp"
#include "llama/progress_bar.hpp"
#include "llama/tokenizer_files.hpp"

namespace llama {
namespace fs = std::filesystem;
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

/// A scheme under the name that people know.
struct Choice {
  std::string_view title;
  std::string_view scheme;
};
constexpr std::array<Choice, 5> choices{
    {{"INT4", "int4"}, {"NF4", "nf4"}, {"MXFP4", "mxfp4"}, {"FP8", "fp8"}, {"INT8", "int8"}}};

/// What the table says of one model.
struct Row {
  std::string title = {};
  std::string scheme = {};
  double bits = 0.0;
  std::size_t bytes = 0;
  double sqnr = 0.0;
  double perplexity = 0.0;
  double speed = 0.0;
};

/// The texts that perplexity is measured on, and where they come from.
struct Evaluation {
  std::vector<Sequence> sequences;
  std::string source;
};

constexpr std::string_view table_line = "{:<6} {:<15} {:>6} {:>9} {:>9} {:>10} {:>10} {:>9}\n";

std::string table_row(const Row& row, double before) {
  const bool original = row.scheme.empty();
  return fmt::format(fmt::runtime(table_line), row.title, original ? "-" : row.scheme, fmt::format("{:.2f}", row.bits),
                     bytes_text(row.bytes), original ? "-" : decibels_text(row.sqnr), fmt::format("{:.4f}", before),
                     original ? "-" : fmt::format("{:.4f}", row.perplexity), fmt::format("{:.0f}", row.speed));
}

/// Texts of the model's own: what it predicts well, and a damaged copy of it less so.
Result<Evaluation> write_own_texts(const Model& model, const Tokenizer& tokenizer, pare::Executor executor) {
  constexpr std::size_t texts = 8, tokens = 128;
  const std::vector<std::int32_t> prompt = tokenizer.encode("");
  Evaluation evaluation{{}, fmt::format("{} texts that the unquantized model wrote itself", texts)};
  ProgressBar bar("writing texts");
  for (std::size_t i = 0; i < texts; ++i) {
    const auto written =
        generate(model, prompt, {.tokens = tokens, .temperature = 1.0, .seed = i, .stop_at_end = false}, {}, executor,
                 [](std::int32_t) {});
    if (!written) return written.error();
    Sequence sequence = prompt;
    sequence.insert(sequence.end(), written->tokens.begin(), written->tokens.end());
    evaluation.sequences.push_back(std::move(sequence));
    bar(i + 1, texts);
  }
  return evaluation;
}

Result<Evaluation> find_evaluation(const QuickstartCommand& command, const Model& model, const Tokenizer& tokenizer,
                                   pare::Executor executor) {
  fs::path text = command.text;
  std::error_code ignored;
  const fs::path beside = model.files().folder() / "heldout.txt";
  if (text.empty() && fs::exists(beside, ignored)) text = beside;
  if (text.empty()) return write_own_texts(model, tokenizer, executor);
  auto sequences = read_text_file(text, tokenizer);
  if (!sequences) return std::move(sequences).error();
  return Evaluation{*std::move(sequences), text.string()};
}

/// Fills in what running the model tells.
Result<void> try_out(const Model& model, const Evaluation& evaluation, std::span<const std::int32_t> prompt,
                     pare::Executor executor, Row& row) {
  constexpr std::size_t speed_tokens = 64;
  const auto likelihood = measure(model, evaluation.sequences, 0, executor, ProgressBar(row.title));
  if (!likelihood) return Error{likelihood.error().code, evaluation.source + ": " + likelihood.error().message};
  row.perplexity = likelihood->perplexity();
  const auto run =
      generate(model, prompt, {.tokens = speed_tokens, .stop_at_end = false}, {}, executor, [](std::int32_t) {});
  if (!run) return run.error();
  row.speed = run->tokens_per_second();
  return {};
}

/// The bits that the linear layers take per weight as they are.
double linear_bits(const Model& model) {
  double bytes = 0.0, weights = 0.0;
  for (const ListedTensor& tensor : model.files().tensors())
    if (is_block_linear(model.config(), tensor.name)) {
      bytes += static_cast<double>(tensor.bytes);
      weights += static_cast<double>(tensor.shape[0] * tensor.shape[1]);
    }
  return 8.0 * bytes / weights;
}

/// "NAME-pare" in the current folder.
fs::path default_folder(const fs::path& model) {
  std::error_code ignored;
  const fs::path full = fs::weakly_canonical(model, ignored);
  return (fs::is_directory(full, ignored) ? full.filename() : full.stem()).string() + "-pare";
}

Report row_report(const Row& row, double before) {
  return {{"title", row.title},
          {"scheme", row.scheme},
          {"bits_per_weight", row.bits},
          {"file_bytes", row.bytes},
          {"sqnr_db", row.sqnr},
          {"perplexity_before", before},
          {"perplexity_after", row.perplexity},
          {"tokens_per_second", row.speed}};
}

}  // namespace

Result<Report> run(const QuickstartCommand& command, const Desk& desk) {
  const auto model = Model::load(command.model);
  if (!model) return model.error();
  const auto tokenizer = load_tokenizer(model->files(), model->config(), command.tokenizer);
  if (!tokenizer) return tokenizer.error();
  const auto evaluation = find_evaluation(command, *model, *tokenizer, desk.executor);
  if (!evaluation) return evaluation.error();
  const std::vector<std::int32_t> prompt = tokenizer->encode(command.prompt);

  std::error_code error;
  const fs::path folder = command.output.empty() ? default_folder(command.model) : command.output;
  fs::create_directories(folder, error);
  if (error) return Error{ErrorCode::io, fmt::format("{}: cannot create: {}", folder.string(), error.message())};

  desk.say(fmt::format("Perplexity is measured on {}.\n\n", evaluation->source));
  desk.say(fmt::format(fmt::runtime(table_line), "", "", "bits/", "", "", "perplexity", "", ""));
  desk.say(
      fmt::format(fmt::runtime(table_line), "", "scheme", "weight", "file", "SQNR", "before", "after", "tokens/s"));
  Row original{.title = "float", .bits = linear_bits(*model), .bytes = model->files().file_bytes()};
  if (auto done = try_out(*model, *evaluation, prompt, desk.executor, original); !done) return std::move(done).error();
  desk.say(table_row(original, original.perplexity));

  Report rows = Report::array();
  for (const Choice& choice : choices) {
    Row row{.title = std::string(choice.title)};
    const auto written = write_model(model->files(), folder / choice.scheme, {.scheme = std::string(choice.scheme)},
                                     io::Overwrite::yes, desk.executor, ProgressBar(row.title));
    if (!written) {
      fs::remove(folder, error);  // if nothing is in it yet
      return written.error();
    }
    const CompressedTensor total = written->total();
    row.scheme = written->scheme;
    row.bits = 8.0 * static_cast<double>(total.bytes) / static_cast<double>(total.weights());
    row.bytes = written->file_bytes;
    row.sqnr = total.error.sqnr();
    const auto packed = Model::load(folder / choice.scheme);
    if (!packed) return packed.error();
    if (auto done = try_out(*packed, *evaluation, prompt, desk.executor, row); !done) return std::move(done).error();
    desk.say(table_row(row, original.perplexity));
    rows.push_back(row_report(row, original.perplexity));
  }
  desk.say(fmt::format("\nThe models are in {}. {} says:\n\n", folder.string(), choices.front().title));

  const auto speech = run(GenerateCommand{.model = folder / choices.front().scheme,
                                          .prompt = command.prompt,
                                          .options = {.tokens = 128},
                                          .tokenizer = command.tokenizer},
                          desk);
  if (!speech) return speech.error();
  return Report{{"model", model->files().name()},
                {"output", folder.string()},
                {"evaluation", evaluation->source},
                {"float_perplexity", original.perplexity},
                {"float_tokens_per_second", original.speed},
                {"schemes", std::move(rows)},
                {"generated", (*speech)["text"]}};
}

}  // namespace llama
