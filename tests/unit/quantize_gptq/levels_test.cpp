// QoQ's two levels, EXL2's groups of different bits, and the allocation of bits to layers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>

#include "layer.hpp"
#include "pare/search/search.hpp"

namespace {
using namespace quantize_gptq;
using pare::AdaptiveGptq;
using pare::Allocator;
using pare::BitShare;
using pare::LayerOption;
using pare::Qoq;
using pare::QoqResult;
using pare::QoqZero;

/// The integers that stand before the row's scale must all be 8-bit ones.
void expect_integers(const QoqResult& result) {
  for (std::size_t r = 0; r < result.matrix.shape.rows; ++r)
    for (std::size_t c = 0; c < result.matrix.shape.cols; ++c) {
      const float first = result.matrix.value(r, c) / result.channel_scales[r];
      ASSERT_EQ(first, std::nearbyint(first)) << r << " " << c;
      ASSERT_GE(first, -128.0f) << r << " " << c;
      ASSERT_LE(first, 127.0f) << r << " " << c;
      const float second = result.matrix.scales()(r, result.matrix.group_of(c)) / result.channel_scales[r];
      ASSERT_EQ(second, std::nearbyint(second));
      ASSERT_GE(second, 1.0f);
      ASSERT_LE(second, 17.0f);
    }
}

std::vector<pare::PartView> views(const std::vector<pare::Part>& parts) {
  std::vector<pare::PartView> all;
  all.reserve(parts.size());
  for (const pare::Part& part : parts) all.push_back(part.view());
  return all;
}

TEST(Qoq, BothLevelsAreIntegersWithinEightBits) {
  const Layer layer = make_layer({64, 96}, 1);
  // Rows that lean to one side, or have one large weight, reach the ends of the range.
  Layer slanted = make_layer({64, 96}, 2);
  for (std::size_t i = 0; i < slanted.weights.size(); ++i) {
    if (i % 5 == 0) slanted.weights[i] = std::fabs(slanted.weights[i]);
    if (i % 31 == 0) slanted.weights[i] = i % 2 == 0 ? 0.4f : -0.4f;
  }
  for (const Layer* each : {&layer, &std::as_const(slanted)})
    for (const std::size_t group : {32u, 96u, 40u})
      for (const auto zero : {QoqZero::after_scale, QoqZero::before_scale}) {
        const Qoq qoq{.group = group, .zero = zero};
        const auto rounded = qoq(each->view());
        const auto fed = qoq(each->view(), each->moment);
        ASSERT_TRUE(rounded && fed) << message(rounded) << message(fed);
        expect_integers(*rounded);
        expect_integers(*fed);
        EXPECT_LT(output_error(*each, values(fed->matrix)), output_error(*each, values(rounded->matrix)));
        // The second scale is rounded, by which a group may saturate by 7.5 units; and both ends are.
        for (std::size_t r = 0; r < 64; ++r)
          for (std::size_t c = 0; c < 96; ++c) {
            const float scale = rounded->matrix.scales()(r, rounded->matrix.group_of(c));
            EXPECT_LE(std::fabs(rounded->matrix.value(r, c) - each->view()(r, c)),
                      1.01f * scale + 8.6f * rounded->channel_scales[r]);
          }
      }
}

TEST(Qoq, GoesIntoTheLayoutsOfQServe) {
  const Layer layer = make_layer({64, 96}, 3);
  const auto groups = Qoq{.group = 32, .zero = QoqZero::before_scale}(layer.view(), layer.moment);
  ASSERT_TRUE(groups) << message(groups);
  const pare::QServePerGroup layout{.group_size = 32, .channel_scales = groups->channel_scales.values()};
  const auto parts = layout.write(groups->matrix);
  ASSERT_TRUE(parts) << message(parts);
  const auto read = layout.read(views(*parts));
  ASSERT_TRUE(read) << message(read);
  EXPECT_EQ(values(*read), values(groups->matrix));

  const auto rows = Qoq{.group = 0}(layer.view(), layer.moment);
  ASSERT_TRUE(rows) << message(rows);
  EXPECT_EQ(rows->channel_scales.size(), 0u);
  const auto channel_parts = pare::QServePerChannel{}.write(rows->matrix);
  ASSERT_TRUE(channel_parts) << message(channel_parts);
  EXPECT_EQ(values(*pare::QServePerChannel{}.read(views(*channel_parts))), values(rows->matrix));
}

TEST(Qoq, DoesNotDependOnTheExecutor) {
  const Layer layer = make_layer({300, 64}, 4);
  for (const std::size_t group : {0u, 32u}) {
    const Qoq qoq{.group = group, .block = 24};
    const auto one = qoq(layer.view(), layer.moment);
    const auto two = qoq(layer.view(), layer.moment, {.executor = two_threads});
    ASSERT_TRUE(one && two);
    EXPECT_TRUE(same(one->matrix, two->matrix));
    EXPECT_EQ(one->loss, two->loss);
    EXPECT_TRUE(same(qoq(layer.view())->matrix, qoq(layer.view(), {.executor = two_threads})->matrix));
  }
}

TEST(Qoq, HasAnOutcomeForEveryInput) {
  const std::vector<float> zeros(64);
  for (const std::size_t group : {0u, 16u}) {
    const auto result = Qoq{.group = group}({zeros.data(), 2, 32});
    ASSERT_TRUE(result) << message(result);
    EXPECT_EQ(values(result->matrix), zeros);
    std::vector<float> weights(64, 0.5f);
    weights[40] = 1e9f;
    EXPECT_NE(message(Qoq{.group = group}({weights.data(), 2, 32})).find("the weights of row 1 are too large"),
              std::string::npos);
    weights[40] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(message(Qoq{.group = group}({weights.data(), 2, 32})), "pare: the weight at (1, 8) is not a number");
    EXPECT_TRUE(Qoq{.group = group}({nullptr, 0, 32}));
    EXPECT_TRUE(Qoq{.group = group}({nullptr, 4, 0}));
  }
  const Layer layer = make_layer({4, 8}, 5);
  EXPECT_EQ(message(Qoq{.block = 0}(layer.view(), layer.moment)), "pare: QoQ's block has at least one column");
  EXPECT_NE(message(Qoq{}(layer.view(), *pare::SecondMoment<double>::create(8))).find("no samples"), std::string::npos);
}

TEST(AdaptiveGptq, MoreBitsErrLess) {
  const Layer layer = make_layer({64, 96}, 6);
  double before = std::numeric_limits<double>::infinity();
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    const BitShare share{.bits = bits, .share = 1.0, .group = 32};
    const auto result = AdaptiveGptq{.shares = {&share, 1}}(layer.view(), layer.moment);
    ASSERT_TRUE(result) << message(result);
    const double error = output_error(layer, values(result->matrix));
    EXPECT_LT(error, 0.5 * before) << bits;
    before = error;
    const auto rounded = pare::RoundToNearest{.group = 32}(pare::MinMaxGrid{.bits = bits}, layer.view());
    EXPECT_LT(error, output_error(layer, values(*rounded))) << bits;
    EXPECT_EQ(result->bits, 64u * 96u * static_cast<unsigned>(bits) + 3 * (48 + 4 * 64) + 32 * 96);
  }
}

