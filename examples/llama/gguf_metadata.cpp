#include "llama/gguf_metadata.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "llama/tokenizer_model.hpp"

namespace llama {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

/// llama.cpp's numbers for what a token is.
enum TokenType : std::int32_t { normal = 1, unknown = 2, control = 3, unused = 5, byte = 6 };

constexpr std::string_view space_mark = "\xE2\x96\x81";  // U+2581, what SentencePiece writes for a space

class Vocabulary {
 public:
  Vocabulary(const Config& config, const tokens::Model& model) : config_(config), model_(model) {}

  void add_to(std::vector<io::GgufEntry>& entries) const {
    const auto add = [&](std::string_view key, io::GgufValue value) {
      entries.push_back({fmt::format("tokenizer.ggml.{}", key), std::move(value)});
    };
    add("model", std::string(model_.byte_level ? "gpt2" : "llama"));
    add("pre", std::string(!model_.byte_level                          ? "default"
                           : model_.split == tokens::WordSplit::llama3 ? "llama-bpe"
                                                                       : "gpt-2"));
    add("tokens", io::GgufArray(pieces()));
    if (model_.byte_level)
      add("merges", io::GgufArray(merges()));
    else
      add("scores", io::GgufArray(scores()));
    add("token_type", io::GgufArray(types()));
    const auto add_id = [&](std::string_view key, std::int32_t id) {
      if (id != tokens::no_token) add(key, static_cast<std::uint32_t>(id));
    };
    add_id("bos_token_id", model_.bos);
    add_id("eos_token_id", config_.end_tokens.empty() ? model_.eos : config_.end_tokens.front());
    add_id("unknown_token_id", model_.unknown);
    add("add_bos_token", !model_.before.empty() && model_.before.front() == model_.bos);
    add("add_eos_token", !model_.after.empty() && model_.after.front() == model_.eos);
    if (!model_.byte_level)
      add("add_space_prefix",
          model_.prefix != tokens::SpacePrefix::never ||
              std::ranges::any_of(model_.normalizer, [](const tokens::TextStep& step) { return step.from.empty(); }));
  }

 private:
  [[nodiscard]] std::vector<std::string> pieces() const {
    std::vector<std::string> pieces = model_.pieces;
    for (std::size_t id = 0; id < pieces.size(); ++id) {
      if (model_.kinds[id] == tokens::TokenKind::absent) pieces[id] = fmt::format("[PAD{}]", id);
      if (!model_.byte_level) pieces[id] = tokens::replace_all(pieces[id], " ", space_mark);
    }
    pieces.resize(config_.vocab_size);
    for (std::size_t id = model_.pieces.size(); id < pieces.size(); ++id) pieces[id] = fmt::format("[PAD{}]", id);
    return pieces;
  }

  [[nodiscard]] std::vector<std::int32_t> types() const {
    std::vector<std::int32_t> types(config_.vocab_size, unused);
    for (std::size_t id = 0; id < model_.kinds.size(); ++id)
      types[id] = model_.kinds[id] == tokens::TokenKind::absent    ? unused
                  : model_.kinds[id] == tokens::TokenKind::special ? control
                                                                   : normal;
    for (const std::int32_t id : model_.byte_ids)
      if (id != tokens::no_token) types[static_cast<std::size_t>(id)] = byte;
    if (model_.unknown != tokens::no_token) types[static_cast<std::size_t>(model_.unknown)] = unknown;
    return types;
  }

  /// llama.cpp merges the neighbours whose joint piece scores highest: the piece of the first merge.
  [[nodiscard]] std::vector<float> scores() const {
    std::vector<float> scores(config_.vocab_size, 0.0f);
    std::vector<bool> known(config_.vocab_size, false);
    for (const auto& pair : model_.merges.pairs()) {
      const auto id = static_cast<std::size_t>(pair.merge.id);
      if (!known[id]) scores[id] = -1.0f - static_cast<float>(pair.merge.rank);
      known[id] = true;
    }
    return scores;
  }

  [[nodiscard]] std::vector<std::string> merges() const {
    std::vector<std::string> merges;
    for (const auto& pair : model_.merges.pairs())
      merges.push_back(model_.pieces[static_cast<std::size_t>(pair.left)] + " " +
                       model_.pieces[static_cast<std::size_t>(pair.right)]);
    return merges;
  }

  const Config& config_;
  const tokens::Model& model_;
};

}  // namespace

Result<std::vector<io::GgufEntry>> gguf_metadata(const Config& config, const Tokenizer& tokenizer,
                                                 const std::string& name, std::uint32_t file_type) {
  if (tokenizer.size() > config.vocab_size)
    return Error{ErrorCode::invalid_argument,
                 fmt::format("the tokenizer has {} tokens, the model {}", tokenizer.size(), config.vocab_size)};
  std::vector<io::GgufEntry> entries;
  const auto add = [&](std::string_view key, io::GgufValue value) {
    entries.push_back({std::string(key), std::move(value)});
  };
  const auto add_size = [&](std::string_view key, std::size_t value) {
    add(fmt::format("llama.{}", key), static_cast<std::uint32_t>(value));
  };
  const auto add_real = [&](std::string_view key, double value) {
    add(fmt::format("llama.{}", key), static_cast<float>(value));
  };
  add("general.architecture", std::string("llama"));
  add("general.type", std::string("model"));
  add("general.name", name);
  add("general.file_type", file_type);
  add("general.quantization_version", std::uint32_t{2});
  add_size("block_count", config.layers);
  add_size("context_length", config.context);
  add_size("embedding_length", config.hidden_size);
  add_size("feed_forward_length", config.intermediate_size);
  add_size("attention.head_count", config.heads);
  add_size("attention.head_count_kv", config.kv_heads);
  add_real("attention.layer_norm_rms_epsilon", config.norm_epsilon);
  add_size("attention.key_length", config.head_dim);
  add_size("attention.value_length", config.head_dim);
  add_size("vocab_size", config.vocab_size);
  add_size("rope.dimension_count", config.head_dim);
  add_real("rope.freq_base", config.rope.theta);
  if (config.rope.kind == Rope::Kind::linear) {
    add("llama.rope.scaling.type", std::string("linear"));
    add_real("rope.scaling.factor", config.rope.factor);
  }
  Vocabulary(config, tokenizer.model()).add_to(entries);
  return entries;
}

}  // namespace llama
