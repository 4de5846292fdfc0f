// Quantization by what flows into the layers: better than rounding, and taken up where it stopped.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/thread_pool.hpp"
#include "llama/block_runner.hpp"
#include "llama/calibrated_quantization.hpp"
#include "llama/channel_folding.hpp"
#include "llama/progressive_channels.hpp"
#include "tiny_model.hpp"

namespace {
namespace fs = std::filesystem;

class Calibrated : public testing::Test {
 protected:
  void SetUp() override {
    tiny::write_model(folder_ / "model");
    for (std::int32_t s = 0; s < 6; ++s) {
      llama::Sequence& sequence = texts_.emplace_back();
      for (std::int32_t t = 0; t < 60; ++t) sequence.push_back(3 + (s * 91 + t * t * 7 + t * 13) % 250);
    }
  }

  /// The blocks by that method; how many were computed goes to `steps_`.
  pare::Result<std::vector<llama::QuantizedBlock>> quantize(const std::string& method, const std::string& store,
                                                            pare::Executor executor = pare::serial) {
    const auto files = llama::WeightFiles::open(folder_ / "model");
    if (!files) return files.error();
    const auto blocks = llama::BlockStore::open(folder_ / store, {{"method", method}}, false);
    if (!blocks) return blocks.error();
    const auto progress = [](std::uint64_t, std::uint64_t) {};
    auto done = llama::quantize_blocks(*files, tiny::config(), {.scheme = scheme_, .method = method}, texts_, *blocks,
                                       executor, progress);
    if (!done) return std::move(done).error();
    std::vector<llama::QuantizedBlock> result;
    for (std::size_t i = 0; i < tiny::config().layers; ++i) {
      auto block = blocks->load(i);
      if (!block) return std::move(block).error();
      result.push_back(*std::move(block));
    }
    return result;
  }

  static double error_of_first(const std::vector<llama::QuantizedBlock>& blocks) {
    double sum = 0.0;
    for (const auto& [name, layer] : blocks.front().layers) sum += layer.output_error;
    return sum;
  }

  /// The sum of the squared differences between the hidden states of the model and those of its quantized blocks.
  double distance(const std::vector<llama::QuantizedBlock>& quantized) const {
    const auto config = tiny::config();
    const auto files = llama::WeightFiles::open(folder_ / "model");
    auto exact = llama::embed_all(*files, config, texts_);
    auto streams = *exact;
    llama::BlockRunner runner(config, streams, pare::serial);
    for (std::size_t i = 0; i < config.layers; ++i) {
      auto block = llama::load_block(*files, config, i);
      for (auto& stream : *exact) EXPECT_TRUE(runner.run(*block, stream, llama::ignore_inputs));
      for (const llama::LinearRole role : llama::linear_roles) {
        const auto& codes = quantized[i].layers.at(llama::expected_linear(config, i, role).name).codes;
        const auto values = std::make_shared<std::vector<float>>(llama::values_of(codes));
        (*block)[role] = llama::Linear(llama::FloatMatrix::owning(values, llama::shape_of(codes)));
      }
      const auto norm = [&](const std::string& name, std::vector<float>& own) {
        if (const auto found = quantized[i].floats.find(name); found != quantized[i].floats.end()) own = found->second;
      };
      norm(llama::expected_attention_norm(config, i).name, block->attention_norm);
      norm(llama::expected_mlp_norm(config, i).name, block->mlp_norm);
      for (auto& stream : streams) EXPECT_TRUE(runner.run(*block, stream, llama::ignore_inputs));
    }
    double sum = 0.0;
    for (std::size_t s = 0; s < streams.size(); ++s)
      for (std::size_t k = 0; k < streams[s].hidden.size(); ++k) {
        const double away = double{streams[s].hidden[k]} - double{(*exact)[s].hidden[k]};
        sum += away * away;
      }
    return sum;
  }
  /// That both blocks do the same to a sequence.
  static void expect_same_function(const llama::Config& config, const llama::Block& a, const llama::Block& b,
                                   const llama::Stream& sequence) {
    llama::Stream before = sequence, after = sequence;
    llama::BlockRunner runner(config, {sequence}, pare::serial);
    ASSERT_TRUE(runner.run(a, before, llama::ignore_inputs));
    ASSERT_TRUE(runner.run(b, after, llama::ignore_inputs));
    for (std::size_t i = 0; i < before.hidden.size(); ++i)
      EXPECT_NEAR(before.hidden[i], after.hidden[i], 1e-4f * (1.0f + std::fabs(before.hidden[i])));
  }
  double distance(const std::string& method) {
    const auto blocks = quantize(method, method + scheme_);
    EXPECT_TRUE(blocks) << method << ": " << blocks.error().message;
    return blocks ? distance(*blocks) : -1.0;
  }

