#include <gtest/gtest.h>

#include <Eigen/Core>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "../normal_values.hpp"
#include "pare/pare.hpp"

namespace {

using namespace pare;
constexpr auto modelopt = Nvfp4Dialect::modelopt;
constexpr auto compressed_tensors = Nvfp4Dialect::compressed_tensors;

template <class Layout>
void expect_layout_holds(const CodedMatrix& matrix, std::span<const std::uint8_t> codes,
                         std::span<const std::uint8_t> scales, float tensor_scale) {
  const auto parts = Layout{}.write(matrix);
  ASSERT_TRUE(parts) << parts.error().message;
  ASSERT_EQ(parts->size(), 3u);
  const auto bytes = [&](std::size_t i) { return (*parts)[i].view().bytes; };
  EXPECT_TRUE(std::ranges::equal(bytes(0), codes));
  EXPECT_TRUE(std::ranges::equal(bytes(1), scales));
  float stored = 0.0f;
  ASSERT_EQ(bytes(2).size(), sizeof stored);
  std::memcpy(&stored, bytes(2).data(), sizeof stored);
  EXPECT_EQ(stored, tensor_scale);
}

TEST(Nvfp4, IsWhatLayoutsStore) {
  constexpr Shape shape{5, 1072};
  const std::vector<float> w = normal_values(shape.rows * shape.cols, 7);
  const MatrixView<const float> weights(w.data(), shape.rows, shape.cols);
  const auto a = quantize_nvfp4<modelopt>(weights);
  const auto b = quantize_nvfp4<compressed_tensors>(weights);
  ASSERT_TRUE(a && b);
  const auto coded_a = coded(*a), coded_b = coded(*b);
  ASSERT_TRUE(coded_a && coded_b);
  expect_layout_holds<ModeloptNvfp4>(*coded_a, a->codes(), a->scales(), a->tensor_scale);
  expect_layout_holds<CompressedNvfp4>(*coded_b, b->codes(), b->scales(), b->tensor_scale);

  std::vector<float> values(w.size());
  ASSERT_TRUE(dequantize(*a, values));
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(values[i], coded_a->value(i / shape.cols, i % shape.cols));
    ASSERT_NEAR(values[i], w[i], 0.17f * 5.0f);
  }
  ASSERT_TRUE(dequantize(*b, values));
  for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], coded_b->value(i / shape.cols, i % shape.cols));
}

/// Rows that kernels get one by one, and joined.
TEST(Nvfp4, ShortRowsAreThoseOfTheReference) {
  for (const Shape shape : {Shape{70, 16}, Shape{131, 64}, Shape{45, 128}, Shape{33, 40}}) {
    const std::vector<float> w = normal_values(shape.rows * shape.cols, 9);
    const MatrixView<const float> weights(w.data(), shape.rows, shape.cols);
    const auto packed = quantize_nvfp4<modelopt>(weights);
    const auto expected = quantize_nvfp4<modelopt, ReferenceKernels>(weights);
    ASSERT_TRUE(packed && expected);
    EXPECT_TRUE(std::ranges::equal(packed->codes(), expected->codes()));
    EXPECT_TRUE(std::ranges::equal(packed->scales(), expected->scales()));
    std::vector<std::uint8_t> block(nvfp4_block);
    for (std::size_t r = 0; r < shape.rows; ++r) {
      const std::size_t begin = shape.cols / nvfp4_block / 2 * nvfp4_block, count = std::min(nvfp4_block, shape.cols);
      const auto scale = encode_nvfp4_block<modelopt>(std::span(w).subspan(r * shape.cols + begin, count),
                                                      packed->tensor_scale, block);
      EXPECT_EQ(packed->scales()[r * nvfp4_row_scales(shape.cols) + begin / nvfp4_block], scale);
      EXPECT_EQ(packed->codes()[r * nvfp4_row_codes(shape.cols) + begin / 2] & 15, block[0]);
    }
  }
}

TEST(Nvfp4, IsTheGridOfTheAlgorithms) {
  const std::vector<float> w = normal_values(40 * 72, 8);
  const MatrixView<const float> weights(w.data(), 40, 72);
  const auto packed = quantize_nvfp4<modelopt>(weights);
  const auto grid = Nvfp4Grid::over(weights);
  ASSERT_TRUE(packed && grid);
  EXPECT_EQ(packed->tensor_scale, grid->tensor_scale);
  const auto rounded = RoundToNearest{}(*grid, weights);
  ASSERT_TRUE(rounded);
  std::vector<float> values(w.size());
  ASSERT_TRUE(dequantize(*packed, values));
  for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], rounded->value(i / 72, i % 72));
}

