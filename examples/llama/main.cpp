#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <iterator>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "io/thread_pool.hpp"
#include "llama/calibrated_quantization.hpp"
#include "llama/commands.hpp"
#include "llama/convert.hpp"
#include "pare/schemes/schemes.hpp"

namespace {

constexpr int failure = 1;
constexpr int wrong_usage = 2;

/// What the command line asks for. One of the commands is chosen.
struct Arguments {
  std::size_t threads = 0;
  bool json = false;
  llama::QuantizeCommand quantize;
  llama::ConvertCommand convert;
  llama::PruneCommand prune;
  llama::PerplexityCommand perplexity;
  llama::GenerateCommand generate;
  llama::BenchCommand bench;
  llama::InspectCommand inspect;
  llama::QuickstartCommand quickstart;
};

constexpr const char* model_help =
    "A Hugging Face folder, a .safetensors, .pt or .gguf file beside its config.json, or a llama2.c .bin file";
constexpr const char* tokenizer_help =
    "A tokenizer.json or llama2.c tokenizer, where it does not lie beside the weights";

std::string scheme_list() {
  std::string text = "Schemes:";
  for (const std::string_view name : pare::Catalog::names) text.append(" ").append(name);
  text += "\nShort names:";
  for (const auto& [alias, full] : pare::scheme_aliases) text += fmt::format(" {} ({})", alias, full);
  return text + "\n";
}

CLI::App* add_command(CLI::App& app, Arguments& arguments, const char* name, const char* help) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_flag("--json", arguments.json, "Print one machine-readable report on standard output");
  command->add_option("--threads", arguments.threads, "Threads to use; 0 for one per processor")
      ->check(CLI::Range(std::size_t{0}, std::size_t{1024}))
      ->capture_default_str();
  return command;
}

void add_activations(CLI::App* command, llama::Activations& activations) {
  const auto& names = llama::activation_names;
  command
      ->add_option_function<std::string>(
          "--activations",
          [&](const std::string& name) {
            activations = static_cast<llama::Activations>(std::ranges::find(names, name) - std::begin(names));
          },
          fmt::format(
              "What packed layers are multiplied with: int8, which is fast (and takes the head to {}), int8-row, "
              "the same with one scale for each token, or float, which is near to the dequantized model",
              llama::prepared_head_scheme))
      ->check(CLI::IsMember(std::vector<std::string>(std::begin(names), std::end(names))))
      ->default_str(std::string(names[static_cast<std::size_t>(activations)]));
}

void add_output(CLI::App* command, std::filesystem::path& output, io::Overwrite& overwrite) {
  command->add_option("-o,--output", output, "Folder or, for GGUF, file to write")->required();
  command->add_flag_callback("--force", [&overwrite] { overwrite = io::Overwrite::yes; }, "Replace an existing folder");
}

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const llama::CalibratedMethod& method : llama::calibrated_methods()) names.emplace_back(method.name);
  return names;
}

std::string method_list() {
  std::string text = "Methods:\n";
  for (const llama::CalibratedMethod& method : llama::calibrated_methods())
    text += fmt::format("  {:<12} {}\n", method.name, method.summary);
  return text;
}

std::vector<std::string> metric_names() {
  std::vector<std::string> names;
  for (const llama::PruningMetric& metric : llama::pruning_metrics()) names.emplace_back(metric.name);
  return names;
}

std::string pruning_list() {
  std::string text = "Metrics:\n";
  for (const llama::PruningMetric& metric : llama::pruning_metrics())
    text += fmt::format("  {:<12} {}\n", metric.name, metric.summary);
  text += "Structures:\n";
  for (const llama::PruningStructure& structure : llama::pruning_structures())
    text += fmt::format("  {:<12} {}\n", structure.name, structure.summary);
  text +=
      "The output is a folder; llama quantize FOLDER -o FILE --layout gguf:f16, or another type, makes a GGUF file.\n";
  return text;
}

void add_calibration(CLI::App* command, llama::CalibrationData& data, std::string_view who_runs) {
  CLI::Option* text =
      command->add_option("--calibration", data.text,
                          fmt::format("Text that {} through the model; blank lines separate documents", who_runs));
  command->add_option("--calibration-ids", data.ids, ".npy array of token ids instead of text")->excludes(text);
  command->add_option("--calibration-tokens", data.tokens, "Tokens of it to use at most")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 40))
      ->capture_default_str();
}

