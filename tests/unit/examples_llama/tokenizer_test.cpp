#include "llama/tokenizer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "llama/tokenizer_bpe.hpp"
#include "llama/tokenizer_split.hpp"
#include "llama/tokenizer_unicode.hpp"

namespace {

using llama::Tokenizer;
using llama::TokenStream;
using nlohmann::json;
using Ids = std::vector<std::int32_t>;
namespace fs = std::filesystem;

const fs::path shared = PARE_SHARED_DIR;
const fs::path llama3_like = fs::path(PARE_TEST_DIR) / "golden" / "tokenizers" / "llama3_like";
const fs::path tinystories = shared / "data" / "models" / "llama" / "tinystories-656k";
const fs::path tok512 = shared / "data" / "models" / "llama" / "stories260K" / "tok512.bin";
const fs::path validation_text = shared / "data" / "text" / "tinystories_val.txt";

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Tokenizer must(pare::Result<Tokenizer> tokenizer) {
  if (!tokenizer) ADD_FAILURE() << tokenizer.error().message;
  return tokenizer ? *std::move(tokenizer) : *Tokenizer::from_json(llama3_like);
}

Tokenizer make(const json& document, const std::string& config = {}) {
  return must(Tokenizer::parse_json(document.dump(), "made.json", config));
}

std::string fault(const pare::Result<Tokenizer>& tokenizer) {
  return tokenizer ? "no fault" : tokenizer.error().message;
}

/// A character-level vocabulary in the manner of LLaMA 2: <unk> 0, <s> 1, </s> 2, bytes 3 to 258, then `pieces`.
json sentencepiece(const std::vector<std::string>& pieces, const std::vector<std::string>& merges,
                   bool with_bytes = true) {
  json vocab = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  constexpr char digits[] = "0123456789ABCDEF";
  for (unsigned b = 0; b < 256 && with_bytes; ++b)
    vocab[std::string("<0x") + digits[b / 16] + digits[b % 16] + ">"] = 3 + b;
  for (const std::string& piece : pieces) vocab[piece] = vocab.size();
  json document = json::parse(R"({
    "added_tokens": [{"id": 0, "content": "<unk>", "special": true, "normalized": false},
                     {"id": 1, "content": "<s>", "special": true, "normalized": false},
                     {"id": 2, "content": "</s>", "special": true, "normalized": false}],
    "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
    "pre_tokenizer": null,
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
    "decoder": {"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true}})");
  document["model"]["vocab"] = vocab;
  document["model"]["merges"] = merges;
  return document;
}

const std::vector<std::string> letters = {"▁", "a", "b", "c", "ab", "abc", "▁a", "é"};
const std::vector<std::string> letter_merges = {"a b", "ab c", "▁ a"};
constexpr std::int32_t space = 259, a = 260, b = 261, c = 262, ab = 263, abc = 264, space_a = 265, e_acute = 266;
static_assert(space_a == 265 && e_acute == 266);

std::string bytes_of(std::uint32_t word) {
  std::string text;
  for (unsigned shift = 0; shift < 32; shift += 8) text += static_cast<char>(word >> shift & 0xFFu);
  return text;
}

struct Scored {
  std::string piece;
  float score;
};

std::string llama2c_file(const std::vector<Scored>& tokens, std::uint32_t longest) {
  std::string file = bytes_of(longest);
  for (const Scored& token : tokens)
    file += bytes_of(std::bit_cast<std::uint32_t>(token.score)) +
            bytes_of(static_cast<std::uint32_t>(token.piece.size())) + token.piece;
  return file;
}

std::vector<Scored> llama2c_fixed() {
  std::vector<Scored> tokens = {{"<unk>", 0}, {"\n<s>\n", 0}, {"\n</s>\n", 0}};
  constexpr char digits[] = "0123456789ABCDEF";
  for (unsigned byte = 0; byte < 256; ++byte)
    tokens.push_back({std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">", 0});
  return tokens;
}

// ---------------------------------------------------------------------------------------------------------- Unicode

TEST(TokenizerUnicode, ReplacesEachMaximalSubpart) {
  const std::string bad = "\xEF\xBF\xBD";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", ""},
      {"plain \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80", "plain \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"},
      {"\x80", bad},
      {"\xC0\xAF", bad + bad},                      // overlong: neither byte can begin or continue anything
      {"\xE0\x80\x80", bad + bad + bad},            // overlong in three bytes
      {"\xED\xA0\x80", bad + bad + bad},            // a surrogate
      {"\xF4\x90\x80\x80", bad + bad + bad + bad},  // above U+10FFFF
      {"\xF5\x80", bad + bad},                      // F5 begins nothing
      {"\xE2\x82"
       "a",
       bad + "a"},                             // cut short: one subpart of two bytes
      {"\xF0\x9F\x98", bad},                   // cut short by the end
      {"\xF0\x9F\xC3\xA9", bad + "\xC3\xA9"},  // cut short by another character
      {"a\xFF\xFE"
       "b",
       "a" + bad + bad + "b"},
      {std::string("\0x", 2), std::string("\0x", 2)},
      {"\xEF\xBF\xBF\xF4\x8F\xBF\xBF", "\xEF\xBF\xBF\xF4\x8F\xBF\xBF"},  // U+FFFF, U+10FFFF
  };
  for (const auto& [bytes, text] : cases)
    EXPECT_EQ(llama::tokens::repair_utf8(bytes), text) << testing::PrintToString(bytes);
}

TEST(TokenizerUnicode, EveryScalarValueSurvives) {
  for (char32_t value = 0; value < 0x110000; ++value) {
    if (value >= 0xD800 && value < 0xE000) continue;
    std::string text;
    llama::tokens::append_code_point(value, text);
    const auto step = llama::tokens::read_utf8(text);
    ASSERT_EQ(step.value, value);
    ASSERT_EQ(step.size, text.size());
    ASSERT_EQ(step.state, llama::tokens::Utf8Step::State::whole);
  }
}

TEST(TokenizerUnicode, ClassesOfKnownCharacters) {
  using llama::tokens::CharClass;
  const std::map<CharClass, std::u32string> known = {
      {CharClass::letter,
       U"AZaz\u00AA\u00B5\u00C0\u00FF\u017F\u0391\u0416\u05D0\u0627\u3042\u4E00\u9FFF\uAC00\U0001D400\U00020000"},
      {CharClass::number, U"09\u00B2\u00BD\u0660\u2167\u3007\u2460\U0001D7CE"},
      {CharClass::space, U"\t\v\f \u0085\u00A0\u1680\u2000\u200A\u2028\u2029\u202F\u205F\u3000"},
      {CharClass::newline, U"\r\n"},
      {CharClass::other, U"!'_\u0001\u001C\u007F\u00D7\u0301\u200B\u20AC\uFFFD\U0001F600\U0010FFFF"}};
  for (const auto& [kind, characters] : known)
    for (const char32_t value : characters)
      EXPECT_EQ(llama::tokens::classify(value), kind) << "U+" << std::hex << static_cast<std::uint32_t>(value);
}

// -------------------------------------------------------------------------------------------------------- splitting

// std::regex knows no \p{L}; over ASCII the patterns can be said without it, with the same backtracking semantics.
TEST(TokenizerSplit, AgreesWithARegexEngineOverAscii) {
  const std::regex gpt2(R"('s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+)");
  const std::regex llama3(
      R"('[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\nA-Za-z0-9]?[A-Za-z]+|[0-9]{1,3}| ?[^\sA-Za-z0-9]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
  constexpr std::string_view alphabet = "aS'tTrevmLld019  \n\n\r\t\v.!";
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (std::size_t size = 1 + random() % 24; size > 0; --size) text += alphabet[random() % alphabet.size()];
    std::smatch match;
    ASSERT_TRUE(std::regex_search(text, match, gpt2, std::regex_constants::match_continuous));
    ASSERT_EQ(llama::tokens::gpt2_word(text), match[0].length()) << testing::PrintToString(text);
    ASSERT_TRUE(std::regex_search(text, match, llama3, std::regex_constants::match_continuous));
    ASSERT_EQ(llama::tokens::llama3_word(text), match[0].length()) << testing::PrintToString(text);
  }
}

TEST(TokenizerSplit, HandlesUnicode) {
  using llama::tokens::gpt2_word;
  using llama::tokens::llama3_word;
  EXPECT_EQ(llama3_word("été 1"), std::string_view("été").size());
  EXPECT_EQ(llama3_word("€été"), std::string_view("€été").size());  // one other character joins the letters behind it
  EXPECT_EQ(gpt2_word("€été"), std::string_view("€").size());
  EXPECT_EQ(llama3_word("٣٤٥٦"), std::string_view("٣٤٥").size());
  EXPECT_EQ(gpt2_word("٣٤٥٦"), std::string_view("٣٤٥٦").size());
  EXPECT_EQ(llama3_word("'ſo"), std::string_view("'ſ").size());  // the long s folds to s
  EXPECT_EQ(gpt2_word("'ſo"), 1u);
  EXPECT_EQ(llama3_word("\u3000\u3000x"), 3u);
  EXPECT_EQ(gpt2_word("\u3000x"), 3u);
}

// ------------------------------------------------------------------------------------------------ byte pair encoding

Ids merge_by_scanning(const std::vector<std::array<std::int32_t, 3>>& merges, Ids ids) {
  for (;;) {
    std::size_t best_rank = merges.size();
    std::size_t best = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i)
      for (std::size_t rank = 0; rank < best_rank; ++rank)
        if (merges[rank][0] == ids[i] && merges[rank][1] == ids[i + 1]) {
          best_rank = rank;
          best = i;
        }
    if (best_rank == merges.size()) return ids;
    ids[best] = merges[best_rank][2];
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(TokenizerBpe, AgreesWithScanningForTheBestPair) {
  std::mt19937 random(2);
  for (int round = 0; round < 400; ++round) {
    const std::int32_t alphabet = 1 + static_cast<std::int32_t>(random() % 4);
    std::vector<std::array<std::int32_t, 3>> merges;
    std::set<std::pair<std::int32_t, std::int32_t>> seen;
    const std::size_t wanted = random() % 24;
    for (std::int32_t next = alphabet; merges.size() < wanted;) {
      const auto left = static_cast<std::int32_t>(random() % static_cast<unsigned>(next));
      const auto right = static_cast<std::int32_t>(random() % static_cast<unsigned>(next));
      // Several pairs may become the same token, as "ab c" and "a bc" do.
      const bool reuse = next > alphabet && random() % 4 == 0;
      const std::int32_t id = reuse ? next - 1 : next;
      if (!seen.emplace(left, right).second) break;
      if (!reuse) ++next;
      merges.push_back({left, right, id});
    }
    std::shuffle(merges.begin(), merges.end(), random);
    llama::tokens::PairTable pairs;
    pairs.reserve(merges.size());
    for (std::size_t rank = 0; rank < merges.size(); ++rank)
      pairs.insert(merges[rank][0], merges[rank][1], {static_cast<std::uint32_t>(rank), merges[rank][2]});

    llama::tokens::MergeScratch scratch;
    for (int text = 0; text < 20; ++text) {
      Ids ids(random() % 60);
      for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % static_cast<unsigned>(alphabet));
      Ids merged = ids;
      llama::tokens::merge_pairs(pairs, merged, scratch);
      ASSERT_EQ(merged, merge_by_scanning(merges, ids)) << testing::PrintToString(ids);
    }
  }
}

TEST(TokenizerBpe, LowestRankThenLeftmost) {
  const Tokenizer tokenizer = make(sentencepiece({"▁", "a", "aa", "aaa"}, {"a a", "a aa"}));
  constexpr std::int32_t aa = 261;
  EXPECT_EQ(tokenizer.encode("aaa", false), (Ids{259, aa, 260}));  // not ▁ a aa: the leftmost pair goes first
  EXPECT_EQ(tokenizer.encode("aaaa", false), (Ids{259, aa, aa}));
  EXPECT_EQ(tokenizer.encode("aaaaa", false), (Ids{259, aa, aa, 260}));
  const Tokenizer reversed = make(sentencepiece({"▁", "a", "aa", "aaa", "▁a"}, {"▁ a", "a a", "a aa"}));
  EXPECT_EQ(reversed.encode("aaaa", false), (Ids{263, aa, 260}));
  EXPECT_EQ(reversed.encode("aaa", false), (Ids{263, aa}));
}

TEST(TokenizerBpe, LongTextsWithoutBoundaries) {
  const Tokenizer tokenizer = make(sentencepiece(letters, letter_merges));
  std::string text;
  while (text.size() < (std::size_t{1} << 20)) text += "abcab abc";
  const Ids ids = tokenizer.encode(text);
  EXPECT_EQ(tokenizer.decode(ids), text);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), abc), std::count(text.begin(), text.end(), 'c'));
}

