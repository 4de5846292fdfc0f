#include "pare/tensor/sparse.hpp"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "../normal_values.hpp"
#include "pare/tensor/tensor.hpp"
#include "sparse_products.hpp"

namespace {

using namespace pare;

constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();

TEST(Sparse, StoragesHoldWhatTheMaskKeepsAndMultiplyIt) {
  for (const Shape shape : {Shape{1, 1}, Shape{5, 15}, Shape{33, 100}, Shape{70, 333}})
    for (const double density : {0.0, 0.3, 1.0}) {
      const Mask mask = random_mask(shape, density, 3);
      const std::vector<float> weights = normal_values(shape.rows * shape.cols);
      const MatrixView<const float> view(weights.data(), shape.rows, shape.cols);
      std::vector<float> dense(weights.size());
      ASSERT_TRUE(apply(mask, view, MatrixView<float>(dense.data(), shape.rows, shape.cols)));
      const auto csr = *CsrMatrix::create(view, mask);
      EXPECT_EQ(csr.values().size(), mask.kept());
      EXPECT_EQ(csr.bytes(), 8 * mask.kept() + 8 * (shape.rows + 1));
      expect_dense(csr, dense);
      expect_products(csr, dense);
      const auto bitmask = *BitmaskMatrix::create(view, mask, {.executor = threads_in_reverse});
      EXPECT_EQ(bitmask.bytes(), 4 * mask.kept() + 8 * (shape.rows + 1) + shape.rows * ceil_div(shape.cols, 8));
      expect_dense(bitmask, dense);
      expect_products(bitmask, dense);
      for (const Shape block : {Shape{1, 1}, Shape{2, 8}, Shape{16, 5}, Shape{32, 1}}) {
        if (block.rows > std::max<std::size_t>(16, shape.rows) || block.cols > shape.cols) continue;
        const auto blocks = *BlockCsrMatrix::create(view, mask, block);
        expect_dense(blocks, dense);
        expect_products(blocks, dense);
      }
    }
}

TEST(Sparse, BitmasksGiveTheBitsOfDenseProducts) {
  const Shape shape{20, 333};
  const Mask mask = random_mask(shape, 0.5, 5);
  std::vector<float> weights = normal_values(shape.rows * shape.cols), y(shape.rows), dense(shape.rows, 0.0f);
  const std::vector<float> x = normal_values(shape.cols, 2);
  const auto bitmask = *BitmaskMatrix::create(MatrixView<const float>(weights.data(), shape.rows, shape.cols), mask);
  ASSERT_TRUE(apply(mask, MatrixView<float>(weights.data(), shape.rows, shape.cols)));
  ASSERT_TRUE(matvec(bitmask, x, y));
  HighwayKernels::accumulate_products(x.data(), 1, shape.cols, weights.data(), shape.rows, shape.cols, shape.cols,
                                      dense.data(), shape.rows);
  EXPECT_EQ(y, dense);
}

TEST(Sparse, ValuesWithoutNumbersStayWhereTheyAre) {
  const Shape shape{2, 40};
  std::vector<float> weights(shape.rows * shape.cols, 1.0f), x(shape.cols, 1.0f), y(shape.rows);
  weights[3] = nan;       // pruned
  weights[40 + 5] = nan;  // kept
  x[7] = infinity;        // where the first row is pruned
  Mask mask = *Mask::create(shape);
  mask.set(0, 3, false);
  mask.set(0, 7, false);
  const MatrixView<const float> view(weights.data(), shape.rows, shape.cols);
  const auto expect_row = [&](const auto& matrix) {
    for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
      hwy::SetSupportedTargetsForTest(target);
      ASSERT_TRUE(matvec(matrix, x, y));
      EXPECT_EQ(y[0], 38.0f) << hwy::TargetName(target);
      EXPECT_TRUE(std::isnan(y[1])) << hwy::TargetName(target);
    }
    hwy::SetSupportedTargetsForTest(0);
  };
  expect_row(*CsrMatrix::create(view, mask));
  expect_row(*BitmaskMatrix::create(view, mask));
  expect_row(*BlockCsrMatrix::create(view, mask, {1, 1}));
  const Mask nonzero = *nonzero_mask(std::as_const(view));
  EXPECT_EQ(nonzero.kept(), weights.size());
  const std::vector<float> zeros = {0.0f, -0.0f, nan, 1e-45f};
  EXPECT_EQ(nonzero_mask(MatrixView<const float>(zeros.data(), 1, 4))->kept(), 2u);
}

