#include "pare/layouts/qserve.hpp"

#include "layout_checks.hpp"
#include "pare/layouts/awq.hpp"

namespace {
using namespace layout_test;
using pare::QServeOrder;
using pare::QServePerChannel;
using pare::QServePerGroup;
using pare::Shape;
using pare::ShiftKind;

/// A scale for each row and shifts that float16 holds.
pare::CodedMatrix per_channel(Shape shape, unsigned seed) {
  auto matrix = random_matrix({.shape = shape,
                               .format = pare::unsigned_format(4),
                               .block = {1, shape.cols == 0 ? 1 : shape.cols},
                               .shift = ShiftKind::offset,
                               .lowest_zero = -40,
                               .highest_zero = 40},
                              seed);
  for (std::size_t r = 0; r < matrix.grid.rows && matrix.grid.cols != 0; ++r)
    matrix.shifts()(r, 0) = matrix.shifts()(r, 0) / 16.0f + 1.0f / 64.0f;
  return matrix;
}

/// Groups whose scales are 1 to 8 times that of their row; 1 and 7 among them.
pare::CodedMatrix per_group(Shape shape, std::size_t group, unsigned seed) {
  auto matrix = random_matrix({.shape = shape,
                               .format = pare::unsigned_format(4),
                               .block = {1, group},
                               .shift = ShiftKind::zero_point,
                               .scales = pare::ScaleType::float32,
                               .highest_zero = 15},
                              seed);
  for (std::size_t r = 0; r < matrix.grid.rows; ++r)
    for (std::size_t g = 0; g < matrix.grid.cols; ++g)
      matrix.scales()(r, g) = static_cast<float>(g == 0   ? 1
                                                 : g == 1 ? 7
                                                          : 1 + (r + g) % 8) *
                              static_cast<float>(r + 1) / 1024.0f;
  return matrix;
}

TEST(QServe, PerChannelRoundTrips) {
  for (const Shape shape : {Shape{32, 32}, {64, 96}, {96, 256}, {0, 32}, {32, 0}, {0, 0}})
    expect_round_trip(QServePerChannel{}, per_channel(shape, 1));
}

TEST(QServe, PerGroupRoundTrips) {
  for (const auto order : {QServeOrder::kernel, QServeOrder::deepcompressor})
    for (const std::size_t group : {32u, 48u, 64u, 128u})
      for (const Shape shape : {Shape{32, 384}, {96, 768}, {0, 384}, {32, 0}})
        expect_round_trip(QServePerGroup{.group_size = group, .order = order}, per_group(shape, group, 2));
}

TEST(QServe, CodesAndScalesLieAsTheKernelsLoadThem) {
  auto matrix = per_group({32, 64}, 32, 3);
  std::fill_n(matrix.codes().data, 32 * 64, std::uint8_t{0});
  matrix.codes()(0, 0) = 1;
  matrix.codes()(16, 0) = 2;  // the high nibble beside it
  matrix.codes()(8, 1) = 3;
  matrix.codes()(1, 36) = 5;
  for (std::size_t r = 0; r < 32; ++r)
    for (std::size_t g = 0; g < 2; ++g) matrix.shifts()(r, g) = 0.0f;
  matrix.scales()(9, 1) = 3.0f * matrix.scales()(9, 0);
  matrix.shifts()(9, 1) = 2.0f;
  const auto parts = write(QServePerGroup{.group_size = 32}, matrix);
  const auto bytes = parts[0].view().bytes;
  EXPECT_EQ(parts[0].shape, (std::vector<std::size_t>{32, 32}));
  EXPECT_EQ(bytes[0], 0x21);
  EXPECT_EQ(bytes[4 + 1], 0x03);
  EXPECT_EQ(bytes[512 + (4 + 1) * 16], 0x05);
  EXPECT_EQ(std::count(bytes.begin(), bytes.end(), 0), std::ssize(bytes) - 3);
  // Output 9 of 32: 4 * (9 % 8) + 9 / 8.
  EXPECT_EQ(parts[2].view().bytes[32 + 5], 3);
  EXPECT_EQ(parts[3].view().bytes[32 + 5], 0xfa);
  const auto other = write(QServePerGroup{.group_size = 32, .order = QServeOrder::deepcompressor}, matrix);
  EXPECT_EQ(other[2].view().bytes[32 + 3], 3);
}

TEST(QServe, PerChannelRefusesWhatItCannotHold) {
  EXPECT_NE(refusal(QServePerChannel{}, per_channel({31, 32}, 4)).find("31 x 32 weights"), std::string::npos);
  EXPECT_NE(refusal(QServePerChannel{}, per_channel({32, 48}, 4)).find("32 x 48 weights"), std::string::npos);
  EXPECT_NE(refusal(QServePerChannel{}, per_group({32, 64}, 32, 4)).find("1 x 32"), std::string::npos);
  auto inexact = per_channel({32, 32}, 4);
  inexact.shifts()(7, 0) = 0.1f;
  EXPECT_NE(refusal(QServePerChannel{}, inexact).find("row 7, group 0: 0.100000001 is no float16"), std::string::npos);
  const auto rounded = QServePerChannel{}.read(views(write(QServePerChannel{.round_offsets = true}, inexact)));
  EXPECT_EQ(rounded->shifts()(7, 0), static_cast<float>(pare::Half(0.1f)));
  inexact.tensor_scale = 2.0f;
  EXPECT_NE(refusal(QServePerChannel{}, inexact).find("scale of the whole tensor"), std::string::npos);
}

TEST(QServe, PerGroupRefusesWhatItCannotHold) {
  const QServePerGroup layout{.group_size = 32};
  const auto matrix = per_group({32, 96}, 32, 5);
  EXPECT_NE(refusal(QServePerGroup{.group_size = 0}, matrix).find("group_size is 0"), std::string::npos);
  EXPECT_NE(refusal(QServePerGroup{.group_size = 64}, matrix).find("multiples of 1 x 64"), std::string::npos);
  auto bad = per_group({32, 96}, 32, 5);
  bad.scales()(3, 2) = bad.scales()(3, 0) * 18.5f;
  EXPECT_NE(refusal(layout, bad).find("no multiples, 1 to 17, of a float16"), std::string::npos);
  for (const float scale :
       {0.0f, -1.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    bad.scales()(3, 2) = scale;
    EXPECT_NE(refusal(layout, bad).find("row 3, group 0"), std::string::npos) << scale;
  }
  const std::vector<float> units(32, 1.0f / 512.0f), few(31, 1.0f);
  EXPECT_NE(refusal(QServePerGroup{.group_size = 32, .channel_scales = few}, matrix).find("31 values for 32"),
            std::string::npos);
  EXPECT_NE(refusal(QServePerGroup{.group_size = 32, .channel_scales = units}, matrix)
                .find("no multiple, 1 to 17, of 0.001953125"),
            std::string::npos);
  auto large = per_group({32, 96}, 32, 5);
  large.codes()(0, 33) = 15;
  large.shifts()(0, 1) = 0.0f;
  large.scales()(0, 1) = 9.0f * large.scales()(0, 0);
  for (std::size_t c = 34; c < 64; ++c) large.codes()(0, c) = 0;
  large.codes()(0, 32) = 0;
  EXPECT_NE(refusal(layout, large).find("135 of the first level does not fit"), std::string::npos);
  large.shifts()(0, 1) = 16.0f;
  EXPECT_NE(refusal(layout, large).find("16 is not within 0 .. 15"), std::string::npos);
}

TEST(QServe, FindsDamage) {
  expect_damage_is_found(QServePerChannel{}, write(QServePerChannel{}, per_channel({32, 64}, 6)));
  const QServePerGroup layout{.group_size = 32};
  auto parts = write(layout, per_group({32, 96}, 32, 6));
  expect_damage_is_found(layout, parts);
  EXPECT_NE(read_error(QServePerGroup{.group_size = 0}, views(parts)).find("group_size is 0"), std::string::npos);
  EXPECT_NE(read_error(QServePerGroup{.group_size = 64}, views(parts)).find("groups of 64"), std::string::npos);
  EXPECT_NE(read_error(QServePerGroup{.group_size = ~std::size_t{0}}, views(parts)).find("groups of"),
            std::string::npos);
  const std::uint8_t scale = parts[2].bytes()[4];
  for (const int wrong : {0, 18, 127, 255}) {
    parts[2].bytes()[4] = static_cast<std::uint8_t>(wrong);
    EXPECT_NE(read_error(layout, views(parts)).find("s2_scales is " + std::to_string(static_cast<std::int8_t>(wrong))),
              std::string::npos);
  }
  parts[2].bytes()[4] = scale;
  parts[3].bytes()[32] = 1;  // the scale is 7
  EXPECT_NE(read_error(layout, views(parts)).find("s2_zeros is no multiple"), std::string::npos);
  parts[3].bytes()[32] = 0;
  parts[2].bytes()[32] = 17;
  EXPECT_NE(read_error(layout, views(parts)).find("8-bit weight overflows"), std::string::npos);
}

TEST(QServe, ConvertsFromAwq) {
  const auto groups = per_group({64, 128}, 64, 7);
  const auto awq = converted(pare::AwqGemm{}, groups);
  const auto qserve = converted(QServePerGroup{.group_size = 64}, awq);
  EXPECT_EQ(difference(converted(pare::AwqGemm{}, qserve), awq), "");
  EXPECT_EQ(qserve.scale_type, pare::ScaleType::float32);
  auto rows = random_matrix({.shape = {64, 128},
                             .format = pare::unsigned_format(4),
                             .block = {1, 128},
                             .shift = ShiftKind::zero_point,
                             .highest_zero = 15},
                            8);
  for (std::size_t r = 0; r < 64; ++r) rows.scales()(r, 0) = static_cast<float>(r + 1) / 64.0f;
  const auto channels = converted(QServePerChannel{}, rows);
  EXPECT_EQ(channels.shift_kind, ShiftKind::offset);
  EXPECT_EQ(difference(converted(pare::AwqGemm{}, channels), rows), "");
}

}  // namespace