// ----------------------------------------------------------------------------------------- Hugging Face, characters

TEST(TokenizerCharacters, EncodesByHand) {
  const Tokenizer tokenizer = make(sentencepiece(letters, letter_merges));
  EXPECT_EQ(tokenizer.size(), 267u);
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_EQ(tokenizer.eos(), 2);
  EXPECT_EQ(tokenizer.encode(""), (Ids{1}));
  EXPECT_EQ(tokenizer.encode("", false), (Ids{}));
  EXPECT_EQ(tokenizer.encode("abc"), (Ids{1, space, abc}));  // "a b" outranks "▁ a"
  EXPECT_EQ(tokenizer.encode("a"), (Ids{1, space_a}));
  EXPECT_EQ(tokenizer.encode(" a  b"), (Ids{1, space, space_a, space, space, b}));
  EXPECT_EQ(tokenizer.encode("é€"), (Ids{1, space, e_acute, 3 + 0xE2, 3 + 0x82, 3 + 0xAC}));
  EXPECT_EQ(tokenizer.encode("\n"), (Ids{1, space, 3 + '\n'}));
  EXPECT_EQ(tokenizer.encode("\xFF", false), (Ids{space, 3 + 0xEF, 3 + 0xBF, 3 + 0xBD}));
  EXPECT_EQ(tokenizer.encode(std::string_view("a\0a", 3), false), (Ids{space_a, 3, a}));
}

