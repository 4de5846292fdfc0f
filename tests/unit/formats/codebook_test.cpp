#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "pare/formats/formats.hpp"

namespace {

using namespace pare;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

TEST(BnbFP4, EncodesEachOfItsValuesBack) {
  for (std::uint32_t code = 0; code < 16; ++code) {
    if (code == 8) continue;  // -0
    EXPECT_EQ(BnbFP4::encode<BnbFP4Rule::cuda>(BnbFP4::decode(code)), code);
    EXPECT_EQ(BnbFP4::encode<BnbFP4Rule::bucketize>(BnbFP4::decode(code)), code);
  }
  EXPECT_EQ(BnbFP4::encode(-0.0f), 0u);
  EXPECT_EQ(BnbFP4::encode(nan), 0u);
  EXPECT_EQ(BnbFP4::encode(infinity), 3u);
  EXPECT_EQ(BnbFP4::encode(-infinity), 11u);
  EXPECT_EQ(BnbFP4::encode<BnbFP4Rule::bucketize>(nan), 3u);
  EXPECT_EQ(BnbFP4::encode<BnbFP4Rule::bucketize>(-infinity), 11u);
}

TEST(BnbFP4, TakesTheNearestValue) {
  for (int i = -1200; i <= 1200; ++i) {
    const float x = static_cast<float>(i) / 1000.0f;
    float best = infinity;
    for (std::uint32_t code = 0; code < 16; ++code) best = std::fmin(best, std::fabs(BnbFP4::decode(code) - x));
    EXPECT_NEAR(std::fabs(BnbFP4::decode(BnbFP4::encode(x)) - x), best, 1e-6f) << x;
    EXPECT_NEAR(std::fabs(BnbFP4::decode(BnbFP4::encode<BnbFP4Rule::bucketize>(x)) - x), best, 1e-6f) << x;
  }
}

TEST(Ternary, RoundsAndSaturates) {
  for (const auto& [x, value] : {std::pair{0.0f, 0.0f},
                                 {-0.0f, 0.0f},
                                 {0.49f, 0.0f},
                                 {0.5f, 1.0f},
                                 {-0.5f, -1.0f},
                                 {7.0f, 1.0f},
                                 {-infinity, -1.0f},
                                 {infinity, 1.0f},
                                 {nan, 0.0f}})
    EXPECT_EQ(Ternary::decode(Ternary::encode(x)), value) << x;
}

TEST(IntegerStorage, ConvertsEveryCodeThereAndBack) {
  using enum IntegerStorage;
  for (int bits = 1; bits <= 8; ++bits)
    for (std::uint32_t code = 0; code < 1u << bits; ++code) {
      const std::uint32_t offset = convert_storage(code, bits, twos_complement, offset_binary);
      EXPECT_EQ(convert_storage(offset, bits, offset_binary, twos_complement), code);
      EXPECT_EQ(convert_storage(offset, bits, offset_binary, zero_point), offset);
      const int value = static_cast<int>(code << (32 - bits)) >> (32 - bits);
      EXPECT_EQ(static_cast<int>(offset) - (1 << (bits - 1)), value);
    }
}

TEST(E8M0, RoundedLogarithmsAreThoseOfDoublePrecision) {
  for (int exponent = -126; exponent <= 127; ++exponent)
    for (int step = -120; step <= 120; ++step) {
      float x = std::ldexp(1.0f, exponent);
      const float toward = step < 0 ? 0.0f : infinity;
      for (int i = 0; i < std::abs(step); ++i) x = std::nextafter(x, toward);
      const auto logarithm = static_cast<float>(std::log2(static_cast<double>(x)));
      EXPECT_EQ(detail::floor_log2f(x), static_cast<int>(std::floor(logarithm))) << exponent << ' ' << step;
      EXPECT_EQ(detail::ceil_log2f(x), static_cast<int>(std::ceil(logarithm))) << exponent << ' ' << step;
    }
}

}  // namespace
