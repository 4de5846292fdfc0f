#include "pare/layouts/modelopt.hpp"

#include "../golden.hpp"
#include "layout_checks.hpp"
#include "pare/layouts/compressed_tensors.hpp"
#include "pare/layouts/gpt_oss.hpp"
#include "pare/layouts/gptq.hpp"

namespace {
using namespace layout_test;
using pare::DeepseekFp8;
using pare::GptOssMxfp4;
using pare::ModeloptFp8;
using pare::ModeloptInt4;
using pare::ModeloptInt8;
using pare::ModeloptMxfp4;
using pare::ModeloptMxfp8;
using pare::ModeloptNvfp4;
using pare::ScaleType;
using pare::Shape;

MatrixKind integers(int bits, Shape shape, Shape block) {
  const int middle = 1 << (bits - 1);
  return {.shape = shape,
          .format = pare::unsigned_format(bits),
          .block = block,
          .shift = pare::ShiftKind::zero_point,
          .scales = ScaleType::float32,
          .lowest_zero = middle,
          .highest_zero = middle};
}

MatrixKind floats(const pare::CodeFormat& format, Shape shape, Shape block, ScaleType scales) {
  return {.shape = shape, .format = format, .block = block, .scales = scales};
}

TEST(Modelopt, Fp8RoundTripsTensorsAndChannels) {
  const auto e4m3 = pare::code_format<pare::E4M3>();
  for (const Shape block : {Shape{9, 20}, {1, 20}})
    for (const pare::ModeloptNames& names : {pare::ModeloptNames{}, pare::tensorrt_llm_names}) {
      const ModeloptFp8 layout{names};
      const auto matrix = random_matrix(floats(e4m3, {9, 20}, block, ScaleType::float32), 1);
      expect_round_trip(layout, matrix);
      std::vector<std::string> growing{"weight 1"};
      if (block.rows > 1) growing.push_back("weight 0");
      expect_damage_is_found(layout, write(layout, matrix), {}, growing);
    }
  const auto tensor = write(ModeloptFp8{}, random_matrix(floats(e4m3, {9, 20}, {9, 20}, ScaleType::float32), 2));
  EXPECT_TRUE(tensor[1].shape.empty());
  const auto rows = write(ModeloptFp8{}, random_matrix(floats(e4m3, {9, 20}, {1, 20}, ScaleType::float32), 2));
  EXPECT_EQ(rows[1].shape, (std::vector<std::size_t>{9}));
}

TEST(Modelopt, DeepseekBlocksRoundTrip) {
  const auto e4m3 = pare::code_format<pare::E4M3>();
  for (const Shape shape : {Shape{130, 200}, {128, 128}, {1, 1}, {256, 129}}) {
    const auto matrix = random_matrix(floats(e4m3, shape, {128, 128}, ScaleType::float32), 3);
    expect_round_trip(DeepseekFp8{}, matrix);
    expect_damage_is_found(
        DeepseekFp8{.block = {1, 1}},
        write(DeepseekFp8{.block = {1, 1}}, random_matrix(floats(e4m3, {3, 5}, {1, 1}, ScaleType::float32), 3)));
  }
  const auto rows = random_matrix(floats(e4m3, {130, 200}, {1, 200}, ScaleType::float32), 4);
  EXPECT_NE(refusal(DeepseekFp8{}, rows).find("1 x 200 elements in its blocks of 128 x 128"), std::string::npos);
  const auto tensor = random_matrix(floats(e4m3, {130, 200}, {130, 200}, ScaleType::float32), 4);
  const auto split = DeepseekFp8{}.read(views(write(DeepseekFp8{}, tensor)));
  ASSERT_TRUE(split);
  EXPECT_EQ(split->grid, (Shape{2, 2}));
  EXPECT_EQ(split->value(129, 199), tensor.value(129, 199));
}

TEST(Modelopt, IntegersRoundTrip) {
  expect_round_trip(ModeloptInt8{}, random_matrix(integers(8, {9, 20}, {1, 20}), 5));
  expect_damage_is_found(ModeloptInt8{}, write(ModeloptInt8{}, random_matrix(integers(8, {9, 20}, {1, 20}), 5)), {},
                         {"weight 1"});
  const auto int4 = random_matrix(integers(4, {6, 256}, {1, 128}), 6);
  expect_round_trip(ModeloptInt4{}, int4);
  expect_round_trip(ModeloptInt4{.names = pare::tensorrt_llm_names}, int4);
  expect_round_trip(ModeloptInt4{.group_size = 100}, random_matrix(integers(4, {6, 250}, {1, 100}), 6));
  const ModeloptInt4 grouped{.group_size = 128};
  expect_damage_is_found(grouped, write(grouped, int4));
  EXPECT_NE(refusal(ModeloptInt4{}, random_matrix(integers(4, {5, 32}, {1, 32}), 6)).find("5 x 32"), std::string::npos);
}

TEST(Modelopt, Int4PairsOutputsInTwosComplement) {
  auto matrix = random_matrix(integers(4, {2, 3}, {1, 3}), 7);
  matrix.codes()(0, 1) = 0;   // -8
  matrix.codes()(1, 1) = 15;  // 7
  EXPECT_EQ(write(ModeloptInt4{}, matrix)[0].view().bytes[1], 0x78);
}

TEST(Modelopt, W4A8KeepsItsSecondScaleAside) {
  auto matrix = random_matrix(integers(4, {6, 256}, {1, 128}), 8);
  const ModeloptInt4 layout{.w4a8 = true};
  EXPECT_NE(refusal(layout, matrix).find("FP8 scale"), std::string::npos);
  const float before = matrix.value(3, 7);
  matrix.tensor_scale = 0.01f;
  matrix.tensor_scale_kind = pare::TensorScale::aside;
  EXPECT_EQ(matrix.value(3, 7), before);
  expect_round_trip(layout, matrix);
  const ModeloptInt4 grouped{.group_size = 128, .w4a8 = true};
  expect_damage_is_found(grouped, write(grouped, matrix));
}

TEST(Modelopt, FloatBlocksRoundTrip) {
  const auto e2m1 = pare::code_format<pare::E2M1>(), e4m3 = pare::code_format<pare::E4M3>();
  expect_round_trip(ModeloptMxfp4{}, random_matrix(floats(e2m1, {7, 64}, {1, 32}, ScaleType::float8_e8m0), 9));
  expect_round_trip(ModeloptMxfp8{}, random_matrix(floats(e4m3, {7, 64}, {1, 32}, ScaleType::float8_e8m0), 9));
  expect_damage_is_found(
      ModeloptMxfp8{},
      write(ModeloptMxfp8{}, random_matrix(floats(e4m3, {7, 64}, {1, 32}, ScaleType::float8_e8m0), 9)));
  auto nvfp4 = random_matrix(floats(e2m1, {7, 48}, {1, 16}, ScaleType::float8_e4m3), 9);
  nvfp4.tensor_scale = 0.00123f;
  nvfp4.tensor_scale_kind = pare::TensorScale::multiplies_scale;
  expect_round_trip(ModeloptNvfp4{}, nvfp4);
  expect_round_trip(ModeloptNvfp4{.names = pare::tensorrt_llm_names}, nvfp4);
  expect_damage_is_found(ModeloptNvfp4{}, write(ModeloptNvfp4{}, nvfp4));
  EXPECT_NE(
      refusal(ModeloptMxfp4{}, random_matrix(floats(e2m1, {7, 64}, {1, 16}, ScaleType::float8_e8m0), 9)).find("1 x 16"),
      std::string::npos);
  auto mx = random_matrix(floats(e2m1, {2, 32}, {1, 32}, ScaleType::float8_e8m0), 10);
  mx.scales()(1, 0) = 3.0f;
  EXPECT_NE(refusal(ModeloptMxfp4{}, mx).find("3 is no float8_e8m0"), std::string::npos);
  mx.scales()(1, 0) = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(write(ModeloptMxfp4{}, mx)[1].view().bytes[1], 0xff);
}

TEST(Modelopt, Mxfp4SplitsIntoNvfp4WhereItsScalesAreE4M3) {
  auto mx = random_matrix(floats(pare::code_format<pare::E2M1>(), {2, 64}, {1, 32}, ScaleType::float8_e8m0), 11);
  for (std::size_t g = 0; g < 2; ++g) mx.scales()(0, g) = mx.scales()(1, g) = g == 0 ? 0.5f : 256.0f;
  const auto nv = ModeloptNvfp4{}.read(views(write(ModeloptNvfp4{}, mx)));
  ASSERT_TRUE(nv);
  for (std::size_t c = 0; c < 64; ++c) EXPECT_EQ(nv->value(1, c), mx.value(1, c));
  mx.scales()(1, 1) = 0x1p-20f;
  EXPECT_NE(refusal(ModeloptNvfp4{}, mx).find("no float8_e4m3"), std::string::npos);
}

TEST(Modelopt, GptOssExpertsRoundTrip) {
  const auto matrix =
      random_matrix(floats(pare::code_format<pare::E2M1>(), {12, 96}, {1, 32}, ScaleType::float8_e8m0), 12);
  for (const std::size_t experts : {1u, 3u, 12u}) {
    const GptOssMxfp4 layout{.experts = experts};
    expect_round_trip(layout, matrix);
    const auto parts = write(layout, matrix);
    EXPECT_EQ(parts[0].shape, (std::vector<std::size_t>{experts, 12 / experts, 3, 16}));
    expect_damage_is_found(layout, parts);
  }
  EXPECT_NE(refusal(GptOssMxfp4{.experts = 5}, matrix).find("5 experts"), std::string::npos);
  EXPECT_NE(refusal(GptOssMxfp4{.experts = 0}, matrix).find("0 experts"), std::string::npos);
  const auto modelopt = ModeloptMxfp4{}.read(views(write(ModeloptMxfp4{}, matrix)));
  ASSERT_TRUE(modelopt);
  EXPECT_EQ(difference(matrix, *modelopt), "");
}

/// Reads a layout from tensors of a golden file and compares every value with `values`, and what it writes.
template <class Layout>
void expect_golden(const std::string& file, const Layout& layout,
                   const std::vector<std::pair<std::string, std::string>>& names, const std::string& values) {
  golden::for_each_file("formats/nvfp4/" + file, [&](const io::SafetensorsFile& vectors) {
    std::vector<pare::PartView> parts;
    for (const auto& [tensor, part] : names) {
      const io::TensorView* found = vectors.find(tensor);
      ASSERT_NE(found, nullptr) << tensor;
      const pare::PartType type = found->dtype == io::DType::f32       ? pare::PartType::float32
                                  : found->dtype == io::DType::f8_e4m3 ? pare::PartType::float8_e4m3
                                                                       : pare::PartType::uint8;
      parts.push_back({part,
                       type,
                       found->shape,
                       {reinterpret_cast<const std::uint8_t*>(found->bytes.data()), found->bytes.size()}});
    }
    const auto matrix = layout.read(parts);
    ASSERT_TRUE(matrix) << matrix.error().message;
    const auto expected = golden::values<float>(vectors, values);
    ASSERT_EQ(expected.size(), matrix->shape.rows * matrix->shape.cols);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const float value = matrix->value(i / matrix->shape.cols, i % matrix->shape.cols);
      ASSERT_EQ(pare::detail::float_bits(value), pare::detail::float_bits(expected[i])) << i;
    }
    const auto written = write(layout, *matrix);
    ASSERT_EQ(written.size(), parts.size());
    for (std::size_t i = 0; i < parts.size(); ++i) {
      EXPECT_EQ(written[i].name, parts[i].name);
      EXPECT_TRUE(std::ranges::equal(written[i].shape, parts[i].shape)) << parts[i].name;
      EXPECT_TRUE(std::ranges::equal(written[i].view().bytes, parts[i].bytes)) << parts[i].name;
    }
  });
}

