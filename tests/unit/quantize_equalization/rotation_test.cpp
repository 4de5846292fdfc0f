#include <gtest/gtest.h>

#include <Eigen/LU>
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pare/quantize/cayley.hpp"
#include "pare/quantize/rotation_fusing.hpp"

namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();

struct Threads {
  void operator()(std::size_t count, pare::Task task) const {
    std::vector<std::thread> pool;
    for (std::size_t t = 0; t < 2; ++t)
      pool.emplace_back([=] {
        for (std::size_t i = count; i-- > 0;)
          if (i % 2 == t) task(i);
      });
    for (std::thread& thread : pool) thread.join();
  }
};

std::vector<float> normal(std::size_t count, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> values(count);
  for (float& v : values) v = distribution(generator);
  return values;
}

template <class R>
void expect_error(const R& result, const std::string& part) {
  ASSERT_FALSE(result);
  EXPECT_TRUE(result.error().message.starts_with("pare: ")) << result.error().message;
  EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
}

/// W x + b for each row x.
std::vector<float> linear(const std::vector<float>& x, const std::vector<float>& w, std::size_t in,
                          const std::vector<float>& b = {}) {
  const std::size_t rows = x.size() / in, out = w.size() / in;
  std::vector<float> y(rows * out);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t o = 0; o < out; ++o) {
      double sum = b.empty() ? 0.0 : static_cast<double>(b[o]);
      for (std::size_t i = 0; i < in; ++i)
        sum += static_cast<double>(x[r * in + i]) * static_cast<double>(w[o * in + i]);
      y[r * out + o] = static_cast<float>(sum);
    }
  return y;
}

std::vector<float> rms_norm(std::vector<float> x, const std::vector<float>& gain) {
  const std::size_t n = gain.size();
  for (std::size_t r = 0; r < x.size() / n; ++r) {
    double squares = 0;
    for (std::size_t i = 0; i < n; ++i) squares += static_cast<double>(x[r * n + i] * x[r * n + i]);
    const double scale = 1 / std::sqrt(squares / static_cast<double>(n));
    for (std::size_t i = 0; i < n; ++i) x[r * n + i] = static_cast<float>(x[r * n + i] * scale) * gain[i];
  }
  return x;
}

void expect_close(const std::vector<float>& expected, const std::vector<float>& found, float tolerance) {
  ASSERT_EQ(expected.size(), found.size());
  for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(expected[i], found[i], tolerance) << i;
}

TEST(HadamardMatrix, RowsAreOrthogonalForEveryOrder) {
  for (const std::size_t order :
       {1u, 2u, 4u, 12u, 20u, 24u, 28u, 36u, 40u, 44u, 52u, 60u, 76u, 108u, 140u, 148u, 156u, 172u}) {
    const auto matrix = pare::hadamard_matrix(order);
    ASSERT_TRUE(matrix) << order;
    for (std::size_t a = 0; a < order; ++a)
      for (std::size_t b = 0; b <= a; ++b) {
        float sum = 0;
        for (std::size_t i = 0; i < order; ++i) sum += (*matrix)(a, i) * (*matrix)(b, i);
        ASSERT_EQ(sum, a == b ? static_cast<float>(order) : 0.0f) << order << ": " << a << ", " << b;
      }
    for (const float x : matrix->values()) ASSERT_EQ(std::fabs(x), 1.0f);
  }
  expect_error(pare::hadamard_matrix(0), "order 0");
  expect_error(pare::hadamard_matrix(6), "order 6");
  expect_error(pare::hadamard_matrix(92), "order 92");
}

TEST(HadamardMatrix, OrdersOfTheSpecification) {
  static_assert(pare::hadamard_order(4096) == 1);
  static_assert(pare::hadamard_order(11008) == 172);
  static_assert(pare::hadamard_order(13824) == 108);
  static_assert(pare::hadamard_order(14336) == 28);
  static_assert(pare::hadamard_order(18944) == 148);
  for (const std::size_t order : {12u, 20u, 28u, 36u, 40u, 52u, 60u, 108u, 140u, 156u, 172u}) {
    EXPECT_EQ(pare::hadamard_order(order), order);
    EXPECT_EQ(pare::hadamard_order(order * 16), order == 20 ? 40u : order);
  }
  EXPECT_EQ(pare::hadamard_order(0), 0u);
  EXPECT_EQ(pare::hadamard_order(7), 0u);
  EXPECT_EQ(pare::hadamard_order(92), 0u);
  EXPECT_EQ(pare::hadamard_order(368), 368u);
}

