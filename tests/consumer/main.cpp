#include <cmath>
#include <pare/pare.hpp>
#include <span>
#include <vector>

pare::Result<std::vector<float>> round_trip(std::span<const float> weights, pare::Shape shape);

int main() {
  const std::vector<float> weights(4 * 64, 0.5f);
  const auto decoded = round_trip(weights, {4, 64});
  return decoded && std::abs(decoded->back() - weights.back()) < 0.01f ? 0 : 1;
}
