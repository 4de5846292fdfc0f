#include "llama/model_writer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <vector>

#include "io/thread_pool.hpp"
#include "llama/elements.hpp"
#include "llama/model.hpp"
#include "llama/perplexity.hpp"
#include "llama/pruning.hpp"
#include "tiny_model.hpp"

namespace {
namespace fs = std::filesystem;
using llama::Compression;
using llama::Pruning;
using llama::WeightFiles;

constexpr auto no_progress = [](std::uint64_t, std::uint64_t) {};

class ModelWriter : public testing::Test {
 protected:
  void SetUp() override { tiny::write_model(folder_ / "model"); }

  /// Writes the model anew and returns what became of it.
  llama::CompressedModel write(const Compression& compression, const fs::path& from, const fs::path& to,
                               std::size_t threads = 2) const {
    io::ThreadPool pool(threads);
    const auto files = WeightFiles::open(from);
    EXPECT_TRUE(files) << files.error().message;
    auto model = llama::write_model(*files, to, compression, io::Overwrite::yes, pool, no_progress);
    EXPECT_TRUE(model) << model.error().message;
    return *std::move(model);
  }
  llama::CompressedModel write(const Compression& compression) const {
    return write(compression, folder_ / "model", folder_ / "out");
  }

  std::vector<float> values(const WeightFiles& files, std::string_view name) const {
    const llama::ListedTensor* tensor = files.find(name);
    EXPECT_NE(tensor, nullptr) << name;
    std::vector<float> values(*io::element_count(tensor->shape));
    if (tensor->packed) {
      const auto matrix = files.read_packed(name);
      EXPECT_TRUE(matrix) << matrix.error().message;
      EXPECT_TRUE(matrix->dequantize({values.data(), tensor->shape[0], tensor->shape[1]}));
    } else {
      llama::to_floats(tensor->dtype, files.read(name)->bytes, values);
    }
    return values;
  }