TEST(Hadamard, IsTheMatrixAndItsTransposeTheInverse) {
  for (const std::size_t n : {1u, 2u, 4u, 8u, 64u, 12u, 24u, 160u, 288u}) {
    const auto hadamard = *pare::Hadamard::create(n);
    const std::size_t order = hadamard.order(), run = n / order;
    const auto core = *pare::hadamard_matrix(order);
    const std::vector<float> x = normal(n, 1);
    std::vector<double> y(x.begin(), x.end()), scratch(n);
    hadamard.forward(y.data(), scratch.data());
    for (std::size_t a = 0; a < order; ++a)
      for (std::size_t k = 0; k < run; ++k) {
        double sum = 0;
        for (std::size_t b = 0; b < order; ++b)
          for (std::size_t i = 0; i < run; ++i)
            sum += static_cast<double>(core(a, b) * x[b * run + i]) * (std::popcount(i & k) % 2 == 0 ? 1 : -1);
        ASSERT_NEAR(sum / std::sqrt(static_cast<double>(n)), y[a * run + k], 1e-12) << n;
      }
    hadamard.backward(y.data(), scratch.data());
    for (std::size_t i = 0; i < n; ++i) ASSERT_NEAR(y[i], static_cast<double>(x[i]), 1e-12);
  }
  expect_error(pare::Hadamard::create(0), "0 values");
  expect_error(pare::Hadamard::create(9), "9 values");
}

TEST(Rotations, SpreadAnOutlierAndComeBack) {
  const auto rotation = *pare::HadamardRotation::random(128, 7);
  std::vector<float> x(128);
  x[5] = 100;
  const std::vector<float> before = x;
  ASSERT_TRUE(pare::rotate_rows(rotation, {x.data(), 1, 128}));
  for (const float v : x) EXPECT_NEAR(std::fabs(v), 100 / std::sqrt(128.0f), 1e-4);
  ASSERT_TRUE(pare::rotate_rows<float>(rotation, {x.data(), 1, 128}, pare::RotationSide::backward));
  expect_close(before, x, 1e-4f);
  const auto again = *pare::HadamardRotation::random(128, 7), other = *pare::HadamardRotation::random(128, 8);
  EXPECT_TRUE(std::ranges::equal(rotation.signs(), again.signs()));
  EXPECT_FALSE(std::ranges::equal(rotation.signs(), other.signs()));
}

TEST(Rotations, DenseAndFastAgreeOnHeadsAndThreads) {
  const auto fast = *pare::HadamardRotation::random(24, 3);
  std::vector<float> identity(24 * 24);
  for (std::size_t i = 0; i < 24; ++i) identity[i * 25] = 1;
  ASSERT_TRUE(pare::rotate_inputs(fast, {identity.data(), 24, 24}));
  const auto dense =
      *pare::DenseRotation::create(*pare::Matrix<double>::copy(pare::MatrixView<const float>(identity.data(), 24, 24)));
  for (const pare::RotationSide side : {pare::RotationSide::forward, pare::RotationSide::backward}) {
    std::vector<float> a = normal(900 * 96, 4), b = a, c = a;
    ASSERT_TRUE(pare::rotate_rows(fast, {a.data(), 900, 96}, side));
    ASSERT_TRUE(pare::rotate_rows(dense, {b.data(), 900, 96}, side));
    const Threads threads;
    ASSERT_TRUE(pare::rotate_rows(fast, {c.data(), 900, 96}, side, {.executor = threads}));
    expect_close(a, b, 1e-5f);
    EXPECT_EQ(a, c);
  }
}

TEST(Rotations, RefuseWhatDoesNotFit) {
  const auto rotation = *pare::HadamardRotation::random(8, 1);
  std::vector<float> x(24, 1.0f);
  expect_error(pare::rotate_rows(rotation, {x.data(), 2, 12}), "rows of 12 values");
  expect_error(pare::rotate_rows(rotation, {nullptr, 2, 8}), "null pointer");
  x[9] = nan;
  expect_error(pare::rotate_rows(rotation, {x.data(), 3, 8}), "(1, 1) is not a number");
  EXPECT_TRUE(pare::rotate_rows(rotation, {nullptr, 0, 8}));
  expect_error(pare::HadamardRotation::create(std::vector<float>{1, 0.5f}), "+1 or -1");
  expect_error(pare::HadamardRotation::create({}), "0 values");
  auto twice = *pare::Matrix<double>::create({2, 2});
  twice(0, 0) = twice(1, 1) = 2;
  expect_error(pare::DenseRotation::create(std::move(twice)), "not orthogonal");
  auto broken = *pare::Matrix<double>::create({2, 2});
  broken(0, 0) = std::nan("");
  expect_error(pare::DenseRotation::create(std::move(broken)), "not finite");
  expect_error(pare::DenseRotation::create(*pare::Matrix<double>::create({2, 3})), "is 2 x 3");
}

