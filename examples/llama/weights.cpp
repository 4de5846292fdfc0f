#include "llama/weights.hpp"

#include <fmt/format.h>

#include <utility>

#include "io/json.hpp"
#include "llama/elements.hpp"

namespace llama {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

/// The name under which one of the two vocabulary matrices is stored.
std::string_view stored_name(const WeightFiles& files, const Config& config, std::string_view name) {
  if (!config.tied) return name;
  const bool only_head = files.find(embedding_name) == nullptr && files.find(head_name) != nullptr;
  return only_head ? head_name : embedding_name;
}

Result<const ListedTensor*> require_plain(const WeightFiles& files, const ExpectedTensor& expected) {
  auto tensor = files.require(expected);
  if (tensor && (*tensor)->packed)
    return Error{ErrorCode::unsupported, fmt::format("{}: tensor {}: expected F32, F16 or BF16, found {} codes",
                                                     files.name(), io::quote(expected.name), (*tensor)->scheme)};
  return tensor;
}

Result<std::vector<float>> load_vector(const WeightFiles& files, const ExpectedTensor& expected) {
  if (auto found = require_plain(files, expected); !found) return std::move(found).error();
  const auto tensor = files.read(expected.name);
  if (!tensor) return tensor.error();
  std::vector<float> values(expected.shape.front());
  to_floats(tensor->dtype, tensor->bytes, values);
  return values;
}

Result<FloatMatrix> load_floats(const WeightFiles& files, const ExpectedTensor& expected) {
  auto tensor = files.read(expected.name);
  if (!tensor) return std::move(tensor).error();
  return FloatMatrix::over(*tensor, {expected.shape[0], expected.shape[1]});
}

}  // namespace

Result<Linear> load_linear(const WeightFiles& files, const ExpectedTensor& expected) {
  const auto found = files.require(expected);
  if (!found) return found.error();
  if ((*found)->packed) {
    auto matrix = files.read_packed(expected.name);
    if (!matrix) return std::move(matrix).error();
    return Linear(*std::move(matrix));
  }
  auto matrix = load_floats(files, expected);
  if (!matrix) return std::move(matrix).error();
  return Linear(*std::move(matrix));
}

Result<void> check_weights(const WeightFiles& files, const Config& config) {
  const ExpectedTensor embedding = expected_vocabulary(config, stored_name(files, config, embedding_name));
  const ExpectedTensor head = expected_vocabulary(config, stored_name(files, config, head_name));
  if (auto found = require_plain(files, embedding); !found) return std::move(found).error();
  if (auto found = files.require(head); !found) return std::move(found).error();
  if (auto found = require_plain(files, {std::string(final_norm_name), {config.hidden_size}}); !found)
    return std::move(found).error();
  for (std::size_t layer = 0; layer < config.layers; ++layer) {
    for (const ExpectedTensor& norm : {expected_attention_norm(config, layer), expected_mlp_norm(config, layer)})
      if (auto found = require_plain(files, norm); !found) return std::move(found).error();
    for (const LinearRole role : linear_roles)
      if (auto found = files.require(expected_linear(config, layer, role)); !found) return std::move(found).error();
  }
  return {};
}

Result<Block> load_block(const WeightFiles& files, const Config& config, std::size_t layer) {
  return load_block(files, config, layer, [&](const ExpectedTensor& expected) { return load_linear(files, expected); });
}

Result<Block> load_block(const WeightFiles& files, const Config& config, std::size_t layer,
                         pare::FunctionRef<Result<Linear>(const ExpectedTensor&)> load) {
  Block block;
  auto attention_norm = load_vector(files, expected_attention_norm(config, layer));
  if (!attention_norm) return std::move(attention_norm).error();
  auto mlp_norm = load_vector(files, expected_mlp_norm(config, layer));
  if (!mlp_norm) return std::move(mlp_norm).error();
  block.attention_norm = *std::move(attention_norm);
  block.mlp_norm = *std::move(mlp_norm);
  for (const LinearRole role : linear_roles) {
    auto linear = load(expected_linear(config, layer, role));
    if (!linear) return std::move(linear).error();
    block[role] = *std::move(linear);
  }
  return block;
}

Result<Ends> load_ends(const WeightFiles& files, const Config& config) {
  const ExpectedTensor embedding = expected_vocabulary(config, stored_name(files, config, embedding_name));
  const ExpectedTensor head = expected_vocabulary(config, stored_name(files, config, head_name));
  if (auto found = require_plain(files, embedding); !found) return std::move(found).error();

  Ends ends;
  auto matrix = load_floats(files, embedding);
  if (!matrix) return std::move(matrix).error();
  ends.embedding = *std::move(matrix);
  auto norm = load_vector(files, {std::string(final_norm_name), {config.hidden_size}});
  if (!norm) return std::move(norm).error();
  ends.norm = *std::move(norm);
  if (head.name == embedding.name) {
    ends.head = Linear(ends.embedding);
    return ends;
  }
  auto linear = load_linear(files, head);
  if (!linear) return std::move(linear).error();
  ends.head = *std::move(linear);
  return ends;
}

}  // namespace llama
