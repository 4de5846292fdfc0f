#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pare/quantize/adaround.hpp"
#include "pare/quantize/min_max_grid.hpp"
#include "pare/quantize/obq.hpp"
#include "pare/quantize/scheme_grid.hpp"

namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();

struct Threads {
  void operator()(std::size_t count, pare::Task task) const {
    std::vector<std::thread> pool;
    for (std::size_t t = 0; t < 2; ++t)
      pool.emplace_back([=] {
        for (std::size_t i = count; i-- > 0;)
          if (i % 2 == t) task(i);
      });
    for (std::thread& thread : pool) thread.join();
  }
};

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

/// 20 rows of 24 weights and 64 tokens whose channels go along with each other.
struct Layer {
  static constexpr std::size_t rows = 20, cols = 24, tokens = 64;
  std::vector<float> weight = normal(rows * cols, 1), x = normal(tokens * cols, 2);
  pare::SecondMoment<double> moment = *pare::SecondMoment<double>::create(cols);

  Layer() {
    for (std::size_t t = 0; t < tokens; ++t)
      for (std::size_t c = 1; c < cols; ++c) x[t * cols + c] += 0.8f * x[t * cols + c - 1];
    EXPECT_TRUE(moment.add(pare::MatrixView<const float>(x.data(), tokens, cols)));
  }
  [[nodiscard]] pare::MatrixView<const float> view() const { return {weight.data(), rows, cols}; }
  /// The squared error of the outputs of all tokens.
  [[nodiscard]] double error(const pare::CodedMatrix& matrix) const {
    double sum = 0;
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t t = 0; t < tokens; ++t) {
        double output = 0;
        for (std::size_t c = 0; c < cols; ++c)
          output += static_cast<double>(matrix.value(r, c) - view()(r, c)) * static_cast<double>(x[t * cols + c]);
        sum += output * output;
      }
    return sum;
  }
};

std::vector<std::uint8_t> codes(const pare::CodedMatrix& matrix) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(matrix.codes_memory.data());
  return {bytes, bytes + matrix.codes_memory.size()};
}

TEST(Obq, LessErrorThanRoundToNearestAndThePredictedLoss) {
  const Layer layer;
  for (int bits = 2; bits <= 8; ++bits)
    for (const std::size_t group : {0u, 5u}) {
      const pare::MinMaxGrid grid{.bits = bits, .symmetric = false};
      const auto nearest = *pare::RoundToNearest{.group = group}(grid, layer.view());
      const auto result = pare::Obq{.group = group}(grid, layer.view(), layer.moment);
      ASSERT_TRUE(result);
      EXPECT_LT(layer.error(result->matrix), layer.error(nearest)) << bits << " bits, group " << group;
      EXPECT_NEAR(result->loss, layer.error(result->matrix), 1e-3 * result->loss);
    }
}

TEST(Obq, AnyGridAndAnyExecutor) {
  const Layer layer;
  using Nf4 = pare::SchemeGrid<pare::Scheme<pare::nf4, pare::Symmetric, pare::PerGroup<8>>>;
  const auto nearest = *pare::RoundToNearest{}(Nf4{}, layer.view());
  const auto alone = pare::Obq{}(Nf4{}, layer.view(), layer.moment);
  const Threads threads;
  const auto together = pare::Obq{.parallel_rows = 3}(Nf4{}, layer.view(), layer.moment, {.executor = threads});
  ASSERT_TRUE(alone && together);
  EXPECT_EQ(codes(alone->matrix), codes(together->matrix));
  EXPECT_EQ(alone->loss, together->loss);
  EXPECT_LT(layer.error(alone->matrix), layer.error(nearest));
}

TEST(Obq, ZerosStayZeroAndDeadChannelsDoNotMatter) {
  Layer layer;
  for (std::size_t i = 0; i < layer.weight.size(); i += 3) layer.weight[i] = 0;
  // A grid that clips, so that some weights are out of range and in a hurry.
  const pare::MinMaxGrid grid{.bits = 2, .search = pare::ClipSearch::mse()};
  const auto sparse = pare::Obq{}(grid, layer.view(), layer.moment);
  ASSERT_TRUE(sparse);
  for (std::size_t i = 0; i < layer.weight.size(); i += 3)
    EXPECT_EQ(sparse->matrix.value(i / Layer::cols, i % Layer::cols), 0.0f);
  EXPECT_LT(layer.error(sparse->matrix), layer.error(*pare::RoundToNearest{}(grid, layer.view())));

  Layer dead;
  for (std::size_t t = 0; t < Layer::tokens; ++t) dead.x[t * Layer::cols + 4] = 0;
  dead.moment = *pare::SecondMoment<double>::create(Layer::cols);
  ASSERT_TRUE(dead.moment.add(pare::MatrixView<const float>(dead.x.data(), Layer::tokens, Layer::cols)));
  const auto result = pare::Obq{}(grid, dead.view(), dead.moment);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->matrix.value(3, 4), 0.0f);
}