  const fixtures::Folder folder_;
  std::vector<llama::Sequence> texts_;
  std::string scheme_ = "int2-asym-g32";
};

TEST_F(Calibrated, EachMethodLeavesLessErrorThanTheOneBefore) {
  double before = 1e9;
  // Not of "mse", which lessens the error of the weights, nor of methods that aim at other outputs than the layer's.
  for (const std::string method : {"rtn", "gptq", "refined"}) {
    const auto blocks = quantize(method, method);
    ASSERT_TRUE(blocks) << method << ": " << blocks.error().message;
    ASSERT_EQ(blocks->front().layers.size(), 7u);
    const double error = error_of_first(*blocks);
    EXPECT_LT(error, before) << method;
    before = error;
  }
}

TEST_F(Calibrated, WhatMakesUpForEarlierLayersEndsNearerToTheModel) {
  const double refined = distance("refined"), matched = distance("matched");
  EXPECT_LT(refined, distance("rtn"));
  EXPECT_LT(matched, 0.9 * refined);
  EXPECT_GT(matched, 0.0);
  EXPECT_LT(distance("auto"), 0.9 * refined);
  EXPECT_GT(distance("hqq"), 0.0);
}

TEST_F(Calibrated, ScalesOfChannelsGoIntoTheNorms) {
  scheme_ = "int8-asym-g32";
  const double rounded = distance("rtn");
  for (const std::string method : {"awq", "smoothquant"}) {
    const auto blocks = quantize(method, method);
    ASSERT_TRUE(blocks) << method << ": " << blocks.error().message;
    EXPECT_EQ(blocks->front().floats.size(), 2u);
    EXPECT_LT(distance(*blocks), 4.0 * rounded) << method;
    const std::string name = llama::expected_attention_norm(tiny::config(), 0).name;
    EXPECT_NE(blocks->front().floats.at(name)[0], tiny::value({name, io::DType::f32, {64}}, 0)) << method;
  }
}

TEST_F(Calibrated, FoldedBlocksComputeWhatTheyDid) {
  llama::Config config = tiny::config();
  config.kv_heads = config.heads;  // so that values and output have the same channels
  const auto random = [](std::size_t layer, llama::LinearRole role, std::size_t rows, std::size_t cols) {
    const std::string name = llama::expected_linear(tiny::config(), layer, role).name;
    auto values = std::make_shared<std::vector<float>>();
    for (std::size_t i = 0; i < rows * cols; ++i)
      values->push_back(tiny::value({name, io::DType::f32, {rows, cols}}, i));
    return llama::Linear(llama::FloatMatrix::owning(values, {rows, cols}));
  };
  llama::Block block;
  block.attention_norm.assign(64, 0.5f);
  block.mlp_norm.assign(64, 2.0f);
  for (const llama::LinearRole role : llama::linear_roles) {
    const auto shape = llama::expected_linear(config, 0, role).shape;
    block[role] = random(0, role, shape[0], shape[1]);
  }
  llama::Stream exact{20, {}};
  for (std::size_t i = 0; i < 20 * 64; ++i) exact.hidden.push_back(tiny::value({"x", io::DType::f32, {20, 64}}, i));
  const auto grid = pare::AnyGrid::named("int4-asym-g32");
  ASSERT_TRUE(grid);
  for (const auto scaling :
       {llama::ChannelScaling::awq, llama::ChannelScaling::smooth_quant, llama::ChannelScaling::qoq}) {
    llama::Block folded = block;
    for (std::size_t stage = 0; stage < llama::stages.size(); ++stage) {
      if (!llama::scales_stage(scaling, config, stage)) continue;
      auto input = llama::InputStatistics::create(stage == 3 ? 96 : 64);
      ASSERT_TRUE(input);
      EXPECT_FALSE(llama::fold_scales(scaling, *grid, *input, stage, folded, {})) << "without a token";
      std::vector<float> tokens;
      for (std::size_t i = 0; i < 30 * input->moment.channels(); ++i)
        tokens.push_back(tiny::value({"tokens", io::DType::f32, {1, 1}}, i) * static_cast<float>(1 + i % 5));
      ASSERT_TRUE(input->add({tokens.data(), 30, input->moment.channels()}, {}));
      const auto done = llama::fold_scales(scaling, *grid, *input, stage, folded, {});
      ASSERT_TRUE(done) << done.error().message;
    }
    EXPECT_EQ(folded.attention_norm == block.attention_norm, scaling == llama::ChannelScaling::qoq);
    expect_same_function(config, block, folded, exact);
  }
}

TEST_F(Calibrated, OrderedChannelsAndSmoothedKeysComputeWhatTheyDid) {
  const llama::Config config = tiny::config();  // four heads share two of values
  auto files = llama::WeightFiles::open(folder_ / "model");
  ASSERT_TRUE(files);
  const auto block = llama::load_block(*files, config, 1);
  ASSERT_TRUE(block);
  llama::Stream exact{20, {}};
  for (std::size_t i = 0; i < 20 * 64; ++i) exact.hidden.push_back(tiny::value({"x", io::DType::f32, {20, 64}}, i));
  llama::Block changed = *block;
  std::vector<float> magnitudes(96);
  for (std::size_t i = 0; i < 96; ++i) magnitudes[i] = static_cast<float>(i * 37 % 11);
  ASSERT_TRUE(llama::order_channels(config, magnitudes, llama::LinearRole::down, changed));
  ASSERT_TRUE(llama::order_channels(config, std::span(magnitudes).first(64), llama::LinearRole::output, changed));
  llama::KeySmoothing keys(config);
  EXPECT_FALSE(keys.fold(changed)) << "without a token";
  keys.add({exact.hidden.data(), 20, 64}, changed, pare::serial);
  ASSERT_TRUE(keys.fold(changed));
  for (const auto role : {llama::LinearRole::query, llama::LinearRole::key, llama::LinearRole::value,
                          llama::LinearRole::gate, llama::LinearRole::down})
    EXPECT_NE(changed[role].floats()->view()(3, 5), (*block)[role].floats()->view()(3, 5));
  expect_same_function(config, *block, changed, exact);
}

TEST_F(Calibrated, ProgressiveCodesHaveTwoLevelsOfScales) {
  scheme_ = "int4-asym-g32";
  const double rounded = distance("rtn");
  EXPECT_LT(distance("qoq"), 3.0 * rounded) << "scales of the second level are whole numbers";
  const auto blocks = quantize("qoq", "qoqint4-asym-g32");
  ASSERT_TRUE(blocks);
  const auto& layer = blocks->front().layers.at("model.layers.0.mlp.gate_proj.weight");
  EXPECT_EQ(layer.method, "qoq");
  const auto parts = pare::QServePerGroup{.group_size = 32}.write(std::get<pare::CodedMatrix>(layer.codes));
  ASSERT_TRUE(parts) << parts.error().message;
  scheme_ = "int4-asym-channel";
  const auto rows = quantize("qoq", "rows");
  ASSERT_TRUE(rows) << rows.error().message;
  EXPECT_TRUE(pare::QServePerChannel().write(
      std::get<pare::CodedMatrix>(rows->front().layers.at("model.layers.0.mlp.gate_proj.weight").codes)));
}

TEST_F(Calibrated, CodebooksAreNearerThanRoundingToAsManyBits) {
  scheme_ = "2x6-g4";
  const double codebooks = distance("aqlm");
  scheme_ = "int3-g32";
  EXPECT_GT(codebooks, 0.0);
  EXPECT_LT(codebooks, distance("rtn"));
}

TEST_F(Calibrated, GoesOnWhereItStopped) {
  for (const std::string method : {"gptq", "matched", "awq", "qoq", "aqlm"}) {
    scheme_ = method == "aqlm" ? "1x4-g4" : method == "qoq" ? "int4-asym-g32" : "int2-asym-g32";
    ASSERT_TRUE(quantize(method, method));
    const fs::path store = folder_ / method;
    const std::string first = fixtures::read(store / "block-00000.safetensors");
    const std::string second = fixtures::read(store / "block-00001.safetensors");
    const auto time = fs::last_write_time(store / "block-00000.safetensors");
    fs::remove(store / "block-00001.safetensors");
    io::ThreadPool threads(2);
    ASSERT_TRUE(quantize(method, method, threads));
    EXPECT_EQ(fixtures::read(store / "block-00001.safetensors"), second) << method;
    EXPECT_EQ(fs::last_write_time(store / "block-00000.safetensors"), time) << method;
    EXPECT_EQ(fixtures::read(store / "block-00000.safetensors"), first) << method;

    fixtures::write(store / "block-00000.safetensors", first.substr(0, first.size() / 2));
    EXPECT_FALSE(quantize(method, method));
  }
  scheme_ = "int2-asym-g32";
  ASSERT_TRUE(quantize("gptq", "store"));
  const auto other = quantize("rtn", "store");
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().message.find("another run"), std::string::npos) << other.error().message;
}

