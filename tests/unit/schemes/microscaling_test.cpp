#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "pare/schemes/schemes.hpp"

namespace {

using namespace pare;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

template <class F>
class MxBlock : public testing::Test {};
using Elements = testing::Types<E2M1, E2M3, E3M2, E4M3, E5M2, MXInt8>;
TYPED_TEST_SUITE(MxBlock, Elements);

TYPED_TEST(MxBlock, HoldsPowersOfTwoExactly) {
  using F = TypeParam;
  std::array<float, mx_block> x{};
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = i % 2 == 0 ? 0.5f : -1.0f;
  std::array<std::uint8_t, mx_block> codes{};
  const std::uint32_t scale = encode_mx_block<F>(x, codes);
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(decode_mx<F>(codes[i], scale), x[i]) << i;
}

TYPED_TEST(MxBlock, IsNanWhereAnElementIsNotFinite) {
  using F = TypeParam;
  for (const float bad : {nan, infinity, -infinity}) {
    std::array<float, mx_block> x{};
    x[7] = bad;
    x[8] = 3.0f;
    std::array<std::uint8_t, mx_block> codes{};
    const std::uint32_t scale = encode_mx_block<F>(x, codes);
    EXPECT_EQ(scale, E8M0::nan_code);
    for (const std::uint8_t code : codes) EXPECT_TRUE(is_nan(decode_mx<F>(code, scale)));
  }
}

TYPED_TEST(MxBlock, ZerosAndSubnormalsStaySmall) {
  using F = TypeParam;
  std::array<float, 5> x{0.0f, -0.0f, 1e-45f, -1e-45f, 0.0f};
  std::array<std::uint8_t, 5> codes{};
  const std::uint32_t scale = encode_mx_block<F>(x, codes);
  EXPECT_NE(scale, E8M0::nan_code);
  for (const std::uint8_t code : codes) EXPECT_EQ(decode_mx<F>(code, scale), 0.0f);
  EXPECT_EQ((encode_mx_block<F>(std::span<const float>{}, std::span<std::uint8_t>{})), (shared_exponent<F>(0.0f)));
}

TEST(SharedExponent, RulesDifferWhereTheirProducersDo) {
  using enum SharedExponent;
  EXPECT_EQ((shared_exponent<E2M1, floor>(6.5f)), 127u);
  EXPECT_EQ((shared_exponent<E2M1, ceil>(6.5f)), 128u);
  EXPECT_EQ((shared_exponent<E2M1, ceil_ratio>(6.0f)), 127u);
  EXPECT_EQ((shared_exponent<E2M1, ceil_ratio>(6.5f)), 128u);
  EXPECT_EQ((shared_exponent<E2M1, bump>(6.9f)), 127u);
  EXPECT_EQ((shared_exponent<E2M1, bump>(7.0f)), 128u);
  EXPECT_EQ((shared_exponent<E2M1, nearest>(6.0f)), 128u);   // halfway between 4 and 8: 8 has the even field
  EXPECT_EQ((shared_exponent<E2M1, nearest>(12.0f)), 128u);  // and so it has between 8 and 16
  EXPECT_EQ((shared_exponent<E2M1, nearest>(12.1f)), 129u);
  EXPECT_EQ((shared_exponent<E2M1, floor_log2f>(std::nextafter(16.0f, 0.0f))), 129u);
  EXPECT_EQ((shared_exponent<E2M1, floor>(std::nextafter(16.0f, 0.0f))), 128u);
  EXPECT_EQ((shared_exponent<E2M1, nncf>(0.0f)), 104u);
  EXPECT_EQ((shared_exponent<E2M1, ceil_ratio>(1e-45f)), 0u);
  EXPECT_EQ((shared_exponent<MXInt8, ceil>(F32::max)), E8M0::nan_code);
  for (const float bad : {nan, infinity}) EXPECT_EQ((shared_exponent<E4M3, floor>(bad)), E8M0::nan_code);
}

TEST(E2M1Rules, DifferInHalvesAndZeros) {
  EXPECT_EQ(encode_e2m1<E2M1Rule::ocp>(2.5f), 4u);
  EXPECT_EQ(encode_e2m1<E2M1Rule::ocp>(3.5f), 6u);
  EXPECT_EQ(encode_e2m1<E2M1Rule::ggml>(3.5f), 5u);
  EXPECT_EQ(encode_e2m1<E2M1Rule::modelopt_mxfp4>(-3.5f), 13u);
  EXPECT_EQ(encode_e2m1<E2M1Rule::ocp>(-0.0f), 8u);
  EXPECT_EQ(encode_e2m1<E2M1Rule::positive_zero>(-0.0f), 0u);
  EXPECT_EQ(encode_e2m1<E2M1Rule::positive_zero>(-0.1f), 8u);
  EXPECT_EQ(encode_e2m1<E2M1Rule::ggml>(-0.1f), 0u);
  EXPECT_EQ(encode_e2m1<E2M1Rule::modelopt_mxfp4>(0.0f), 8u);
  for (const float bad : {nan, -nan}) EXPECT_EQ(encode_e2m1(bad), 0u);
  EXPECT_EQ(encode_e2m1(-infinity), 15u);
}

template <Nvfp4Dialect D>
void expect_round_trip() {
  std::vector<float> x(nvfp4_block);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) - 7.5f;
  const float g = nvfp4_tensor_scale<D>(8.5f);
  std::vector<std::uint8_t> codes(x.size());
  const std::uint32_t scale = encode_nvfp4_block<D>(x, g, codes);
  for (std::size_t i = 0; i < x.size(); ++i)
    EXPECT_NEAR(E2M1::decode(codes[i]) * nvfp4_scale<D>(scale, g), x[i], 0.17f * std::fabs(x[i]) + 0.35f) << i;
}

TEST(Nvfp4, DialectsRoundTrip) {
  expect_round_trip<Nvfp4Dialect::modelopt>();
  expect_round_trip<Nvfp4Dialect::compressed_tensors>();
}

TEST(Nvfp4, ZerosHaveTheScaleOfTheirProducer) {
  const std::vector<float> zeros(nvfp4_block);
  std::vector<std::uint8_t> codes(nvfp4_block, 0xff);
  EXPECT_EQ((encode_nvfp4_block<Nvfp4Dialect::modelopt>(zeros, 0.0f, codes)), 0x38u);
  for (const std::uint8_t code : codes) EXPECT_EQ(code, 0u);
  EXPECT_EQ((nvfp4_tensor_scale<Nvfp4Dialect::compressed_tensors>(0.0f)), 1.0f);
  EXPECT_EQ((encode_nvfp4_block<Nvfp4Dialect::compressed_tensors>(zeros, 1.0f, codes)), 0x20u);
}

}  // namespace
