#include "llama/tokenizer_model.hpp"

#include <fmt/format.h>

namespace llama::tokens {

void Model::index() {
  ids.reserve(pieces.size());
  for (std::size_t id = 0; id < pieces.size(); ++id)
    if (kinds[id] != TokenKind::absent) ids.try_emplace(pieces[id], static_cast<std::int32_t>(id));
}

std::int32_t Model::id_of(std::string_view piece) const noexcept {
  const auto found = ids.find(piece);
  return found != ids.end() ? found->second : no_token;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  result.reserve(text.size());
  std::size_t begin = 0;
  for (std::size_t at = text.find(from); at != std::string_view::npos; at = text.find(from, begin)) {
    result += text.substr(begin, at - begin);
    result += to;
    begin = at + from.size();
  }
  result += text.substr(begin);
  return result;
}

std::string normalize(const std::vector<TextStep>& steps, std::string_view text) {
  std::string result(text);
  for (const TextStep& step : steps) {
    if (!step.from.empty())
      result = replace_all(result, step.from, step.content);
    else if (!result.empty())
      result.insert(0, step.content);
  }
  return result;
}

std::string byte_piece(unsigned byte) { return fmt::format("<0x{:02X}>", byte); }

}  // namespace llama::tokens
