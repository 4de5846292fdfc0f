#include "io/json.hpp"

#include <gtest/gtest.h>

#include <string>

namespace {
using namespace std::string_literals;

std::string fault(std::string_view text) {
  const auto result = io::parse_json(text, "file");
  return result ? "" : result.error().message;
}

TEST(Utf8, AcceptsEveryCodePoint) {
  for (const auto& text : {""s, "a\x7f"s, "\xc2\x80"s, "\xdf\xbf"s, "\xe0\xa0\x80"s, "\xed\x9f\xbf"s, "\xee\x80\x80"s,
                           "\xef\xbf\xbf"s, "\xf0\x90\x80\x80"s, "\xf4\x8f\xbf\xbf"s, "\0x"s})
    EXPECT_TRUE(io::is_utf8(text)) << io::quote(text);
}

TEST(Utf8, RefusesEverythingElse) {
  for (const auto& text : {"\x80"s, "\xc1\xbf"s, "\xc2"s, "\xc2\x41"s, "\xe0\x9f\xbf"s, "\xed\xa0\x80"s, "\xe2\x82"s,
                           "\xf0\x8f\xbf\xbf"s, "\xf4\x90\x80\x80"s, "\xf5\x80\x80\x80"s, "\xff"s, "a\xc3"s})
    EXPECT_FALSE(io::is_utf8(text)) << io::quote(text);
}

TEST(Quote, KeepsAMessageOnOneLine) {
  EXPECT_EQ(io::quote("a.b"), R"("a.b")");
  EXPECT_EQ(io::quote("a\n\"\xff"), R"("a\n\"\xff")");
  EXPECT_EQ(io::quote("\xc3\xbc"), "\"\xc3\xbc\"");
}

TEST(Quote, ShortensBetweenCharacters) {
  std::string text = "a";
  while (text.size() < 1000) text += "\xc3\xbc";
  const std::string shortened = io::quote(text);
  EXPECT_LT(shortened.size(), 160u);
  EXPECT_TRUE(io::is_utf8(shortened));
  EXPECT_EQ(shortened.find("\\x"), std::string::npos);
  EXPECT_NE(shortened.find("(1001 bytes)"), std::string::npos);
}

TEST(ParseJson, BuildsTheDocument) {
  const auto result = io::parse_json(R"( {"a":[1,-2,3.5,true,null,{"b":[]},"x"],"c":{"a":"y"}} )", "file");
  ASSERT_TRUE(result);
  EXPECT_EQ(*result, nlohmann::json::parse(R"({"a":[1,-2,3.5,true,null,{"b":[]},"x"],"c":{"a":"y"}})"));
  EXPECT_TRUE((*result)["a"][0].is_number_unsigned());
  EXPECT_FALSE((*result)["a"][1].is_number_unsigned());
}

TEST(ParseJson, TakesScalars) {
  EXPECT_EQ(*io::parse_json("7", "file"), 7);
  EXPECT_EQ(*io::parse_json("\"x\"", "file"), "x");
}

TEST(ParseJson, NamesTheFault) {
  EXPECT_NE(fault("{abc}").find("file: invalid JSON at byte 2"), std::string::npos);
  EXPECT_NE(fault("{} x").find("byte 4"), std::string::npos);
  EXPECT_NE(fault("").find("invalid JSON"), std::string::npos);
  EXPECT_NE(fault("[1,]").find("invalid JSON"), std::string::npos);
  EXPECT_NE(fault("[1e999]").find("invalid JSON"), std::string::npos);
  EXPECT_NE(fault("\"\xff\"").find("UTF-8"), std::string::npos);
  EXPECT_NE(fault("{}\0"s).find("NUL"), std::string::npos);
  EXPECT_NE(fault("{}\0{}"s).find("NUL"), std::string::npos);
  EXPECT_NE(fault("\xef\xbb\xbf{}").find("byte order mark"), std::string::npos);
}

TEST(ParseJson, RefusesDuplicateKeysAtEveryLevel) {
  EXPECT_NE(fault(R"({"a":1,"a":1})").find(R"(duplicate key "a")"), std::string::npos);
  EXPECT_NE(fault(R"([{"x":{"b":1,"c":2,"b":{}}}])").find(R"(duplicate key "b")"), std::string::npos);
  EXPECT_NE(fault(R"({"a":1,"\u0061":1})").find(R"(duplicate key "a")"), std::string::npos);
  EXPECT_EQ(fault(R"({"a":{"a":1},"b":{"a":1}})"), "");
}

TEST(ParseJson, LimitsTheDepth) {
  EXPECT_EQ(fault(std::string(64, '[') + std::string(64, ']')), "");
  EXPECT_NE(fault(std::string(65, '[') + std::string(65, ']')).find("nested"), std::string::npos);
  EXPECT_NE(fault(std::string(1'000'000, '[')).find("nested"), std::string::npos);
}

}  // namespace
