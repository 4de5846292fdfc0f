#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "pare/layouts/gguf/gguf.hpp"
#include "random_values.hpp"

namespace {
namespace gguf = pare::gguf;
using gguf::BlockType;

/// Calls test.operator()<T>() for every block type, with its name in the trace.
template <class Test>
void for_each_type(Test&& test) {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    const auto run = [&]<BlockType T>() {
      SCOPED_TRACE(gguf::block_info<T>.name);
      test.template operator()<T>();
    };
    (run.template operator()<gguf::block_types[I].type>(), ...);
  }(std::make_index_sequence<gguf::block_types.size()>{});
}

template <BlockType T>
using Bytes = std::array<std::uint8_t, gguf::block_info<T>.bytes>;
template <BlockType T>
using Values = std::array<float, gguf::block_info<T>.elements>;

TEST(Blocks, TableIsOrderedAndSearchable) {
  for (std::size_t i = 0; i < gguf::block_types.size(); ++i) {
    const auto& row = gguf::block_types[i];
    if (i > 0) {
      EXPECT_LT(gguf::block_types[i - 1].type, row.type);
    }
    EXPECT_EQ(gguf::find_block_type(row.name), &row);
    EXPECT_EQ(gguf::find_block_type(static_cast<std::uint32_t>(row.type)), &row);
    EXPECT_LE(row.elements, gguf::max_block_elements);
  }
  EXPECT_EQ(gguf::find_block_type("q4_k"), nullptr);
  EXPECT_EQ(gguf::find_block_type(4u), nullptr);
  EXPECT_EQ(gguf::find_block_type(0u), nullptr);
}

TEST(Blocks, DescriptionsCoverEveryByteOnce) {
  for_each_type([]<BlockType T>() {
    constexpr const gguf::BlockLayout& layout = gguf::block_layout<T>;
    // Setting one bit of the block must change exactly one field: unpacking and packing gives every bit back.
    if constexpr (T != BlockType::tq1_0)
      for (std::size_t bit = 0; bit < gguf::block_info<T>.bytes * 8; ++bit) {
        Bytes<T> block{}, again;
        again.fill(0xa5);
        block[bit / 8] = static_cast<std::uint8_t>(1u << bit % 8);
        gguf::pack_block<T>(gguf::unpack_block<T>(gguf::ConstBlockBytes<T>(block)), gguf::BlockBytes<T>(again));
        ASSERT_EQ(block, again) << "bit " << bit;
      }
    EXPECT_EQ(gguf::sub_blocks<T> * layout.sub_block, gguf::block_info<T>.elements);
    EXPECT_LE(gguf::sub_blocks<T>, gguf::max_sub_blocks);
  });
}

TEST(Blocks, CodesSurvivePacking) {
  RandomValues random(1);
  for_each_type([&]<BlockType T>() {
    constexpr std::size_t n = gguf::block_info<T>.elements;
    const bool ternary = T == BlockType::tq1_0 || T == BlockType::tq2_0;
    for (int round = 0; round < 50; ++round) {
      std::array<std::uint8_t, n> codes, again{};
      for (auto& code : codes)
        code = ternary ? static_cast<std::uint8_t>(random.bits() % 3)
                       : static_cast<std::uint8_t>(random.bits() & ((1u << gguf::block_layout<T>.code_bits) - 1));
      Bytes<T> block;
      block.fill(0xff);
      gguf::pack_codes<T>(gguf::ConstCodeSpan<T>(codes), gguf::BlockBytes<T>(block));
      gguf::unpack_codes<T>(gguf::ConstBlockBytes<T>(block), gguf::CodeSpan<T>(again));
      ASSERT_EQ(codes, again);
    }
  });
}

TEST(Blocks, AnyBytesDecodeToWhatTheirFieldsSay) {
  RandomValues random(2);
  for_each_type([&]<BlockType T>() {
    constexpr const gguf::BlockLayout& layout = gguf::block_layout<T>;
    for (int round = 0; round < 300; ++round) {
      Bytes<T> block;
      for (auto& byte : block) byte = random.byte();
      Values<T> values;
      gguf::decode_block<T>(gguf::ConstBlockBytes<T>(block), gguf::BlockValues<T>(values));
      const gguf::BlockCodes codes = gguf::unpack_block<T>(gguf::ConstBlockBytes<T>(block));
      for (std::size_t i = 0; i < values.size(); ++i) {
        const std::size_t j = i / layout.sub_block;
        ASSERT_LT(codes.codes[i], 1 << layout.code_bits);
        const volatile float product =
            gguf::sub_block_scale<T>(codes, j) * static_cast<float>(gguf::level<T>(codes.codes[i]));
        const volatile float minimum = pare::F16::decode(codes.dmin) * static_cast<float>(codes.mins[j]);
        const float expected = layout.has_min ? product - minimum : product;
        if (std::isnan(expected))
          ASSERT_TRUE(std::isnan(values[i])) << i;
        else
          ASSERT_EQ(values[i], expected) << i;
      }
    }
  });
}

