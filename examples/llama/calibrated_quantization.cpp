#include "llama/calibrated_quantization.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "io/json.hpp"
#include "llama/block_runner.hpp"
#include "llama/channel_folding.hpp"
#include "llama/layer_methods.hpp"
#include "llama/linear.hpp"
#include "llama/progressive_channels.hpp"
#include "pare/prune/prune.hpp"
#include "pare/quantize/output_error.hpp"

namespace llama {
using pare::AnyGrid;
using pare::Error;
using pare::ErrorCode;
using pare::MatrixView;
using pare::Options;
using pare::OutputTarget;
using pare::Result;

namespace {

struct Method : CalibratedMethod {
  LayerChoice first, last;  ///< of those that fit the scheme the least output error decides
  ChannelScaling scaling = ChannelScaling::none;
  bool matches = false;  ///< whether layers aim at the float model's outputs
};

constexpr std::array methods = {
    Method{{"rtn", "each weight to the nearest code", false}, LayerChoice::rtn, LayerChoice::rtn},
    Method{{"mse", "the same, with the clipped range of least error for each group", false},
           LayerChoice::mse,
           LayerChoice::mse},
    Method{{"gptq", "GPTQ in the order of activations, with static groups"}, LayerChoice::gptq, LayerChoice::gptq},
    Method{{"refined", "GPTQ with clipped ranges, then coordinate descent on codes and scales"},
           LayerChoice::refined,
           LayerChoice::refined},
    Method{{"matched", "refined, for weights that make up for the error of the layers before"},
           LayerChoice::refined,
           LayerChoice::refined,
           ChannelScaling::none,
           true},
    Method{{"auto", "matched, but for each layer whichever of mse, awq's clipping, gptq and refined errs least"},
           LayerChoice::mse,
           LayerChoice::refined,
           ChannelScaling::none,
           true},
    Method{{"awq", "AWQ's channel scales, folded into norms and layers before, and its clipped ranges"},
           LayerChoice::clip,
           LayerChoice::clip,
           ChannelScaling::awq},
    Method{{"smoothquant", "SmoothQuant's channel scales, folded into norms; each weight to the nearest code"},
           LayerChoice::rtn,
           LayerChoice::rtn,
           ChannelScaling::smooth_quant},
    Method{{"hqq", "HQQ's real zero points, fitted to the weights alone; with --layout hqq or float32", false},
           LayerChoice::hqq,
           LayerChoice::hqq},
    Method{{"qoq", "QoQ's two levels of scales, smoothed and ordered channels; for int4-asym-g128, -g32, -channel"},
           LayerChoice::progressive,
           LayerChoice::progressive,
           ChannelScaling::qoq},
    Method{{"aqlm", "AQLM's additive codebooks, as --scheme 2x8 or 1x16-g4; with --layout aqlm or float32"},
           LayerChoice::additive,
           LayerChoice::additive},
};

std::shared_ptr<const std::vector<float>> shared_values(const LayerCodes& codes) {
  return std::make_shared<const std::vector<float>>(values_of(codes));
}

/// The sequences on their way through the float model and through the quantized one.
struct Paths {
  std::vector<Stream> exact;  ///< empty where the method does not ask for them
  std::vector<Stream> quantized;
};

/// A block as it is in the files, and what has become of it.
struct BlockPair {
  Block exact, quantized;
};

/// What enters a layer for some tokens, [tokens, in], and what the output of its block is added to, [tokens, hidden].
struct LayerTokens {
  MatrixView<const float> input, residual;
};

/// What enters the layers of a stage, and what their outputs will be added to.
struct StageTokens {
  std::vector<float> inputs, residual;

  [[nodiscard]] LayerTokens view(std::size_t in, std::size_t hidden) const {
    const std::size_t tokens = inputs.size() / in;
    return {{inputs.data(), tokens, in}, {residual.data(), tokens, hidden}};
  }
};

/// Quantizes the layers of one block after the other.
class BlockQuantizer {
 public:
  BlockQuantizer(const WeightFiles& files, const Config& config, const LayerScheme& scheme, const Method& method,
                 Paths& paths, pare::Executor executor)
      : files_(files),
        config_(config),
        scheme_(scheme),
        method_(method),
        paths_(paths),
        runner_(config, paths.quantized, executor),
        options_{.executor = executor} {}

