#include <fmt/format.h>

#include <string_view>

#include "llama/commands.hpp"
#include "llama/compression_report.hpp"
#include "llama/gguf_export.hpp"
#include "llama/model_writer.hpp"
#include "llama/progress_bar.hpp"
#include "llama/tokenizer_files.hpp"

namespace llama {
namespace {

constexpr std::string_view gguf_prefix = "gguf:";

pare::Result<Report> quantize_to_gguf(const WeightFiles& files, const QuantizeCommand& command, const Desk& desk) {
  const auto type = gguf_type(std::string_view(command.layout).substr(gguf_prefix.size()));
  if (!type) return type.error();
  const auto config = files.config();
  if (!config) return config.error();
  const auto tokenizer = load_tokenizer(files, *config, command.tokenizer);
  if (!tokenizer) return tokenizer.error();
  const auto model = write_gguf(files, *tokenizer, command.output, {*type}, command.overwrite, desk.executor,
                                ProgressBar("quantizing"));
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

}  // namespace

pare::Result<Report> run(const QuantizeCommand& command, const Desk& desk) {
  const bool gguf = command.layout.starts_with(gguf_prefix);
  if (!gguf && command.layout != "pare")
    return pare::Error{pare::ErrorCode::invalid_argument,
                       fmt::format("unknown layout \"{}\"; there are pare and gguf:TYPE", command.layout)};
  if (gguf != command.scheme.empty())
    return pare::Error{pare::ErrorCode::invalid_argument,
                       gguf ? "--layout gguf:TYPE says how to quantize; leave --scheme out"
                            : "--scheme is missing; llama quantize --help lists them"};
  const auto files = WeightFiles::open(command.model);
  if (!files) return files.error();
  if (gguf) return quantize_to_gguf(*files, command, desk);
  const auto model = write_model(*files, command.output, {.scheme = command.scheme}, command.overwrite, desk.executor,
                                 ProgressBar("quantizing"));
  if (!model) return model.error();
  desk.say(compression_text(*files, *model, command.output));
  return compression_report(*files, *model, command.output);
}

}  // namespace llama
