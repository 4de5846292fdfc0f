#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "pare/quantize/quantize.hpp"

namespace quantize_gptq {

/// Random weights [out, in] and inputs whose channels are correlated and of different sizes.
struct Layer {
  std::vector<float> weights, inputs;
  pare::Shape shape;
  std::size_t tokens = 0;
  pare::SecondMoment<double> moment;

  [[nodiscard]] pare::MatrixView<const float> view() const { return {weights.data(), shape.rows, shape.cols}; }
};

inline Layer make_layer(pare::Shape shape, unsigned seed, const std::vector<std::size_t>& silent = {}) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const std::size_t tokens = 2 * shape.cols + 8;
  Layer layer{std::vector<float>(shape.rows * shape.cols), std::vector<float>(tokens * shape.cols), shape, tokens,
              *pare::SecondMoment<double>::create(shape.cols)};
  for (float& w : layer.weights) w = 0.05f * normal(random);
  for (std::size_t t = 0; t < tokens; ++t) {
    const float common = normal(random);
    for (std::size_t c = 0; c < shape.cols; ++c)
      layer.inputs[t * shape.cols + c] = (normal(random) + common) * (0.2f + static_cast<float>(c * 7 % 13));
    for (const std::size_t c : silent) layer.inputs[t * shape.cols + c] = 0.0f;
  }
  // Two samples.
  for (const std::size_t begin : {std::size_t{0}, tokens / 2}) {
    const std::size_t count = begin == 0 ? tokens / 2 : tokens - begin;
    const auto added = layer.moment.add({layer.inputs.data() + begin * shape.cols, count, shape.cols});
    if (!added) layer.tokens = 0;
  }
  return layer;
}

inline std::vector<float> values(const pare::CodedMatrix& matrix) {
  std::vector<float> all;
  for (std::size_t r = 0; r < matrix.shape.rows; ++r)
    for (std::size_t c = 0; c < matrix.shape.cols; ++c) all.push_back(matrix.value(r, c));
  return all;
}

/// The sum over all tokens and outputs of the squared differences that an approximation makes.
inline double output_error(const Layer& layer, const std::vector<float>& approximation) {
  double sum = 0.0;
  for (std::size_t t = 0; t < layer.tokens; ++t)
    for (std::size_t r = 0; r < layer.shape.rows; ++r) {
      double difference = 0.0;
      for (std::size_t c = 0; c < layer.shape.cols; ++c) {
        const std::size_t i = r * layer.shape.cols + c;
        difference += static_cast<double>(layer.inputs[t * layer.shape.cols + c]) *
                      (static_cast<double>(layer.weights[i]) - static_cast<double>(approximation[i]));
      }
      sum += difference * difference;
    }
  return sum;
}

/// Runs every other task on a second thread, the last first.
struct TwoThreads {
  void operator()(std::size_t count, pare::Task task) const {
    std::thread other([&] {
      for (std::size_t i = 1; i < count; i += 2) task(i);
    });
    for (std::size_t i = (count + 1) / 2; i-- > 0;) task(2 * i);
    other.join();
  }
};
inline const TwoThreads two_threads;

inline bool same(const pare::CodedMatrix& a, const pare::CodedMatrix& b) {
  const auto equal = [](const pare::Buffer& x, const pare::Buffer& y) {
    return x.size() == y.size() && (x.size() == 0 || std::memcmp(x.data(), y.data(), x.size()) == 0);
  };
  return a.shape == b.shape && equal(a.codes_memory, b.codes_memory) && equal(a.scales_memory, b.scales_memory) &&
         equal(a.shifts_memory, b.shifts_memory) && equal(a.column_group_memory, b.column_group_memory);
}

template <class T>
std::string message(const pare::Result<T>& result) {
  return result ? "no error" : result.error().message;
}

}  // namespace quantize_gptq