void add_commands(CLI::App& app, Arguments& arguments) {
  CLI::App* command = add_command(app, arguments, "quantize", "Write the model with packed linear layers");
  command->add_option("MODEL", arguments.quantize.model, model_help)->required();
  add_output(command, arguments.quantize.output, arguments.quantize.overwrite);
  command->add_option("--scheme", arguments.quantize.scheme, "How to quantize; the list is below");
  command->add_option("--method", arguments.quantize.method, "How codes are chosen; the list is below")
      ->check(CLI::IsMember(method_names()))
      ->capture_default_str();
  add_calibration(command, arguments.quantize.calibration, "the method runs");
  command->add_flag("--restart", arguments.quantize.restart, "Forget the blocks that an interrupted run finished");
  command
      ->add_option("--layout", arguments.quantize.layout,
                   "What to write: pare's folder, another of convert's layouts, or gguf:TYPE for llama.cpp")
      ->default_val("pare");
  command->add_flag("--fast", arguments.quantize.fast,
                    "K-quants of gguf:TYPE a hundred times as fast, for up to a fifth more of squared error");
  command->add_option("--tokenizer", arguments.quantize.tokenizer, tokenizer_help);
  command->footer(method_list() + scheme_list());

  command = add_command(app, arguments, "convert", "Write a quantized model in another layout, codes as they are");
  command->add_option("MODEL", arguments.convert.model, model_help)->required();
  add_output(command, arguments.convert.output, arguments.convert.overwrite);
  command->add_option("--layout", arguments.convert.layout, "What to write; the list is below")->required();
  command->add_option("--tokenizer", arguments.convert.tokenizer, tokenizer_help);
  command->footer(fmt::format("Layouts: gguf:TYPE {}\n", fmt::join(llama::convertible_layouts(), " ")));

  command = add_command(app, arguments, "prune", "Write the model with pruned linear layers");
  command->add_option("MODEL", arguments.prune.model, model_help)->required();
  add_output(command, arguments.prune.output, arguments.prune.overwrite);
  command->add_option("--metric", arguments.prune.pruning.metric, "What a weight is judged by")
      ->check(CLI::IsMember(metric_names()))
      ->capture_default_str();
  command->add_option("--structure", arguments.prune.pruning.structure, "Where zeros may be; the list is below")
      ->capture_default_str();
  command->add_option("--sparsity", arguments.prune.pruning.sparsity, "Share to prune, if not given by the structure")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  add_calibration(command, arguments.prune.calibration, "the metric runs");
  command->add_option("--scheme", arguments.prune.scheme, "Also quantize; the list is below");
  command
      ->add_option("--inputs", arguments.prune.inputs,
                   "What calibration sees pruned: all layers before each (layer), or all blocks before it (block); by "
                   "default as fits the metric")
      ->check(CLI::IsMember({"layer", "block"}));
  command->add_flag("--joint", arguments.prune.joint, "Choose zeros and codes together, from one Hessian");
  command->footer(pruning_list() + scheme_list());
  command->add_option("--tokenizer", arguments.prune.tokenizer, tokenizer_help);

  command = add_command(app, arguments, "perplexity", "Measure how well the model predicts a text");
  command->add_option("MODEL", arguments.perplexity.model, model_help)->required();
  CLI::Option_group* data = command->add_option_group("data", "What to predict");
  data->add_option("--text", arguments.perplexity.text, "Text file; blank lines separate documents");
  data->add_option("--ids", arguments.perplexity.ids, ".npy file of token ids, [sequences, tokens]");
  data->require_option(1);
  command->add_option("--window", arguments.perplexity.window, "Longest piece to predict; 0 for the model's context")
      ->capture_default_str();
  command->add_option("--tokenizer", arguments.perplexity.tokenizer, tokenizer_help);
  command->add_option("--reference", arguments.perplexity.reference,
                      "Also measure how far the predictions are from this model's: the one that MODEL was made from");
  add_activations(command, arguments.perplexity.activations);

  command = add_command(app, arguments, "generate", "Continue a text");
  command->add_option("MODEL", arguments.generate.model, model_help)->required();
  command->add_option("--prompt", arguments.generate.prompt, "Text to continue")->required();
  command->add_option("--tokens", arguments.generate.options.tokens, "New tokens at most")->capture_default_str();
  command->add_option("--temperature", arguments.generate.options.temperature, "0 for the most likely token each time")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  command->add_option("--seed", arguments.generate.options.seed, "Of the random choices")->capture_default_str();
  command->add_option("--tokenizer", arguments.generate.tokenizer, tokenizer_help);
  add_activations(command, arguments.generate.activations);

  command = add_command(app, arguments, "bench", "Measure tokens per second, of prompts and of generation");
  command->add_option("MODEL", arguments.bench.model, model_help)->required();
  const CLI::Range count(std::size_t{0}, std::size_t{1} << 31);
  command->add_option("--prompt", arguments.bench.options.prompt, "Tokens taken in at once; 0 for no such measurement")
      ->check(count)
      ->capture_default_str();
  command->add_option("--generate", arguments.bench.options.generate, "Tokens one by one; 0 for no such measurement")
      ->check(count)
      ->capture_default_str();
  command->add_option("--repetitions", arguments.bench.options.repetitions, "Of each, after one that does not count")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1000000}))
      ->capture_default_str();
  add_activations(command, arguments.bench.activations);

  command = add_command(app, arguments, "inspect", "List the tensors");
  command->add_option("MODEL", arguments.inspect.model, model_help)->required();

  command = add_command(app, arguments, "quickstart", "Quantize in five ways and compare");
  command->add_option("MODEL", arguments.quickstart.model, model_help)->capture_default_str();
  command->add_option("-o,--output", arguments.quickstart.output,
                      "Folder for the quantized models, which replace those of an earlier run; by default MODEL's name "
                      "with -pare");
  command->add_option(
      "--text", arguments.quickstart.text,
      "Text for perplexity; by default heldout.txt beside the weights, or what the model writes itself");
  command->add_option("--prompt", arguments.quickstart.prompt, "Text to continue")->capture_default_str();
  command->add_option("--tokenizer", arguments.quickstart.tokenizer, tokenizer_help);
}

