#include "llama/tokenizer_unicode.hpp"

#include <algorithm>
#include <iterator>

#include "llama/tokenizer_unicode_table.hpp"

namespace llama::tokens {
namespace {

constexpr std::string_view replacement_character = "\xEF\xBF\xBD";

struct Lead {
  std::size_t length;
  unsigned low;
  unsigned high;
};

// The Unicode Standard, table 3-7: the range of the second byte is what rules out overlong forms and surrogates.
constexpr Lead lead(unsigned byte) noexcept {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte < 0xF0) return {3, byte == 0xE0 ? 0xA0u : 0x80u, byte == 0xED ? 0x9Fu : 0xBFu};
  if (byte < 0xF5) return {4, byte == 0xF0 ? 0x90u : 0x80u, byte == 0xF4 ? 0x8Fu : 0xBFu};
  return {0, 0, 0};
}

template <class Bounds>
bool inside(const Bounds& bounds, char32_t value) noexcept {
  return (std::upper_bound(std::begin(bounds), std::end(bounds), value) - std::begin(bounds)) % 2 == 1;
}

}  // namespace

Utf8Step read_utf8(std::string_view bytes) noexcept {
  using State = Utf8Step::State;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned>(static_cast<unsigned char>(bytes[i])); };
  const Lead form = lead(byte(0));
  if (form.length == 0) return {State::ill_formed, 0xFFFD, 1};
  char32_t value = form.length == 1 ? byte(0) : byte(0) & (0x7Fu >> form.length);
  for (std::size_t i = 1; i < form.length; ++i) {
    if (i == bytes.size()) return {State::unfinished, 0xFFFD, i};
    const unsigned low = i == 1 ? form.low : 0x80u;
    const unsigned high = i == 1 ? form.high : 0xBFu;
    if (byte(i) < low || byte(i) > high) return {State::ill_formed, 0xFFFD, i};
    value = value << 6 | (byte(i) & 0x3Fu);
  }
  return {State::whole, value, form.length};
}

std::size_t append_utf8(std::string_view bytes, std::string& text) {
  std::size_t begin = 0;
  std::size_t end = 0;
  while (end < bytes.size()) {
    const Utf8Step step = read_utf8(bytes.substr(end));
    if (step.state == Utf8Step::State::unfinished) break;
    if (step.state == Utf8Step::State::ill_formed) {
      text += bytes.substr(begin, end - begin);
      text += replacement_character;
      begin = end + step.size;
    }
    end += step.size;
  }
  text += bytes.substr(begin, end - begin);
  return bytes.size() - end;
}

std::string repair_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  if (append_utf8(bytes, text) != 0) text += replacement_character;
  return text;
}

void append_code_point(char32_t value, std::string& text) {
  const auto tail = [&](int shift) { text += static_cast<char>(0x80u | (value >> shift & 0x3Fu)); };
  if (value < 0x80) {
    text += static_cast<char>(value);
  } else if (value < 0x800) {
    text += static_cast<char>(0xC0u | value >> 6);
    tail(0);
  } else if (value < 0x10000) {
    text += static_cast<char>(0xE0u | value >> 12);
    tail(6);
    tail(0);
  } else {
    text += static_cast<char>(0xF0u | value >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

CharClass classify(char32_t value) noexcept {
  if (value == '\n' || value == '\r') return CharClass::newline;
  if (inside(space_bounds, value)) return CharClass::space;
  if (inside(letter_bounds, value)) return CharClass::letter;
  if (inside(number_bounds, value)) return CharClass::number;
  return CharClass::other;
}

}  // namespace llama::tokens
