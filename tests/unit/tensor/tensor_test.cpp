#include <gtest/gtest.h>

#include <Eigen/Core>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory_resource>
#include <string>
#include <thread>
#include <vector>

#include "../normal_values.hpp"
#include "pare/pare.hpp"

namespace {

using namespace pare;

using W4 = Scheme<4, Symmetric, PerGroup<128>>;
using U4 = Scheme<4, Asymmetric, PerGroup<32>>;

/// Runs every task on a thread of its own, the last one first.
void reversed_threads(std::size_t count, Task task) {
  std::vector<std::thread> threads;
  for (std::size_t i = count; i-- > 0;) threads.emplace_back([=] { task(i); });
  for (std::thread& thread : threads) thread.join();
}

template <SchemeType S>
bool same(const PackedTensor<S>& a, const PackedTensor<S>& b) {
  const auto equal = [](auto x, auto y) { return std::equal(x.begin(), x.end(), y.begin(), y.end()); };
  return equal(a.codes(), b.codes()) && equal(a.scales(), b.scales()) && equal(a.zero_points(), b.zero_points());
}

/// Quantization and dequantization of one matrix by the scalar definition, without windows, tasks or streams.
template <SchemeType S>
std::vector<float> round_trip(const std::vector<float>& weights, Shape shape) {
  using G = typename S::granularity_type;
  using F = typename S::format_type;
  std::vector<float> out(weights.size());
  const Shape grid = G::grid(shape);
  for (std::size_t br = 0; br < grid.rows; ++br)
    for (std::size_t bc = 0; bc < grid.cols; ++bc) {
      const auto each = [&](auto&& f) {
        for (std::size_t r = 0; r < shape.rows; ++r)
          for (std::size_t c = 0; c < shape.cols; ++c)
            if (r / G::block_rows == br && c / G::block_cols == bc) f(r * shape.cols + c);
      };
      Range range;
      each([&](std::size_t i) { range.include(weights[i]); });
      const BlockParameters p = S::parameters(range);
      each([&](std::size_t i) {
        out[i] = dequantize_value<F>(quantize_value<F>(weights[i], p), p.scale, p.zero_point);
      });
    }
  return out;
}

TEST(Tensor, EverySchemeRoundTripsAsItsDefinitionSays) {
  for (const Shape shape : {Shape{1, 1}, Shape{3, 31}, Shape{5, 128}, Shape{130, 140}, Shape{2, 2500}}) {
    const std::vector<float> weights = normal_values(shape.rows * shape.cols);
    Catalog::for_each([&]<class S>(std::type_identity<S>) {
      auto packed = quantize<S>(weights, shape);
      ASSERT_TRUE(packed) << packed.error().message;
      std::vector<float> values(weights.size());
      ASSERT_TRUE(dequantize(*packed, values));
      EXPECT_EQ(values, round_trip<S>(weights, shape)) << name<S>() << ' ' << shape.rows << " x " << shape.cols;
    });
  }
}

TEST(Tensor, TheBytesDoNotDependOnTheExecutor) {
  const Shape shape{515, 700};
  const std::vector<float> weights = normal_values(shape.rows * shape.cols);
  const std::vector<float> x = normal_values(9 * shape.cols, 2);
  Catalog::for_each([&]<class S>(std::type_identity<S>) {
    auto one = quantize<S>(weights, shape);
    auto many = quantize<S>(weights, shape, {.executor = reversed_threads});
    ASSERT_TRUE(one && many);
    EXPECT_TRUE(same(*one, *many)) << name<S>();
    std::vector<float> a(9 * shape.rows), b(a.size());
    const MatrixView<const float> input(x.data(), 9, shape.cols);
    ASSERT_TRUE(matmul(*one, input, MatrixView<float>(a.data(), 9, shape.rows)));
    ASSERT_TRUE(matmul(*one, input, MatrixView<float>(b.data(), 9, shape.rows), {.executor = reversed_threads}));
    EXPECT_EQ(a, b) << name<S>();
  });
}

TEST(Tensor, OutputsLargerThanTheCachesAreTheSame) {
  const Shape shape{8200, 1030};
  ASSERT_GE(shape.rows * shape.cols * sizeof(float), detail::past_caches_bytes);
  const auto packed = quantize<U4>(normal_values(shape.rows * shape.cols), shape);
  ASSERT_TRUE(packed);
  // One element off, and with a guard on either side.
  std::vector<float> whole(shape.rows * shape.cols + 2, 7.0f), parts(whole);
  ASSERT_TRUE(
      dequantize(*packed, MatrixView<float>(whole.data() + 1, shape.rows, shape.cols), {.executor = reversed_threads}));
  const PackedView<U4> all = packed->view();
  for (std::size_t r = 0; r < shape.rows; r += 1000) {
    const std::size_t block = all.first_block(r);
    const Shape part{std::min<std::size_t>(1000, shape.rows - r), shape.cols};
    const PackedView<U4> rows{part, all.row_codes(r), all.stored_scale(block), all.zero_points + block};
    ASSERT_TRUE(dequantize(rows, MatrixView<float>(parts.data() + 1 + r * shape.cols, part.rows, part.cols)));
  }
  EXPECT_TRUE(whole == parts);
  EXPECT_EQ(whole.back(), 7.0f);
}

TEST(Tensor, NarrowWeightsAreQuantizedAsTheirValues) {
  const Shape shape{7, 200};
  std::vector<Half> halves;
  std::vector<BFloat16> brains;
  std::vector<float> from_halves, from_brains;
  for (const float v : normal_values(shape.rows * shape.cols)) {
    halves.emplace_back(v);
    brains.emplace_back(v);
    from_halves.push_back(static_cast<float>(halves.back()));
    from_brains.push_back(static_cast<float>(brains.back()));
  }
  EXPECT_TRUE(same(*quantize<U4>(halves, shape), *quantize<U4>(from_halves, shape)));
  EXPECT_TRUE(same(*quantize<U4>(brains, shape), *quantize<U4>(from_brains, shape)));
}

TEST(Tensor, DequantizesIntoHalves) {
  const Shape shape{4, 100};
  auto packed = quantize<W4>(normal_values(400), shape);
  std::vector<float> values(400);
  std::vector<Half> halves(400);
  std::vector<BFloat16> brains(400);
  ASSERT_TRUE(dequantize(*packed, values));
  ASSERT_TRUE(dequantize(*packed, halves));
  ASSERT_TRUE(dequantize(*packed, brains));
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(halves[i], Half(values[i]));
    EXPECT_EQ(brains[i], BFloat16(values[i]));
  }
}