TEST(TokenizerCharacters, DecodesByHand) {
  const Tokenizer tokenizer = make(sentencepiece(letters, letter_merges));
  EXPECT_EQ(tokenizer.decode(Ids{1, space, abc, space_a, 2}), "abc a");
  EXPECT_EQ(tokenizer.decode(Ids{1, space, abc}, false), "<s> abc");  // the text begins with <s>: nothing to strip
  EXPECT_EQ(tokenizer.decode(Ids{space, space, a}), " a");            // one space, not all
  EXPECT_EQ(tokenizer.decode(Ids{a, space_a}), "a a");
  EXPECT_EQ(tokenizer.decode(Ids{}), "");
  EXPECT_EQ(tokenizer.decode(Ids{-1, a, 267, std::numeric_limits<std::int32_t>::max(), b}), "ab");
  EXPECT_EQ(tokenizer.decode(Ids{a, 3 + 0xE2, 3 + 0x82, 3 + 0xAC, b}), "a€b");
  EXPECT_EQ(tokenizer.decode(Ids{a, 3 + 0xE2, 3 + 0x82, b, 3 + 0xFF}), "a\uFFFDb\uFFFD");
  EXPECT_EQ(tokenizer.decode(Ids{a, 3 + 0xE2}), "a\uFFFD");
}

TEST(TokenizerCharacters, RoundTripsAnyText) {
  const Tokenizer tokenizer = make(sentencepiece(letters, letter_merges));
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (std::size_t size = random() % 30; size > 0; --size) {
      constexpr std::array<char32_t, 10> alphabet = {'a', 'b', 'c', ' ', '\n', 0, 0xE9, 0x20AC, 0x1F600, 0xFFFD};
      llama::tokens::append_code_point(alphabet[random() % alphabet.size()], text);
    }
    ASSERT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
}

TEST(TokenizerCharacters, UnknownCharacters) {
  json document = sentencepiece({"▁", "a"}, {}, false);
  constexpr std::int32_t blank = 3, letter = 4;
  EXPECT_EQ(make(document).encode("xya€", false), (Ids{blank, 0, letter, 0}));
  document["model"]["fuse_unk"] = false;
  EXPECT_EQ(make(document).encode("xya€", false), (Ids{blank, 0, 0, letter, 0}));
  document["model"]["unk_token"] = nullptr;
  EXPECT_EQ(make(document).encode("xya€", false), (Ids{blank, letter}));
  // Byte fallback is all or nothing: of the euro sign's three bytes one has no token.
  document["model"]["unk_token"] = "<unk>";
  document["model"]["vocab"]["<0xE2>"] = 5;
  document["model"]["vocab"]["<0x82>"] = 6;
  EXPECT_EQ(make(document).encode("€", false), (Ids{blank, 0}));
  document["model"]["vocab"]["<0xAC>"] = 7;
  EXPECT_EQ(make(document).encode("€", false), (Ids{blank, 5, 6, 7}));
  document["model"]["byte_fallback"] = false;
  EXPECT_EQ(make(document).encode("€", false), (Ids{blank, 0}));
}