TEST(AdaptiveGptq, GoesIntoTheLayoutOfExl2) {
  const Layer layer = make_layer({40, 160}, 7, {3, 150});
  const std::vector<BitShare> shares{{5, 0.1, 32}, {4, 0.3, 64}, {2, 0.6, 32}};
  const auto result = AdaptiveGptq{.shares = shares}(layer.view(), layer.moment);
  ASSERT_TRUE(result) << message(result);
  EXPECT_EQ(std::vector<int>(result->group_bits.begin(), result->group_bits.end()), (std::vector<int>{5, 4, 2, 2}));
  const auto order = *pare::descending_order(layer.moment);
  for (std::size_t i = 0; i < order.size(); ++i) {
    EXPECT_EQ(result->places[order[i]], i);
    EXPECT_EQ(result->matrix.group_of(order[i]), i < 32 ? 0u : i < 96 ? 1u : i < 128 ? 2u : 3u);
  }
  const auto parts = pare::Exl2{.inverse_permutation = result->places.values()}.write(result->matrix);
  ASSERT_TRUE(parts) << message(parts);
  const auto read = pare::Exl2{.outputs = 40}.read(views(*parts));
  ASSERT_TRUE(read) << message(read);
  EXPECT_EQ(values(*read), values(result->matrix));
}