TEST(Tensor, EigenMatricesOfEitherOrderGiveTheSameBytes) {
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const RowMajor rows = RowMajor::Random(65, 300);
  const Eigen::MatrixXf columns = rows;
  auto packed = quantize<W4>(rows);
  ASSERT_TRUE(packed);
  EXPECT_TRUE(same(*packed, *quantize<W4>(columns)));
  EXPECT_TRUE(same(*packed, *quantize<W4>(Eigen::Map<const Eigen::MatrixXf>(columns.data(), 65, 300))));
  RowMajor a(65, 300);
  Eigen::MatrixXf b(65, 300);
  ASSERT_TRUE(dequantize(*packed, a));
  ASSERT_TRUE(dequantize(*packed, b));
  EXPECT_EQ(a, RowMajor(b));
  const RowMajor x = RowMajor::Random(5, 300);
  RowMajor y(5, 65);
  ASSERT_TRUE(matmul(*packed, x, y));
  EXPECT_LT((y - x * a.transpose()).cwiseAbs().maxCoeff(), 1e-4f);
  Eigen::MatrixXf wrong(5, 65);
  auto refused = matmul(*packed, x, wrong);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
}

TEST(Tensor, ProductsStayWithinTheStatedBound) {
  struct Size {
    std::size_t rows, cols;
  };
  for (const auto [rows, cols] : {Size{11, 1}, Size{11, 100}, Size{11, 1024}, Size{11, 3000}, Size{131, 1030}}) {
    const Shape shape{70, cols};
    const std::vector<float> weights = normal_values(shape.rows * cols), x = normal_values(rows * cols, 2);
    auto packed = quantize<U4>(weights, shape);
    std::vector<float> values(weights.size()), y(rows * shape.rows);
    ASSERT_TRUE(dequantize(*packed, values));
    ASSERT_TRUE(matmul(*packed, MatrixView<const float>(x.data(), rows, cols), MatrixView<float>(y.data(), rows, 70)));
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t n = 0; n < shape.rows; ++n) {
        double exact = 0.0, magnitude = 0.0;
        for (std::size_t c = 0; c < cols; ++c) {
          const double product = double{x[i * cols + c]} * double{values[n * cols + c]};
          exact += product;
          magnitude += std::abs(product);
        }
        const double steps = static_cast<double>(cols) / 16 + static_cast<double>(cols) / 1024 + 6;
        EXPECT_LE(std::abs(double{y[i * 70 + n]} - exact), steps * std::ldexp(magnitude, -24));
      }
    for (const std::size_t row : {std::size_t{0}, rows - 1}) {
      std::vector<float> one(70);
      ASSERT_TRUE(matvec(*packed, std::span(x).subspan(row * cols, cols), one));
      EXPECT_TRUE(std::equal(one.begin(), one.end(), y.begin() + static_cast<std::ptrdiff_t>(row * 70)));
    }
  }
}

