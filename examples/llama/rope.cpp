#include "llama/rope.hpp"

#include <cmath>
#include <numbers>

namespace llama {
namespace {

/// Slow turns, which the original context did not complete `low_frequency` times, are stretched by `factor`; fast ones
/// are kept; those between are blended.
double stretch_llama3(double frequency, const Rope& rope) {
  const double turns = rope.original_context * frequency / (2.0 * std::numbers::pi);
  if (turns < rope.low_frequency) return frequency / rope.factor;
  if (turns > rope.high_frequency) return frequency;
  const double kept = (turns - rope.low_frequency) / (rope.high_frequency - rope.low_frequency);
  return (1.0 - kept) * frequency / rope.factor + kept * frequency;
}

}  // namespace

std::vector<float> rope_frequencies(const Config& config) {
  std::vector<float> frequencies(config.head_dim / 2);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    double frequency =
        std::pow(config.rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
    if (config.rope.kind == Rope::Kind::linear) frequency /= config.rope.factor;
    if (config.rope.kind == Rope::Kind::llama3) frequency = stretch_llama3(frequency, config.rope);
    frequencies[i] = static_cast<float>(frequency);
  }
  return frequencies;
}

void rotate(pare::MatrixView<float> heads, std::size_t head_dim, std::span<const float> frequencies,
            std::size_t first) {
  const std::size_t half = head_dim / 2;
  std::vector<float> cosine(half), sine(half);
  for (std::size_t t = 0; t < heads.rows; ++t) {
    for (std::size_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(first + t) * frequencies[i];
      cosine[i] = std::cos(angle);
      sine[i] = std::sin(angle);
    }
    for (std::size_t h = 0; h < heads.cols; h += head_dim) {
      float* head = heads.row(t) + h;
      for (std::size_t i = 0; i < half; ++i) {
        const float a = head[i];
        const float b = head[i + half];
        head[i] = a * cosine[i] - b * sine[i];
        head[i + half] = b * cosine[i] + a * sine[i];
      }
    }
  }
}

}  // namespace llama
