#include <algorithm>
#include <array>
#include <set>

#include "../quantize_scales/layer.hpp"
#include "pare/quantize/additive_quantizer.hpp"
#include "pare/quantize/double_quantization.hpp"
#include "pare/quantize/half_quadratic.hpp"

namespace {
using namespace quantize_test;
using pare::AdditiveBeamSearch;
using pare::AdditiveMatrix;
using pare::AdditiveQuantizer;
using pare::DoubleQuantization;
using pare::HalfQuadratic;
using pare::KMeans;
using pare::Shape;

double mean_error(const Table& weights, const pare::CodedMatrix& matrix) {
  double sum = 0.0;
  const Table values = values_of(matrix);
  for (std::size_t i = 0; i < weights.values.size(); ++i)
    sum += std::fabs(static_cast<double>(weights.values[i]) - static_cast<double>(values.values[i]));
  return sum;
}

TEST(HalfQuadratic, WithoutItsOptimizerIsTheRangesGrid) {
  const Table weights = random_table({4, 96}, 1);
  const auto matrix = HalfQuadratic{.bits = 3, .group = 32, .optimize = false}(weights.view());
  ASSERT_TRUE(matrix) << message(matrix);
  EXPECT_EQ(matrix->grid, (Shape{4, 3}));
  for (std::size_t r = 0; r < 4; ++r)
    for (std::size_t g = 0; g < 3; ++g) {
      const auto [low, high] = std::ranges::minmax(std::span(weights.values).subspan(r * 96 + g * 32, 32));
      const pare::HqqParameters p = pare::hqq_parameters(low, high, 3);
      EXPECT_EQ(matrix->scales()(r, g), p.scale);
      EXPECT_EQ(matrix->shifts()(r, g), p.zero);
      for (std::size_t c = 0; c < 32; ++c)
        EXPECT_EQ(matrix->codes()(r, g * 32 + c), pare::hqq_code(weights.view()(r, g * 32 + c), p, 3));
    }
  const auto rounded = HalfQuadratic{.bits = 3, .group = 32, .optimize = false, .round_zero = true}(weights.view());
  for (std::size_t i = 0; i < 12; ++i) EXPECT_EQ(rounded->shifts().data[i], std::nearbyint(matrix->shifts().data[i]));
}

TEST(HalfQuadratic, TheOptimizerLowersTheMeanError) {
  const Table weights = random_table({16, 128}, 2);
  for (const int axis : {0, 1})
    for (const double bits : {1.58, 2.0, 3.0, 4.0, 8.0}) {
      HalfQuadratic algorithm{.bits = bits, .axis = axis, .optimize = false};
      const auto before = algorithm(weights.view());
      algorithm.optimize = true;
      const auto after = algorithm(weights.view());
      ASSERT_TRUE(before && after) << message(before);
      EXPECT_EQ(after->shape, axis == 1 ? weights.shape : (Shape{64, 32}));
      EXPECT_LT(mean_error(weights, *after), mean_error(weights, *before)) << axis << " " << bits;
    }
}

TEST(HalfQuadratic, AFractionOfABitIsRoundedToLevels) {
  const Table weights = random_table({8, 64}, 3);
  const auto matrix = HalfQuadratic{.bits = 1.58}(weights.view());
  ASSERT_TRUE(matrix);
  EXPECT_EQ(matrix->format, pare::unsigned_format(2));
  const std::span<const std::uint8_t> codes(matrix->codes().data, 512);
  EXPECT_EQ(*std::ranges::max_element(codes), 2);
}

TEST(HalfQuadratic, GroupsAreThoseOfItsLayout) {
  for (const int axis : {0, 1})
    for (const Shape shape : {Shape{6, 64}, {32, 6}, {12, 48}, {32, 32}, {0, 64}, {64, 0}}) {
      const Table weights = random_table(shape, 4);
      const auto matrix = HalfQuadratic{.axis = axis, .group = 32}(weights.view());
      ASSERT_TRUE(matrix) << message(matrix);
      const pare::Hqq layout{.bits = 4, .axis = axis, .group_size = 32, .shape = shape};
      const auto parts = layout.write(*matrix);
      ASSERT_TRUE(parts) << message(parts);
      std::vector<pare::PartView> views;
      for (const pare::Part& part : *parts) views.push_back(part.view());
      const auto back = layout.read(views);
      ASSERT_TRUE(back) << message(back);
      EXPECT_TRUE(same(*matrix, *back)) << axis << ": " << shape.rows << " x " << shape.cols;
    }
  // Without a size, a group is a row or a column.
  const Table weights = random_table({6, 10}, 5);
  EXPECT_EQ(HalfQuadratic{.group = 0}(weights.view())->grid, (Shape{6, 1}));
  EXPECT_EQ((HalfQuadratic{.axis = 0, .group = 0}(weights.view())->grid), (Shape{1, 10}));
}

TEST(HalfQuadratic, EqualWeightsAreExact) {
  for (const float x : {0.0f, -0.0f, 3.0f, -1e-6f}) {
    const std::vector<float> weights(64, x);
    const auto matrix = HalfQuadratic{}({weights.data(), 1, 64});
    ASSERT_TRUE(matrix);
    EXPECT_EQ(matrix->scales()(0, 0), 1.0f);
    EXPECT_FLOAT_EQ(matrix->value(0, 0), x);
  }
}

TEST(HalfQuadratic, NothingDependsOnThreadsOrStrides) {
  const Table weights = random_table({600, 256}, 6);
  const Transposed turned(weights);
  for (const int axis : {0, 1}) {
    const HalfQuadratic algorithm{.axis = axis, .iterations = 3};
    const auto one = algorithm(weights.view()), two = algorithm(turned.view(), {.executor = two_threads});
    ASSERT_TRUE(one && two);
    EXPECT_TRUE(same(*one, *two));
  }
}

TEST(HalfQuadratic, SaysWhatIsWrong) {
  Table weights = random_table({2, 96}, 7);
  const auto run = [&](const HalfQuadratic& algorithm) { return message(algorithm(std::as_const(weights).view())); };
  const std::string options = "pare: HQQ needs 1 to 8 bits";
  for (const double bits : {0.0, 8.5, -1.0, static_cast<double>(not_a_number), static_cast<double>(infinity)})
    EXPECT_EQ(run({.bits = bits}).substr(0, options.size()), options) << bits;
  EXPECT_EQ(run({.axis = 2}).substr(0, options.size()), options);
  EXPECT_EQ(run({.norm = 0.0f}).substr(0, options.size()), options);
  EXPECT_EQ(run({.beta = not_a_number}).substr(0, options.size()), options);
  EXPECT_EQ(run({.group = 80}), "pare: 2 x 96 weights are no groups of 80");
  weights(1, 3) = not_a_number;
  EXPECT_EQ(run({}), "pare: the weight at (1, 3) is not a number");
  weights(1, 3) = 3e38f;
  weights(1, 4) = -3e38f;
  EXPECT_EQ(run({.group = 96}), "pare: the weights of group 1 span too far for a scale");
}

TEST(KMeans, FindsTwoCrowds) {
  Table points = random_table({60, 3}, 8);
  for (std::size_t i = 0; i < 60; i += 2)
    for (std::size_t d = 0; d < 3; ++d) points(i, d) += 100.0f;
  const auto start = pare::farthest_points(std::as_const(points).view(), 2);
  ASSERT_TRUE(start);
  EXPECT_EQ((*start)(0, 0), points(0, 0));
  EXPECT_LT((*start)(1, 0), 50.0f);
  const auto clusters = KMeans{}(std::as_const(points).view(), std::as_const(*start).view());
  ASSERT_TRUE(clusters) << message(clusters);
  for (std::size_t i = 0; i < 60; ++i) EXPECT_EQ(clusters->assignments[i], i % 2);
  for (std::size_t d = 0; d < 3; ++d) {
    double mean = 0.0;
    for (std::size_t i = 0; i < 60; i += 2) mean += static_cast<double>(points(i, d)) / 30.0;
    EXPECT_NEAR(clusters->centers(0, d), mean, 1e-4);
  }
  EXPECT_EQ(clusters->iterations, 11);
}

TEST(KMeans, CentresWithoutPointsStayAndTiesGoFirst) {
  const std::vector<float> points{-1, 0, 1}, centers{-1, 1, 50};
  const auto clusters = KMeans{.iterations = 1}({points.data(), 3, 1}, {centers.data(), 3, 1});
  ASSERT_TRUE(clusters);
  EXPECT_EQ(clusters->centers(0, 0), -0.5f);
  EXPECT_EQ(clusters->centers(1, 0), 1.0f);
  EXPECT_EQ(clusters->centers(2, 0), 50.0f);
  const auto none = KMeans{.iterations = 0}({points.data(), 3, 1}, {centers.data(), 3, 1});
  EXPECT_EQ(none->centers(0, 0), -1.0f);
  EXPECT_EQ(none->assignments[1], 0u);
}

TEST(KMeans, NothingDependsOnThreads) {
  const Table points = random_table({5000, 4}, 9);
  const auto start = pare::random_points(points.view(), 64, 3);
  const auto one = KMeans{.iterations = 5}(points.view(), std::as_const(*start).view());
  const auto two = KMeans{.iterations = 5}(points.view(), std::as_const(*start).view(), {.executor = two_threads});
  ASSERT_TRUE(one && two);
  EXPECT_TRUE(std::ranges::equal(one->assignments, two->assignments));
  EXPECT_TRUE(std::ranges::equal(one->centers.values(), two->centers.values()));
}

TEST(KMeans, RandomPointsAreDifferentOnes) {
  Table points{{}, {40, 1}};
  for (int i = 0; i < 40; ++i) points.values.push_back(static_cast<float>(i));
  const auto some = pare::random_points(std::as_const(points).view(), 40, 1);
  ASSERT_TRUE(some);
  EXPECT_EQ(std::set<float>(some->values().begin(), some->values().end()).size(), 40u);
  const auto again = pare::random_points(std::as_const(points).view(), 40, 1);
  EXPECT_TRUE(std::ranges::equal(some->values(), again->values()));
  EXPECT_FALSE(std::ranges::equal(some->values(), pare::random_points(std::as_const(points).view(), 40, 2)->values()));
  EXPECT_EQ(message(pare::random_points(std::as_const(points).view(), 41, 1)),
            "pare: 40 points have no 41 first centres among them");
  EXPECT_FALSE(pare::farthest_points(std::as_const(points).view(), 0));
}

TEST(KMeans, SaysWhatIsWrong) {
  Table points = random_table({4, 2}, 10);
  const Table centers = random_table({2, 3}, 11);
  EXPECT_EQ(message(KMeans{}(std::as_const(points).view(), centers.view())),
            "pare: the matrix of centres is 2 x 3 where 2 x 2 is needed");
  EXPECT_FALSE(KMeans{.check_every = 0}(std::as_const(points).view(), {centers.values.data(), 2, 2}));
  EXPECT_FALSE(KMeans{}(std::as_const(points).view(), {centers.values.data(), 0, 2}));
  points(2, 1) = infinity;
  EXPECT_EQ(message(KMeans{}(std::as_const(points).view(), {centers.values.data(), 2, 2})),
            "pare: the point at (2, 1) is infinite");
}

AdditiveMatrix copy(const AdditiveMatrix& matrix) {
  AdditiveMatrix result{.shape = matrix.shape,
                        .group = matrix.group,
                        .codebooks = matrix.codebooks,
                        .vectors = matrix.vectors,
                        .codes_memory = {},
                        .values_memory = {},
                        .scales_memory = {},
                        .value_type = matrix.value_type};
  const auto clone = [](const pare::Buffer& from, pare::Buffer& to) {
    to = *pare::Buffer::allocate(from.size());
    std::copy_n(from.data(), from.size(), to.data());
  };
  clone(matrix.codes_memory, result.codes_memory);
  clone(matrix.values_memory, result.values_memory);
  clone(matrix.scales_memory, result.scales_memory);
  return result;
}

void set_code(AdditiveMatrix& matrix, std::size_t place, std::size_t code) {
  reinterpret_cast<std::uint16_t*>(matrix.codes_memory.data())[place] = static_cast<std::uint16_t>(code);
}

TEST(AdditiveBeamSearch, AWideBeamFindsTheBestOfAll) {
  const Table weights = random_table({5, 4}, 12), inputs = random_inputs({12, 4}, 13);
  const AdditiveQuantizer quantizer{.codebooks = 2, .bits = 3, .group = 4};
  auto matrix = quantizer.start(random_table({40, 4}, 14).view());
  ASSERT_TRUE(matrix) << message(matrix);
  matrix->shape = weights.shape;
  auto cut = [](pare::Buffer& buffer, std::size_t bytes) {
    pare::Buffer shorter = *pare::Buffer::allocate(bytes);
    std::copy_n(buffer.data(), bytes, shorter.data());
    buffer = std::move(shorter);
  };
  cut(matrix->codes_memory, std::size_t{10} * sizeof(std::uint16_t));
  cut(matrix->scales_memory, std::size_t{5} * sizeof(float));
  AdditiveMatrix found = copy(*matrix), best = copy(*matrix);
  ASSERT_TRUE(AdditiveBeamSearch{.beam = 8}(weights.view(), moment(inputs), found));
  for (std::size_t r = 0; r < 5; ++r) {
    double least = std::numeric_limits<double>::infinity();
    std::size_t first = 0, second = 0;
    for (std::size_t a = 0; a < 8; ++a)
      for (std::size_t b = 0; b < 8; ++b) {
        set_code(best, 2 * r, a);
        set_code(best, 2 * r + 1, b);
        const double error = output_error(weights, values_of(best), inputs);
        if (error < least) {
          least = error;
          first = a;
          second = b;
        }
      }
    set_code(best, 2 * r, first);
    set_code(best, 2 * r + 1, second);
    EXPECT_EQ(found.code(r, 0, 0), first) << r;
    EXPECT_EQ(found.code(r, 0, 1), second) << r;
  }
}

class Additive : public ::testing::Test {
 protected:
  Table weights = random_table({30, 32}, 15);
  Table inputs = random_inputs({64, 32}, 16);
  pare::SecondMoment<double> seen = moment(inputs);
  AdditiveQuantizer quantizer{.codebooks = 2, .bits = 4, .group = 8, .steps = 20, .epochs = 4};

