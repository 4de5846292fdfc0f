#include "llama/commands.hpp"
#include "llama/compression_report.hpp"
#include "llama/model_writer.hpp"
#include "llama/progress_bar.hpp"

namespace llama {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

Result<Report> run(const PruneCommand& command, const Desk& desk) {
  const auto files = WeightFiles::open(command.model);
  if (!files) return files.error();
  Compression compression{.scheme = command.scheme, .pruning = command.pruning, .norms = {}};
  std::size_t calibration_tokens = 0;
  if (command.pruning.metric == "wanda") {
    if (auto free = check_output(command.output, command.overwrite); !free) return std::move(free).error();
    if (!command.calibration.given())
      return Error{ErrorCode::invalid_argument, "--metric wanda needs --calibration TEXT or --calibration-ids FILE"};
    const auto config = files->config();
    if (!config) return config.error();
    const auto sequences = read_calibration(command.calibration, command.tokenizer, *files, *config);
    if (!sequences) return sequences.error();
    for (const Sequence& sequence : *sequences) calibration_tokens += sequence.size();
    auto norms = calibrate(*files, *config, command.pruning, *sequences, desk.executor, ProgressBar("calibrating"));
    if (!norms) return std::move(norms).error();
    compression.norms = *std::move(norms);
  }

  const auto model =
      write_model(*files, command.output, compression, command.overwrite, desk.executor, ProgressBar("pruning"));
  if (!model) return model.error();
  desk.say(compression_text(*files, *model, command.output));
  Report report = compression_report(*files, *model, command.output);
  report["metric"] = command.pruning.metric;
  report["structure"] = command.pruning.structure;
  report["calibration_tokens"] = calibration_tokens;
  return report;
}

}  // namespace llama