TEST(TokenizerCharacters, MetaspacePrefixSchemes) {
  json document = sentencepiece(letters, letter_merges);
  document["normalizer"] = nullptr;
  document["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"split", false}};
  const auto with = [&](const char* scheme) {
    document["pre_tokenizer"]["prepend_scheme"] = scheme;
    return make(document);
  };
  EXPECT_EQ(with("always").encode("abc</s>abc", false), (Ids{space, abc, 2, space, abc}));
  EXPECT_EQ(with("first").encode("abc</s>abc", false), (Ids{space, abc, 2, abc}));
  EXPECT_EQ(with("first").encode("</s>abc", false), (Ids{2, abc}));
  EXPECT_EQ(with("never").encode("abc</s>abc b", false), (Ids{abc, 2, abc, space, b}));
  // Unlike the normalizer, it leaves a text alone that begins with a space.
  EXPECT_EQ(with("always").encode(" a", false), (Ids{space_a}));

  document["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"add_prefix_space", false}};
  EXPECT_EQ(make(document).encode("a a", false), (Ids{a, space_a}));
}

TEST(TokenizerCharacters, MetaspaceSplitsKeepMergesInsideWords) {
  json document = sentencepiece({"▁", "a", "a▁", "▁a"}, {"a ▁", "▁ a"});
  document["normalizer"] = nullptr;
  document["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"split", false}};
  EXPECT_EQ(make(document).encode("a a", false), (Ids{259, 261, 260}));
  document["pre_tokenizer"]["split"] = true;
  EXPECT_EQ(make(document).encode("a a  a", false), (Ids{262, 262, 259, 262}));
}

TEST(TokenizerCharacters, MetaspaceDecoder) {
  json document = sentencepiece(letters, letter_merges);
  document["decoder"] = {{"type", "Metaspace"}, {"replacement", "▁"}};
  EXPECT_EQ(make(document).decode(Ids{1, space_a, space_a}), "a a");
  document["decoder"]["prepend_scheme"] = "never";
  EXPECT_EQ(make(document).decode(Ids{1, space_a, space_a}), " a a");
}

TEST(TokenizerCharacters, MergesAsPairsAndUnusualOnes) {
  json document = sentencepiece(letters, letter_merges);
  document["model"]["merges"] = json::parse(R"([["a", "b"], ["ab", "c"], ["▁", "a"]])");
  EXPECT_EQ(make(document).encode("abc a"), (Ids{1, space, abc, space_a}));
  document["model"]["merges"] = {"#version: 0.2", "a b", "ab c"};
  EXPECT_EQ(make(document).encode("abc a"), (Ids{1, space, abc, space, a}));
  document["model"]["merges"] = json::array();
  EXPECT_EQ(make(document).encode("ab", false), (Ids{space, a, b}));
  document["model"]["ignore_merges"] = true;
  document["normalizer"] = nullptr;
  EXPECT_EQ(make(document).encode("abc", false), (Ids{abc}));
  EXPECT_EQ(make(document).encode("abcc", false), (Ids{a, b, c, c}));
}

// ------------------------------------------------------------------------------------------------------ added tokens

TEST(TokenizerAdded, LongestOfTheLeftmost) {
  json document = sentencepiece(letters, letter_merges);
  document["added_tokens"].push_back({{"id", 267}, {"content", "<t>"}, {"normalized", false}});
  document["added_tokens"].push_back({{"id", 268}, {"content", "<t>abc"}, {"normalized", false}});
  document["added_tokens"].push_back({{"id", 269}, {"content", "b<"}, {"normalized", false}});
  const Tokenizer tokenizer = make(document);
  EXPECT_EQ(tokenizer.size(), 270u);
  EXPECT_EQ(tokenizer.encode("<t>", false), (Ids{267}));
  EXPECT_EQ(tokenizer.encode("<t>abc", false), (Ids{268}));
  EXPECT_EQ(tokenizer.encode("<t>ab<t>", false), (Ids{267, space_a, 269, space, 3 + 't', 3 + '>'}));
  EXPECT_EQ(tokenizer.encode("<s></s><s>", false), (Ids{1, 2, 1}));
  EXPECT_EQ(tokenizer.decode(Ids{267, 1, a}), "<t>a");  // <t> is not special
}

TEST(TokenizerAdded, TakesWhiteSpaceAlong) {
  json document = sentencepiece(letters, letter_merges);
  document["normalizer"] = nullptr;
  document["added_tokens"].push_back(
      {{"id", 267}, {"content", "<l>"}, {"normalized", false}, {"lstrip", true}, {"special", true}});
  document["added_tokens"].push_back(
      {{"id", 268}, {"content", "<r>"}, {"normalized", false}, {"rstrip", true}, {"special", true}});
  const Tokenizer tokenizer = make(document);
  EXPECT_EQ(tokenizer.encode("a \u3000\n<l>b", false), (Ids{a, 267, b}));
  EXPECT_EQ(tokenizer.encode("a<r>\t\u3000 b", false), (Ids{a, 268, b}));
  EXPECT_EQ(tokenizer.encode("  <l><r>  <l>  ", false), (Ids{267, 268, 267, 3 + ' ', 3 + ' '}));
}

TEST(TokenizerAdded, NormalizedOnesAreSoughtInNormalizedText) {
  json document = sentencepiece(letters, letter_merges);
  document["added_tokens"].push_back({{"id", 267}, {"content", "b c"}, {"normalized", true}});
  // The normalizer makes the token ▁b▁c, so it needs a space, or the start of the text, in front.
  EXPECT_EQ(make(document).encode("b c", false), (Ids{267}));
  EXPECT_EQ(make(document).encode("a b c", false), (Ids{space_a, 267}));
  EXPECT_EQ(make(document).encode("ab c", false), (Ids{space, ab, space, c}));
  EXPECT_EQ(make(document).encode("</s>b ca", false), (Ids{2, 267, a}));
}

// ---------------------------------------------------------------------------------------------- byte level (LLaMA 3)

TEST(TokenizerBytes, AgreesWithTheReference) {
  const Tokenizer tokenizer = must(Tokenizer::from_json(llama3_like));
  const json expected = json::parse(read(llama3_like / "expected.json"));
  ASSERT_GE(expected.size(), 40u);
  for (const json& row : expected) {
    const auto text = row["text"].get<std::string>();
    EXPECT_EQ(tokenizer.encode(text), row["ids"].get<Ids>()) << testing::PrintToString(text);
  }
}

TEST(TokenizerBytes, EncodesByHand) {
  const Tokenizer tokenizer = must(Tokenizer::from_json(llama3_like / "tokenizer.json"));
  EXPECT_EQ(tokenizer.size(), 283u);
  EXPECT_EQ(tokenizer.bos(), 278);
  EXPECT_EQ(tokenizer.eos(), 279);
  EXPECT_EQ(tokenizer.encode("hello world"), (Ids{278, 260, 265}));
  // 123 by merging, 456 only because ignore_merges takes the whole word; 7 is byte 0x37, the 22nd printable after '!'.
  EXPECT_EQ(tokenizer.encode("1234567", false), (Ids{268, 277, '7' - '!'}));
  EXPECT_EQ(tokenizer.encode(" there", false), (Ids{276}));
  EXPECT_EQ(tokenizer.encode(" there's", false), (Ids{276, 269}));
  EXPECT_EQ(tokenizer.encode("\xC3\xA9", false), (Ids{270}));
  EXPECT_EQ(tokenizer.encode("hello<|eot_id|>\n\n", false), (Ids{260, 280, 271}));
}

TEST(TokenizerBytes, RoundTripsAnyText) {
  const Tokenizer tokenizer = must(Tokenizer::from_json(llama3_like));
  std::mt19937 random(4);
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (std::size_t size = random() % 30; size > 0; --size) {
      const auto value = static_cast<char32_t>(random() % 0x3000);
      llama::tokens::append_code_point(random() % 2 == 0 ? value % 0x80 : value, text);
    }
    ASSERT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("<|eot_id|>a<|eot_id|>"), true), "a");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("<|eot_id|>a"), false), "<|begin_of_text|><|eot_id|>a");
}

