#include "../golden.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "pare/formats/formats.hpp"

namespace {

using namespace pare;

std::uint32_t bits_of(float x) { return std::bit_cast<std::uint32_t>(x); }

template <class F>
void expect_decodes(const std::string& file) {
  const std::vector<float> expected = golden::npy("formats/numeric/" + file);
  ASSERT_EQ(expected.size(), std::size_t{1} << F::bits);
  for (std::uint32_t code = 0; code < expected.size(); ++code) {
    const float value = F::decode(code);
    if (is_nan(expected[code]))
      EXPECT_TRUE(is_nan(value)) << code;
    else
      EXPECT_EQ(bits_of(value), bits_of(expected[code])) << code;
  }
}

TEST(Golden, EveryCodeDecodesToTheReferenceValue) {
  expect_decodes<E2M1>("decode_e2m1.npy");
  expect_decodes<E4M3>("decode_e4m3fn.npy");
  expect_decodes<E5M2>("decode_e5m2.npy");
  expect_decodes<E8M0>("decode_e8m0.npy");
  expect_decodes<NF4>("table_nf4.npy");
}

template <class F, Conversion C>
void expect_encodes(const io::SafetensorsFile& file, const char* codes) {
  const auto input = golden::values<float>(file, "input");
  const auto expected = golden::values<std::uint8_t>(file, codes);
  ASSERT_EQ(input.size(), expected.size());
  for (std::size_t i = 0; i < input.size(); ++i)
    EXPECT_EQ(F::template encode<C>(input[i]), expected[i]) << codes << ", input " << input[i];
}

TEST(Golden, EncodersAgreeOnEveryMidpointAndItsNeighbours) {
  // FP4 has no NaN; the reference gives a zero of the opposite sign there.
  golden::for_each_file("formats/numeric/encode_e2m1.safetensors", [](const auto& file) {
    expect_encodes<E2M1, Conversion{.nan = NanRule::opposite}>(file, "code_sat");
    expect_encodes<E2M1, Conversion{.overflow = Overflow::special, .nan = NanRule::opposite}>(file, "code_nosat");
  });
  golden::for_each_file("formats/numeric/encode_e4m3fn.safetensors", [](const auto& file) {
    expect_encodes<E4M3, Conversion{}>(file, "code_sat");
    expect_encodes<E4M3, Conversion{.overflow = Overflow::special}>(file, "code_nosat");
  });
  golden::for_each_file("formats/numeric/encode_e5m2.safetensors", [](const auto& file) {
    expect_encodes<E5M2, Conversion{}>(file, "code_sat");
    expect_encodes<E5M2, Conversion{.overflow = Overflow::special}>(file, "code_nosat");
  });
}

TEST(Golden, ExponentRulesAgreeWithTheirProducers) {
  golden::for_each_file("formats/numeric/encode_e8m0.safetensors", [](const io::SafetensorsFile& file) {
    const auto input = golden::values<float>(file, "input");
    const auto expect = [&](const char* name, auto encode) {
      const auto expected = golden::values<std::uint8_t>(file, name);
      ASSERT_EQ(input.size(), expected.size());
      for (std::size_t i = 0; i < input.size(); ++i)
        EXPECT_EQ(encode(input[i]), expected[i]) << name << ' ' << input[i];
    };
    expect("ml_dtypes", [](float x) { return E8M0::encode<ExponentRule::ml_dtypes>(x); });
    expect("onnx_up_sat", [](float x) { return E8M0::encode<ExponentRule::ceil>(x); });
    expect("onnx_up_nosat", [](float x) { return E8M0::encode<ExponentRule::ceil, Overflow::special>(x); });
    expect("onnx_down", [](float x) { return E8M0::encode<ExponentRule::floor>(x); });
    expect("onnx_nearest_sat", [](float x) { return E8M0::encode<ExponentRule::ties_up>(x); });
    expect("onnx_nearest_nosat", [](float x) { return E8M0::encode<ExponentRule::ties_up, Overflow::special>(x); });
    expect("openvino", [](float x) { return E8M0::encode<ExponentRule::openvino>(x); });
  });
}

TEST(Golden, NF4EncodesAsTheReference) {
  golden::for_each_file("formats/numeric/encode_nf4.safetensors", [](const io::SafetensorsFile& file) {
    const auto input = golden::values<float>(file, "input");
    const auto codes = golden::values<std::uint8_t>(file, "code");
    const auto decoded = golden::values<float>(file, "decode");
    ASSERT_EQ(input.size(), codes.size());
    for (std::size_t i = 0; i < input.size(); ++i) {
      EXPECT_EQ(NF4::encode(input[i]), codes[i]) << input[i];
      EXPECT_EQ(NF4::decode(codes[i]), decoded[i]);
    }
  });
}

TEST(Golden, HalvesRoundAsTheReferences) {
  golden::for_each_file("formats/numeric/encode_bf16_fp16.safetensors", [](const io::SafetensorsFile& file) {
    const auto input = golden::values<std::uint32_t>(file, "input_bits");
    const auto bf16_ggml = golden::values<std::uint16_t>(file, "bf16_ggml");
    const auto f16_ggml = golden::values<std::uint16_t>(file, "fp16_ggml");
    const auto f16_numpy = golden::values<std::uint16_t>(file, "fp16_rne_numpy");
    constexpr Conversion quiet{.overflow = Overflow::special, .nan = NanRule::quiet};
    constexpr Conversion canonical{.overflow = Overflow::special};
    for (std::size_t i = 0; i < input.size(); ++i) {
      const float x = std::bit_cast<float>(input[i]);
      EXPECT_EQ(BF16::encode<quiet>(x), bf16_ggml[i]) << input[i];
      EXPECT_EQ(F16::encode<canonical>(x), f16_ggml[i]) << input[i];
      // NumPy leaves NaNs signalling, and makes a payload of 0 into 1; pare makes them quiet, as hardware does.
      const std::uint32_t quiet_numpy = 0x7e00u | (f16_numpy[i] & 0x8000u) | ((input[i] >> 13) & 0x03ffu);
      EXPECT_EQ(F16::encode<quiet>(x), is_nan(x) ? quiet_numpy : f16_numpy[i]) << input[i];
    }
  });
}

}  // namespace
