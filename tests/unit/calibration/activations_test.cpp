#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "pare/calibration/calibration.hpp"
#include "samples.hpp"

namespace {
using namespace samples;

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

TEST(ActivationQuantizer, SymmetricByHand) {
  const pare::ActivationQuantizer quantizer{.bits = 4};
  const std::vector<float> x = {7, -3.5f, 0.4f, -0.6f, 0, 0, 0, 0};
  std::vector<float> y(8);
  ASSERT_TRUE(quantizer(matrix(x, 4), pare::MatrixView<float>(y.data(), 2, 4)));
  EXPECT_EQ(y, (std::vector<float>{7, -4, 0, -1, 0, 0, 0, 0}));
  EXPECT_EQ(quantizer.code(-100, {1, 0}), -8.0f);
}

TEST(ActivationQuantizer, AsymmetricHoldsZero) {
  const pare::ActivationQuantizer quantizer{.bits = 2, .symmetric = false, .scope = pare::RangeScope::tensor};
  const pare::ActivationGrid grid = quantizer.grid({-1, 2});
  EXPECT_EQ(grid.scale, 1.0f);
  EXPECT_EQ(grid.zero_point, 1.0f);
  EXPECT_EQ(quantizer.round(0, grid), 0.0f);
  EXPECT_EQ(quantizer.round(5, grid), 2.0f);
  EXPECT_EQ(quantizer.grid({3, 6}).zero_point, 0.0f);
  EXPECT_EQ(quantizer.grid({3, 6}).scale, 2.0f);
}

TEST(ActivationQuantizer, ErrorsStayWithinHalfAStepAndFallWithBits) {
  const std::vector<float> x = normal(64 * 50, 7);
  for (const bool symmetric : {true, false})
    for (const pare::RangeScope scope : {pare::RangeScope::tensor, pare::RangeScope::channel, pare::RangeScope::token})
      for (int bits = 2; bits <= 8; ++bits) {
        const pare::ActivationQuantizer quantizer{.bits = bits, .symmetric = symmetric, .scope = scope};
        const auto grids = *quantizer.grids(pare::value_ranges(matrix(x, 50), scope)->values());
        std::vector<float> y(x.size());
        ASSERT_TRUE(quantizer(matrix(x, 50), pare::MatrixView<float>(y.data(), 64, 50)));
        for (std::size_t i = 0; i < x.size(); ++i) {
          const std::size_t g = scope == pare::RangeScope::tensor    ? 0
                                : scope == pare::RangeScope::channel ? i % 50
                                                                     : i / 50;
          ASSERT_LE(std::fabs(x[i] - y[i]), grids[g].scale * 0.50001f);
        }
      }
}

TEST(ActivationQuantizer, InPlaceStridedAndThreaded) {
  const std::vector<float> x = normal(300 * 500, 8);
  const pare::ActivationQuantizer quantizer{.bits = 6};
  std::vector<float> alone(x.size()), together = x, transposed(x.size());
  ASSERT_TRUE(quantizer(matrix(x, 500), pare::MatrixView<float>(alone.data(), 300, 500)));
  const Threads threads;
  const pare::MatrixView<float> in_place(together.data(), 300, 500);
  ASSERT_TRUE(quantizer(in_place, in_place, {.executor = threads}));
  EXPECT_EQ(alone, together);
  ASSERT_TRUE(quantizer(matrix(x, 500), pare::MatrixView<float>(transposed.data(), 300, 500, 1, 300)));
  EXPECT_EQ(alone[3 * 500 + 7], transposed[3 + 7 * 300]);
}

TEST(ActivationQuantizer, StaticRangesSaturate) {
  const pare::ActivationQuantizer quantizer{.bits = 8, .scope = pare::RangeScope::tensor, .clip = 0.5f};
  const pare::ValueRange range{-254, 100};
  const auto grids = *quantizer.grids({&range, 1});
  EXPECT_EQ(grids[0].scale, 1.0f);
  const std::vector<float> x = {200, -200, 3.4f};
  std::vector<float> y(3);
  ASSERT_TRUE(quantizer(matrix(x, 3), grids.values(), pare::MatrixView<float>(y.data(), 1, 3)));
  EXPECT_EQ(y, (std::vector<float>{127, -128, 3}));
}

TEST(ActivationQuantizer, RefusesWhatContradicts) {
  std::vector<float> y(4);
  const pare::MatrixView<float> out(y.data(), 2, 2);
  const std::vector<float> x = {1, 2, 3, 4};
  const pare::ActivationQuantizer quantizer;
  expect_error(pare::ActivationQuantizer{.bits = 1}(matrix(x, 2), out), "2 to 16 bits");
  expect_error(pare::ActivationQuantizer{.clip = nan}(matrix(x, 2), out), "share to keep");
  expect_error(quantizer(matrix({1, nan, 3, 4}, 2), out), "(0, 1) is not a number");
  expect_error(quantizer(matrix(x, 4), out), "the result is 2 x 2");
  const pare::ActivationGrid grids[2] = {{1, 0}, {0, 0}};
  expect_error(quantizer(matrix(x, 2), {grids, 1}, out), "where 2 are needed");
  expect_error(quantizer(matrix(x, 2), {grids, 2}, out), "not a finite positive");
  EXPECT_TRUE(quantizer({nullptr, 0, 2}, pare::MatrixView<float>(nullptr, 0, 2)));
}

TEST(FakeQuantize, OpenVinoByHand) {
  const pare::FakeQuantize f{-1, 2, -10, 20, 4};
  EXPECT_EQ(f(-5), -10.0f);
  EXPECT_EQ(f(9), 20.0f);
  EXPECT_EQ(f(0.1f), 0.0f);
  EXPECT_EQ(f(0.6f), 10.0f);
  EXPECT_TRUE(std::isnan(f(nan)));
  const pare::FakeQuantize point{1, 1, 5, 6, 2};
  EXPECT_EQ(point(1), 5.0f);
  EXPECT_EQ(point(1.5f), 6.0f);
}

std::vector<pare::FakeQuantize> made(const pare::FakeQuantizeRule& rule, const std::vector<pare::ValueRange>& ranges) {
  const auto result = rule(ranges);
  EXPECT_TRUE(result);
  return result ? std::vector<pare::FakeQuantize>(result->begin(), result->end()) : std::vector<pare::FakeQuantize>{};
}

TEST(FakeQuantizeRule, SymmetricRanges) {
  const auto signed8 = made({}, {{-1, 0.5f}, {-0.001f, 0}});
  EXPECT_FLOAT_EQ(signed8[0].input_high, 1.0f);
  EXPECT_FLOAT_EQ(signed8[0].input_low, -128.0f / 127);
  EXPECT_FLOAT_EQ(signed8[1].input_high, 0.01f);  // 1 % of the largest
  EXPECT_EQ(signed8[0].levels, 256);
  const auto narrow = made({.narrow = true}, {{-1, 0.5f}});
  EXPECT_FLOAT_EQ(narrow[0].input_low, -1.0f);
  EXPECT_EQ(narrow[0].levels, 255);
  const auto unsigned4 = made({.bits = 4}, {{0.5f, 3}});
  EXPECT_EQ(unsigned4[0].input_low, 0.0f);
  EXPECT_EQ(unsigned4[0].levels, 16);
  EXPECT_FLOAT_EQ(made({}, {{0, 0}})[0].input_high, 8e-5f);
}

TEST(FakeQuantizeRule, HalfRangeUsesHalfOfTheLevels) {
  const auto half = made({.half_range = true}, {{-1, 1}});
  int used = 0;
  float last = -2;
  for (float x = -1; x <= 1.0001f; x += 1e-3f) {
    used += half[0](x) != last;
    last = half[0](x);
  }
  EXPECT_EQ(half[0].levels, 256);
  EXPECT_LE(used, 129);
  EXPECT_GE(used, 127);
}

TEST(FakeQuantizeRule, AsymmetricZeroIsOneOfTheLevels) {
  std::mt19937 generator(9);
  std::uniform_real_distribution<float> uniform(-1, 3);
  for (int i = 0; i < 200; ++i) {
    const float a = uniform(generator), b = uniform(generator);
    const pare::ValueRange range{std::min(a, b), std::max(a, b)};
    for (int bits = 2; bits <= 8; ++bits) {
      const auto f = made({.bits = bits, .symmetric = false}, {range})[0];
      const float half = 0.5f * (f.input_high - f.input_low) / static_cast<float>(f.levels - 1);
      if (std::min(-f.input_low, f.input_high) > half) {
        EXPECT_NEAR(f(0.0f), 0.0f, 2e-7f * (f.input_high - f.input_low));
      } else {
        EXPECT_LE(std::fabs(f(0.0f)), half);
      }
      EXPECT_LE(f.input_low, std::min(range.lowest, 0.0f) + 1e-6f);
      EXPECT_GE(f.input_high, std::max(range.highest, 0.0f) - 1e-6f);
    }
  }
  const auto point = made({.symmetric = false}, {{0, 0}})[0];
  EXPECT_GT(point.input_high, point.input_low);
}

TEST(FakeQuantizeRule, RefusesWhatContradicts) {
  const pare::ValueRange good{0, 1}, infinite{0, inf}, empty;
  expect_error(pare::FakeQuantizeRule{.bits = 9}({&good, 1}), "2 to 8 bits");
  expect_error(pare::FakeQuantizeRule{.bits = 2, .half_range = true}({&good, 1}), "3 at least");
  expect_error(pare::FakeQuantizeRule{}({&infinite, 1}), "finite");
  expect_error(pare::FakeQuantizeRule{}({&empty, 1}), "hold a value");
  EXPECT_EQ(pare::FakeQuantizeRule{}({})->size(), 0u);
}

}  // namespace
