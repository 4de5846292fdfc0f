#include "pare/layouts/compressed_tensors.hpp"

#include "layout_checks.hpp"
#include "pare/layouts/awq.hpp"
#include "pare/layouts/gptq.hpp"
#include "pare/layouts/modelopt.hpp"

namespace {
using namespace layout_test;
using pare::FloatQuantized;
using pare::IntQuantized;
using pare::PackedWords;
using pare::PackQuantized;
using pare::ScaleType;
using pare::Shape;
using pare::ShiftKind;

MatrixKind kind(int bits, Shape shape, std::size_t group) {
  return {.shape = shape,
          .format = pare::unsigned_format(bits),
          .block = {1, group},
          .shift = ShiftKind::zero_point,
          .lowest_zero = 0,
          .highest_zero = (1 << bits) - 1};
}

MatrixKind symmetric(int bits, Shape shape, std::size_t group) {
  MatrixKind like = kind(bits, shape, group);
  like.lowest_zero = like.highest_zero = 1 << (bits - 1);
  return like;
}

TEST(PackQuantized, RoundTripsEveryWidthOfBothAges) {
  for (int bits = 1; bits <= 8; ++bits)
    for (const PackedWords words : {PackedWords::dense, PackedWords::padded})
      for (const Shape shape : {Shape{3, 50}, {33, 96}, {1, 1}}) {
        const std::size_t group = shape.cols % 10 == 0 ? 10 : shape.cols;
        expect_round_trip(PackQuantized{.bits = bits, .words = words}, random_matrix(symmetric(bits, shape, group), 1));
        expect_round_trip(PackQuantized{.bits = bits, .symmetric = false, .words = words},
                          random_matrix(kind(bits, shape, group), 2));
      }
}

TEST(PackQuantized, RoundTripsRaggedGroupsActOrderAndScaleTypes) {
  MatrixKind like = kind(4, {5, 100}, 32);
  expect_round_trip(PackQuantized{.group_size = 32, .symmetric = false}, random_matrix(like, 3));
  EXPECT_NE(refusal(PackQuantized{.symmetric = false}, random_matrix(like, 3)).find("shorter last group"),
            std::string::npos);
  like.shape.cols = 96;
  like.act_order = true;
  for (const ScaleType type : {ScaleType::float32, ScaleType::float16, ScaleType::bfloat16}) {
    like.scales = type;
    expect_round_trip(PackQuantized{.symmetric = false}, random_matrix(like, 4));
  }
  like = symmetric(4, {5, 96}, 32);
  like.act_order = true;
  expect_round_trip(PackQuantized{}, random_matrix(like, 5));
}

TEST(PackQuantized, StoresOffsetBinaryAndZeroPointsAlongTheOutputs) {
  auto matrix = random_matrix(kind(4, {9, 8}, 8), 6);
  for (std::size_t r = 0; r < 9; ++r) matrix.shifts()(r, 0) = static_cast<float>(r);
  for (std::size_t c = 0; c < 8; ++c) matrix.codes()(0, c) = static_cast<std::uint8_t>(c);
  const auto parts = write(PackQuantized{.symmetric = false}, matrix);
  EXPECT_EQ(pare::load_le(parts[0].view().bytes.data(), 4), 0x76543210u);
  EXPECT_EQ(parts[3].shape, (std::vector<std::size_t>{2, 1}));
  EXPECT_EQ(pare::load_le(parts[3].view().bytes.data(), 8), 0x0000000876543210u);
}

TEST(PackQuantized, SaysWhichWordsAFileHas) {
  const auto parts =
      write(PackQuantized{.bits = 5, .words = PackedWords::padded}, random_matrix(symmetric(5, {4, 50}, 50), 7));
  EXPECT_EQ(read_error(PackQuantized{.bits = 5}, views(parts)),
            "pare: weight_packed is [4, 9], not [4, 8]; it has the words of PackedWords::padded");
}

TEST(PackQuantized, CentresWhatIsAsymmetricIfItFits) {
  auto matrix = random_matrix(kind(4, {2, 16}, 16), 8);
  matrix.shifts()(0, 0) = 8.0f;
  matrix.shifts()(1, 0) = 10.0f;
  for (std::size_t c = 0; c < 16; ++c) matrix.codes()(1, c) = static_cast<std::uint8_t>(2 + c % 14);
  const auto back = PackQuantized{}.read(views(write(PackQuantized{}, matrix)));
  ASSERT_TRUE(back);
  for (std::size_t r = 0; r < 2; ++r)
    for (std::size_t c = 0; c < 16; ++c) EXPECT_EQ(back->value(r, c), matrix.value(r, c));
  matrix.codes()(1, 4) = 1;
  EXPECT_NE(refusal(PackQuantized{}, matrix).find("row 1, group 0: -9 in column 4"), std::string::npos);
}

TEST(PackQuantized, TakesGptqAndAwqWithoutALoss) {
  MatrixKind like = kind(4, {64, 128}, 32);
  like.lowest_zero = 1;
  const auto matrix = random_matrix(like, 9);
  const PackQuantized packed{.symmetric = false};
  const auto from_gptq = pare::AutoGptq{}.read(views(write(pare::AutoGptq{}, matrix)));
  const auto from_packed = packed.read(views(write(packed, *from_gptq)));
  const auto from_awq = pare::AwqGemm{}.read(views(write(pare::AwqGemm{}, *from_packed)));
  ASSERT_TRUE(from_awq);
  EXPECT_EQ(difference(matrix, *from_awq), "");
}

TEST(PackQuantized, FindsDamage) {
  const PackQuantized layout{.group_size = 32, .symmetric = false};
  MatrixKind like = kind(4, {8, 96}, 32);
  like.act_order = true;
  auto parts = write(layout, random_matrix(like, 10));
  expect_damage_is_found(layout, parts, {"weight_zero_point", "weight_g_idx"});
  pare::store_le(parts[2].bytes().data(), ~std::uint64_t{0}, 8);
  EXPECT_EQ(read_error(layout, views(parts)), "pare: weight_shape is no shape of a matrix");
  pare::store_le(parts[2].bytes().data(), std::uint64_t{1} << 50, 8);
  EXPECT_NE(read_error(layout, views(parts)).find("weight_packed"), std::string::npos);
  EXPECT_NE(read_error(PackQuantized{.bits = 9}, views(parts)).find("9"), std::string::npos);
  EXPECT_NE(refusal(PackQuantized{.bits = 0}, random_matrix(like, 10)).find("0"), std::string::npos);
}

TEST(IntQuantized, RoundTripsChannelsGroupsAndTensors) {
  for (const Shape block : {Shape{1, 60}, {1, 20}, {7, 60}}) {
    MatrixKind like = symmetric(8, {7, 60}, 60);
    like.block = block;
    expect_round_trip(IntQuantized{}, random_matrix(like, 1));
    like.lowest_zero = 0;
    like.highest_zero = 255;
    expect_round_trip(IntQuantized{.symmetric = false}, random_matrix(like, 2));
  }
  const auto parts = write(IntQuantized{}, random_matrix(symmetric(8, {7, 60}, 60), 3));
  EXPECT_EQ(parts[1].shape, (std::vector<std::size_t>{7, 1}));
  expect_damage_is_found(IntQuantized{}, parts, {}, {"weight 1", "weight_scale 1"});
  const IntQuantized asymmetric{.symmetric = false};
  expect_damage_is_found(asymmetric, write(asymmetric, random_matrix(kind(8, {7, 60}, 60), 4)), {"weight_zero_point"},
                         {"weight 1"});
}

TEST(FloatQuantized, RoundTripsChannelsTensorsAndBlocks) {
  MatrixKind like{.shape = {130, 200}, .format = pare::code_format<pare::E4M3>(), .scales = ScaleType::bfloat16};
  for (const Shape block : {Shape{1, 200}, {130, 200}, {1, 50}}) {
    like.block = block;
    expect_round_trip(FloatQuantized{}, random_matrix(like, 1));
  }
  like.block = {128, 128};
  const FloatQuantized blocks{.block = {128, 128}};
  expect_round_trip(blocks, random_matrix(like, 2));
  expect_damage_is_found(blocks, write(blocks, random_matrix(like, 3)), {}, {"weight 0", "weight 1"});
  EXPECT_NE(refusal(FloatQuantized{}, random_matrix(like, 3)).find("without their size"), std::string::npos);
  EXPECT_NE(read_error(FloatQuantized{}, views(write(blocks, random_matrix(like, 3)))).find("block's size"),
            std::string::npos);
  const auto parts =
      write(FloatQuantized{}, random_matrix({.shape = {4, 8}, .format = like.format, .block = {4, 8}}, 4));
  EXPECT_EQ(parts[1].shape, (std::vector<std::size_t>{1}));
  EXPECT_NE(refusal(FloatQuantized{}, random_matrix(symmetric(8, {4, 8}, 8), 5)).find("uint8"), std::string::npos);
}

TEST(CompressedFloatBlocks, RoundTrip) {
  MatrixKind like{
      .shape = {5, 96}, .format = pare::code_format<pare::E2M1>(), .block = {1, 32}, .scales = ScaleType::float8_e8m0};
  expect_round_trip(pare::CompressedMxfp4{}, random_matrix(like, 1));
  expect_damage_is_found(pare::CompressedMxfp4{}, write(pare::CompressedMxfp4{}, random_matrix(like, 1)));
  like.format = pare::code_format<pare::E4M3>();
  expect_round_trip(pare::CompressedMxfp8{}, random_matrix(like, 2));
  like.format = pare::code_format<pare::E2M1>();
  like.scales = ScaleType::float8_e4m3;
  like.block = {1, 16};
  auto nvfp4 = random_matrix(like, 3);
  nvfp4.tensor_scale = 1234.5f;
  nvfp4.tensor_scale_kind = pare::TensorScale::divides_scale;
  expect_round_trip(pare::CompressedNvfp4{}, nvfp4);
  expect_damage_is_found(pare::CompressedNvfp4{}, write(pare::CompressedNvfp4{}, nvfp4));
  like.block = {1, 24};
  EXPECT_NE(refusal(pare::CompressedNvfp4{}, random_matrix(like, 4)).find("1 x 24"), std::string::npos);
}

TEST(CompressedFloatBlocks, TakeModeloptScalesWhereTheReciprocalIsExact) {
  MatrixKind like{
      .shape = {4, 32}, .format = pare::code_format<pare::E2M1>(), .block = {1, 16}, .scales = ScaleType::float8_e4m3};
  auto matrix = random_matrix(like, 1);
  matrix.tensor_scale_kind = pare::TensorScale::multiplies_scale;
  matrix.tensor_scale = 0.25f;
  const auto exact = pare::CompressedNvfp4{}.read(views(write(pare::CompressedNvfp4{}, matrix)));
  ASSERT_TRUE(exact);
  EXPECT_EQ(exact->tensor_scale, 4.0f);
  for (std::size_t c = 0; c < 32; ++c) EXPECT_EQ(exact->value(1, c), matrix.value(1, c));
  matrix.tensor_scale = 0.3f;
  EXPECT_NE(refusal(pare::CompressedNvfp4{}, matrix).find("reciprocal of 0.300000012 has to be rounded"),
            std::string::npos);
  const auto rounded = write(pare::CompressedNvfp4{.round_reciprocal = true}, matrix);
  ASSERT_EQ(rounded.size(), 3u);
  EXPECT_EQ(pare::scale_at(rounded[2].view(), 0), 1.0f / 0.3f);
  const auto back = pare::ModeloptNvfp4{.round_reciprocal = true}.write(*pare::CompressedNvfp4{}.read(views(rounded)));
  ASSERT_TRUE(back);
  matrix.tensor_scale = 0.0f;
  EXPECT_NE(refusal(pare::CompressedNvfp4{}, matrix).find("reciprocal"), std::string::npos);
}

TEST(CompressedRules, FollowTheSpecification) {
  const auto sym = pare::compressed_parameters({.lowest = -7.5f, .highest = 3.0f}, 4, true);
  EXPECT_EQ(sym.scale, 1.0f);
  EXPECT_EQ(pare::compressed_code(-7.5f, sym, 4), 0);
  EXPECT_EQ(pare::compressed_code(7.5f, sym, 4), 15);
  EXPECT_EQ(pare::compressed_code(2.5f, sym, 4), 10);
  const auto asym = pare::compressed_parameters({.lowest = -3.0f, .highest = 12.0f}, 4, false);
  EXPECT_EQ(asym.scale, 1.0f);
  EXPECT_EQ(asym.zero_point, 3);
  EXPECT_EQ(pare::compressed_code(12.0f, asym, 4), 15);
  const auto zeros = pare::compressed_parameters({}, 4, false);
  EXPECT_EQ(zeros.scale, std::numeric_limits<float>::epsilon());
  EXPECT_EQ(zeros.zero_point, 8);
  EXPECT_EQ(pare::compressed_code(std::numeric_limits<float>::quiet_NaN(), zeros, 4), 8);
}

}  // namespace
