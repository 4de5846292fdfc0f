#include "llama/progressive_channels.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "pare/quantize/quantize.hpp"

namespace llama {
using pare::MatrixView;
using pare::Result;

namespace {

/// Each head's channels in descending order of the largest magnitude among the heads that share them.
Result<std::vector<std::uint32_t>> order_in_heads(const Config& config, std::span<const float> magnitudes) {
  const std::size_t width = config.head_dim, sharing = config.heads / config.kv_heads;
  std::vector<std::uint32_t> order;
  for (std::size_t head = 0; head < config.kv_heads; ++head) {
    std::vector<float> largest(width, 0.0f);
    for (std::size_t i = 0; i < sharing * width; ++i)
      largest[i % width] = std::max(largest[i % width], magnitudes[head * sharing * width + i]);
    const auto in_head = pare::salient_order(largest);
    if (!in_head) return in_head.error();
    for (const std::uint32_t channel : *in_head) order.push_back(static_cast<std::uint32_t>(head * width) + channel);
  }
  return order;
}

}  // namespace

Result<void> order_channels(const Config& config, std::span<const float> magnitudes, LinearRole role, Block& block) {
  std::vector<std::uint32_t> outputs, inputs;
  if (role == LinearRole::down) {
    const auto order = pare::salient_order(magnitudes);
    if (!order) return order.error();
    outputs.assign(order->begin(), order->end());
    inputs = outputs;
  } else {
    auto order = order_in_heads(config, magnitudes);
    if (!order) return std::move(order).error();
    outputs = *std::move(order);
    const std::size_t width = config.head_dim, sharing = config.heads / config.kv_heads;
    for (std::size_t i = 0; i < magnitudes.size(); ++i) {
      const std::size_t head = i / width, shared = head / sharing;
      const std::size_t channel = outputs[shared * width + i % width] - shared * width;
      inputs.push_back(static_cast<std::uint32_t>(head * width + channel));
    }
  }
  const auto by_outputs = [&](MatrixView<float> weights) { return pare::reorder_outputs({weights, {}}, outputs); };
  const auto by_inputs = [&](MatrixView<float> weights) { return pare::reorder_inputs(weights, inputs); };
  if (role != LinearRole::down) {
    if (auto done = rewrite(block[LinearRole::value], by_outputs); !done) return done;
    return rewrite(block[LinearRole::output], by_inputs);
  }
  if (auto done = rewrite(block[LinearRole::gate], by_outputs); !done) return done;
  if (auto done = rewrite(block[LinearRole::up], by_outputs); !done) return done;
  return rewrite(block[LinearRole::down], by_inputs);
}

void KeySmoothing::add(MatrixView<const float> tokens, const Block& block, pare::Executor executor) {
  keys_.resize(tokens.rows * largest_.size());
  multiply(tokens, block[LinearRole::key].floats()->view(), {keys_.data(), tokens.rows, largest_.size()}, executor);
  for (std::size_t i = 0; i < keys_.size(); ++i)
    largest_[i % largest_.size()] = std::max(largest_[i % largest_.size()], std::fabs(keys_[i]));
}

Result<void> KeySmoothing::fold(Block& block) const {
  if (keys_.empty())
    return pare::Error{pare::ErrorCode::invalid_argument, "SmoothAttention needs inputs: there is no token"};
  const auto scales = pare::SmoothAttention{}(largest_, config_.head_dim);
  if (!scales) return scales.error();
  return rewrite(block[LinearRole::key], [&](MatrixView<float> key) {
    return rewrite(block[LinearRole::query], [&](MatrixView<float> query) {
      return pare::SmoothAttention::fold({key, {}}, {query, {}}, scales->values(), config_.head_dim);
    });
  });
}

}  // namespace llama
