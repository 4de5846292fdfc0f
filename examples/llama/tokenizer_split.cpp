#include "llama/tokenizer_split.hpp"

#include "llama/tokenizer_unicode.hpp"

namespace llama::tokens {
namespace {

struct Character {
  CharClass kind;
  char32_t value;
  std::size_t end;
};

Character character_at(std::string_view text, std::size_t position) noexcept {
  if (position >= text.size()) return {CharClass::end, 0, position};
  const Utf8Step step = read_utf8(text.substr(position));
  return {classify(step.value), step.value, position + step.size};
}

std::size_t run_end(std::string_view text, std::size_t position, CharClass kind) noexcept {
  for (Character c = character_at(text, position); c.kind == kind; c = character_at(text, position)) position = c.end;
  return position;
}

// "'s", "'t", "'re", "'ve", "'m", "'ll" or "'d" at the start of `text`, which starts with the apostrophe; 0 if none.
std::size_t contraction(std::string_view text, bool any_case) noexcept {
  constexpr std::string_view long_s = "\xC5\xBF";  // U+017F, which case folding makes an s
  const auto lower = [&](std::size_t i) {
    if (i >= text.size()) return '\0';
    return any_case && text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] - 'A' + 'a') : text[i];
  };
  const char first = lower(1);
  const char second = lower(2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if ((first == 'r' || first == 'v') && second == 'e') return 3;
  if (first == 'l' && second == 'l') return 3;
  if (any_case && text.substr(1).starts_with(long_s)) return 1 + long_s.size();
  return 0;
}

struct Whitespace {
  std::size_t end;           // of the run
  std::size_t last;          // where its last character begins
  std::size_t newlines_end;  // behind its last newline, 0 if none
};

Whitespace whitespace_run(std::string_view text) noexcept {
  Whitespace run{0, 0, 0};
  for (Character c = character_at(text, 0); is_whitespace(c.kind); c = character_at(text, run.end)) {
    run.last = run.end;
    run.end = c.end;
    if (c.kind == CharClass::newline) run.newlines_end = c.end;
  }
  return run;
}

// \s+(?!\S)|\s+ leaves the last space to the word that follows.
std::size_t trailing_space(const Whitespace& run, std::string_view text) noexcept {
  return run.end == text.size() || run.last == 0 ? run.end : run.last;
}

}  // namespace

std::size_t gpt2_word(std::string_view text) noexcept {
  const Character first = character_at(text, 0);
  if (first.value == '\'') {
    if (const std::size_t size = contraction(text, false); size != 0) return size;
  }
  const Character head = first.value == ' ' ? character_at(text, first.end) : first;
  if (head.kind == CharClass::letter || head.kind == CharClass::number || head.kind == CharClass::other)
    return run_end(text, head.end, head.kind);
  return trailing_space(whitespace_run(text), text);
}

std::size_t llama3_word(std::string_view text) noexcept {
  const Character first = character_at(text, 0);
  if (first.value == '\'') {
    if (const std::size_t size = contraction(text, true); size != 0) return size;
  }
  if (first.kind == CharClass::letter) return run_end(text, first.end, CharClass::letter);
  if (first.kind == CharClass::number) {
    const Character second = character_at(text, first.end);
    if (second.kind != CharClass::number) return first.end;
    const Character third = character_at(text, second.end);
    return third.kind == CharClass::number ? third.end : second.end;
  }
  const Character second = character_at(text, first.end);
  if (first.kind != CharClass::newline && second.kind == CharClass::letter)
    return run_end(text, second.end, CharClass::letter);
  const Character head = first.value == ' ' ? second : first;
  if (head.kind == CharClass::other)
    return run_end(text, run_end(text, head.end, CharClass::other), CharClass::newline);
  const Whitespace run = whitespace_run(text);
  return run.newlines_end != 0 ? run.newlines_end : trailing_space(run, text);
}

}  // namespace llama::tokens
