#pragma once

#include <cstddef>
#include <random>
#include <vector>

/// Values of a standard normal distribution, the same for the same seed.
inline std::vector<float> normal_values(std::size_t count, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}
