#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>

#include "pare/formats/formats.hpp"

namespace pare::detail {

/// |value| = mantissa * 2^exponent with an odd mantissa.
struct OddMultiple {
  std::uint32_t mantissa;
  int exponent;
};
constexpr OddMultiple odd_multiple(float value) noexcept {
  const std::uint32_t bits = float_bits(value) & ~sign_mask, field = bits >> 23;
  const std::uint32_t mantissa = (bits & 0x7fffffu) | (field == 0 ? 0u : 0x800000u);
  const int zeros = std::countr_zero(mantissa);
  return {mantissa >> zeros, static_cast<int>(field == 0 ? 1 : field) - 150 + zeros};
}

/// The largest float, or minus it, of which every value is a multiple by an integer of -128 .. 127, exactly; 0 where
/// all are 0, and nothing where there is none or a value is not finite.
constexpr std::optional<float> common_unit(std::span<const float> values) noexcept {
  int exponent = 1000;
  for (const float value : values) {
    if ((float_bits(value) & ~sign_mask) >= infinity_bits) return std::nullopt;
    if (value != 0.0f) exponent = std::min(exponent, odd_multiple(value).exponent);
  }
  std::uint64_t unit = 0;
  for (const float value : values) {
    if (value == 0.0f) continue;
    const OddMultiple of = odd_multiple(value);
    if (of.exponent - exponent > 31) return std::nullopt;
    const std::uint64_t multiple = std::uint64_t{of.mantissa} << (of.exponent - exponent);
    if (unit == 0 || multiple % unit != 0) unit = std::gcd(unit, multiple);
  }
  if (unit == 0) return 0.0f;
  std::uint64_t highest = 0, lowest = 0;
  for (const float value : values) {
    if (value == 0.0f) continue;
    const OddMultiple of = odd_multiple(value);
    std::uint64_t& farthest = value < 0.0f ? lowest : highest;
    farthest = std::max(farthest, (std::uint64_t{of.mantissa} << (of.exponent - exponent)) / unit);
  }
  if (std::max(highest, lowest) > 128 || std::min(highest, lowest) > 127) return std::nullopt;
  // An odd number of 24 bits at most, times 2^exponent: both are floats, or their product is subnormal and exact.
  const float power = exponent >= -126 ? bits_float(static_cast<std::uint32_t>(exponent + 127) << 23)
                                       : bits_float(1u << (exponent + 149));
  return static_cast<float>(unit) * (highest == 128 ? -power : power);
}

}  // namespace pare::detail
