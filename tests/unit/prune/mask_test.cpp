#include "pare/tensor/mask.hpp"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <utility>
#include <vector>

namespace {

using pare::Mask;
using pare::MaskView;
using pare::MatrixView;

constexpr std::size_t huge = std::numeric_limits<std::size_t>::max();

TEST(Mask, KeepsEverythingAtFirst) {
  for (std::size_t rows : {1u, 2u, 5u})
    for (std::size_t cols = 1; cols <= 33; ++cols) {
      const Mask mask = *Mask::create({rows, cols});
      EXPECT_EQ(mask.shape(), (pare::Shape{rows, cols}));
      EXPECT_EQ(mask.kept(), rows * cols);
      EXPECT_EQ(mask.sparsity(), 0.0);
      const unsigned last = mask.view().row(rows - 1)[mask.view().row_bytes() - 1];
      EXPECT_EQ(std::popcount(last), static_cast<int>((cols - 1) % 8 + 1));
    }
}

TEST(Mask, SetsOneBitOfItsOwn) {
  const std::size_t rows = 3;
  const std::size_t cols = 11;
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c) {
      Mask mask = *Mask::create({rows, cols});
      mask.set(r, c, false);
      EXPECT_FALSE(mask.test(r, c));
      EXPECT_EQ(mask.kept(), rows * cols - 1);
      mask.set(r, c, false);
      EXPECT_EQ(mask.kept(), rows * cols - 1);
      mask.set(r, c, true);
      EXPECT_TRUE(mask.test(r, c));
      EXPECT_EQ(mask.kept(), rows * cols);
    }
}

TEST(Mask, BitsStartAtTheLowEndAndRowsAtAByte) {
  Mask mask = *Mask::create({2, 10});
  for (std::size_t c = 0; c < 10; ++c) mask.set(0, c, c == 0 || c == 9);
  for (std::size_t c = 0; c < 10; ++c) mask.set(1, c, c == 7);
  const MaskView view = mask;
  EXPECT_EQ(view.row_bytes(), 2u);
  EXPECT_EQ(view.data[0], 0x01);
  EXPECT_EQ(view.data[1], 0x02);
  EXPECT_EQ(view.data[2], 0x80);
  EXPECT_EQ(view.data[3], 0x00);
  EXPECT_DOUBLE_EQ(mask.sparsity(), 17.0 / 20.0);
}

TEST(Mask, EmptyAndImpossibleShapes) {
  for (const pare::Shape shape : {pare::Shape{0, 0}, {0, 7}, {7, 0}, {huge, 0}, {0, huge}}) {
    const auto mask = Mask::create(shape);
    ASSERT_TRUE(mask);
    EXPECT_EQ(mask->shape(), shape);
    EXPECT_EQ(mask->kept(), 0u);
    EXPECT_EQ(mask->sparsity(), 0.0);
  }
  for (const pare::Shape shape :
       {pare::Shape{huge, 2}, {2, huge}, {huge, huge}, {std::size_t{1} << 32, std::size_t{1} << 32}}) {
    const auto mask = Mask::create(shape);
    ASSERT_FALSE(mask);
    EXPECT_EQ(mask.error().code, pare::ErrorCode::invalid_argument);
  }
}

TEST(Mask, MoreThanTheMemoryIsAnError) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer ends the program at an allocation of this size";
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
  GTEST_SKIP() << "the sanitizer ends the program at an allocation of this size";
#endif
#endif
  const auto mask = Mask::create({1, huge});
  ASSERT_FALSE(mask);
  EXPECT_EQ(mask.error().code, pare::ErrorCode::out_of_memory);
}

TEST(Mask, LivesInTheCallersMemory) {
  alignas(64) std::array<std::byte, 4096> storage;
  std::pmr::monotonic_buffer_resource memory(storage.data(), storage.size(), std::pmr::null_memory_resource());
  const Mask mask = *Mask::create({16, 100}, &memory);
  const auto* first = reinterpret_cast<const std::byte*>(mask.view().data);
  EXPECT_GE(first, storage.data());
  EXPECT_LT(first, storage.data() + storage.size());
}

TEST(Mask, MovedFromIsEmpty) {
  Mask mask = *Mask::create({4, 4});
  mask.set(1, 1, false);
  Mask moved = std::move(mask);
  EXPECT_EQ(moved.kept(), 15u);
  EXPECT_EQ(mask.shape(), pare::Shape{});
  EXPECT_EQ(mask.kept(), 0u);
  mask = std::move(moved);
  EXPECT_EQ(mask.kept(), 15u);
  EXPECT_EQ(moved.shape(), pare::Shape{});
}

