#include "pare/layouts/bitsandbytes.hpp"

#include "layout_checks.hpp"
#include "pare/layouts/hqq.hpp"

namespace {
using namespace layout_test;
using pare::Bitsandbytes4Bit;
using pare::BitsandbytesInt8;
using pare::Shape;
using pare::ShiftKind;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

pare::CodedMatrix four_bits(Shape shape, std::size_t block, unsigned seed,
                            const pare::CodeFormat& format = pare::code_format<pare::NF4>()) {
  return random_matrix({.shape = shape, .format = format, .block = {1, block}, .scales = pare::ScaleType::float32},
                       seed);
}

pare::CodedMatrix eight_bits(Shape shape, unsigned seed) {
  auto matrix = random_matrix({.shape = shape,
                               .format = pare::unsigned_format(8),
                               .block = {1, shape.cols == 0 ? 1 : shape.cols},
                               .shift = ShiftKind::zero_point,
                               .scales = pare::ScaleType::float32,
                               .lowest_zero = 128,
                               .highest_zero = 128},
                              seed);
  matrix.tensor_scale = 127.0f;
  matrix.tensor_scale_kind = pare::TensorScale::divides_value;
  return matrix;
}

TEST(Bitsandbytes4Bit, RoundTrips) {
  for (const Shape shape : {Shape{1, 64}, {3, 192}, {8, 128}, {0, 64}, {5, 0}})
    expect_round_trip(Bitsandbytes4Bit{.shape = shape}, four_bits(shape, 64, 1));
  // Blocks that run across rows, an odd number of codes, and a shorter last block.
  expect_round_trip(Bitsandbytes4Bit{.shape = {3, 51}}, four_bits({1, 153}, 64, 2));
  expect_round_trip(Bitsandbytes4Bit{.shape = {1, 5}, .blocksize = 4096}, four_bits({1, 5}, 4096, 3));
  const auto fp4 = pare::code_format<pare::BnbFP4>();
  expect_round_trip(Bitsandbytes4Bit{.shape = {4, 128}, .format = fp4, .blocksize = 128},
                    four_bits({4, 128}, 128, 4, fp4));
}

TEST(Bitsandbytes4Bit, EarlierElementsHaveTheHighNibble) {
  auto matrix = four_bits({1, 5}, 64, 1);
  for (std::size_t c = 0; c < 5; ++c) matrix.codes()(0, c) = static_cast<std::uint8_t>(c + 9);
  matrix.scales()(0, 0) = 3.0f;
  const Bitsandbytes4Bit layout{.shape = {1, 5}};
  const auto parts = write(layout, matrix);
  EXPECT_EQ(parts[0].shape, (std::vector<std::size_t>{3, 1}));
  const auto bytes = parts[0].view().bytes;
  EXPECT_EQ(bytes[0], 0x9a);
  EXPECT_EQ(bytes[1], 0xbc);
  EXPECT_EQ(bytes[2], 0xd7);  // filled up with the code of 0
  EXPECT_EQ(layout.read(views(parts))->value(0, 4), pare::NF4::decode(13) * 3.0f);
}

TEST(Bitsandbytes4Bit, DoubleQuantizationRoundTrips) {
  const auto exact = four_bits({6, 256}, 64, 5);
  Bitsandbytes4Bit layout{.shape = exact.shape, .nested = true, .nested_blocksize = 5, .round_scales = true};
  for (const float offset : {0.0f, pare::bnb_nested_offset(exact)}) {
    layout.nested_offset = offset;
    const auto parts = write(layout, exact);
    const auto rounded = layout.read(views(parts));
    ASSERT_TRUE(rounded) << rounded.error().message;
    ASSERT_EQ(parts[3].shape, (std::vector<std::size_t>{5}));
    std::vector<float> nested;
    for (std::size_t i = 0; i < 5; ++i) nested.push_back(pare::scale_at(parts[3].view(), i));
    for (std::size_t r = 0; r < 6; ++r)
      for (std::size_t g = 0; g < 4; ++g) EXPECT_NEAR(rounded->scales()(r, g), exact.scales()(r, g), 0.03f);
    auto again = layout;
    again.round_scales = false;
    again.nested_absmax = nested;
    expect_round_trip(again, *rounded);
    EXPECT_NE(refusal(again, exact).find("has to be rounded for double quantization"), std::string::npos);
    expect_damage_is_found(layout, parts, {}, {}, {"weight"});
  }
  layout.nested_absmax = std::span<const float>(pare::bnb_dynamic_map).first(2);
  EXPECT_NE(refusal(layout, exact).find("2 nested absmax where there should be 5"), std::string::npos);
  layout.nested_blocksize = 0;
  EXPECT_NE(refusal(layout, exact).find("nested_blocksize is 0"), std::string::npos);
}

TEST(Bitsandbytes4Bit, RefusesWhatItCannotHold) {
  const auto matrix = four_bits({4, 128}, 64, 6);
  EXPECT_NE(refusal(Bitsandbytes4Bit{.format = pare::code_format<pare::BnbFP4>()}, matrix).find("only of bnb_fp4"),
            std::string::npos);
  EXPECT_NE(refusal(Bitsandbytes4Bit{.blocksize = 0}, matrix).find("is empty"), std::string::npos);
  EXPECT_NE(refusal(Bitsandbytes4Bit{.blocksize = 128}, matrix).find("1 x 64"), std::string::npos);
  EXPECT_NE(refusal(Bitsandbytes4Bit{}, four_bits({3, 50}, 64, 6)).find("need it as 1 x 150"), std::string::npos);
  auto scaled = four_bits({4, 64}, 64, 6);
  scaled.tensor_scale = 0.5f;
  EXPECT_NE(refusal(Bitsandbytes4Bit{}, scaled).find("scale of the whole tensor"), std::string::npos);
  auto shifted = random_matrix({.shape = {2, 64},
                                .format = pare::code_format<pare::NF4>(),
                                .block = {1, 64},
                                .shift = ShiftKind::offset,
                                .scales = pare::ScaleType::float32,
                                .lowest_zero = 1,
                                .highest_zero = 1},
                               6);
  EXPECT_NE(refusal(Bitsandbytes4Bit{}, shifted).find("row 0, group 0: 1 is not 0"), std::string::npos);
}

TEST(Bitsandbytes4Bit, FindsDamage) {
  const Bitsandbytes4Bit layout{.shape = {4, 128}};
  const auto parts = write(layout, four_bits({4, 128}, 64, 7));
  expect_damage_is_found(layout, parts, {}, {}, {"weight"});
  EXPECT_NE(read_error(Bitsandbytes4Bit{.shape = {4, 128}, .blocksize = 0}, views(parts)).find("blocksize is 0"),
            std::string::npos);
  EXPECT_NE(read_error(Bitsandbytes4Bit{.shape = {4, 128}, .format = pare::code_format<pare::BnbFP4>()}, views(parts))
                .find("where bnb_fp4 has"),
            std::string::npos);
  for (const std::size_t extent : {std::size_t{1} << 40, std::size_t{1} << 62, ~std::size_t{0}})
    for (const Shape shape : {Shape{4, extent}, {extent, 128}, {extent, extent}})
      EXPECT_FALSE((Bitsandbytes4Bit{.shape = shape, .blocksize = extent}.read(views(parts))));
}

TEST(Bitsandbytes, DynamicMapHasNearestCodes) {
  EXPECT_EQ(pare::bnb_dynamic_map.front(), -pare::bnb_dynamic_map[254]);
  EXPECT_EQ(pare::bnb_dynamic_map[127], 0.0f);
  EXPECT_EQ(pare::bnb_dynamic_map.back(), 1.0f);
  for (unsigned code = 0; code < 256; ++code) EXPECT_EQ(pare::bnb_dynamic_code(pare::bnb_dynamic_map[code]), code);
  for (std::size_t code = 1; code < 256; ++code)
    EXPECT_LT(pare::bnb_dynamic_map[code - 1], pare::bnb_dynamic_map[code]);
  EXPECT_EQ(pare::bnb_dynamic_code(nan), 0);
  EXPECT_EQ(pare::bnb_dynamic_code(-0.0f), 127);
  EXPECT_EQ(pare::bnb_dynamic_code(-7.0f), 0);
  EXPECT_EQ(pare::bnb_dynamic_code(7.0f), 255);
  EXPECT_EQ(pare::bnb_dynamic_code(-infinity), 0);
  EXPECT_EQ(pare::bnb_dynamic_code(infinity), 255);
}

TEST(Bitsandbytes, ScalesWithinOne) {
  EXPECT_EQ(pare::bnb_scaled(-3.0f, 0.0f), 0.0f);
  EXPECT_EQ(pare::bnb_scaled(-3.0f, 2.0f), -1.0f);
  EXPECT_EQ(pare::bnb_scaled(0.5f, 2.0f), 0.25f);
  EXPECT_EQ(pare::bnb_scaled(infinity, 2.0f), 1.0f);
  EXPECT_EQ(pare::bnb_scaled(1e-44f, 1e-44f), 1.0f);
  EXPECT_TRUE(pare::is_nan(pare::bnb_scaled(nan, 2.0f)));
  EXPECT_EQ(pare::bnb_nested_offset(four_bits({0, 64}, 64, 1)), 0.0f);
}

TEST(BitsandbytesInt8, RoundTrips) {
  for (const Shape shape : {Shape{1, 1}, {3, 7}, {16, 64}, {0, 4}, {0, 0}})
    expect_round_trip(BitsandbytesInt8{}, eight_bits(shape, 1));
  auto matrix = eight_bits({1, 3}, 2);
  matrix.scales()(0, 0) = 254.0f;
  matrix.codes()(0, 0) = 129;
  matrix.codes()(0, 1) = 1;
  const auto bytes = write(BitsandbytesInt8{}, matrix);
  EXPECT_EQ(bytes[0].view().bytes[0], 1);
  EXPECT_EQ(bytes[0].view().bytes[1], 0x81);
  EXPECT_EQ(matrix.value(0, 1), -254.0f);
}

TEST(BitsandbytesInt8, FindsDamageAndRefuses) {
  auto parts = write(BitsandbytesInt8{}, eight_bits({4, 8}, 3));
  expect_damage_is_found(BitsandbytesInt8{}, parts, {"weight_format"}, {"weight 1"});
  parts[2].bytes()[0] = 2;
  EXPECT_NE(read_error(BitsandbytesInt8{}, views(parts)).find("weight_format 2"), std::string::npos);
  auto plain = eight_bits({4, 8}, 4);
  plain.tensor_scale_kind = pare::TensorScale::multiplies_value;
  EXPECT_NE(refusal(BitsandbytesInt8{}, plain).find("no absmax"), std::string::npos);
  auto shifted = eight_bits({4, 8}, 4);
  shifted.shifts()(2, 0) = 0.0f;
  shifted.codes()(2, 5) = 200;
  for (std::size_t c = 0; c < 5; ++c) shifted.codes()(2, c) = 0;
  EXPECT_NE(refusal(BitsandbytesInt8{}, shifted).find("row 2, group 0: 200 in column 5 does not fit"),
            std::string::npos);
  EXPECT_NE(
      refusal(pare::Hqq{.bits = 8, .group_size = 8}, eight_bits({4, 8}, 4)).find("scale of the whole tensor, 127"),
      std::string::npos);
}

TEST(BitsandbytesInt8, CodesOfEveryFloat) {
  EXPECT_EQ(pare::bnb_int8_code(1.0f, 0.0f), 128);
  EXPECT_EQ(pare::bnb_int8_code(-2.0f, 2.0f), 1);
  EXPECT_EQ(pare::bnb_int8_code(2.0f, 2.0f), 255);
  EXPECT_EQ(pare::bnb_int8_code(2.5f, 127.0f), 130);
  EXPECT_EQ(pare::bnb_int8_code(nan, 2.0f), 128);
  EXPECT_EQ(pare::bnb_int8_code(infinity, 2.0f), 255);
  EXPECT_EQ(pare::bnb_int8_code(-infinity, 2.0f), 0);
  EXPECT_EQ(pare::bnb_int8_code(1.0f, 1e-44f), 255);
}

}  // namespace
