#pragma once

#include <gtest/gtest.h>

#include <Eigen/Core>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../normal_values.hpp"
#include "pare/prune/prune.hpp"

inline constexpr float inf = std::numeric_limits<float>::infinity();
inline constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

/// Runs tasks on two threads, the last first.
inline void two_threads(std::size_t count, pare::Task task) {
  const auto half = [&](std::size_t rest) {
    for (std::size_t i = count; i-- > 0;)
      if (i % 2 == rest) task(i);
  };
  std::thread other(half, 1);
  half(0);
  other.join();
}

template <class T>
T value(pare::Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return *std::move(result);
}

template <class T>
std::string message(const pare::Result<T>& result) {
  return result ? "no error" : result.error().message;
}

/// '1' for kept, '0' for pruned, row after row.
inline std::string bits(const pare::Mask& mask) {
  std::string text;
  for (std::size_t r = 0; r < mask.shape().rows; ++r)
    for (std::size_t c = 0; c < mask.shape().cols; ++c) text += mask.test(r, c) ? '1' : '0';
  return text;
}

inline std::vector<float> copy(const pare::Matrix<float>& matrix) {
  return {matrix.values().begin(), matrix.values().end()};
}

/// A weight and the activations of two samples whose channels hang together.
struct Layer {
  std::size_t rows, cols;
  std::vector<float> weights;
  std::vector<float> tokens;  ///< [2 * cols, cols]
  std::size_t samples = 2;

  Layer(std::size_t out, std::size_t in, std::uint32_t seed)
      : rows(out), cols(in), weights(normal_values(out * in, seed)), tokens(normal_values(2 * in * in, seed + 1)) {
    for (std::size_t t = 0; t < 2 * in; ++t)
      for (std::size_t c = 1; c < in; ++c) tokens[t * in + c] += 0.7f * tokens[t * in + c - 1];
  }

  [[nodiscard]] pare::MatrixView<const float> view() const { return {weights.data(), rows, cols}; }
  [[nodiscard]] pare::MatrixView<const float> sample(std::size_t s) const {
    return {tokens.data() + s * cols * cols, cols, cols};
  }
  [[nodiscard]] pare::SecondMoment<double> moment() const {
    auto moment = value(pare::SecondMoment<double>::create(cols));
    for (std::size_t s = 0; s < samples; ++s)
      if (auto added = moment.add(sample(s)); !added) throw std::runtime_error(added.error().message);
    return moment;
  }
  [[nodiscard]] std::vector<float> norms() const {
    auto inputs = value(pare::InputFluctuation::create(cols));
    for (std::size_t s = 0; s < samples; ++s)
      if (auto added = inputs.add(sample(s)); !added) throw std::runtime_error(added.error().message);
    const auto norms = value(inputs.norms());
    return {norms.begin(), norms.end()};
  }
  /// The squared error of the outputs, and `added` times that of the weights.
  [[nodiscard]] double error(const std::vector<float>& approximation, double added = 0.0) const {
    double sum = 0.0;
    for (std::size_t r = 0; r < rows; ++r) {
      Eigen::VectorXd change(static_cast<Eigen::Index>(cols));
      for (std::size_t c = 0; c < cols; ++c)
        change(static_cast<Eigen::Index>(c)) = double{approximation[r * cols + c]} - double{weights[r * cols + c]};
      for (std::size_t t = 0; t < samples * cols; ++t) {
        double output = 0.0;
        for (std::size_t c = 0; c < cols; ++c)
          output += change(static_cast<Eigen::Index>(c)) * double{tokens[t * cols + c]};
        sum += output * output;
      }
      sum += added * change.squaredNorm();
    }
    return sum;
  }
  [[nodiscard]] std::vector<float> masked(const pare::Mask& mask) const {
    std::vector<float> result(weights.size());
    if (auto done = pare::apply(mask, view(), pare::MatrixView<float>(result.data(), rows, cols)); !done)
      throw std::runtime_error(done.error().message);
    return result;
  }
};