TEST(MaskView, IgnoresBitsPastTheLastColumn) {
  const std::array<std::uint8_t, 4> bytes{0xff, 0xff, 0x00, 0xfe};
  const MaskView view = *MaskView::over(bytes, {2, 9});
  EXPECT_EQ(view.kept(), 9u);
  EXPECT_DOUBLE_EQ(view.sparsity(), 0.5);
}

TEST(MaskView, ChecksTheLengthOfItsBytes) {
  const std::array<std::uint8_t, 4> bytes{};
  EXPECT_TRUE(MaskView::over(bytes, {2, 16}));
  EXPECT_FALSE(MaskView::over(bytes, {2, 17}));
  EXPECT_FALSE(MaskView::over(bytes, {5, 1}));
  EXPECT_FALSE(MaskView::over(bytes, {huge, huge}));
  EXPECT_FALSE(MaskView::over(bytes, {16, huge - 6}));
  EXPECT_TRUE(MaskView::over(bytes, {huge, 0}));
}

TEST(Apply, WritesPositiveZeroOverThePrunedAndNothingElse) {
  const float nan = std::bit_cast<float>(0xffc12345u);
  std::vector<float> weights{-1, -0.0f, nan, nan, -std::numeric_limits<float>::infinity(), -0.0f};
  Mask mask = *Mask::create({2, 3});
  for (const auto& [r, c] : {std::pair<std::size_t, std::size_t>{0, 0}, {0, 1}, {1, 0}, {1, 1}}) mask.set(r, c, false);
  ASSERT_TRUE(pare::apply(mask, MatrixView<float>(weights.data(), 2, 3)));
  const std::array<std::uint32_t, 6> expected{0, 0, 0xffc12345u, 0, 0, 0x80000000u};
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(std::bit_cast<std::uint32_t>(weights[i]), expected[i]) << i;
}

TEST(Apply, CopiesBetweenStridesAndLeavesThePaddingAlone) {
  const std::vector<float> column_major{1, 4, 2, 5, 3, 6};
  std::vector<float> out(8, 9.0f);
  Mask mask = *Mask::create({2, 3});
  mask.set(0, 2, false);
  mask.set(1, 0, false);
  ASSERT_TRUE(pare::apply(mask, MatrixView<const float>(column_major.data(), 2, 3, 1, 2),
                          MatrixView<float>(out.data(), 2, 3, 4, 1)));
  EXPECT_EQ(out, (std::vector<float>{1, 2, 0, 9, 0, 5, 6, 9}));
}

void expect_refused(const pare::Result<void>& result) {
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, pare::ErrorCode::invalid_argument);
}

TEST(Apply, RefusesAnotherShapeAndMissingData) {
  std::vector<float> values(6, 1.0f);
  std::vector<float> target(6, 2.0f);
  const Mask mask = *Mask::create({2, 3});
  const MatrixView<float> fits(values.data(), 2, 3);
  const MatrixView<float> other(target.data(), 3, 2);
  const MatrixView<float> nothing(nullptr, 2, 3);
  expect_refused(pare::apply(mask, other));
  expect_refused(pare::apply(mask, fits, other));
  expect_refused(pare::apply(mask, other, fits));
  expect_refused(pare::apply(mask, nothing));
  expect_refused(pare::apply(mask, nothing, fits));
  expect_refused(pare::apply(MaskView{nullptr, 2, 3}, fits));
  EXPECT_EQ(values, std::vector<float>(6, 1.0f));
  EXPECT_TRUE(pare::apply(*Mask::create({huge, 0}), MatrixView<float>(nullptr, huge, 0)));
}

TEST(Apply, RefusesOverlapThatIsNotInPlace) {
  std::vector<float> values(12, 1.0f);
  const Mask mask = *Mask::create({2, 3});
  const MatrixView<float> fits(values.data(), 2, 3);
  expect_refused(pare::apply(mask, fits, MatrixView<float>(values.data() + 1, 2, 3)));
  expect_refused(pare::apply(mask, fits, MatrixView<float>(values.data(), 2, 3, 1, 2)));
  expect_refused(pare::apply(mask, MatrixView<float>(values.data(), 2, 3, 0, 1)));
  const MaskView inside{reinterpret_cast<const std::uint8_t*>(values.data()), 2, 3};
  expect_refused(pare::apply(inside, fits));
  EXPECT_EQ(values, std::vector<float>(12, 1.0f));
  EXPECT_TRUE(pare::apply(mask, fits, fits));
  EXPECT_TRUE(pare::apply(mask, fits, MatrixView<float>(values.data() + 6, 2, 3)));
}

}  // namespace
