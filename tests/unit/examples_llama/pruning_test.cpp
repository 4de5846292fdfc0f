// Pruning by what flows into the layers, and models that become smaller by it.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "io/thread_pool.hpp"
#include "llama/block_pruning.hpp"
#include "llama/elements.hpp"
#include "llama/model.hpp"
#include "llama/model_writer.hpp"
#include "llama/structural_pruning.hpp"
#include "tiny_model.hpp"

namespace {
namespace fs = std::filesystem;
using llama::LayerInput;
using llama::LinearRole;
using llama::Pruning;
using pare::MatrixView;

constexpr auto no_progress = [](std::uint64_t, std::uint64_t) {};

class LlamaPruning : public testing::Test {
 protected:
  void SetUp() override {
    tiny::write_model(folder_ / "model");
    for (std::int32_t s = 0; s < 6; ++s) {
      llama::Sequence& sequence = texts_.emplace_back();
      for (std::int32_t t = 0; t < 60; ++t) sequence.push_back(3 + (s * 91 + t * t * 7 + t * 13) % 250);
    }
  }

  llama::WeightFiles files(const char* model = "model") const { return *llama::WeightFiles::open(folder_ / model); }

  /// Prunes block by block; `see` is told each layer's input.
  pare::Result<void> prune(const Pruning& pruning, llama::PrunedLayers* layers,
                           const std::function<void(const std::string&, const LayerInput&)>& see = {}) const {
    const auto metric = llama::find_metric(pruning.metric);
    if (!metric) return metric.error();
    const auto each = [&](const std::string& name, MatrixView<const float> weights,
                          const LayerInput& input) -> pare::Result<std::vector<float>> {
      if (see) see(name, input);
      const auto pruned = llama::prune_matrix(pruning, weights, input, pare::serial);
      if (!pruned) return pruned.error();
      if (layers != nullptr)
        if (auto done = layers->save(name, pruned->weights.view(), 0); !done) return std::move(done).error();
      return std::vector<float>(pruned->weights.values().begin(), pruned->weights.values().end());
    };
    return llama::prune_blocks(files(), tiny::config(), *metric, texts_, each, pare::serial, no_progress);
  }

  void write(const llama::Compression& compression, const char* name) const {
    const auto model =
        llama::write_model(files(), folder_ / name, compression, io::Overwrite::yes, pare::serial, no_progress);
    ASSERT_TRUE(model) << model.error().message;
  }

  /// The logits of a text.
  std::vector<float> logits(const char* name) const {
    const auto model = llama::Model::load(folder_ / name);
    EXPECT_TRUE(model) << model.error().message;
    if (!model) return {};
    llama::Context context(*model, 60, pare::serial);
    const auto values = *context.logits(*context.advance(texts_.front()));
    return {values.data, values.data + values.rows * values.cols};
  }
  double distance(const char* a, const char* b) const {
    const std::vector<float> x = logits(a), y = logits(b);
    double sum = 0.0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += (double{x[i]} - y[i]) * (double{x[i]} - y[i]);
    return std::sqrt(sum / static_cast<double>(x.size()));
  }

