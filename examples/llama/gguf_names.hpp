#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "llama/config.hpp"

namespace llama {

/// What llama.cpp calls a tensor of Hugging Face's name; empty for one that it does not have.
std::string to_gguf_name(std::string_view name);

/// What Hugging Face calls a tensor of llama.cpp's name; empty for one that it does not have.
std::string from_gguf_name(std::string_view name);

/// The number of heads whose rows GGUF stores with the two rows of a rotary pair side by side, where Hugging Face has
/// them half a head apart; 0 for every other tensor. By Hugging Face's name.
std::size_t rotary_heads(const Config& config, std::string_view name);

/// The row of a Hugging Face matrix that stands in row `row` of GGUF's, heads being `head_dim` rows high.
constexpr std::size_t rotary_row(std::size_t row, std::size_t head_dim) noexcept {
  const std::size_t in_head = row % head_dim;
  return row - in_head + in_head % 2 * (head_dim / 2) + in_head / 2;
}

}  // namespace llama