  Result<QuantizedBlock> quantize(std::size_t index, BlockPair& block) {
    QuantizedBlock result;
    if (auto done = change_channels(index, block.quantized); !done) return std::move(done).error();
    if (method_.scaling != ChannelScaling::none) {
      result.floats.emplace(expected_attention_norm(config_, index).name, block.quantized.attention_norm);
      result.floats.emplace(expected_mlp_norm(config_, index).name, block.quantized.mlp_norm);
    }
    for (const std::span<const LinearRole> stage : stages) {
      std::vector<OutputTarget> targets;
      const auto input = gather(index, block, stage, targets);
      if (!input) return input.error();
      for (std::size_t i = 0; i < stage.size(); ++i) {
        const LinearRole role = stage[i];
        const std::string name = expected_linear(config_, index, role).name;
        auto layer = quantize_layer(role, block.quantized[role].floats()->view(), *input,
                                    targets.empty() ? nullptr : &targets[i]);
        if (!layer) return fault(name, layer.error());
        replace(block.quantized[role], layer->codes);
        result.layers.emplace(name, *std::move(layer));
      }
    }
    return result;
  }

  /// Puts finished layers and norms in place of the block's own.
  Result<void> restore(std::size_t index, const QuantizedBlock& finished, Block& block) const {
    const auto missing = [&](const std::string& name) {
      return Error{ErrorCode::corrupt_data, fmt::format("the finished block {} has no {}", index, io::quote(name))};
    };
    for (const LinearRole role : linear_roles) {
      const std::string name = expected_linear(config_, index, role).name;
      const auto found = finished.layers.find(name);
      if (found == finished.layers.end() || shape_of(found->second.codes) != block[role].shape()) return missing(name);
      replace(block[role], found->second.codes);
    }
    if (method_.scaling == ChannelScaling::none) return {};
    const auto restore_norm = [&](const std::string& name, std::vector<float>& norm) -> Result<void> {
      const auto found = finished.floats.find(name);
      if (found == finished.floats.end() || found->second.size() != norm.size()) return missing(name);
      norm = found->second;
      return {};
    };
    auto done = restore_norm(expected_attention_norm(config_, index).name, block.attention_norm);
    if (!done) return done;
    return restore_norm(expected_mlp_norm(config_, index).name, block.mlp_norm);
  }

  /// Takes all sequences through a block.
  Result<void> advance(const BlockPair& block) {
    for (Stream& stream : paths_.quantized)
      if (auto done = runner_.run(block.quantized, stream, ignore_inputs); !done) return done;
    for (Stream& stream : paths_.exact)
      if (auto done = runner_.run(block.exact, stream, ignore_inputs); !done) return done;
    return {};
  }

 private:
  [[nodiscard]] std::size_t inputs_of(std::size_t index, LinearRole role) const {
    return expected_linear(config_, index, role).shape[1];
  }
  [[nodiscard]] Error fault(const std::string& name, const Error& error) const {
    return {error.code, fmt::format("{}: tensor {}: {}", files_.name(), io::quote(name), error.message)};
  }
  /// Changes the channels of a block that is not quantized yet, so that it computes the same and bears more.
  Result<void> change_channels(std::size_t index, Block& block) {
    const bool qoq = method_.scaling == ChannelScaling::qoq;
    for (std::size_t stage = 0; stage < stages.size(); ++stage) {
      const LinearRole first = stages[stage].front();
      if (!scales_stage(method_.scaling, config_, stage) && (!qoq || first == LinearRole::gate)) continue;
      const std::size_t in = inputs_of(index, first);
      auto input = InputStatistics::create(in);
      if (!input) return std::move(input).error();
      KeySmoothing keys(config_);
      StageTokens tokens;
      for (const Stream& stream : paths_.quantized) {
        if (auto done = observe(block, stream, first, tokens); !done) return done;
        const MatrixView<const float> seen = tokens.view(in, config_.hidden_size).input;
        if (auto done = input->add(seen, options_); !done) return done;
        if (qoq && first == LinearRole::query) keys.add(seen, block, options_.executor);
      }
      const auto done = qoq && first == LinearRole::query ? keys.fold(block) : change_stage(stage, *input, block);
      if (!done) return fault(expected_linear(config_, index, first).name, done.error());
    }
    return {};
  }
  Result<void> change_stage(std::size_t stage, const InputStatistics& input, Block& block) {
    std::vector<float> magnitudes(input.channels.channels().size());
    for (std::size_t c = 0; c < magnitudes.size(); ++c) magnitudes[c] = input.channels.largest_magnitude(c);
    if (scales_stage(method_.scaling, config_, stage)) {
      const auto scales = fold_scales(method_.scaling, *std::get_if<AnyGrid>(&scheme_), input, stage, block, options_);
      if (!scales) return scales.error();
      for (std::size_t c = 0; c < magnitudes.size(); ++c) magnitudes[c] /= (*scales)[c];
    }
    if (method_.scaling != ChannelScaling::qoq) return {};
    return order_channels(config_, magnitudes, stages[stage].front(), block);
  }

