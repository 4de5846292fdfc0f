#pragma once

#include <cstddef>
#include <string_view>

namespace llama::tokens {

/// The pattern that tokenizer.json files of byte-level GPT-2 style tokenizers stand for with `use_regex`.
inline constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// The pattern in the tokenizer.json of LLaMA 3.
inline constexpr std::string_view llama3_pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// Bytes of the first match of gpt2_pattern in `text`, which is well-formed UTF-8 and not empty. Matches leave no gaps.
std::size_t gpt2_word(std::string_view text) noexcept;

/// The same for llama3_pattern.
std::size_t llama3_word(std::string_view text) noexcept;

}  // namespace llama::tokens
