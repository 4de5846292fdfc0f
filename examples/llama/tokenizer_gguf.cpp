#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <new>
#include <utility>

#include "io/gguf.hpp"
#include "io/json.hpp"
#include "llama/tokenizer.hpp"
#include "llama/tokenizer_model.hpp"

namespace llama {
namespace tokens {
namespace {

using pare::Error;
using pare::ErrorCode;
using pare::Result;

constexpr std::string_view space_mark = "\xE2\x96\x81";  // U+2581
constexpr std::size_t max_piece = 1024;
constexpr std::int32_t type_control = 3, type_unused = 5, type_byte = 6;

template <class T>
const std::vector<T>* array(const io::GgufFile& file, std::string_view key) {
  const auto* any = file.value_as<io::GgufArray>(key);
  return any == nullptr ? nullptr : std::get_if<std::vector<T>>(any);
}

bool flag(const io::GgufFile& file, std::string_view key, bool otherwise) {
  const bool* value = file.value_as<bool>(key);
  return value == nullptr ? otherwise : *value;
}

Result<std::shared_ptr<const Model>> parse(const io::GgufFile& file) {
  const auto fault = [&](std::string_view what) {
    return Error{ErrorCode::corrupt_data, fmt::format("{}: {}", file.name(), what)};
  };
  const auto* kind = file.value_as<std::string>("tokenizer.ggml.model");
  if (kind == nullptr || *kind != "llama")
    return Error{
        ErrorCode::unsupported,
        fmt::format("{}: tokenizer.ggml.model is {}, and only \"llama\" is read from GGUF; give a tokenizer.json",
                    file.name(), kind == nullptr ? "missing" : io::quote(*kind))};
  const auto* pieces = array<std::string>(file, "tokenizer.ggml.tokens");
  const auto* scores = array<float>(file, "tokenizer.ggml.scores");
  const auto* types = array<std::int32_t>(file, "tokenizer.ggml.token_type");
  if (pieces == nullptr || scores == nullptr || types == nullptr)
    return fault("tokenizer.ggml.tokens, scores or token_type is missing or of another type");
  if (pieces->size() > static_cast<std::size_t>(Tokenizer::max_vocabulary) || scores->size() != pieces->size() ||
      types->size() != pieces->size())
    return fault(fmt::format("tokenizer.ggml has {} tokens, {} scores and {} types", pieces->size(), scores->size(),
                             types->size()));

  auto model = std::make_shared<Model>();
  model->pieces = *pieces;
  model->spelled.resize(pieces->size());
  model->space = space_mark;
  for (std::size_t id = 0; id < pieces->size(); ++id) {
    const std::string& piece = (*pieces)[id];
    if (piece.size() > max_piece)
      return fault(fmt::format("token {} has {} bytes; at most {} are read", id, piece.size(), max_piece));
    if (!std::isfinite((*scores)[id])) return fault(fmt::format("the score of token {} is not finite", id));
    const std::int32_t type = (*types)[id];
    model->kinds.push_back(type == type_unused    ? TokenKind::absent
                           : type == type_control ? TokenKind::special
                                                  : TokenKind::plain);
    model->spelled[id] = replace_all(piece, space_mark, " ");
    if (type != type_byte) continue;
    for (unsigned byte = 0; byte < 256; ++byte)
      if (piece == byte_piece(byte)) {
        model->byte_ids[byte] = static_cast<std::int32_t>(id);
        model->spelled[id].assign(1, static_cast<char>(byte));
      }
  }
  const auto id_at = [&](std::string_view key) {
    const io::GgufValue* value = file.value(key);
    const auto id = value == nullptr ? std::nullopt : io::as_unsigned(*value);
    return id && *id < pieces->size() ? static_cast<std::int32_t>(*id) : no_token;
  };
  model->bos = id_at("tokenizer.ggml.bos_token_id");
  model->eos = id_at("tokenizer.ggml.eos_token_id");
  model->unknown = id_at("tokenizer.ggml.unknown_token_id");
  if (flag(file, "tokenizer.ggml.add_bos_token", true) && model->bos != no_token) model->before = {model->bos};
  if (flag(file, "tokenizer.ggml.add_eos_token", false) && model->eos != no_token) model->after = {model->eos};
  model->normalizer = {{.from = " ", .content = std::string(space_mark)}};
  if (flag(file, "tokenizer.ggml.add_space_prefix", true)) {
    model->normalizer.push_back({.from = "", .content = std::string(space_mark)});
    model->leading_spaces = 1;
    model->bos_begins_text = true;
  }
  model->index();
  model->merge_by_scores(*scores);
  return std::shared_ptr<const Model>(std::move(model));
}

}  // namespace
}  // namespace tokens

pare::Result<Tokenizer> Tokenizer::from_gguf(const io::GgufFile& file) {
  try {
    auto model = tokens::parse(file);
    if (!model) return std::move(model).error();
    return Tokenizer(*std::move(model));
  } catch (const std::bad_alloc&) {
    return pare::Error{pare::ErrorCode::out_of_memory, file.name() + ": no memory for the vocabulary"};
  }
}

}  // namespace llama