  double error(const AdditiveMatrix& matrix) { return output_error(weights, values_of(matrix), inputs); }
};

TEST_F(Additive, TheSearchNeverRaisesTheError) {
  auto matrix = quantizer.start(std::as_const(weights).view());
  ASSERT_TRUE(matrix) << message(matrix);
  double before = error(*matrix);
  for (const std::size_t beam : {1u, 4u, 1u}) {
    ASSERT_TRUE(AdditiveBeamSearch{.beam = beam}(std::as_const(weights).view(), seen, *matrix));
    EXPECT_LE(error(*matrix), (1 + 1e-6) * before);
    before = error(*matrix);
  }
}

TEST_F(Additive, TheStartIsAResidualClustering) {
  const auto one = AdditiveQuantizer{.codebooks = 1, .bits = 4, .group = 8}.start(std::as_const(weights).view());
  const auto two = quantizer.start(std::as_const(weights).view());
  ASSERT_TRUE(one && two);
  EXPECT_EQ(two->value_type, pare::ScaleType::float32);
  const auto squares = [&](const AdditiveMatrix& matrix) {
    const Table values = values_of(matrix);
    double sum = 0.0;
    for (std::size_t i = 0; i < values.values.size(); ++i)
      sum += std::pow(static_cast<double>(values.values[i] - weights.values[i]), 2);
    return sum;
  };
  EXPECT_LT(squares(*two), 0.8 * squares(*one));
  // As many vectors as groups hold all of them.
  const auto exact = AdditiveQuantizer{.codebooks = 1, .bits = 7, .group = 8}.start(std::as_const(weights).view());
  ASSERT_TRUE(exact);
  EXPECT_LT(squares(*exact), 1e-8);
}

TEST_F(Additive, TrainingLowersTheError) {
  const auto start = quantizer.start(std::as_const(weights).view());
  const auto result = quantizer(std::as_const(weights).view(), seen);
  ASSERT_TRUE(result) << message(result);
  EXPECT_EQ(result->epochs, 4);
  const double outputs = 30.0 * 64.0;
  EXPECT_NEAR(result->first_loss, error(*start) / outputs, 1e-5 * result->first_loss);
  EXPECT_NEAR(result->loss, error(result->matrix) / outputs, 1e-4 * result->loss);
  EXPECT_LT(result->loss, 0.5 * result->first_loss);
  // A tolerance that nothing meets ends training after the first epoch.
  AdditiveQuantizer short_training = quantizer;
  short_training.tolerance = 1.0;
  EXPECT_EQ(short_training(std::as_const(weights).view(), seen)->epochs, 1);
}

TEST_F(Additive, FloatMomentsWillDo) {
  auto floats = pare::SecondMoment<float>::create(32);
  ASSERT_TRUE(floats && floats->add(std::as_const(inputs).view()));
  const auto result = quantizer(std::as_const(weights).view(), *floats);
  ASSERT_TRUE(result) << message(result);
  EXPECT_LT(result->loss, 0.5 * result->first_loss);
}

TEST_F(Additive, NothingDependsOnThreadsOrStrides) {
  weights = random_table({150, 32}, 17);
  quantizer.beam = 2;
  quantizer.epochs = 1;
  const Transposed turned(weights);
  const auto one = quantizer(std::as_const(weights).view(), seen);
  const auto two = quantizer(turned.view(), seen, {.executor = two_threads});
  ASSERT_TRUE(one && two) << message(one) << message(two);
  EXPECT_TRUE(same(one->matrix, two->matrix));
  EXPECT_EQ(one->loss, two->loss);
}

TEST_F(Additive, ZerosAndNoRowsPass) {
  std::ranges::fill(weights.values, 0.0f);
  const auto zeros = quantizer(std::as_const(weights).view(), seen);
  ASSERT_TRUE(zeros) << message(zeros);
  EXPECT_EQ(zeros->loss, 0.0);
  const auto empty = quantizer({nullptr, 0, 32}, seen);
  ASSERT_TRUE(empty) << message(empty);
  EXPECT_EQ(empty->matrix.shape, (Shape{0, 32}));
}

TEST_F(Additive, SaysWhatIsWrong) {
  const auto run = [&](const AdditiveQuantizer& algorithm) {
    return message(algorithm(std::as_const(weights).view(), seen));
  };
  EXPECT_EQ(run({.group = 5}),
            "pare: additive quantization needs codebooks of 1 to 16 bits and a group that divides 32 columns");
  EXPECT_FALSE(AdditiveQuantizer{.bits = 17}.start(std::as_const(weights).view()));
  EXPECT_FALSE(AdditiveQuantizer{.codebooks = 0}.start(std::as_const(weights).view()));
  EXPECT_EQ(run({.bits = 2, .learning_rate = 0.0}),
            "pare: training needs a positive learning rate, steps and a tolerance");
  EXPECT_EQ(run({.bits = 2, .learning_rate = 1e38}),
            "pare: the loss of additive quantization is not finite; lower the learning rate");
  EXPECT_EQ(run({.bits = 2, .beam = 0}), "pare: a beam keeps at least one version of a row");

  auto matrix = quantizer.start(std::as_const(weights).view());
  ASSERT_TRUE(matrix);
  const AdditiveBeamSearch search;
  const auto nothing = pare::SecondMoment<double>::create(32);
  EXPECT_EQ(
      message(search(std::as_const(weights).view(), *nothing, *matrix)),
      "pare: additive codebooks need the moment of some inputs, of 32 channels; this one is of 32, from 0 tokens");
  set_code(*matrix, 3, 16);
  EXPECT_EQ(message(search(std::as_const(weights).view(), seen, *matrix)),
            "pare: the matrix has a code 16 of 16 vectors");
  set_code(*matrix, 3, 0);
  matrix->group = {2, 4};
  EXPECT_EQ(message(search(std::as_const(weights).view(), seen, *matrix)),
            "pare: additive codebooks need groups within rows that divide them, and 1 to 65536 vectors");
  matrix->group = {1, 8};
  matrix->scales_memory = {};
  EXPECT_EQ(message(search(std::as_const(weights).view(), seen, *matrix)),
            "pare: the matrix of codebooks lacks codes, values or scales");
  weights(2, 2) = not_a_number;
  EXPECT_EQ(run({}), "pare: the weight at (2, 2) is not a number");
}

TEST(DoubleQuantization, IsWhatBitsandbytesStores) {
  for (const Shape shape : {Shape{24, 192}, {7, 40}, {1, 3}, {0, 64}}) {
    const Table weights = random_table(shape, 18);
    const auto result = DoubleQuantization{.nested_block = 16}(weights.view());
    ASSERT_TRUE(result) << message(result);
    EXPECT_EQ(result->matrix.shape, shape.cols % 64 == 0 ? shape : (Shape{1, shape.rows * shape.cols}));
    const pare::Bitsandbytes4Bit layout{.shape = shape,
                                        .nested = true,
                                        .nested_offset = result->offset,
                                        .nested_blocksize = 16,
                                        .nested_absmax = result->nested.values()};
    const auto parts = layout.write(result->matrix);
    ASSERT_TRUE(parts) << message(parts);
    std::vector<pare::PartView> views;
    for (const pare::Part& part : *parts) views.push_back(part.view());
    const auto back = layout.read(views);
    ASSERT_TRUE(back) << message(back);
    EXPECT_TRUE(same(result->matrix, *back));
  }
}

TEST(DoubleQuantization, MovesEachAbsmaxByLittle) {
  const Table weights = random_table({16, 256}, 19);
  const auto result = DoubleQuantization{}(weights.view());
  ASSERT_TRUE(result);
  for (std::size_t i = 0; i < 64; ++i) {
    float absmax = 0.0f;
    for (const float x : std::span(weights.values).subspan(i * 64, 64)) absmax = std::max(absmax, std::fabs(x));
    // The map's values lie at most 1 / 64 apart.
    EXPECT_NEAR(result->matrix.scales().data[i], absmax, result->nested[0] / 128);
  }
  EXPECT_DOUBLE_EQ(DoubleQuantization{}.bits_per_weight(), 4.126953125);
}

TEST(DoubleQuantization, ZerosThreadsAndStrides) {
  const std::vector<float> zeros(130);
  const auto nothing = DoubleQuantization{}({zeros.data(), 1, 130});
  ASSERT_TRUE(nothing);
  for (std::size_t c = 0; c < 130; ++c) EXPECT_EQ(nothing->matrix.value(0, c), 0.0f);
  const Table weights = random_table({100, 1000}, 20);
  const Transposed turned(weights);
  const DoubleQuantization algorithm{.block = 40};
  const auto one = algorithm(weights.view()), two = algorithm(turned.view(), {.executor = two_threads});
  ASSERT_TRUE(one && two);
  EXPECT_TRUE(same(one->matrix, two->matrix));
}

TEST(DoubleQuantization, SaysWhatIsWrong) {
  Table weights = random_table({2, 64}, 21);
  EXPECT_EQ(message(DoubleQuantization{.block = 0}(std::as_const(weights).view())),
            "pare: double quantization needs blocks of at least one element");
  EXPECT_FALSE(DoubleQuantization{.nested_block = 0}(std::as_const(weights).view()));
  weights(1, 1) = infinity;
  EXPECT_EQ(message(DoubleQuantization{}(std::as_const(weights).view())), "pare: the weight at (1, 1) is infinite");
}

}  // namespace
