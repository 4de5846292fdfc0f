#include "llama/tokenizer_added.hpp"

#include <algorithm>
#include <utility>

#include "llama/tokenizer_unicode.hpp"

namespace llama::tokens {
namespace {

bool is_space_at(std::string_view text, std::size_t position) noexcept {
  return is_whitespace(classify(read_utf8(text.substr(position)).value));
}

std::size_t skip_spaces(std::string_view text, std::size_t position) noexcept {
  while (position < text.size() && is_space_at(text, position)) position += read_utf8(text.substr(position)).size;
  return position;
}

std::size_t skip_spaces_back(std::string_view text, std::size_t position, std::size_t limit) noexcept {
  while (position > limit) {
    std::size_t begin = position - 1;
    while (begin > limit && (static_cast<unsigned char>(text[begin]) & 0xC0u) == 0x80u) --begin;
    if (!is_space_at(text, begin)) break;
    position = begin;
  }
  return position;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.content.empty(); });
  std::sort(tokens_.begin(), tokens_.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  for (const AddedToken& token : tokens_) begins_[static_cast<unsigned char>(token.content[0])] = true;
}

const AddedToken* AddedTokens::longest_at(std::string_view text) const noexcept {
  const AddedToken* longest = nullptr;
  auto begin = tokens_.begin();
  auto end = tokens_.end();
  for (std::size_t depth = 0; depth < text.size(); ++depth) {
    // Among the contents that share text[0, depth), the one of exactly that length sorts first: -1 puts it there.
    const auto unit = [depth](const AddedToken& token) {
      return token.content.size() > depth ? static_cast<int>(static_cast<unsigned char>(token.content[depth])) : -1;
    };
    const int wanted = static_cast<unsigned char>(text[depth]);
    begin = std::lower_bound(begin, end, wanted, [&](const AddedToken& token, int byte) { return unit(token) < byte; });
    end = std::upper_bound(begin, end, wanted, [&](int byte, const AddedToken& token) { return byte < unit(token); });
    if (begin == end) break;
    if (begin->content.size() == depth + 1) longest = &*begin;
  }
  return longest;
}

std::optional<AddedTokens::Match> AddedTokens::find(std::string_view text, std::size_t from) const noexcept {
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    if (!begins_[static_cast<unsigned char>(text[begin])]) continue;
    const AddedToken* token = longest_at(text.substr(begin));
    if (token == nullptr) continue;
    const std::size_t end = begin + token->content.size();
    return Match{token->strip_left ? skip_spaces_back(text, begin, from) : begin,
                 token->strip_right ? skip_spaces(text, end) : end, token->id};
  }
  return std::nullopt;
}

}  // namespace llama::tokens
