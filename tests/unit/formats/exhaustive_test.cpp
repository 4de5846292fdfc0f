#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "pare/formats/formats.hpp"

namespace {

using namespace pare;

template <class F>
class EveryFormat : public testing::Test {};

using Formats = testing::Types<Int<1>, UInt<1>, Int<2>, Int<3>, Int<4>, Int<5>, Int<6>, Int<7>, Int<8>, UInt<2>,
                               UInt<3>, UInt<4>, UInt<5>, UInt<6>, UInt<7>, UInt<8>, NF4, IQ4NL, CB4, E2M1, E2M3, E3M2,
                               E4M3, E5M2, E4M3FNUZ, E5M2FNUZ, F16, BF16>;
TYPED_TEST_SUITE(EveryFormat, Formats);

constexpr std::uint32_t codes(int bits) { return 1u << bits; }

TYPED_TEST(EveryFormat, EncodesEachOfItsValuesBack) {
  using F = TypeParam;
  for (std::uint32_t code = 0; code < codes(F::bits); ++code) {
    const float value = F::decode(code);
    if (is_nan(value)) {
      EXPECT_TRUE(is_nan(F::decode(F::encode(value)))) << code;
    } else if (std::isinf(value)) {
      EXPECT_EQ(F::decode(F::encode(value)), std::copysign(F::max, value)) << code;
    } else {
      EXPECT_EQ(F::encode(value), code);
    }
  }
}

TYPED_TEST(EveryFormat, TakesTheNearestValueAndTiesToEven) {
  using F = TypeParam;
  std::vector<float> values;
  for (std::uint32_t code = 0; code < codes(F::bits); ++code)
    if (is_finite(F::decode(code))) values.push_back(F::decode(code));
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  for (std::size_t i = 1; i < values.size(); ++i) {
    // Midpoints of neighbours need one bit more than they have: always a float, but for the smallest of bfloat16.
    const float middle = static_cast<float>((double{values[i - 1]} + double{values[i]}) / 2);
    const float below = std::nextafter(middle, -std::numeric_limits<float>::infinity());
    const float above = std::nextafter(middle, std::numeric_limits<float>::infinity());
    if constexpr (TableFormat<F>) {
      EXPECT_EQ(F::encode(F::thresholds[i - 1]), i - 1);
      EXPECT_EQ(F::encode(std::nextafter(F::thresholds[i - 1], 1e9f)), i);
      EXPECT_NEAR(F::thresholds[i - 1], middle, 1e-7f);
    } else {
      EXPECT_EQ(F::decode(F::encode(below)), values[i - 1]) << middle;
      EXPECT_EQ(F::decode(F::encode(above)), values[i]) << middle;
      const float tie = F::decode(F::encode(middle));
      EXPECT_EQ(F::encode(tie) & 1u, 0u) << middle;
      EXPECT_TRUE(tie == values[i - 1] || tie == values[i]) << middle;
    }
  }
}

TYPED_TEST(EveryFormat, SaturatesBeyondItsRange) {
  using F = TypeParam;
  constexpr float infinity = std::numeric_limits<float>::infinity();
  constexpr float largest = std::numeric_limits<float>::max();
  float lowest = UnsignedFormat<F> ? 0.0f : IntegerFormat<F> ? -F::max - 1.0f : -F::max, highest = F::max;
  if constexpr (TableFormat<F>) {
    lowest = F::values.front();
    highest = F::values.back();
  }
  EXPECT_EQ(F::decode(F::encode(infinity)), highest);
  EXPECT_EQ(F::decode(F::encode(largest)), highest);
  EXPECT_EQ(F::decode(F::encode(-infinity)), lowest);
  EXPECT_EQ(F::decode(F::encode(-largest)), lowest);
}

TEST(Rounding, TiesFollowTheNamedRule) {
  using enum Rounding;
  // 0.25 lies between the first two magnitudes of E2M1, codes 0 and 1.
  EXPECT_EQ((E2M1::encode<Conversion{nearest_even}>(-0.25f)), 8u);
  EXPECT_EQ((E2M1::encode<Conversion{nearest_away}>(-0.25f)), 9u);
  EXPECT_EQ((E2M1::encode<Conversion{nearest_toward_zero}>(-0.25f)), 8u);
  EXPECT_EQ((E2M1::encode<Conversion{nearest_toward_zero}>(1.75f)), E2M1::encode(1.5f));
  EXPECT_EQ((E2M1::encode<Conversion{nearest_even}>(1.75f)), E2M1::encode(2.0f));
  EXPECT_EQ((Int<8>::encode<Conversion{nearest_away}>(2.5f)), 3u);
  EXPECT_EQ(Int<8>::encode(2.5f), 2u);
  EXPECT_EQ((Int<8>::encode<Conversion{nearest_toward_zero}>(-3.5f)), static_cast<std::uint32_t>(-3) & 0xffu);
}

TEST(Rounding, ToIntIsNearbyintForEveryExponent) {
  for (std::uint32_t exponent = 0; exponent < 255; ++exponent)
    for (const std::uint32_t mantissa : {0u, 1u, 0x400000u, 0x3fffffu, 0x400001u, 0x7fffffu, 0x600000u, 0x200000u})
      for (const std::uint32_t sign : {0u, 0x80000000u}) {
        const float x = std::bit_cast<float>(sign | exponent << 23 | mantissa);
        const double expected = std::min(2147483520.0, std::max(-2147483520.0, std::nearbyint(double{x})));
        EXPECT_EQ(round_to_int(x), static_cast<std::int32_t>(expected)) << x;
      }
  EXPECT_EQ(round_to_int(std::numeric_limits<float>::quiet_NaN()), 0);
}

TEST(NotANumber, FollowsTheNamedRule) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ((E2M1::encode<Conversion{.nan = NanRule::zero}>(nan)), 0u);
  EXPECT_EQ((E2M1::encode<Conversion{.nan = NanRule::maximum}>(-nan)), 7u);
  EXPECT_EQ((E2M1::encode<Conversion{.nan = NanRule::opposite}>(nan)), 8u);
  EXPECT_EQ((E2M1::encode<Conversion{.nan = NanRule::opposite}>(-nan)), 0u);
  EXPECT_EQ(E4M3::encode(nan), 0x7fu);
  EXPECT_EQ(E4M3::encode(-nan), 0xffu);
  EXPECT_EQ(E5M2::encode(-nan), 0xfeu);
  EXPECT_EQ(NF4::encode(nan), 0u);
  EXPECT_EQ(Int<4>::encode(nan), 0u);
  EXPECT_EQ((Int<4>::encode<Conversion{.nan = NanRule::maximum}>(nan)), 7u);
}

TEST(Halves, StorageKeepsEveryValue) {
  for (std::uint32_t code = 0; code < 0x10000u; ++code) {
    Half half;
    half.bits = static_cast<std::uint16_t>(code);
    const auto value = static_cast<float>(half);
    if (!is_nan(value)) {
      EXPECT_EQ(Half(value), half);
    }
    BFloat16 brain;
    brain.bits = static_cast<std::uint16_t>(code);
    EXPECT_EQ(std::bit_cast<std::uint32_t>(static_cast<float>(brain)), code << 16);
  }
}

// The definitions hold at compile time too.
static_assert(E4M3::encode(449.0f) == 0x7e && E4M3::decode(0x7e) == 448.0f);
static_assert(E5M2::encode<Conversion{.overflow = Overflow::special}>(61440.0f) == 0x7c);
static_assert(Half(65519.99f).bits == 0x7bff && Half(65520.0f).bits == 0x7c00);

}  // namespace
