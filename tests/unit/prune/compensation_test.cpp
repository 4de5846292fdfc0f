// Least squares after and before the choice of a mask: exchanges that lessen the loss, and targets that inputs can
// reach.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "pare/prune/prune.hpp"

namespace {

std::vector<float> numbers(std::size_t count, unsigned seed) {
  std::vector<float> values;
  unsigned state = seed * 747796405u + 2891336453u;
  for (std::size_t i = 0; i < count; ++i) {
    state = state * 747796405u + 2891336453u;
    values.push_back(static_cast<float>(state >> 8) * 0x1p-23f - 1.0f);
  }
  return values;
}

/// Inputs that hang together, so that weights can stand in for each other.
std::vector<float> tokens(std::size_t count, std::size_t channels) {
  std::vector<float> values = numbers(count * channels, 7);
  for (std::size_t t = 0; t < count; ++t)
    for (std::size_t c = 1; c < channels; ++c) values[t * channels + c] += 0.7f * values[t * channels + c - 1];
  return values;
}

class Compensation : public testing::Test {
 protected:
  static constexpr std::size_t rows = 6, cols = 12, count = 64;
  Compensation() { EXPECT_TRUE(moment.add({inputs.data(), count, cols})); }
  static pare::Mask first_half() {
    auto mask = *pare::Mask::create({rows, cols});
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < cols; ++c) mask.set(r, c, c % 4 < 2);
    return mask;
  }
  const std::vector<float> inputs = tokens(count, cols), values = numbers(rows * cols, 3);
  const pare::MatrixView<const float> weights{values.data(), rows, cols};
  pare::SecondMoment<double> moment = *pare::SecondMoment<double>::create(cols);
};

TEST_F(Compensation, ExchangesLessenTheLossAndKeepTheCounts) {
  const auto plain = *pare::Reconstruct{}(first_half(), weights, moment);
  const auto swapped = *pare::MaskSwaps{.passes = 9}(first_half(), weights, moment);
  EXPECT_LT(swapped.loss, 0.8 * plain.loss);
  for (std::size_t r = 0; r < rows; ++r) {
    std::size_t kept = 0;
    for (std::size_t c = 0; c < cols; ++c) kept += std::size_t{swapped.mask.test(r, c)};
    EXPECT_EQ(kept, cols / 2);
  }
  // No exchange of two weights is left that would make it better.
  const double loss = swapped.loss;
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t i = 0; i < cols; ++i)
      for (std::size_t j = 0; j < cols; ++j) {
        if (!swapped.mask.test(r, i) || swapped.mask.test(r, j)) continue;
        auto other = *pare::Mask::create({rows, cols});
        for (std::size_t a = 0; a < rows; ++a)
          for (std::size_t b = 0; b < cols; ++b) other.set(a, b, swapped.mask.test(a, b));
        other.set(r, i, false);
        other.set(r, j, true);
        EXPECT_GE(pare::Reconstruct{}(std::move(other), weights, moment)->loss, loss * (1 - 1e-6));
      }

  const auto grouped = *pare::MaskSwaps{.group = 4}(first_half(), weights, moment);
  EXPECT_LT(grouped.loss, plain.loss);
  EXPECT_GE(grouped.loss, swapped.loss);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t g = 0; g < cols; g += 4) {
      std::size_t kept = 0;
      for (std::size_t c = g; c < g + 4; ++c) kept += std::size_t{grouped.mask.test(r, c)};
      EXPECT_EQ(kept, 2u);
    }
}

