#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "../normal_values.hpp"
#include "pare/tensor/tensor.hpp"
#include "product_bound.hpp"

namespace {

using namespace pare;

void threads_in_reverse(std::size_t count, Task task) {
  std::vector<std::thread> threads;
  for (std::size_t i = count; i-- > 0;) threads.emplace_back([=] { task(i); });
  for (std::thread& thread : threads) thread.join();
}

/// Any codes and scales, with shifts that the kind allows.
CodedMatrix random_matrix(Shape shape, int bits, Shape block, ShiftKind kind, std::mt19937& random) {
  auto matrix = CodedMatrix::allocate(shape, unsigned_format(bits), block, kind);
  EXPECT_TRUE(matrix);
  for (std::size_t r = 0; r < shape.rows; ++r)
    for (std::size_t c = 0; c < shape.cols; ++c)
      matrix->codes()(r, c) = static_cast<std::uint8_t>(random() % (1u << bits));
  for (std::size_t r = 0; r < matrix->grid.rows; ++r)
    for (std::size_t c = 0; c < matrix->grid.cols; ++c) {
      matrix->scales()(r, c) = static_cast<float>(random() % 1000) / 7000.0f;
      if (kind == ShiftKind::none) continue;
      const auto integer = static_cast<float>(random() % ((1u << bits) + 1));
      matrix->shifts()(r, c) = kind == ShiftKind::zero_point ? integer : integer / 7.0f - 0.4f;
    }
  return *std::move(matrix);
}

TEST(PreparedMatrix, ProductsStayWithinTheStatedBound) {
  std::mt19937 random(5);
  constexpr std::size_t rows = 9;
  for (const auto& [shape, block] : {std::pair{Shape{33, 65}, Shape{1, 32}},
                                     {Shape{16, 700}, Shape{2, 192}},
                                     {Shape{20, 300}, Shape{20, 300}},
                                     {Shape{5, 512}, Shape{1, 256}},
                                     {Shape{35, 72}, Shape{1, 16}},
                                     {Shape{18, 400}, Shape{3, 48}}})
    for (const int bits : {2, 4, 5, 8})
      for (const ShiftKind kind : {ShiftKind::none, ShiftKind::zero_point, ShiftKind::real_zero, ShiftKind::offset})
        for (const TensorScale tensor_scale : {TensorScale::multiplies_value, TensorScale::divides_scale}) {
          CodedMatrix matrix = random_matrix(shape, bits, block, kind, random);
          matrix.tensor_scale = 1.5f;
          matrix.tensor_scale_kind = tensor_scale;
          const auto prepared = prepare(matrix);
          ASSERT_TRUE(prepared) << prepared.error().message;
          const std::vector<float> x = normal_values(rows * shape.cols, 2);
          std::vector<float> y(rows * shape.rows), again(y);
          const MatrixView<const float> input(x.data(), rows, shape.cols);
          const auto scales =
              tensor_scale == TensorScale::multiplies_value ? ActivationScales::per_group : ActivationScales::per_row;
          ASSERT_TRUE(matmul(*prepared, input, MatrixView<float>(y.data(), rows, shape.rows), {}, scales));
          ASSERT_TRUE(matmul(*prepared, input, MatrixView<float>(again.data(), rows, shape.rows),
                             {.executor = threads_in_reverse}, scales));
          EXPECT_EQ(y, again);
          const std::size_t group = scales == ActivationScales::per_group ? prepared->group() : shape.cols;
          const auto sections = static_cast<double>(ceil_div(shape.cols, prepared->section()));
          for (std::size_t i = 0; i < rows; ++i)
            for (std::size_t j = 0; j < shape.rows; ++j) {
              const ProductBound expected = product_bound(
                  std::span(x).subspan(i * shape.cols, shape.cols), group, sections + 4.0, [&](std::size_t c) {
                    const detail::BlockLine line = detail::block_line(matrix, j / block.rows, c / block.cols);
                    return BoundedWeight{matrix.value(j, c), std::abs(matrix.codes()(j, c) * double{line.scale}) +
                                                                 std::abs(double{line.minimum})};
                  });
              EXPECT_LE(std::abs(double{y[i * shape.rows + j]} - expected.exact), expected.error)
                  << bits << " bits, " << block.cols;
            }
        }
}

TEST(PreparedMatrix, ScalesAreIntegersWhereNoValueChanges) {
  const auto unit = [](std::vector<float> values) { return detail::common_unit(values); };
  EXPECT_EQ(unit({0.0f, -0.0f}), 0.0f);
  EXPECT_EQ(unit({6.0f, -9.0f, 0.0f, 3.0f}), 3.0f);
  EXPECT_EQ(unit({127 * 0.0625f, -128 * 0.0625f, 0.0625f}), 0.0625f);
  EXPECT_EQ(unit({128.0f, -127.0f, 1.0f}), -1.0f);
  EXPECT_EQ(unit({128.0f, -128.0f, 1.0f}), std::nullopt);
  EXPECT_EQ(unit({129.0f, 1.0f}), std::nullopt);
  EXPECT_EQ(unit({1.0f / 3.0f, 1.0f / 7.0f}), std::nullopt);
  EXPECT_EQ(unit({1e38f, 1e-38f}), std::nullopt);
  constexpr float smallest = std::numeric_limits<float>::denorm_min(), largest = std::numeric_limits<float>::max();
  EXPECT_EQ(unit({3 * smallest, 2 * smallest}), smallest);
  EXPECT_EQ(unit({largest, -largest}), largest);
  EXPECT_EQ(unit({1.0f, std::numeric_limits<float>::infinity()}), std::nullopt);
  EXPECT_EQ(unit({std::numeric_limits<float>::quiet_NaN()}), std::nullopt);
  // One scale that is no such multiple makes all of them floats; products stay the same.
  std::mt19937 random(9);
  CodedMatrix matrix = random_matrix({37, 500}, 4, {1, 16}, ShiftKind::offset, random);
  for (std::size_t r = 0; r < matrix.grid.rows; ++r)
    for (std::size_t c = 0; c < matrix.grid.cols; ++c) {
      matrix.scales()(r, c) =
          std::bit_cast<float>(0x3c55c000u) * static_cast<float>(static_cast<int>(random() % 256) - 128);
      matrix.shifts()(r, c) = std::bit_cast<float>(0x3d123000u) * static_cast<float>(random() % 64);
    }
  const auto as_integers = prepare(matrix);
  matrix.scales()(36, 0) = 1.0f / 3.0f;
  matrix.scales()(36, 1) = 1.0f / 7.0f;
  matrix.shifts()(36, 0) = 1.0f / 3.0f;
  matrix.shifts()(36, 1) = 1.0f / 7.0f;
  const auto as_floats = prepare(matrix);
  ASSERT_TRUE(as_integers && as_floats);
  EXPECT_LT(as_integers->bytes(), as_floats->bytes() * 3 / 4);
  const std::vector<float> x = normal_values(9 * 500, 2);
  std::vector<float> y(9 * 37), expected(y);
  const MatrixView<const float> input(x.data(), 9, 500);
  ASSERT_TRUE(matmul(*as_integers, input, MatrixView<float>(y.data(), 9, 37)));
  ASSERT_TRUE(matmul(*as_floats, input, MatrixView<float>(expected.data(), 9, 37)));
  // Row 36 has other scales now.
  for (std::size_t i = 36; i < y.size(); i += 37) y[i] = expected[i];
  EXPECT_EQ(y, expected);
}

TEST(PreparedMatrix, ASchemesCodesGiveItsProducts) {
  using Int4 = Scheme<4, Symmetric, PerGroup<32>, f16>;
  using Int8 = Scheme<8, Symmetric, PerChannel>;
  const Shape shape{70, 320};
  const std::vector<float> weights = normal_values(shape.rows * shape.cols), x = normal_values(3 * shape.cols, 2);
  using Int4BF16 = Scheme<4, Symmetric, PerGroup<32>, bf16>;
  SchemeList<Int4, Int4BF16, Int8, catalog::MXFP4>::for_each([&]<class S>(std::type_identity<S>) {
    const auto packed = quantize<S>(weights, shape);
    ASSERT_TRUE(packed);
    const auto matrix = coded(packed->view());
    ASSERT_TRUE(matrix);
    const auto prepared = prepare(*packed);
    const auto same = prepare(*matrix);
    ASSERT_TRUE(prepared && same);
    EXPECT_EQ(same->bytes(), prepared->bytes());
    std::vector<float> expected(3 * shape.rows), y(expected);
    const MatrixView<const float> input(x.data(), 3, shape.cols);
    ASSERT_TRUE(matmul(*prepared, input, MatrixView<float>(expected.data(), 3, shape.rows)));
    ASSERT_TRUE(matmul(*same, input, MatrixView<float>(y.data(), 3, shape.rows)));
    EXPECT_EQ(y, expected);
  });
}

TEST(PreparedMatrix, BlocksOfGgufMultiplyAsTheyAre) {
  const Shape shape{6, 512};
  const std::vector<float> weights = normal_values(shape.rows * shape.cols), x = normal_values(shape.cols, 2);
  using gguf::BlockType;
  for (const BlockType type : {BlockType::q4_1, BlockType::q4_k, BlockType::q2_k, BlockType::q3_k, BlockType::q6_k}) {
    std::vector<std::uint8_t> bytes(*gguf::packed_size(type, shape));
    ASSERT_TRUE(gguf::quantize(type, MatrixView<const float>(weights.data(), shape.rows, shape.cols), bytes));
    const std::size_t sizes[] = {shape.rows, bytes.size() / shape.rows};
    const PartView part{"weight", PartType::uint8, sizes, bytes};
    const auto matrix = gguf::Blocks{type}.read({&part, 1});
    ASSERT_TRUE(matrix) << matrix.error().message;
    const auto prepared = prepare(*matrix);
    ASSERT_TRUE(prepared) << prepared.error().message;
    EXPECT_EQ(prepared->bits(), type == BlockType::q6_k ? 8 : 4);
    const bool has_minimums = type != BlockType::q3_k && type != BlockType::q6_k;
    EXPECT_EQ(prepared->offset(), has_minimums ? 1 : type == BlockType::q3_k ? 4 : 32);
    EXPECT_EQ(prepared->section(), type == BlockType::q4_1 || type == BlockType::q4_k ? 32u : 16u);
    std::vector<float> y(shape.rows);
    ASSERT_TRUE(matvec(*prepared, x, y));
    for (std::size_t r = 0; r < shape.rows; ++r) {
      double exact = 0.0, norm = 0.0;
      for (std::size_t c = 0; c < shape.cols; ++c) {
        exact += double{matrix->value(r, c)} * x[c];
        norm += std::pow(double{matrix->value(r, c)} * x[c], 2.0);
      }
      EXPECT_NEAR(y[r], exact, 0.02 * std::sqrt(norm));
    }
  }
}

TEST(PreparedMatrix, Nvfp4MultipliesInEightBits) {
  const Shape shape{37, 400};
  const std::vector<float> weights = normal_values(shape.rows * shape.cols);
  const auto expect_products = [&](const auto& packed) {
    ASSERT_TRUE(packed);
    const auto matrix = coded(*packed);
    ASSERT_TRUE(matrix);
    const auto prepared = prepare(*matrix);
    ASSERT_TRUE(prepared) << prepared.error().message;
    EXPECT_TRUE(prepared->is_e2m1());
    EXPECT_EQ(prepared->section(), 16u);
    EXPECT_EQ(prepared->offset(), 12);
    for (const std::size_t rows : {1u, 9u}) {
      const std::vector<float> x = normal_values(rows * shape.cols, 2);
      const MatrixView<const float> input(x.data(), rows, shape.cols);
      std::vector<float> y(rows * shape.rows), scalar(y);
      ASSERT_TRUE(matmul(*prepared, input, MatrixView<float>(y.data(), rows, shape.rows)));
      ASSERT_TRUE(matmul<ReferenceKernels>(*prepared, input, MatrixView<float>(scalar.data(), rows, shape.rows)));
      EXPECT_EQ(y, scalar);
      const auto sections = static_cast<double>(ceil_div(shape.cols, prepared->section()));
      for (std::size_t i = 0; i < y.size(); ++i) {
        const std::size_t row = i % shape.rows;
        const ProductBound expected =
            product_bound(std::span(x).subspan(i / shape.rows * shape.cols, shape.cols), prepared->group(),
                          sections + 4.0, [&](std::size_t c) {
                            const float value = matrix->value(row, c);
                            const detail::BlockLine line = detail::block_line(*matrix, row, c / nvfp4_block);
                            return BoundedWeight{value, std::abs(double{value}) + 12.0 * double{line.scale}};
                          });
        EXPECT_LE(std::abs(double{y[i]} - expected.exact), expected.error);
      }
    }
  };
  const MatrixView<const float> view(weights.data(), shape.rows, shape.cols);
  expect_products(quantize_nvfp4<Nvfp4Dialect::modelopt>(view));
  expect_products(quantize_nvfp4<Nvfp4Dialect::compressed_tensors>(view));
}

TEST(PreparedMatrix, BlocksOf16ColumnsOfOtherLayoutsMultiplyToo) {
  std::mt19937 random(7);
  const Shape shape{21, 104};
  CodedMatrix written = random_matrix(shape, 4, {1, 16}, ShiftKind::zero_point, random);
  for (std::size_t r = 0; r < written.grid.rows; ++r)
    for (std::size_t c = 0; c < written.grid.cols; ++c) written.shifts()(r, c) = static_cast<float>(random() % 16);
  const MatMulNBits layout{.block_size = 16, .columns = shape.cols};
  const auto parts = layout.write(written);
  ASSERT_TRUE(parts) << parts.error().message;
  std::vector<PartView> views;
  for (const Part& part : *parts) views.push_back(part.view());
  const auto matrix = layout.read(views);
  ASSERT_TRUE(matrix) << matrix.error().message;
  const auto prepared = prepare(*matrix);
  ASSERT_TRUE(prepared) << prepared.error().message;
  // Activations that eight bits hold, scales and all, give the product of the values.
  std::vector<float> x(shape.cols), y(shape.rows), scalar(y);
  for (std::size_t c = 0; c < x.size(); ++c) x[c] = c % 32 == 5 ? 127.0f : static_cast<float>(random() % 255) - 127.0f;
  ASSERT_TRUE(matvec(*prepared, x, y));
  ASSERT_TRUE(matvec<ReferenceKernels>(*prepared, x, scalar));
  EXPECT_EQ(y, scalar);
  for (std::size_t r = 0; r < shape.rows; ++r) {
    double exact = 0.0, size = 0.0;
    for (std::size_t c = 0; c < shape.cols; ++c) {
      exact += double{matrix->value(r, c)} * x[c];
      size += 15.0 * matrix->scales()(r, c / 16) * std::abs(x[c]);
    }
    EXPECT_NEAR(y[r], exact, std::ldexp(size, -20));
  }
}

TEST(PreparedMatrix, ScalesWithoutNumbersStayInTheirRow) {
  std::mt19937 random(8);
  CodedMatrix matrix = random_matrix({3, 96}, 4, {1, 16}, ShiftKind::offset, random);
  matrix.scales()(1, 1) = std::numeric_limits<float>::quiet_NaN();
  matrix.shifts()(2, 5) = std::numeric_limits<float>::infinity();
  const auto prepared = prepare(matrix);
  ASSERT_TRUE(prepared);
  const std::vector<float> x(96, 1.0f);
  std::vector<float> y(3);
  ASSERT_TRUE(matvec(*prepared, x, y));
  EXPECT_TRUE(std::isfinite(y[0]));
  EXPECT_TRUE(std::isnan(y[1]));
  EXPECT_EQ(y[2], std::numeric_limits<float>::infinity());
}

TEST(PreparedMatrix, WhatCannotBePreparedIsAnErrorThatSaysSo) {
  std::mt19937 random(1);
  const auto message = [](const CodedMatrix& matrix) {
    const auto prepared = prepare(matrix);
    EXPECT_FALSE(prepared);
    return prepared ? std::string() : prepared.error().message;
  };
  const auto contains = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  for (const std::size_t group : {1u, 8u, 24u, 40u})
    EXPECT_TRUE(contains(message(random_matrix({2, 64}, 4, {1, group}, ShiftKind::none, random)),
                         "groups of a multiple of 16 columns, not groups of " + std::to_string(group)));
  CodedMatrix reordered = random_matrix({2, 64}, 4, {1, 32}, ShiftKind::none, random);
  ASSERT_TRUE(reordered.allocate_column_groups());
  for (std::size_t c = 0; c < 64; ++c) reordered.column_groups()[c] = static_cast<std::uint32_t>(c % 2);
  EXPECT_TRUE(contains(message(reordered), "act-order"));
  auto floats = CodedMatrix::allocate({2, 64}, code_format<NF4>(), {1, 32}, ShiftKind::none);
  ASSERT_TRUE(floats);
  std::fill_n(floats->codes_memory.data(), 128, std::byte{0});
  EXPECT_TRUE(contains(message(*floats), "codes of nf4"));
  for (const std::size_t group : {16u, 32u}) {
    const auto empty = prepare(random_matrix({0, 64}, 4, {1, group}, ShiftKind::offset, random));
    ASSERT_TRUE(empty);
    EXPECT_EQ(empty->bytes(), 0u);
  }
}

}  // namespace
