#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "pare/quantize/bias_correction.hpp"
#include "pare/quantize/channel_alignment.hpp"

namespace {

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> normal(std::size_t count, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> values(count);
  for (float& v : values) v = distribution(generator);
  return values;
}

template <class R>
void expect_error(const R& result, const std::string& part) {
  ASSERT_FALSE(result);
  EXPECT_TRUE(result.error().message.starts_with("pare: ")) << result.error().message;
  EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
}

/// 4 inputs, 6 channels of very different ranges, 5 outputs, all with biases.
struct Layers {
  std::vector<float> w1 = normal(24, 1), b1 = normal(6, 2), w2 = normal(30, 3), b2 = normal(5, 4);

  Layers() {
    for (std::size_t c = 0; c < 6; ++c)
      for (std::size_t i = 0; i < 4; ++i) w1[c * 4 + i] *= std::pow(10.0f, static_cast<float>(c) - 3);
  }
  pare::LayerPair pair() { return {.producer = {{w1.data(), 6, 4}, b1}, .consumer = {{w2.data(), 5, 6}, b2}}; }
  [[nodiscard]] std::vector<float> outputs(const std::vector<float>& x, bool relu) const {
    std::vector<float> y;
    for (std::size_t t = 0; t < x.size() / 4; ++t)
      for (std::size_t o = 0; o < 5; ++o) {
        float sum = b2[o];
        for (std::size_t c = 0; c < 6; ++c) {
          float inner = b1[c];
          for (std::size_t i = 0; i < 4; ++i) inner += w1[c * 4 + i] * x[t * 4 + i];
          sum += w2[o * 6 + c] * (relu ? std::max(inner, 0.0f) : inner);
        }
        y.push_back(sum);
      }
    return y;
  }
};

void expect_close(const std::vector<float>& expected, const std::vector<float>& found, float tolerance) {
  ASSERT_EQ(expected.size(), found.size());
  for (std::size_t i = 0; i < expected.size(); ++i)
    ASSERT_NEAR(expected[i], found[i], tolerance * (1 + std::fabs(expected[i]))) << i;
}

float magnitude(const std::vector<float>& w, std::size_t begin, std::size_t step, std::size_t count) {
  float largest = 0;
  for (std::size_t i = 0; i < count; ++i) largest = std::max(largest, std::fabs(w[begin + i * step]));
  return largest;
}

TEST(CrossLayerEqualization, MakesRangesEqualAndKeepsTheFunction) {
  Layers layers;
  const std::vector<float> x = normal(40, 5), before = layers.outputs(x, true);
  const auto scales = pare::CrossLayerEqualization{}.equalize(layers.pair());
  ASSERT_TRUE(scales);
  ASSERT_EQ(scales->size(), 6u);
  for (std::size_t c = 0; c < 6; ++c)
    EXPECT_NEAR(magnitude(layers.w1, c * 4, 1, 4) / magnitude(layers.w2, c, 6, 5), 1.0f, 1e-5f);
  EXPECT_LT((*scales)[5], (*scales)[0]);
  expect_close(before, layers.outputs(x, true), 1e-4f);
}

TEST(CrossLayerEqualization, UnsignedRangesAreWidths) {
  std::vector<float> w1 = {1, 3}, w2 = {5, 13};  // widths of 2 and 8, one channel each
  ASSERT_TRUE(pare::CrossLayerEqualization{.signed_weights = false}.equalize(
      {.producer = {{w1.data(), 1, 2}}, .consumer = {{w2.data(), 2, 1}}}));
  EXPECT_FLOAT_EQ(w1[1], 6.0f);
  EXPECT_FLOAT_EQ(w2[1], 6.5f);
}

TEST(CrossLayerEqualization, ChainsConvergeAndDepthwiseHasARowForEachChannel) {
  std::vector<float> first = normal(18, 6), depthwise = normal(54, 7), last = normal(12, 8);
  first[3] *= 1000;
  const pare::LayerPair pairs[2] = {
      {.producer = {{first.data(), 6, 3}}, .consumer = {{depthwise.data(), 6, 9}}, .depthwise = true},
      {.producer = {{depthwise.data(), 6, 9}}, .consumer = {{last.data(), 2, 6}}}};
  const auto rounds = pare::CrossLayerEqualization{.rounds = 100}(pairs);
  ASSERT_TRUE(rounds);
  EXPECT_GT(*rounds, 2);
  EXPECT_LT(*rounds, 100);
  for (std::size_t c = 0; c < 6; ++c) {
    const float r = magnitude(depthwise, c * 9, 1, 9);
    EXPECT_NEAR(magnitude(first, c * 3, 1, 3) / r, 1.0f, 1e-4f);
    EXPECT_NEAR(magnitude(last, c, 6, 2) / r, 1.0f, 1e-4f);
  }
}

TEST(CrossLayerEqualization, DeadChannelsStayAndScalesAreLimited) {
  std::vector<float> w1 = {0, 1e-30f, 1}, w2 = {1, 1, 0};
  const auto scales = pare::CrossLayerEqualization{.largest = 100}.equalize(
      {.producer = {{w1.data(), 3, 1}}, .consumer = {{w2.data(), 1, 3}}});
  ASSERT_TRUE(scales);
  EXPECT_EQ((*scales)[0], 1.0f);
  EXPECT_EQ((*scales)[1], 100.0f);
  EXPECT_EQ((*scales)[2], 1.0f);
}

TEST(BiasAbsorption, MovesWhatReluNeverSees) {
  Layers layers;
  std::vector<float> gain = {1, 1, 0.1f, 2, 1, 0.5f}, mean = {5, 1, 0.5f, 7, -9, 1.5f};
  layers.w1.assign(24, 0.0f);
  for (std::size_t c = 0; c < 6; ++c) layers.w1[c * 4] = gain[c];
  layers.b1 = mean;
  std::vector<float> x = normal(400, 9);
  for (float& v : x) v = std::clamp(v, -3.0f, 3.0f);
  const std::vector<float> before = layers.outputs(x, true);
  pare::LayerPair pair = layers.pair();
  pair.normalization = {{gain.data(), 6, 1}, mean};
  const auto absorbed = pare::absorb_bias(pair);
  ASSERT_TRUE(absorbed);
  const float expected[6] = {2, 0, 0.2f, 1, 0, 0};
  for (std::size_t c = 0; c < 6; ++c) EXPECT_NEAR((*absorbed)[c], expected[c], 1e-6f);
  EXPECT_EQ(mean[0], 3.0f);
  EXPECT_EQ(layers.b1[0], 3.0f);
  expect_close(before, layers.outputs(x, true), 1e-5f);
}

TEST(ChannelAlignment, KeepsTheFunctionAndAlignsRanges) {
  Layers layers;
  const std::vector<float> x = normal(40, 10), before = layers.outputs(x, false);
  const auto ranges_of = [&] {
    std::vector<pare::ValueRange> ranges(6);
    for (std::size_t t = 0; t < 10; ++t)
      for (std::size_t c = 0; c < 6; ++c) {
        float inner = layers.b1[c];
        for (std::size_t i = 0; i < 4; ++i) inner += layers.w1[c * 4 + i] * x[t * 4 + i];
        ranges[c].include(inner);
      }
    return ranges;
  };
  const auto factors = pare::ChannelAlignment{.least = 1e-6f, .largest = 1e6f}(layers.pair(), ranges_of());
  ASSERT_TRUE(factors);
  expect_close(before, layers.outputs(x, false), 1e-4f);
  const std::vector<pare::ValueRange> after = ranges_of();
  for (const pare::ValueRange& range : after) {
    EXPECT_NEAR(range.lowest + range.highest, 0.0f, 1e-3f * range.magnitude());
    EXPECT_NEAR(range.magnitude() / after[0].magnitude(), 1.0f, 1e-2f);
  }
}

TEST(ChannelAlignment, ConstantChannelsOnlyMove) {
  Layers layers;
  const std::vector<float> weights = layers.w1;
  const std::vector<pare::ValueRange> ranges(6, {2, 2});
  const auto factors = pare::ChannelAlignment{}(layers.pair(), ranges);
  ASSERT_TRUE(factors);
  EXPECT_TRUE(std::ranges::all_of(*factors, [](float f) { return f == 1.0f; }));
  EXPECT_EQ(layers.w1, weights);
}

TEST(LayerPairs, RefuseWhatDoesNotFit) {
  Layers layers;
  const std::vector<pare::ValueRange> ranges(6, {0, 1});
  pare::LayerPair pair = layers.pair();
  pair.consumer = {{layers.w2.data(), 6, 5}};
  expect_error(pare::CrossLayerEqualization{}.equalize(pair), "no multiple of the producer's 6");
  pair.depthwise = true;
  pair.consumer.weight = {layers.w2.data(), 5, 6};
  expect_error(pare::CrossLayerEqualization{}.equalize(pair), "depthwise");
  pair = layers.pair();
  pair.producer.bias = pair.producer.bias.first(2);
  expect_error(pare::CrossLayerEqualization{}({&pair, 1}), "bias of 2 values");
  pair = layers.pair();
  pair.normalization = {{layers.w2.data(), 5, 1}};
  expect_error(pare::CrossLayerEqualization{}.equalize(pair), "normalization's gain");
  pair = layers.pair();
  expect_error(pare::absorb_bias(pair), "gain and bias of the normalization");
  expect_error(pare::ChannelAlignment{}(pair, std::span(ranges).first(2)), "list of ranges");
  expect_error(pare::ChannelAlignment{}(pair, std::vector<pare::ValueRange>(6)), "finite range");
  pair.consumer.bias = {};
  expect_error(pare::ChannelAlignment{}(pair, ranges), "give both layers one");
  layers.w1[7] = inf;
  expect_error(pare::CrossLayerEqualization{}.equalize(layers.pair()), "producer's weight at (1, 3) is infinite");
  expect_error(pare::CrossLayerEqualization{}.equalize({}), "producer's 0 channels");
}

TEST(BiasCorrection, RestoresTheMeanUnlessItIsTooFar) {
  const std::vector<float> bias = {1, -2}, exact = {0.5f, 3}, quantized = {0.25f, 3.5f};
  const auto result = pare::BiasCorrection::fast()(bias, exact, quantized);
  ASSERT_TRUE(result);
  EXPECT_TRUE(result->applied);
  EXPECT_FLOAT_EQ(result->magnitude, 0.25f);
  EXPECT_FLOAT_EQ(result->bias[0], 1.25f);
  EXPECT_FLOAT_EQ(result->bias[1], -2.5f);
  const std::vector<float> far = {-9, 3};
  const auto kept = pare::BiasCorrection::fast()(bias, far, quantized);
  EXPECT_FALSE(kept->applied);
  EXPECT_EQ(kept->bias[0], 1.0f);
  EXPECT_TRUE(pare::BiasCorrection::full()(bias, far, quantized)->applied);
  const std::vector<float> zero = {0, 1};
  const auto infinite = pare::BiasCorrection::full()(zero, exact, quantized);
  EXPECT_FALSE(infinite->applied);
  EXPECT_EQ(infinite->magnitude, inf);
}

TEST(BiasCorrection, FullIsLayerAfterLayer) {
  // Two layers with coarse weights; the second sees what the first, corrected, puts out.
  Layers exact, coarse;
  for (std::vector<float>* w : {&coarse.w1, &coarse.w2})
    for (float& v : *w) v = std::round(v * 2) / 2;
  const std::vector<float> x = normal(400, 11);
  const auto means = [](const std::vector<float>& values, std::size_t cols) {
    std::vector<float> result(cols);
    for (std::size_t i = 0; i < values.size(); ++i)
      result[i % cols] += values[i] / static_cast<float>(values.size() / cols);
    return result;
  };
  const auto inner = [&](const Layers& l) {
    std::vector<float> y;
    for (std::size_t t = 0; t < 100; ++t)
      for (std::size_t c = 0; c < 6; ++c) {
        float sum = l.b1[c];
        for (std::size_t i = 0; i < 4; ++i) sum += l.w1[c * 4 + i] * x[t * 4 + i];
        y.push_back(sum);
      }
    return y;
  };
  const auto error = [&] {
    const std::vector<float> a = means(exact.outputs(x, true), 5), b = means(coarse.outputs(x, true), 5);
    float largest = 0;
    for (std::size_t o = 0; o < 5; ++o) largest = std::max(largest, std::fabs(a[o] - b[o]));
    return largest;
  };
  const float before = error();
  const auto full = pare::BiasCorrection::full();
  const auto first = full(coarse.b1, means(inner(exact), 6), means(inner(coarse), 6));
  ASSERT_TRUE(first && first->applied);
  std::ranges::copy(first->bias, coarse.b1.begin());
  const auto second = full(coarse.b2, means(exact.outputs(x, true), 5), means(coarse.outputs(x, true), 5));
  ASSERT_TRUE(second && second->applied);
  std::ranges::copy(second->bias, coarse.b2.begin());
  EXPECT_GT(before, 0.1f);
  EXPECT_LT(error(), 1e-3f * before);
}

TEST(BiasCorrection, MeansOfConstantImagesAreThoseOfUnfoldedOnes) {
  const std::vector<float> channel_means = {2, -3};
  const pare::Shape image{5, 4};
  for (const pare::Convolution& convolution :
       {pare::Convolution{.channels = 2, .kernel = {3, 3}, .padding = {1, 1}},
        pare::Convolution{.channels = 2, .kernel = {3, 2}, .stride = {2, 1}, .padding = {2, 0}, .dilation = {1, 2}},
        pare::Convolution{.channels = 2, .kernel = {1, 1}, .stride = {3, 3}}}) {
    std::vector<float> pixels(40, 2.0f);
    std::fill(pixels.begin() + 20, pixels.end(), -3.0f);
    const auto unfolded = *pare::unfold(pixels, image, convolution);
    const auto means = pare::constant_image_means(channel_means, image, convolution);
    ASSERT_TRUE(means);
    for (std::size_t c = 0; c < unfolded.cols(); ++c) {
      double sum = 0;
      for (std::size_t r = 0; r < unfolded.rows(); ++r) sum += static_cast<double>(unfolded(r, c));
      EXPECT_NEAR((*means)[c], sum / static_cast<double>(unfolded.rows()), 1e-6);
    }
  }
  expect_error(pare::constant_image_means(channel_means, {2, 2}, {.channels = 2, .kernel = {3, 3}}), "fits into");
  expect_error(pare::constant_image_means(channel_means, image, {.channels = 3}), "mean of each channel");
}

TEST(BiasCorrection, ReluMeanIsThatOfSamples) {
  const std::vector<float> x = normal(200000, 12);
  for (const float mean : {-2.0f, 0.0f, 1.5f})
    for (const float deviation : {0.0f, 0.5f, -2.0f}) {
      double sum = 0;
      for (const float v : x) sum += std::max(0.0, static_cast<double>(mean + deviation * v));
      EXPECT_NEAR(pare::relu_mean(mean, deviation), sum / static_cast<double>(x.size()), 0.01);
    }
}

TEST(BiasCorrection, RefusesWhatDoesNotFit) {
  const std::vector<float> two = {1, 2}, three = {1, 2, 3}, bad = {1, nan};
  expect_error(pare::BiasCorrection{}(two, two, three), "list of means is 1 x 3");
  expect_error(pare::BiasCorrection{}(two, bad, two), "not a number");
  const pare::MatrixView<const float> weight(three.data(), 1, 3);
  expect_error(pare::mean_outputs(weight, {}, two), "list of means is 1 x 2");
  expect_error(pare::mean_outputs(weight, two, three), "the bias is 1 x 2");
  EXPECT_FLOAT_EQ((*pare::mean_outputs(weight, {}, three))[0], 14.0f);
}

}  // namespace
