#include "llama/bench.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>

#include "llama/generate.hpp"

namespace llama {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

/// Takes tokens in one by one, with the logits after each.
Result<void> read_singly(Context& context, std::span<const std::int32_t> tokens) {
  for (const std::int32_t& token : tokens)
    if (const auto logits = read_prompt(context, {&token, 1}); !logits) return logits.error();
  return {};
}

Result<void> read_at_once(Context& context, std::span<const std::int32_t> tokens) {
  if (const auto logits = read_prompt(context, tokens); !logits) return logits.error();
  return {};
}

std::vector<double> rates(const Speed& speed) {
  std::vector<double> rates;
  for (const double seconds : speed.seconds) rates.push_back(static_cast<double>(speed.tokens) / seconds);
  return rates;
}

double mean(const std::vector<double>& values) {
  return values.empty() ? 0.0 : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace

double Speed::tokens_per_second() const noexcept { return mean(rates(*this)); }

double Speed::deviation() const noexcept {
  const std::vector<double> all = rates(*this);
  if (all.size() < 2) return 0.0;
  double squares = 0.0;
  for (const double rate : all) squares += (rate - mean(all)) * (rate - mean(all));
  return std::sqrt(squares / static_cast<double>(all.size() - 1));
}

Result<Speeds> measure_speed(const Model& model, const Bench& options, pare::Executor executor,
                             io::ProgressCallback progress) {
  const std::size_t most = std::max(options.prompt, options.generate);
  if (most == 0 || options.repetitions == 0)
    return Error{ErrorCode::invalid_argument, "there is nothing to measure: no tokens or no repetitions"};
  if (most > model.config().context)
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{} tokens do not fit the model's context of {}", most, model.config().context)};
  std::vector<std::int32_t> tokens(most);
  for (std::size_t i = 0; i < most; ++i) tokens[i] = static_cast<std::int32_t>(i * 7919 % model.config().vocab_size);

  Context context(model, most, executor);
  const std::size_t kinds = std::size_t{options.prompt != 0} + std::size_t{options.generate != 0};
  const std::size_t runs = kinds * (options.repetitions + 1);
  std::size_t run = 0;
  const auto measure = [&](std::size_t count, auto&& read, Speed& speed) -> Result<void> {
    speed.tokens = count;
    for (std::size_t i = 0; count != 0 && i <= options.repetitions; ++i) {
      context.clear();
      const auto start = std::chrono::steady_clock::now();
      if (auto done = read(context, std::span(tokens).first(count)); !done) return done;
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
      if (i != 0) speed.seconds.push_back(taken.count());
      progress(++run, runs);
    }
    return {};
  };
  Speeds speeds;
  if (auto done = measure(options.prompt, read_at_once, speeds.prompt); !done) return std::move(done).error();
  if (auto done = measure(options.generate, read_singly, speeds.generate); !done) return std::move(done).error();
  return speeds;
}

}  // namespace llama
