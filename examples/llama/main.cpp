#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <string_view>

#include "io/thread_pool.hpp"
#include "llama/commands.hpp"

namespace {

/// What the command line asks for. One of the commands is chosen.
struct Arguments {
  std::size_t threads = 0;
  bool json = false;
  llama::QuantizeCommand quantize;
  llama::PruneCommand prune;
  llama::PerplexityCommand perplexity;
  llama::GenerateCommand generate;
  llama::InspectCommand inspect;
  llama::QuickstartCommand quickstart;
};

constexpr const char* model_help =
    "a Hugging Face folder, a .safetensors file beside its config.json, or a llama2.c .bin file";
constexpr const char* tokenizer_help = "tokenizer.json or llama2.c tokenizer, where it does not lie beside the weights";

CLI::App* add_command(CLI::App& app, Arguments& arguments, const char* name, const char* help) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_flag("--json", arguments.json, "print one machine-readable report on standard output");
  command->add_option("--threads", arguments.threads, "threads to use; 0 for one per processor")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  return command;
}

void add_output(CLI::App* command, std::filesystem::path& output, io::Overwrite& overwrite) {
  command->add_option("-o,--output", output, "folder to write")->required();
  command->add_flag_callback("--force", [&overwrite] { overwrite = io::Overwrite::yes; }, "replace an existing folder");
}

void add_commands(CLI::App& app, Arguments& arguments) {
  CLI::App* command = add_command(app, arguments, "quantize", "Write the model with packed linear layers");
  command->add_option("MODEL", arguments.quantize.model, model_help)->required();
  add_output(command, arguments.quantize.output, arguments.quantize.overwrite);
  command->add_option("--scheme", arguments.quantize.scheme, "such as int4, nf4, mxfp4, fp8, int8, int4-asym-g32")
      ->required();

  command = add_command(app, arguments, "prune", "Write the model with pruned linear layers");
  command->add_option("MODEL", arguments.prune.model, model_help)->required();
  add_output(command, arguments.prune.output, arguments.prune.overwrite);
  command->add_option("--metric", arguments.prune.pruning.metric, "what a weight is judged by")
      ->check(CLI::IsMember({"magnitude", "wanda"}))
      ->capture_default_str();
  command->add_option("--structure", arguments.prune.pruning.structure, "where zeros may be")
      ->check(CLI::IsMember({"unstructured", "per-layer", "2:4", "4:8"}))
      ->capture_default_str();
  command->add_option("--sparsity", arguments.prune.pruning.sparsity, "share to prune, if not given by the structure")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  CLI::Option* text = command->add_option("--calibration", arguments.prune.calibration_text,
                                          "text that wanda runs through the model; blank lines separate documents");
  command->add_option("--calibration-ids", arguments.prune.calibration_ids, ".npy array of token ids instead of text")
      ->excludes(text);
  command->add_option("--calibration-tokens", arguments.prune.calibration_tokens, "tokens of it to use at most")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 40))
      ->capture_default_str();
  command->add_option("--scheme", arguments.prune.scheme, "also quantize, to this scheme");
  command->add_option("--tokenizer", arguments.prune.tokenizer, tokenizer_help);

  command = add_command(app, arguments, "perplexity", "Measure how well the model predicts a text");
  command->add_option("MODEL", arguments.perplexity.model, model_help)->required();
  CLI::Option_group* data = command->add_option_group("data", "What to predict");
  data->add_option("--text", arguments.perplexity.text, "text file; blank lines separate documents");
  data->add_option("--ids", arguments.perplexity.ids, ".npy file of token ids, [sequences, tokens]");
  data->require_option(1);
  command->add_option("--window", arguments.perplexity.window, "longest piece to predict; 0 for the model's context")
      ->capture_default_str();
  command->add_option("--tokenizer", arguments.perplexity.tokenizer, tokenizer_help);

  command = add_command(app, arguments, "generate", "Continue a text");
  command->add_option("MODEL", arguments.generate.model, model_help)->required();
  command->add_option("--prompt", arguments.generate.prompt, "text to continue")->required();
  command->add_option("--tokens", arguments.generate.options.tokens, "new tokens at most")->capture_default_str();
  command->add_option("--temperature", arguments.generate.options.temperature, "0 for the most likely token each time")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  command->add_option("--seed", arguments.generate.options.seed, "of the random choices")->capture_default_str();
  command->add_option("--tokenizer", arguments.generate.tokenizer, tokenizer_help);

  command = add_command(app, arguments, "inspect", "List the tensors");
  command->add_option("MODEL", arguments.inspect.model, model_help)->required();

  command = add_command(app, arguments, "quickstart", "Quantize in five ways and compare");
  command->add_option("MODEL", arguments.quickstart.model, model_help)->capture_default_str();
  command->add_option("-o,--output", arguments.quickstart.output,
                      "folder for the quantized models, which replace those of an earlier run; by default MODEL's name "
                      "with -pare");
  command->add_option(
      "--text", arguments.quickstart.text,
      "text for perplexity; by default heldout.txt beside the weights, or what the model writes itself");
  command->add_option("--prompt", arguments.quickstart.prompt, "text to continue")->capture_default_str();
  command->add_option("--tokenizer", arguments.quickstart.tokenizer, tokenizer_help);
}

pare::Result<llama::Report> run_command(const std::string& name, const Arguments& arguments, const llama::Desk& desk) {
  if (name == "quantize") return run(arguments.quantize, desk);
  if (name == "prune") return run(arguments.prune, desk);
  if (name == "perplexity") return run(arguments.perplexity, desk);
  if (name == "generate") return run(arguments.generate, desk);
  if (name == "inspect") return run(arguments.inspect, desk);
  return run(arguments.quickstart, desk);
}

/// Prints a fault in one line.
int fail(std::string message, int code) {
  for (char& c : message)
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  std::fprintf(stderr, "llama: %s\n", message.c_str());
  return code;
}

int execute(const std::string& name, const Arguments& arguments) {
  io::ThreadPool threads(arguments.threads);
  const auto say = [&](std::string_view text) {
    if (arguments.json) return;
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  };
  const auto report = run_command(name, arguments, {threads, say});
  if (!report) return fail(report.error().message, 1);
  if (arguments.json) {
    const std::string text = report->dump(2, ' ', false, llama::Report::error_handler_t::replace) + "\n";
    std::fwrite(text.data(), 1, text.size(), stdout);
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) return fail("standard output: cannot write", 1);
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
    if (app.get_subcommands().empty()) return fail("no command; see llama --help", 2);
    return execute(app.get_subcommands().front()->get_name(), arguments);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    return fail(error.what(), 2);
  } catch (const std::bad_alloc&) {
    return fail("not enough memory", 1);
  } catch (const std::exception& error) {
    return fail(error.what(), 1);
  }
}
