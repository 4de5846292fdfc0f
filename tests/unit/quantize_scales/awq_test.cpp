#include "pare/quantize/awq.hpp"

#include <algorithm>
#include <array>

#include "layer.hpp"
#include "pare/quantize/awq_grid.hpp"
#include "pare/quantize/min_max_grid.hpp"
#include "pare/quantize/scheme_grid.hpp"
#include "pare/quantize/smooth_quant.hpp"

namespace {
using namespace quantize_test;
using pare::Awq;
using pare::AwqClip;
using pare::AwqGrid;
using pare::BlockGrid;
using pare::MatrixView;
using pare::RoundToNearest;
using pare::SharedInput;
using pare::SmoothQuant;

constexpr AwqGrid three_bits{.bits = 3};

TEST(AwqGrid, CoversTheBlocksOwnRange) {
  const AwqGrid grid{.bits = 4};
  const BlockGrid around = grid.fit(std::array{-1.0f, 0.25f, 2.0f});
  EXPECT_EQ(around.scale, 3.0f / 15.0f);
  EXPECT_EQ(around.shift, 5.0f);
  EXPECT_EQ(grid.encode(-1.0f, around), 0);
  EXPECT_EQ(grid.encode(2.0f, around), 15);
  // Zero lies outside of the range, and its code stays the lowest.
  const BlockGrid above = grid.fit(std::array{0.5f, 2.0f});
  EXPECT_EQ(above.scale, 1.5f / 15.0f);
  EXPECT_EQ(above.shift, 0.0f);
  EXPECT_EQ(grid.encode(2.0f, above), 15);
  const BlockGrid below = grid.fit(std::array{-2.0f, -0.5f});
  EXPECT_EQ(below.shift, 15.0f);
  EXPECT_EQ(grid.encode(-2.0f, below), 0);
}

TEST(AwqGrid, WithoutAZeroPointIsSymmetric) {
  const AwqGrid grid{.bits = 8, .zero_point = false};
  const BlockGrid fitted = grid.fit(std::array{-1.0f, 2.54f});
  EXPECT_EQ(fitted.scale, 2.54f / 127.0f);
  EXPECT_EQ(fitted.shift, 128.0f);
  EXPECT_EQ(grid.encode(2.54f, fitted), 255);
  EXPECT_EQ(grid.encode(0.0f, fitted), 128);
  EXPECT_EQ(grid.decode(1, fitted), -127.0f * fitted.scale);
  EXPECT_EQ(grid.encode(-1e30f, fitted), 0);
}

TEST(AwqGrid, ZerosHaveAScale) {
  for (const bool zero_point : {false, true}) {
    const AwqGrid grid{.bits = 4, .zero_point = zero_point};
    const BlockGrid fitted = grid.fit(std::array{0.0f, -0.0f});
    EXPECT_EQ(fitted.scale, 1e-5f / (zero_point ? 15.0f : 7.0f));
    EXPECT_EQ(grid.decode(grid.encode(0.0f, fitted), fitted), 0.0f);
  }
}

TEST(AwqGrid, BitsOutOfRangeAreAnError) {
  const Table weights = random_table({2, 4}, 1);
  EXPECT_FALSE(RoundToNearest{}(AwqGrid{.bits = 1, .zero_point = false}, weights.view()));
  EXPECT_FALSE(RoundToNearest{}(AwqGrid{.bits = 9}, weights.view()));
  EXPECT_TRUE(RoundToNearest{}(AwqGrid{.bits = 1}, weights.view()));
}

TEST(AwqGrid, AWholeMatrixHasOneScale) {
  const Table weights = random_table({5, 7}, 2);
  const pare::WholeMatrix<AwqGrid> grid{{.bits = 8, .zero_point = false}};
  const auto matrix = RoundToNearest{.group = 2}(grid, weights.view());
  ASSERT_TRUE(matrix);
  EXPECT_EQ(matrix->grid, (pare::Shape{1, 1}));
  float largest = 0.0f;
  for (const float x : weights.values) largest = std::max(largest, std::fabs(x));
  EXPECT_EQ(matrix->scales()(0, 0), largest / 127.0f);
}

class AwqLayer : public ::testing::Test {
 protected:
  Table weights = random_table({24, 48}, 3);
  Table inputs = random_inputs({96, 48}, 4);
  std::vector<float> magnitudes = mean_magnitudes(inputs);
  pare::SecondMoment<double> seen = moment(inputs);
  std::vector<MatrixView<const float>> layers{std::as_const(weights).view()};
  Awq awq{.group = 16};
};

TEST_F(AwqLayer, ScalesLowerTheError) {
  const auto found = awq.search(three_bits, layers, magnitudes, seen);
  ASSERT_TRUE(found) << message(found);
  const auto plain = RoundToNearest{.group = 16}(three_bits, layers[0]);
  const double outputs = 24.0 * 96.0;
  EXPECT_NEAR(found->losses[0], output_error(weights, values_of(*plain), inputs) / outputs, 1e-6 * found->losses[0]);
  EXPECT_GT(found->ratio, 0.0);
  const double least = *std::ranges::min_element(found->losses);
  EXPECT_EQ(found->losses[static_cast<std::size_t>(std::lround(found->ratio * 20))], least);
  EXPECT_LT(least, 0.8 * found->losses[0]);
  const auto [low, high] = std::ranges::minmax(found->scales);
  EXPECT_NEAR(low * high, 1.0f, 1e-5f);

  // Without clipping the layer comes out as the search measured it.
  Awq unclipped = awq;
  unclipped.clip_steps = 0;
  const std::vector<float> scales(found->scales.begin(), found->scales.end());
  const auto result = unclipped.quantize(three_bits, layers[0], scales, seen);
  ASSERT_TRUE(result) << message(result);
  EXPECT_EQ(result->limits.values().size(), 0u);
  EXPECT_NEAR(output_error(weights, values_of(result->matrix, scales), inputs) / outputs, least, 1e-5 * least);
}

TEST_F(AwqLayer, ALossOfTheCallersOwnDecides) {
  const auto outputs = [&](SharedInput rounded) -> pare::Result<double> {
    Table table{{}, rounded[0].shape()};
    for (std::size_t r = 0; r < table.shape.rows; ++r)
      for (std::size_t c = 0; c < table.shape.cols; ++c) table.values.push_back(rounded[0](r, c));
    return output_error(weights, table, inputs);
  };
  const auto own = awq.search(three_bits, layers, magnitudes, outputs);
  const auto built_in = awq.search(three_bits, layers, magnitudes, seen);
  ASSERT_TRUE(own && built_in);
  EXPECT_EQ(own->ratio, built_in->ratio);

  int calls = 0;
  const auto prefers_the_third = [&](SharedInput) -> pare::Result<double> { return ++calls == 3 ? 0.0 : 1.0; };
  const auto third = awq.search(three_bits, layers, magnitudes, prefers_the_third);
  ASSERT_TRUE(third);
  EXPECT_EQ(calls, 20);
  EXPECT_DOUBLE_EQ(third->ratio, 0.1);
}

TEST_F(AwqLayer, LayersShareTheirScales) {
  const Table other = random_table({8, 48}, 5);
  const std::vector<MatrixView<const float>> both{layers[0], other.view()};
  const auto found = awq.search(three_bits, both, magnitudes, seen);
  ASSERT_TRUE(found) << message(found);
  const auto first = RoundToNearest{.group = 16}(three_bits, both[0]);
  const auto second = RoundToNearest{.group = 16}(three_bits, both[1]);
  const double sum = output_error(weights, values_of(*first), inputs) + output_error(other, values_of(*second), inputs);
  EXPECT_NEAR(found->losses[0], sum / (32.0 * 96.0), 1e-6 * found->losses[0]);
}

TEST_F(AwqLayer, ClippingNeverHurtsItsOwnBlock) {
  const AwqClip clip{.group = 0};
  for (const int bits : {2, 3, 4}) {
    const AwqGrid grid{.bits = bits};
    const auto limits = clip(grid, layers[0], seen);
    ASSERT_TRUE(limits) << message(limits);
    Table clipped = weights;
    ASSERT_TRUE(pare::clip_groups(clipped.view(), *limits, 0));
    const auto before = RoundToNearest{}(grid, layers[0]);
    const auto after = RoundToNearest{}(grid, std::as_const(clipped).view());
    EXPECT_LE(output_error(weights, values_of(*after), inputs),
              (1 + 1e-12) * output_error(weights, values_of(*before), inputs));
    for (std::size_t r = 0; r < 24; ++r) {
      float largest = 0.0f;
      for (std::size_t c = 0; c < 48; ++c) largest = std::max(largest, std::fabs(weights(r, c)));
      EXPECT_LE((*limits)(r, 0), largest);
      EXPECT_GT((*limits)(r, 0), 0.5f * largest);
    }
  }
}

TEST_F(AwqLayer, ClippingWeighsErrorsByTheScales) {
  const std::vector<float> scales(48, 4.0f);
  Table scaled = weights;
  ASSERT_TRUE(pare::scale_inputs(scaled.view(), scales));
  const AwqClip clip{.group = 16};
  const auto plain = clip(three_bits, layers[0], seen),
             again = clip(three_bits, std::as_const(scaled).view(), seen, scales);
  ASSERT_TRUE(plain && again);
  for (std::size_t i = 0; i < plain->values().size(); ++i) EXPECT_EQ(again->values()[i], 4.0f * plain->values()[i]);
}

TEST_F(AwqLayer, NothingDependsOnThreadsOrStrides) {
  const pare::Options threads{.executor = two_threads};
  Table many = random_table({700, 200}, 6);
  const Table tokens = random_inputs({64, 200}, 7);
  const auto gathered = moment(tokens);
  const Awq algorithm{.steps = 4, .clip_steps = 4, .group = 48};
  const Transposed transposed(many);
  const std::vector<MatrixView<const float>> rows{std::as_const(many).view()}, columns{transposed.view()};
  const auto one = algorithm.search(three_bits, rows, mean_magnitudes(tokens), gathered);
  const auto two = algorithm.search(three_bits, columns, mean_magnitudes(tokens), gathered, threads);
  ASSERT_TRUE(one && two) << message(one) << message(two);
  EXPECT_TRUE(std::ranges::equal(one->losses, two->losses));
  EXPECT_TRUE(std::ranges::equal(one->scales, two->scales));
  const auto first = algorithm.quantize(three_bits, rows[0], one->scales.values(), gathered);
  const auto second = algorithm.quantize(three_bits, columns[0], one->scales.values(), gathered, threads);
  ASSERT_TRUE(first && second) << message(first) << message(second);
  EXPECT_TRUE(same(first->matrix, second->matrix));
  EXPECT_TRUE(std::ranges::equal(first->limits.values(), second->limits.values()));
  // 200 columns are four groups of 48 and one of 8.
  EXPECT_EQ(first->limits.shape(), (pare::Shape{700, 5}));
}

TEST_F(AwqLayer, TakesOtherGrids) {
  EXPECT_TRUE(awq.search(pare::MinMaxGrid{.bits = 4}, layers, magnitudes, seen));
  using W4 = pare::Scheme<4, pare::Symmetric, pare::PerGroup<32>>;
  const std::vector<float> ones(48, 1.0f);
  const auto result = Awq{}.quantize(pare::SchemeGrid<W4>{}, layers[0], ones, seen);
  ASSERT_TRUE(result) << message(result);
  EXPECT_EQ(result->limits.shape(), (pare::Shape{24, 2}));
  EXPECT_EQ(message(AwqClip{}(pare::WholeMatrix<AwqGrid>{}, layers[0], seen)),
            "pare: clipping needs a grid whose scales are of one row each");
}

TEST_F(AwqLayer, DeadChannelsAndEmptyLayersPass) {
  for (std::size_t t = 0; t < inputs.shape.rows; ++t) inputs(t, 5) = 0.0f;
  const auto found = awq.search(three_bits, layers, mean_magnitudes(inputs), moment(inputs));
  ASSERT_TRUE(found) << message(found);
  for (const float scale : found->scales) EXPECT_TRUE(scale > 0.0f && scale < infinity);
  const std::vector<MatrixView<const float>> none{{nullptr, 0, 48}};
  EXPECT_TRUE(awq.search(three_bits, none, magnitudes, seen));
  const std::vector<float> ones(48, 1.0f);
  const auto empty = awq.quantize(three_bits, none[0], ones, seen);
  ASSERT_TRUE(empty) << message(empty);
  EXPECT_EQ(empty->matrix.shape, (pare::Shape{0, 48}));
}

TEST_F(AwqLayer, SaysWhatIsWrong) {
  const auto search = [&] { return message(awq.search(three_bits, layers, magnitudes, seen)); };
  magnitudes[7] = not_a_number;
  EXPECT_EQ(search(), "pare: number 7 of the mean magnitudes is no finite number of 0 or more");
  magnitudes[7] = -1.0f;
  EXPECT_EQ(search(), "pare: number 7 of the mean magnitudes is no finite number of 0 or more");
  magnitudes.pop_back();
  EXPECT_EQ(search(), "pare: the moment is of 48 channels, the weights have 47");
  magnitudes = mean_magnitudes(inputs);
  awq.steps = 0;
  EXPECT_EQ(search(), "pare: AWQ has at least one ratio to try");
  awq.steps = 20;
  weights(3, 4) = infinity;
  EXPECT_EQ(search(), "pare: the weight at (3, 4) is infinite");
  weights(3, 4) = 0.0f;
  const auto nothing = pare::SecondMoment<double>::create(48);
  EXPECT_EQ(message(awq.search(three_bits, layers, magnitudes, *nothing)),
            "pare: AWQ needs inputs: the moment has seen no token");
  EXPECT_EQ(message(awq.search(three_bits, {}, magnitudes, seen)), "pare: there is no layer to scale");
  const std::vector<float> narrow(40, 1.0f);
  const auto any_loss = [](SharedInput) -> pare::Result<double> { return 1.0; };
  EXPECT_EQ(message(awq.search(three_bits, layers, narrow, any_loss)),
            "pare: the weight is 24 x 48 where 24 x 40 is needed");
  const auto no_number = [](SharedInput) -> pare::Result<double> { return std::numeric_limits<double>::quiet_NaN(); };
  EXPECT_EQ(message(awq.search(three_bits, layers, magnitudes, no_number)),
            "pare: AWQ's loss is not a finite number at any ratio");
  const auto fails = [](SharedInput) -> pare::Result<double> {
    return pare::Error{pare::ErrorCode::cancelled, "pare: enough"};
  };
  EXPECT_EQ(message(awq.search(three_bits, layers, magnitudes, fails)), "pare: enough");

  std::vector<float> scales(48, 1.0f);
  scales[2] = 0.0f;
  EXPECT_EQ(message(awq.quantize(three_bits, layers[0], scales, seen)),
            "pare: number 2 of the scales is no finite number greater than 0");
  scales.pop_back();
  EXPECT_EQ(message(awq.quantize(three_bits, layers[0], scales, seen)), "pare: there are 47 scales for 48 channels");
}

TEST(ClipGroups, ClipsEachGroupToItsOwnLimit) {
  Table weights{{3, -4, 5, 1, -1, 2}, {2, 3}};
  const Table limits{{3.5f, 2.0f, 0.0f, -1.5f}, {2, 2}};
  ASSERT_TRUE(pare::clip_groups(weights.view(), limits.view(), 2));
  EXPECT_EQ(weights.values, (std::vector<float>{3, -3.5f, 2, 0, 0, 1.5f}));
  EXPECT_EQ(message(pare::clip_groups(weights.view(), limits.view(), 0)),
            "pare: the matrix of limits is 2 x 2 where 2 x 1 is needed");
}

TEST(ChannelScales, MoveFromTheLayerToItsProducer) {
  Table producer = random_table({3, 4}, 8), consumer = random_table({2, 3}, 9);
  std::vector<float> bias{1, 2, 3};
  const std::vector<float> scales{2.0f, 0.5f, 8.0f};
  const Table before_producer = producer, before_consumer = consumer;
  ASSERT_TRUE(pare::divide_outputs(producer.view(), bias, scales));
  ASSERT_TRUE(pare::scale_inputs(consumer.view(), scales));
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(producer(c, i) * scales[c], before_producer.view()(c, i));
    for (std::size_t o = 0; o < 2; ++o) EXPECT_EQ(consumer(o, c), before_consumer.view()(o, c) * scales[c]);
  }
  EXPECT_EQ(bias, (std::vector<float>{0.5f, 4.0f, 0.375f}));
  // A normalization's gain is a column.
  Table gain{{1, 1, 1}, {3, 1}};
  ASSERT_TRUE(pare::divide_outputs(gain.view(), {}, scales));
  EXPECT_EQ(gain.values, (std::vector<float>{0.5f, 2.0f, 0.125f}));
}

