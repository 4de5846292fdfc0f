#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "pare/calibration/calibration.hpp"
#include "samples.hpp"

namespace {
using namespace samples;

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

TEST(ValueRanges, OfTensorChannelsAndTokens) {
  const std::vector<float> x = {1, -5, 2, 3, 4, -6};
  const auto tensor = pare::value_ranges(matrix(x, 3), pare::RangeScope::tensor);
  ASSERT_EQ(tensor->size(), 1u);
  EXPECT_EQ((*tensor)[0], (pare::ValueRange{-6, 4}));
  const auto channels = pare::value_ranges(matrix(x, 3), pare::RangeScope::channel);
  ASSERT_EQ(channels->size(), 3u);
  EXPECT_EQ((*channels)[0], (pare::ValueRange{1, 3}));
  EXPECT_EQ((*channels)[2], (pare::ValueRange{-6, 2}));
  const auto tokens = pare::value_ranges(matrix(x, 3), pare::RangeScope::token);
  ASSERT_EQ(tokens->size(), 2u);
  EXPECT_EQ((*tokens)[1], (pare::ValueRange{-6, 4}));
  EXPECT_EQ((*tokens)[0].magnitude(), 5.0f);
}

TEST(ValueRanges, TailsAreInterpolatedQuantiles) {
  std::vector<float> x(11);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>((i * 7) % 11);  // 0 .. 10, shuffled
  for (const pare::RangeScope scope : {pare::RangeScope::tensor, pare::RangeScope::token}) {
    const auto range = pare::value_ranges(matrix(x, 11), scope, 0.125);
    ASSERT_TRUE(range);
    EXPECT_EQ((*range)[0], (pare::ValueRange{1.25f, 8.75f}));
  }
  EXPECT_EQ((*pare::value_ranges(matrix(x, 1), pare::RangeScope::channel, 0.5))[0], (pare::ValueRange{5, 5}));
  expect_error(pare::value_ranges(matrix(x, 1), pare::RangeScope::channel, 0.6), "tail");
  expect_error(pare::value_ranges(matrix(x, 1), pare::RangeScope::channel, std::nan("")), "tail");
}

TEST(ValueRanges, DependOnNoExecutorAndTakeAnyStride) {
  const std::vector<float> x = normal(300 * 700, 1);
  for (const pare::RangeScope scope : {pare::RangeScope::tensor, pare::RangeScope::channel, pare::RangeScope::token})
    for (const double tail : {0.0, 0.01}) {
      const auto alone = pare::value_ranges(matrix(x, 700), scope, tail);
      const Threads threads;
      const auto together = pare::value_ranges(matrix(x, 700), scope, tail, {.executor = threads});
      ASSERT_TRUE(alone && together);
      EXPECT_TRUE(std::ranges::equal(*alone, *together));
    }
  const pare::MatrixView<const float> transposed(x.data(), 700, 300, 1, 700);
  EXPECT_TRUE(std::ranges::equal(*pare::value_ranges(transposed, pare::RangeScope::channel),
                                 *pare::value_ranges(matrix(x, 700), pare::RangeScope::token)));
}

TEST(ValueRanges, RefuseWhatIsNoNumber) {
  expect_error(pare::value_ranges(matrix({1, nan}, 2), pare::RangeScope::tensor), "(0, 1) is not a number");
  expect_error(pare::value_ranges({nullptr, 2, 2}, pare::RangeScope::tensor), "null pointer");
  const auto none = pare::value_ranges({nullptr, 0, 3}, pare::RangeScope::channel, 0.25);
  ASSERT_TRUE(none);
  ASSERT_EQ(none->size(), 3u);
  EXPECT_TRUE((*none)[0].empty());
  EXPECT_EQ((*none)[0].magnitude(), 0.0f);
}

TEST(SampleRanges, CombinedByEachRule) {
  pare::SampleRanges samples(1);
  for (const float high : {1.0f, 2.0f, 3.0f, 100.0f}) {
    const pare::ValueRange range{-high, high};
    ASSERT_TRUE(samples.add({&range, 1}));
  }
  EXPECT_EQ(samples.samples(), 4u);
  EXPECT_EQ((*samples.combine(pare::ExtremeRange{}))[0], (pare::ValueRange{-100, 100}));
  EXPECT_EQ((*samples.combine(pare::MeanRange{}))[0], (pare::ValueRange{-26.5f, 26.5f}));
  EXPECT_EQ((*samples.combine(pare::MedianRange{}))[0], (pare::ValueRange{-2.5f, 2.5f}));
  EXPECT_EQ((*samples.combine(pare::RangeWithoutOutliers{.tail = 0.2}))[0], (pare::ValueRange{-2.5f, 2.5f}));
  // 1, then halfway to 2, to 3, to 100
  EXPECT_EQ((*samples.combine(pare::MovingAverageRange{.momentum = 0.5}))[0].highest, 51.125f);
}

TEST(SampleRanges, PartsMakeTheWhole) {
  const std::vector<float> x = normal(12 * 5, 2);
  pare::SampleRanges whole(5), first(5), second(5), restored(5);
  for (std::size_t s = 0; s < 4; ++s) {
    const auto ranges = pare::value_ranges({x.data() + s * 15, 3, 5}, pare::RangeScope::channel);
    ASSERT_TRUE(whole.add(ranges->values()));
    ASSERT_TRUE((s < 1 ? first : second).add(ranges->values()));
  }
  ASSERT_TRUE(first.merge(second));
  ASSERT_TRUE(restored.add(first.values()));
  for (const pare::SampleRanges* part : {&first, &restored})
    EXPECT_TRUE(std::ranges::equal(*whole.combine(pare::MedianRange{}), *part->combine(pare::MedianRange{})));
  ASSERT_TRUE(first.merge(first));
  EXPECT_EQ(first.samples(), 8u);
  EXPECT_TRUE(std::ranges::equal(first.values().first(20), first.values().last(20)));
  EXPECT_TRUE(std::ranges::equal(whole.values(), first.values().last(20)));
}

TEST(SampleRanges, RefuseWhatContradicts) {
  pare::SampleRanges samples(2);
  const pare::ValueRange ranges[3] = {{0, 1}, {-1, inf}, {}};
  expect_error(samples.combine(pare::MeanRange{}), "no samples");
  expect_error(samples.add({ranges, 1}), "samples of 2 ranges");
  expect_error(samples.add({ranges, 2}), "not finite");
  expect_error(samples.add({ranges + 1, 2}), "empty or not finite");
  expect_error(pare::SampleRanges(0).add({ranges, 1}), "samples of 0 ranges");
  expect_error(samples.merge(pare::SampleRanges(3)), "cannot be merged");
  EXPECT_EQ(samples.samples(), 0u);
}

TEST(SampleMeans, OneTokenForEachSample) {
  pare::SampleMeans means(2), more(2);
  ASSERT_TRUE(means.add(matrix({1, 2, 3, 6}, 2)));
  ASSERT_TRUE(more.add(matrix({-1, 0}, 2)));
  ASSERT_TRUE(means.merge(more.means()));
  ASSERT_EQ(means.means().shape(), (pare::Shape{2, 2}));
  EXPECT_EQ(means.means()(0, 0), 2.0f);
  EXPECT_EQ(means.means()(0, 1), 4.0f);
  EXPECT_EQ(means.means()(1, 0), -1.0f);
  expect_error(means.add(matrix({1, 2, 3}, 3)), "is 1 x 3");
  expect_error(means.add({nullptr, 0, 2}), "is 0 x 2");
  expect_error(means.add(matrix({1, inf}, 2)), "infinite");
  expect_error(means.merge(matrix({1}, 1)), "is 1 x 1");
}

TEST(ChannelStatistics, MeasuresByHand) {
  auto statistics = *pare::ChannelStatistics::create(2);
  EXPECT_EQ(statistics.mean(0), 0.0f);
  EXPECT_EQ(statistics.largest_magnitude(1), 0.0f);
  ASSERT_TRUE(statistics.add(matrix({3, -1, -4, -3}, 2)));
  ASSERT_TRUE(statistics.add(matrix({0, 1}, 2)));
  EXPECT_EQ(statistics.samples(), 2u);
  EXPECT_EQ(statistics.tokens(), 3u);
  EXPECT_FLOAT_EQ(statistics.mean(0), -1.0f / 3);
  EXPECT_FLOAT_EQ(statistics.mean_magnitude(0), 7.0f / 3);
  EXPECT_FLOAT_EQ(statistics.norm(0), 5.0f);
  EXPECT_EQ(statistics.largest_magnitude(0), 4.0f);
  EXPECT_EQ(statistics.channels()[1].range, (pare::ValueRange{-3, 1}));
  EXPECT_EQ(statistics.range(), (pare::ValueRange{-4, 3}));
}

TEST(ChannelStatistics, PartsMakeTheWholeOnAnyExecutor) {
  const std::vector<float> x = normal(64 * 200, 3);
  auto whole = *pare::ChannelStatistics::create(200), first = *pare::ChannelStatistics::create(200),
       second = *pare::ChannelStatistics::create(200), threaded = *pare::ChannelStatistics::create(200);
  const Threads threads;
  for (std::size_t s = 0; s < 4; ++s) {
    const pare::MatrixView<const float> tokens(x.data() + s * 16 * 200, 16, 200);
    ASSERT_TRUE(whole.add(tokens));
    ASSERT_TRUE(threaded.add(tokens, {.executor = threads}));
    ASSERT_TRUE((s < 2 ? first : second).add(tokens));
  }
  ASSERT_TRUE(first.merge(second));
  const auto restored = pare::ChannelStatistics::restore(whole.channels(), whole.samples(), whole.tokens());
  ASSERT_TRUE(restored);
  for (std::size_t c = 0; c < 200; ++c) {
    EXPECT_EQ(whole.norm(c), threaded.norm(c));
    EXPECT_EQ(whole.channels()[c].sum, threaded.channels()[c].sum);
    EXPECT_NEAR(whole.channels()[c].sum, first.channels()[c].sum, 1e-12);
    EXPECT_EQ(whole.mean_magnitude(c), restored->mean_magnitude(c));
    EXPECT_EQ(whole.channels()[c].range, first.channels()[c].range);
  }
}

TEST(ChannelStatistics, RefuseWhatContradicts) {
  auto statistics = *pare::ChannelStatistics::create(2);
  expect_error(statistics.add(matrix({1, 2, 3}, 3)), "is 1 x 3 where 1 x 2");
  expect_error(statistics.add(matrix({1, 2, 3, nan}, 2)), "(1, 1) is not a number");
  EXPECT_EQ(statistics.tokens(), 0u);
  expect_error(statistics.merge(*pare::ChannelStatistics::create(3)), "other statistics");
  const pare::ChannelSums good{.sum = 1, .magnitudes = 1, .squares = 1, .range = {1, 1}};
  pare::ChannelSums bad = good;
  bad.squares = -1;
  EXPECT_TRUE(pare::ChannelStatistics::restore({&good, 1}, 1, 1));
  expect_error(pare::ChannelStatistics::restore({&bad, 1}, 1, 1), "contradict");
  expect_error(pare::ChannelStatistics::restore({&good, 1}, 0, 0), "contradict");
}

TEST(Histogram, GrowsByWholeBinsAndMerges) {
  auto histogram = *pare::Histogram::create(4);
  ASSERT_TRUE(histogram.add(matrix({0, 0}, 1)));
  EXPECT_EQ(histogram.width(), 0.0f);
  ASSERT_TRUE(histogram.add(matrix({-4, 1, 0.5f}, 1)));
  EXPECT_EQ(histogram.width(), 1.0f);
  EXPECT_TRUE(std::ranges::equal(histogram.counts(), std::vector<std::uint64_t>{3, 1, 0, 1}));
  ASSERT_TRUE(histogram.add(matrix({5.5f, -2}, 1)));
  EXPECT_TRUE(std::ranges::equal(histogram.counts(), std::vector<std::uint64_t>{3, 1, 1, 1, 0, 1}));
  EXPECT_EQ(histogram.largest(), 5.5f);

  auto restored = *pare::Histogram::restore(histogram.counts(), histogram.width(), histogram.largest());
  ASSERT_TRUE(restored.merge(histogram));
  EXPECT_TRUE(std::ranges::equal(restored.counts(), std::vector<std::uint64_t>{6, 2, 2, 2, 0, 2}));
  auto narrow = *pare::Histogram::create(4);
  ASSERT_TRUE(narrow.add(matrix({2}, 1)));
  ASSERT_TRUE(histogram.merge(narrow));  // the bin from 1.5 to 2
  EXPECT_EQ(histogram.counts()[1], 2u);
  auto empty = *pare::Histogram::create(4);
  ASSERT_TRUE(empty.merge(restored));
  EXPECT_TRUE(std::ranges::equal(empty.counts(), restored.counts()));
}

TEST(Histogram, AnyBinsAndAnyWidthCountEachValueOnce) {
  const std::vector<float> x = normal(5000, 4);
  for (const std::size_t bins : {1u, 3u, 1000u, 2047u}) {
    for (const float scale : {1e-44f, 1e-38f, 1.0f, 1e37f}) {
      std::vector<float> scaled = x;
      for (float& v : scaled) v *= scale;
      auto histogram = *pare::Histogram::create(bins);
      ASSERT_TRUE(histogram.add(matrix(scaled, 1)));
      std::uint64_t total = 0;
      for (const std::uint64_t n : histogram.counts()) total += n;
      EXPECT_EQ(total, x.size());
      EXPECT_EQ(histogram.counts().size(), bins);
      EXPECT_TRUE(pare::Histogram::restore(histogram.counts(), histogram.width(), histogram.largest()));
    }
  }
}

TEST(Histogram, RefusesWhatContradicts) {
  expect_error(pare::Histogram::create(0), "not 0");
  auto histogram = *pare::Histogram::create(8);
  expect_error(histogram.add(matrix({1, inf}, 2)), "infinite");
  ASSERT_TRUE(histogram.add(matrix({1e-30f}, 1)));
  expect_error(histogram.add(matrix({1}, 1)), "cannot reach");
  const std::vector<std::uint64_t> counts = {1, 2};
  expect_error(pare::Histogram::restore(counts, 0, 0), "contradict");
  expect_error(pare::Histogram::restore(counts, nan, 1), "contradict");
  expect_error(pare::Histogram::restore({}, 1, 1), "not 0");
}

class Thresholds : public testing::Test {
 protected:
  void SetUp() override {
    histogram_ = *pare::Histogram::create(2048);
    std::vector<float> x = normal(20000, 5);
    x.push_back(40);
    ASSERT_TRUE(histogram_.add(matrix(x, 1)));
  }
  pare::Histogram histogram_ = *pare::Histogram::create(1);
};

TEST_F(Thresholds, PercentilesRiseToTheLargest) {
  const auto numbers = *pare::HistogramNumbers::create(histogram_);
  float last = 0;
  for (const double share : {0.5, 0.9, 0.99, 0.9999}) {
    const auto threshold = pare::percentile_threshold(numbers, share);
    ASSERT_TRUE(threshold);
    EXPECT_GT(*threshold, last);
    last = *threshold;
  }
  EXPECT_NEAR(*pare::percentile_threshold(numbers, 0.5), 0.674, 0.03);
  EXPECT_GE(*pare::percentile_threshold(numbers, 1.0), 39.9f);
  expect_error(pare::percentile_threshold(numbers, 0), "percentile");
}

TEST_F(Thresholds, ClipsAnOutlierAndLessOfItWithMoreBits) {
  const auto numbers = *pare::HistogramNumbers::create(histogram_);
  const float mse4 = *pare::mse_threshold(numbers, {.bits = 4}), mse8 = *pare::mse_threshold(numbers, {.bits = 8});
  const float entropy8 = *pare::entropy_threshold(numbers, {.bits = 8});
  EXPECT_LT(mse4, 5.0f);
  EXPECT_GT(mse4, 2.0f);
  EXPECT_GT(mse8, mse4);
  EXPECT_LT(entropy8, 20.0f);
  EXPECT_GT(entropy8, 2.0f);
}

TEST_F(Thresholds, MseIsTheLeastOfAllBins) {
  const auto numbers = *pare::HistogramNumbers::create(histogram_);
  const pare::HistogramView view = numbers;
  const auto error = [&](float limit) {
    double sum = 0;
    for (std::size_t i = 0; i < view.counts.size(); ++i) {
      const double x = (static_cast<double>(view.edges[i]) + static_cast<double>(view.edges[i + 1])) / 2;
      const double step = static_cast<double>(limit) / 7;
      const double rounded = std::min(std::nearbyint(x / step), 7.0) * step;
      sum += view.counts[i] * (x - rounded) * (x - rounded);
    }
    return sum;
  };
  const double least = error(*pare::mse_threshold(numbers, {.bits = 4, .first_bin = 1}));
  for (std::size_t i = 1; i < view.counts.size(); ++i) EXPECT_GE(error(view.edges[i] * 1.0003f), least * (1 - 1e-3));
}

TEST_F(Thresholds, RefuseWhatContradicts) {
  const auto numbers = *pare::HistogramNumbers::create(histogram_);
  expect_error(pare::entropy_threshold(numbers, {.bits = 9}), "2 to 8 bits");
  expect_error(pare::mse_threshold(numbers, {.bits = 1}), "2 to 8 bits");
  expect_error(pare::mse_threshold(numbers, {.first_bin = 2048}), "2048 bins it has");
  const auto few = *pare::HistogramNumbers::create(*pare::Histogram::create(100));
  expect_error(pare::entropy_threshold(few, {}), "100 bins it has");
  expect_error(pare::percentile_threshold(few, 0.5), "empty");
  const std::vector<double> counts = {1, -1};
  const std::vector<float> edges = {0, 1, 2};
  expect_error(pare::percentile_threshold({counts, edges}, 0.5), "counts of 0 or more");
  expect_error(pare::percentile_threshold({std::span(counts).first(1), edges}, 0.5), "one more");
}

TEST(OptimalClip, IsAFixedPointThatGrowsWithBits) {
  const std::vector<float> x = normal(4000, 6);
  float last = 0;
  for (int bits = 2; bits <= 8; ++bits) {
    const float clip = *pare::optimal_clip(matrix(x, 40), bits);
    EXPECT_GT(clip, last);
    last = clip;
    double beyond = 0, within = 0, sum = 0;
    for (const float v : x) {
      const bool over = std::fabs(v) > clip;
      beyond += over;
      within += !over;
      sum += over ? std::fabs(v) : 0.0f;
    }
    EXPECT_NEAR(sum / (std::pow(4.0, -bits) / 3 * within + beyond), clip, 1e-4);
  }
}

TEST(OptimalClip, DegenerateValues) {
  EXPECT_EQ(*pare::optimal_clip(matrix({0, -0.0f}, 2), 4), 0.0f);
  EXPECT_EQ(*pare::optimal_clip({nullptr, 0, 0}, 4), 0.0f);
  EXPECT_TRUE(std::isfinite(*pare::optimal_clip(matrix({5}, 1), 4)));
  expect_error(pare::optimal_clip(matrix({nan}, 1), 4), "not a number");
  expect_error(pare::optimal_clip(matrix({1}, 1), 0), "1 to 16 bits");
}

}  // namespace
