#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory_resource>
#include <span>
#include <thread>
#include <vector>

#include "../normal_values.hpp"
#include "pare/tensor/tensor.hpp"
#include "product_bound.hpp"

namespace {

using namespace pare;

using Int4F16 = Scheme<4, Symmetric, PerGroup<32>, f16>;
using Int4Wide = Scheme<4, Symmetric, PerGroup<256>>;
using UInt4 = Scheme<4, Asymmetric, PerGroup<64>>;
using Int3 = Scheme<3, Symmetric, PerGroup<96>>;
using UInt2 = Scheme<2, Asymmetric, PerGroup<32>, bf16>;
using Int5Block = Scheme<5, Symmetric, PerBlock<8, 64>>;
using Int8Row = Scheme<8, Symmetric, PerChannel>;
using UInt8Tensor = Scheme<8, Asymmetric, PerTensor>;
using Int4Float8 = Scheme<4, Symmetric, PerGroup<128>, e4m3>;

using Schemes =
    SchemeList<Int4F16, Int4Wide, UInt4, Int3, UInt2, Int5Block, Int8Row, UInt8Tensor, Int4Float8, catalog::MXFP4>;

template <SchemeType S>
PreparedTensor<S> prepared_of(const PackedTensor<S>& packed) {
  auto prepared = prepare(packed);
  EXPECT_TRUE(prepared) << prepared.error().message;
  return std::move(*prepared);
}

void threads_in_reverse(std::size_t count, Task task) {
  std::vector<std::thread> threads;
  for (std::size_t i = count; i-- > 0;) threads.emplace_back([=] { task(i); });
  for (std::thread& thread : threads) thread.join();
}

TEST(Prepared, ProductsStayWithinTheStatedBound) {
  constexpr std::size_t rows = 5;
  for (const Shape shape : {Shape{33, 1}, Shape{16, 256}, Shape{50, 700}}) {
    const std::vector<float> weights = normal_values(shape.rows * shape.cols), x = normal_values(rows * shape.cols, 2);
    const MatrixView<const float> input(x.data(), rows, shape.cols);
    Schemes::for_each([&]<class S>(std::type_identity<S>) {
      auto packed = quantize<S>(weights, shape);
      ASSERT_TRUE(packed);
      const PreparedTensor<S> prepared = prepared_of(*packed);
      std::vector<float> values(weights.size()), y(rows * shape.rows);
      ASSERT_TRUE(dequantize(*packed, values));
      const auto groups = static_cast<double>(ceil_div(shape.cols, PreparedTensor<S>::group));
      for (const ActivationScales scales : {ActivationScales::per_group, ActivationScales::per_row}) {
        const std::size_t group = scales == ActivationScales::per_row ? shape.cols : PreparedTensor<S>::group;
        ASSERT_TRUE(matmul(prepared, input, MatrixView<float>(y.data(), rows, shape.rows), {}, scales));
        for (std::size_t i = 0; i < rows; ++i)
          for (std::size_t j = 0; j < shape.rows; ++j) {
            const ProductBound expected = product_bound(std::span(x).subspan(i * shape.cols, shape.cols), group,
                                                        groups + 2.0, [&](std::size_t c) {
                                                          const double w = values[j * shape.cols + c];
                                                          return BoundedWeight{w, std::abs(w)};
                                                        });
            EXPECT_LE(std::abs(double{y[i * shape.rows + j]} - expected.exact), expected.error) << name<S>();
          }
      }
    });
  }
}

TEST(Prepared, BackendsAndExecutorsGiveTheSameBits) {
  constexpr std::size_t rows = prepared_batch + 15;
  const Shape shape{70, 333};
  const std::vector<float> weights = normal_values(shape.rows * shape.cols), x = normal_values(rows * shape.cols, 2);
  const MatrixView<const float> input(x.data(), rows, shape.cols);
  Schemes::for_each([&]<class S>(std::type_identity<S>) {
    auto packed = quantize<S>(weights, shape);
    ASSERT_TRUE(packed);
    const PreparedTensor<S> serially = prepared_of(*packed);
    auto in_parallel = prepare(*packed, {.executor = threads_in_reverse});
    ASSERT_TRUE(in_parallel);
    std::vector<float> a(rows * shape.rows), b(a.size()), c(a.size());
    const auto into = [&](std::vector<float>& y) { return MatrixView<float>(y.data(), rows, shape.rows); };
    for (const ActivationScales scales : {ActivationScales::per_group, ActivationScales::per_row}) {
      ASSERT_TRUE((matmul<S, ReferenceKernels>(serially, input, into(a), {}, scales)));
      ASSERT_TRUE(matmul(serially, input, into(b), {}, scales));
      ASSERT_TRUE(matmul(*in_parallel, input, into(c), {.executor = threads_in_reverse}, scales));
      EXPECT_EQ(a, b) << name<S>();
      EXPECT_EQ(a, c) << name<S>();
      std::vector<float> one(shape.rows);
      ASSERT_TRUE(matvec(serially, std::span(x).subspan(shape.cols, shape.cols), one, {}, scales));
      EXPECT_TRUE(std::ranges::equal(one, std::span(a).subspan(shape.rows, shape.rows))) << name<S>();
    }
  });
}

TEST(Prepared, LargestCodesAndActivationsDoNotOverflow) {
  // As many columns as are summed as integers.
  const Shape shape{16, most_exact_columns};
  auto packed = PackedTensor<Int8Row>::allocate(shape);
  ASSERT_TRUE(packed);
  const PackedSpan<Int8Row> parts = packed->view();
  const float one = 1.0f;
  for (std::size_t r = 0; r < shape.rows; ++r) {
    std::fill_n(parts.row_codes(r), shape.cols, r % 2 == 0 ? std::uint8_t{0x80} : std::uint8_t{0x7f});
    std::memcpy(parts.stored_scale(r), &one, sizeof one);
  }
  const PreparedTensor<Int8Row> prepared = prepared_of(*packed);
  const auto columns = static_cast<float>(shape.cols);
  for (const ActivationScales scales : {ActivationScales::per_group, ActivationScales::per_row})
    for (const std::size_t rows : {1u, 2u, 9u})
      for (const float sign : {1.0f, -1.0f}) {
        const std::vector<float> x(rows * shape.cols, sign * 127.0f);
        std::vector<float> y(rows * shape.rows);
        ASSERT_TRUE(matmul(prepared, MatrixView<const float>(x.data(), rows, shape.cols),
                           MatrixView<float>(y.data(), rows, shape.rows), {}, scales));
        for (std::size_t i = 0; i < y.size(); ++i)
          EXPECT_EQ(y[i], sign * 127.0f * columns * (i % 2 == 0 ? -128.0f : 127.0f));
      }
}

TEST(Prepared, RowsWithoutNumbersGiveNanAndLeaveTheOthers) {
  constexpr std::size_t rows = 6;
  const Shape shape{40, 200};
  const PreparedTensor<Int4F16> prepared =
      prepared_of(*quantize<Int4F16>(normal_values(shape.rows * shape.cols), shape));
  std::vector<float> x = normal_values(rows * shape.cols, 2), clean(rows * shape.rows), y(clean.size());
  const MatrixView<const float> input(x.data(), rows, shape.cols);
  ASSERT_TRUE(matmul(prepared, input, MatrixView<float>(clean.data(), rows, shape.rows)));
  x[0 * shape.cols + 3] = std::numeric_limits<float>::quiet_NaN();
  x[2 * shape.cols + 199] = std::numeric_limits<float>::infinity();
  x[4 * shape.cols + 64] = -std::numeric_limits<float>::infinity();
  ASSERT_TRUE(matmul(prepared, input, MatrixView<float>(y.data(), rows, shape.rows)));
  for (std::size_t i = 0; i < y.size(); ++i)
    if (i / shape.rows % 2 == 0)
      EXPECT_TRUE(std::isnan(y[i]));
    else
      EXPECT_EQ(y[i], clean[i]);
}

TEST(Prepared, ZerosSubnormalsAndHugeValuesAreDefined) {
  const Shape shape{20, 64};
  const PreparedTensor<Int4F16> prepared =
      prepared_of(*quantize<Int4F16>(normal_values(shape.rows * shape.cols), shape));
  std::vector<float> y(shape.rows);
  for (const float tiny : {0.0f, -0.0f, 1e-45f, -1e-40f, 1e-37f}) {
    ASSERT_TRUE(matvec(prepared, std::vector<float>(shape.cols, tiny), y));
    for (const float v : y) EXPECT_EQ(v, 0.0f) << tiny;
  }
  std::vector<float> huge(shape.cols);
  huge[5] = std::numeric_limits<float>::max();
  ASSERT_TRUE(matvec(prepared, huge, y));
  for (const float v : y) EXPECT_FALSE(std::isnan(v));
}

TEST(Prepared, ScalesWithoutNumbersGiveNan) {
  const Shape shape{3, 64};
  std::vector<float> weights = normal_values(shape.rows * shape.cols);
  weights[64] = std::numeric_limits<float>::quiet_NaN();
  const PreparedTensor<catalog::MXFP4> prepared = prepared_of(*quantize<catalog::MXFP4>(weights, shape));
  std::vector<float> y(shape.rows);
  ASSERT_TRUE(matvec(prepared, normal_values(shape.cols, 2), y));
  EXPECT_FALSE(std::isnan(y[0]));
  EXPECT_TRUE(std::isnan(y[1]));
  EXPECT_FALSE(std::isnan(y[2]));
}

TEST(Prepared, EmptyMatricesAreFine) {
  for (const Shape shape : {Shape{0, 0}, Shape{0, 5}, Shape{5, 0}}) {
    const PreparedTensor<UInt4> prepared = prepared_of(*quantize<UInt4>(std::vector<float>{}, shape));
    std::vector<float> x(3 * shape.cols, 1.0f), y(3 * shape.rows, 1.0f);
    ASSERT_TRUE(
        matmul(prepared, MatrixView<const float>(x.data(), 3, shape.cols), MatrixView<float>(y.data(), 3, shape.rows)));
    EXPECT_EQ(y, std::vector<float>(3 * shape.rows, 0.0f));
    EXPECT_TRUE(
        matmul(prepared, MatrixView<const float>(nullptr, 0, shape.cols), MatrixView<float>(nullptr, 0, shape.rows)));
  }
}

TEST(Prepared, SubmatricesKeepTheirNeighbours) {
  const Shape shape{21, 40};
  const PreparedTensor<UInt4> prepared = prepared_of(*quantize<UInt4>(normal_values(shape.rows * shape.cols), shape));
  std::vector<float> x = normal_values(9 * 64, 3), y(9 * 32, 9.0f), dense_x, dense_y(9 * shape.rows);
  const MatrixView<const float> part(x.data() + 8, 9, shape.cols, 64, 1);
  for (std::size_t r = 0; r < 9; ++r) dense_x.insert(dense_x.end(), part.row(r), part.row(r) + shape.cols);
  ASSERT_TRUE(matmul(prepared, part, MatrixView<float>(y.data() + 4, 9, shape.rows, 32, 1)));
  ASSERT_TRUE(matmul(prepared, MatrixView<const float>(dense_x.data(), 9, shape.cols),
                     MatrixView<float>(dense_y.data(), 9, shape.rows)));
  for (std::size_t r = 0; r < 9; ++r)
    for (std::size_t c = 0; c < 32; ++c)
      EXPECT_EQ(y[r * 32 + c], c < 4 || c >= 4 + shape.rows ? 9.0f : dense_y[r * shape.rows + c - 4]);
}

TEST(Prepared, TakesMatricesOfEigen) {
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const RowMajor weights = RowMajor::Random(17, 96), x = RowMajor::Random(4, 96);
  auto packed = quantize<Int4F16>(weights);
  ASSERT_TRUE(packed);
  const PreparedTensor<Int4F16> prepared = prepared_of(*packed);
  RowMajor values(17, 96), y(4, 17);
  ASSERT_TRUE(dequantize(*packed, values));
  ASSERT_TRUE(matmul(prepared, x, y));
  EXPECT_LT((y - x * values.transpose()).cwiseAbs().maxCoeff(), 0.2f);
  Eigen::MatrixXf columns(4, 17);
  auto refused = matmul(prepared, x, columns);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
}

TEST(Prepared, WrongArgumentsAreErrors) {
  const Shape shape{8, 64};
  const PreparedTensor<Int4F16> prepared =
      prepared_of(*quantize<Int4F16>(normal_values(shape.rows * shape.cols), shape));
  std::vector<float> x(64), y(8);
  const auto error_of = [&](MatrixView<const float> in, MatrixView<float> out) {
    auto result = matmul(prepared, in, out);
    return result ? std::string() : result.error().message;
  };
  const MatrixView<const float> in(x.data(), 1, 64);
  const MatrixView<float> out(y.data(), 1, 8);
  EXPECT_EQ(error_of(in, out), "");
  EXPECT_EQ(error_of({x.data(), 1, 63}, out), "pare: x is 1 x 63 where 1 x 64 is needed");
  EXPECT_EQ(error_of(in, {y.data(), 1, 7}), "pare: y is 1 x 7 where 1 x 8 is needed");
  EXPECT_EQ(error_of({nullptr, 1, 64}, out), "pare: x is a null pointer");
  EXPECT_EQ(error_of(in, {nullptr, 1, 8}), "pare: y is a null pointer");
  EXPECT_EQ(error_of(in, {x.data() + 60, 1, 8}), "pare: y overlaps x or the weights");
  EXPECT_NE(error_of({x.data(), 1, 64, 64, 2}, out), "");
  auto nothing = prepare<Int4F16>(PackedView<Int4F16>{shape});
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, ErrorCode::invalid_argument);
  constexpr std::size_t huge = std::numeric_limits<std::size_t>::max();
  EXPECT_FALSE(PreparedTensor<Int4F16>::allocate({huge, huge}));
  EXPECT_FALSE(PreparedTensor<Int4F16>::allocate({huge, 1}));
  EXPECT_FALSE(PreparedTensor<Int4F16>::allocate({1, huge}));
}