TEST(ChannelScales, SayWhatIsWrong) {
  Table table = random_table({3, 4}, 8);
  std::vector<float> bias(2), scales{1.0f, not_a_number, 1.0f};
  EXPECT_EQ(message(pare::divide_outputs(table.view(), {}, scales)),
            "pare: number 1 of the scales is no finite number greater than 0");
  scales[1] = 1.0f;
  EXPECT_EQ(message(pare::divide_outputs(table.view(), bias, scales)),
            "pare: the producer's bias has 2 values for 3 scales");
  EXPECT_EQ(message(pare::scale_inputs(table.view(), scales)), "pare: there are 3 scales for 4 channels");
  scales.push_back(1.0f);
  EXPECT_EQ(message(pare::divide_outputs(table.view(), {}, scales)),
            "pare: the producer's weight is 3 x 4 where 4 x 4 is needed");
  EXPECT_EQ(message(pare::scale_inputs({nullptr, 1, 4}, scales)), "pare: the weight is a null pointer");
}

TEST(SmoothQuant, BalancesInputsAndWeights) {
  const Table first{{1, -2, 4, 0}, {2, 2}}, second{{0.5f, 16.0f}, {1, 2}};
  const std::vector<MatrixView<const float>> layers{first.view(), second.view()};
  const std::vector<float> magnitudes{9.0f, 25.0f};
  const auto scales = [&](float alpha) {
    const auto result = SmoothQuant{.alpha = alpha}(layers, magnitudes);
    return std::vector<float>(result->begin(), result->end());
  };
  EXPECT_EQ(scales(0.5f), (std::vector<float>{3.0f / 2.0f, 5.0f / 4.0f}));
  EXPECT_EQ(scales(1.0f), (std::vector<float>{9.0f, 25.0f}));
  EXPECT_EQ(scales(0.0f), (std::vector<float>{1.0f / 4.0f, 1.0f / 16.0f}));
}