/// The residual stream of a block: embeddings, two layers behind a norm, a head behind another.
struct Network {
  std::size_t hidden = 24;
  std::vector<float> embeddings = normal(10 * 24, 1), gain = normal(24, 2), up = normal(40 * 24, 3),
                     up_bias = normal(40, 4), down = normal(24 * 40, 5), down_bias = normal(24, 6),
                     head_gain = normal(24, 7), head = normal(10 * 24, 8);

  [[nodiscard]] std::vector<float> logits() const {
    std::vector<float> y = embeddings;
    std::vector<float> inner = linear(rms_norm(y, gain), up, hidden, up_bias);
    for (float& v : inner) v = std::max(v, 0.0f);
    const std::vector<float> added = linear(inner, down, 40, down_bias);
    for (std::size_t i = 0; i < y.size(); ++i) y[i] += added[i];
    return linear(rms_norm(y, head_gain), head, hidden);
  }
};

TEST(RotationFusing, LeavesANetworkAsItWas) {
  Network network;
  const std::vector<float> before = network.logits();
  const auto rotation = *pare::HadamardRotation::random(24, 9);
  const pare::LinearLayer up{{network.up.data(), 40, 24}, network.up_bias}, head{{network.head.data(), 10, 24}};
  ASSERT_TRUE(pare::fold_normalization(network.gain, {}, {&up, 1}));
  ASSERT_TRUE(pare::fold_normalization(network.head_gain, {}, {&head, 1}));
  expect_close(before, network.logits(), 1e-3f);
  EXPECT_EQ(network.gain, std::vector<float>(24, 1.0f));
  ASSERT_TRUE(pare::rotate_inputs(rotation, {network.embeddings.data(), 10, 24}));
  ASSERT_TRUE(pare::rotate_inputs(rotation, up.weight));
  ASSERT_TRUE(pare::rotate_outputs(rotation, {{network.down.data(), 24, 40}, network.down_bias}));
  ASSERT_TRUE(pare::rotate_inputs(rotation, head.weight));
  EXPECT_GT(std::fabs(network.embeddings[0] - Network().embeddings[0]), 1e-6f);
  expect_close(before, network.logits(), 1e-3f);
}

TEST(RotationFusing, NormBiasAndCentering) {
  std::vector<float> gain = normal(6, 1), shift = normal(6, 2), weight = normal(24, 3), bias = normal(4, 4);
  const std::vector<float> x = normal(30, 5);
  std::vector<float> scaled = x;
  for (std::size_t i = 0; i < x.size(); ++i) scaled[i] = x[i] * gain[i % 6] + shift[i % 6];
  const std::vector<float> before = linear(scaled, weight, 6, bias);
  const pare::LinearLayer layer{{weight.data(), 4, 6}, bias};
  ASSERT_TRUE(pare::fold_normalization(gain, shift, {&layer, 1}));
  expect_close(before, linear(x, weight, 6, bias), 1e-5f);
  EXPECT_EQ(shift, std::vector<float>(6, 0.0f));

  ASSERT_TRUE(pare::center_outputs(layer));
  const std::vector<float> centered = linear(x, weight, 6, bias);
  for (std::size_t r = 0; r < 5; ++r) {
    const auto mean = (before[r * 4] + before[r * 4 + 1] + before[r * 4 + 2] + before[r * 4 + 3]) / 4;
    for (std::size_t o = 0; o < 4; ++o) EXPECT_NEAR(centered[r * 4 + o], before[r * 4 + o] - mean, 1e-5f);
  }
}

