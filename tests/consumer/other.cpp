#include <pare/pare.hpp>
#include <span>
#include <vector>

using W4 = pare::Scheme<4, pare::Symmetric, pare::PerGroup<32>>;

pare::Result<std::vector<float>> round_trip(std::span<const float> weights, pare::Shape shape) {
  auto packed = pare::quantize<W4>(weights, shape);
  if (!packed) return packed.error();
  std::vector<float> decoded(weights.size());
  if (auto done = pare::dequantize(*packed, std::span<float>(decoded)); !done) return done.error();
  return decoded;
}
