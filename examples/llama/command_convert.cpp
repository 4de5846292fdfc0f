#include <fmt/format.h>

#include "llama/commands.hpp"
#include "llama/compression_report.hpp"
#include "llama/convert.hpp"
#include "llama/gguf_export.hpp"
#include "llama/progress_bar.hpp"
#include "llama/tokenizer_files.hpp"

namespace llama {

pare::Result<Report> run(const ConvertCommand& command, const Desk& desk) {
  const auto files = WeightFiles::open(command.model);
  if (!files) return files.error();
  constexpr std::string_view gguf_prefix = "gguf:";
  Report report{{"layout", command.layout}};
  std::size_t bytes = 0;
  if (command.layout.starts_with(gguf_prefix)) {
    const auto type = gguf_type(std::string_view(command.layout).substr(gguf_prefix.size()));
    if (!type) return type.error();
    const auto config = files->config();
    if (!config) return config.error();
    const auto tokenizer = load_tokenizer(*files, *config, command.tokenizer);
    if (!tokenizer) return tokenizer.error();
    const auto model = write_gguf(*files, *tokenizer, command.output, {*type, GgufLinears::converted},
                                  command.overwrite, desk.executor, ProgressBar("converting"));
    if (!model) return model.error();
    report["layers"] = model->tensors.size();
    bytes = model->file_bytes;
  } else {
    const auto model =
        convert_model(*files, command.layout, command.output, command.overwrite, ProgressBar("converting"));
    if (!model) return model.error();
    report["layers"] = model->layers.size();
    bytes = model->file_bytes;
  }
  report["input_bytes"] = files->file_bytes();
  report["output_bytes"] = bytes;
  desk.say(fmt::format("{} linear layers from {} to {}: {} bytes, {} before\n", report["layers"].get<std::size_t>(),
                       files->name(), command.output.string(), bytes, files->file_bytes()));
  return report;
}

}  // namespace llama
