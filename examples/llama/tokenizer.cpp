#include "llama/tokenizer.hpp"

#include <algorithm>
#include <array>

#include "llama/tokenizer_model.hpp"
#include "llama/tokenizer_split.hpp"
#include "llama/tokenizer_unicode.hpp"

namespace llama {
namespace tokens {
namespace {

std::array<std::string, 256> make_byte_symbols() {
  std::array<std::string, 256> symbols;
  for (unsigned byte = 0; byte < symbols.size(); ++byte) append_code_point(byte_symbol(byte), symbols[byte]);
  return symbols;
}

/// Calls `on_text(stretch, offset)` for the stretches of `text` between added tokens and `on_token(id)` for those.
template <class OnText, class OnToken>
void cut_out(const AddedTokens& added, std::string_view text, OnText&& on_text, OnToken&& on_token) {
  std::size_t position = 0;
  while (const auto match = added.find(text, position)) {
    if (match->begin > position) on_text(text.substr(position, match->begin - position), position);
    on_token(match->id);
    position = match->end;
  }
  if (position < text.size()) on_text(text.substr(position), position);
}

/// One call of Tokenizer::encode().
class Encoder {
 public:
  Encoder(const Model& model, std::vector<std::int32_t>& out) : model_(model), out_(out) {}

  void text(std::string_view well_formed) {
    const auto token = [this](std::int32_t id) { out_.push_back(id); };
    cut_out(
        model_.raw_tokens, well_formed,
        [&](std::string_view raw, std::size_t raw_offset) {
          cut_out(
              model_.normalized_tokens, normalize(model_.normalizer, raw),
              [&](std::string_view stretch, std::size_t offset) { words(stretch, raw_offset + offset == 0); }, token);
        },
        token);
  }

 private:
  void words(std::string_view stretch, bool at_start) {
    std::string text = model_.space == " " ? std::string(stretch) : replace_all(stretch, " ", model_.space);
    const bool prefixed = model_.prefix == SpacePrefix::always || (model_.prefix == SpacePrefix::first && at_start);
    if (prefixed && !text.starts_with(model_.space)) text.insert(0, model_.space);
    for (std::string_view rest = text; !rest.empty();) {
      const std::size_t size = word_size(rest);
      word(rest.substr(0, size));
      rest.remove_prefix(size);
    }
  }

  [[nodiscard]] std::size_t word_size(std::string_view text) const {
    switch (model_.split) {
      case WordSplit::at_spaces:
        return std::min(text.find(model_.space, 1), text.size());
      case WordSplit::gpt2:
        return gpt2_word(text);
      case WordSplit::llama3:
        return llama3_word(text);
      case WordSplit::whole:
        break;
    }
    return text.size();
  }

  void word(std::string_view text) {
    static const std::array<std::string, 256> byte_symbols = make_byte_symbols();
    if (model_.byte_level) {
      spelling_.clear();
      for (const char c : text) spelling_ += byte_symbols[static_cast<unsigned char>(c)];
      text = spelling_;
    }
    if (model_.ignore_merges) {
      if (const std::int32_t id = model_.id_of(text); id != no_token) {
        out_.push_back(id);
        return;
      }
    }
    symbols_.clear();
    bool after_unknown = false;
    while (!text.empty()) {
      const std::size_t size = read_utf8(text).size;
      after_unknown = character(text.substr(0, size), after_unknown);
      text.remove_prefix(size);
    }
    merge_pairs(model_.merges, symbols_, scratch_);
    out_.insert(out_.end(), symbols_.begin(), symbols_.end());
  }

  /// Appends the symbols of one character; returns whether it is unknown.
  bool character(std::string_view text, bool after_unknown) {
    if (const std::int32_t id = model_.id_of(text); id != no_token) {
      symbols_.push_back(id);
      return false;
    }
    const auto byte_id = [&](char c) { return model_.byte_ids[static_cast<unsigned char>(c)]; };
    if (std::all_of(text.begin(), text.end(), [&](char c) { return byte_id(c) != no_token; })) {
      for (const char c : text) symbols_.push_back(byte_id(c));
      return false;
    }
    if (model_.unknown != no_token && !(after_unknown && model_.fuse_unknown)) symbols_.push_back(model_.unknown);
    return true;
  }

  const Model& model_;
  std::vector<std::int32_t>& out_;
  std::string spelling_;
  std::vector<std::int32_t> symbols_;
  MergeScratch scratch_;
};

std::optional<std::int32_t> known(std::int32_t id) noexcept {
  if (id == no_token) return std::nullopt;
  return id;
}

}  // namespace
}  // namespace tokens

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_special) const {
  std::vector<std::int32_t> ids;
  if (add_special) ids = model_->before;
  tokens::Encoder(*model_, ids).text(tokens::repair_utf8(text));
  if (add_special) ids.insert(ids.end(), model_->after.begin(), model_->after.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  TokenStream stream(*this, skip_special);
  std::string text;
  for (const std::int32_t id : ids) text += stream.next(id);
  text += stream.finish();
  return text;
}

std::optional<std::int32_t> Tokenizer::bos() const noexcept { return tokens::known(model_->bos); }
std::optional<std::int32_t> Tokenizer::eos() const noexcept { return tokens::known(model_->eos); }
std::size_t Tokenizer::size() const noexcept { return model_->pieces.size(); }

TokenStream::TokenStream(const Tokenizer& tokenizer, bool skip_special)
    : model_(tokenizer.model_), spaces_to_strip_(model_->leading_spaces), skip_special_(skip_special) {}

std::string TokenStream::next(std::int32_t id) {
  std::string text;
  if (id < 0 || static_cast<std::size_t>(id) >= model_->spelled.size()) return text;
  const auto index = static_cast<std::size_t>(id);
  const bool skipped = skip_special_ && model_->kinds[index] == tokens::TokenKind::special;
  if (!skipped) {
    std::string_view bytes = model_->spelled[index];
    for (; spaces_to_strip_ > 0 && !bytes.empty(); bytes.remove_prefix(1)) {
      if (bytes.front() != ' ') {
        spaces_to_strip_ = 0;
        break;
      }
      --spaces_to_strip_;
    }
    pending_ += bytes;
    if (at_start_ && model_->first_token_drops_spaces) std::erase(pending_, ' ');
    at_start_ = false;
    const std::size_t unfinished = tokens::append_utf8(pending_, text);
    pending_.erase(0, pending_.size() - unfinished);
  }
  if (id == model_->bos && model_->bos_begins_text) spaces_to_strip_ = model_->leading_spaces;
  return text;
}

std::string TokenStream::finish() {
  const std::string text = tokens::repair_utf8(pending_);
  pending_.clear();
  spaces_to_strip_ = model_->leading_spaces;
  at_start_ = true;
  return text;
}

}  // namespace llama
