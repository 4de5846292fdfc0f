// Blocks as matrices of codes: nothing is lost on the way there and back.
#include "pare/layouts/gguf/matrix.hpp"

#include <gtest/gtest.h>

#include <random>

#include "pare/layouts/gptq.hpp"

namespace {
namespace gguf = pare::gguf;
using gguf::BlockType;

/// Random bytes of finite blocks.
std::vector<std::uint8_t> random_blocks(const gguf::BlockInfo& info, std::size_t rows, std::size_t cols) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0f, 0.3f);
  std::vector<float> values(rows * cols);
  for (float& value : values) value = normal(random);
  std::vector<std::uint8_t> bytes(*gguf::packed_size(info.type, {rows, cols}));
  EXPECT_TRUE(gguf::quantize(info.type, pare::MatrixView<const float>(values.data(), rows, cols), bytes));
  return bytes;
}

pare::PartView part(std::span<const std::uint8_t> bytes, std::span<const std::size_t> shape) {
  return {"weight", pare::PartType::uint8, shape, bytes};
}

class EveryType : public testing::TestWithParam<gguf::BlockInfo> {};

TEST_P(EveryType, HasTheSameValuesAndBytes) {
  const gguf::BlockInfo& info = GetParam();
  const std::size_t rows = 3, cols = 512;
  const auto bytes = random_blocks(info, rows, cols);
  const std::size_t shape[] = {rows, bytes.size() / rows};
  const pare::PartView view = part(bytes, shape);
  const gguf::Blocks layout{info.type};
  const auto matrix = layout.read({&view, 1});
  ASSERT_TRUE(matrix) << matrix.error().message;
  std::vector<float> values(rows * cols);
  ASSERT_TRUE(gguf::dequantize(info.type, bytes, values));
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c) ASSERT_EQ(matrix->value(r, c), values[r * cols + c]) << r << " " << c;
  const auto written = layout.write(*matrix);
  ASSERT_TRUE(written) << written.error().message;
  const auto again = (*written)[0].view();
  std::vector<float> values_again(rows * cols);
  ASSERT_TRUE(gguf::dequantize(info.type, again.bytes, values_again));
  EXPECT_EQ(values, values_again);
  // Two levels of scales may be factored in more than one way.
  const bool one_level = info.elements <= 64 || info.type == BlockType::tq1_0 || info.type == BlockType::tq2_0;
  if (one_level) {
    EXPECT_TRUE(std::ranges::equal(bytes, again.bytes));
  }
}

INSTANTIATE_TEST_SUITE_P(Blocks, EveryType, testing::ValuesIn(gguf::block_types),
                         [](const auto& each) { return std::string(each.param.name); });

TEST(Matrix, GoesToOtherLayoutsAndBack) {
  const gguf::BlockInfo& info = gguf::block_info<BlockType::q4_0>;
  const auto bytes = random_blocks(info, 16, 64);
  const std::size_t shape[] = {16, bytes.size() / 16};
  const pare::PartView view = part(bytes, shape);
  const gguf::Blocks layout{BlockType::q4_0};
  const auto matrix = layout.read({&view, 1});
  ASSERT_TRUE(matrix) << matrix.error().message;
  const pare::AutoGptq gptq;
  const auto parts = gptq.write(*matrix);
  ASSERT_TRUE(parts) << parts.error().message;
  std::vector<pare::PartView> views;
  for (const pare::Part& written : *parts) views.push_back(written.view());
  const auto back = gptq.read(views);
  ASSERT_TRUE(back) << back.error().message;
  const auto again = layout.write(*back);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(std::ranges::equal(bytes, (*again)[0].view().bytes));
}

TEST(Matrix, RefusesWhatABlockCannotHold) {
  auto matrix = pare::CodedMatrix::allocate({1, 256}, pare::unsigned_format(4), {1, 32}, pare::ShiftKind::zero_point);
  ASSERT_TRUE(matrix);
  std::fill_n(matrix->codes().data, 256, std::uint8_t{3});
  for (std::size_t g = 0; g < 8; ++g) {
    matrix->scales()(0, g) = 0.25f;
    matrix->shifts()(0, g) = 8.0f;
  }
  const auto refusal = [&](BlockType type) {
    const auto written = gguf::Blocks{type}.write(*matrix);
    return written ? std::string() : written.error().message;
  };
  EXPECT_EQ(refusal(BlockType::q4_0), "");
  EXPECT_EQ(refusal(BlockType::q8_0), "");
  EXPECT_EQ(refusal(BlockType::q4_1), "");
  EXPECT_EQ(refusal(BlockType::q4_k), "");
  EXPECT_NE(refusal(BlockType::mxfp4).find("codes of uint4, only of e2m1"), std::string::npos);
  EXPECT_NE(refusal(BlockType::tq2_0).find("scales of 1 x 32"), std::string::npos);
  matrix->scales()(0, 3) = 0.1f;
  EXPECT_NE(refusal(BlockType::q4_0).find("the scale of row 0, group 3: 0.1"), std::string::npos);
  EXPECT_NE(refusal(BlockType::q4_k).find("no multiples"), std::string::npos);
  matrix->scales()(0, 3) = 0.25f;
  matrix->shifts()(0, 2) = 0.0f;
  matrix->codes()(0, 70) = 12;
  EXPECT_NE(refusal(BlockType::q4_0).find("integer of row 0, group 2"), std::string::npos);
}

}  // namespace
