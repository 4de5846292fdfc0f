#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "pare/calibration/calibration.hpp"

namespace samples {

/// An executor of two threads, each of which takes its tasks from the last to the first.
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

/// `count` values of the standard normal distribution.
inline std::vector<float> normal(std::size_t count, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> values(count);
  for (float& v : values) v = distribution(generator);
  return values;
}

inline pare::MatrixView<const float> matrix(const std::vector<float>& values, std::size_t cols) {
  return {values.data(), values.size() / cols, cols};
}

template <class R>
void expect_error(const R& result, const std::string& part) {
  ASSERT_FALSE(result);
  EXPECT_TRUE(result.error().message.starts_with("pare: ")) << result.error().message;
  EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
}

}  // namespace samples
