#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "pare/calibration/calibration.hpp"
#include "pare/layouts/layouts.hpp"

namespace quantize_test {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// Runs tasks on two threads, the last first.
inline void two_threads(std::size_t count, pare::Task task) {
  const auto half = [&](std::size_t part) {
    for (std::size_t i = count; i-- > 0;)
      if (i % 2 == part) task(i);
  };
  std::thread other(half, std::size_t{1});
  half(0);
  other.join();
}

/// A matrix in row-major order.
struct Table {
  std::vector<float> values;
  pare::Shape shape;

  [[nodiscard]] pare::MatrixView<const float> view() const { return {values.data(), shape.rows, shape.cols}; }
  [[nodiscard]] pare::MatrixView<float> view() { return {values.data(), shape.rows, shape.cols}; }
  float& operator()(std::size_t r, std::size_t c) { return values[r * shape.cols + c]; }
};

inline Table random_table(pare::Shape shape, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Table table{std::vector<float>(shape.rows * shape.cols), shape};
  for (float& x : table.values) x = normal(generator);
  return table;
}

/// Inputs of which a few channels are much larger than the others.
inline Table random_inputs(pare::Shape shape, std::uint32_t seed) {
  Table table = random_table(shape, seed);
  for (std::size_t c = 0; c < shape.cols; c += 11)
    for (std::size_t t = 0; t < shape.rows; ++t) table(t, c) *= 30.0f;
  return table;
}

inline pare::SecondMoment<double> moment(const Table& inputs) {
  auto result = pare::SecondMoment<double>::create(inputs.shape.cols);
  EXPECT_TRUE(result && result->add(inputs.view()));
  return *std::move(result);
}

/// The mean magnitude of each channel.
inline std::vector<float> mean_magnitudes(const Table& inputs) {
  std::vector<float> means(inputs.shape.cols);
  for (std::size_t i = 0; i < inputs.values.size(); ++i)
    means[i % means.size()] += std::fabs(inputs.values[i]) / static_cast<float>(inputs.shape.rows);
  return means;
}

/// The values of a CodedMatrix or an AdditiveMatrix, those of each column divided.
template <class M>
Table values_of(const M& matrix, const std::vector<float>& divisors = {}) {
  Table table{{}, matrix.shape};
  for (std::size_t r = 0; r < matrix.shape.rows; ++r)
    for (std::size_t c = 0; c < matrix.shape.cols; ++c)
      table.values.push_back(matrix.value(r, c) / (divisors.empty() ? 1.0f : divisors[c]));
  return table;
}

/// The squared error of the outputs.
inline double output_error(const Table& weights, const Table& approximation, const Table& inputs) {
  double total = 0.0;
  for (std::size_t t = 0; t < inputs.shape.rows; ++t)
    for (std::size_t r = 0; r < weights.shape.rows; ++r) {
      double sum = 0.0;
      for (std::size_t c = 0; c < weights.shape.cols; ++c)
        sum += static_cast<double>(inputs.view()(t, c)) *
               (static_cast<double>(weights.view()(r, c)) - static_cast<double>(approximation.view()(r, c)));
      total += sum * sum;
    }
  return total;
}

template <class T>
std::string message(const pare::Result<T>& result) {
  return result ? "no error" : result.error().message;
}

inline std::string bytes(const pare::Buffer& buffer) {
  return {reinterpret_cast<const char*>(buffer.data()), buffer.size()};
}

inline bool same(const pare::CodedMatrix& a, const pare::CodedMatrix& b) {
  return a.shape == b.shape && bytes(a.codes_memory) == bytes(b.codes_memory) &&
         bytes(a.scales_memory) == bytes(b.scales_memory) && bytes(a.shifts_memory) == bytes(b.shifts_memory);
}

inline bool same(const pare::AdditiveMatrix& a, const pare::AdditiveMatrix& b) {
  return a.shape == b.shape && bytes(a.codes_memory) == bytes(b.codes_memory) &&
         bytes(a.values_memory) == bytes(b.values_memory) && bytes(a.scales_memory) == bytes(b.scales_memory);
}

/// The same elements, stored column by column.
class Transposed {
 public:
  explicit Transposed(const Table& table) : shape_(table.shape), values_(table.values.size()) {
    for (std::size_t r = 0; r < shape_.rows; ++r)
      for (std::size_t c = 0; c < shape_.cols; ++c) values_[c * shape_.rows + r] = table.view()(r, c);
  }
  [[nodiscard]] pare::MatrixView<const float> view() const {
    return {values_.data(), shape_.rows, shape_.cols, 1, shape_.rows};
  }

 private:
  pare::Shape shape_;
  std::vector<float> values_;
};

}  // namespace quantize_test
