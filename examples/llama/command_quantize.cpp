#include <fmt/format.h>

#include "llama/commands.hpp"
#include "llama/compression_report.hpp"
#include "llama/model_writer.hpp"
#include "llama/progress_bar.hpp"

namespace llama {

pare::Result<Report> run(const QuantizeCommand& command, const Desk& desk) {
  const auto files = WeightFiles::open(command.model);
  if (!files) return files.error();
  const auto model = write_model(*files, command.output, {.scheme = command.scheme}, command.overwrite, desk.executor,
                                 ProgressBar("quantizing"));
  if (!model) return model.error();
  desk.say(compression_text(*files, *model, command.output));
  return compression_report(*files, *model, command.output);
}

}  // namespace llama