TEST(Tensor, RowsOfMoreScalesThanAreDecodedAtOnceGiveTheSameProducts) {
  using Narrow = Scheme<4, Asymmetric, PerGroup<16>>;
  const Shape shape{3, 4500 * 16 + 7};
  const std::vector<float> x = normal_values(5 * shape.cols, 2);
  const auto packed = quantize<Narrow>(normal_values(shape.rows * shape.cols), shape);
  ASSERT_TRUE(packed);
  // One row is multiplied by codes, whose scales stand in a buffer; five by decoded weights.
  std::vector<float> one(shape.rows), five(5 * shape.rows);
  ASSERT_TRUE(matvec(*packed, std::span(x).first(shape.cols), one));
  ASSERT_TRUE(
      matmul(*packed, MatrixView<const float>(x.data(), 5, shape.cols), MatrixView<float>(five.data(), 5, shape.rows)));
  EXPECT_TRUE(std::equal(one.begin(), one.end(), five.begin()));
}

TEST(Tensor, SubmatricesKeepTheirNeighbours) {
  std::vector<float> whole = normal_values(20 * 64), out(20 * 64, 9.0f);
  const MatrixView<float> part(whole.data() + 8, 10, 40, 64, 1);
  std::vector<float> dense;
  for (std::size_t r = 0; r < 10; ++r) dense.insert(dense.end(), part.row(r), part.row(r) + 40);
  auto packed = quantize<U4>(part);
  EXPECT_TRUE(same(*packed, *quantize<U4>(dense, {10, 40})));
  ASSERT_TRUE(dequantize(*packed, MatrixView<float>(out.data() + 8, 10, 40, 64, 1)));
  for (std::size_t r = 0; r < 20; ++r)
    for (std::size_t c = 0; c < 64; ++c)
      if (r >= 10 || c < 8 || c >= 48) {
        EXPECT_EQ(out[r * 64 + c], 9.0f);
      }
}

TEST(Tensor, EmptyMatricesAreFine) {
  for (const Shape shape : {Shape{0, 0}, Shape{0, 5}, Shape{5, 0}}) {
    Catalog::for_each([&]<class S>(std::type_identity<S>) {
      auto packed = quantize<S>(std::vector<float>{}, shape);
      ASSERT_TRUE(packed) << packed.error().message;
      EXPECT_EQ(packed->bits_per_weight(), 0.0);
      std::vector<float> none;
      EXPECT_TRUE(dequantize(*packed, none));
    });
  }
  auto packed = quantize<W4>(std::vector<float>{}, {3, 0});
  std::vector<float> y(3, 1.0f);
  ASSERT_TRUE(matvec(*packed, std::span<const float>{}, y));
  EXPECT_EQ(y, std::vector<float>(3, 0.0f));
}

