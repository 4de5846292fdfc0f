#pragma once

#include <array>
#include <bit>
#include <string_view>

#include "pare/formats/minifloat.hpp"

namespace pare {

/// How a float becomes a power of two; five producers, five rules (they differ on every input that is not one).
enum class ExponentRule {
  floor,      ///< the exponent field: OCP's shared exponent, ONNX "down"
  ceil,       ///< the next power of two unless exact: ONNX "up"
  ties_up,    ///< nearest, 1.5 * 2^k up: ONNX "nearest"
  ml_dtypes,  ///< as ties_up; zero, negatives, infinities and NaN give NaN
  openvino,   ///< nearest, 1.5 * 2^k to the even field; negatives give code 0, +infinity the largest code
};

/// E8M0: an unsigned power of two, value 2^(code - 127), 0xFF is NaN; no zero, no sign (OCP Microscaling v1.0).
struct E8M0 {
  static constexpr int bits = 8;
  static constexpr FormatKind kind = FormatKind::exponent;
  static constexpr std::uint32_t nan_code = 0xff;
  static constexpr std::uint32_t max_code = 0xfe;
  static constexpr float max = detail::exp2_int(127);

  static constexpr std::string_view name() noexcept { return "e8m0"; }

  static constexpr float decode(std::uint32_t code) noexcept {
    code &= 0xffu;
    if (code == nan_code) return detail::bits_float(0x7fc00000u);
    return detail::exp2_int(static_cast<int>(code) - 127);
  }

  /// The code of `x` under a rule. The three ONNX rules and floor ignore the sign; beyond the largest code they
  /// saturate, or give NaN under Overflow::special.
  template <ExponentRule R = ExponentRule::floor, Overflow O = Overflow::saturate>
  static constexpr std::uint32_t encode(float x) noexcept {
    const std::uint32_t u = detail::float_bits(x);
    const std::uint32_t magnitude = u & ~detail::sign_mask;
    const bool negative = (u & detail::sign_mask) != 0;
    const std::uint32_t field = magnitude >> 23;
    const std::uint32_t mantissa = magnitude & 0x007fffffu;
    // Below the smallest normal number no leading one decides a tie: it stays down.
    const std::uint32_t nearest_up =
        field + (mantissa > 0x00400000u || (mantissa == 0x00400000u && field != 0) ? 1u : 0u);
    if constexpr (R == ExponentRule::ml_dtypes) {
      return negative || magnitude == 0 || magnitude >= detail::infinity_bits ? nan_code : nearest_up;
    } else if constexpr (R == ExponentRule::openvino) {
      if (negative) return 0;
      if (magnitude > detail::infinity_bits) return nan_code;
      const std::uint32_t code = detail::shift_right_rounded(magnitude, 23, Rounding::nearest_even);
      return code > max_code ? max_code : code;
    } else {
      if (magnitude >= detail::infinity_bits) return nan_code;
      const std::uint32_t code = R == ExponentRule::floor  ? field
                                 : R == ExponentRule::ceil ? field + (mantissa != 0 ? 1u : 0u)
                                                           : nearest_up;
      return code > max_code ? (O == Overflow::saturate ? max_code : nan_code) : code;
    }
  }
};

inline constexpr E8M0 e8m0{};

/// The 32-bit float itself, as the format of a scale that needs no encoding.
struct F32 {
  static constexpr int bits = 32;
  static constexpr FormatKind kind = FormatKind::float32;
  static constexpr float max = detail::bits_float(0x7f7fffffu);

  static constexpr std::string_view name() noexcept { return "f32"; }
  static constexpr float decode(std::uint32_t code) noexcept { return detail::bits_float(code); }
  static constexpr std::uint32_t encode(float x) noexcept { return detail::float_bits(x); }
};

inline constexpr F32 f32{};

namespace detail {

/// The exponent and the 24-bit significand of a finite x > 0.
struct Binary {
  int exponent;
  std::uint32_t significand;
};
constexpr Binary binary(float x) noexcept {
  const std::uint32_t bits = float_bits(x), field = bits >> 23;
  const int shift = field != 0 ? 0 : std::countl_zero(bits) - 8;
  return {(field != 0 ? static_cast<int>(field) : 1) - shift - 127,
          ((bits & 0x007fffffu) | (field != 0 ? 0x00800000u : 0u)) << shift};
}

/// How far, in units of 2^-24 of the power, a float below 2^k (above it, twice that) may lie for the correctly rounded
/// log2f to be k: half the spacing of floats at k, over 1 / ln 2.
constexpr std::uint32_t log2_reach(int spacing_exponent) noexcept {
  constexpr std::array<std::uint32_t, 8> reach{0, 1, 2, 5, 11, 22, 44, 88};  // floor(2^n ln 2)
  return spacing_exponent > 0 ? reach[static_cast<std::size_t>(spacing_exponent)] : 0;
}

/// floor(log2f(x)) of a finite x > 0 as C libraries that round log2f correctly give it: just below a power of two it is
/// one more than the exponent.
constexpr int floor_log2f(float x) noexcept {
  const Binary b = binary(x);
  const int next = b.exponent + 1;
  // The floats that approach k > 0 from below lie closer if k is a power of two; those that approach k < 0 do not.
  const int spacing = static_cast<int>(std::bit_width(static_cast<std::uint32_t>(next > 0 ? next - 1 : -next))) - 1;
  return (1u << 24) - b.significand <= log2_reach(spacing) ? next : b.exponent;
}

/// ceil(log2f(x)), likewise: just above a power of two it is the exponent.
constexpr int ceil_log2f(float x) noexcept {
  const Binary b = binary(x);
  const int k = b.exponent;
  const int spacing = static_cast<int>(std::bit_width(static_cast<std::uint32_t>(k < 0 ? -k - 1 : k))) - 1;
  return (b.significand - (1u << 23)) * 2 <= log2_reach(spacing) ? k : k + 1;
}

}  // namespace detail

}  // namespace pare