TEST(AdaptiveGptq, DoesNotDependOnTheExecutor) {
  const Layer layer = make_layer({300, 48}, 8);
  const auto one = AdaptiveGptq{}(layer.view(), layer.moment);
  const auto two = AdaptiveGptq{}(layer.view(), layer.moment, {.executor = two_threads});
  ASSERT_TRUE(one && two) << message(one) << message(two);
  EXPECT_TRUE(same(one->matrix, two->matrix));
  EXPECT_EQ(one->loss, two->loss);
  EXPECT_TRUE(std::ranges::equal(one->group_maxima, two->group_maxima));
}

TEST(AdaptiveGptq, HasAnOutcomeForEveryInput) {
  const Layer layer = make_layer({4, 40}, 9);
  const auto error = [&](std::vector<BitShare> shares) {
    return message(AdaptiveGptq{.shares = shares}(layer.view(), layer.moment));
  };
  EXPECT_EQ(error({{7, 1.0, 32}}), "pare: share 0 needs 2 to 6 or 8 bits, a group and 0 < share <= 1");
  EXPECT_NE(error({{4, 0.5, 8}, {4, 0.5, 0}}).find("share 1"), std::string::npos);
  EXPECT_NE(error({{4, std::numeric_limits<double>::quiet_NaN(), 8}}).find("share 0"), std::string::npos);
  EXPECT_EQ(error({{4, 0.5, 8}, {3, 0.2, 8}}),
            "pare: the shares leave 8 channels without bits; they should add up to 1");
  EXPECT_EQ(error({{4, 0.9, 64}, {3, 0.1, 8}}), "no error");

  const std::vector<float> zeros(160), large(160, 1e9f);
  const auto nothing = AdaptiveGptq{}({zeros.data(), 4, 40}, layer.moment);
  ASSERT_TRUE(nothing) << message(nothing);
  EXPECT_EQ(values(nothing->matrix), zeros);
  EXPECT_NE(message(AdaptiveGptq{}({large.data(), 4, 40}, layer.moment)).find("group 0 are too large"),
            std::string::npos);
  EXPECT_TRUE(AdaptiveGptq{}({nullptr, 0, 40}, layer.moment));
  EXPECT_NE(message(AdaptiveGptq{}({zeros.data(), 4, 39}, layer.moment)).find("4 x 39"), std::string::npos);
}

/// The least objective of all choices, by trying them.
double exhaustive(const std::vector<std::vector<LayerOption>>& layers, std::uint64_t budget, double power) {
  double best = std::numeric_limits<double>::infinity();
  std::vector<std::size_t> choice(layers.size());
  for (std::size_t i = 0; i != layers.size();) {
    std::uint64_t cost = 0;
    double sum = 0.0;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      cost += layers[l][choice[l]].cost;
      sum += std::pow(layers[l][choice[l]].error, power);
    }
    if (cost <= budget) best = std::min(best, sum);
    for (i = 0; i < layers.size() && ++choice[i] == layers[i].size(); ++i) choice[i] = 0;
  }
  return best;
}