TEST(Tensor, HugeShapesAreErrors) {
  constexpr std::size_t huge = std::numeric_limits<std::size_t>::max();
  for (const Shape shape : {Shape{huge, 2}, Shape{2, huge}, Shape{huge, huge}, Shape{huge / 8, 9}}) {
    EXPECT_FALSE(packed_sizes<W4>(shape));
    EXPECT_FALSE(quantize<W4>(std::vector<float>(8), shape));
  }
  auto refused = PackedTensor<W4>::allocate({std::size_t{1} << 29, std::size_t{1} << 28});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::out_of_memory);
}

TEST(Tensor, WrongArgumentsAreErrorsThatSayWhich) {
  const std::vector<float> weights = normal_values(8 * 64);
  auto packed = quantize<U4>(weights, {8, 64});
  std::vector<float> short_output(100), x(64), y(8);
  const auto message = [](auto result) { return result ? std::string("no error") : result.error().message; };
  EXPECT_NE(message(quantize<U4>(weights, {8, 65})).find("span is shorter"), std::string::npos);
  EXPECT_NE(message(dequantize(*packed, short_output)).find("span is shorter"), std::string::npos);
  EXPECT_NE(message(dequantize(*packed, MatrixView<float>(x.data(), 1, 64))).find("1 x 64 where 8 x 64"),
            std::string::npos);
  EXPECT_NE(message(dequantize(*packed, MatrixView<float>(nullptr, 8, 64))).find("null"), std::string::npos);
  EXPECT_NE(message(dequantize(*packed, MatrixView<float>(x.data(), 8, 64, 1, 1))).find("overlap"), std::string::npos);
  EXPECT_NE(message(matvec(*packed, std::span(x).first(63), y)).find("x is 1 x 63"), std::string::npos);
  EXPECT_NE(message(matvec(*packed, x, std::span(y).first(7))).find("y is 1 x 7"), std::string::npos);
  EXPECT_NE(message(matvec(*packed, x, std::span(x).first(8))).find("overlaps"), std::string::npos);
  EXPECT_NE(message(quantize<U4>(MatrixView<const float>(nullptr, 8, 64))).find("null"), std::string::npos);
}

TEST(Tensor, MemoryThatOverlapsIsRefused) {
  alignas(float) std::array<std::uint8_t, 4096> memory{};
  auto* floats = reinterpret_cast<float*>(memory.data());
  const auto sizes = packed_sizes<U4>({4, 64});
  auto view = PackedSpan<U4>::over({4, 64}, std::span(memory).subspan(16, sizes->codes),
                                   std::span(memory).subspan(2048, sizes->scales),
                                   std::span(memory).subspan(3072, sizes->zero_points));
  ASSERT_TRUE(view);
  EXPECT_FALSE(quantize_into<U4>(MatrixView<const float>(floats, 4, 64), *view));
  EXPECT_FALSE(dequantize<U4>(PackedView<U4>(*view), MatrixView<float>(floats, 4, 64)));
}

