#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "io/file.hpp"
#include "llama/activations.hpp"
#include "llama/bench.hpp"
#include "llama/calibration_data.hpp"
#include "llama/generate.hpp"
#include "llama/pruning.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// What every command has: threads, and where its words go. Text comes out as it is said unless the caller wants the
/// report alone.
struct Desk {
  pare::Executor executor;
  pare::FunctionRef<void(std::string_view)> say;
};

/// What a command found, for --json.
using Report = nlohmann::ordered_json;

struct QuantizeCommand {
  std::filesystem::path model;
  std::filesystem::path output;
  std::string scheme;
  std::string layout;          ///< of convertible_layouts(), which need a scheme, or "gguf:TYPE", which is one
  std::string method = "rtn";  ///< of calibrated_methods()
  CalibrationData calibration;
  bool fast = false;     ///< by gguf::quantize_fast, for "gguf:TYPE"
  bool restart = false;  ///< do not take up what an interrupted run finished
  std::filesystem::path tokenizer;
  io::Overwrite overwrite = io::Overwrite::no;
};
/// Writes the model with packed linear layers.
pare::Result<Report> run(const QuantizeCommand& command, const Desk& desk);

struct ConvertCommand {
  std::filesystem::path model;
  std::filesystem::path output;
  std::string layout;  ///< of convertible_layouts(), or "gguf:TYPE"
  std::filesystem::path tokenizer;
  io::Overwrite overwrite = io::Overwrite::no;
};
/// Writes a quantized model in another layout, its codes as they are.
pare::Result<Report> run(const ConvertCommand& command, const Desk& desk);

struct PruneCommand {
  std::filesystem::path model;
  std::filesystem::path output;
  Pruning pruning;
  CalibrationData calibration;
  std::filesystem::path tokenizer;
  std::string scheme;
  bool joint = false;  ///< zeros and codes from one Hessian
  std::string
      inputs;  ///< "layer" or "block": what calibration sees pruned before each layer; empty: as the metric says
  io::Overwrite overwrite = io::Overwrite::no;
};
/// Writes the model with pruned linear layers, packed if there is a scheme.
pare::Result<Report> run(const PruneCommand& command, const Desk& desk);

struct PerplexityCommand {
  std::filesystem::path model;
  std::filesystem::path text;
  std::filesystem::path ids;
  std::size_t window = 0;
  std::filesystem::path tokenizer;
  std::filesystem::path reference;  ///< a model to compare predictions with, with activations of floats; empty: none
  Activations activations = Activations::floats;
};
/// Measures how well the model predicts a text or an array of token ids.
pare::Result<Report> run(const PerplexityCommand& command, const Desk& desk);

struct GenerateCommand {
  std::filesystem::path model;
  std::string prompt;
  Generate options;
  std::filesystem::path tokenizer;
  Activations activations = Activations::int8;
};
/// Continues a text.
pare::Result<Report> run(const GenerateCommand& command, const Desk& desk);

struct BenchCommand {
  std::filesystem::path model;
  Bench options;
  Activations activations = Activations::int8;
};
/// Measures how fast the model takes in a prompt and generates, without a tokenizer.
pare::Result<Report> run(const BenchCommand& command, const Desk& desk);

struct InspectCommand {
  std::filesystem::path model;
};
/// Lists the tensors.
pare::Result<Report> run(const InspectCommand& command, const Desk& desk);

struct QuickstartCommand {
  std::filesystem::path model = "examples/models/tiny-llama";
  std::filesystem::path output;  ///< empty: MODEL's name with "-pare", in the current folder
  std::filesystem::path text;    ///< empty: heldout.txt beside the weights, or what the model writes itself
  std::filesystem::path tokenizer;
  std::string prompt = "Once upon a time";
};
/// Quantizes the model to the schemes that people ask for first, compares them in one table and lets one of them speak.
pare::Result<Report> run(const QuickstartCommand& command, const Desk& desk);

}  // namespace llama