TEST(Allocator, FindsTheLeast) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<std::vector<LayerOption>> layers(1 + random() % 5);
    std::uint64_t least = 0, most = 0;
    for (auto& layer : layers) {
      for (std::size_t n = 1 + random() % 5; n > 0; --n)
        layer.push_back({random() % 100, static_cast<double>(random() % 1000) / 8});
      const auto [low, high] = std::ranges::minmax(layer, {}, &LayerOption::cost);
      least += low.cost;
      most += high.cost;
    }
    const std::uint64_t budget = least + random() % (most - least + 1);
    const double power = trial % 2 == 0 ? 1.0 : 2.0, optimum = exhaustive(layers, budget, power);
    const auto found = Allocator{.power = power}(layers, budget);
    ASSERT_TRUE(found) << message(found);
    EXPECT_EQ(found->objective, optimum);
    EXPECT_EQ(found->bound, optimum);
    EXPECT_LE(found->cost, budget);
    // With few states the result may be worse, but says by how much at most.
    const auto rough = Allocator{.power = power, .states = 1}(layers, budget);
    ASSERT_TRUE(rough) << message(rough);
    EXPECT_GE(rough->objective, optimum);
    EXPECT_LE(rough->bound, optimum * (1 + 1e-12));
    EXPECT_LE(rough->cost, budget);
  }
}

TEST(Allocator, GreaterPowersAvoidLargeErrors) {
  // One error of 7, or three of 4.
  const std::vector<std::vector<LayerOption>> layers{
      {{0, 7.0}, {3, 0.0}}, {{0, 4.0}, {1, 0.0}}, {{0, 4.0}, {1, 0.0}}, {{0, 4.0}, {1, 0.0}}};
  EXPECT_EQ(Allocator{}(layers, 3)->largest_error, 7.0);
  EXPECT_EQ(Allocator{.power = 3.0}(layers, 3)->largest_error, 4.0);
  const auto found = pare::allocate_by_largest_error(layers, 3, std::vector<double>{1.0, 2.5, 3.5});
  ASSERT_TRUE(found) << message(found);
  EXPECT_EQ(found->largest_error, 4.0);
  EXPECT_EQ(found->choice, (std::vector<std::size_t>{1, 0, 0, 0}));
  EXPECT_EQ(found->objective, 96.0);
}

TEST(Allocator, RefusesWhatCannotBeChosen) {
  const std::vector<std::vector<LayerOption>> layers{{{5, 1.0}, {9, 0.5}}, {{6, 1.0}}};
  EXPECT_EQ(message(Allocator{}(layers, 10)),
            "pare: the budget of 10 is less than the least that the layers up to number 1 cost");
  EXPECT_EQ(Allocator{}(layers, 11)->cost, 11u);
  EXPECT_EQ(Allocator{}(layers, ~std::uint64_t{0})->choice, (std::vector<std::size_t>{1, 0}));
  const std::vector<std::vector<LayerOption>> none{{{5, 1.0}}, {}}, negative{{{5, -1.0}}},
      unknown{{{5, std::numeric_limits<double>::quiet_NaN()}}}, vast{{{~std::uint64_t{0}, 1.0}}, {{1, 1.0}}};
  EXPECT_EQ(message(Allocator{}(none, 10)), "pare: layer 1 has no options");
  EXPECT_NE(message(Allocator{}(unknown, 10)).find("of layer 0, option 0 has no finite power"), std::string::npos);
  EXPECT_NE(message(Allocator{.power = 2.5}(negative, 10)).find("no finite power 2.5"), std::string::npos);
  EXPECT_EQ(Allocator{}(negative, 10)->objective, -1.0);
  EXPECT_FALSE(Allocator{}(vast, ~std::uint64_t{0}));
  EXPECT_EQ(Allocator{}({}, 0)->objective, 0.0);
  EXPECT_EQ(message(pare::allocate_by_largest_error(layers, 11, {})), "pare: there is no power to allocate by");
}

}  // namespace
