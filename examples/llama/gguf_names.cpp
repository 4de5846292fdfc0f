#include "llama/gguf_names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "llama/architecture.hpp"

namespace llama {
namespace {

using Row = std::pair<std::string_view, std::string_view>;

constexpr std::array<Row, 3> global_names{
    {{embedding_name, "token_embd.weight"}, {final_norm_name, "output_norm.weight"}, {head_name, "output.weight"}}};

constexpr std::array<Row, 9> block_names{{{"input_layernorm.weight", "attn_norm.weight"},
                                          {"self_attn.q_proj.weight", "attn_q.weight"},
                                          {"self_attn.k_proj.weight", "attn_k.weight"},
                                          {"self_attn.v_proj.weight", "attn_v.weight"},
                                          {"self_attn.o_proj.weight", "attn_output.weight"},
                                          {"post_attention_layernorm.weight", "ffn_norm.weight"},
                                          {"mlp.gate_proj.weight", "ffn_gate.weight"},
                                          {"mlp.up_proj.weight", "ffn_up.weight"},
                                          {"mlp.down_proj.weight", "ffn_down.weight"}}};

using Column = std::string_view Row::*;

template <std::size_t N>
std::string_view look_up(const std::array<Row, N>& table, std::string_view name, Column from, Column to) {
  const auto row = std::ranges::find(table, name, from);
  return row == table.end() ? std::string_view() : (*row).*to;
}

/// Replaces a name of one column by that of the other; empty where it is in neither table.
std::string rename(std::string_view name, Column from, Column to) {
  constexpr Row block_prefix{"model.layers.", "blk."};
  const std::string_view prefix = block_prefix.*from;
  if (!name.starts_with(prefix)) return std::string(look_up(global_names, name, from, to));
  const std::size_t dot = name.find('.', prefix.size());
  if (dot == std::string_view::npos) return {};
  const std::string_view in_block = look_up(block_names, name.substr(dot + 1), from, to);
  if (in_block.empty()) return {};
  return fmt::format("{}{}.{}", block_prefix.*to, name.substr(prefix.size(), dot - prefix.size()), in_block);
}

}  // namespace

std::string to_gguf_name(std::string_view name) { return rename(name, &Row::first, &Row::second); }
std::string from_gguf_name(std::string_view name) { return rename(name, &Row::second, &Row::first); }

std::size_t rotary_heads(const Config& config, std::string_view name) {
  if (!is_block_linear(config, name)) return 0;
  if (name.ends_with("q_proj.weight")) return config.heads;
  return name.ends_with("k_proj.weight") ? config.kv_heads : 0;
}

}  // namespace llama