TEST(Nvfp4, TakesAnyOrderElementsExecutorAndBackend) {
  using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Rows rows = Rows::Random(300, 333);
  const Eigen::MatrixXf columns = rows;
  const auto threads = [](std::size_t count, Task task) {
    std::vector<std::thread> all;
    for (std::size_t i = count; i-- > 0;) all.emplace_back([=] { task(i); });
    for (std::thread& thread : all) thread.join();
  };
  const auto expected = quantize_nvfp4<modelopt>(rows);
  const auto from_columns = quantize_nvfp4<modelopt>(columns, {.executor = threads});
  const std::vector<float> values(rows.data(), rows.data() + rows.size());
  EXPECT_TRUE(std::ranges::equal(quantize_nvfp4<modelopt>(values, Shape{300, 333})->codes(), expected->codes()));
  EXPECT_FALSE(quantize_nvfp4<modelopt>(values, Shape{301, 333}));
  const auto from_reference = quantize_nvfp4<modelopt, ReferenceKernels>(rows);
  ASSERT_TRUE(expected && from_columns && from_reference);
  for (const auto* other : {&*from_columns, &*from_reference}) {
    EXPECT_TRUE(std::ranges::equal(expected->codes(), other->codes()));
    EXPECT_TRUE(std::ranges::equal(expected->scales(), other->scales()));
    EXPECT_EQ(expected->tensor_scale, other->tensor_scale);
  }
  Rows out(300, 333);
  Eigen::MatrixXf out_columns(300, 333);
  ASSERT_TRUE(dequantize(*expected, out));
  ASSERT_TRUE(dequantize(*expected, out_columns, {.executor = threads}));
  EXPECT_TRUE(out == out_columns);

  std::vector<BFloat16> brains(300 * 333), brains_out(brains.size());
  for (std::size_t i = 0; i < brains.size(); ++i) brains[i] = static_cast<BFloat16>(out.data()[i]);
  const auto again = quantize_nvfp4<modelopt>(MatrixView<const BFloat16>(brains.data(), 300, 333));
  ASSERT_TRUE(again);
  EXPECT_TRUE(dequantize(*again, brains_out));
}

TEST(Nvfp4, HoldsZerosAndNothing) {
  const std::vector<float> zeros(64, -0.0f);
  const auto a = quantize_nvfp4<modelopt>(MatrixView<const float>(zeros.data(), 2, 32));
  ASSERT_TRUE(a);
  EXPECT_EQ(a->tensor_scale, 1.0f);
  EXPECT_EQ(a->scales()[3], 0x38);
  EXPECT_EQ(a->codes()[31], 0);
  const auto b = quantize_nvfp4<compressed_tensors>(MatrixView<const float>(zeros.data(), 2, 32));
  ASSERT_TRUE(b);
  EXPECT_EQ(b->scales()[3], 0x20);
  for (const Shape shape : {Shape{0, 32}, Shape{32, 0}}) {
    const auto none = quantize_nvfp4<modelopt>(MatrixView<const float>(nullptr, shape.rows, shape.cols));
    ASSERT_TRUE(none);
    EXPECT_EQ(none->codes().size(), 0u);
    EXPECT_TRUE(coded(*none));
  }
}

TEST(Nvfp4, SaturatesWhatACalibratedScaleDoesNotReach) {
  std::vector<float> w(32, 1.0f);
  w[0] = -1e6f;
  auto packed = Nvfp4Tensor<modelopt>::allocate({1, 32});
  ASSERT_TRUE(packed);
  packed->tensor_scale = 1.0f / (6.0f * 448.0f);
  ASSERT_TRUE(quantize_nvfp4_into<modelopt>(MatrixView<const float>(w.data(), 1, 32), packed->view()));
  std::vector<float> values(32);
  ASSERT_TRUE(dequantize(*packed, values));
  EXPECT_NEAR(values[0], -1.0f, 1e-6f);
  EXPECT_NEAR(values[31], 1.0f, 1e-6f);
}

TEST(Nvfp4, MisuseIsAnError) {
  std::vector<float> w(64, 1.0f);
  const MatrixView<const float> weights(w.data(), 2, 32);
  auto packed = quantize_nvfp4<modelopt>(weights);
  ASSERT_TRUE(packed);
  for (const float scale : {0.0f, -1.0f, std::numeric_limits<float>::infinity(), std::nanf("")}) {
    packed->tensor_scale = scale;
    EXPECT_FALSE(quantize_nvfp4_into<modelopt>(weights, packed->view()));
    EXPECT_FALSE(dequantize(*packed, w));
    EXPECT_FALSE(coded(*packed));
  }
  packed->tensor_scale = 1.0f;
  std::vector<float> small(32);
  EXPECT_FALSE(dequantize(*packed, small));
  EXPECT_FALSE(quantize_nvfp4_into<modelopt>(MatrixView<const float>(w.data(), 1, 32), packed->view()));
  EXPECT_FALSE(quantize_nvfp4_into<modelopt>(MatrixView<const float>(nullptr, 2, 32), packed->view()));
  Nvfp4Span<modelopt> broken = packed->view();
  broken.scales = nullptr;
  EXPECT_FALSE(quantize_nvfp4_into<modelopt>(weights, broken));
  broken = packed->view();
  broken.codes = reinterpret_cast<std::uint8_t*>(w.data());
  EXPECT_FALSE(quantize_nvfp4_into<modelopt>(weights, broken));
  w[33] = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(quantize_nvfp4_into<modelopt>(weights, packed->view()));
  const auto refused = quantize_nvfp4<modelopt>(weights);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("not finite"), std::string::npos);
  constexpr std::size_t huge = std::numeric_limits<std::size_t>::max() / 2;
  EXPECT_FALSE(Nvfp4Tensor<modelopt>::allocate({huge, 64}));
  EXPECT_FALSE(Nvfp4Tensor<modelopt>::allocate({1, huge}));
}

}  // namespace
