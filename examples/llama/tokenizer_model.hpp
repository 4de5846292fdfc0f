#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "llama/tokenizer_added.hpp"
#include "llama/tokenizer_bpe.hpp"

namespace llama::tokens {

inline constexpr std::int32_t no_token = -1;

/// What an id stands for. An `absent` id lies in a gap of the vocabulary.
enum class TokenKind : std::uint8_t { absent, plain, special };

/// One step of normalization.
struct TextStep {
  std::string from;     ///< what is replaced; empty: nothing, `content` is put in front of a text that is not empty
  std::string content;  ///< what replaces it
};

/// How normalized text is cut into the words that merges do not cross.
enum class WordSplit : std::uint8_t { whole, at_spaces, gpt2, llama3 };

/// Which stretches of text get a space in front unless they begin with one.
enum class SpacePrefix : std::uint8_t { never, first, always };

/// Everything that both kinds of files describe, in the form that encoding and decoding use.
struct Model {
  Model() { byte_ids.fill(no_token); }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  std::vector<std::string> pieces;                         ///< by id
  std::vector<TokenKind> kinds;                            ///< by id
  std::unordered_map<std::string_view, std::int32_t> ids;  ///< views into `pieces`; the lowest id of equal pieces
  PairTable merges;

  std::vector<TextStep> normalizer;
  AddedTokens raw_tokens;         ///< sought in the text as it is given
  AddedTokens normalized_tokens;  ///< sought in normalized text
  std::string space = " ";        ///< what pre-tokenization writes for a space; one code point
  SpacePrefix prefix = SpacePrefix::never;
  WordSplit split = WordSplit::whole;
  bool byte_level = false;     ///< pieces spell each byte by the code point of byte_symbol()
  bool ignore_merges = false;  ///< a word that is a piece is that token, whatever merges say

  std::array<std::int32_t, 256> byte_ids{};  ///< tokens that characters outside the vocabulary fall back to
  std::int32_t unknown = no_token;
  bool fuse_unknown = false;

  std::vector<std::int32_t> before;  ///< special tokens in front of every text
  std::vector<std::int32_t> after;   ///< and behind it
  std::int32_t bos = no_token;
  std::int32_t eos = no_token;

  std::vector<std::string> spelled;       ///< by id: the bytes that the token decodes to
  std::size_t leading_spaces = 0;         ///< spaces that decoding drops where a text begins
  bool bos_begins_text = false;           ///< and behind every BOS
  bool first_token_drops_spaces = false;  ///< the first token of a text loses all its spaces

  /// Makes `ids` from `pieces` and `kinds`, which must not change afterwards.
  void index();

  /// Makes `merges` for vocabularies that join the neighbours whose joint piece scores highest, as SentencePiece and
  /// llama2.c do: every pair that joins to a piece, with a rank that orders as its score does, equal for equal scores.
  /// `scores` are by id and finite. To be called after index().
  void merge_by_scores(const std::vector<float>& scores);

  /// The id of a piece, or no_token.
  [[nodiscard]] std::int32_t id_of(std::string_view piece) const noexcept;
};

/// `text` with every occurrence of `from`, which is not empty, replaced.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

/// `text` after the normalization steps.
std::string normalize(const std::vector<TextStep>& steps, std::string_view text);

/// The code point that stands for a byte in byte-level pieces: itself for printable Latin-1, for the others (in order)
/// U+0100 onward.
constexpr char32_t byte_symbol(unsigned byte) noexcept {
  constexpr auto printable = [](unsigned b) { return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD); };
  if (printable(byte)) return byte;
  char32_t symbol = 0x100;
  for (unsigned b = 0; b < byte; ++b) symbol += printable(b) ? 0u : 1u;
  return symbol;
}

/// The piece that byte fallback gives a byte: "<0x0A>".
std::string byte_piece(unsigned byte);

}  // namespace llama::tokens