/// Counts what is asked of it.
class Counter : public std::pmr::memory_resource {
 public:
  std::size_t allocations = 0, bytes = 0;

 private:
  void* do_allocate(std::size_t size, std::size_t alignment) override {
    ++allocations;
    bytes += size;
    return std::pmr::new_delete_resource()->allocate(size, alignment);
  }
  void do_deallocate(void* p, std::size_t size, std::size_t alignment) override {
    std::pmr::new_delete_resource()->deallocate(p, size, alignment);
  }
  [[nodiscard]] bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
};

TEST(Prepared, MemoryComesFromTheResourceOnceAProduct) {
  const Shape shape{32, 256};
  Counter counter;
  auto packed = quantize<Int4F16>(normal_values(shape.rows * shape.cols), shape);
  auto prepared = prepare(*packed, {.memory = &counter});
  ASSERT_TRUE(prepared);
  EXPECT_EQ(counter.allocations, 1u);
  // 4.5 bits a weight, as in the packed form.
  EXPECT_EQ(prepared->bytes(), shape.rows * shape.cols / 2 + shape.rows * shape.cols / 32 * 2);
  counter = {};
  const std::vector<float> x = normal_values(shape.cols, 2);
  std::vector<float> y(shape.rows);
  ASSERT_TRUE(matvec(*prepared, x, y, {.memory = &counter}));
  EXPECT_EQ(counter.allocations, 1u);
  EXPECT_LE(counter.bytes, shape.cols + shape.cols / 4);
}

}  // namespace
