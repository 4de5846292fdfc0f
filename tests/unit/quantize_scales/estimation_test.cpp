#include <algorithm>
#include <array>

#include "layer.hpp"
#include "pare/quantize/awq_grid.hpp"
#include "pare/quantize/lora_correction.hpp"
#include "pare/quantize/nncf_awq.hpp"
#include "pare/quantize/nncf_grid.hpp"
#include "pare/quantize/round_to_nearest.hpp"
#include "pare/quantize/scale_estimation.hpp"
#include "pare/quantize/scheme_grid.hpp"
#include "pare/search/search.hpp"

namespace {
using namespace quantize_test;
using pare::LoraCorrection;
using pare::NncfAwq;
using pare::NncfGrid;
using pare::RoundToNearest;
using pare::ScaleEstimation;
using pare::Sensitivity;

TEST(ScaleEstimation, NeverRaisesTheErrorOfABlock) {
  const Table weights = random_table({20, 40}, 1), samples = random_inputs({24, 40}, 2);
  double before = 0.0, after = 0.0;
  for (const bool symmetric : {false, true})
    for (const int bits : {2, 4}) {
      const NncfGrid grid{.bits = bits, .symmetric = symmetric};
      const auto plain = RoundToNearest{}(grid, weights.view());
      const auto better = ScaleEstimation{.group = 0}(grid, weights.view(), samples.view());
      ASSERT_TRUE(better) << message(better);
      for (std::size_t r = 0; r < 20; ++r) {
        const auto row = [&](const Table& table) {
          return Table{{table.values.begin() + static_cast<std::ptrdiff_t>(r * 40),
                        table.values.begin() + static_cast<std::ptrdiff_t>(r * 40 + 40)},
                       {1, 40}};
        };
        const double old_error = output_error(row(weights), row(values_of(*plain)), samples);
        const double new_error = output_error(row(weights), row(values_of(*better)), samples);
        EXPECT_LE(new_error, (1 + 1e-9) * old_error) << bits << " bits, row " << r;
        EXPECT_EQ(better->shifts()(r, 0), plain->shifts()(r, 0));
        before += old_error;
        after += new_error;
      }
    }
  EXPECT_LT(after, 0.9 * before);
}

TEST(ScaleEstimation, KeepsTheScalesFormat) {
  using F16Scales = pare::Scheme<4, pare::Symmetric, pare::PerGroup<16>, pare::f16>;
  const Table weights = random_table({4, 40}, 3), samples = random_inputs({8, 40}, 4);
  const auto matrix = ScaleEstimation{}(pare::SchemeGrid<F16Scales>{}, weights.view(), samples.view());
  ASSERT_TRUE(matrix) << message(matrix);
  EXPECT_EQ(matrix->grid, (pare::Shape{4, 3}));
  for (std::size_t i = 0; i < 12; ++i)
    EXPECT_TRUE(pare::encode_scale(pare::ScaleType::float16, matrix->scales().data[i])) << i;
  using NF4 = pare::Scheme<pare::nf4, pare::Symmetric, pare::PerGroup<16>>;
  EXPECT_TRUE(ScaleEstimation{}(pare::SchemeGrid<NF4>{}, weights.view(), samples.view()));
}

TEST(ScaleEstimation, ZerosAndDeadChannelsPass) {
  Table weights = random_table({2, 8}, 5), samples = random_table({3, 8}, 6);
  for (std::size_t c = 0; c < 8; ++c) weights(0, c) = 0.0f;
  const auto zero_row = ScaleEstimation{}(NncfGrid{}, std::as_const(weights).view(), std::as_const(samples).view());
  ASSERT_TRUE(zero_row) << message(zero_row);
  for (std::size_t c = 0; c < 8; ++c) EXPECT_EQ(zero_row->value(0, c), 0.0f);
  std::ranges::fill(samples.values, 0.0f);
  const auto dead = ScaleEstimation{}(NncfGrid{}, std::as_const(weights).view(), std::as_const(samples).view());
  ASSERT_TRUE(dead) << message(dead);
  EXPECT_TRUE(same(*dead, *RoundToNearest{}(NncfGrid{}, std::as_const(weights).view())));
  EXPECT_TRUE(ScaleEstimation{}(NncfGrid{}, {nullptr, 0, 8}, std::as_const(samples).view()));
}

TEST(ScaleEstimation, MeasuresOnASubset) {
  const Table weights = random_table({6, 16}, 7), samples = random_table({10, 16}, 8);
  // Of two in ten, the first and the sixth count; the others only by the magnitudes of their channels.
  Table others = samples;
  for (std::size_t s = 0; s < 10; ++s)
    for (std::size_t c = 0; c < 16 && s % 5 != 0; c += 2) others(s, c) *= -1.0f;
  const auto run = [&](std::size_t subset, const Table& table) {
    return *ScaleEstimation{.subset = subset}(NncfGrid{}, weights.view(), table.view());
  };
  EXPECT_TRUE(same(run(2, samples), run(2, others)));
  EXPECT_FALSE(same(run(10, samples), run(10, others)));
}

TEST(ScaleEstimation, NothingDependsOnThreadsOrStrides) {
  const Table weights = random_table({600, 150}, 9), samples = random_inputs({9, 150}, 10);
  const Transposed turned_weights(weights), turned_samples(samples);
  const ScaleEstimation algorithm{.group = 64, .repeats = 2, .shrinks = 2};
  const auto one = algorithm(NncfGrid{}, weights.view(), samples.view());
  const auto two = algorithm(NncfGrid{}, turned_weights.view(), turned_samples.view(), {.executor = two_threads});
  ASSERT_TRUE(one && two) << message(one) << message(two);
  EXPECT_TRUE(same(*one, *two));
}

TEST(ScaleEstimation, SaysWhatIsWrong) {
  Table weights = random_table({2, 8}, 11), samples = random_table({3, 8}, 12);
  const auto run = [&](const ScaleEstimation& algorithm) {
    return message(algorithm(NncfGrid{}, std::as_const(weights).view(), std::as_const(samples).view()));
  };
  EXPECT_NE(run({.subset = 0}).find("pare: the estimation of scales needs samples"), std::string::npos);
  EXPECT_NE(run({.shrinks = 21}).find("at most 20 shrinks"), std::string::npos);
  samples(1, 2) = not_a_number;
  EXPECT_EQ(run({}), "pare: the sample at (1, 2) is not a number");
  weights(1, 7) = -infinity;
  EXPECT_EQ(run({}), "pare: the weight at (1, 7) is infinite");
  samples.shape = {2, 12};
  EXPECT_EQ(run({}), "pare: the matrix of samples is 2 x 12 where 2 x 8 is needed");
  EXPECT_EQ(message(ScaleEstimation{}(pare::WholeMatrix<NncfGrid>{}, random_table({2, 4}, 1).view(),
                                      random_table({2, 4}, 1).view())),
            "pare: the estimation of scales needs a grid of one row's scales, without offsets");
}

TEST(NncfAwq, ScalesTheGroupsOfTheLargestInputs) {
  const Table weights = random_table({16, 48}, 13);
  Table samples = random_table({12, 48}, 14);
  for (std::size_t s = 0; s < 12; ++s) samples(s, 21) *= 50.0f;
  const auto scales = NncfAwq{.group = 16}(NncfGrid{}, weights.view(), std::as_const(samples).view());
  ASSERT_TRUE(scales) << message(scales);
  for (std::size_t c = 0; c < 48; ++c) EXPECT_TRUE((c >= 16 && c < 32) || (*scales)[c] == 1.0f) << c;
  EXPECT_EQ(*std::ranges::max_element(*scales), (*scales)[21]);
  EXPECT_GT((*scales)[21], 1.0f);
  // Three groups out of three: every one of them is looked after.
  const auto all = NncfAwq{.group = 16, .share = 1.0}(NncfGrid{}, weights.view(), std::as_const(samples).view());
  ASSERT_TRUE(all);
  EXPECT_TRUE(std::ranges::equal(all->values().subspan(16, 16), scales->values().subspan(16, 16)));
  EXPECT_FALSE(std::ranges::equal(*all, *scales));
}

TEST(NncfAwq, LowersTheError) {
  const Table weights = random_table({16, 32}, 15), samples = random_inputs({12, 32}, 16);
  const auto scales = NncfAwq{.group = 0}(NncfGrid{}, weights.view(), samples.view());
  ASSERT_TRUE(scales);
  Table scaled = weights;
  ASSERT_TRUE(pare::scale_inputs(scaled.view(), scales->values()));
  const auto plain = RoundToNearest{}(NncfGrid{}, weights.view());
  const auto better = RoundToNearest{}(NncfGrid{}, std::as_const(scaled).view());
  const std::vector<float> divisors(scales->begin(), scales->end());
  EXPECT_LT(output_error(weights, values_of(*better, divisors), samples),
            0.9 * output_error(weights, values_of(*plain), samples));
}

TEST(NncfAwq, DeadChannelsThreadsAndStrides) {
  const Table weights = random_table({500, 160}, 17);
  Table samples = random_inputs({7, 160}, 18);
  const Transposed turned(weights);
  const NncfAwq algorithm{.group = 80, .steps = 10};
  const auto one = algorithm(NncfGrid{}, weights.view(), std::as_const(samples).view());
  const auto two = algorithm(NncfGrid{}, turned.view(), std::as_const(samples).view(), {.executor = two_threads});
  ASSERT_TRUE(one && two);
  EXPECT_TRUE(std::ranges::equal(*one, *two));
  std::ranges::fill(samples.values, 0.0f);
  const auto dead = algorithm(NncfGrid{}, weights.view(), std::as_const(samples).view());
  ASSERT_TRUE(dead) << message(dead);
  for (const float scale : *dead) EXPECT_EQ(scale, 1.0f);
}

TEST(NncfAwq, SaysWhatIsWrong) {
  const Table weights = random_table({2, 8}, 19);
  Table samples = random_table({3, 8}, 20);
  const auto run = [&](const NncfAwq& algorithm) {
    return message(algorithm(NncfGrid{}, weights.view(), std::as_const(samples).view()));
  };
  EXPECT_NE(run({.share = 1.5}).find("a share of 0 to 1"), std::string::npos);
  EXPECT_NE(run({.steps = 0}).find("at least one exponent"), std::string::npos);
  samples(0, 0) = infinity;
  EXPECT_EQ(run({}), "pare: the sample at (0, 0) is infinite");
  samples.shape.rows = 0;
  EXPECT_NE(run({}).find("pare: NNCF's AWQ needs samples"), std::string::npos);
}

Table product(const pare::LowRank& pair) {
  Table table{{}, {pair.b.rows(), pair.a.cols()}};
  for (std::size_t r = 0; r < table.shape.rows; ++r)
    for (std::size_t c = 0; c < table.shape.cols; ++c) {
      double sum = 0.0;
      for (std::size_t k = 0; k < pair.a.rows(); ++k)
        sum += static_cast<double>(pair.b(r, k)) * static_cast<double>(pair.a(k, c));
      table.values.push_back(static_cast<float>(sum));
    }
  return table;
}

Table sum(const Table& a, const Table& b) {
  Table result = a;
  for (std::size_t i = 0; i < b.values.size(); ++i) result.values[i] += b.values[i];
  return result;
}

TEST(LoraCorrection, FindsAResidualOfItsRank) {
  for (const pare::Shape shape : {pare::Shape{12, 20}, {20, 12}}) {
    const Table approximation = random_table(shape, 21), samples = random_inputs({6, shape.cols}, 22);
    auto left = pare::Matrix<float>::copy(random_table({shape.rows, 2}, 23).view());
    auto right = pare::Matrix<float>::copy(random_table({2, shape.cols}, 24).view());
    const Table residual = product({*std::move(right), *std::move(left)});
    const Table weights = sum(approximation, residual);
    for (const int iterations : {0, 3}) {
      // Without emphasis the start alone is exact.
      const LoraCorrection algorithm{.rank = 2, .iterations = iterations, .group = iterations == 0 ? 0u : 4u};
      const auto found = algorithm(weights.view(), approximation.view(), samples.view());
      ASSERT_TRUE(found) << message(found);
      const Table ours = product(*found);
      for (std::size_t i = 0; i < ours.values.size(); ++i)
        EXPECT_NEAR(ours.values[i], residual.values[i], 2e-5f) << shape.rows << " x " << shape.cols << ", " << i;
    }
  }
}

TEST(LoraCorrection, HigherRanksCorrectMore) {
  const Table weights = random_table({24, 32}, 25), samples = random_inputs({16, 32}, 26);
  const Table approximation = values_of(*RoundToNearest{.group = 16}(NncfGrid{.bits = 3}, weights.view()));
  double before = output_error(weights, approximation, samples);
  for (const std::size_t rank : {1u, 4u, 12u, 24u}) {
    const auto found = LoraCorrection{.rank = rank, .group = 16}(weights.view(), approximation.view(), samples.view());
    ASSERT_TRUE(found) << message(found);
    const double after = output_error(weights, sum(approximation, product(*found)), samples);
    EXPECT_LT(after, before) << rank;
    before = after;
  }
  EXPECT_LT(before, 1e-6 * output_error(weights, approximation, samples));
}

TEST(LoraCorrection, AnExactApproximationNeedsNone) {
  const Table weights = random_table({5, 6}, 27), samples = random_table({2, 6}, 28);
  const auto found = LoraCorrection{.rank = 3}(weights.view(), weights.view(), samples.view());
  ASSERT_TRUE(found) << message(found);
  for (const float x : product(*found).values) EXPECT_EQ(x, 0.0f);
}

TEST(LoraCorrection, SaysWhatIsWrong) {
  const Table weights = random_table({4, 6}, 29), samples = random_table({2, 6}, 30);
  Table approximation = weights;
  const auto run = [&](const LoraCorrection& algorithm) {
    return message(algorithm(weights.view(), std::as_const(approximation).view(), samples.view()));
  };
  EXPECT_NE(run({.rank = 5}).find("a rank between 1 and the smaller side"), std::string::npos);
  EXPECT_NE(run({.rank = 0}).find("a rank between 1 and the smaller side"), std::string::npos);
  approximation(0, 1) = not_a_number;
  EXPECT_EQ(run({.rank = 1}), "pare: the approximation at (0, 1) is not a number");
  approximation.shape = {3, 8};
  EXPECT_EQ(run({.rank = 1}), "pare: the approximation is 3 x 8 where 4 x 6 is needed");
}

TEST(Sensitivity, StatisticsOfInputsByHand) {
  pare::InputSensitivity inputs;
  EXPECT_EQ(inputs.mean_variance(), 0.0);
  const Table first{{1, -2, 3, 2}, {2, 2}}, second{{4, 0, 0, 0, 0, 0}, {3, 2}};
  ASSERT_TRUE(inputs.add(first.view()));
  ASSERT_TRUE(inputs.add(second.view()));
  // Variances 1 and 4; (16 / 3 - 16 / 9) and 0.
  const double second_variance = 16.0 / 3 - 16.0 / 9;
  EXPECT_DOUBLE_EQ(inputs.mean_variance(), (2.5 + second_variance / 2) / 2);
  EXPECT_DOUBLE_EQ(inputs.largest_variance(), (4 + second_variance) / 2);
  EXPECT_DOUBLE_EQ(inputs.mean_magnitude(), (2.5 + 2) / 2);
  EXPECT_DOUBLE_EQ(inputs.hessian_trace(), (18.0 / 4 + 16) / 6);
  EXPECT_EQ(message(inputs.add({nullptr, 0, 2})), "pare: a sample without values has no variance");
  const Table bad{{1, not_a_number}, {1, 2}};
  EXPECT_EQ(message(inputs.add(bad.view())), "pare: the activations at (0, 1) is not a number");
  EXPECT_EQ(inputs.samples(), 2u);
}

TEST(Sensitivity, ErrorsOfWeightsByHand) {
  const Table weights{{1, 2, 3, 4}, {2, 2}}, approximation{{1, 1, 3, 6}, {2, 2}};
  const auto error = pare::weight_error(weights.view(), approximation.view());
  ASSERT_TRUE(error);
  EXPECT_DOUBLE_EQ(error->largest_mse, 2.0);
  EXPECT_DOUBLE_EQ(error->norm, std::sqrt(5.0));
  EXPECT_NEAR(pare::sensitivity(Sensitivity::weight_error, *error), 0.5, 1e-6);
  const Table other{{1, 2}, {1, 2}};
  EXPECT_EQ(message(pare::weight_error(weights.view(), other.view())),
            "pare: the approximation is 1 x 2 where 2 x 2 is needed");
}

TEST(Sensitivity, LayersOfLowScoresLoseBits) {
  const std::array scores{3.0, 1.0, 2.0, 1.0};
  const std::array<std::size_t, 4> sizes{10, 20, 30, 40};
  const auto chosen = [&](double ratio) {
    const auto result = pare::choose_low_precision(scores, sizes, ratio);
    std::string text;
    for (const bool low : *result) text += low ? '1' : '0';
    return text;
  };
  EXPECT_EQ(chosen(0.0), "0000");
  EXPECT_EQ(chosen(0.2), "0000");
  EXPECT_EQ(chosen(0.21), "0100");
  EXPECT_EQ(chosen(0.61), "0101");
  EXPECT_EQ(chosen(0.9), "0101");
  EXPECT_EQ(chosen(0.95), "0111");
  // The last layer would fill the ratio and stays, as NNCF has it.
  EXPECT_EQ(chosen(1.0), "0111");
}

TEST(Sensitivity, SaysWhatIsWrong) {
  const std::array scores{3.0, std::nan("")};
  const std::array<std::size_t, 2> sizes{1, 2};
  EXPECT_EQ(message(pare::choose_low_precision(scores, sizes, 0.5)),
            "pare: the choice of layers needs scores and a ratio of 0 to 1");
  EXPECT_EQ(message(pare::choose_low_precision(std::span(scores).first(1), sizes, 0.5)),
            "pare: there are 1 scores for 2 layers");
  EXPECT_FALSE(pare::choose_low_precision(std::span(scores).first(1), std::span(sizes).first(1), 1.5));
}

}  // namespace
