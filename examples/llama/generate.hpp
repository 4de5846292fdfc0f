#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "llama/model.hpp"
#include "llama/tokenizer.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// Picks tokens by their logits; the same seed gives the same picks on every platform.
class Sampler {
 public:
  /// A temperature of 0 picks the most likely token, 1 follows the model's own distribution.
  Sampler(double temperature, std::uint64_t seed) : temperature_(temperature), random_(seed) {}

  /// The id of the picked token. Error: a logit that is not a number, or none that is finite.
  pare::Result<std::int32_t> pick(std::span<const float> logits);

 private:
  double temperature_;
  std::mt19937_64 random_;
  std::vector<double> sums_;
};

/// What to generate.
struct Generate {
  std::size_t tokens = 256;  ///< at most so many new ones
  double temperature = 0.0;
  std::uint64_t seed = 0;
  bool stop_at_end = true;  ///< at a token that ends a text
};

/// What was generated, and how long it took after the prompt.
struct Generated {
  std::vector<std::int32_t> tokens;
  double seconds = 0.0;
  double prompt_seconds = 0.0;

  [[nodiscard]] double tokens_per_second() const noexcept {
    return seconds > 0.0 ? static_cast<double>(tokens.size()) / seconds : 0.0;
  }
};

/// Takes in tokens, at least one, and returns the logits after the last, [1, vocab_size], valid until the context's
/// next call. Errors: those of Context::advance.
pare::Result<pare::MatrixView<const float>> read_prompt(Context& context, std::span<const std::int32_t> prompt);

/// Continues `prompt`, calling `on_token` with each new token but one that ends the text. Stops at the model's context
/// length. Errors: an empty prompt, one that fills the context, those of Sampler::pick.
pare::Result<Generated> generate(const Model& model, std::span<const std::int32_t> prompt, const Generate& options,
                                 std::span<const std::int32_t> end_tokens, pare::Executor executor,
                                 pare::FunctionRef<void(std::int32_t)> on_token);

/// The tokens that end a text: those of the configuration, and the tokenizer's EOS and BOS.
std::vector<std::int32_t> end_tokens(const Config& config, const Tokenizer& tokenizer);

}  // namespace llama
