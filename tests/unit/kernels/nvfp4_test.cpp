#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "pare/kernels/kernels.hpp"

namespace {

using namespace pare;

/// Runs every test once for each target that is compiled and that this processor has.
class Nvfp4OnTarget : public testing::TestWithParam<std::int64_t> {
 protected:
  void SetUp() override { hwy::SetSupportedTargetsForTest(GetParam()); }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }
};

INSTANTIATE_TEST_SUITE_P(Targets, Nvfp4OnTarget, testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& target) { return std::string(hwy::TargetName(target.param)); });

/// What a backend makes of values, and the bytes behind.
struct Encoded {
  bool good = false;
  std::vector<std::uint8_t> codes, scales;

  friend bool operator==(const Encoded&, const Encoded&) = default;
};

template <class Kernels, Nvfp4Dialect D, class T>
Encoded encode(const std::vector<T>& x, float tensor_scale) {
  Encoded e{false, std::vector<std::uint8_t>(ceil_div(x.size(), std::size_t{2}) + 1, 0xee),
            std::vector<std::uint8_t>(ceil_div(x.size(), nvfp4_block) + 1, 0xee)};
  e.good = Kernels::template encode_nvfp4<D>(x.data(), x.size(), tensor_scale, e.codes.data(), e.scales.data());
  // What is written beside values that are not finite, nobody says.
  if (!e.good) return {};
  EXPECT_EQ(e.codes.back(), 0xee);
  EXPECT_EQ(e.scales.back(), 0xee);
  return e;
}

template <class T>
void expect_same(const std::vector<float>& values, float tensor_scale) {
  std::vector<T> x;
  for (const float v : values) x.push_back(static_cast<T>(v));
  EXPECT_TRUE((encode<ReferenceKernels, Nvfp4Dialect::modelopt>(x, tensor_scale) ==
               encode<HighwayKernels, Nvfp4Dialect::modelopt>(x, tensor_scale)))
      << x.size() << ", " << tensor_scale;
  EXPECT_TRUE((encode<ReferenceKernels, Nvfp4Dialect::compressed_tensors>(x, 1.0f / tensor_scale) ==
               encode<HighwayKernels, Nvfp4Dialect::compressed_tensors>(x, 1.0f / tensor_scale)))
      << x.size() << ", " << tensor_scale;
}

TEST_P(Nvfp4OnTarget, EncodesAsTheReference) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (const std::size_t n : {1u, 15u, 16u, 17u, 64u, 255u, 256u, 272u, 1000u, 1024u, 1040u, 1301u, 2500u})
    for (const float unit : {1.0f, 300.0f, 0x1p-20f, 0x1p50f, 0x1p-70f, 0x1p100f, 0x1p-130f}) {
      std::vector<float> x(n);
      for (float& v : x) {
        v = normal(random) * unit;
        const auto kind = random() % 32;
        if (kind == 0) v *= 0.0f;
        if (kind == 1) v *= std::ldexp(1.0f, -static_cast<int>(random() % 140));
        if (kind == 2) v *= 50.0f;
      }
      for (std::size_t i = 16; i < n && i < 32; ++i) x[i] = -0.0f;
      for (const float tensor_scale : {unit / 600.0f, unit / 4.0f, 1.0f, 0x1p-61f, 0x1p61f, 1e-40f}) {
        if (!(tensor_scale > 0.0f && 1.0f / tensor_scale <= F32::max)) continue;
        expect_same<float>(x, tensor_scale);
        expect_same<Half>(x, tensor_scale);
        expect_same<BFloat16>(x, tensor_scale);
      }
    }
}

/// Quotients next to where two codes meet, under many scales.
TEST_P(Nvfp4OnTarget, RoundsQuotientsAsADivisionDoes) {
  std::mt19937 random(2);
  constexpr float limits[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
  std::vector<float> x(1024);
  for (int round = 0; round < 300; ++round) {
    const float tensor_scale =
        std::ldexp(1.0f + std::ldexp(static_cast<float>(random() % (1u << 23)), -23), round % 3 == 0 ? 2 : -12);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float scale =
          E4M3::decode(8 + static_cast<std::uint32_t>(i / nvfp4_block * 37 + random() % 2) % 110) * tensor_scale;
      float v = limits[random() % 7] * scale;
      for (auto steps = random() % 4; steps > 0; --steps) v = std::nextafter(v, random() % 2 == 0 ? 0.0f : F32::max);
      x[i] = i % nvfp4_block == 0 ? 6.0f * scale : random() % 2 == 0 ? v : -v;
    }
    expect_same<float>(x, tensor_scale);
  }
}

/// The sign of a quotient that vanishes is not kept, of one that does not it is.
TEST_P(Nvfp4OnTarget, KeepsTheSignOfWhatDoesNotVanish) {
  for (const float unit : {6.0f, 6000.0f, 1e9f}) {
    std::vector<float> x(1024, unit);
    for (std::size_t i = 1; i < x.size(); i += 2) x[i] = std::ldexp(-1.0f, -static_cast<int>(i % 150));
    expect_same<float>(x, 1.0f);
    expect_same<float>(x, unit / 2688.0f);
  }
}

TEST_P(Nvfp4OnTarget, RefusesWhatIsNotFinite) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()})
    for (const std::size_t at : {0u, 300u, 1100u, 1299u}) {
      std::vector<float> x(1300, 0.5f);
      x[at] = bad;
      EXPECT_FALSE((encode<ReferenceKernels, Nvfp4Dialect::modelopt>(x, 1.0f).good));
      EXPECT_FALSE((encode<HighwayKernels, Nvfp4Dialect::modelopt>(x, 1.0f).good));
    }
}

}  // namespace