pare::Result<llama::Report> run_command(const std::string& name, const Arguments& arguments, const llama::Desk& desk) {
  if (name == "quantize") return run(arguments.quantize, desk);
  if (name == "convert") return run(arguments.convert, desk);
  if (name == "prune") return run(arguments.prune, desk);
  if (name == "perplexity") return run(arguments.perplexity, desk);
  if (name == "generate") return run(arguments.generate, desk);
  if (name == "bench") return run(arguments.bench, desk);
  if (name == "inspect") return run(arguments.inspect, desk);
  return run(arguments.quickstart, desk);
}

/// Prints a fault in one line.
int complain(std::string message, int status) {
  std::ranges::replace(message, '\n', ' ');
  fmt::print(stderr, "llama: {}\n", message);
  return status;
}

/// Standard output, whose first fault is kept.
class Output {
 public:
  void write(std::string_view text) {
    if (error_ == 0 && (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0))
      error_ = errno;
  }
  [[nodiscard]] int error() const noexcept { return error_; }

 private:
  int error_ = 0;
};

int execute(const std::string& name, const Arguments& arguments) {
  io::ThreadPool threads(arguments.threads);
  Output output;
  const auto say = [&](std::string_view text) {
    if (!arguments.json) output.write(text);
  };
  const auto report = run_command(name, arguments, {threads, say});
  if (!report) return complain(report.error().message, failure);
  if (arguments.json) output.write(report->dump(2, ' ', false, llama::Report::error_handler_t::replace) + "\n");
  if (output.error() != 0)
    return complain(fmt::format("standard output: {}", std::generic_category().message(output.error())), failure);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  // A file that may not grow any more is then a fault of write(), like a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  CLI::App app("Quantizes, prunes, measures and runs LLaMA models.", "llama");
  app.require_subcommand(0, 1);
  Arguments arguments;
  try {
    add_commands(app, arguments);
    app.parse(argc, argv);
    if (app.get_subcommands().empty()) return complain("a command is missing (--help lists them)", wrong_usage);
    return execute(app.get_subcommands().front()->get_name(), arguments);
  } catch (const CLI::Success& wish) {
    return app.exit(wish);
  } catch (const CLI::ParseError& error) {
    return complain(std::string(error.what()) + " (--help explains the options)", wrong_usage);
  } catch (const std::bad_alloc&) {
    return complain("not enough memory", failure);
  } catch (const std::exception& error) {
    return complain(error.what(), failure);
  }
}
