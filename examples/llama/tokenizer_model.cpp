#include "llama/tokenizer_model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

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

void Model::merge_by_scores(const std::vector<float>& scores) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  std::vector<std::uint32_t> ranks(scores.size());
  for (std::size_t i = 1; i < order.size(); ++i)
    ranks[order[i]] = ranks[order[i - 1]] + (scores[order[i]] != scores[order[i - 1]] ? 1u : 0u);

  struct Pair {
    std::int32_t left;
    std::int32_t right;
    std::int32_t id;
  };
  std::vector<Pair> pairs;
  for (std::size_t index = 0; index < pieces.size(); ++index) {
    const std::string_view piece = pieces[index];
    const auto id = static_cast<std::int32_t>(index);
    if (id_of(piece) != id) continue;
    for (std::size_t cut = 1; cut < piece.size(); ++cut) {
      const std::int32_t left = id_of(piece.substr(0, cut));
      const std::int32_t right = id_of(piece.substr(cut));
      if (left != no_token && right != no_token) pairs.push_back({left, right, id});
    }
  }
  merges.reserve(pairs.size());
  for (const Pair& pair : pairs)
    merges.insert(pair.left, pair.right, {ranks[static_cast<std::size_t>(pair.id)], pair.id});
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