TEST(Tensor, WorksInTheCallersMemory) {
  const std::vector<float> weights = normal_values(6 * 70);
  const Shape shape{6, 70};
  const auto sizes = packed_sizes<U4>(shape);
  ASSERT_TRUE(sizes);
  // Odd offsets: no part needs alignment.
  std::vector<std::uint8_t> memory(sizes->total() + 3, 0xee);
  const std::span<std::uint8_t> all(memory);
  auto view = PackedSpan<U4>::over(shape, all.subspan(1, sizes->codes), all.subspan(2 + sizes->codes, sizes->scales),
                                   all.subspan(3 + sizes->codes + sizes->scales, sizes->zero_points));
  ASSERT_TRUE(view) << view.error().message;
  ASSERT_TRUE(quantize_into<U4>(MatrixView<const float>(weights.data(), 6, 70), *view));
  auto owned = quantize<U4>(weights, shape);
  EXPECT_TRUE(std::equal(owned->codes().begin(), owned->codes().end(), view->codes));
  EXPECT_TRUE(std::equal(owned->scales().begin(), owned->scales().end(), view->scales));
  EXPECT_TRUE(std::equal(owned->zero_points().begin(), owned->zero_points().end(), view->zero_points));
  EXPECT_EQ(memory[0], 0xee);

  auto wrong = PackedSpan<U4>::over(shape, all.first(sizes->codes - 1), all.first(sizes->scales), all.first(12));
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("codes have"), std::string::npos);

  std::array<std::byte, 8192> arena;
  std::pmr::monotonic_buffer_resource resource(arena.data(), arena.size(), std::pmr::null_memory_resource());
  auto inside = quantize<U4>(weights, shape, {.memory = &resource});
  ASSERT_TRUE(inside);
  const auto* p = reinterpret_cast<const std::byte*>(inside->codes().data());
  EXPECT_TRUE(p >= arena.data() && p < arena.data() + arena.size());
}

TEST(Tensor, SpecialValuesBecomeWhatIsDocumented) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> weights(64, 1.0f);
  weights[3] = std::numeric_limits<float>::quiet_NaN();
  weights[5] = -infinity;
  std::vector<float> values(64);
  ASSERT_TRUE(dequantize(*quantize<catalog::Int8Group32>(weights, {1, 64}), values));
  EXPECT_EQ(values[3], 0.0f);
  EXPECT_EQ(values[5], -1.0f);
  EXPECT_EQ(values[0], 1.0f);
  ASSERT_TRUE(dequantize(*quantize<catalog::FP8Tensor>(weights, {1, 64}), values));
  EXPECT_TRUE(std::isnan(values[3]));
  EXPECT_EQ(values[5], -1.0f);
  ASSERT_TRUE(dequantize(*quantize<catalog::MXFP4>(weights, {1, 64}), values));
  for (std::size_t i = 0; i < 32; ++i) EXPECT_TRUE(std::isnan(values[i]));
  EXPECT_EQ(values[32], 1.0f);
}

TEST(Tensor, PrunedWeightsTakeNoPartAndDecodeToZero) {
  std::vector<float> weights = normal_values(6 * 64);
  weights[5] = std::numeric_limits<float>::quiet_NaN();
  weights[70] = 1e30f;
  auto mask = Mask::create({6, 64});
  ASSERT_TRUE(mask);
  std::vector<float> kept = weights;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const bool keep = i % 5 != 0;
    mask->set(i / 64, i % 64, keep);
    if (!keep) kept[i] = 0.0f;
  }
  const MatrixView<const float> view(weights.data(), 6, 64);
  Catalog::for_each([&]<class S>(std::type_identity<S>) {
    auto packed = quantize<S>(view, *mask);
    ASSERT_TRUE(packed) << packed.error().message;
    EXPECT_TRUE(same(*packed, *quantize<S>(kept, {6, 64}))) << name<S>();
    std::vector<float> values(kept.size());
    ASSERT_TRUE(dequantize(*packed, values));
    for (std::size_t i = 0; i < values.size(); i += 5) EXPECT_EQ(values[i], 0.0f) << name<S>();
  });
  EXPECT_FALSE(quantize<U4>(MatrixView<const float>(weights.data(), 64, 6), *mask));
}

TEST(Tensor, AllBackendsWriteTheSameBytes) {
  const Shape shape{33, 300};
  const std::vector<float> weights = normal_values(shape.rows * shape.cols);
  Catalog::for_each([&]<class S>(std::type_identity<S>) {
    EXPECT_TRUE(same(*quantize<S>(weights, shape), *quantize<S, ReferenceKernels>(weights, shape))) << name<S>();
  });
}

}  // namespace
