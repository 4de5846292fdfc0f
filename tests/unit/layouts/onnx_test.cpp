#include "pare/layouts/onnx.hpp"

#include "layout_checks.hpp"
#include "pare/layouts/awq.hpp"
#include "pare/layouts/hqq.hpp"
#include "pare/layouts/mlc.hpp"
#include "pare/layouts/openvino.hpp"

namespace {
using namespace layout_test;
using pare::MatMulNBits;
using pare::OnnxLinear;
using pare::Range;
using pare::ScaleType;
using pare::Shape;
using pare::ShiftKind;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

pare::CodedMatrix integers(int bits, Shape shape, Shape block, unsigned seed, ScaleType scales = ScaleType::float32) {
  return random_matrix({.shape = shape,
                        .format = pare::unsigned_format(bits),
                        .block = block,
                        .shift = ShiftKind::zero_point,
                        .scales = scales,
                        .highest_zero = (1 << bits) - 1},
                       seed);
}

TEST(OnnxLinear, RoundTripsOnEveryAxis) {
  for (const int bits : {2, 4, 8})
    for (const auto& elements : {pare::stored_int(bits), pare::stored_uint(bits)})
      for (const Shape shape : {Shape{1, 1}, {6, 10}, {5, 7}, {0, 4}, {4, 0}, {0, 0}}) {
        const Shape whole{std::max<std::size_t>(shape.rows, 1), std::max<std::size_t>(shape.cols, 1)};
        const OnnxLinear tensor{.elements = elements, .shape = shape};
        expect_round_trip(tensor, integers(bits, shape, whole, 1));
        OnnxLinear axis = tensor;
        axis.axis = 0;
        expect_round_trip(axis, integers(bits, shape, {1, whole.cols}, 2, ScaleType::float16));
        axis.block_size = 4;
        expect_round_trip(axis, integers(bits, shape, {4, 1}, 3, ScaleType::bfloat16));
        axis.axis = 1;
        expect_round_trip(axis, integers(bits, shape, {1, 4}, 4));
        axis.block_size = 0;
        expect_round_trip(axis, integers(bits, shape, {whole.rows, 1}, 5));
        axis.zero_points = false;
        auto centred = integers(bits, shape, {whole.rows, 1}, 6);
        pare::fill_shifts(centred, static_cast<float>(elements.middle()));
        expect_round_trip(axis, centred);
      }
  const auto e2m1 = pare::stored<pare::E2M1>();
  expect_round_trip(
      OnnxLinear{.elements = e2m1, .shape = {3, 64}, .axis = 1, .block_size = 32},
      random_matrix({.shape = {3, 64}, .format = e2m1.format, .block = {1, 32}, .scales = ScaleType::float8_e8m0}, 7));
}

TEST(OnnxLinear, ElementsLieFromTheLowestBits) {
  auto matrix = integers(4, {3, 3}, {3, 1}, 1);
  for (std::size_t i = 0; i < 9; ++i) matrix.codes().data[i] = static_cast<std::uint8_t>(i + 1);
  for (std::size_t c = 0; c < 3; ++c) matrix.shifts()(0, c) = static_cast<float>(c + 7);
  const auto plain = write(OnnxLinear{.elements = pare::stored_uint(4), .axis = 1}, matrix);
  const auto same = [](const pare::Part& part, const std::vector<std::uint8_t>& bytes) {
    return std::equal(bytes.begin(), bytes.end(), part.view().bytes.begin(), part.view().bytes.end());
  };
  EXPECT_TRUE(same(plain[0], {0x21, 0x43, 0x65, 0x87, 0x09}));
  EXPECT_TRUE(same(plain[2], {0x87, 0x09}));
  EXPECT_EQ(plain[1].shape, (std::vector<std::size_t>{3}));
  // Two's complement: codes count from -8, and so do zero points.
  const auto complement = write(OnnxLinear{.elements = pare::stored_int(4), .axis = 1}, matrix);
  EXPECT_TRUE(same(complement[0], {0xa9, 0xcb, 0xed, 0x0f, 0x01}));
  EXPECT_TRUE(same(complement[2], {0x0f, 0x01}));
  EXPECT_EQ(matrix.value(1, 2), (6.0f - 9.0f) * matrix.scales()(0, 2));
}

TEST(OnnxLinear, FindsDamageAndRefuses) {
  const auto matrix = integers(4, {6, 32}, {1, 16}, 2);
  const OnnxLinear layout{.elements = pare::stored_uint(4), .shape = {6, 32}, .axis = 1, .block_size = 16};
  const auto parts = write(layout, matrix);
  expect_damage_is_found(layout, parts, {"x_zero_point"}, {}, {"x", "x_scale", "x_zero_point"});
  for (const auto& [axis, block] : {std::pair<std::optional<int>, std::size_t>{2, 0}, {-1, 16}, {std::nullopt, 16}}) {
    const OnnxLinear bad{.elements = pare::stored_uint(4), .shape = {6, 32}, .axis = axis, .block_size = block};
    EXPECT_NE(read_error(bad, views(parts)).find("axis is 0 or 1"), std::string::npos);
    EXPECT_NE(refusal(bad, matrix).find("axis is 0 or 1"), std::string::npos);
  }
  const auto single = write(OnnxLinear{.elements = pare::stored_uint(4)}, integers(4, {1, 32}, {1, 32}, 2));
  for (const std::size_t extent : {std::size_t{1} << 32, std::size_t{1} << 42, std::size_t{1} << 63, ~std::size_t{0}})
    for (const Shape shape : {Shape{1, extent}, {extent, 1}, {extent, 32}, {extent, extent}})
      for (const auto axis : {std::optional<int>{}, std::optional<int>{0}, std::optional<int>{1}}) {
        EXPECT_FALSE((OnnxLinear{.elements = pare::stored_uint(4), .shape = shape, .axis = axis}.read(views(single))));
        EXPECT_FALSE((OnnxLinear{.shape = shape, .axis = axis, .block_size = axis ? extent : 0}.read(views(single))));
      }

  EXPECT_NE(refusal(OnnxLinear{.elements = pare::stored_int(2), .axis = 1, .block_size = 16}, matrix).find("in 2 bits"),
            std::string::npos);
  EXPECT_NE(refusal(OnnxLinear{.axis = 1}, matrix).find("1 x 16"), std::string::npos);
  auto outside = integers(4, {2, 4}, {2, 4}, 3);
  outside.shifts()(0, 0) = 16.0f;
  EXPECT_NE(refusal(OnnxLinear{.elements = pare::stored_uint(4)}, outside).find("16 is not within 0 .. 15"),
            std::string::npos);
  outside.tensor_scale = 0.5f;
  EXPECT_NE(refusal(OnnxLinear{}, outside).find("scale of the whole tensor"), std::string::npos);
}

TEST(OnnxLinear, QuantizesEveryFloat) {
  EXPECT_EQ(pare::onnx_quantize(2.5f, 1.0f, 0, -8, 7), 2);
  EXPECT_EQ(pare::onnx_quantize(3.5f, 1.0f, 1, -8, 7), 5);
  EXPECT_EQ(pare::onnx_quantize(-9.0f, 1.0f, 0, -8, 7), -8);
  EXPECT_EQ(pare::onnx_quantize(infinity, 1.0f, -8, -8, 7), 7);
  EXPECT_EQ(pare::onnx_quantize(-infinity, 1.0f, 255, 0, 255), 0);
  EXPECT_EQ(pare::onnx_quantize(3e38f, 1e-38f, 3, 0, 255), 255);
  EXPECT_EQ(pare::onnx_quantize(nan, 1.0f, 3, 0, 255), 3);
  EXPECT_EQ(pare::onnx_quantize(0.0f, 0.0f, 3, 0, 255), 3);
  EXPECT_EQ(pare::onnx_quantize(1.0f, 0.0f, 3, 0, 255), 255);
  EXPECT_EQ(pare::onnx_quantize(-0.0f, -1.0f, 0, -128, 127), 0);
}

TEST(MatMulNBits, RoundTrips) {
  for (const int bits : {2, 4, 8})
    for (const std::size_t block : {16u, 32u, 128u})
      for (const Shape shape : {Shape{1, block}, {3, 3 * block}, {5, block + 1}, {2, 7}, {0, 32}, {3, 0}})
        for (const bool flat : {false, true}) {
          const auto matrix = integers(bits, shape, {1, block}, 1, ScaleType::float16);
          expect_round_trip(MatMulNBits{.bits = bits, .block_size = block, .columns = shape.cols, .flat = flat},
                            matrix);
          auto centred = integers(bits, shape, {1, block}, 2);
          pare::fill_shifts(centred, static_cast<float>(1 << (bits - 1)));
          expect_round_trip(
              MatMulNBits{.bits = bits, .block_size = block, .columns = shape.cols, .zero_points = false, .flat = flat},
              centred);
        }
}

TEST(MatMulNBits, BlocksAndZeroPointsAreNibbles) {
  auto matrix = integers(4, {2, 50}, {1, 16}, 3);
  for (std::size_t c = 0; c < 50; ++c) matrix.codes()(1, c) = static_cast<std::uint8_t>(c % 16);
  for (std::size_t g = 0; g < 4; ++g) matrix.shifts()(1, g) = static_cast<float>(g + 1);
  auto parts = write(MatMulNBits{.block_size = 16}, matrix);
  EXPECT_EQ(parts[0].shape, (std::vector<std::size_t>{2, 4, 8}));
  EXPECT_EQ(parts[0].view().bytes[32], 0x10);
  EXPECT_EQ(parts[0].view().bytes[32 + 24], 0x10);
  EXPECT_EQ(parts[0].view().bytes[32 + 25], 0x00);
  EXPECT_EQ(parts[2].view().bytes[2], 0x21);
  EXPECT_EQ(parts[2].view().bytes[3], 0x43);
  EXPECT_EQ(write(MatMulNBits{.block_size = 16, .flat = true}, matrix)[1].shape, (std::vector<std::size_t>{8}));

  // Zero points of the scales' type need not be integers.
  auto zeros = pare::make_part("zero_points", pare::PartType::float16, {2, 4});
  ASSERT_TRUE(zeros);
  pare::store_le(zeros->bytes().data() + 8, pare::Half(1.5f).bits, 2);
  parts[2] = *std::move(zeros);
  const auto real = MatMulNBits{.block_size = 16, .columns = 50}.read(views(parts));
  ASSERT_TRUE(real) << real.error().message;
  EXPECT_EQ(real->shift_kind, ShiftKind::real_zero);
  EXPECT_EQ(real->value(1, 4), 2.5f * matrix.scales()(1, 0));
  EXPECT_NE(refusal(MatMulNBits{.block_size = 16}, *real).find("1.5 is no integer"), std::string::npos);
}

TEST(MatMulNBits, FindsDamageAndRefuses) {
  const MatMulNBits layout{.columns = 90};
  const auto matrix = integers(4, {3, 90}, {1, 32}, 4);
  const auto parts = write(layout, matrix);
  expect_damage_is_found(layout, parts, {"zero_points"}, {}, {"scales", "zero_points"});
  for (const MatMulNBits& bad :
       {MatMulNBits{.bits = 3}, MatMulNBits{.bits = 7}, MatMulNBits{.bits = 0}, MatMulNBits{.block_size = 0},
        MatMulNBits{.block_size = 8}, MatMulNBits{.block_size = 48}}) {
    EXPECT_NE(read_error(bad, views(parts)).find("2, 4 or 8 bits and blocks of a power of two"), std::string::npos);
    EXPECT_NE(refusal(bad, matrix).find("2, 4 or 8 bits and blocks of a power of two"), std::string::npos);
  }
  for (const std::size_t columns : {std::size_t{64}, std::size_t{97}, ~std::size_t{0}})
    EXPECT_NE(read_error(MatMulNBits{.columns = columns}, views(parts)).find("B has 3 blocks"), std::string::npos);
  // A size of blocks whose bytes wrap around to none.
  const std::size_t shape[] = {1, 1, 0}, one[] = {1};
  const std::uint8_t scale[4] = {};
  const pare::PartView wrapped[] = {{"B", pare::PartType::uint8, shape, {}},
                                    {"scales", pare::PartType::float32, one, scale}};
  for (const int bits : {4, 8})
    for (const std::size_t columns : {std::size_t{0}, std::size_t{5}, std::size_t{1} << 42})
      EXPECT_FALSE(
          (MatMulNBits{.bits = bits, .block_size = std::size_t{1} << (bits == 4 ? 62 : 61), .columns = columns}.read(
              wrapped)));

  EXPECT_NE(refusal(MatMulNBits{.columns = 64}, matrix).find("90 columns, not 64"), std::string::npos);
  EXPECT_NE(refusal(MatMulNBits{.bits = 2}, matrix).find("uint4 in 2 bits"), std::string::npos);
  EXPECT_NE(refusal(MatMulNBits{.block_size = 64}, matrix).find("1 x 32"), std::string::npos);
  auto outside = integers(4, {3, 32}, {1, 32}, 4);
  outside.shifts()(2, 0) = 16.0f;
  EXPECT_NE(refusal(MatMulNBits{}, outside).find("row 2, group 0: 16 is not within 0 .. 15"), std::string::npos);
  for (std::size_t c = 0; c < 32; ++c) outside.codes()(0, c) = 15;
  outside.shifts()(0, 0) = 2.0f;
  EXPECT_NE(refusal(MatMulNBits{.zero_points = false}, outside).find("13 in column 0 does not fit in 4 bits"),
            std::string::npos);
}

TEST(MatMulNBits, ParametersOfEveryRange) {
  const auto symmetric = [](float lowest, float highest) {
    return pare::matmulnbits_parameters({lowest, highest}, 4, true);
  };
  EXPECT_EQ(symmetric(-4.0f, 2.0f).scale, 0.5f);
  EXPECT_EQ(symmetric(-2.0f, 4.0f).scale, -0.5f);
  EXPECT_EQ(symmetric(-4.0f, 4.0f).scale, 0.5f);
  EXPECT_EQ(symmetric(-2.0f, 4.0f).zero_point, 8);
  EXPECT_EQ(pare::matmulnbits_code(4.0f, symmetric(-2.0f, 4.0f), 4), 0);
  const auto zeros = symmetric(0.0f, 0.0f);
  EXPECT_EQ(zeros.scale, 0.0f);
  EXPECT_EQ(pare::matmulnbits_code(0.0f, zeros, 4), 8);

  const auto p = pare::matmulnbits_parameters({-0.5f, 7.0f}, 4, false);
  EXPECT_EQ(p.scale, 0.5f);
  EXPECT_EQ(p.zero_point, 1);
  EXPECT_EQ(pare::matmulnbits_code(0.25f, p, 4), 2);  // 1.5, away from zero
  EXPECT_EQ(pare::matmulnbits_code(0.75f, p, 4), 3);  // 2.5
  EXPECT_EQ(pare::matmulnbits_code(infinity, p, 4), 15);
  EXPECT_EQ(pare::matmulnbits_code(-infinity, p, 4), 0);
  EXPECT_EQ(pare::matmulnbits_code(nan, p, 4), 0);
  EXPECT_EQ(pare::matmulnbits_parameters({-7.5f, 0.0f}, 4, false).zero_point, 15);
  EXPECT_EQ(pare::matmulnbits_parameters({0.0f, 0.0f}, 8, false).zero_point, 0);
  for (const Range& range : {Range{-3e38f, 3e38f}, Range{-1e-45f, 0.0f}, Range{0.0f, 1e-44f},
                             Range{-infinity, infinity}, Range{nan, nan, false}})
    for (const int bits : {2, 4, 8})
      for (const bool same : {false, true})
        for (const float x : {nan, infinity, -infinity, 0.0f, 3e38f, -1e-45f})
          EXPECT_LT(pare::matmulnbits_code(x, pare::matmulnbits_parameters(range, bits, same), bits), 1 << bits);
}

TEST(MatMulNBits, ConvertsThroughOtherLayouts) {
  auto matrix = integers(4, {16, 128}, {1, 32}, 5, ScaleType::float16);
  const auto awq = converted(pare::AwqGemm{}, matrix);
  const auto onnx = converted(MatMulNBits{}, awq);
  const auto linear =
      converted(OnnxLinear{.elements = pare::stored_uint(4), .shape = {16, 128}, .axis = 1, .block_size = 32}, onnx);
  const auto openvino = converted(pare::OpenVino{.shape = {16, 128}, .group_size = 32}, linear);
  const auto hqq = converted(pare::Hqq{.group_size = 32, .shape = {16, 128}}, openvino);
  EXPECT_EQ(difference(converted(MatMulNBits{}, hqq), matrix), "");
  EXPECT_EQ(difference(converted(pare::AwqGemm{}, hqq), matrix), "");
  converted(MatMulNBits{.block_size = 16}, hqq);
  EXPECT_NE(refusal(pare::Mlc{}, matrix).find("does not fit in 4 bits"), std::string::npos);
  pare::fill_shifts(matrix, 7.0f);
  converted(MatMulNBits{}, converted(pare::Mlc{}, matrix));
  EXPECT_NE(refusal(MatMulNBits{.zero_points = false}, matrix).find("in column"), std::string::npos);
}

}  // namespace
