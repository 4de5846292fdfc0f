#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string_view>

#include "io/json.hpp"
#include "llama/gguf_metadata.hpp"

namespace llama {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

/// Reads the keys "llama.*" of one file; the first fault is kept.
class Keys {
 public:
  explicit Keys(const io::GgufFile& file) : file_(file) {}

  /// An integer from 1 to 2^31 - 1. Without a default the key must be there.
  std::size_t size(std::string_view key, std::optional<std::size_t> otherwise = {}) {
    const std::string whole = fmt::format("llama.{}", key);
    const io::GgufValue* value = file_.value(whole);
    if (value == nullptr && otherwise) return *otherwise;
    const auto number = value == nullptr ? std::nullopt : io::as_unsigned(*value);
    if (number && *number >= 1 && *number <= std::uint64_t{std::numeric_limits<std::int32_t>::max()})
      return static_cast<std::size_t>(*number);
    fail(whole, value == nullptr ? "is missing" : "is no integer from 1 to 2147483647");
    return 1;
  }

  /// A positive number.
  double real(std::string_view key, std::optional<double> otherwise = {}) {
    const std::string whole = fmt::format("llama.{}", key);
    const io::GgufValue* value = file_.value(whole);
    if (value == nullptr && otherwise) return *otherwise;
    double number = -1.0;
    if (const auto* f = file_.value_as<float>(whole)) number = static_cast<double>(*f);
    if (const auto* d = file_.value_as<double>(whole)) number = *d;
    if (std::isfinite(number) && number > 0.0) return number;
    fail(whole, value == nullptr ? "is missing" : "is no positive number");
    return 1.0;
  }

  void fail(std::string_view key, std::string_view what) {
    if (!error_) error_ = Error{ErrorCode::corrupt_data, fmt::format("{}: {} {}", file_.name(), key, what)};
  }
  [[nodiscard]] const std::optional<Error>& error() const noexcept { return error_; }

 private:
  const io::GgufFile& file_;
  std::optional<Error> error_;
};

}  // namespace

Result<Config> config_from_gguf(const io::GgufFile& file) {
  const auto* architecture = file.value_as<std::string>("general.architecture");
  if (architecture == nullptr || *architecture != "llama")
    return Error{ErrorCode::unsupported, fmt::format("{}: general.architecture is {}, not \"llama\"", file.name(),
                                                     architecture == nullptr ? "missing" : io::quote(*architecture))};
  const io::GgufTensor* embedding = file.find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2)
    return Error{ErrorCode::corrupt_data, fmt::format("{}: has no matrix \"token_embd.weight\"", file.name())};
  Keys keys(file);
  Config config;
  config.vocab_size = embedding->shape.front();
  config.hidden_size = keys.size("embedding_length");
  config.intermediate_size = keys.size("feed_forward_length");
  config.layers = keys.size("block_count");
  config.heads = keys.size("attention.head_count");
  config.kv_heads = keys.size("attention.head_count_kv", config.heads);
  config.head_dim = keys.size("attention.key_length", config.hidden_size / config.heads);
  config.context = keys.size("context_length");
  config.norm_epsilon = keys.real("attention.layer_norm_rms_epsilon");
  config.rope.theta = keys.real("rope.freq_base", 10000.0);
  config.tied = file.find("output.weight") == nullptr;
  if (config.heads % config.kv_heads != 0)
    keys.fail("llama.attention.head_count", "is no multiple of llama.attention.head_count_kv");
  if (config.head_dim == 0 || config.head_dim % 2 != 0) keys.fail("llama.attention.key_length", "is odd or zero");
  if (keys.size("rope.dimension_count", config.head_dim) != config.head_dim)
    keys.fail("llama.rope.dimension_count", "is not the size of a head");
  const auto* scaling = file.value_as<std::string>("llama.rope.scaling.type");
  if (scaling != nullptr && *scaling == "linear") {
    config.rope.kind = Rope::Kind::linear;
    config.rope.factor = keys.real("rope.scaling.factor");
  } else if (file.find("rope_freqs.weight") != nullptr || (scaling != nullptr && *scaling != "none")) {
    return Error{ErrorCode::unsupported, fmt::format("{}: stretches its context in a way that is not implemented ({})",
                                                     file.name(), scaling != nullptr ? *scaling : "rope_freqs.weight")};
  }
  if (const io::GgufValue* id = file.value("tokenizer.ggml.eos_token_id"))
    if (const auto end = io::as_unsigned(*id); end && *end < config.vocab_size)
      config.end_tokens.push_back(static_cast<std::int32_t>(*end));
  if (keys.error()) return *keys.error();
  return config;
}

}  // namespace llama
