#include "llama/generate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

namespace llama {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Result<pare::MatrixView<const float>> read_prompt(Context& context, std::span<const std::int32_t> prompt) {
  while (true) {
    const std::size_t count = std::min(Context::chunk, prompt.size());
    const auto hidden = context.advance(prompt.first(count));
    if (!hidden) return hidden.error();
    prompt = prompt.subspan(count);
    if (prompt.empty()) return context.logits({hidden->row(count - 1), 1, hidden->cols});
  }
}

Result<std::int32_t> Sampler::pick(std::span<const float> logits) {
  const auto highest = std::max_element(logits.begin(), logits.end());
  const bool numbers = std::none_of(logits.begin(), logits.end(), [](float logit) { return std::isnan(logit); });
  if (!numbers || !std::isfinite(*highest))
    return Error{ErrorCode::corrupt_data, "the model's logits are not finite numbers"};
  if (temperature_ == 0.0) return static_cast<std::int32_t>(highest - logits.begin());

  sums_.resize(logits.size());
  double sum = 0.0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    sum += std::exp((double{logits[i]} - double{*highest}) / temperature_);
    sums_[i] = sum;
  }
  const double uniform = static_cast<double>(random_() >> 11) * 0x1.0p-53;
  const auto picked = std::ranges::upper_bound(sums_, uniform * sum);
  return static_cast<std::int32_t>(std::min(picked - sums_.begin(), std::ssize(sums_) - 1));
}

Result<Generated> generate(const Model& model, std::span<const std::int32_t> prompt, const Generate& options,
                           std::span<const std::int32_t> end_tokens, pare::Executor executor,
                           pare::FunctionRef<void(std::int32_t)> on_token) {
  if (!(options.temperature >= 0.0))
    return Error{ErrorCode::invalid_argument, "the temperature must be a number of at least 0"};
  const std::size_t context_size = model.config().context;
  if (prompt.empty()) return Error{ErrorCode::invalid_argument, "the prompt is empty, and the tokenizer adds no BOS"};
  if (prompt.size() >= context_size)
    return Error{ErrorCode::invalid_argument,
                 fmt::format("the prompt's {} tokens fill the model's context of {}", prompt.size(), context_size)};
  const std::size_t wanted = std::min(options.tokens, context_size - prompt.size());
  Context context(model, prompt.size() + wanted, executor);
  Sampler sampler(options.temperature, options.seed);
  Generated generated;

  const auto start = std::chrono::steady_clock::now();
  auto logits = read_prompt(context, prompt);
  generated.prompt_seconds = seconds_since(start);
  const auto prompt_end = std::chrono::steady_clock::now();
  while (true) {
    if (!logits) return std::move(logits).error();
    if (generated.tokens.size() == wanted) break;
    const auto next = sampler.pick({logits->row(0), logits->cols});
    if (!next) return next.error();
    if (options.stop_at_end && std::ranges::find(end_tokens, *next) != end_tokens.end()) break;
    generated.tokens.push_back(*next);
    on_token(*next);
    const auto hidden = context.advance({&*next, 1});
    if (!hidden) return hidden.error();
    logits = context.logits(*hidden);
  }
  generated.seconds = seconds_since(prompt_end);
  return generated;
}

std::vector<std::int32_t> end_tokens(const Config& config, const Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids = config.end_tokens;
  if (const auto eos = tokenizer.eos()) ids.push_back(*eos);
  if (const auto bos = tokenizer.bos()) ids.push_back(*bos);
  return ids;
}

}  // namespace llama