TEST(Obq, FewTokensNeedRetriesOrDamping) {
  const Layer layer;
  auto few = *pare::SecondMoment<double>::create(Layer::cols);
  ASSERT_TRUE(few.add(pare::MatrixView<const float>(layer.x.data(), 3, Layer::cols)));
  const pare::MinMaxGrid grid{.bits = 3};
  EXPECT_TRUE(pare::Obq{.damping = 0.01}(grid, layer.view(), few));
  EXPECT_TRUE(pare::Obq{}(grid, layer.view(), few));
  // A matrix with a negative eigenvalue of -4 and no second chance.
  std::vector<double> indefinite(Layer::cols * Layer::cols);
  for (std::size_t i = 0; i < Layer::cols; ++i) indefinite[i * (Layer::cols + 1)] = i == 5 ? -2.0 : 2.0;
  const auto moment = *pare::SecondMoment<double>::restore(Layer::cols, 1, 1, indefinite);
  expect_error(pare::Obq{.retries = 0}(grid, layer.view(), moment), "not positive definite");
  EXPECT_TRUE(pare::Obq{.retries = 5}(grid, layer.view(), moment));
}

TEST(Obq, RefusesWhatDoesNotFit) {
  Layer layer;
  const pare::MinMaxGrid grid;
  expect_error(pare::Obq{}(grid, layer.view(), *pare::SecondMoment<double>::create(Layer::cols)), "no samples");
  expect_error(pare::Obq{}(grid, layer.view(), *pare::SecondMoment<double>::create(3)), "second moment is 3 x 3");
  expect_error(pare::Obq{.damping = std::nan("")}(grid, layer.view(), layer.moment), "not finite");
  expect_error(pare::Obq{}(pare::MinMaxGrid{.bits = 9}, layer.view(), layer.moment), "");
  EXPECT_TRUE(pare::Obq{}(grid, {nullptr, 0, Layer::cols}, layer.moment));
  layer.weight[30] = nan;
  expect_error(pare::Obq{}(grid, layer.view(), layer.moment), "weight at (1, 6) is not a number");
}

TEST(SoftRounding, IsItsOwnInverseAndSlope) {
  for (double part = 0.0; part < 1.0; part += 0.01) {
    const double alpha = pare::SoftRounding::alpha(part);
    EXPECT_NEAR(pare::SoftRounding::at(alpha).up, part, 1e-12);
    const double step = 1e-6;
    const auto above = pare::SoftRounding::at(alpha + step), below = pare::SoftRounding::at(alpha - step);
    const auto here = pare::SoftRounding::at(alpha);
    if (part > 0.01) {
      EXPECT_NEAR((above.up - below.up) / (2 * step), here.slope, 1e-8);
    }
    if (part > 0.01 && std::fabs(part - 0.5) > 0.02) {
      EXPECT_NEAR((above.penalty(7) - below.penalty(7)) / (2 * step), here.penalty_slope(7), 1e-7);
    }
  }
  EXPECT_EQ(pare::SoftRounding::at(100).up, 1.0);
  EXPECT_EQ(pare::SoftRounding::at(-100).slope, 0.0);
  EXPECT_NEAR(pare::SoftRounding::at(-100).penalty(3), 0.0, 1e-12);
}

