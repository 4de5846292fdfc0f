#include "llama/architecture.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <system_error>

namespace llama {
namespace {

constexpr std::string_view block_prefix = "model.layers.";

std::string in_block(std::size_t layer, std::string_view name) {
  return fmt::format("{}{}.{}", block_prefix, layer, name);
}

io::Extents linear_shape(const Config& config, LinearRole role) {
  switch (role) {
    case LinearRole::query:
      return {config.query_size(), config.hidden_size};
    case LinearRole::key:
    case LinearRole::value:
      return {config.kv_size(), config.hidden_size};
    case LinearRole::output:
      return {config.hidden_size, config.query_size()};
    case LinearRole::gate:
    case LinearRole::up:
      return {config.intermediate_size, config.hidden_size};
    case LinearRole::down:
      break;
  }
  return {config.hidden_size, config.intermediate_size};
}

}  // namespace

ExpectedTensor expected_linear(const Config& config, std::size_t layer, LinearRole role) {
  return {in_block(layer, linear_names[static_cast<std::size_t>(role)]), linear_shape(config, role)};
}

ExpectedTensor expected_attention_norm(const Config& config, std::size_t layer) {
  return {in_block(layer, "input_layernorm.weight"), {config.hidden_size}};
}

ExpectedTensor expected_mlp_norm(const Config& config, std::size_t layer) {
  return {in_block(layer, "post_attention_layernorm.weight"), {config.hidden_size}};
}

ExpectedTensor expected_vocabulary(const Config& config, std::string_view name) {
  return {std::string(name), {config.vocab_size, config.hidden_size}};
}

bool is_block_linear(const Config& config, std::string_view name) {
  if (!name.starts_with(block_prefix)) return false;
  const std::string_view rest = name.substr(block_prefix.size());
  std::size_t layer = 0;
  const auto number = std::from_chars(rest.data(), rest.data() + rest.size(), layer);
  if (number.ec != std::errc() || layer >= config.layers) return false;
  return std::ranges::any_of(linear_roles,
                             [&](LinearRole role) { return expected_linear(config, layer, role).name == name; });
}

std::optional<std::string> renamed(std::string_view name, const std::vector<std::size_t>& blocks) {
  if (blocks.empty() || !name.starts_with(block_prefix)) return std::string(name);
  const std::string_view rest = name.substr(block_prefix.size());
  std::size_t layer = 0;
  const auto number = std::from_chars(rest.data(), rest.data() + rest.size(), layer);
  if (number.ec != std::errc()) return std::string(name);
  const auto found = std::ranges::lower_bound(blocks, layer);
  if (found == blocks.end() || *found != layer) return {};
  return fmt::format("{}{}{}", block_prefix, found - blocks.begin(),
                     std::string_view(number.ptr, rest.data() + rest.size()));
}

}  // namespace llama
