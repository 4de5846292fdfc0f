#pragma once

#include <cstddef>
#include <pare/tensor/tensor.hpp>
#include <span>
#include <vector>

/// A 7 x 96 matrix quantized under `Scheme` and back; empty on an error.
template <class Scheme>
std::vector<float> round_trip() {
  constexpr pare::Shape shape{7, 96};
  std::vector<float> weights(shape.rows * shape.cols);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i * 37 % 255) / 127.0f - 1.0f;

  auto packed = pare::quantize<Scheme>(std::span<const float>(weights), shape);
  if (!packed || !pare::dequantize(*packed, std::span<float>(weights))) return {};
  return weights;
}

inline std::vector<std::vector<float>> round_trips() {
  return {round_trip<pare::Scheme<4, pare::Asymmetric, pare::PerGroup<32>>>(),
          round_trip<pare::Scheme<pare::nf4, pare::Symmetric, pare::PerGroup<64>>>(),
          round_trip<pare::Scheme<pare::e2m1, pare::Symmetric, pare::PerGroup<32>, pare::e8m0>>()};
}
