#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "llama/commands.hpp"
#include "llama/model.hpp"
#include "llama/progress_bar.hpp"

namespace llama {
using pare::Error;
using pare::Result;

Result<Report> run(const BenchCommand& command, const Desk& desk) {
  const auto start = std::chrono::steady_clock::now();
  const auto model = Model::load(command.model, {command.activations, desk.executor});
  if (!model) return model.error();
  const std::chrono::duration<double> loading = std::chrono::steady_clock::now() - start;
  const auto speeds = measure_speed(*model, command.options, desk.executor, ProgressBar("measuring"));
  if (!speeds) return Error{speeds.error().code, fmt::format("{}: {}", model->files().name(), speeds.error().message)};

  const std::string_view activations = activation_names[static_cast<std::size_t>(model->activations())];
  Report report{{"model", model->files().name()},
                {"activations", activations},
                {"weight_bytes", model->weight_bytes()},
                {"load_seconds", loading.count()}};
  desk.say(fmt::format("{}: {:.1f} MB of weights in a token's products, activations {}\n", model->files().name(),
                       static_cast<double>(model->weight_bytes()) / 1e6, activations));
  for (const auto& [name, key, speed] :
       {std::tuple("pp", "prompt", &speeds->prompt), std::tuple("tg", "generate", &speeds->generate)}) {
    if (speed->seconds.empty()) continue;
    desk.say(fmt::format("{:<8} {:9.2f} ± {:.2f} tokens/s\n", fmt::format("{}{}", name, speed->tokens),
                         speed->tokens_per_second(), speed->deviation()));
    report[key] = {{"tokens", speed->tokens},
                   {"seconds", speed->seconds},
                   {"tokens_per_second", speed->tokens_per_second()},
                   {"deviation", speed->deviation()}};
  }
  return report;
}

}  // namespace llama