  /// Runs a block on a sequence, whose place it keeps, for what comes to the layers of one stage.
  Result<void> observe(const Block& block, const Stream& stream, LinearRole first, StageTokens& tokens) {
    tokens.inputs.clear();
    tokens.residual.clear();
    scratch_ = stream;
    return runner_.run(block, scratch_, [&](LinearRole role, MatrixView<const float> input) {
      if (role != first) return;
      // While a layer's input is seen, the stream is what its output will be added to.
      const auto begin = scratch_.hidden.begin() + static_cast<std::ptrdiff_t>(tokens.residual.size());
      tokens.residual.insert(tokens.residual.end(), begin,
                             begin + static_cast<std::ptrdiff_t>(input.rows * config_.hidden_size));
      for (std::size_t t = 0; t < input.rows; ++t)
        tokens.inputs.insert(tokens.inputs.end(), input.row(t), input.row(t) + input.cols);
    });
  }

  /// What enters the layers of one stage, by the block as it is, and what each should put out where that matters.
  Result<InputStatistics> gather(std::size_t index, const BlockPair& block, std::span<const LinearRole> stage,
                                 std::vector<OutputTarget>& targets) {
    const std::size_t in = inputs_of(index, stage.front()), hidden = config_.hidden_size;
    auto input = InputStatistics::create(in);
    if (!input) return input;
    for (const LinearRole role : stage) {
      if (!method_.matches) break;
      auto target = OutputTarget::create(expected_linear(config_, index, role).shape[0], in);
      if (!target) return std::move(target).error();
      targets.push_back(*std::move(target));
    }
    StageTokens exact, quantized;
    for (std::size_t i = 0; i < paths_.quantized.size(); ++i) {
      if (auto done = observe(block.quantized, paths_.quantized[i], stage.front(), quantized); !done)
        return std::move(done).error();
      if (auto done = input->add(quantized.view(in, hidden).input, options_); !done) return std::move(done).error();
      if (!method_.matches) continue;
      if (auto done = observe(block.exact, paths_.exact[i], stage.front(), exact); !done)
        return std::move(done).error();
      for (std::size_t t = 0; t < targets.size(); ++t)
        if (auto done = add_target(stage[t], block.exact[stage[t]], exact.view(in, hidden), quantized.view(in, hidden),
                                   targets[t]);
            !done)
          return std::move(done).error();
    }
    return input;
  }

  /// What a layer puts out in the float model; where that is added to the residual stream, with what the quantized
  /// model's stream lacks.
  Result<void> add_target(LinearRole role, const Linear& layer, const LayerTokens& exact, const LayerTokens& quantized,
                          OutputTarget& target) {
    const MatrixView<const float> weights = layer.floats()->view();
    outputs_.resize(exact.input.rows * weights.rows);
    const MatrixView<float> outputs(outputs_.data(), exact.input.rows, weights.rows);
    multiply(exact.input, weights, outputs, options_.executor);
    if (role == LinearRole::output || role == LinearRole::down)
      for (std::size_t t = 0; t < outputs.rows; ++t)
        for (std::size_t c = 0; c < outputs.cols; ++c) outputs(t, c) += exact.residual(t, c) - quantized.residual(t, c);
    return target.add(outputs, quantized.input, options_);
  }

