#include "pare/layouts/gptq.hpp"

#include "layout_checks.hpp"

namespace {
using namespace layout_test;
using pare::AutoGptq;
using pare::GptqZeros;
using pare::ShiftKind;

MatrixKind kind(int bits, int lowest, int highest) {
  return {.shape = {64, 96},
          .format = pare::unsigned_format(bits),
          .block = {1, 32},
          .shift = ShiftKind::zero_point,
          .lowest_zero = lowest,
          .highest_zero = highest};
}

TEST(AutoGptq, RoundTripsEveryWidthAndZeroPointConvention) {
  for (const int bits : {2, 3, 4, 8})
    for (const GptqZeros zeros : {GptqZeros::plus_one, GptqZeros::plus_one_wrapped, GptqZeros::as_stored}) {
      const int lowest = zeros == GptqZeros::plus_one ? 1 : 0;
      const auto matrix = random_matrix(kind(bits, lowest, lowest + (1 << bits) - 1), 1);
      expect_round_trip(AutoGptq{.bits = bits, .zeros = zeros}, matrix);
    }
}

TEST(AutoGptq, RoundTripsPlanarWidths) {
  for (int bits = 2; bits <= 8; ++bits)
    expect_round_trip(AutoGptq{.bits = bits, .zeros = GptqZeros::as_stored, .planar = true},
                      random_matrix(kind(bits, 0, (1 << bits) - 1), 2));
}

TEST(AutoGptq, RoundTripsShapesOrdersAndScaleTypes) {
  const AutoGptq layout{.zeros = GptqZeros::as_stored}, groups_of_32{.group_size = 32, .zeros = GptqZeros::as_stored};
  for (const pare::Shape shape : {pare::Shape{8, 8}, {8, 104}, {40, 8}, {16, 256}}) {
    MatrixKind ragged = kind(4, 0, 15);
    ragged.shape = shape;
    expect_round_trip(groups_of_32, random_matrix(ragged, 3));
    ragged.block.cols = shape.cols;
    expect_round_trip(layout, random_matrix(ragged, 3));
    ragged.scales = pare::ScaleType::bfloat16;
    expect_round_trip(layout, random_matrix(ragged, 3));
  }
  MatrixKind ordered = kind(4, 0, 15);
  ordered.act_order = true;
  expect_round_trip(layout, random_matrix(ordered, 4));
}

TEST(AutoGptq, EmptyMatricesRoundTrip) {
  for (const pare::Shape shape : {pare::Shape{0, 0}, {0, 32}, {32, 0}}) {
    MatrixKind empty = kind(4, 0, 15);
    empty.shape = shape;
    const auto parts = write(AutoGptq{.zeros = GptqZeros::as_stored}, random_matrix(empty, 1));
    const auto back = AutoGptq{.zeros = GptqZeros::as_stored}.read(views(parts));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(back->shape, shape);
  }
}

TEST(AutoGptq, LaysWordsDownTheInputsAndZeroPointsAlongTheOutputs) {
  auto matrix = random_matrix(
      {.shape = {8, 16}, .format = pare::unsigned_format(4), .block = {1, 16}, .shift = ShiftKind::zero_point}, 5);
  for (std::size_t c = 0; c < 16; ++c)
    for (std::size_t r = 0; r < 8; ++r) matrix.codes()(r, c) = static_cast<std::uint8_t>(r == 3 ? c : 0);
  for (std::size_t r = 0; r < 8; ++r) matrix.shifts()(r, 0) = static_cast<float>(r + 1);
  const auto parts = write(AutoGptq{}, matrix);
  ASSERT_EQ(parts.size(), 4u);
  const auto weight = parts[0].view();
  EXPECT_EQ(pare::load_le(weight.bytes.data() + 3 * 4, 4), 0x76543210u);
  EXPECT_EQ(pare::load_le(weight.bytes.data() + (8 + 3) * 4, 4), 0xfedcba98u);
  EXPECT_EQ(pare::load_le(parts[1].view().bytes.data(), 4), 0x76543210u);  // 1 .. 8, each less one
}

TEST(AutoGptq, AllOnesMeansWhatTheConventionSays) {
  for (const int bits : {2, 3, 4, 8}) {
    const auto ones = static_cast<std::uint32_t>((1 << bits) - 1);
    EXPECT_EQ(pare::gptq_zero(ones, bits, GptqZeros::plus_one), 1 << bits);
    EXPECT_EQ(pare::gptq_zero(ones, bits, GptqZeros::plus_one_wrapped), 0);
    EXPECT_EQ(pare::gptq_zero(ones, bits, GptqZeros::as_stored), (1 << bits) - 1);
  }
}

TEST(AutoGptq, RefusesWhatItCannotHold) {
  auto matrix = random_matrix(kind(4, 1, 15), 6);
  matrix.shifts()(2, 1) = 0.0f;
  EXPECT_EQ(refusal(AutoGptq{}, matrix),
            "pare: gptq cannot hold the zero point of row 2, group 1: 0 is not within 1 .. 16");
  matrix.shifts()(2, 1) = 16.0f;
  EXPECT_TRUE(AutoGptq{}.write(matrix));
  EXPECT_NE(refusal(AutoGptq{.zeros = GptqZeros::as_stored}, matrix).find("16 is not within 0 .. 15"),
            std::string::npos);
  matrix.shifts()(2, 1) = 0.5f;
  EXPECT_NE(refusal(AutoGptq{}, matrix).find("0.5 is no integer"), std::string::npos);
  matrix.shifts()(2, 1) = 3.0f;
  matrix.scales()(0, 2) = 1e-9f;
  EXPECT_EQ(refusal(AutoGptq{}, matrix),
            "pare: gptq cannot hold the scale of row 0, group 2: 9.99999972e-10 is no float16");
  matrix.scales()(0, 2) = 1.0f;
  EXPECT_NE(refusal(AutoGptq{.bits = 3}, matrix).find("uint4"), std::string::npos);
  EXPECT_NE(refusal(AutoGptq{.group_size = 64}, matrix).find("1 x 32"), std::string::npos);
  EXPECT_NE(refusal(AutoGptq{.bits = 5}, matrix).find("5 bits"), std::string::npos);
  matrix.tensor_scale = 0.5f;
  EXPECT_NE(refusal(AutoGptq{}, matrix).find("whole tensor, 0.5"), std::string::npos);
  MatrixKind odd = kind(4, 1, 15);
  odd.shape = {64, 97};
  EXPECT_NE(refusal(AutoGptq{}, random_matrix(odd, 7)).find("64 x 97"), std::string::npos);
  odd = kind(4, 0, 0);
  odd.format = pare::code_format<pare::E2M1>();
  EXPECT_NE(refusal(AutoGptq{}, random_matrix(odd, 7)).find("e2m1"), std::string::npos);
}

TEST(AutoGptq, SplitsBlocksAndWidensCodes) {
  const auto matrix = random_matrix(kind(2, 0, 3), 8);
  const auto parts = write(AutoGptq{.bits = 8, .group_size = 16, .zeros = GptqZeros::as_stored}, matrix);
  const auto back = AutoGptq{.bits = 8, .zeros = GptqZeros::as_stored}.read(views(parts));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->block, (pare::Shape{1, 16}));
  for (std::size_t r = 0; r < matrix.shape.rows; ++r)
    for (std::size_t c = 0; c < matrix.shape.cols; ++c) EXPECT_EQ(back->value(r, c), matrix.value(r, c));
}

