#include "llama/channel_folding.hpp"

#include <utility>
#include <vector>

#include "pare/quantize/quantize.hpp"

namespace llama {
using pare::MatrixView;
using pare::Result;

namespace {

Result<pare::Array<float>> find_scales(ChannelScaling scaling, const pare::AnyGrid& grid, pare::SharedInput layers,
                                       const InputStatistics& input, const pare::Options& options) {
  std::vector<float> magnitudes(input.channels.channels().size());
  for (std::size_t c = 0; c < magnitudes.size(); ++c)
    magnitudes[c] =
        scaling == ChannelScaling::awq ? input.channels.mean_magnitude(c) : input.channels.largest_magnitude(c);
  if (scaling != ChannelScaling::awq)
    return pare::SmoothQuant{.alpha = scaling == ChannelScaling::qoq ? 0.3f : 0.8f}(layers, magnitudes, options);
  auto found = pare::Awq{}.search(grid, layers, magnitudes, input.moment, options);
  if (!found) return std::move(found).error();
  return std::move(found->scales);
}

}  // namespace

bool scales_stage(ChannelScaling scaling, const Config& config, std::size_t stage) {
  const LinearRole first = stages[stage].front();
  const bool behind_norm = first == LinearRole::query || first == LinearRole::gate;
  if (first == LinearRole::output && config.heads != config.kv_heads) return false;
  return scaling == ChannelScaling::awq || (scaling == ChannelScaling::smooth_quant && behind_norm) ||
         (scaling == ChannelScaling::qoq && !behind_norm);
}

Result<pare::Array<float>> fold_scales(ChannelScaling scaling, const pare::AnyGrid& grid, const InputStatistics& input,
                                       std::size_t stage, Block& block, const pare::Options& options) {
  if (input.moment.tokens() == 0)
    return pare::Error{pare::ErrorCode::invalid_argument, "scales of channels need inputs: there is no token"};
  std::vector<MatrixView<const float>> layers;
  for (const LinearRole role : stages[stage]) layers.push_back(block[role].floats()->view());
  auto scales = find_scales(scaling, grid, layers, input, options);
  if (!scales) return scales;
  for (const LinearRole role : stages[stage]) {
    auto done =
        rewrite(block[role], [&](MatrixView<float> weights) { return pare::scale_inputs(weights, scales->values()); });
    if (!done) return std::move(done).error();
  }
  const auto divide = [&](MatrixView<float> producer) { return pare::divide_outputs(producer, {}, scales->values()); };
  const auto divide_norm = [&](std::vector<float>& norm) { return divide({norm.data(), norm.size(), 1}); };
  const auto divide_producer = [&]() -> Result<void> {
    switch (stages[stage].front()) {
      case LinearRole::query:
        return divide_norm(block.attention_norm);
      case LinearRole::gate:
        return divide_norm(block.mlp_norm);
      case LinearRole::output:
        return rewrite(block[LinearRole::value], divide);
      default:
        return rewrite(block[LinearRole::up], divide);
    }
  };
  if (auto done = divide_producer(); !done) return std::move(done).error();
  return scales;
}

}  // namespace llama
