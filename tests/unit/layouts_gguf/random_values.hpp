#pragma once

#include <cstdint>

/// The same pseudo-random numbers everywhere (xorshift).
class RandomValues {
 public:
  explicit RandomValues(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}

  std::uint32_t bits() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<std::uint32_t>(state_ >> 32);
  }
  std::uint8_t byte() { return static_cast<std::uint8_t>(bits()); }
  /// From [-1, 1), in steps that make every product of two of them exact.
  float value() { return static_cast<float>(static_cast<std::int32_t>(bits()) >> 20) * 0x1p-11f; }
  /// The same with most values small and a few large.
  float heavy_value() {
    const float a = value();
    return a * value() * (1.0f + (bits() % 16 == 0 ? 7.0f : 0.0f));
  }
  /// From [0, 1).
  float weight() { return static_cast<float>(bits() >> 20) * 0x1p-12f; }

 private:
  std::uint64_t state_;
};
