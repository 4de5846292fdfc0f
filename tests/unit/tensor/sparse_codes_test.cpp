#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "../normal_values.hpp"
#include "pare/tensor/sparse.hpp"
#include "pare/tensor/tensor.hpp"
#include "sparse_products.hpp"

namespace {

using namespace pare;

using Ints = Scheme<4, Symmetric, PerGroup<32>, f16>;
using Bytes = Scheme<8, Symmetric, PerChannel>;
using Floats = Scheme<e2m1, Symmetric, PerGroup<32>, e8m0>;
using Tiles = Scheme<3, Asymmetric, PerBlock<3, 20>>;

/// A mask that keeps whole blocks or nothing of them.
Mask block_mask(Shape shape, Shape block, std::uint32_t seed) {
  Mask mask = *Mask::create(shape);
  std::mt19937 random(seed);
  for (std::size_t b = 0; b < shape.rows; b += block.rows)
    for (std::size_t j = 0; j < shape.cols; j += block.cols) {
      const bool keep = random() % 3 != 0;
      for (std::size_t r = b; r < std::min(shape.rows, b + block.rows); ++r)
        for (std::size_t c = j; c < std::min(shape.cols, j + block.cols); ++c) mask.set(r, c, keep);
    }
  return mask;
}

template <class S>
std::vector<float> dense_values(const PackedTensor<S>& packed, MaskView mask) {
  std::vector<float> dense(mask.rows * mask.cols);
  EXPECT_TRUE(dequantize(packed, dense));
  EXPECT_TRUE(apply(mask, MatrixView<float>(dense.data(), mask.rows, mask.cols)));
  return dense;
}

template <class S>
class SparseCodes : public testing::Test {};
using Schemes = testing::Types<Ints, Bytes, Floats, Tiles>;
TYPED_TEST_SUITE(SparseCodes, Schemes);

TYPED_TEST(SparseCodes, StoragesHoldTheCodesThatTheMaskKeepsAndMultiplyThem) {
  using S = TypeParam;
  // 2100 columns are more than two windows.
  for (const Shape shape : {Shape{1, 1}, Shape{5, 15}, Shape{33, 100}, Shape{9, 2100}})
    for (const double density : {0.0, 0.4, 1.0}) {
      const Mask mask = random_mask(shape, density, 3);
      const auto packed = *quantize<S>(normal_values(shape.rows * shape.cols), shape);
      const std::vector<float> dense = dense_values(packed, mask);
      const auto bitmask = *BitmaskTensor<S>::create(packed, mask, {.executor = threads_in_reverse});
      expect_dense(bitmask, dense);
      expect_products(bitmask, dense);
      const auto csr = *CsrTensor<S>::create(packed, mask, {.executor = threads_in_reverse});
      expect_dense(csr, dense);
      expect_products(csr, dense);
      EXPECT_EQ(csr.columns().size(), mask.kept());
      const std::size_t parameters = packed.scales().size() + packed.zero_points().size();
      const std::size_t codes = packed_bytes(mask.kept() + 64, S::bits) + (8 + S::bits) * (shape.rows + 1);
      EXPECT_LE(csr.bytes(), parameters + codes + 4 * mask.kept());
      EXPECT_LE(bitmask.bytes(), parameters + codes + shape.rows * ceil_div(shape.cols, 8));
    }
}

TYPED_TEST(SparseCodes, BlocksHoldTheCodesThatTheMaskKeepsAndMultiplyThem) {
  using S = TypeParam;
  for (const Shape shape : {Shape{5, 15}, Shape{33, 100}, Shape{40, 700}})
    for (const Shape block : {Shape{1, 8}, Shape{2, 12}, Shape{16, 1}, Shape{16, 5}, Shape{32, 32}}) {
      if (block.rows > std::max<std::size_t>(16, shape.rows) || block.cols > shape.cols) continue;
      const Mask mask = block_mask(shape, block, 4);
      const auto packed = *quantize<S>(normal_values(shape.rows * shape.cols), shape);
      const std::vector<float> dense = dense_values(packed, mask);
      const auto blocks = *BlockCsrTensor<S>::create(packed, mask, block, {.executor = threads_in_reverse});
      expect_dense(blocks, dense);
      expect_products(blocks, dense);
    }
}

TYPED_TEST(SparseCodes, BitmasksGiveTheBitsOfProductsWithThePackedTensor) {
  using S = TypeParam;
  const Shape shape{12, 2100};
  const Mask mask = random_mask(shape, 0.5, 5);
  const std::vector<float> weights = normal_values(shape.rows * shape.cols), x = normal_values(3 * shape.cols, 2);
  // What is pruned decodes to 0.
  const auto packed = *quantize<S>(weights, mask);
  const auto bitmask = *BitmaskTensor<S>::create(packed, mask);
  std::vector<float> y(3 * shape.rows), dense(y.size());
  const MatrixView<const float> input(x.data(), 3, shape.cols);
  ASSERT_TRUE(matmul(bitmask, input, MatrixView<float>(y.data(), 3, shape.rows)));
  ASSERT_TRUE(matmul(packed, input, MatrixView<float>(dense.data(), 3, shape.rows)));
  EXPECT_TRUE(same_bits(y, dense));
}

TEST(SparseCodes, AnyNofMIsHeldByABitmask) {
  const Shape shape{24, 160};
  const std::vector<float> weights = normal_values(shape.rows * shape.cols);
  Mask mask = *Mask::create(shape);
  for (std::size_t r = 0; r < shape.rows; ++r)
    for (std::size_t c = 0; c < shape.cols; ++c) mask.set(r, c, c % 5 == r % 5);  // 1:5
  const auto packed = *quantize<Ints>(weights, mask);
  const auto bitmask = *BitmaskTensor<Ints>::create(packed, mask);
  // Four bits for a fifth of the weights, one for each, half a bit for the scales; what begins a row, and 64 codes.
  EXPECT_LE(bitmask.bytes(), 24 * 160 / 10 * 23 / 8 + (8 + 4) * 25 + 32);
  expect_products(bitmask, dense_values(packed, mask));
}

TEST(SparseCodes, NumbersThatAreNoneStayWhereTheyAre) {
  const Shape shape{2, 40};
  std::vector<float> weights(shape.rows * shape.cols, 1.0f), x(shape.cols, 1.0f), y(shape.rows);
  weights[40 + 5] = std::numeric_limits<float>::quiet_NaN();
  x[7] = std::numeric_limits<float>::infinity();
  Mask mask = *Mask::create(shape);
  for (std::size_t c = 0; c < 8; ++c) mask.set(0, c, false);
  const auto packed = *quantize<Scheme<e4m3, Symmetric, PerChannel>>(weights, shape);
  const auto expect_row = [&](const auto& matrix) {
    ASSERT_TRUE(matvec(matrix, x, y));
    EXPECT_EQ(y[0], 32.0f);
    EXPECT_FALSE(std::isfinite(y[1]));
  };
  using S = Scheme<e4m3, Symmetric, PerChannel>;
  expect_row(*BitmaskTensor<S>::create(packed, mask));
  expect_row(*CsrTensor<S>::create(packed, mask));
  expect_row(*BlockCsrTensor<S>::create(packed, mask, {1, 8}));
}

TEST(SparseCodes, EmptyMatricesAreFine) {
  for (const Shape shape : {Shape{0, 0}, Shape{0, 5}, Shape{5, 0}}) {
    const auto packed = *PackedTensor<Ints>::allocate(shape);
    const Mask mask = *Mask::create(shape);
    const std::vector<float> x(shape.cols, 1.0f);
    const auto expect_zeros = [&](const auto& matrix) {
      ASSERT_TRUE(matrix) << matrix.error().message;
      std::vector<float> y(shape.rows, 1.0f);
      ASSERT_TRUE(matvec(*matrix, x, y));
      EXPECT_EQ(y, std::vector<float>(shape.rows, 0.0f));
      EXPECT_TRUE(matrix->to_dense(MatrixView<float>(nullptr, shape.rows, shape.cols)));
    };
    expect_zeros(CsrTensor<Ints>::create(packed, mask));
    expect_zeros(BitmaskTensor<Ints>::create(packed, mask));
    expect_zeros(BlockCsrTensor<Ints>::create(packed, mask, {16, 4}));
  }
}

TEST(SparseCodes, WrongArgumentsAreErrors) {
  const auto packed = *quantize<Ints>(normal_values(6 * 14), Shape{6, 14});
  Mask mask = *Mask::create({6, 14});
  const auto message = [](const auto& result) { return result ? std::string() : result.error().message; };
  EXPECT_EQ(message(CsrTensor<Ints>::create(packed, *Mask::create({6, 13}))),
            "pare: the mask is 6 x 13 where 6 x 14 is needed");
  EXPECT_EQ(message(BitmaskTensor<Ints>::create(packed, MaskView{nullptr, 6, 14})), "pare: the mask is a null pointer");
  PackedView<Ints> lost = packed.view();
  lost.scales = nullptr;
  EXPECT_EQ(message(BitmaskTensor<Ints>::create(lost, mask)), "pare: a part of the packed weights is a null pointer");
  constexpr std::size_t wide = std::size_t{1} << 31, most = std::numeric_limits<std::size_t>::max();
  EXPECT_EQ(message(CsrTensor<Ints>::create(PackedView<Ints>{{0, wide}}, MaskView{nullptr, 0, wide})),
            "pare: sparse storage takes at most 2^31 - 1 columns, not 2147483648");
  EXPECT_NE(message(BitmaskTensor<Ints>::create(PackedView<Ints>{{most, 0}}, MaskView{nullptr, most, 0})), "");
  EXPECT_NE(message(CsrTensor<Ints>::create(PackedView<Ints>{{most / 2, 0}}, MaskView{nullptr, most / 2, 0})), "");
  EXPECT_EQ(message(BlockCsrTensor<Ints>::create(packed, mask, {0, 4})),
            "pare: blocks of 0 x 4 do not fit a matrix of 6 x 14");
  EXPECT_EQ(message(BlockCsrTensor<Ints>::create(packed, mask, {3, 3})),
            "pare: blocks of codes have a multiple of 8 elements and at most 1024, not 3 x 3");
  mask.set(3, 9, false);
  EXPECT_EQ(message(BlockCsrTensor<Ints>::create(packed, mask, {2, 4})),
            "pare: the mask keeps a part of the block from row 2 and column 8 on, and not all of it");
  const auto csr = *CsrTensor<Ints>::create(packed, mask);
  std::vector<float> x(14), y(6);
  EXPECT_EQ(message(matvec(csr, x, std::span(x).first(6))), "pare: y overlaps x or the weights");
}

}  // namespace