TEST_F(Calibrated, SaysWhatIsWrong) {
  EXPECT_FALSE(quantize("luck", "a"));
  scheme_ = "int2-g32";
  const auto centred = quantize("hqq", "b");
  ASSERT_FALSE(centred);
  EXPECT_NE(centred.error().message.find("zero point"), std::string::npos) << centred.error().message;
  EXPECT_FALSE(quantize("qoq", "e"));
  scheme_ = "2x8";
  for (const std::string method : {"gptq", "awq"}) {
    const auto codebooks = quantize(method, "f" + method);
    ASSERT_FALSE(codebooks);
    EXPECT_NE(codebooks.error().message.find("aqlm"), std::string::npos) << codebooks.error().message;
  }
  for (const char* scheme : {"2x", "2x17", "0x8", "2x8-g", "2x8-g4x", "99x8", "2x8-g7"}) {
    scheme_ = scheme;
    EXPECT_FALSE(quantize("aqlm", "h")) << scheme;
  }
  scheme_ = "fp8-block";
  EXPECT_FALSE(quantize("aqlm", "g"));
  EXPECT_FALSE(quantize("awq", "c")) << "blocks of several rows cannot be clipped row by row";
  EXPECT_TRUE(quantize("auto", "d")) << "the other methods can have them";
  texts_.clear();
  for (const std::string method : {"gptq", "matched", "auto", "awq", "smoothquant"}) {
    const auto nothing = quantize(method, method);
    ASSERT_FALSE(nothing) << method;
    EXPECT_NE(nothing.error().message.find("q_proj"), std::string::npos) << nothing.error().message;
  }
}

}  // namespace