  Result<QuantizedBlock::Layer> quantize_layer(LinearRole role, MatrixView<const float> weights,
                                               const InputStatistics& input, const OutputTarget* target) const {
    constexpr double damping = 0.01;
    std::optional<pare::Matrix<float>> matched;
    if (target != nullptr) {
      auto found = target->weights(weights, input.moment, damping, options_);
      if (!found) return std::move(found).error();
      matched = *std::move(found);
    }
    const MatrixView<const float> wanted = matched ? MatrixView<const float>(*matched) : weights;
    const std::vector<float> nothing(weights.rows * weights.cols, 0.0f);
    const auto whole = pare::output_error(wanted, {nothing.data(), weights.rows, weights.cols}, input.moment, options_);
    if (!whole) return whole.error();
    std::optional<QuantizedBlock::Layer> best;
    Error unfit{ErrorCode::unsupported, "no method is for such a layer"};
    for (auto choice = static_cast<std::size_t>(method_.first); choice <= static_cast<std::size_t>(method_.last);
         ++choice) {
      auto codes = layer_methods[choice].quantize(scheme_, wanted, input, role, options_);
      if (!codes) {
        unfit = std::move(codes).error();
        if (unfit.code != ErrorCode::unsupported) return unfit;
        continue;
      }
      const auto values = shared_values(*codes);
      const MatrixView<const float> approximation(values->data(), weights.rows, weights.cols);
      const auto error = pare::output_error(wanted, approximation, input.moment, options_);
      if (!error) return error.error();
      const double relative = *whole > 0.0 ? std::sqrt(*error / *whole) : 0.0;
      if (best && relative >= best->output_error) continue;
      best = QuantizedBlock::Layer{*std::move(codes), {}, relative, std::string(layer_methods[choice].name)};
      for (std::size_t r = 0; r < weights.rows; ++r)
        for (std::size_t c = 0; c < weights.cols; ++c) best->error.add(weights(r, c), approximation(r, c));
    }
    if (!best) return unfit;
    return *std::move(best);
  }

  static void replace(Linear& linear, const LayerCodes& codes) {
    linear = Linear(FloatMatrix::owning(shared_values(codes), shape_of(codes)));
  }

  const WeightFiles& files_;
  const Config& config_;
  const LayerScheme& scheme_;
  const Method& method_;
  Paths& paths_;
  BlockRunner runner_;
  Options options_;
  Stream scratch_;
  std::vector<float> outputs_;
};

}  // namespace

const std::vector<CalibratedMethod>& calibrated_methods() {
  static const std::vector<CalibratedMethod> list(methods.begin(), methods.end());
  return list;
}

Result<void> quantize_blocks(const WeightFiles& files, const Config& config, const CalibratedQuantization& how,
                             const std::vector<Sequence>& sequences, const BlockStore& store, pare::Executor executor,
                             io::ProgressCallback progress) {
  const auto method = std::ranges::find(methods, std::string_view(how.method), &Method::name);
  if (method == methods.end())
    return Error{ErrorCode::invalid_argument, fmt::format("unknown method {}", io::quote(how.method))};
  const auto scheme = scheme_named(how.scheme);
  if (!scheme) return scheme.error();
  if (method->scaling != ChannelScaling::none && !std::holds_alternative<AnyGrid>(*scheme))
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{}: codebooks are --method aqlm's; any other needs a scheme of the list", how.scheme)};
  if (auto complete = check_weights(files, config); !complete) return complete;
  if (auto floats = files.require_floats(); !floats) return floats;
  auto streams = embed_all(files, config, sequences);
  if (!streams) return std::move(streams).error();
  Paths paths{.exact = {}, .quantized = *std::move(streams)};
  if (method->matches) paths.exact = paths.quantized;
  BlockQuantizer quantizer(files, config, *scheme, *method, paths, executor);
  for (std::size_t index = 0; index < config.layers; ++index) {
    auto loaded = load_block(files, config, index);
    if (!loaded) return std::move(loaded).error();
    BlockPair block{*loaded, *loaded};
    if (store.has(index)) {
      const auto finished = store.load(index);
      if (!finished) return finished.error();
      if (auto done = quantizer.restore(index, *finished, block.quantized); !done) return done;
    } else {
      const auto finished = quantizer.quantize(index, block);
      if (!finished) return finished.error();
      if (auto done = store.save(index, *finished); !done) return done;
    }
    for (const LinearRole role : linear_roles)
      if (const auto tensor = files.read(expected_linear(config, index, role).name)) files.release(tensor->bytes);
    if (index + 1 < config.layers)
      if (auto done = quantizer.advance(block); !done) return done;
    progress(index + 1, config.layers);
  }
  return {};
}

}  // namespace llama
