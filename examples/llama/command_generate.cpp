#include <fmt/format.h>

#include <utility>

#include "llama/commands.hpp"
#include "llama/model.hpp"
#include "llama/tokenizer_files.hpp"

namespace llama {
using pare::Result;

Result<Report> run(const GenerateCommand& command, const Desk& desk) {
  const auto model = Model::load(command.model, {command.activations, desk.executor});
  if (!model) return model.error();
  const auto tokenizer = load_tokenizer(model->files(), model->config(), command.tokenizer);
  if (!tokenizer) return tokenizer.error();

  const std::vector<std::int32_t> prompt = tokenizer->encode(command.prompt);
  TokenStream stream(*tokenizer);
  std::string text;
  const auto show = [&](std::string_view piece) {
    text += piece;
    desk.say(piece);
  };
  bool begun = false;
  const auto begin = [&] {  // not before it is sure that the model takes the prompt
    if (!std::exchange(begun, true))
      for (const std::int32_t token : prompt) show(stream.next(token));
  };
  const auto generated = generate(*model, prompt, command.options, end_tokens(model->config(), *tokenizer),
                                  desk.executor, [&](std::int32_t token) {
                                    begin();
                                    show(stream.next(token));
                                  });
  if (!generated)
    return pare::Error{generated.error().code, fmt::format("{}: {}", model->files().name(), generated.error().message)};
  begin();
  show(stream.finish());
  desk.say("\n");
  return Report{{"model", model->files().name()},
                {"prompt", command.prompt},
                {"activations", activation_names[static_cast<std::size_t>(model->activations())]},
                {"text", text},
                {"tokens", generated->tokens},
                {"prompt_tokens", prompt.size()},
                {"prompt_seconds", generated->prompt_seconds},
                {"seconds", generated->seconds},
                {"tokens_per_second", generated->tokens_per_second()}};
}

}  // namespace llama