TEST(SoftRows, GradientIsThatOfTheLoss) {
  const Layer layer;
  const auto coded = *pare::RoundToNearest{}(pare::MinMaxGrid{.bits = 3}, layer.view());
  auto rows = *pare::SoftRows::create(coded, layer.view(), 2, 3);
  const auto moment = *pare::Matrix<double>::copy(layer.moment.sum());
  const double start = rows.differentiate(moment);
  // Where nothing is clipped, soft weights begin as exact ones.
  EXPECT_GE(start, 0.0);
  for (pare::SoftWeight* w : {&rows.weights()(0, 0), &rows.weights()(2, 7)}) {
    w->alpha = 0.3;
    rows.differentiate(moment);
    const double gradient = w->gradient, step = 1e-5;
    w->alpha = 0.3 + step;
    const double above = rows.differentiate(moment);
    w->alpha = 0.3 - step;
    const double below = rows.differentiate(moment);
    w->alpha = 0.3;
    EXPECT_NEAR((above - below) / (2 * step), gradient, 1e-4 * std::fabs(gradient) + 1e-6);
  }
}

TEST(AdaRound, LessErrorThanRoundToNearest) {
  const Layer layer;
  for (const int bits : {2, 3, 4, 8})
    for (const std::size_t group : {0u, 7u}) {
      const pare::MinMaxGrid grid{.bits = bits, .symmetric = false};
      const auto nearest = *pare::RoundToNearest{.group = group}(grid, layer.view());
      const auto result =
          pare::AdaRound{.group = group, .iterations = 300, .learning_rate = 0.02}(grid, layer.view(), layer.moment);
      ASSERT_TRUE(result);
      EXPECT_LT(layer.error(result->matrix), layer.error(nearest)) << bits << " bits, group " << group;
      EXPECT_NEAR(result->loss * Layer::tokens, layer.error(result->matrix), 1e-3 * layer.error(result->matrix));
      EXPECT_NEAR(result->nearest_loss * Layer::tokens, layer.error(nearest), 1e-3 * layer.error(nearest));
      for (std::size_t r = 0; r < Layer::rows; ++r)
        for (std::size_t c = 0; c < Layer::cols; ++c)
          ASSERT_LE(std::abs(result->matrix.codes()(r, c) - nearest.codes()(r, c)), 1);
    }
}

TEST(AdaRound, DependsOnNoExecutorAndTakesSchemes) {
  const Layer layer;
  using Int4 = pare::SchemeGrid<pare::Scheme<4, pare::Symmetric, pare::PerGroup<8>>>;
  const pare::AdaRound adaround{.iterations = 50};
  const auto alone = adaround(Int4{}, layer.view(), layer.moment);
  const Threads threads;
  const auto together = adaround(Int4{}, layer.view(), layer.moment, {.executor = threads});
  ASSERT_TRUE(alone && together);
  EXPECT_EQ(codes(alone->matrix), codes(together->matrix));
  EXPECT_EQ(alone->loss, together->loss);
}

TEST(AdaRound, RefusesWhatDoesNotFit) {
  Layer layer;
  const pare::AdaRound adaround{.iterations = 2};
  const pare::MinMaxGrid grid;
  expect_error(adaround(grid, layer.view(), *pare::SecondMoment<double>::create(Layer::cols)), "no tokens");
  expect_error(adaround(grid, layer.view(), *pare::SecondMoment<double>::create(2)), "second moment is 2 x 2");
  expect_error(pare::AdaRound{.learning_rate = std::nan("")}(grid, layer.view(), layer.moment), "must be finite");
  auto table = *pare::CodedMatrix::allocate({2, 2}, pare::code_format<pare::NF4>(), {1, 2}, pare::ShiftKind::none);
  expect_error(adaround.refine(std::move(table), layer.view(), layer.moment), "codes of nf4");
  auto small = *pare::CodedMatrix::allocate({2, 2}, pare::unsigned_format(4), {1, 2}, pare::ShiftKind::zero_point);
  expect_error(adaround.refine(std::move(small), layer.view(), layer.moment), "where 2 x 2 is needed");
  EXPECT_TRUE(adaround(grid, {nullptr, 0, Layer::cols}, layer.moment));
  layer.weight[0] = nan;
  expect_error(adaround(grid, layer.view(), layer.moment), "weight at (0, 0) is not a number");
}

TEST(AdaRound, ScalesOfZeroKeepTheirZeroPoint) {
  const Layer layer;
  auto start = *pare::RoundToNearest{}(pare::MinMaxGrid{.bits = 4}, layer.view());
  start.scales()(1, 0) = 0.0f;
  start.scales()(2, 0) = nan;
  const auto result = pare::AdaRound{.iterations = 3}.refine(std::move(start), layer.view(), layer.moment);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->matrix.value(1, 0), 0.0f);
}

}  // namespace
