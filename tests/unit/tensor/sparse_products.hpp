#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

#include "../normal_values.hpp"
#include "pare/tensor/tensor.hpp"

namespace pare {

/// Keeps blocks of 2 x 8 at random, and elements of the others now and then.
inline Mask random_mask(Shape shape, double density, std::uint32_t seed) {
  Mask mask = *Mask::create(shape);
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> uniform;
  Mask blocks = *Mask::create({ceil_div(shape.rows, 2), ceil_div(shape.cols, 8)});
  for (std::size_t r = 0; r < blocks.shape().rows; ++r)
    for (std::size_t c = 0; c < blocks.shape().cols; ++c) blocks.set(r, c, uniform(random) < density);
  for (std::size_t r = 0; r < shape.rows; ++r)
    for (std::size_t c = 0; c < shape.cols; ++c) mask.set(r, c, blocks.test(r / 2, c / 8) || random() % 50 == 0);
  return mask;
}

inline void threads_in_reverse(std::size_t count, Task task) {
  std::vector<std::thread> threads;
  for (std::size_t i = count; i-- > 0;) threads.emplace_back([=] { task(i); });
  for (std::thread& thread : threads) thread.join();
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return std::ranges::equal(
      a, b, [](float x, float y) { return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y); });
}

/// Products of one storage: those of the reference on every target and with threads, near the dense ones.
template <class W>
void expect_products(const W& weights, const std::vector<float>& dense) {
  constexpr std::size_t rows = 3;
  const Shape shape = weights.shape();
  const std::vector<float> x = normal_values(rows * shape.cols, 7);
  const MatrixView<const float> input(x.data(), rows, shape.cols);
  std::vector<float> expected(rows * shape.rows, 9.0f), actual(expected.size(), 9.0f);
  ASSERT_TRUE((matmul<W, ReferenceKernels>(weights, input, MatrixView<float>(expected.data(), rows, shape.rows))));
  const auto expect_same = [&](const Options& options, const char* what) {
    ASSERT_TRUE(matmul(weights, input, MatrixView<float>(actual.data(), rows, shape.rows), options));
    EXPECT_TRUE(same_bits(expected, actual)) << what << ", " << shape.rows << " x " << shape.cols;
  };
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    expect_same({}, hwy::TargetName(target));
  }
  hwy::SetSupportedTargetsForTest(0);
  expect_same({.executor = threads_in_reverse}, "threads");
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < shape.rows; ++j) {
      double exact = 0.0, magnitude = 0.0;
      for (std::size_t c = 0; c < shape.cols; ++c) {
        const double product = double{x[i * shape.cols + c]} * double{dense[j * shape.cols + c]};
        exact += product;
        magnitude += std::abs(product);
      }
      EXPECT_LE(std::abs(double{actual[i * shape.rows + j]} - exact),
                std::ldexp(static_cast<double>(shape.cols + 8) * magnitude, -24));
    }
}

template <class W>
void expect_dense(const W& weights, const std::vector<float>& dense) {
  const Shape shape = weights.shape();
  std::vector<float> out(dense.size(), 9.0f);
  ASSERT_TRUE(weights.to_dense(MatrixView<float>(out.data(), shape.rows, shape.cols)));
  EXPECT_TRUE(same_bits(out, dense)) << shape.rows << " x " << shape.cols;
}

}  // namespace pare