  fixtures::Folder folder_;
};

const std::vector<llama::Sequence> texts = {{1, 70, 71, 72, 73, 74, 75, 76, 77}, {1, 100, 90, 80, 70, 60, 50}};

double mean_nll(const fs::path& path) {
  const auto model = llama::Model::load(path);
  EXPECT_TRUE(model) << model.error().message;
  const auto result = llama::measure(*model, texts, 0, pare::serial, no_progress);
  EXPECT_TRUE(result) << result.error().message;
  return result->mean_nll();
}

TEST_F(ModelWriter, PacksTheLinearLayersAndNothingElse) {
  const auto model = write({.scheme = "int8"});
  EXPECT_EQ(model.scheme, "int8-channel");
  EXPECT_EQ(model.tensors.size(), 14u);
  EXPECT_EQ(model.file_bytes, fs::file_size(folder_ / "out/model.safetensors"));
  EXPECT_GT(model.total().error.sqnr(), 35.0);
  EXPECT_LT(model.total().error.sqnr(), 55.0);
  EXPECT_EQ(fixtures::read(folder_ / "out/config.json"), fixtures::read(folder_ / "model/config.json"));
  EXPECT_EQ(fixtures::read(folder_ / "out/tokenizer.bin"), fixtures::read(folder_ / "model/tokenizer.bin"));

  const auto before = *WeightFiles::open(folder_ / "model");
  const auto after = *WeightFiles::open(folder_ / "out");
  for (const llama::ListedTensor& tensor : before.tensors()) {
    const bool linear = tensor.shape.size() == 2 && tensor.name != llama::embedding_name;
    ASSERT_NE(after.find(tensor.name), nullptr) << tensor.name;
    EXPECT_EQ(after.find(tensor.name)->packed, linear) << tensor.name;
    EXPECT_EQ(after.find(tensor.name)->shape, tensor.shape);
    if (!linear) {
      EXPECT_EQ(values(after, tensor.name), values(before, tensor.name)) << tensor.name;
    }
  }
  EXPECT_NEAR(mean_nll(folder_ / "out"), mean_nll(folder_ / "model"), 0.01);
}

TEST_F(ModelWriter, EverySchemeLoadsAndRuns) {
  const double exact = mean_nll(folder_ / "model");
  for (const std::string_view scheme : pare::Catalog::names) {
    const auto model = write({.scheme = std::string(scheme)});
    EXPECT_EQ(model.scheme, scheme);
    const double nll = mean_nll(folder_ / "out");
    EXPECT_NEAR(nll, exact, 1.0) << scheme;
    EXPECT_NE(nll, exact) << scheme;
  }
}

TEST_F(ModelWriter, ThreadsDoNotChangeTheBytes) {
  const Compression compression{.scheme = "int4-asym-g32", .pruning = Pruning{.structure = "2:4"}};
  write(compression, folder_ / "model", folder_ / "one", 1);
  write(compression, folder_ / "model", folder_ / "three", 3);
  EXPECT_EQ(fixtures::read(folder_ / "one/model.safetensors"), fixtures::read(folder_ / "three/model.safetensors"));
}

TEST_F(ModelWriter, PrunesInTheDtypeOfTheModel) {
  for (const io::DType dtype : {io::DType::f32, io::DType::f16, io::DType::bf16}) {
    tiny::write_model(folder_ / "model", dtype);
    const auto model = write({.pruning = Pruning{.structure = "2:4"}});
    EXPECT_EQ(model.scheme, "");
    EXPECT_EQ(2 * model.total().pruned, model.total().weights());
    const auto before = *WeightFiles::open(folder_ / "model");
    const auto after = *WeightFiles::open(folder_ / "out");
    for (const llama::ListedTensor& tensor : before.tensors()) {
      EXPECT_EQ(after.find(tensor.name)->dtype, dtype);
      const auto was = values(before, tensor.name), is = values(after, tensor.name);
      const bool linear = llama::is_block_linear(tiny::config(), tensor.name);
      for (std::size_t i = 0; i < is.size(); i += 4) {
        std::size_t zeros = 0;
        for (std::size_t j = i; j < i + 4; ++j) {
          if (is[j] == 0.0f && was[j] != 0.0f) ++zeros;
          EXPECT_TRUE(is[j] == was[j] || is[j] == 0.0f);
        }
        EXPECT_EQ(zeros, linear ? 2u : 0u) << tensor.name;
      }
    }
    EXPECT_TRUE(std::isfinite(mean_nll(folder_ / "out")));
  }
}

TEST_F(ModelWriter, PrunedWeightsStayZeroWhenPacked) {
  const auto model = write({.scheme = "int4-g32", .pruning = Pruning{.structure = "unstructured", .sparsity = 0.75}});
  EXPECT_EQ(4 * model.total().pruned, 3 * model.total().weights());
  const auto files = *WeightFiles::open(folder_ / "out");
  for (const llama::CompressedTensor& tensor : model.tensors) {
    const auto is = values(files, tensor.name);
    EXPECT_GE(static_cast<std::size_t>(std::ranges::count(is, 0.0f)), tensor.pruned) << tensor.name;
    EXPECT_GT(std::ranges::count_if(is, [](float v) { return v != 0.0f; }), 0) << tensor.name;
  }
}

TEST_F(ModelWriter, CarriesLlama2cOver) {
  for (const char* name : {"v0_shared.bin", "v2_shared.bin"}) {
    const fs::path source = fixtures::golden("formats/llama2c") / name;
    write({}, source, folder_ / "out");
    const auto original = *llama::Model::load(source);
    const auto copy = llama::Model::load(folder_ / "out");
    ASSERT_TRUE(copy) << copy.error().message;
    const llama::Sequence tokens = {1, 17, 0, 31, 4};
    llama::Context a(original, 5, pare::serial), b(*copy, 5, pare::serial);
    const auto hidden_a = *a.advance(tokens), hidden_b = *b.advance(tokens);
    EXPECT_EQ(std::memcmp(hidden_a.data, hidden_b.data, 5 * original.config().hidden_size * sizeof(float)), 0);
  }
}

TEST_F(ModelWriter, RefusesWhatItCannotDo) {
  const auto fault = [&](const Compression& compression, io::Overwrite overwrite = io::Overwrite::no) {
    const auto files = *WeightFiles::open(folder_ / "model");
    const auto model = llama::write_model(files, folder_ / "out", compression, overwrite, pare::serial, no_progress);
    return model ? std::string() : model.error().message;
  };
  EXPECT_NE(fault({.scheme = "int9"}).find("unknown scheme \"int9\""), std::string::npos);
  EXPECT_NE(fault({.pruning = Pruning{.metric = "luck"}}).find("unknown metric \"luck\""), std::string::npos);
  EXPECT_NE(fault({.pruning = Pruning{.structure = "7:3"}}).find("1 <= N <= M"), std::string::npos);
  EXPECT_NE(fault({.pruning = Pruning{.sparsity = 1.5}}).find("sparsity"), std::string::npos);
  EXPECT_NE(fault({.pruning = Pruning{.metric = "wanda"}}).find("norms"), std::string::npos);
  EXPECT_EQ(folder_.entries(), 1u);

  EXPECT_EQ(fault({.scheme = "int4"}), "");
  EXPECT_NE(fault({.scheme = "int4"}).find("exists already"), std::string::npos);
  EXPECT_EQ(fault({.scheme = "int8"}, io::Overwrite::yes), "");
  fs::remove_all(folder_ / "model");
  fs::rename(folder_ / "out", folder_ / "model");
  EXPECT_NE(fault({.scheme = "int4"}).find("packed as int8-channel already"), std::string::npos);
  EXPECT_EQ(folder_.entries(), 1u);
}

}  // namespace
