#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "pare/metrics/metrics.hpp"

namespace {

using pare::ErrorStatistics;
using pare::MatrixView;

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

std::span<const float> flat(const std::vector<float>& values) { return values; }

ErrorStatistics statistics(const std::vector<float>& reference, const std::vector<float>& approximation) {
  return *pare::error_statistics(flat(reference), flat(approximation));
}

std::vector<float> random_values(std::size_t count, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(generator);
  return values;
}

struct ThreadExecutor {
  std::size_t threads;
  void operator()(std::size_t count, pare::Task task) const {
    std::vector<std::thread> pool;
    for (std::size_t t = 0; t < threads; ++t)
      pool.emplace_back([=, this] {
        for (std::size_t i = count; i-- > 0;)
          if (i % threads == t) task(i);
      });
    for (std::thread& thread : pool) thread.join();
  }
};

TEST(ErrorStatistics, MeasuresByHand) {
  const ErrorStatistics s = statistics({3, -4, 0, 1}, {3, -2, 1, 1});
  EXPECT_EQ(s.count, 4u);
  EXPECT_DOUBLE_EQ(s.mse(), 5.0 / 4.0);
  EXPECT_DOUBLE_EQ(s.max_error(), 2.0);
  EXPECT_DOUBLE_EQ(s.sqnr(), 10.0 * std::log10(26.0 / 5.0));
  EXPECT_DOUBLE_EQ(s.cosine(), (9.0 + 8.0 + 1.0) / std::sqrt(26.0 * 15.0));
}

TEST(ErrorStatistics, NoErrorIsInfinitelyGood) {
  for (const std::vector<float>& values : {std::vector<float>{1, -2, 3}, {0, 0}, {}}) {
    const ErrorStatistics s = statistics(values, values);
    EXPECT_EQ(s.mse(), 0.0);
    EXPECT_EQ(s.max_error(), 0.0);
    EXPECT_EQ(s.sqnr(), std::numeric_limits<double>::infinity());
    EXPECT_DOUBLE_EQ(s.cosine(), 1.0);
  }
}

TEST(ErrorStatistics, ZeroOnOneSide) {
  const ErrorStatistics lost = statistics({1, 2}, {0, -0.0f});
  EXPECT_DOUBLE_EQ(lost.sqnr(), 0.0);
  EXPECT_EQ(lost.cosine(), 0.0);
  const ErrorStatistics invented = statistics({0, 0}, {1, 2});
  EXPECT_EQ(invented.sqnr(), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(invented.cosine(), 0.0);
}

TEST(ErrorStatistics, NanAnywhereMakesEveryMeasureNan) {
  for (const auto& [reference, approximation] :
       {std::pair<std::vector<float>, std::vector<float>>{{nan, 1, 5}, {0, 1, 2}},
        {{0, 1, 5}, {0, nan, 2}},
        {{0, 0, 0}, {0, nan, 0}},
        {{nan, 0, 0}, {0, 0, 0}},
        {{1, inf, 3}, {1, inf, 2}},
        {{-inf, 1, 1}, {-inf, 1, 1}}}) {
    const ErrorStatistics s = statistics(reference, approximation);
    EXPECT_TRUE(std::isnan(s.mse()));
    EXPECT_TRUE(std::isnan(s.sqnr()));
    EXPECT_TRUE(std::isnan(s.cosine()));
    EXPECT_TRUE(std::isnan(s.max_error()));
  }
}

TEST(ErrorStatistics, NanSurvivesMergingInEitherOrder) {
  const ErrorStatistics bad = statistics({nan}, {1});
  const ErrorStatistics good = statistics({5}, {1});
  ErrorStatistics first = bad;
  first.merge(good);
  ErrorStatistics last = good;
  last.merge(bad);
  EXPECT_TRUE(std::isnan(first.max_error()));
  EXPECT_TRUE(std::isnan(last.max_error()));
}

TEST(ErrorStatistics, OneSidedInfinity) {
  const ErrorStatistics overflowed = statistics({1, 2}, {1, inf});
  EXPECT_EQ(overflowed.mse(), std::numeric_limits<double>::infinity());
  EXPECT_EQ(overflowed.max_error(), std::numeric_limits<double>::infinity());
  EXPECT_EQ(overflowed.sqnr(), -std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(overflowed.cosine()));
  EXPECT_TRUE(std::isnan(statistics({1, -inf}, {1, 2}).sqnr()));
}

TEST(ErrorStatistics, ExtremesOfFloatNeitherOverflowNorVanish) {
  constexpr float huge = std::numeric_limits<float>::max();
  const ErrorStatistics large = statistics({huge, huge}, {-huge, huge});
  EXPECT_DOUBLE_EQ(large.max_error(), 2.0 * double{huge});
  EXPECT_DOUBLE_EQ(large.mse(), 2.0 * double{huge} * double{huge});
  EXPECT_NEAR(large.sqnr(), 10.0 * std::log10(0.5), 1e-12);

  constexpr float tiny = std::numeric_limits<float>::denorm_min();
  const ErrorStatistics small = statistics({tiny}, {0});
  EXPECT_EQ(small.max_error(), double{tiny});
  EXPECT_NEAR(small.sqnr(), 0.0, 1e-12);
}

TEST(ErrorStatistics, CosineStaysInItsRange) {
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    const std::vector<float> x = random_values(7, seed);
    std::vector<float> scaled = x;
    for (float& v : scaled) v *= -3;
    EXPECT_LE(statistics(x, x).cosine(), 1.0);
    EXPECT_GE(statistics(x, scaled).cosine(), -1.0);
    EXPECT_NEAR(statistics(x, scaled).cosine(), -1.0, 1e-6);
  }
}

TEST(ErrorStatistics, MergeEqualsOnePass) {
  const std::vector<float> x = random_values(1000, 1);
  const std::vector<float> y = random_values(1000, 2);
  ErrorStatistics merged = *pare::error_statistics(flat(x).first(317), flat(y).first(317));
  merged.merge(*pare::error_statistics(flat(x).subspan(317), flat(y).subspan(317)));
  merged.merge(ErrorStatistics{});
  const ErrorStatistics whole = statistics(x, y);
  EXPECT_EQ(merged.count, whole.count);
  EXPECT_EQ(merged.max_error(), whole.max_error());
  EXPECT_NEAR(merged.mse(), whole.mse(), 1e-12);
  EXPECT_NEAR(merged.sqnr(), whole.sqnr(), 1e-12);
  EXPECT_NEAR(merged.cosine(), whole.cosine(), 1e-12);
}

TEST(Measures, SameBitsForEveryExecutor) {
  for (const auto& [rows, cols] :
       {std::pair<std::size_t, std::size_t>{1, 1}, {1, 999}, {63, 5}, {64, 5}, {65, 5}, {1000, 33}}) {
    const std::vector<float> x = random_values(rows * cols, 3);
    const std::vector<float> y = random_values(rows * cols, 4);
    const MatrixView<const float> reference(x.data(), rows, cols);
    const MatrixView<const float> approximation(y.data(), rows, cols);
    const ErrorStatistics alone = *pare::error_statistics(reference, approximation);
    EXPECT_EQ(alone.count, rows * cols);
    for (const std::size_t threads : {1u, 2u, 7u}) {
      const ThreadExecutor executor{threads};
      const ErrorStatistics shared = *pare::error_statistics(reference, approximation, executor);
      EXPECT_EQ(shared.count, alone.count);
      EXPECT_EQ(shared.mse(), alone.mse());
      EXPECT_EQ(shared.sqnr(), alone.sqnr());
      EXPECT_EQ(shared.cosine(), alone.cosine());
      EXPECT_EQ(*pare::mse(reference, approximation, executor), alone.mse());
    }
  }
}

TEST(Measures, StridedViewsSeeTheirElementsOnly) {
  const std::array<float, 8> padded{1, 2, 3, nan, 4, 5, 6, nan};
  const std::array<float, 6> column_major{1, 4, 2, 5, 3, 7};
  const MatrixView<const float> reference(padded.data(), 2, 3, 4, 1);
  const MatrixView<const float> approximation(column_major.data(), 2, 3, 1, 2);
  EXPECT_DOUBLE_EQ(*pare::mse(reference, approximation), 1.0 / 6.0);
  EXPECT_DOUBLE_EQ(*pare::max_error(reference, approximation), 1.0);
  EXPECT_DOUBLE_EQ(*pare::sqnr(reference, approximation), 10.0 * std::log10(91.0));
  EXPECT_DOUBLE_EQ(*pare::cosine(reference, approximation), 97.0 / std::sqrt(91.0 * 104.0));
}

TEST(Measures, TakesMutableViewsAndVectors) {
  std::vector<float> x{1, 2};
  std::vector<float> y{1, 4};
  EXPECT_DOUBLE_EQ(*pare::mse(x, y), 2.0);
  EXPECT_DOUBLE_EQ(*pare::mse(MatrixView<float>(x.data(), 2, 1), MatrixView<float>(y.data(), 2, 1)), 2.0);
}

TEST(Measures, ShapeMismatchIsAnError) {
  const std::vector<float> six(6);
  const MatrixView<const float> wide(six.data(), 2, 3);
  const MatrixView<const float> tall(six.data(), 3, 2);
  for (const auto& result : {pare::mse(wide, tall), pare::sqnr(wide, tall), pare::cosine(wide, tall),
                             pare::max_error(wide, tall), pare::mse(flat(six), flat(six).first(5))}) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, pare::ErrorCode::invalid_argument);
  }
}

TEST(Measures, MissingDataIsAnErrorAndEmptyIsNot) {
  const std::vector<float> six(6);
  const MatrixView<const float> nothing(nullptr, 2, 3);
  EXPECT_FALSE(pare::mse(nothing, MatrixView<const float>(six.data(), 2, 3)));
  EXPECT_FALSE(pare::mse(MatrixView<const float>(six.data(), 2, 3), nothing));

  constexpr std::size_t huge = std::numeric_limits<std::size_t>::max();
  for (const MatrixView<const float> empty : {MatrixView<const float>(), MatrixView<const float>(nullptr, huge, 0),
                                              MatrixView<const float>(nullptr, 0, huge)})
    EXPECT_EQ(*pare::mse(empty, empty), 0.0);
}

}  // namespace
