// Quantization by what flows into the layers: better than rounding, and taken up where it stopped.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "io/thread_pool.hpp"
#include "llama/calibrated_quantization.hpp"
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
    auto done = llama::quantize_blocks(*files, tiny::config(), {.scheme = "int2-asym-g32", .method = method}, texts_,
                                       *blocks, executor, progress);
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

  const fixtures::Folder folder_;
  std::vector<llama::Sequence> texts_;
};

TEST_F(Calibrated, EachMethodLeavesLessErrorThanTheOneBefore) {
  double before = 1e9;
  for (const llama::CalibratedMethod& method : llama::calibrated_methods()) {
    if (method.name == "mse") continue;  // it lessens the error of the weights, which need not be that of the outputs
    const auto blocks = quantize(std::string(method.name), std::string(method.name));
    ASSERT_TRUE(blocks) << method.name << ": " << blocks.error().message;
    ASSERT_EQ(blocks->front().layers.size(), 7u);
    const double error = error_of_first(*blocks);
    EXPECT_LT(error, before) << method.name;
    before = error;
  }
}

TEST_F(Calibrated, GoesOnWhereItStopped) {
  ASSERT_TRUE(quantize("gptq", "store"));
  const std::string first = fixtures::read(folder_ / "store/block-00000.safetensors");
  const std::string second = fixtures::read(folder_ / "store/block-00001.safetensors");
  const auto time = fs::last_write_time(folder_ / "store/block-00000.safetensors");
  fs::remove(folder_ / "store/block-00001.safetensors");
  io::ThreadPool threads(2);
  ASSERT_TRUE(quantize("gptq", "store", threads));
  EXPECT_EQ(fixtures::read(folder_ / "store/block-00001.safetensors"), second);
  EXPECT_EQ(fs::last_write_time(folder_ / "store/block-00000.safetensors"), time);
  EXPECT_EQ(fixtures::read(folder_ / "store/block-00000.safetensors"), first);

  const auto other = quantize("rtn", "store");
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().message.find("another run"), std::string::npos) << other.error().message;
  fixtures::write(folder_ / "store/block-00000.safetensors", first.substr(0, first.size() / 2));
  EXPECT_FALSE(quantize("gptq", "store"));
}

TEST_F(Calibrated, SaysWhatIsWrong) {
  EXPECT_FALSE(quantize("luck", "a"));
  texts_.clear();
  const auto nothing = quantize("gptq", "b");
  ASSERT_FALSE(nothing);
  EXPECT_NE(nothing.error().message.find("q_proj"), std::string::npos) << nothing.error().message;
}

}  // namespace