  const fixtures::Folder folder_;
  std::vector<llama::Sequence> texts_;
};

TEST_F(LlamaPruning, EachLayerSeesWhatThePrunedOnesBeforeItGive) {
  const auto norms_at = [&](const std::string& metric, double sparsity) {
    std::map<std::string, std::vector<float>> norms;
    const Pruning pruning{.metric = metric, .structure = "unstructured", .sparsity = sparsity};
    EXPECT_TRUE(prune(pruning, nullptr, [&](const std::string& name, const LayerInput& input) {
      norms[name] = input.norms;
      EXPECT_EQ(input.moment.has_value(), metric != "wanda") << "what is not read is not gathered";
    }));
    return norms;
  };
  const auto dense = norms_at("obc", 0.0), half = norms_at("obc", 0.5);
  ASSERT_EQ(half.size(), 14u);
  // What enters the first block is known: normalized embeddings.
  const auto model = *llama::Model::load(folder_ / "model");
  std::vector<double> squares(64, 0.0);
  for (const llama::Sequence& text : texts_)
    for (const std::int32_t token : text) {
      std::vector<float> row(64);
      llama::normalize({model.ends().embedding.view().row(static_cast<std::size_t>(token)), 1, 64},
                       model.blocks()[0].attention_norm, 1e-5, {row.data(), 1, 64});
      for (std::size_t c = 0; c < 64; ++c) squares[c] += double{row[c]} * row[c];
    }
  for (const char* name : {"q_proj", "k_proj", "v_proj"}) {
    const auto& found = half.at("model.layers.0.self_attn." + std::string(name) + ".weight");
    for (std::size_t c = 0; c < 64; ++c) EXPECT_NEAR(found[c], std::sqrt(squares[c]), 1e-3);
  }
  EXPECT_EQ(dense.at("model.layers.0.self_attn.v_proj.weight"), half.at("model.layers.0.self_attn.v_proj.weight"));
  const auto expect_other = [&](const auto& norms, const char* name) {
    EXPECT_NE(dense.at(fmt::format("model.layers.{}.weight", name)),
              norms.at(fmt::format("model.layers.{}.weight", name)))
        << name;
  };
  for (const char* name : {"0.self_attn.o_proj", "0.mlp.up_proj", "0.mlp.down_proj", "1.self_attn.q_proj"})
    expect_other(half, name);
  // Where the published program does so, the layers of a block see each other whole.
  const auto wanda = norms_at("wanda", 0.5);
  EXPECT_EQ(dense.at("model.layers.0.mlp.down_proj.weight"), wanda.at("model.layers.0.mlp.down_proj.weight"));
  expect_other(wanda, "1.self_attn.q_proj");
}

TEST_F(LlamaPruning, EachMetricIsBetterThanTheOneBefore) {
  for (const char* structure : {"per-layer", "2:4"}) {
    double before = 1e9;
    for (const char* metric : {"random", "wanda", "sparsegpt", "refined"}) {
      auto layers = *llama::PrunedLayers::create(folder_ / "layers");
      const auto done = prune({.metric = metric, .structure = structure}, &layers);
      ASSERT_TRUE(done) << metric << ": " << done.error().message;
      write({.layers = &layers}, "pruned");
      const double error = distance("model", "pruned");
      EXPECT_LT(error, before) << metric << " " << structure;
      before = error;
    }
  }
  auto layers = *llama::PrunedLayers::create(folder_ / "layers");
  EXPECT_TRUE(prune({.metric = "obc", .structure = "2:4"}, &layers));
}

TEST_F(LlamaPruning, BlocksGoWholeAndRowsAdapt) {
  std::vector<float> values(64 * 48);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(i * 7919 % 1000 + 1) * (i < values.size() / 2 ? 1.0f : 0.1f);
  const MatrixView<const float> weights(values.data(), 64, 48);
  const auto blocks = llama::prune_matrix({.structure = "16x1", .sparsity = 0.25}, weights, {}, pare::serial);
  ASSERT_TRUE(blocks) << blocks.error().message;
  EXPECT_EQ(blocks->mask.kept(), values.size() / 4 * 3);
  for (std::size_t r = 0; r < 64; ++r)
    for (std::size_t c = 0; c < 48; ++c) EXPECT_EQ(blocks->mask.test(r, c), blocks->mask.test(r / 16 * 16, c));

  LayerInput ones;
  ones.norms.assign(48, 1.0f);
  const Pruning adaptive{.metric = "wanda", .structure = "adaptive", .sparsity = 0.5};
  const auto rows = llama::prune_matrix(adaptive, weights, ones, pare::serial);
  ASSERT_TRUE(rows) << rows.error().message;
  EXPECT_NEAR(static_cast<double>(rows->mask.kept()), 0.5 * static_cast<double>(values.size()), 100.0);
}

TEST_F(LlamaPruning, ZerosAndCodesComeFromOneMoment) {
  const std::string wanted = "model.layers.0.mlp.down_proj.weight";
  for (const char* metric : {"sparsegpt", "refined"})
    ASSERT_TRUE(prune({.metric = metric}, nullptr, [&](const std::string& name, const LayerInput& input) {
      if (name != wanted) return;
      const auto all = files();
      const auto tensor = all.read(name);
      const auto weights = llama::FloatMatrix::over(*tensor, {64, 96});
      const Pruning pruning{.metric = metric, .structure = "per-layer", .sparsity = 0.5};
      const auto codes = llama::prune_to_codes(pruning, "int4-g32", weights.view(), input, pare::serial);
      ASSERT_TRUE(codes) << codes.error().message;
      std::size_t zeros = 0;
      for (std::size_t r = 0; r < 64; ++r)
        for (std::size_t c = 0; c < 96; ++c)
          if (!codes->mask.test(r, c)) {
            ++zeros;
            EXPECT_EQ(codes->codes.value(r, c), 0.0f);
          }
      EXPECT_EQ(zeros, 64u * 96u / 2);
      if (std::string_view(metric) == "refined") {  // whose zeros stay where they were
        const auto alone = llama::prune_matrix(pruning, weights.view(), input, pare::serial);
        for (std::size_t r = 0; r < 64; ++r)
          for (std::size_t c = 0; c < 96; ++c) EXPECT_EQ(alone->mask.test(r, c), codes->mask.test(r, c));
      }
      EXPECT_FALSE(llama::prune_to_codes(pruning, "int99", weights.view(), input, pare::serial));
      EXPECT_FALSE(llama::prune_to_codes({.metric = "wanda"}, "int4", weights.view(), input, pare::serial));
    }));
}

TEST_F(LlamaPruning, EachMetricOfUnitsTakesItsOwn) {
  std::vector<std::vector<float>> outputs;
  for (const char* metric : {"magnitude", "random", "wanda", "flap", "median"}) {
    auto layers = *llama::PrunedLayers::create(folder_ / "layers");
    const Pruning pruning{.metric = metric, .structure = "neurons", .sparsity = 0.5};
    const auto smaller =
        llama::prune_structure(files(), tiny::config(), pruning, texts_, layers, pare::serial, no_progress);
    ASSERT_TRUE(smaller) << metric << ": " << smaller.error().message;
    EXPECT_EQ(smaller->config.intermediate_size, tiny::config().intermediate_size / 2);
    write({.layers = &layers, .config = smaller->config}, "smaller");
    outputs.push_back(logits("smaller"));
    for (std::size_t other = 0; other + 1 < outputs.size(); ++other)
      EXPECT_NE(outputs[other], outputs.back()) << metric;
  }
}

/// A smaller model against the same model in its old sizes, whose last layers have zeros for what is gone.
TEST_F(LlamaPruning, TheSmallerModelComputesTheSameAsTheMaskedOne) {
  for (const std::string structure : {"neurons", "heads", "units"}) {
    const bool heads = structure != "neurons", neurons = structure != "heads";
    // The first and the last layer of what becomes smaller.
    std::vector<std::array<LinearRole, 2>> pairs;
    if (heads) pairs.push_back({LinearRole::query, LinearRole::output});
    if (neurons) pairs.push_back({LinearRole::up, LinearRole::down});
    const Pruning pruning{.metric = "flap", .structure = structure, .sparsity = 0.5};
    auto layers = *llama::PrunedLayers::create(folder_ / "layers");
    const auto smaller =
        llama::prune_structure(files(), tiny::config(), pruning, texts_, layers, pare::serial, no_progress);
    ASSERT_TRUE(smaller) << smaller.error().message;
    write({.layers = &layers, .config = smaller->config}, "smaller");
    const llama::Config config = *files("smaller").config();
    EXPECT_EQ(config.intermediate_size, neurons ? 48u : 96u);
    EXPECT_EQ(config.heads, heads ? 2u : 4u);
    EXPECT_EQ(config.kv_heads, heads ? 1u : 2u);
    EXPECT_EQ(config.head_dim, 16u);
    EXPECT_LT(fs::file_size(folder_ / "smaller/model.safetensors"), fs::file_size(folder_ / "model/model.safetensors"));

    const auto model = *llama::Model::load(folder_ / "model"), small = *llama::Model::load(folder_ / "smaller");
    auto masked = *llama::PrunedLayers::create(folder_ / "masked-layers");
    for (std::size_t i = 0; i < 2 * pairs.size(); ++i) {
      const std::size_t index = i % 2;
      const auto [first, last] = pairs[i / 2];
      const auto rows = model.blocks()[index][first].floats()->view();
      const auto left = small.blocks()[index][first].floats()->view();
      const auto values = small.blocks()[index][last].floats()->view();
      std::vector<float> whole(values.rows * rows.rows, 0.0f);
      for (std::size_t c = 0; c < left.rows; ++c) {
        std::size_t place = 0;
        while (place < rows.rows && std::memcmp(rows.row(place), left.row(c), rows.cols * sizeof(float)) != 0) ++place;
        ASSERT_LT(place, rows.rows) << "what is left is as it was";
        for (std::size_t r = 0; r < values.rows; ++r) whole[r * rows.rows + place] = values(r, c);
      }
      const std::string name = llama::expected_linear(tiny::config(), index, last).name;
      ASSERT_TRUE(masked.save(name, {whole.data(), values.rows, rows.rows}, 0));
    }
    write({.layers = &masked}, "masked");
    EXPECT_LT(distance("smaller", "masked"), 1e-5) << structure;
    EXPECT_GT(distance("smaller", "model"), 1e-3) << structure;

    // Without least squares, what is gone is missed more.
    auto cut = *llama::PrunedLayers::create(folder_ / "cut-layers");
    const auto masked_model = *llama::Model::load(folder_ / "masked");
    for (std::size_t i = 0; i < 2 * pairs.size(); ++i) {
      const std::size_t index = i % 2;
      const LinearRole last = pairs[i / 2][1];
      const auto kept = masked_model.blocks()[index][last].floats()->view();
      const auto old = model.blocks()[index][last].floats()->view();
      std::vector<float> whole(kept.rows * kept.cols);
      for (std::size_t r = 0; r < kept.rows; ++r)
        for (std::size_t c = 0; c < kept.cols; ++c) whole[r * kept.cols + c] = kept(0, c) == 0.0f ? 0.0f : old(r, c);
      const std::string name = llama::expected_linear(tiny::config(), index, last).name;
      ASSERT_TRUE(cut.save(name, {whole.data(), kept.rows, kept.cols}, 0));
    }
    write({.layers = &cut}, "cut");
    EXPECT_LT(distance("smaller", "model"), distance("cut", "model")) << structure;
  }
}

TEST_F(LlamaPruning, LayersGoAndTheOthersAreCountedAnew) {
  auto layers = *llama::PrunedLayers::create(folder_ / "layers");
  const Pruning pruning{.metric = "influence", .structure = "layers", .sparsity = 0.5};
  const auto smaller =
      llama::prune_structure(files(), tiny::config(), pruning, texts_, layers, pare::serial, no_progress);
  ASSERT_TRUE(smaller) << smaller.error().message;
  ASSERT_EQ(smaller->blocks.size(), 1u);
  for (const std::size_t kept : {std::size_t{0}, std::size_t{1}}) {
    write({.layers = &layers, .config = smaller->config, .blocks = {kept}}, "smaller");
    const auto model = *llama::Model::load(folder_ / "model"), small = *llama::Model::load(folder_ / "smaller");
    ASSERT_EQ(small.blocks().size(), 1u);
    const auto is = small.blocks()[0][LinearRole::gate].floats()->view();
    const auto was = model.blocks()[kept][LinearRole::gate].floats()->view();
    EXPECT_EQ(std::memcmp(is.data, was.data, is.rows * is.cols * sizeof(float)), 0);
    EXPECT_EQ(small.blocks()[0].mlp_norm, model.blocks()[kept].mlp_norm);
  }
}

TEST_F(LlamaPruning, ResizedConfigurationsKeepWhatTheyDoNotMean) {
  fixtures::write(folder_ / "config.json",
                  R"({"model_type": "llama", "vocab_size": 9, "hidden_size": 64, "intermediate_size": 96,
                      "num_hidden_layers": 3, "num_attention_heads": 4, "custom": [1, 2],
                      "layer_types": ["a", "b", "c"]})");
  auto config = *llama::read_config(folder_ / "config.json");
  config.layers = 2;
  config.heads = config.kv_heads = 2;
  const auto text = llama::resize_config(folder_ / "config.json", config, {0, 2});
  ASSERT_TRUE(text) << text.error().message;
  const auto json = nlohmann::json::parse(*text);
  EXPECT_EQ(json["head_dim"], 16);
  EXPECT_EQ(json["num_hidden_layers"], 2);
  EXPECT_EQ(json["num_key_value_heads"], 2);
  EXPECT_EQ(json["custom"], nlohmann::json({1, 2}));
  EXPECT_EQ(json["layer_types"], nlohmann::json({"a", "c"}));
  EXPECT_FALSE(llama::resize_config(folder_ / "nothing.json", config, {}));
}

