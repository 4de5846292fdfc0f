#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "layer.hpp"

namespace {

using namespace pare;

const Options threads{.executor = two_threads};

template <class Structure>
std::string magnitude_bits(const Structure& structure, const std::vector<float>& weights, std::size_t rows,
                           const Options& options = {}) {
  return bits(value(Pruner<Magnitude, Structure>{.structure = structure}(
      MatrixView<const float>(weights.data(), rows, weights.size() / rows), options)));
}

TEST(AnyNofM, IsNofMAtRunTime) {
  const std::vector<float> weights = normal_values(301, 1);
  EXPECT_EQ(magnitude_bits(AnyNofM{2, 4}, weights, 7), magnitude_bits(NofM<2, 4>{}, weights, 7));
  EXPECT_EQ(magnitude_bits(AnyNofM{3, 10}, weights, 7), magnitude_bits(NofM<3, 10>{}, weights, 7, threads));
  const auto wrong = Pruner<Magnitude, AnyNofM>{.structure = {5, 4}}(MatrixView<const float>(weights.data(), 7, 43));
  EXPECT_EQ(message(wrong), "pare: a pattern keeps N of every M columns with 1 <= N <= M <= 256, not 5 of 4");
}

TEST(PerLayerKthValue, PrunesTheRoundedCountAndItsTies) {
  EXPECT_EQ(magnitude_bits(Unstructured<PerLayerKthValue>{0.5}, {1, 2, 3, 4, 5}, 1), "00111");   // 2.5 to even
  EXPECT_EQ(magnitude_bits(Unstructured<PerLayerKthValue>{0.7}, {1, 2, 3, 4, 5}, 1), "00001");   // 3.5 to even
  EXPECT_EQ(magnitude_bits(Unstructured<PerLayerKthValue>{0.4}, {1, 2, -2, 4, 2}, 1), "00010");  // ties
  EXPECT_EQ(magnitude_bits(Unstructured<PerLayerKthValue>{0.0}, {0, 0, 1, 2, 3}, 1), "11111");
  EXPECT_EQ(magnitude_bits(Unstructured<PerLayerKthValue>{1.0}, {0, 0, 1, 2, 3}, 1), "00000");
}

TEST(AdaptiveRows, TakesTheShareOfEachRowsSumThatGivesTheSparsity) {
  // At alpha = 0.4 a row loses at most 0.4 of its sum: 1 + 2 + 3 of 15, and three equal weights of eight at once.
  EXPECT_EQ(magnitude_bits(AdaptiveRows{.sparsity = 0.6, .tolerance = 0.1}, {5, 4, 3, 2, 1}, 1), "11000");
  EXPECT_EQ(magnitude_bits(AdaptiveRows{.sparsity = 1.0, .tolerance = 0.0}, {1, 1, 1, 1, 1, 1, 1, 1}, 1), "00000000");
  const std::vector<float> weights = normal_values(16384, 2);
  for (const double sparsity : {0.2, 0.5, 0.7}) {
    const std::string mask = magnitude_bits(AdaptiveRows{.sparsity = sparsity}, weights, 64);
    const auto pruned = static_cast<double>(std::ranges::count(mask, '0')) / static_cast<double>(mask.size());
    EXPECT_NEAR(pruned, sparsity, 0.0015);
    EXPECT_EQ(mask, magnitude_bits(AdaptiveRows{.sparsity = sparsity}, weights, 64, threads));
    for (std::size_t r = 0; r < 64; ++r) {
      float dearest = 0.0f, cheapest = inf;
      for (std::size_t c = 0; c < 256; ++c) {
        const float size = std::fabs(weights[r * 256 + c]);
        if (mask[r * 256 + c] == '0') dearest = std::max(dearest, size);
        if (mask[r * 256 + c] == '1') cheapest = std::min(cheapest, size);
      }
      EXPECT_LT(dearest, cheapest);
    }
  }
}

TEST(AdaptiveRows, NeverTakesWhatIsNotFinite) {
  const std::string mask = magnitude_bits(AdaptiveRows{.sparsity = 0.5}, {inf, 1, nan_value, 2, -inf, 3, 4, 0}, 1);
  EXPECT_EQ(mask[0], '1');
  EXPECT_EQ(mask[2], '1');
  EXPECT_EQ(mask[4], '1');
  EXPECT_EQ(mask[7], '0');
  EXPECT_EQ(magnitude_bits(AdaptiveRows{}, {nan_value, nan_value}, 1), "11");
  const MatrixView<const float> none(nullptr, 0, 3);
  EXPECT_TRUE((Pruner<Magnitude, AdaptiveRows>{}(none)));
  for (const double wrong : {-0.5, 1.5, std::nan("")}) {
    EXPECT_NE(message(Pruner<Magnitude, AdaptiveRows>{.structure = {.sparsity = wrong}}(none)).find("pare: the spars"),
              std::string::npos);
    EXPECT_NE(message(Pruner<Magnitude, AdaptiveRows>{.structure = {.tolerance = wrong}}(none)).find("pare: the spars"),
              std::string::npos);
  }
}

TEST(WeightBlocks, GoAsAWhole) {
  const std::vector<float> weights{1, 1, 9, 9, 1,  //
                                   1, 1, 9, 9, 1,  //
                                   5, 5, 0, 0, 7};
  // Sums by 2 x 2 blocks: 4, 36, 2 and 10, 0, 7.
  EXPECT_EQ(magnitude_bits(WeightBlocks{2, 2, 0.5}, weights, 3), "001100011011001");
  EXPECT_EQ(magnitude_bits(WeightBlocks{2, 2, 0.5}, weights, 3, threads), "001100011011001");
  EXPECT_EQ(magnitude_bits(WeightBlocks{0, 0, 0.9}, weights, 3), "111111111111111");
  EXPECT_EQ(magnitude_bits(WeightBlocks{9, 9, 1.0}, weights, 3), "000000000000000");
  EXPECT_EQ(magnitude_bits(WholeRows{.sparsity = 0.4}, weights, 3), "111111111100000");
  EXPECT_EQ(magnitude_bits(WholeRows{.width = 2, .sparsity = 0.5}, weights, 3), "111111111100000");
  EXPECT_EQ(magnitude_bits(WholeColumns{.sparsity = 0.4}, weights, 3), "001110011100111");  // ties by the left
  EXPECT_EQ(magnitude_bits(WholeColumns{.width = 2, .sparsity = 0.67}, weights, 3), "001100011000110");
  EXPECT_EQ(magnitude_bits(WholeColumns{.sparsity = 0.2}, {nan_value, 1, 2, 3, 4}, 1), "10111");
  for (const double wrong : {-0.1, 1.1, std::nan("")})
    EXPECT_NE(message(Pruner<Magnitude, WeightBlocks>{.structure = {.sparsity = wrong}}(
                          MatrixView<const float>(weights.data(), 3, 5)))
                  .find("pare: the sparsity"),
              std::string::npos);
}

TEST(Taylor, RanksByWeightTimesGradient) {
  const std::vector<float> weights{1, 2, 3, 4}, gradients{4, -3, 0, 1};
  const Pruner<Taylor, Unstructured<PerLayer>> pruner{};
  const MatrixView<const float> w(weights.data(), 1, 4), g(gradients.data(), 1, 4);
  EXPECT_EQ(bits(value(pruner(w, g))), "0101");
  EXPECT_NE(message(pruner(w, MatrixView<const float>(gradients.data(), 2, 2))).find("pare: the gradient is 2 x 2"),
            std::string::npos);
  EXPECT_EQ(message(pruner(w, MatrixView<const float>(nullptr, 1, 4))), "pare: the gradient is a null pointer");
}

TEST(Random, HangsOnTheSeedAndThePlaceAlone) {
  const Layer layer(40, 50, 3);
  const auto mask = [&](std::uint64_t seed) {
    return bits(value(Pruner<Random, Unstructured<PerLayer>>{.metric = {seed}}(layer.view())));
  };
  EXPECT_EQ(mask(1), mask(1));
  const std::string one = mask(1), two = mask(2);
  EXPECT_EQ(std::ranges::count(one, '0'), 1000);
  std::size_t equal = 0;
  for (std::size_t i = 0; i < one.size(); ++i) equal += std::size_t{one[i] == two[i]};
  EXPECT_NEAR(static_cast<double>(equal), 1000.0, 150.0);
  EXPECT_EQ(Random{7}.score_at(3, 4), Random{7}.score_at(3, 4));
  double sum = 0.0;
  for (std::size_t i = 0; i < 10000; ++i) {
    const double score = Random{9}.score_at(i / 100, i % 100);
    EXPECT_TRUE(score >= 0 && score < 1);
    sum += score;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.02);
}

TEST(GlobalPruner, PutsOneThresholdUnderAllLayers) {
  const std::vector<float> small = normal_values(75000, 4), large = normal_values(104000, 5);
  std::vector<float> tripled = large;
  for (float& w : tripled) w *= 3;
  const std::vector<GlobalLayer> layers{{{small.data(), 300, 250}}, {{nullptr, 0, 9}}, {{tripled.data(), 260, 400}}};
  std::vector<float> all;
  for (const std::vector<float>* layer : {&small, static_cast<const std::vector<float>*>(&tripled)})
    for (const float w : *layer) all.push_back(std::fabs(w));
  std::vector<float> sorted = all;
  std::ranges::sort(sorted);
  const float threshold = sorted[static_cast<std::size_t>(0.3 * static_cast<double>(all.size()))];
  std::string expected;
  for (const float w : all) expected += w < threshold ? '0' : '1';
  const GlobalPruner<Magnitude> pruner{.sparsity = 0.3};
  for (const Options& options : {Options{}, threads}) {
    const auto masks = value(pruner(layers, options));
    ASSERT_EQ(masks.size(), 3u);
    EXPECT_EQ(bits(masks[0]) + bits(masks[1]) + bits(masks[2]), expected);
  }
  // Normalized by the layer's norm, a layer's scale does not matter.
  const GlobalPruner<Magnitude> normalized{.sparsity = 0.3, .normalized = true};
  const std::vector<GlobalLayer> plain{{{small.data(), 300, 250}}, {{large.data(), 260, 400}}};
  EXPECT_EQ(bits(value(normalized(layers))[2]), bits(value(normalized(plain))[1]));
  const auto none = value(GlobalPruner<Magnitude>{.sparsity = 0.0}(layers));
  EXPECT_EQ(none[0].sparsity(), 0.0);
  const auto everything = value(GlobalPruner<Magnitude>{.sparsity = 1.0}(layers));
  EXPECT_EQ(everything[2].sparsity(), 1.0);
}

TEST(GlobalPruner, TakesTiesInOrderAndNormsWhereTheyCount) {
  const std::vector<float> ones(6, 1.0f), norms{1, 2, 3};
  const std::vector<GlobalLayer> layers{{{ones.data(), 1, 3}, norms}, {{ones.data(), 2, 3}, norms}};
  const auto tied = value(GlobalPruner<Magnitude>{.sparsity = 0.5}(layers));
  EXPECT_EQ(bits(tied[0]) + bits(tied[1]), "000011111");
  const auto wanda = value(GlobalPruner<Wanda>{.sparsity = 0.5}(layers));
  EXPECT_EQ(bits(wanda[0]) + bits(wanda[1]), "001011011");
  const std::vector<float> zeros(3, 0.0f);
  const std::vector<GlobalLayer> empty_norm{{{zeros.data(), 1, 3}}, {{ones.data(), 1, 3}}};
  EXPECT_EQ(bits(value(GlobalPruner<Magnitude>{.sparsity = 0.5, .normalized = true}(empty_norm))[0]), "000");

  const std::vector<GlobalLayer> unnormed{{{ones.data(), 1, 3}}};
  EXPECT_EQ(message(GlobalPruner<Wanda>{}(unnormed)), "pare: 0 activation norms for 3 columns of weights");
  const std::vector<float> broken{1, nan_value};
  const std::vector<GlobalLayer> bad{{{broken.data(), 1, 2}}};
  EXPECT_EQ(message(GlobalPruner<Magnitude>{}(bad)), "pare: the weight at (0, 1) is not a number");
  EXPECT_NE(message(GlobalPruner<Magnitude>{.sparsity = 2}(unnormed)).find("pare: the sparsity"), std::string::npos);
}

std::vector<double> list(const Result<Array<double>>& array) {
  return array ? std::vector<double>(array->begin(), array->end()) : std::vector<double>();
}

TEST(RowImportance, MeasuresRows) {
  const std::vector<float> weights{3, -4, 0, 0, 6, 8};
  const MatrixView<const float> w(weights.data(), 3, 2);
  EXPECT_EQ(list(L1Norm{}(w)), (std::vector<double>{7, 0, 14}));
  EXPECT_EQ(list(L2Norm{}(w)), (std::vector<double>{5, 0, 10}));
  EXPECT_EQ(list(L1Norm{}(transposed(w))), (std::vector<double>{9, 12}));
  const double side = std::sqrt(9.0 + 144.0);
  EXPECT_EQ(list(GeometricMedian{}(w)), (std::vector<double>{5 + side, 15, 10 + side}));
  const std::vector<float> norms{2, 0.5};
  EXPECT_EQ(list(ActivationNorm{norms}(w, threads)), (std::vector<double>{std::sqrt(40.0), 0, std::sqrt(160.0)}));
  EXPECT_EQ(message(ActivationNorm{{norms.data(), 1}}(w)), "pare: 1 activation norms for 2 columns of weights");
  const std::vector<float> broken{3, nan_value};
  EXPECT_EQ(message(L2Norm{}(MatrixView<const float>(broken.data(), 2, 1))),
            "pare: the weight at (1, 0) is not a number");
}

TEST(SensitivityScan, TakesTheLargestSparsityThatCostsLittle) {
  std::vector<double> tried;
  const auto falling = [&](double sparsity) -> Result<double> {
    tried.push_back(sparsity);
    return 0.9 - sparsity * sparsity * 0.1;
  };
  const ScannedSparsity found = value(SensitivityScan{.degradation = 0.0251}(0.9, falling));
  EXPECT_NEAR(found.sparsity, 0.5, 1e-9);
  EXPECT_TRUE(found.within);
  ASSERT_EQ(tried.size(), 10u);
  EXPECT_NEAR(tried.front(), 0.95, 1e-9);
  tried.clear();
  const ScannedSparsity best = value(SensitivityScan{.degradation = 0.0}(0.9, falling));
  EXPECT_NEAR(best.sparsity, 0.1, 1e-9);
  EXPECT_FALSE(best.within);
  EXPECT_EQ(tried.size(), 18u);
  const auto flat = [](double) -> Result<double> { return 0.1; };
  EXPECT_NEAR(value(SensitivityScan{}(0.9, flat)).sparsity, 0.95, 1e-9);
  const auto failing = [](double) -> Result<double> { return Error{ErrorCode::cancelled, "pare: stopped"}; };
  EXPECT_EQ(message(SensitivityScan{}(0.9, failing)), "pare: stopped");
  for (const SensitivityScan& wrong : {SensitivityScan{.step = 0.0}, SensitivityScan{.start = 1.0},
                                       SensitivityScan{.end = 1.5}, SensitivityScan{.step = std::nan("")}})
    EXPECT_NE(message(wrong(0.9, flat)).find("pare: a sensitivity scan needs"), std::string::npos);
}

TEST(InputFluctuation, FollowsTheRunningForm) {
  auto inputs = value(InputFluctuation::create(2));
  const std::vector<float> first{1, 2, 3, 6}, second{5, 0}, third{2, 1, 4, 1};
  ASSERT_TRUE(inputs.add({first.data(), 2, 2}));
  EXPECT_EQ(inputs.mean()[0], 2.0);
  EXPECT_EQ(inputs.fluctuation()[0], 0.0);
  ASSERT_TRUE(inputs.add({second.data(), 1, 2}));
  EXPECT_EQ(inputs.mean()[0], 3.5);
  EXPECT_EQ(inputs.fluctuation()[0], 1.5 * 1.5 / 2);
  ASSERT_TRUE(inputs.add({third.data(), 2, 2}, threads));
  const double mean = (3.5 * 2 + 3) / 3;
  EXPECT_DOUBLE_EQ(inputs.mean()[0], mean);
  EXPECT_DOUBLE_EQ(inputs.fluctuation()[0], 1.125 / 2 + ((2 - mean) * (2 - mean) + (4 - mean) * (4 - mean)) / 3);
  EXPECT_EQ(inputs.squares()[1], 4.0 + 36.0 + 0.0 + 1.0 + 1.0);
  EXPECT_FLOAT_EQ(value(inputs.norms())[1], std::sqrt(42.0f));
  EXPECT_EQ(inputs.samples(), 3u);

  EXPECT_EQ(message(inputs.add({first.data(), 1, 4})), "pare: the activations is 1 x 4 where 1 x 2 is needed");
  EXPECT_EQ(message(inputs.add({first.data(), 0, 2})), "pare: a sample needs at least one token");
  const std::vector<float> broken{1, inf};
  EXPECT_EQ(message(inputs.add({broken.data(), 1, 2})), "pare: the activations at (0, 1) is infinite");
  EXPECT_EQ(inputs.samples(), 3u);
}

TEST(Flap, UniformRemovesTheLeastUnitsAndKeepsTies) {
  const std::vector<double> importance{5, 1, 3, 1, 2, 2};
  EXPECT_EQ(bits(value(flap_uniform({.importance = importance}, 2))), "101011");
  EXPECT_EQ(bits(value(flap_uniform({.importance = importance}, 1))), "111111");
  EXPECT_EQ(bits(value(flap_uniform({.importance = importance}, 6))), "000000");
  EXPECT_EQ(bits(value(flap_uniform({.importance = importance, .width = 2}, 1))), "111");
  EXPECT_EQ(bits(value(flap_uniform({.importance = importance, .width = 2, .power = 2}, 1))), "110");
  EXPECT_EQ(message(flap_uniform({.importance = importance}, 7)), "pare: 7 units cannot go where there are 6");
  EXPECT_EQ(message(flap_uniform({.importance = importance, .width = 4}, 1)),
            "pare: 6 channels are not whole units of 4");
  EXPECT_NE(message(flap_uniform({.importance = importance, .cost = -1}, 1)).find("cost"), std::string::npos);
  const std::vector<double> broken{1, std::nan("")};
  EXPECT_NE(message(flap_uniform({.importance = broken}, 1)).find("not finite"), std::string::npos);
}

TEST(Flap, AdaptiveStandardizesEachLayerAndCountsCosts) {
  const std::vector<double> low{1, 2, 3, 4}, high{100, 200, 300, 900}, even{7, 7};
  const std::vector<FlapUnits> layers{{.importance = low}, {.importance = high}, {.importance = even}};
  // Standardized: -1.16, -0.39, 0.39, 1.16; -0.77, -0.49, -0.21, 1.47; 0, 0.
  const FlapSelection four = value(flap_adaptive_count(layers, 4));
  EXPECT_EQ(bits(four.masks[0]) + bits(four.masks[1]) + bits(four.masks[2]), "0011001111");
  EXPECT_NEAR(four.threshold, -0.387298, 1e-6);
  const FlapSelection none = value(flap_adaptive_count(layers, 0));
  EXPECT_EQ(none.masks[0].kept() + none.masks[1].kept() + none.masks[2].kept(), 10u);
  // Of equal cost, 6 of 10 are counted as kept, and the last of them goes too.
  const FlapSelection part = value(flap_adaptive(layers, 0.4));
  EXPECT_EQ(bits(part.masks[0]) + bits(part.masks[1]) + bits(part.masks[2]), "0011000111");
  std::vector<FlapUnits> dear = layers;
  dear[0].cost = 100;
  const FlapSelection first = value(flap_adaptive(dear, 0.4));
  EXPECT_EQ(bits(first.masks[0]) + bits(first.masks[1]) + bits(first.masks[2]), "0011000111");
  dear[0].cost = 1000;  // 2004 of 4006 is nearer to 0.6 of it than 3004, 2001 is not as near
  EXPECT_NEAR(value(flap_adaptive(dear, 0.4)).threshold, -75 / std::sqrt(387500.0 / 3), 1e-9);
  EXPECT_EQ(value(flap_adaptive(layers, 0.0)).masks[1].kept(), 4u);
  EXPECT_EQ(message(flap_adaptive_count(layers, 11)), "pare: 11 units cannot go where there are 10");
  EXPECT_NE(message(flap_adaptive(layers, 1.5)).find("pare: the ratio"), std::string::npos);
}

TEST(Flap, BiasMakesUpForWhatDoesNotFluctuate) {
  const Layer layer(6, 8, 6);
  auto inputs = value(InputFluctuation::create(8));
  std::vector<float> tokens = normal_values(16, 7);
  tokens[3] = tokens[8 + 3] = 1.5f;
  ASSERT_TRUE(inputs.add({tokens.data(), 1, 8}));
  ASSERT_TRUE(inputs.add({tokens.data() + 8, 1, 8}));
  for (const FlapMetric metric : {FlapMetric::wifv, FlapMetric::ifv}) {
    const auto importance = value(flap_importance(metric, layer.view(), inputs));
    const Mask keep = value(flap_uniform({.importance = importance.values()}, 1));
    EXPECT_EQ(bits(keep), "11101111");
    const auto bias = value(flap_bias(layer.view(), inputs, keep, threads));
    for (std::size_t r = 0; r < 6; ++r) EXPECT_FLOAT_EQ(bias[r], layer.weights[r * 8 + 3] * 1.5f);
  }
  const auto norm = value(flap_importance(FlapMetric::wifn, layer.view(), inputs));
  double mean = 0.0;
  for (std::size_t r = 0; r < 6; ++r) mean += std::fabs(layer.weights[r * 8 + 3]) / 6.0;
  EXPECT_NEAR(norm[3], mean * 1.5, 1e-6);

  const auto fresh = value(InputFluctuation::create(8)), narrow = value(InputFluctuation::create(7));
  EXPECT_NE(message(flap_importance(FlapMetric::wifv, layer.view(), fresh)).find("at least 2 samples, they have 0"),
            std::string::npos);
  EXPECT_NE(message(flap_importance(FlapMetric::wifn, layer.view(), narrow)).find("7 channels where the weight has 8"),
            std::string::npos);
  const Mask wrong = value(Mask::create({1, 3}));
  EXPECT_NE(message(flap_bias(layer.view(), inputs, wrong)).find("pare: a weight of 8 columns"), std::string::npos);
}

TEST(Schedules, GoFromEndToEnd) {
  const auto check = [](const auto& schedule, double begin, double end) {
    EXPECT_NEAR(schedule(begin - 5), 0.1, 1e-12);
    EXPECT_NEAR(schedule(begin), 0.1, 1e-12);
    EXPECT_NEAR(schedule(end), 0.8, 1e-12);
    EXPECT_NEAR(schedule(end + 100), 0.8, 1e-12);
    for (double t = begin; t < end; t += 0.25) EXPECT_LE(schedule(t), schedule(t + 0.25));
  };
  check(CubicSchedule{.initial = 0.1, .final = 0.8, .begin = 3, .duration = 10}, 3, 13);
  check(PolynomialSchedule{.initial = 0.1, .final = 0.8, .duration = 10}, 0, 10);
  check(PolynomialSchedule{.initial = 0.1, .final = 0.8, .duration = 10, .power = 3, .concave = false}, 0, 10);
  check(ExponentialSchedule{.initial = 0.1, .final = 0.8, .duration = 10}, 0, 10);
  for (const double initial : {0.0, 0.1, 0.45, 0.59}) {
    const auto biased = value(BiasedExponentialSchedule::create(initial, 0.8, 16));
    EXPECT_NEAR(biased(0), initial, 1e-12);
    EXPECT_NEAR(biased(2), 0.6, 1e-9);
    EXPECT_NEAR(biased(16 - 1e-9), 0.8, 1e-6);
    EXPECT_EQ(biased(16), 0.8);
  }
  check(value(BiasedExponentialSchedule::create(0.1, 0.8, 10)), 0, 10);
  EXPECT_EQ((CubicSchedule{.initial = 0.1, .final = 0.8, .duration = 0}(0)), 0.8);
  EXPECT_EQ((CosineSchedule{.initial = 0.3, .end = 75}(0)), 0.3);
  EXPECT_NEAR((CosineSchedule{.initial = 0.3, .end = 75}(37.5)), 0.15, 1e-12);
  EXPECT_EQ((CosineSchedule{.initial = 0.3, .end = 75}(75)), 0.0);
  for (const auto& wrong :
       {BiasedExponentialSchedule::create(0.61, 0.8, 10), BiasedExponentialSchedule::create(0, 0.8, 0),
        BiasedExponentialSchedule::create(-1, 0.8, 10), BiasedExponentialSchedule::create(0, std::nan(""), 10)})
    EXPECT_NE(message(wrong).find("pare: this schedule needs"), std::string::npos);
}

TEST(Schedules, MultistepHoldsEachLevel) {
  const std::vector<double> times{2, 5}, levels{0.1, 0.3, 0.6};
  const MultistepSchedule schedule{times, levels};
  ASSERT_TRUE(schedule.check());
  EXPECT_EQ(schedule(-1), 0.1);
  EXPECT_EQ(schedule(1.9), 0.1);
  EXPECT_EQ(schedule(2), 0.3);
  EXPECT_EQ(schedule(5), 0.6);
  EXPECT_EQ(schedule(1e9), 0.6);
  const std::vector<double> falling{5, 2};
  EXPECT_FALSE((MultistepSchedule{falling, levels}.check()));
  EXPECT_FALSE((MultistepSchedule{times, times}.check()));
}

TEST(LayerDensities, MeetTheSparsityOfTheWhole) {
  const std::vector<std::vector<std::size_t>> dimensions{{8, 3, 3, 3}, {16, 8, 3, 3}, {32, 16}, {10, 512}};
  const std::vector<std::span<const std::size_t>> shapes(dimensions.begin(), dimensions.end());
  for (const double sparsity : {0.0, 0.1, 0.5, 0.9, 0.99, 1.0}) {
    const auto sparsities = value(erdos_renyi_sparsities(shapes, sparsity));
    double pruned = 0.0, all = 0.0;
    for (std::size_t l = 0; l < 4; ++l) {
      EXPECT_TRUE(sparsities[l] >= 0 && sparsities[l] <= 1);
      double count = 1.0;
      for (const std::size_t d : dimensions[l]) count *= static_cast<double>(d);
      pruned += count * sparsities[l];
      all += count;
    }
    EXPECT_NEAR(pruned / all, sparsity, 1e-12) << sparsity;
    EXPECT_TRUE(sparsity != 0.1 || (sparsities[0] + sparsities[2] + sparsities[3] == 0.0));
  }
  EXPECT_EQ(list(uniform_sparsities(3, 0.7, 1)), (std::vector<double>{0, 0.7, 0.7}));
  EXPECT_NE(message(uniform_sparsities(2, 0.7, 3)).find("pare: 3 of 2 layers"), std::string::npos);
  EXPECT_NE(message(erdos_renyi_sparsities(shapes, 1.2)).find("pare: the sparsity"), std::string::npos);
  const std::vector<std::size_t> none{4, 0}, huge{std::size_t{1} << 40, std::size_t{1} << 40};
  for (const auto& wrong : {none, huge}) {
    const std::span<const std::size_t> shape(wrong);
    EXPECT_NE(message(erdos_renyi_sparsities(std::span(&shape, 1), 0.5)).find("pare: the weight of layer 0"),
              std::string::npos);
  }
}

}  // namespace
