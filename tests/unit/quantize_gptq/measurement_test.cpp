// EXL2's measurement of a block.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "layer.hpp"

namespace {
using namespace quantize_gptq;
using pare::BitShare;
using pare::MatrixView;
using pare::OutputAccuracy;
using pare::Result;
using pare::SharedInput;

TEST(OutputAccuracy, IsOneLessTheMeanOfTheBatchesErrors) {
  OutputAccuracy accuracy;
  EXPECT_EQ(accuracy.value(), 1.0);
  const std::vector<float> reference{3.0f, 4.0f}, near{3.0f, 3.0f}, far{300.0f, 4.0f}, zeros{0.0f, 0.0f};
  const auto view = [](const std::vector<float>& v) { return MatrixView<const float>(v.data(), 1, v.size()); };
  ASSERT_TRUE(accuracy.add(view(reference), view(near)));
  EXPECT_DOUBLE_EQ(accuracy.value(), 1.0 - 1.0 / 5.0);
  ASSERT_TRUE(accuracy.add(view(reference), view(reference)));
  EXPECT_DOUBLE_EQ(accuracy.value(), 1.0 - 0.1);
  ASSERT_TRUE(accuracy.add(view(reference), view(far)));
  EXPECT_EQ(accuracy.value(), 1e-6);
  EXPECT_FALSE(accuracy.add(view(zeros), view(near)));
  EXPECT_FALSE(accuracy.add(view(reference), MatrixView<const float>(near.data(), 2, 1)));
  const std::vector<float> bad{3.0f, std::numeric_limits<float>::infinity()};
  EXPECT_FALSE(accuracy.add(view(reference), view(bad)));
  EXPECT_EQ(accuracy.batches(), 3u);
}

TEST(BlockMeasurement, MeasuresEachOptionByTheOutputsOfTheBlock) {
  const Layer a = make_layer({24, 64}, 1), b = make_layer({16, 64}, 2);
  const std::vector<MatrixView<const float>> layers{a.view(), b.view()};
  const std::vector<const pare::SecondMoment<double>*> moments{&a.moment, &b.moment};
  const auto all = [](int bits) { return std::vector<BitShare>{{.bits = bits}}; };
  const std::vector<std::vector<std::vector<BitShare>>> choices{
      {all(2), all(2)}, {all(2), all(4)}, {all(4), all(4)}, {all(8), all(8)}};
  // The block is the sum of its layers' outputs for the inputs of the first.
  int runs = 0;
  const auto output = [&](SharedInput weights) {
    std::vector<float> y(a.tokens * 2);
    for (std::size_t t = 0; t < a.tokens; ++t)
      for (std::size_t k = 0; k < 2; ++k)
        for (std::size_t r = 0; r < weights[k].rows; ++r)
          for (std::size_t c = 0; c < 64; ++c) y[t * 2 + k] += weights[k](r, c) * a.inputs[t * 64 + c];
    return y;
  };
  const std::vector<float> reference = output(layers);
  const auto run = [&](SharedInput rounded, OutputAccuracy& accuracy) {
    ++runs;
    const std::vector<float> y = output(rounded);
    return accuracy.add({reference.data(), a.tokens, 2}, {y.data(), a.tokens, 2});
  };
  const pare::BlockMeasurement measure{};
  const auto measured = measure(layers, std::span(moments), std::span(choices), run);
  ASSERT_TRUE(measured) << measured.error().message;
  ASSERT_EQ(measured->size(), 4u);
  EXPECT_EQ(runs, 4);
  for (std::size_t i = 0; i < 4; ++i) {
    // By hand: the same quantizer, and the bits it counts.
    std::uint64_t bits = 0;
    for (std::size_t k = 0; k < 2; ++k) {
      const auto layer = pare::AdaptiveGptq{.shares = choices[i][k]}(layers[k], *moments[k]);
      ASSERT_TRUE(layer);
      bits += layer->bits;
    }
    EXPECT_EQ((*measured)[i].bits, bits) << i;
    EXPECT_GT((*measured)[i].accuracy, i == 0 ? 0.0 : (*measured)[i - 1].accuracy) << i;
  }
  EXPECT_GT((*measured)[3].accuracy, 0.98);

  const auto nothing = [](SharedInput, OutputAccuracy&) -> Result<void> { return {}; };
  const auto silent = measure(layers, std::span(moments), std::span(choices), nothing);
  ASSERT_FALSE(silent);
  EXPECT_NE(silent.error().message.find("no batch"), std::string::npos);
  EXPECT_FALSE(measure(layers, std::span(moments).first(1), std::span(choices), run));
  const std::vector<std::vector<std::vector<BitShare>>> few{{all(4)}};
  EXPECT_FALSE(measure(layers, std::span(moments), std::span(few), run));
  const auto cancel = [](double) { return false; };
  const auto cancelled = measure(layers, std::span(moments), std::span(choices), run, {.progress = cancel});
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().code, pare::ErrorCode::cancelled);
}

}  // namespace
