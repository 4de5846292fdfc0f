#include "pare/tensor/sparse24.hpp"

#include <gtest/gtest.h>

#include <algorithm>
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

namespace {

using namespace pare;

using Int4F16 = Scheme<4, Symmetric, PerGroup<32>, f16>;
using UInt4 = Scheme<4, Asymmetric, PerGroup<64>>;
using Int8Row = Scheme<8, Symmetric, PerChannel>;
using UInt8Tensor = Scheme<8, Asymmetric, PerTensor>;
using Schemes = SchemeList<Int4F16, UInt4, Int8Row, UInt8Tensor, catalog::MXFP4>;

/// Keeps two of every four columns, and now and then fewer.
Mask mask_24(Shape shape, std::uint32_t seed) {
  Mask mask = *Mask::create(shape);
  std::mt19937 random(seed);
  for (std::size_t r = 0; r < shape.rows; ++r)
    for (std::size_t c = 0; c < shape.cols; c += 4) {
      const std::size_t first = random() % 5, second = random() % 5;
      for (std::size_t i = c; i < std::min(shape.cols, c + 4); ++i) mask.set(r, i, i - c == first || i - c == second);
    }
  return mask;
}

template <SchemeType S>
PackedTensor<S> pruned(Shape shape, const Mask& mask, std::uint32_t seed = 1) {
  std::vector<float> weights = normal_values(shape.rows * shape.cols, seed);
  EXPECT_TRUE(apply(mask, MatrixView<float>(weights.data(), shape.rows, shape.cols)));
  return *quantize<S>(weights, shape);
}

void threads_in_reverse(std::size_t count, Task task) {
  std::vector<std::thread> threads;
  for (std::size_t i = count; i-- > 0;) threads.emplace_back([=] { task(i); });
  for (std::thread& thread : threads) thread.join();
}

TEST(Sparse24, ProductsHaveTheBitsOfDenseOnes) {
  for (const Shape shape : {Shape{33, 1}, Shape{16, 256}, Shape{70, 333}, Shape{35, 1034}}) {
    const Mask mask = mask_24(shape, 3);
    Schemes::for_each([&]<class S>(std::type_identity<S>) {
      const PackedTensor<S> packed = pruned<S>(shape, mask);
      const auto dense = *prepare(packed);
      const auto of_mask = *prepare_sparse24(packed, mask), of_codes = *prepare_sparse24(packed);
      for (const std::size_t rows : {1u, 3u, 9u})
        for (const ActivationScales scales : {ActivationScales::per_group, ActivationScales::per_row}) {
          const std::vector<float> x = normal_values(rows * shape.cols, 2);
          const MatrixView<const float> input(x.data(), rows, shape.cols);
          std::vector<float> expected(rows * shape.rows), actual(expected.size());
          const MatrixView<float> output(actual.data(), rows, shape.rows);
          ASSERT_TRUE(matmul(dense, input, MatrixView<float>(expected.data(), rows, shape.rows), {}, scales));
          ASSERT_TRUE(matmul(of_mask, input, output, {}, scales));
          EXPECT_EQ(expected, actual) << name<S>() << ", " << rows << " rows, " << shape.cols << " columns";
          ASSERT_TRUE(matmul(of_codes, input, output, {}, scales));
          EXPECT_EQ(expected, actual) << name<S>() << ", " << rows << " rows, " << shape.cols << " columns";
          ASSERT_TRUE((matmul<S, ReferenceKernels>(of_mask, input, output, {}, scales)));
          EXPECT_EQ(expected, actual) << name<S>() << ", " << rows << " rows, " << shape.cols << " columns";
        }
    });
  }
}

TEST(Sparse24, TheMaskPrunesWhatTheCodesHold) {
  const Shape shape{20, 136};
  const Mask mask = mask_24(shape, 4);
  const std::vector<float> weights = normal_values(shape.rows * shape.cols), x = normal_values(shape.cols, 2);
  const auto packed = *quantize<Int4F16>(weights, shape);
  std::vector<float> values(weights.size()), expected(shape.rows), actual(shape.rows);
  ASSERT_TRUE(dequantize(packed, values));
  ASSERT_TRUE(apply(mask, MatrixView<float>(values.data(), shape.rows, shape.cols)));
  const auto sparse = *prepare_sparse24(packed, mask);
  ASSERT_TRUE(matvec(sparse, x, actual));
  for (std::size_t r = 0; r < shape.rows; ++r) {
    double sum = 0.0;
    for (std::size_t c = 0; c < shape.cols; ++c) sum += double{values[r * shape.cols + c]} * double{x[c]};
    EXPECT_NEAR(actual[r], sum, 0.25);
  }
  auto refused = prepare_sparse24(packed);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
}

TEST(Sparse24, ExecutorsGiveTheSameBitsAndMemoryIsLess) {
  const Shape shape{70, 512};
  const Mask mask = mask_24(shape, 5);
  const auto packed = pruned<Int8Row>(shape, mask);
  const auto serially = *prepare_sparse24(packed, mask);
  const auto in_parallel = *prepare_sparse24(packed, {.executor = threads_in_reverse});
  const std::vector<float> x = normal_values(shape.cols, 2);
  std::vector<float> a(shape.rows), b(shape.rows);
  ASSERT_TRUE(matvec(serially, x, a));
  ASSERT_TRUE(matvec(in_parallel, x, b, {.executor = threads_in_reverse}));
  EXPECT_EQ(a, b);
  // Five bits a weight and a float a row, of whole blocks of 16 rows.
  EXPECT_EQ(serially.bytes(), 80 * 512 * 5 / 8 + 80 * sizeof(float));
}

TEST(Sparse24, LargestCodesAndActivationsDoNotOverflow) {
  const Shape shape{16, 256};
  auto packed = *PackedTensor<Int8Row>::allocate(shape);
  const PackedSpan<Int8Row> parts = packed.view();
  const float one = 1.0f;
  for (std::size_t r = 0; r < shape.rows; ++r) {
    std::fill_n(parts.row_codes(r), shape.cols, r % 2 == 0 ? std::uint8_t{0x80} : std::uint8_t{0x7f});
    std::memcpy(parts.stored_scale(r), &one, sizeof one);
  }
  Mask mask = *Mask::create(shape);
  for (std::size_t r = 0; r < shape.rows; ++r)
    for (std::size_t c = 0; c < shape.cols; ++c) mask.set(r, c, c % 4 > 1);
  const auto sparse = *prepare_sparse24(packed, mask);
  for (const float sign : {1.0f, -1.0f}) {
    const std::vector<float> x(shape.cols, sign * 127.0f);
    std::vector<float> y(shape.rows);
    ASSERT_TRUE(matvec(sparse, x, y));
    for (std::size_t r = 0; r < shape.rows; ++r)
      EXPECT_EQ(y[r], sign * 127.0f * 128.0f * (r % 2 == 0 ? -128.0f : 127.0f));
  }
}

TEST(Sparse24, ActivationsWithoutNumbersGiveNanWhereNothingIsKeptToo) {
  const Shape shape{16, 32};
  Mask mask = *Mask::create(shape);
  for (std::size_t r = 0; r < shape.rows; ++r)
    for (std::size_t c = 0; c < shape.cols; ++c) mask.set(r, c, false);
  const auto sparse = *prepare_sparse24(pruned<Int8Row>(shape, mask), mask);
  std::vector<float> x(shape.cols, 1.0f), y(shape.rows, 1.0f);
  ASSERT_TRUE(matvec(sparse, x, y));
  for (const float v : y) EXPECT_EQ(v, 0.0f);
  x[7] = std::numeric_limits<float>::infinity();
  ASSERT_TRUE(matvec(sparse, x, y));
  for (const float v : y) EXPECT_TRUE(std::isnan(v));
}

TEST(Sparse24, EmptyMatricesAreFine) {
  for (const Shape shape : {Shape{0, 0}, Shape{0, 5}, Shape{5, 0}}) {
    const auto sparse = *prepare_sparse24(*quantize<UInt4>(std::vector<float>{}, shape), *Mask::create(shape));
    std::vector<float> x(shape.cols, 1.0f), y(shape.rows, 1.0f);
    ASSERT_TRUE(matvec(sparse, x, y));
    EXPECT_EQ(y, std::vector<float>(shape.rows, 0.0f));
  }
}

TEST(Sparse24, WrongMasksAreErrors) {
  const Shape shape{6, 14};
  const auto packed = *quantize<UInt4>(normal_values(shape.rows * shape.cols), shape);
  const auto error_of = [&](MaskView mask) {
    auto result = prepare_sparse24(packed, mask);
    return result ? std::string() : result.error().message;
  };
  Mask mask = mask_24(shape, 6);
  EXPECT_EQ(error_of(mask), "");
  for (const std::size_t c : {8u, 9u, 11u}) mask.set(3, c, true);
  mask.set(3, 10, false);
  EXPECT_EQ(error_of(mask), "pare: row 3 keeps 3 of the four columns from 8 on; 2:4 weights keep at most two");
  EXPECT_EQ(error_of(*Mask::create({6, 15})), "pare: the mask is 6 x 15 where 6 x 14 is needed");
  EXPECT_EQ(error_of({nullptr, 6, 14}), "pare: the mask is a null pointer");
  // Bits past the last column carry no meaning.
  mask = mask_24(shape, 6);
  mask.row(5)[1] |= 0xc0;
  EXPECT_EQ(error_of(mask), "");
  auto refused = prepare_sparse24(PackedView<UInt4>{shape, nullptr, nullptr, nullptr}, mask);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "pare: a part of the packed weights is a null pointer");
}

}  // namespace
