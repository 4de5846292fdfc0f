#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace llama::tokens {

/// What a sequence of bytes begins with.
struct Utf8Step {
  enum class State : std::uint8_t { whole, ill_formed, unfinished };

  State state;
  char32_t value;    ///< the code point; U+FFFD unless whole
  std::size_t size;  ///< bytes of the code point, or of the maximal subpart of the broken sequence
};

/// The first code point of `bytes`, which are not empty.
Utf8Step read_utf8(std::string_view bytes) noexcept;

/// Appends `bytes` to `text` with one U+FFFD for each maximal subpart of an ill-formed sequence. Returns how many bytes
/// at the end (at most three) begin a code point without finishing it; they are not appended.
std::size_t append_utf8(std::string_view bytes, std::string& text);

/// `bytes` as well-formed UTF-8; an unfinished end becomes U+FFFD too.
std::string repair_utf8(std::string_view bytes);

/// Appends the UTF-8 of a Unicode scalar value.
void append_code_point(char32_t value, std::string& text);

/// The classes that pre-tokenization tells apart. `newline` is CR or LF, `space` all other White_Space.
enum class CharClass : std::uint8_t { letter, number, space, newline, other, end };

/// The class of a code point: letters are general category L, numbers N.
CharClass classify(char32_t value) noexcept;

/// True for both classes of White_Space.
constexpr bool is_whitespace(CharClass kind) noexcept { return kind == CharClass::space || kind == CharClass::newline; }

}  // namespace llama::tokens