TEST(Blocks, DecodesByHand) {
  // Q4_1: d = 2, m = -3; element 0 in the low nibble and element 16 in the high nibble of the first code byte.
  Bytes<BlockType::q4_1> q4_1{};
  pare::store_le(&q4_1[0], pare::F16::encode(2.0f), 2);
  pare::store_le(&q4_1[2], pare::F16::encode(-3.0f), 2);
  q4_1[4] = 0x5f;
  Values<BlockType::q4_1> values;
  gguf::decode_block<BlockType::q4_1>(gguf::ConstBlockBytes<BlockType::q4_1>(q4_1), values);
  EXPECT_EQ(values[0], 27.0f);
  EXPECT_EQ(values[16], 7.0f);
  EXPECT_EQ(values[1], -3.0f);

  // IQ4_XS: d = 1, the second sub-block's scale 33 - 32, its first code 15.
  Bytes<BlockType::iq4_xs> iq4_xs{};
  pare::store_le(&iq4_xs[0], pare::F16::encode(1.0f), 2);
  iq4_xs[2] = 0x08;  // high bits 2 of sub-block 1
  iq4_xs[4] = 0x10;  // low bits 1 of sub-block 1
  iq4_xs[8 + 16] = 0x0f;
  Values<BlockType::iq4_xs> wide;
  gguf::decode_block<BlockType::iq4_xs>(gguf::ConstBlockBytes<BlockType::iq4_xs>(iq4_xs), wide);
  EXPECT_EQ(wide[32], 113.0f);
  EXPECT_EQ(wide[33], -127.0f);
  EXPECT_EQ(wide[0], -32.0f * -127.0f);

  // MXFP4: the byte 127 is 2^-1 for the doubled levels.
  Bytes<BlockType::mxfp4> mxfp4{};
  mxfp4[0] = 127;
  mxfp4[1] = 0x7f;
  Values<BlockType::mxfp4> fp4;
  gguf::decode_block<BlockType::mxfp4>(gguf::ConstBlockBytes<BlockType::mxfp4>(mxfp4), fp4);
  EXPECT_EQ(fp4[0], -6.0f);
  EXPECT_EQ(fp4[16], 6.0f);
}

TEST(Blocks, WorkInConstantExpressions) {
  constexpr float first = [] {
    Values<BlockType::q5_1> x{};
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) + 0.5f;
    Bytes<BlockType::q5_1> block{};
    gguf::encode_block<BlockType::q5_1>(gguf::ConstBlockValues<BlockType::q5_1>(x),
                                        gguf::BlockBytes<BlockType::q5_1>(block));
    gguf::decode_block<BlockType::q5_1>(gguf::ConstBlockBytes<BlockType::q5_1>(block), x);
    return x[7];
  }();
  static_assert(first == 7.5f);
}

TEST(Blocks, Ue4m3AsGgmlReadsIt) {
  EXPECT_EQ(gguf::decode_ue4m3(0x00), 0.0f);
  EXPECT_EQ(gguf::decode_ue4m3(0x7f), 0.0f);
  EXPECT_EQ(gguf::decode_ue4m3(0xff), 480.0f);
  for (unsigned code = 0; code < 0x7f; ++code) {
    EXPECT_EQ(gguf::decode_ue4m3(static_cast<std::uint8_t>(code)), pare::E4M3::decode(code));
    EXPECT_EQ(gguf::decode_ue4m3(static_cast<std::uint8_t>(code | 0x80)), pare::E4M3::decode(code));
    if (code > 0) {
      EXPECT_EQ(gguf::detail::encode_ue4m3(pare::E4M3::decode(code)), code < 0x78 ? code : 0x7e);
    }
  }
}

// ggml keeps what is below the smallest normal value subnormal, and gives 448 for all that has the largest exponent.
TEST(Blocks, Ue4m3RoundsAsGgml) {
  EXPECT_EQ(gguf::detail::encode_ue4m3(0x1.ffp-7f), 0x07);
  EXPECT_EQ(gguf::detail::encode_ue4m3(0x1p-6f), 0x08);
  EXPECT_EQ(gguf::detail::encode_ue4m3(0x1p-10f), 0x01);
  EXPECT_EQ(gguf::detail::encode_ue4m3(0x1.fffffep-11f), 0x00);
  EXPECT_EQ(gguf::detail::encode_ue4m3(0x1.1p0f), 0x39);  // half a unit above 1
  EXPECT_EQ(gguf::detail::encode_ue4m3(240.0f), 0x77);
  EXPECT_EQ(gguf::detail::encode_ue4m3(247.9f), 0x77);
  EXPECT_EQ(gguf::detail::encode_ue4m3(248.0f), 0x7e);
  EXPECT_EQ(gguf::detail::encode_ue4m3(447.9f), 0x7e);
  EXPECT_EQ(gguf::detail::encode_ue4m3(1e30f), 0x7e);
  EXPECT_EQ(gguf::detail::encode_ue4m3(0.0f), 0x00);
}

// Near powers of two log2f rounds up to an integer that the exponent has not reached yet.
TEST(Blocks, FloorOfLog2fIsTheCLibrarys) {
  for (int exponent = -126; exponent <= 127; ++exponent) {
    const float power = std::ldexp(1.0f, exponent);
    float x = power;
    for (int i = 0; i < 300; ++i, x = std::nextafter(x, 0.0f))
      ASSERT_EQ(gguf::detail::floor_log2f(x), static_cast<int>(std::floor(std::log2(x)))) << std::hexfloat << x;
  }
  EXPECT_EQ(gguf::detail::floor_log2f(std::numeric_limits<float>::max()), 128);
  RandomValues random(3);
  for (int i = 0; i < 200000; ++i) {
    const float x = pare::detail::bits_float(random.bits() % 0x7f7fffffu + 1);
    ASSERT_EQ(gguf::detail::floor_log2f(x), static_cast<int>(std::floor(std::log2(x)))) << std::hexfloat << x;
  }
}

}  // namespace