TEST_F(Compensation, ExchangesRefuseWhatReconstructRefuses) {
  EXPECT_FALSE(pare::MaskSwaps{}(*pare::Mask::create({rows, cols - 1}), weights, moment));
  EXPECT_FALSE(pare::MaskSwaps{}(first_half(), weights, *pare::SecondMoment<double>::create(cols)));
  EXPECT_FALSE(pare::MaskSwaps{}(first_half(), weights, *pare::SecondMoment<double>::create(cols + 1)));
  // Two channels that are one: without damping no best weights exist.
  std::vector<float> twins = inputs;
  for (std::size_t t = 0; t < count; ++t) twins[t * cols + 1] = twins[t * cols];
  auto singular = *pare::SecondMoment<double>::create(cols);
  ASSERT_TRUE(singular.add({twins.data(), count, cols}));
  EXPECT_TRUE(pare::MaskSwaps{}(first_half(), weights, singular));
}

TEST_F(Compensation, TargetsAreReachedWhereInputsAllowIt) {
  auto target = *pare::OutputTarget::create(rows, cols);
  // The layer's inputs are halved: twice the weights give the old outputs.
  std::vector<float> halved = inputs, outputs(count * rows, 0.0f);
  for (float& x : halved) x *= 0.5f;
  for (std::size_t t = 0; t < count; ++t)
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < cols; ++c) outputs[t * rows + r] += weights(r, c) * inputs[t * cols + c];
  auto seen = *pare::SecondMoment<double>::create(cols);
  ASSERT_TRUE(seen.add({halved.data(), count, cols}));
  ASSERT_TRUE(target.add({outputs.data(), count, rows}, {halved.data(), count, cols}));
  const auto reached = target.weights(weights, seen, 1e-9);
  ASSERT_TRUE(reached) << reached.error().message;
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(reached->values()[i], 2.0f * values[i], 1e-4f);
  const auto held = target.weights(weights, seen, 1e9);
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(held->values()[i], values[i], 1e-4f);

  EXPECT_FALSE(target.add({outputs.data(), count, rows - 1}, {halved.data(), count, cols}));
  EXPECT_FALSE(target.add({outputs.data(), count - 1, rows}, {halved.data(), count, cols}));
  EXPECT_FALSE(target.add({outputs.data(), count, rows}, {halved.data(), count, cols - 1}));
  outputs[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(target.add({outputs.data(), count, rows}, {halved.data(), count, cols}));
  EXPECT_FALSE(target.weights({values.data(), rows - 1, cols}, seen, 0.01));
  EXPECT_FALSE(target.weights(weights, *pare::SecondMoment<double>::create(cols), 0.01));
}

TEST_F(Compensation, InputsThatAreLeftStandInForTheOthers) {
  // Channel 1 is channel 0 twice: without it, channel 0 takes its weight over.
  std::vector<float> twins = inputs, outputs(count * rows, 0.0f);
  for (std::size_t t = 0; t < count; ++t) twins[t * cols + 1] = 2.0f * twins[t * cols];
  for (std::size_t t = 0; t < count; ++t)
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < cols; ++c) outputs[t * rows + r] += weights(r, c) * twins[t * cols + c];
  auto seen = *pare::SecondMoment<double>::create(cols);
  auto target = *pare::OutputTarget::create(rows, cols);
  ASSERT_TRUE(seen.add({twins.data(), count, cols}));
  ASSERT_TRUE(target.add({outputs.data(), count, rows}, {twins.data(), count, cols}));
  std::vector<std::uint32_t> left = {0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  std::vector<float> rest;
  for (std::size_t r = 0; r < rows; ++r)
    for (const std::uint32_t c : left) rest.push_back(weights(r, c));
  const auto found =
      target.columns(left)->weights({rest.data(), rows, left.size()}, *pare::columns_of(seen, left), 1e-9);
  ASSERT_TRUE(found) << found.error().message;
  for (std::size_t r = 0; r < rows; ++r) {
    EXPECT_NEAR((*found)(r, 0), weights(r, 0) + 2.0f * weights(r, 1), 1e-4f);
    EXPECT_NEAR((*found)(r, 5), weights(r, 6), 1e-4f);
  }
  left.back() = cols;
  EXPECT_FALSE(target.columns(left));
  EXPECT_FALSE(pare::columns_of(seen, left));
}

}  // namespace