TEST(Sparse, EmptyMatricesAreFine) {
  for (const Shape shape : {Shape{0, 0}, Shape{0, 5}, Shape{5, 0}}) {
    const MatrixView<const float> view(nullptr, shape.rows, shape.cols);
    const Mask mask = *nonzero_mask(view);
    const std::vector<float> x(shape.cols, 1.0f);
    const auto expect_zeros = [&](const auto& matrix) {
      ASSERT_TRUE(matrix) << matrix.error().message;
      std::vector<float> y(shape.rows, 1.0f);
      ASSERT_TRUE(matvec(*matrix, x, y));
      EXPECT_EQ(y, std::vector<float>(shape.rows, 0.0f));
      EXPECT_TRUE(matrix->to_dense(MatrixView<float>(nullptr, shape.rows, shape.cols)));
    };
    expect_zeros(CsrMatrix::create(view, mask));
    expect_zeros(BitmaskMatrix::create(view, mask));
    expect_zeros(BlockCsrMatrix::create(view, mask, {16, 4}));
  }
}

TEST(Sparse, TakesMatricesOfEigen) {
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  RowMajor weights = RowMajor::Random(17, 40);
  const RowMajor x = RowMajor::Random(4, 40);
  weights = (weights.array() > 0.3f).select(weights, 0.0f);
  const auto mask = *nonzero_mask(view(weights));
  const auto csr = *CsrMatrix::create(view(weights), mask);
  RowMajor y(4, 17);
  ASSERT_TRUE(matmul(csr, x, y));
  EXPECT_LT((y - x * weights.transpose()).cwiseAbs().maxCoeff(), 1e-5f);
}

TEST(Sparse, WrongArgumentsAreErrors) {
  const std::vector<float> weights(6 * 14, 1.0f);
  const MatrixView<const float> view(weights.data(), 6, 14);
  const Mask mask = *Mask::create({6, 14});
  const auto message = [](const auto& result) { return result ? std::string() : result.error().message; };
  EXPECT_EQ(message(CsrMatrix::create(view, *Mask::create({6, 13}))),
            "pare: the mask is 6 x 13 where 6 x 14 is needed");
  EXPECT_EQ(message(BitmaskMatrix::create(view, MaskView{nullptr, 6, 14})), "pare: the mask is a null pointer");
  EXPECT_EQ(message(CsrMatrix::create({nullptr, 6, 14}, mask)), "pare: the weight matrix is a null pointer");
  constexpr std::size_t wide = std::size_t{1} << 31;
  EXPECT_EQ(message(CsrMatrix::create({nullptr, 0, wide}, MaskView{nullptr, 0, wide})),
            "pare: sparse storage takes at most 2^31 - 1 columns, not 2147483648");
  EXPECT_EQ(message(BlockCsrMatrix::create(view, mask, {0, 4})), "pare: blocks of 0 x 4 do not fit a matrix of 6 x 14");
  EXPECT_EQ(message(BlockCsrMatrix::create(view, mask, {32, 4})),
            "pare: blocks of 32 x 4 do not fit a matrix of 6 x 14");
  EXPECT_EQ(message(BlockCsrMatrix::create(view, mask, {1, 15})),
            "pare: blocks of 1 x 15 do not fit a matrix of 6 x 14");

  const auto csr = *CsrMatrix::create(view, mask);
  std::vector<float> x(14), y(6);
  EXPECT_EQ(message(matvec(csr, std::span(x).first(13), y)), "pare: x is 1 x 13 where 1 x 14 is needed");
  EXPECT_EQ(message(matvec(csr, x, std::span(y).first(5))), "pare: y is 1 x 5 where 1 x 6 is needed");
  EXPECT_EQ(message(matvec(csr, x, std::span(x).first(6))), "pare: y overlaps x or the weights");
  EXPECT_EQ(message(csr.to_dense(MatrixView<float>(x.data(), 1, 14))),
            "pare: the output is 1 x 14 where 6 x 14 is needed");
  EXPECT_EQ(message(matmul(csr, MatrixView<const float>(x.data(), 1, 14, 28, 2), MatrixView<float>(y.data(), 1, 6))),
            "pare: matmul needs row-major x and y; use Eigen's RowMajor storage order");
}

}  // namespace