TEST(RotationFusing, RefusesWhatDoesNotFit) {
  std::vector<float> gain(6, 1.0f), shift(6, 0.5f), weight(24, 1.0f), bias(3);
  const pare::LinearLayer without{{weight.data(), 4, 6}}, wrong{{weight.data(), 4, 6}, bias},
      narrow{{weight.data(), 6, 4}};
  expect_error(pare::fold_normalization(gain, shift, {&without, 1}), "bias of zeros");
  expect_error(pare::fold_normalization(gain, {}, {&wrong, 1}), "4 rows and a bias of 3 values");
  expect_error(pare::fold_normalization(gain, {}, {&narrow, 1}), "is 6 x 4 where 6 x 6");
  expect_error(pare::fold_normalization(gain, std::span(shift).first(2), {&without, 1}), "normalization's bias");
  gain[3] = nan;
  expect_error(pare::fold_normalization(gain, {}, {&without, 1}), "gain at (0, 3)");
  expect_error(pare::rotate_outputs(*pare::HadamardRotation::random(4, 1), wrong), "bias of 3 values");
  expect_error(pare::center_outputs(wrong), "bias of 3 values");
  EXPECT_EQ(weight, std::vector<float>(24, 1.0f));
}

TEST(CayleyDescent, StaysOrthogonalAndLowersALoss) {
  using Dense = pare::EigenMatrix<double>;
  const std::size_t n = 12;
  const std::vector<float> noise = normal(n * n, 11);
  Dense a(12, 12);
  for (std::size_t i = 0; i < n * n; ++i) a.data()[i] = static_cast<double>(noise[i]);
  // Down to a rotation near the start, which is another for its determinant.
  const auto goal = *pare::HadamardRotation::random(n, 5);
  std::vector<float> target(n * n);
  for (std::size_t i = 0; i < n; ++i) target[i * n + i] = 1;
  ASSERT_TRUE(pare::rotate_inputs(goal, {target.data(), n, n}));
  Dense b(12, 12);
  for (std::size_t i = 0; i < n * n; ++i) b.data()[i] = static_cast<double>(target[i]);
  if (b.determinant() < 0) b.row(0) = -b.row(0);

  for (const double momentum : {0.0, 0.5}) {
    auto start = *pare::Matrix<double>::create({n, n});
    for (std::size_t i = 0; i < n; ++i) start(i, i) = 1;
    auto state = *pare::CayleyState<>::create(start.view());
    const pare::CayleyDescent descent{.learning_rate = 0.02, .momentum = momentum};
    const auto loss = [&] { return (a * pare::as_eigen(state.matrix()) - a * b).squaredNorm(); };
    const double before = loss();
    for (int i = 0; i < 250; ++i) {
      auto gradient = *pare::Matrix<double>::create({n, n});
      pare::as_eigen(gradient.view()) = 2.0 * a.transpose() * (a * pare::as_eigen(state.matrix()) - a * b);
      ASSERT_TRUE(state.step(std::as_const(gradient).view(), descent));
    }
    EXPECT_LT(loss(), 0.3 * before) << momentum;
    const auto x = pare::as_eigen(state.matrix());
    EXPECT_LT((x * x.transpose() - Dense::Identity(12, 12)).norm(), 1e-3);
  }
}

TEST(CayleyDescent, RetractionRemovesTheDrift) {
  const std::size_t n = 6;
  auto start = *pare::Matrix<double>::create({n, n});
  for (std::size_t i = 0; i < n; ++i) start(i, i) = i == 2 ? -1 : 1;
  auto state = *pare::CayleyState<>::create(start.view());
  const std::vector<float> gradient = normal(n * n, 12);
  for (int i = 0; i < 3; ++i)
    ASSERT_TRUE(
        state.step(pare::MatrixView<const float>(gradient.data(), n, n), {.iterations = 1, .retract_every = 3}));
  const auto x = pare::as_eigen(state.matrix());
  EXPECT_LT((x * x.transpose() - pare::EigenMatrix<double>::Identity(6, 6)).norm(), 1e-12);
  EXPECT_LT(x.determinant(), 0);
}

TEST(CayleyDescent, RefusesWhatDoesNotFit) {
  auto matrix = *pare::Matrix<double>::create({2, 2});
  expect_error(pare::CayleyState<>::create(matrix.view()), "not orthogonal");
  expect_error(pare::CayleyState<>::create({matrix.values().data(), 1, 2}), "is 1 x 2");
  matrix(0, 0) = matrix(1, 1) = 1;
  auto state = *pare::CayleyState<>::create(matrix.view());
  const std::vector<float> gradient = {1, nan, 3, 4};
  expect_error(state.step(pare::MatrixView<const float>(gradient.data(), 2, 2), {}), "not finite");
  expect_error(state.step(pare::MatrixView<const float>(gradient.data(), 1, 2), {}), "the gradient is 1 x 2");
  EXPECT_EQ(state.matrix()(0, 0), 1.0);
}

}  // namespace
