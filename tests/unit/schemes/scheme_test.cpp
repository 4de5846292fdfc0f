#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "../golden.hpp"
#include "pare/kernels/reference.hpp"

namespace {

using namespace pare;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

TEST(Name, SpellsTheParts) {
  EXPECT_EQ((name<Scheme<4, Symmetric, PerGroup<128>>>()), "int4-g128");
  EXPECT_EQ((name<Scheme<4, Asymmetric, PerGroup<32>>>()), "int4-asym-g32");
  EXPECT_EQ((name<Scheme<8, Symmetric, PerTensor>>()), "int8-tensor");
  EXPECT_EQ((name<Scheme<nf4, Symmetric, PerGroup<64>, bf16>>()), "nf4-g64-bf16");
  EXPECT_EQ((name<Scheme<e2m1, Symmetric, PerGroup<32>, e8m0>>()), "e2m1-g32-e8m0");
  EXPECT_EQ((name<Scheme<e4m3, Symmetric, PerBlock<128, 64>>>()), "e4m3-b128x64");
  EXPECT_EQ((name<Scheme<e5m2, Symmetric, PerChannel, f16>>()), "e5m2-channel-f16");
}

TEST(Name, EveryCatalogNameLeadsBackToItsScheme) {
  std::set<std::string_view> seen;
  Catalog::for_each([&]<class S>(std::type_identity<S>) {
    EXPECT_TRUE(seen.insert(name<S>()).second) << name<S>();
    const auto found = with_scheme(
        name<S>(), []<class Found>(std::type_identity<Found>) -> Result<bool> { return std::is_same_v<Found, S>; });
    ASSERT_TRUE(found);
    EXPECT_TRUE(*found);
  });
  EXPECT_EQ(seen.size(), Catalog::size);
}

TEST(Name, AliasesLeadIntoTheCatalog) {
  for (const auto& [alias, full] : scheme_aliases) {
    const auto found = with_scheme(
        alias, []<class S>(std::type_identity<S>) -> Result<std::string> { return std::string(name<S>()); });
    ASSERT_TRUE(found) << alias;
    EXPECT_EQ(*found, full);
  }
}

TEST(Name, UnknownNamesAreAnErrorThatListsTheKnownOnes) {
  for (const std::string_view text : {"", "int4", "int4-g", "int4-g128 ", "INT4-G128", "int9-g128"}) {
    if (resolve_alias(text) != text) continue;
    const auto found = with_scheme(text, []<class S>(std::type_identity<S>) -> Result<int> { return S::bits; });
    ASSERT_FALSE(found) << text;
    EXPECT_EQ(found.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(found.error().message.find("int4-g128"), std::string::npos);
  }
}

TEST(Granularity, GridsCountRaggedBlocks) {
  EXPECT_EQ((PerGroup<32>::grid({3, 65})), (Shape{3, 3}));
  EXPECT_EQ((PerBlock<128, 64>::grid({129, 64})), (Shape{2, 1}));
  EXPECT_EQ(PerTensor::grid({5, 7}), (Shape{1, 1}));
  EXPECT_EQ(PerChannel::grid({5, 7}), (Shape{5, 1}));
  EXPECT_EQ((PerGroup<32>::grid({0, 0})), (Shape{0, 0}));
}

TEST(Symmetric, MapsTheLargestMagnitudeOnTheLargestCode) {
  using S = Scheme<4, Symmetric, PerGroup<32>>;
  const BlockParameters p = S::parameters({-3.5f, 2.0f, true});
  EXPECT_EQ(p.scale, 0.5f);
  EXPECT_EQ(quantize_value<Int<4>>(-3.5f, p), 9u);   // -7
  EXPECT_EQ(quantize_value<Int<4>>(-99.0f, p), 9u);  // the code -8 is never used
  EXPECT_EQ(quantize_value<Int<4>>(0.25f, p), 0u);   // a tie goes to even
  EXPECT_EQ(quantize_value<Int<4>>(0.75f, p), 2u);
}

TEST(Symmetric, DefinesWhatSpecialValuesBecome) {
  using S = Scheme<4, Symmetric, PerGroup<32>>;
  Range range;
  for (const float x : {1.0f, -7.0f, nan, infinity, -infinity}) range.include(x);
  EXPECT_FALSE(range.finite);
  EXPECT_EQ(range.magnitude(), 7.0f);
  const BlockParameters p = S::parameters(range);
  EXPECT_EQ(p.scale, 1.0f);
  EXPECT_EQ(quantize_value<Int<4>>(infinity, p), 7u);
  EXPECT_EQ(quantize_value<Int<4>>(-infinity, p), 9u);
  EXPECT_EQ(quantize_value<Int<4>>(nan, p), 0u);
  EXPECT_EQ(NF4::decode(quantize_value<NF4>(nan, p)), 0.0f);
  EXPECT_EQ(quantize_value<E4M3>(nan, p), 0x7fu);
  EXPECT_EQ(quantize_value<E2M1>(nan, p), 0u);
}

TEST(Symmetric, BlocksOfZerosAndOfTinyValuesBecomeZero) {
  using S = Scheme<4, Symmetric, PerGroup<32>>;
  for (const float magnitude : {0.0f, 1e-45f, 1e-38f}) {
    const BlockParameters p = S::parameters({-magnitude, magnitude, true});
    EXPECT_EQ(p.scale, 0.0f) << magnitude;
    EXPECT_EQ(quantize_value<Int<4>>(magnitude, p), 0u);
    EXPECT_EQ(dequantize_value<Int<4>>(0, p.scale, 0), 0.0f);
    EXPECT_EQ(quantize_value<Int<4>>(infinity, p), 0u);
  }
  EXPECT_GT((S::parameters({0.0f, 1e-36f, true}).scale), 0.0f);
}

TEST(Symmetric, ScaleFormatsSaturateAndRound) {
  using H = Scheme<4, Symmetric, PerGroup<32>, f16>;
  const BlockParameters huge = H::parameters({0.0f, 1e30f, true});
  EXPECT_EQ(huge.scale, 65504.0f);
  EXPECT_EQ(quantize_value<Int<4>>(1e30f, huge), 7u);
  EXPECT_EQ((H::parameters({0.0f, 1e-12f, true}).scale), 0.0f);
  const BlockParameters tenth = H::parameters({-0.7f, 0.7f, true});
  EXPECT_EQ(tenth.scale, F16::decode(F16::encode(0.1f)));
  EXPECT_EQ(tenth.inverse, 1.0f / tenth.scale);
}

TEST(Symmetric, SharedExponentsFollowMicroscaling) {
  using S = catalog::MXFP4;
  EXPECT_EQ((S::parameters({-6.0f, 1.0f, true}).scale), 1.0f);
  EXPECT_EQ((S::parameters({-7.9f, 1.0f, true}).scale), 1.0f);
  EXPECT_EQ((S::parameters({-8.0f, 1.0f, true}).scale), 2.0f);
  EXPECT_EQ((S::parameters({0.0f, 0.0f, true}).scale_code), 0u);
  EXPECT_EQ((S::parameters({0.0f, 1e-45f, true}).scale_code), 0u);
  const BlockParameters bad = S::parameters({0.0f, 1.0f, false});
  EXPECT_EQ(bad.scale_code, 0xffu);
  EXPECT_EQ(quantize_value<E2M1>(1.0f, bad), 0u);
  EXPECT_TRUE(is_nan(dequantize_value<E2M1>(0, bad.scale, 0)));
}

TEST(Asymmetric, RepresentsZeroAndBothEnds) {
  using S = Scheme<4, Asymmetric, PerGroup<32>>;
  const BlockParameters p = S::parameters({-1.0f, 14.0f, true});
  EXPECT_EQ(p.scale, 1.0f);
  EXPECT_EQ(p.zero_point, 1);
  EXPECT_EQ(quantize_value<UInt<4>>(-1.0f, p), 0u);
  EXPECT_EQ(quantize_value<UInt<4>>(14.0f, p), 15u);
  EXPECT_EQ(quantize_value<UInt<4>>(0.0f, p), 1u);
  EXPECT_EQ(quantize_value<UInt<4>>(infinity, p), 15u);
  EXPECT_EQ(quantize_value<UInt<4>>(-infinity, p), 0u);
  EXPECT_EQ(quantize_value<UInt<4>>(nan, p), 1u);
  const BlockParameters positive = S::parameters({0.0f, 30.0f, true});
  EXPECT_EQ(positive.zero_point, 0);
  const BlockParameters negative = S::parameters({-30.0f, 0.0f, true});
  EXPECT_EQ(negative.zero_point, 15);
}

TEST(Asymmetric, RangesWiderThanFloatSaturate) {
  using S = Scheme<8, Asymmetric, PerTensor>;
  const float largest = std::numeric_limits<float>::max();
  const BlockParameters p = S::parameters({-largest, largest, true});
  EXPECT_TRUE(is_finite(p.scale));
  EXPECT_EQ(quantize_value<UInt<8>>(largest, p), 255u);
  EXPECT_TRUE(is_finite(dequantize_value<UInt<8>>(255, p.scale, p.zero_point)));
}

/// Codes, shared exponents and values of the OCP reference, row by row.
template <SchemeType S>
void expect_microscaling(const std::string& path) {
  using F = typename S::format_type;
  golden::for_each_file(path, [](const io::SafetensorsFile& file) {
    constexpr std::size_t rows = 17, cols = 64, group = 32;
    const auto input = golden::values<float>(file, "input");
    const auto scales = golden::values<std::uint8_t>(file, "scale_e8m0");
    const auto codes = golden::values<std::uint8_t>(file, "codes");
    const auto packed = golden::values<std::uint8_t>(file, "packed_lsb");
    const auto values = golden::values<float>(file, "dequant");
    ASSERT_EQ(input.size(), rows * cols);
    for (std::size_t r = 0; r < rows; ++r) {
      Range ranges[2];
      ReferenceKernels::find_range(&input[r * cols], cols, group, ranges);
      const BlockParameters parameters[2] = {S::parameters(ranges[0]), S::parameters(ranges[1])};
      std::uint8_t stream[cols];
      ReferenceKernels::encode<F>(&input[r * cols], cols, group, parameters, stream);
      for (std::size_t b = 0; b < 2; ++b) EXPECT_EQ(parameters[b].scale_code, scales[r * 2 + b]) << "row " << r;
      for (std::size_t c = 0; c < cols; ++c) {
        const std::uint32_t code = read_code<F::bits>(stream, c);
        const float value = dequantize_value<F>(code, parameters[c / group].scale, 0);
        const float expected = values[r * cols + c];
        if (is_nan(expected)) {
          EXPECT_TRUE(is_nan(value)) << "row " << r << ", column " << c;
        } else {
          EXPECT_EQ(code, codes[r * cols + c]) << "row " << r << ", column " << c;
          EXPECT_EQ(std::bit_cast<std::uint32_t>(value), std::bit_cast<std::uint32_t>(expected));
        }
      }
      const std::size_t bytes = packed_bytes(cols, F::bits);
      for (std::size_t i = 0; i < bytes; ++i) {
        if (parameters[i * 8 / F::bits / group].finite) {
          EXPECT_EQ(stream[i], packed[r * bytes + i]) << "row " << r;
        }
      }
    }
  });
}

TEST(Golden, MicroscalingBlocksAreTheReferenceBytes) {
  expect_microscaling<catalog::MXFP4>("formats/mx/mxfp4_e2m1.safetensors");
  expect_microscaling<catalog::MXFP8>("formats/mx/mxfp8_e4m3.safetensors");
  expect_microscaling<catalog::MXFP8E5M2>("formats/mx/mxfp8_e5m2.safetensors");
}

}  // namespace