TEST(TokenizerBytes, Gpt2PatternAndPrefixSpace) {
  json document = json::parse(read(llama3_like / "tokenizer.json"));
  document["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"use_regex", true}};
  const Tokenizer tokenizer = make(document);
  EXPECT_EQ(tokenizer.encode("world", false), (Ids{265}));
  EXPECT_EQ(tokenizer.encode(" world", false), (Ids{265}));
  EXPECT_EQ(tokenizer.encode("the", false), (Ids{266}));
  // Numbers are not cut into threes, so 456 is not a word of its own.
  EXPECT_EQ(tokenizer.encode(" 123456", false), (Ids{220, 268, '4' - '!', '5' - '!', '6' - '!'}));

  document["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  EXPECT_EQ(make(document).encode("hello there", false), (Ids{260, 266, 'r' - '!', 'e' - '!'}));
}

// -------------------------------------------------------------------------------------------------- ends and settings

TEST(TokenizerEnds, TemplatesAndSettings) {
  json document = sentencepiece(letters, letter_merges);
  document["post_processor"]["single"].push_back({{"SpecialToken", {{"id", "</s>"}}}});
  document["post_processor"]["special_tokens"]["</s>"] = {{"id", "</s>"}, {"ids", {2}}};
  EXPECT_EQ(make(document).encode("a"), (Ids{1, space_a, 2}));
  EXPECT_EQ(make(document).encode("a", false), (Ids{space_a}));
  EXPECT_EQ(make(document, R"({"add_eos_token": false, "eos_token": "</s>"})").encode("a"), (Ids{1, space_a}));
  EXPECT_EQ(make(document, R"({"add_bos_token": false, "bos_token": {"content": "<s>"}})").encode("a"),
            (Ids{space_a, 2}));

  document["post_processor"] = nullptr;
  EXPECT_EQ(make(document).encode("a"), (Ids{space_a}));
  EXPECT_EQ(make(document).bos(), 1);  // by its usual name
  const Tokenizer set = make(document, R"({"add_bos_token": true, "bos_token": "abc", "eos_token": null})");
  EXPECT_EQ(set.encode("a"), (Ids{abc, space_a}));
  EXPECT_EQ(set.bos(), abc);
  document["post_processor"] = json::parse(R"({"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "</s>"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "</s>"}}],
    "special_tokens": {"</s>": {"ids": [2]}}})");
  EXPECT_EQ(make(document, R"({"add_bos_token": true, "bos_token": "<s>"})").encode("a"), (Ids{1, 2, space_a, 2}));
  document["post_processor"] = nullptr;
  EXPECT_EQ(set.eos(), 2);

  document["model"]["vocab"].erase("</s>");
  document["added_tokens"].erase(2);
  EXPECT_EQ(make(document).eos(), std::nullopt);
}

TEST(TokenizerEnds, SettingsFaults) {
  const std::string document = sentencepiece(letters, letter_merges).dump();
  const auto with = [&](const char* config) { return fault(Tokenizer::parse_json(document, "dir/t.json", config)); };
  EXPECT_EQ(with("[]"), "dir/tokenizer_config.json: the document: is not an object");
  EXPECT_EQ(with(R"({"bos_token": "<nope>"})"),
            "dir/tokenizer_config.json: bos_token: \"<nope>\" is not in the vocabulary");
  EXPECT_EQ(with(R"({"eos_token": 7})"), "dir/tokenizer_config.json: eos_token: \"eos_token\" is not a string");
  EXPECT_EQ(with(R"({"add_bos_token": 1})"),
            "dir/tokenizer_config.json: add_bos_token: \"add_bos_token\" is not true or false");
  EXPECT_NE(with("{").find("dir/tokenizer_config.json: invalid JSON"), std::string::npos);
}

// ---------------------------------------------------------------------------------------------------------- streaming

TEST(TokenizerStream, HoldsUnfinishedCharactersBack) {
  const Tokenizer tokenizer = make(sentencepiece(letters, letter_merges));
  TokenStream stream(tokenizer);
  EXPECT_EQ(stream.next(1), "");
  EXPECT_EQ(stream.next(space_a), "a");
  EXPECT_EQ(stream.next(3 + 0xF0), "");
  EXPECT_EQ(stream.next(3 + 0x9F), "");
  EXPECT_EQ(stream.next(1), "");
  EXPECT_EQ(stream.next(3 + 0x98), "");
  EXPECT_EQ(stream.next(3 + 0x80), "\U0001F600");
  EXPECT_EQ(stream.next(space_a), " a");
  EXPECT_EQ(stream.next(3 + 0xC3), "");
  EXPECT_EQ(stream.next(b), "\uFFFDb");
  EXPECT_EQ(stream.next(3 + 0xC3), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(stream.next(space_a), "a");  // a new text
}

TEST(TokenizerStream, JoinsToTheDecodedTextAndStaysWellFormed) {
  std::mt19937 random(5);
  for (const Tokenizer& tokenizer :
       {make(sentencepiece(letters, letter_merges)), must(Tokenizer::from_json(llama3_like))}) {
    for (int round = 0; round < 300; ++round) {
      Ids ids(random() % 20);
      for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % (tokenizer.size() + 2)) - 1;
      const bool skip = random() % 2 == 0;
      TokenStream stream(tokenizer, skip);
      std::string text;
      for (const std::int32_t id : ids) {
        const std::string part = stream.next(id);
        ASSERT_EQ(llama::tokens::repair_utf8(part), part);
        text += part;
      }
      text += stream.finish();
      ASSERT_EQ(text, tokenizer.decode(ids, skip));
    }
  }
}

// ------------------------------------------------------------------------------------------------------ hostile files