TEST(AutoGptq, ReadsIndexlessAndZeroIndexedGroups) {
  const AutoGptq layout{.zeros = GptqZeros::as_stored};
  const auto matrix = random_matrix(kind(4, 0, 15), 9);
  auto parts = write(layout, matrix);
  for (std::uint8_t& byte : parts[3].bytes()) byte = 0;
  const auto zeros = layout.read(views(parts));
  ASSERT_TRUE(zeros) << zeros.error().message;
  EXPECT_EQ(difference(matrix, *zeros), "");
  parts.pop_back();
  const auto without = layout.read(views(parts));
  ASSERT_TRUE(without) << without.error().message;
  EXPECT_EQ(difference(matrix, *without), "");
}

TEST(AutoGptq, FindsDamage) {
  const AutoGptq layout{.zeros = GptqZeros::as_stored};
  auto parts = write(layout, random_matrix(kind(4, 0, 15), 10));
  expect_damage_is_found(layout, parts, {"g_idx"});
  parts[3].bytes()[4] = 3;
  EXPECT_EQ(read_error(layout, views(parts)), "pare: g_idx puts column 1 in group 3 of 3");
  pare::store_le(parts[3].bytes().data() + 4, 0xffffffffu, 4);
  EXPECT_EQ(read_error(layout, views(parts)), "pare: g_idx puts column 1 in group -1 of 3");
  parts.pop_back();
  EXPECT_NE(read_error(AutoGptq{.group_size = 20, .zeros = GptqZeros::as_stored}, views(parts)).find("groups of 20"),
            std::string::npos);
}

TEST(AutoGptq, ParametersFollowTheSpecification) {
  const auto asymmetric = pare::gptq_parameters({.lowest = -1.0f, .highest = 2.0f}, 4, false);
  EXPECT_EQ(asymmetric.scale, 3.0f / 15.0f);
  EXPECT_EQ(asymmetric.zero_point, 5);
  const auto symmetric = pare::gptq_parameters({.lowest = -1.0f, .highest = 2.0f}, 4, true);
  EXPECT_EQ(symmetric.scale, 4.0f / 15.0f);
  EXPECT_EQ(symmetric.zero_point, 8);
  const auto positive = pare::gptq_parameters({.lowest = 0.0f, .highest = 3.0f}, 4, true);
  EXPECT_EQ(positive.scale, 3.0f / 15.0f);
  EXPECT_EQ(positive.zero_point, 8);
  EXPECT_EQ(pare::gptq_code(3.0f, positive, 4), 15);
  const auto zero = pare::gptq_parameters({}, 4, true);
  EXPECT_EQ(zero.scale, 2.0f / 15.0f);
  EXPECT_EQ(pare::gptq_code(0.0f, zero, 4), 8);
  EXPECT_EQ(pare::gptq_code(1e30f, zero, 8), 255);
  EXPECT_EQ(pare::gptq_code(-1e30f, zero, 8), 0);
  EXPECT_EQ(pare::gptq_code(std::numeric_limits<float>::infinity(), zero, 8), 255);
}

}  // namespace