TEST_F(LlamaPruning, SaysWhatIsWrong) {
  const auto fault = [](const Pruning& pruning) {
    const auto good = llama::check_pruning(pruning);
    return good ? std::string() : good.error().message;
  };
  const auto expect = [](const std::string& message, const char* part) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  EXPECT_EQ(fault({.metric = "refined", .structure = "3:7"}), "");
  expect(fault({.metric = "luck"}), "the known ones are magnitude");
  expect(fault({.structure = "0:4"}), "0 of 4");
  expect(fault({.structure = "2:999"}), "2 of 999");
  expect(fault({.structure = "2:x"}), "unknown structure \"2:x\"");
  expect(fault({.sparsity = -0.1}), "-0.1");
  expect(fault({.metric = "flap"}), "metric flap does not judge");
  expect(fault({.metric = "flap", .structure = "layers"}), "structure layers");
  expect(fault({.metric = "refined", .structure = "heads"}), "metric refined");

  const auto refused = [&](const Pruning& pruning) {
    auto layers = *llama::PrunedLayers::create(folder_ / "layers");
    const auto result =
        llama::prune_structure(files(), tiny::config(), pruning, texts_, layers, pare::serial, no_progress);
    return result ? std::string() : result.error().message;
  };
  expect(refused({.metric = "flap", .structure = "heads", .sparsity = 0.4}), "none of 2 key-value heads");
  expect(refused({.metric = "flap", .structure = "neurons", .sparsity = 1.0}), "all of 96 neurons");
  const std::vector<float> weights(64);
  expect(llama::prune_matrix({.metric = "sparsegpt"}, {weights.data(), 8, 8}, {}, pare::serial).error().message,
         "needs calibration");
  expect(llama::prune_matrix({.metric = "wanda"}, {weights.data(), 8, 8}, {}, pare::serial).error().message, "norms");
  expect(llama::make_mask({.metric = "obc"}, {weights.data(), 8, 8}, {}, pare::serial).error().message,
         "needs calibration");
  const auto texts = std::exchange(texts_, {});
  expect(prune({.metric = "sparsegpt"}, nullptr).error().message, "q_proj");
  EXPECT_FALSE(fs::exists(folder_ / "layers")) << "what is not needed any more is removed";
}

}  // namespace