TEST(TokenizerFaults, NameThePlaceAndTheFault) {
  const json good = sentencepiece(letters, letter_merges);
  const auto parse = [](const json& document) { return fault(Tokenizer::parse_json(document.dump(), "t.json")); };
  ASSERT_EQ(parse(good), "no fault");
  const auto changed = [&](const char* pointer, const json& value) {
    json document = good;
    document[json::json_pointer(pointer)] = value;
    return parse(document);
  };
  const auto removed = [&](const char* parent, const char* key) {
    json document = good;
    document[json::json_pointer(parent)].erase(key);
    return parse(document);
  };

  EXPECT_EQ(parse(json::array()), "t.json: the document: is not an object");
  EXPECT_EQ(removed("", "model"), "t.json: model: is not an object");
  EXPECT_EQ(changed("/model/type", "Unigram"), "t.json: model.type: \"Unigram\" is not supported, only \"BPE\" is");
  EXPECT_EQ(changed("/model/dropout", 0.1), "t.json: model.dropout: is not supported");
  EXPECT_EQ(changed("/model/end_of_word_suffix", "</w>"), "t.json: model.end_of_word_suffix: is not supported");
  EXPECT_EQ(changed("/model/fuse_unk", "yes"), "t.json: model: \"fuse_unk\" is not true or false");

  const std::string range = "is not an integer from 0 to 1048575";
  EXPECT_EQ(removed("/model", "vocab"), "t.json: model.vocab: is not an object that holds tokens");
  EXPECT_EQ(changed("/model/vocab", json::object()), "t.json: model.vocab: is not an object that holds tokens");
  EXPECT_EQ(changed("/model/vocab/a", -1), "t.json: model.vocab: the id of \"a\" " + range);
  EXPECT_EQ(changed("/model/vocab/a", 1048576), "t.json: model.vocab: the id of \"a\" " + range);
  EXPECT_EQ(changed("/model/vocab/a", 18446744073709551615u), "t.json: model.vocab: the id of \"a\" " + range);
  EXPECT_EQ(changed("/model/vocab/a", 1.0), "t.json: model.vocab: the id of \"a\" " + range);
  EXPECT_EQ(changed("/model/vocab/a", "1"), "t.json: model.vocab: the id of \"a\" " + range);
  EXPECT_EQ(changed("/model/vocab/b", a), "t.json: model.vocab: id 260 is already \"a\"");
  EXPECT_EQ(changed("/model/unk_token", "<nope>"), "t.json: model.unk_token: \"<nope>\" is not in model.vocab");

  EXPECT_EQ(removed("/model", "merges"), "t.json: model: \"merges\" is not an array");
  EXPECT_EQ(changed("/model/merges/1", "ab"),
            "t.json: model.merges[1]: \"ab\" is not two tokens with one space between them");
  EXPECT_EQ(changed("/model/merges/1", "a b c"),
            "t.json: model.merges[1]: \"a b c\" is not two tokens with one space between them");
  EXPECT_EQ(changed("/model/merges/1", {"a"}), "t.json: model.merges[1]: is neither a string nor a pair of strings");
  EXPECT_EQ(changed("/model/merges/1", {"a", 1}), "t.json: model.merges[1]: is neither a string nor a pair of strings");
  EXPECT_EQ(changed("/model/merges/1", "x\ny a"), "t.json: model.merges[1]: \"x\\ny\" is not in model.vocab");
  EXPECT_EQ(changed("/model/merges/1", "b a"), "t.json: model.merges[1]: \"ba\" is not in model.vocab");

  EXPECT_EQ(changed("/added_tokens", 1), "t.json: added_tokens: is not an array");
  EXPECT_EQ(changed("/added_tokens/1", 1), "t.json: added_tokens[1]: \"content\" is not a string");
  EXPECT_EQ(changed("/added_tokens/1/id", -3), "t.json: added_tokens[1]: the id " + range);
  EXPECT_EQ(changed("/added_tokens/1/id", 2), "t.json: added_tokens[1]: \"<s>\" has id 2, but 1 in model.vocab");
  EXPECT_EQ(changed("/added_tokens/1/content", "<unk>"), "t.json: added_tokens[1]: \"<unk>\" is given twice");
  EXPECT_EQ(changed("/added_tokens/1/content", "<new>"), "t.json: added_tokens[1]: id 1 is already \"<s>\"");
  EXPECT_EQ(changed("/added_tokens/1/single_word", true), "t.json: added_tokens[1]: \"single_word\" is not supported");
  EXPECT_EQ(changed("/added_tokens/1/lstrip", 0), "t.json: added_tokens[1]: \"lstrip\" is not true or false");

  EXPECT_EQ(changed("/normalizer", "NFC"), "t.json: normalizer: is not an object");
  EXPECT_EQ(changed("/normalizer/normalizers/0/type", "NFC"),
            "t.json: normalizer.normalizers[0]: \"NFC\" is not supported");
  EXPECT_EQ(changed("/normalizer/normalizers/1", good["normalizer"]["normalizers"][0]),
            "t.json: normalizer: more than one \"Prepend\" is not supported");
  EXPECT_EQ(changed("/normalizer/normalizers/1/content", std::string(17, 'x')),
            "t.json: normalizer.normalizers[1]: the content is longer than 16 bytes");
  EXPECT_EQ(changed("/normalizer/normalizers/1/pattern", {{"Regex", " "}}),
            "t.json: normalizer.normalizers[1]: the pattern is not a \"String\" of at least one byte");

  EXPECT_EQ(changed("/pre_tokenizer", {{"type", "Whitespace"}}),
            "t.json: pre_tokenizer: \"Whitespace\" is not supported");
  EXPECT_EQ(changed("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "ab"}}),
            "t.json: pre_tokenizer: \"replacement\" is not one character");
  EXPECT_EQ(changed("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "last"}}),
            "t.json: pre_tokenizer: \"prepend_scheme\" \"last\" is unknown");

  EXPECT_EQ(changed("/post_processor/type", "BertProcessing"),
            "t.json: post_processor: \"BertProcessing\" is not supported");
  EXPECT_EQ(changed("/post_processor/single/0/SpecialToken/id", "<nope>"),
            "t.json: post_processor.special_tokens[\"<nope>\"]: \"ids\" is not an array");
  EXPECT_EQ(changed("/post_processor/special_tokens/<s>/ids/0", 267),
            "t.json: post_processor.single[0]: \"<s>\" has an id outside the vocabulary");
  EXPECT_EQ(changed("/post_processor/single/1/Sequence/id", "B"),
            "t.json: post_processor.single[1]: only the sequence \"A\", once, is supported");
  EXPECT_EQ(changed("/post_processor/single", json::array()),
            "t.json: post_processor: \"single\" lacks the sequence \"A\"");

  EXPECT_EQ(changed("/decoder", nullptr), "t.json: decoder: a tokenizer without one is not supported");
  EXPECT_EQ(changed("/decoder/decoders/0/type", "CTC"), "t.json: decoder.decoders[0]: \"CTC\" is not supported here");
  EXPECT_EQ(changed("/decoder/decoders/3/stop", 1),
            "t.json: decoder.decoders[3]: only spaces at the start, behind a \"Fuse\", can be stripped");
  EXPECT_EQ(changed("/decoder/decoders/3/start", -1),
            "t.json: decoder.decoders[3]: \"start\" or \"stop\" is not a small count");
  EXPECT_EQ(changed("/decoder/decoders/1", {{"type", "Strip"}}),
            "t.json: decoder.decoders[1]: \"start\" or \"stop\" is not a small count");
}

TEST(TokenizerFaults, ByteLevelOnes) {
  const json good = json::parse(read(llama3_like / "tokenizer.json"));
  const auto changed = [&](const char* pointer, const json& value) {
    json document = good;
    document[json::json_pointer(pointer)] = value;
    return fault(Tokenizer::parse_json(document.dump(), "t.json"));
  };
  EXPECT_EQ(changed("/pre_tokenizer/pretokenizers/0/pattern/Regex", R"(\p{L}+)"),
            "t.json: pre_tokenizer.pretokenizers[0].pattern: the pattern is not one of the known two: \"\\\\p{L}+\"");
  EXPECT_EQ(changed("/pre_tokenizer/pretokenizers/0/behavior", "Removed"),
            "t.json: pre_tokenizer.pretokenizers[0]: only the behavior \"Isolated\", not inverted, is supported");
  EXPECT_EQ(changed("/pre_tokenizer/pretokenizers/1/use_regex", true),
            "t.json: pre_tokenizer.pretokenizers[1]: \"use_regex\" or \"add_prefix_space\" behind a \"Split\" is not "
            "supported");
  EXPECT_EQ(changed("/pre_tokenizer/pretokenizers/0/type", "Digits"),
            "t.json: pre_tokenizer.pretokenizers[0]: \"Digits\" is not supported");
}

TEST(TokenizerFaults, BrokenDocuments) {
  const std::string text = read(llama3_like / "tokenizer.json");
  for (std::size_t size = 0; size + 2 < text.size(); size += 37)
    EXPECT_FALSE(Tokenizer::parse_json(text.substr(0, size), "t.json")) << size;
  EXPECT_FALSE(Tokenizer::parse_json(std::string(1 << 16, '['), "t.json"));
  EXPECT_FALSE(Tokenizer::parse_json("{\"model\": {\"vocab\": {\"a\xFF\": 1}}}", "t.json"));
  const auto twice = Tokenizer::parse_json(R"({"model": 1, "model": 2})", "t.json");
  EXPECT_NE(fault(twice).find("t.json: "), std::string::npos);
  EXPECT_EQ(twice.error().message.find('\n'), std::string::npos);
}

TEST(TokenizerFaults, Files) {
  const fs::path none = llama3_like / "missing";
  const auto missing = Tokenizer::from_json(none);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, pare::ErrorCode::io);
  EXPECT_NE(missing.error().message.find(none.string()), std::string::npos);
  const auto empty_folder = Tokenizer::from_json(llama3_like.parent_path());
  ASSERT_FALSE(empty_folder);
  EXPECT_NE(empty_folder.error().message.find("tokenizer.json"), std::string::npos);
  EXPECT_FALSE(Tokenizer::from_llama2c(none, 512));
}

// ------------------------------------------------------------------------------------------------------------ llama2.c

/// The rule of llama2.c, step for step: join every pair of neighbours, take the best score.
Ids encode_by_joining(const std::vector<Scored>& tokens, const std::string& text) {
  const auto lookup = [&](const std::string& piece) {
    for (std::size_t id = 0; id < tokens.size(); ++id)
      if (tokens[id].piece == piece) return static_cast<std::int32_t>(id);
    return std::int32_t{-1};
  };
  Ids ids;
  const std::string padded = text.empty() ? text : " " + text;
  for (std::size_t begin = 0, size = 0; begin < padded.size(); begin += size) {
    size = llama::tokens::read_utf8(std::string_view(padded).substr(begin)).size;
    const std::string character = padded.substr(begin, size);
    if (const std::int32_t id = lookup(character); id >= 0)
      ids.push_back(id);
    else
      for (const char byte : character) ids.push_back(3 + static_cast<unsigned char>(byte));
  }
  for (;;) {
    float best_score = -1e10f;
    std::int32_t best_id = -1;
    std::size_t best = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const std::int32_t id =
          lookup(tokens[static_cast<std::size_t>(ids[i])].piece + tokens[static_cast<std::size_t>(ids[i + 1])].piece);
      if (id >= 0 && tokens[static_cast<std::size_t>(id)].score > best_score) {
        best_score = tokens[static_cast<std::size_t>(id)].score;
        best_id = id;
        best = i;
      }
    }
    if (best_id < 0) return ids;
    ids[best] = best_id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(TokenizerLlama2c, AgreesWithJoiningEveryPair) {
  std::mt19937 random(6);
  for (int round = 0; round < 60; ++round) {
    std::vector<Scored> tokens = llama2c_fixed();
    std::set<std::string> pieces = {" ", "a", "b"};
    for (std::size_t more = random() % 30; more > 0; --more) {
      std::string piece;
      for (std::size_t size = 2 + random() % 4; size > 0; --size) piece += " ab"[random() % 3];
      pieces.insert(piece);
    }
    if (random() % 2 == 0) pieces.insert("é");
    // Few different scores make many ties.
    for (const std::string& piece : pieces) tokens.push_back({piece, -static_cast<float>(random() % 6)});
    const Tokenizer tokenizer = must(Tokenizer::parse_llama2c(llama2c_file(tokens, 6), "made.bin", tokens.size()));
    for (int text = 0; text < 20; ++text) {
      std::string sample;
      for (std::size_t size = random() % 24; size > 0; --size) {
        constexpr std::array<const char*, 5> alphabet = {" ", "a", "b", "é", "\n"};
        sample += alphabet[random() % alphabet.size()];
      }
      const Ids ids = tokenizer.encode(sample, false);
      ASSERT_EQ(ids, encode_by_joining(tokens, sample)) << testing::PrintToString(sample);
      ASSERT_EQ(tokenizer.decode(ids), sample);
    }
  }
}

TEST(TokenizerLlama2c, ByHand) {
  std::vector<Scored> tokens = llama2c_fixed();
  tokens.insert(tokens.end(), {{" ", -3}, {"a", -2}, {" a", -1}});
  const Tokenizer tokenizer = must(Tokenizer::parse_llama2c(llama2c_file(tokens, 6), "made.bin", 262));
  EXPECT_EQ(tokenizer.size(), 262u);
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_EQ(tokenizer.eos(), 2);
  EXPECT_EQ(tokenizer.encode(""), (Ids{1}));
  EXPECT_EQ(tokenizer.encode("a aa"), (Ids{1, 261, 261, 260}));
  EXPECT_EQ(tokenizer.encode("\n", false), (Ids{259, 3 + '\n'}));
  EXPECT_EQ(tokenizer.encode("\xC3", false), (Ids{259, 3 + 0xEF, 3 + 0xBF, 3 + 0xBD}));
  EXPECT_EQ(tokenizer.decode(Ids{1, 261, 261}), "a a");
  EXPECT_EQ(tokenizer.decode(Ids{1, 261, 1, 261, 261}), "aa a");  // every BOS begins a text
  EXPECT_EQ(tokenizer.decode(Ids{1, 261}, false), "\n<s>\na");
}

TEST(TokenizerLlama2c, Faults) {
  std::vector<Scored> tokens = llama2c_fixed();
  tokens.push_back({" ", 0});
  const std::string good = llama2c_file(tokens, 6);
  const auto parse = [](const std::string& file, std::size_t size = 260) {
    return fault(Tokenizer::parse_llama2c(file, "t.bin", size));
  };
  ASSERT_EQ(parse(good), "no fault");
  EXPECT_EQ(parse(good, 258), "t.bin: a llama2.c tokenizer has 259 to 1048576 tokens, not 258");
  EXPECT_EQ(parse(good, std::size_t{1} << 40),
            "t.bin: a llama2.c tokenizer has 259 to 1048576 tokens, not 1099511627776");
  EXPECT_EQ(parse(""), "t.bin: shorter than a llama2.c tokenizer's header");
  EXPECT_EQ(parse(good, 261), "t.bin: ends at token 260 of 261");
  EXPECT_EQ(parse(good, 259), "t.bin: 9 bytes follow the last of 259 tokens: not this model's");
  EXPECT_EQ(parse(good + "x"), "t.bin: 1 bytes follow the last of 260 tokens: not this model's");
  EXPECT_EQ(parse(llama2c_file(tokens, 0)), "t.bin: the longest token has 0 bytes; 1 to 256 are possible");
  EXPECT_EQ(parse(llama2c_file(tokens, 0xFFFFFFFFu)),
            "t.bin: the longest token has 4294967295 bytes; 1 to 256 are possible");
  EXPECT_EQ(parse(llama2c_file(tokens, 5)), "t.bin: token 2: 6 bytes, where the longest is 5");
  EXPECT_EQ(parse(good.substr(0, 14)), "t.bin: ends inside token 0 of 260");
  for (std::size_t size = 0; size < good.size(); ++size)
    ASSERT_FALSE(Tokenizer::parse_llama2c(good.substr(0, size), "t", 260));

  auto broken = tokens;
  broken[7].score = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(parse(llama2c_file(broken, 6)), "t.bin: token 7: the score is not finite");
  broken = tokens;
  broken[3].piece = "<0x01>";
  EXPECT_EQ(parse(llama2c_file(broken, 6)), "t.bin: token 3 is \"<0x01>\", not <0x00>");
}

// ------------------------------------------------------------------------------------------------------- real models

/// tinystories_val.txt with pairs of newlines collapsed, as the reference ids were made from it.
std::string collapsed_validation_text() {
  const std::string text = read(validation_text);
  std::string collapsed;
  for (const char character : text)
    if (character != '\n' || !collapsed.ends_with('\n')) collapsed += character;
  return collapsed;
}

TEST(TokenizerModels, TinyStoriesReferenceIds) {
  const fs::path golden = shared / "golden/models/llama/tinystories-656k/val_ids_64x256.npy";
  if (!fs::exists(golden)) GTEST_SKIP() << "the shared reference data is not here";
  constexpr std::size_t rows = 64, columns = 256;
  const std::string file = read(golden);
  ASSERT_GT(file.size(), rows * columns * 4);
  Ids reference;
  for (std::size_t at = file.size() - rows * columns * 4; at < file.size(); at += 4) {
    std::uint32_t word = 0;
    for (std::size_t i = 4; i-- > 0;) word = word << 8 | static_cast<unsigned char>(file[at + i]);
    reference.push_back(static_cast<std::int32_t>(word));
  }

  const Tokenizer tokenizer = must(Tokenizer::from_json(tinystories));
  EXPECT_EQ(tokenizer.size(), 2048u);
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_EQ(tokenizer.eos(), 2);
  // The rows continue one text that begins at the file's second paragraph, cut into BOS and 255 tokens each.
  const std::string text = collapsed_validation_text();
  const Ids stream = tokenizer.encode(std::string_view(text).substr(text.find('\n') + 1), false);
  ASSERT_GE(stream.size(), rows * (columns - 1));
  std::size_t equal = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    Ids ids = {1};
    const auto begin = stream.begin() + static_cast<std::ptrdiff_t>(row * (columns - 1));
    ids.insert(ids.end(), begin, begin + (columns - 1));
    if (std::equal(ids.begin(), ids.end(), reference.begin() + static_cast<std::ptrdiff_t>(row * columns))) ++equal;
  }
  EXPECT_EQ(equal, rows);
  std::erase(reference, 1);
  EXPECT_EQ(text.find(tokenizer.decode(reference)), text.find('\n') + 1);
}

TEST(TokenizerModels, Stories260K) {
  if (!fs::exists(tok512)) GTEST_SKIP() << "the shared reference data is not here";
  const Tokenizer tokenizer = must(Tokenizer::from_llama2c(tok512, 512));
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_EQ(tokenizer.encode("Once upon a time"), (Ids{1, 403, 407, 261, 378}));
  EXPECT_EQ(tokenizer.decode(Ids{1, 403, 407, 261, 378}), "Once upon a time");
  const std::string text = read(validation_text);
  ASSERT_FALSE(text.empty());
  const Ids ids = tokenizer.encode(text);
  EXPECT_EQ(tokenizer.decode(ids), text);
  EXPECT_LT(ids.size(), text.size() / 2);
  TokenStream stream(tokenizer);
  std::string printed;
  for (const std::int32_t id : ids) printed += stream.next(id);
  EXPECT_EQ(printed + stream.finish(), text);

  std::vector<Scored> tokens;
  const std::string file = read(tok512);
  const auto word = [&](std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(file[at + i]);
    return value;
  };
  for (std::size_t at = 4; at < file.size(); at += 8 + word(at + 4))
    tokens.push_back({file.substr(at + 8, word(at + 4)), std::bit_cast<float>(word(at))});
  ASSERT_EQ(tokens.size(), 512u);
  for (std::size_t begin = 0; begin < 40; ++begin) {
    const std::string sample = text.substr(begin * 1237, 90);
    EXPECT_EQ(tokenizer.encode(sample, false), encode_by_joining(tokens, sample)) << sample;
  }
}

}  // namespace
