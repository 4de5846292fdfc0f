#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "llama/tokenizer.hpp"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void use(const pare::Result<llama::Tokenizer>& tokenizer) {
  if (!tokenizer) return require(tokenizer.error().message.starts_with("fuzz"));
  constexpr std::string_view samples[] = {"", "hello world's 1234 \n\n  x", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xFF ",
                                          "<s></s><|end_of_text|> aaaabbbb    <unk>"};
  for (const std::string_view sample : samples) {
    const auto ids = tokenizer->encode(sample);
    for (const std::int32_t id : ids) require(id >= 0 && static_cast<std::size_t>(id) < tokenizer->size());
    llama::TokenStream stream(*tokenizer);
    std::string text;
    for (const std::int32_t id : ids) text += stream.next(id);
    require(text + stream.finish() == tokenizer->decode(ids));
  }
}

}  // namespace

/// The input is a tokenizer.json, then, behind a NUL byte if there is one, its tokenizer_config.json. The same bytes
/// are also tried as a llama2.c tokenizer.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::size_t end = bytes.find('\0');
  use(llama::Tokenizer::parse_json(bytes.substr(0, end), "fuzz/tokenizer.json",
                                   end == std::string_view::npos ? "" : bytes.substr(end + 1)));
  use(llama::Tokenizer::parse_llama2c(bytes, "fuzz.bin", 300));
  return 0;
}
