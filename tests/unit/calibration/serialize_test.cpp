// Statistics as bytes and back.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "pare/calibration/calibration.hpp"
#include "samples.hpp"

namespace {
using namespace samples;

/// Bytes of statistics that come back as the same bytes; every shorter piece of them, and one byte more, is refused.
template <class Observer>
Observer there_and_back(const Observer& observer) {
  const auto bytes = pare::serialize(observer);
  EXPECT_TRUE(bytes);
  auto back = pare::deserialize<Observer>(bytes->values());
  EXPECT_TRUE(back) << back.error().message;
  const auto again = pare::serialize(*back);
  EXPECT_TRUE(again && std::ranges::equal(bytes->values(), again->values()));
  for (std::size_t size = 0; size < bytes->size(); ++size) {
    const auto part = pare::deserialize<Observer>(bytes->values().first(size));
    EXPECT_TRUE(!part && part.error().code == pare::ErrorCode::corrupt_data) << size << " of " << bytes->size();
  }
  std::vector<std::uint8_t> longer(bytes->begin(), bytes->end());
  longer.push_back(0);
  EXPECT_FALSE(pare::deserialize<Observer>(longer));
  std::vector<std::uint8_t> other(bytes->begin(), bytes->end());
  other[8] = 9;  // the version
  const auto newer = pare::deserialize<Observer>(other);
  EXPECT_TRUE(!newer && newer.error().message.find("version 9") != std::string::npos);
  // Sizes that no memory could hold are found out before any is asked for.
  for (std::size_t i = 16; i < 24 && i < other.size(); ++i) other[i] = 0xff;
  other[8] = 1;
  EXPECT_FALSE(pare::deserialize<Observer>(other));
  return *std::move(back);
}

TEST(Serialize, BringsEveryKindOfStatisticsBack) {
  const std::vector<float> x = normal(40, 1), y = normal(40, 2);
  const auto check_moment = [&](auto moment) {
    ASSERT_TRUE(moment && moment->add(matrix(x, 8)));
    auto back = there_and_back(*moment);
    EXPECT_EQ(back.samples(), 1u);
    EXPECT_EQ(back.tokens(), 5u);
    // What was gathered elsewhere is merged, and gathering goes on.
    ASSERT_TRUE(back.merge(*moment) && back.add(matrix(y, 8)));
    EXPECT_EQ(back.samples(), 3u);
  };
  check_moment(pare::SecondMoment<double>::create(8));
  check_moment(pare::SecondMoment<float>::create(8));

  auto channels = pare::ChannelStatistics::create(4);
  ASSERT_TRUE(channels && channels->add(matrix(x, 4)));
  const auto same = there_and_back(*channels);
  EXPECT_EQ(same.mean(3), channels->mean(3));
  EXPECT_EQ(same.range(), channels->range());
  there_and_back(*pare::ChannelStatistics::create(4));  // of nothing yet: its ranges are empty

  auto histogram = pare::Histogram::create(16);
  ASSERT_TRUE(histogram && histogram->add(matrix(x, 4)));
  EXPECT_EQ(there_and_back(*histogram).largest(), histogram->largest());

  pare::SampleRanges ranges(4);
  ASSERT_TRUE(ranges.add(pare::value_ranges(matrix(x, 4), pare::RangeScope::channel)->values()));
  ASSERT_TRUE(ranges.add(pare::value_ranges(matrix(y, 4), pare::RangeScope::channel)->values()));
  EXPECT_EQ(there_and_back(ranges).samples(), 2u);
  EXPECT_EQ(there_and_back(pare::SampleRanges(3)).count(), 3u);

  pare::SampleMeans means(4);
  ASSERT_TRUE(means.add(matrix(x, 4)) && means.add(matrix(y, 4)));
  EXPECT_EQ(there_and_back(means).means()(1, 2), means.means()(1, 2));

  auto inputs = pare::InputFluctuation::create(4);
  ASSERT_TRUE(inputs && inputs->add(matrix(x, 4)) && inputs->add(matrix(y, 4)));
  auto later = there_and_back(*inputs);
  ASSERT_TRUE(inputs->add(matrix(x, 4)) && later.add(matrix(x, 4)));
  EXPECT_TRUE(std::ranges::equal(inputs->fluctuation(), later.fluctuation()));
}

TEST(Serialize, WritesTheSameBytesOnEveryMachine) {
  pare::SampleMeans means(1);
  ASSERT_TRUE(means.add(matrix({1.5f}, 1)));
  const auto bytes = pare::serialize(means);
  ASSERT_TRUE(bytes);
  const std::vector<std::uint8_t> expected = {'P', 'A', 'R', 'E', 's', 't', 'a', 't', 1, 0, 0,    0,
                                              6,   0,   0,   0,   1,   0,   0,   0,   0, 0, 0,    0,
                                              1,   0,   0,   0,   0,   0,   0,   0,   0, 0, 0xc0, 0x3f};
  EXPECT_EQ(std::vector<std::uint8_t>(bytes->begin(), bytes->end()), expected);
}

TEST(Serialize, RefusesOtherKindsAndNumbersThatContradictThemselves) {
  auto moment = pare::SecondMoment<double>::create(2);
  ASSERT_TRUE(moment);
  const auto bytes = pare::serialize(*moment);
  ASSERT_TRUE(bytes);
  const auto other = pare::deserialize<pare::SecondMoment<float>>(bytes->values());
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().message, "pare: the bytes are no whole second moment");
  std::vector<std::uint8_t> nan(bytes->begin(), bytes->end());
  nan[nan.size() - 1] = nan[nan.size() - 2] = 0xff;
  EXPECT_FALSE(pare::deserialize<pare::SecondMoment<double>>(nan));
  const std::vector<double> good{1.0, 2.0}, bad{1.0, -1.0};
  EXPECT_TRUE(pare::InputFluctuation::restore(1, bad, good, good));
  EXPECT_FALSE(pare::InputFluctuation::restore(1, good, bad, good));
  EXPECT_FALSE(pare::InputFluctuation::restore(1, good, good, bad));
  EXPECT_FALSE(pare::InputFluctuation::restore(1, good, good, std::span(good).first(1)));
}

}  // namespace
