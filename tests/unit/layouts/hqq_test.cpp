#include "pare/layouts/hqq.hpp"

#include "layout_checks.hpp"
#include "pare/layouts/awq.hpp"
#include "pare/layouts/mlc.hpp"

namespace {
using namespace layout_test;
using pare::Hqq;
using pare::Shape;
using pare::ShiftKind;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

pare::CodedMatrix groups(int bits, Shape shape, Shape block, unsigned seed,
                         pare::ScaleType scales = pare::ScaleType::float16) {
  auto matrix = random_matrix({.shape = shape,
                               .format = pare::unsigned_format(bits),
                               .block = block,
                               .shift = ShiftKind::real_zero,
                               .scales = scales,
                               .lowest_zero = -3,
                               .highest_zero = 1 << bits},
                              seed);
  for (std::size_t r = 0; r < matrix.grid.rows; ++r)
    for (std::size_t g = 0; g < matrix.grid.cols; ++g) matrix.shifts()(r, g) += 0.25f;
  return matrix;
}

TEST(Hqq, RoundTrips) {
  for (const int bits : {1, 2, 3, 4, 5, 6, 8}) {
    // Within rows, whole columns, and the grouped matrix of either axis.
    expect_round_trip(Hqq{.bits = bits, .group_size = 32, .shape = {4, 96}}, groups(bits, {4, 96}, {1, 32}, 1));
    expect_round_trip(Hqq{.bits = bits, .axis = 0, .group_size = 16, .shape = {16, 24}},
                      groups(bits, {16, 24}, {16, 1}, 2));
    expect_round_trip(Hqq{.bits = bits, .group_size = 64, .shape = {16, 48}}, groups(bits, {12, 64}, {1, 64}, 3));
    expect_round_trip(Hqq{.bits = bits, .axis = 0, .group_size = 16, .shape = {32, 12}},
                      groups(bits, {16, 24}, {16, 1}, 4));
  }
  expect_round_trip(Hqq{.bits = 3, .group_size = 8, .shape = {1, 8}}, groups(3, {1, 8}, {1, 8}, 5));
  for (const auto type : {pare::ScaleType::bfloat16, pare::ScaleType::float32})
    expect_round_trip(Hqq{.shape = {8, 64}}, groups(4, {8, 64}, {1, 64}, 6, type));
  for (const Shape empty : {Shape{0, 64}, {0, 0}, {8, 0}})
    expect_round_trip(Hqq{.shape = empty}, groups(4, empty, {1, 64}, 7));
}

TEST(Hqq, RowsFarApartShareAWord) {
  auto nibbles = groups(4, {4, 2}, {1, 2}, 1);
  for (std::size_t r = 0; r < 4; ++r) nibbles.codes()(r, 0) = static_cast<std::uint8_t>(r + 10);
  const auto four = write(Hqq{.group_size = 2}, nibbles);
  EXPECT_EQ(four[0].shape, (std::vector<std::size_t>{2, 2}));
  EXPECT_EQ(four[0].view().bytes[0], 0xac);
  EXPECT_EQ(four[0].view().bytes[2], 0xbd);

  auto threes = groups(3, {12, 1}, {1, 1}, 2);
  for (std::size_t r = 0; r < 12; ++r) threes.codes()(r, 0) = static_cast<std::uint8_t>(r % 8);
  const auto three = write(Hqq{.bits = 3, .group_size = 1}, threes);
  ASSERT_EQ(three[0].shape, (std::vector<std::size_t>{2, 1}));
  // Rows 0, 2, 4, 6, 8, 10 and four of padding from bit 27 down.
  EXPECT_EQ(pare::load_le(three[0].view().bytes.data(), 4),
            0u << 27 | 2u << 24 | 4u << 21 | 6u << 18 | 0u << 15 | 2u << 12);
  EXPECT_EQ(pare::load_le(three[0].view().bytes.data() + 4, 4),
            1u << 27 | 3u << 24 | 5u << 21 | 7u << 18 | 1u << 15 | 3u << 12);
}

TEST(Hqq, RefusesWhatItCannotHold) {
  const auto matrix = groups(4, {4, 96}, {1, 32}, 3);
  EXPECT_NE(refusal(Hqq{.bits = 3, .group_size = 32}, matrix).find("codes of uint4 in 3 bits"), std::string::npos);
  EXPECT_NE(refusal(Hqq{.group_size = 48}, matrix).find("1 x 32"), std::string::npos);
  EXPECT_NE(refusal(Hqq{.group_size = 36}, matrix).find("no groups of 36"), std::string::npos);
  EXPECT_NE(refusal(Hqq{.axis = 0, .group_size = 2}, matrix).find("groups make 2 x 192"), std::string::npos);
  EXPECT_NE(refusal(Hqq{.group_size = 32, .shape = {2, 96}}, matrix).find("groups make"), std::string::npos);
  auto added = groups(4, {4, 64}, {1, 64}, 3);
  added.shift_kind = ShiftKind::offset;
  EXPECT_NE(refusal(Hqq{}, added).find("shifts that are added"), std::string::npos);
  auto inexact = groups(4, {4, 64}, {1, 64}, 3);
  inexact.shifts()(3, 0) = 1.0f / 3.0f;
  EXPECT_NE(refusal(Hqq{}, inexact).find("row 3, group 0: 0.333333343 is no float16"), std::string::npos);
  inexact = groups(4, {4, 64}, {1, 64}, 3);
  inexact.scales()(2, 0) = 1e6f;
  EXPECT_NE(refusal(Hqq{}, inexact).find("row 2, group 0: 1000000 is no float16"), std::string::npos);
  inexact.tensor_scale = 2.0f;
  EXPECT_NE(refusal(Hqq{}, inexact).find("scale of the whole tensor"), std::string::npos);
}

TEST(Hqq, FindsDamage) {
  for (const int axis : {0, 1}) {
    const Hqq layout{.axis = axis, .group_size = 32, .shape = {32, 64}};
    const auto matrix = groups(4, {32, 64}, axis == 1 ? Shape{1, 32} : Shape{32, 1}, 4);
    const auto parts = write(layout, matrix);
    expect_damage_is_found(layout, parts);
    for (const Hqq& bad : {Hqq{.bits = 7, .shape = {32, 64}}, Hqq{.bits = 0, .shape = {32, 64}},
                           Hqq{.bits = 9, .shape = {32, 64}}, Hqq{.axis = 2, .shape = {32, 64}},
                           Hqq{.axis = -1, .shape = {32, 64}}, Hqq{.group_size = 0, .shape = {32, 64}}}) {
      EXPECT_NE(read_error(bad, views(parts)).find("1 to 6 or 8 bits"), std::string::npos);
      EXPECT_NE(refusal(bad, matrix).find("1 to 6 or 8 bits"), std::string::npos);
    }
    for (const std::size_t extent : {std::size_t{1} << 42, std::size_t{1} << 62, ~std::size_t{0}})
      for (const Shape shape : {Shape{1, extent}, {extent, 1}, {extent, extent}})
        EXPECT_FALSE((Hqq{.axis = axis, .group_size = extent, .shape = shape}.read(views(parts))));
  }
  // One group of which nothing but the words' number tells that it is not huge.
  const auto single = write(Hqq{.group_size = 64}, groups(4, {1, 64}, {1, 64}, 4));
  constexpr std::size_t huge = std::size_t{1} << 42;
  EXPECT_NE(read_error(Hqq{.group_size = huge, .shape = {1, huge}}, views(single)).find("W_q is [1, 64]"),
            std::string::npos);
  const Hqq bytes{.bits = 5, .shape = {1, 64}};
  auto fives = write(bytes, groups(5, {1, 64}, {1, 64}, 4));
  fives[0].bytes()[7] = 32;
  EXPECT_NE(read_error(bytes, views(fives)).find("code 32 of 5 bits"), std::string::npos);
}

TEST(Hqq, ParametersOfEveryRange) {
  const auto plain = pare::hqq_parameters(-1.0f, 2.0f, 4);
  EXPECT_EQ(plain.inverse_scale, 5.0f);
  EXPECT_EQ(plain.zero, 5.0f);
  EXPECT_EQ(plain.scale, 0.2f);
  EXPECT_EQ(pare::hqq_code(-1.0f, plain, 4), 0);
  EXPECT_EQ(pare::hqq_code(2.0f, plain, 4), 15);
  EXPECT_EQ(pare::hqq_code(-0.5f, plain, 4), 2);  // 2.5
  EXPECT_EQ(pare::hqq_code(-0.3f, plain, 4), 4);  // 3.5
  for (const float equal : {0.0f, -0.0f, 3.0f, 1e30f}) {
    const auto p = pare::hqq_parameters(equal, equal, 4);
    EXPECT_EQ(p.scale, 1.0f);
    EXPECT_EQ(p.zero, -equal);
    EXPECT_EQ(pare::hqq_code(equal, p, 4), 0);
  }
  EXPECT_EQ(pare::hqq_parameters(0.0f, 0.0002f, 4).inverse_scale, 2e4f);
  // Nothing finite has a code of its own, yet every code is one.
  for (const float lowest : {-infinity, nan, -3e38f, 0.0f})
    for (const float highest : {infinity, nan, 3e38f, 0.0f})
      for (const int bits : {1, 4, 8}) {
        const auto p = pare::hqq_parameters(lowest, highest, bits);
        for (const float x : {nan, infinity, -infinity, 0.0f, 3e38f, -3e38f})
          EXPECT_LT(pare::hqq_code(x, p, bits), 1 << bits);
      }
  EXPECT_EQ(pare::hqq_code(nan, plain, 4), 0);
  EXPECT_EQ(pare::hqq_code(infinity, plain, 4), 15);
  EXPECT_EQ(pare::hqq_code(-infinity, plain, 4), 0);
}

TEST(Hqq, ConvertsFromAwqAndBack) {
  const auto matrix = random_matrix({.shape = {16, 128},
                                     .format = pare::unsigned_format(4),
                                     .block = {1, 64},
                                     .shift = ShiftKind::zero_point,
                                     .highest_zero = 15},
                                    5);
  const auto awq = pare::AwqGemm{}.read(views(write(pare::AwqGemm{}, matrix)));
  ASSERT_TRUE(awq);
  const auto hqq = converted(Hqq{.shape = {16, 128}}, *awq);
  EXPECT_EQ(hqq.shift_kind, ShiftKind::real_zero);
  EXPECT_EQ(difference(converted(pare::AwqGemm{}, hqq), matrix), "");
  // Smaller groups repeat the scales.
  converted(Hqq{.group_size = 16, .shape = {16, 128}}, hqq);
  EXPECT_NE(refusal(pare::AwqGemm{}, groups(4, {16, 128}, {1, 64}, 6)).find("is no integer"), std::string::npos);
  EXPECT_NE(refusal(pare::Mlc{}, groups(4, {16, 128}, {1, 64}, 6)).find("is no integer"), std::string::npos);
}

}  // namespace
