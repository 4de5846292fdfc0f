#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/tensor.hpp"
#include "llama/config.hpp"

namespace llama {

/// The seven linear layers of a block, in the order of linear_names.
enum class LinearRole { query, key, value, output, gate, up, down };

inline constexpr std::array<LinearRole, 7> linear_roles = {LinearRole::query,  LinearRole::key,  LinearRole::value,
                                                           LinearRole::output, LinearRole::gate, LinearRole::up,
                                                           LinearRole::down};

/// What the linear layers are called after "model.layers.N.", as in Hugging Face checkpoints.
inline constexpr std::array<std::string_view, 7> linear_names = {
    "self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight", "self_attn.o_proj.weight",
    "mlp.gate_proj.weight",    "mlp.up_proj.weight",      "mlp.down_proj.weight"};

inline constexpr std::string_view embedding_name = "model.embed_tokens.weight";
inline constexpr std::string_view head_name = "lm_head.weight";
inline constexpr std::string_view final_norm_name = "model.norm.weight";

/// A tensor's name, and the shape that the configuration asks for.
struct ExpectedTensor {
  std::string name;
  io::Extents shape;
};

ExpectedTensor expected_linear(const Config& config, std::size_t layer, LinearRole role);
ExpectedTensor expected_attention_norm(const Config& config, std::size_t layer);
ExpectedTensor expected_mlp_norm(const Config& config, std::size_t layer);

/// The embedding or, by its name, the output head.
ExpectedTensor expected_vocabulary(const Config& config, std::string_view name);

/// Whether this is the name of a linear layer of one of the model's blocks, that is of what quantize and prune work on.
bool is_block_linear(const Config& config, std::string_view name);

/// What a tensor is called when only these blocks are left, in ascending order, and counted anew; empty blocks: all are
/// left. Nothing for a tensor of a block that is gone.
std::optional<std::string> renamed(std::string_view name, const std::vector<std::size_t>& blocks);

}  // namespace llama