TEST(Modelopt, GoldenFilesOfFloatBlocks) {
  expect_golden("modelopt.safetensors", ModeloptNvfp4{},
                {{"weight", "weight"}, {"weight_scale", "weight_scale"}, {"weight_scale_2", "weight_scale_2"}},
                "dequant");
  expect_golden("modelopt_mxfp4.safetensors", ModeloptMxfp4{}, {{"weight", "weight"}, {"weight_scale", "weight_scale"}},
                "dequant");
  expect_golden("compressed_tensors.safetensors", pare::CompressedNvfp4{},
                {{"weight_packed", "weight_packed"},
                 {"weight_scale", "weight_scale"},
                 {"weight_global_scale", "weight_global_scale"}},
                "dequant");
  expect_golden("gptoss_mxfp4.safetensors", GptOssMxfp4{.experts = 2},
                {{"gate_up_proj_blocks", "blocks"}, {"gate_up_proj_scales", "scales"}}, "dequant_E_out_in");
}

TEST(Modelopt, RulesFollowTheSpecification) {
  EXPECT_EQ(pare::modelopt_int4_scale({.lowest = -14.0f, .highest = 1.0f}), 2.0f);
  EXPECT_EQ(pare::modelopt_int4_code(-20.0f, 2.0f), 0);
  EXPECT_EQ(pare::modelopt_int4_code(5.0f, 2.0f), 10);
  EXPECT_EQ(pare::float8_scale({.lowest = -896.0f}), 2.0f);
  EXPECT_EQ(pare::float8_code(-2000.0f, 2.0f), 0xfe);
  EXPECT_EQ(pare::float8_code(1.0f, 0.0f), 0);
}

}  // namespace
