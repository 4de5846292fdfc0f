#include <fmt/format.h>

#include <algorithm>

#include "llama/commands.hpp"
#include "llama/compression_report.hpp"
#include "llama/model_writer.hpp"
#include "llama/progress_bar.hpp"
#include "llama/tokenizer_files.hpp"

namespace llama {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

/// The calibration data in pieces that the model's context holds, of at most calibration_tokens tokens together.
Result<std::vector<Sequence>> read_calibration(const PruneCommand& command, const WeightFiles& files,
                                               const Config& config) {
  std::vector<Sequence> sequences;
  if (!command.calibration_ids.empty()) {
    auto rows = read_id_file(command.calibration_ids);
    if (!rows) return rows;
    sequences = *std::move(rows);
  } else {
    const auto tokenizer = load_tokenizer(files, config, command.tokenizer);
    if (!tokenizer) return tokenizer.error();
    auto documents = read_text_file(command.calibration_text, *tokenizer);
    if (!documents) return documents;
    sequences = *std::move(documents);
  }

  std::vector<Sequence> pieces;
  std::size_t room = command.calibration_tokens;
  for (const Sequence& sequence : sequences)
    for (std::size_t begin = 0; begin < sequence.size() && room > 0; begin += config.context) {
      const std::size_t count = std::min({config.context, sequence.size() - begin, room});
      const auto first = sequence.begin() + static_cast<std::ptrdiff_t>(begin);
      pieces.emplace_back(first, first + static_cast<std::ptrdiff_t>(count));
      room -= count;
    }
  return pieces;
}

}  // namespace

Result<Report> run(const PruneCommand& command, const Desk& desk) {
  const auto files = WeightFiles::open(command.model);
  if (!files) return files.error();
  Compression compression{.scheme = command.scheme, .pruning = command.pruning, .norms = {}};
  std::size_t calibration_tokens = 0;
  if (command.pruning.metric == "wanda") {
    if (auto free = check_output(command.output, command.overwrite); !free) return std::move(free).error();
    if (command.calibration_text.empty() && command.calibration_ids.empty())
      return Error{ErrorCode::invalid_argument, "--metric wanda needs --calibration TEXT or --calibration-ids FILE"};
    const auto config = files->config();
    if (!config) return config.error();
    const auto sequences = read_calibration(command, *files, *config);
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