TEST(SmoothQuant, DeadChannelsHaveTheLeastScale) {
  const Table weights{{0, 1}, {1, 2}};
  const std::vector<MatrixView<const float>> layers{weights.view()};
  const auto scales = SmoothQuant{}(layers, std::array{4.0f, 0.0f});
  ASSERT_TRUE(scales);
  EXPECT_NEAR((*scales)[0], 2.0f / std::sqrt(1e-5f), 1e-3f);
  EXPECT_EQ((*scales)[1], 1e-5f);
}

TEST(SmoothQuant, LowersTheErrorOfActivationsOfEightBits) {
  const Table weights = random_table({16, 44}, 10), inputs = random_inputs({32, 44}, 11);
  std::vector<float> largest(44);
  for (std::size_t i = 0; i < inputs.values.size(); ++i)
    largest[i % 44] = std::max(largest[i % 44], std::fabs(inputs.values[i]));
  const std::vector<MatrixView<const float>> layers{weights.view()};
  const auto scales = SmoothQuant{}(layers, largest);
  ASSERT_TRUE(scales);
  Table smooth_weights = weights, smooth_inputs = inputs;
  ASSERT_TRUE(pare::scale_inputs(smooth_weights.view(), scales->values()));
  for (std::size_t i = 0; i < inputs.values.size(); ++i) smooth_inputs.values[i] /= (*scales)[i % 44];
  const pare::WholeMatrix<AwqGrid> grid{{.bits = 8, .zero_point = false}};
  const auto error = [&](const Table& w, const Table& x) {
    const Table rounded_w = values_of(*RoundToNearest{}(AwqGrid{.bits = 8, .zero_point = false}, w.view()));
    const Table rounded_x = values_of(*RoundToNearest{}(grid, x.view()));
    double total = 0.0;
    for (std::size_t t = 0; t < 32; ++t)
      for (std::size_t r = 0; r < 16; ++r) {
        double sum = 0.0;
        for (std::size_t c = 0; c < 44; ++c)
          sum += static_cast<double>(rounded_w.view()(r, c)) * static_cast<double>(rounded_x.view()(t, c)) -
                 static_cast<double>(weights.view()(r, c)) * static_cast<double>(inputs.view()(t, c));
        total += sum * sum;
      }
    return total;
  };
  EXPECT_LT(error(smooth_weights, smooth_inputs), 0.5 * error(weights, inputs));
}

TEST(SmoothQuant, SaysWhatIsWrong) {
  Table weights = random_table({2, 3}, 12);
  const std::vector<MatrixView<const float>> layers{std::as_const(weights).view()};
  const std::vector<float> magnitudes(3, 1.0f);
  EXPECT_EQ(message(SmoothQuant{.alpha = 1.5f}(layers, magnitudes)), "pare: SmoothQuant's alpha lies between 0 and 1");
  EXPECT_FALSE(SmoothQuant{.alpha = not_a_number}(layers, magnitudes));
  EXPECT_EQ(message(SmoothQuant{}(layers, std::array{1.0f, infinity, 1.0f})),
            "pare: number 1 of the largest magnitudes is no finite number of 0 or more");
  EXPECT_EQ(message(SmoothQuant{}(layers, std::array{1.0f})), "pare: the weight is 2 x 3 where 2 x 1 is needed");
  weights(1, 1) = not_a_number;
  EXPECT_EQ(message(SmoothQuant{}(layers, magnitudes)), "pare: the weight at (1, 1) is not a number");
}

}  // namespace
