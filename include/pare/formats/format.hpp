#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <string_view>

namespace pare {

/// How a format turns bits into a value; SIMD kernels branch on this, never on a particular format.
enum class FormatKind { integer, minifloat, table, exponent, float32 };

/// Which representable value an encoder takes; producers differ (halves are the only case in which they do).
enum class Rounding {
  nearest_even,         ///< ties to the even code: IEEE 754, OCP, PyTorch, ONNX
  nearest_away,         ///< ties away from zero: C's roundf, ggml's Q8_0, microxcaling's default
  nearest_toward_zero,  ///< ties toward zero: ggml's MXFP4
};

/// What becomes of a value beyond the largest finite one, infinities included.
enum class Overflow {
  saturate,  ///< the largest finite value of the same sign: ONNX with saturate=1, compressed-tensors, ModelOpt
  special,   ///< infinity, or NaN where the format has no infinity; saturates where it has neither: ml_dtypes, PyTorch
};

/// What becomes of a NaN.
enum class NanRule {
  quiet,      ///< quiet NaN keeping its sign and the payload bits that fit, as hardware converts
  canonical,  ///< the format's own NaN with the input's sign: ggml's f16, ml_dtypes' float8
  zero,       ///< the code of +0
  maximum,    ///< the largest finite value: ONNX for FLOAT4E2M1
  opposite,   ///< +NaN becomes -0 and -NaN becomes +0: ml_dtypes for FP4 and FP6
};

/// The policies of one conversion from float to a code.
struct Conversion {
  Rounding rounding = Rounding::nearest_even;
  Overflow overflow = Overflow::saturate;
  NanRule nan = NanRule::canonical;
};

/// A code that stands for a value: `bits` wide, decoded exactly into float.
template <class F>
concept Format = requires(std::uint32_t code, float value) {
  { F::bits } -> std::convertible_to<int>;
  { F::kind } -> std::convertible_to<FormatKind>;
  { F::max } -> std::convertible_to<float>;  // largest finite value, the range a symmetric scale maps onto
  { F::name() } -> std::convertible_to<std::string_view>;
  { F::decode(code) } noexcept -> std::same_as<float>;
  { F::encode(value) } noexcept -> std::same_as<std::uint32_t>;
};

/// Models: Integer<4, true>, Integer<8, false>.
template <class F>
concept IntegerFormat = Format<F> && F::kind == FormatKind::integer;

/// Models: E2M1, E4M3, E5M2, F16, BF16.
template <class F>
concept MinifloatFormat = Format<F> && F::kind == FormatKind::minifloat;

/// Models: NF4.
template <class F>
concept TableFormat = Format<F> && F::kind == FormatKind::table;

namespace detail {

constexpr std::uint32_t float_bits(float x) noexcept { return std::bit_cast<std::uint32_t>(x); }
constexpr float bits_float(std::uint32_t u) noexcept { return std::bit_cast<float>(u); }
constexpr std::uint32_t sign_mask = 0x80000000u;
constexpr std::uint32_t infinity_bits = 0x7f800000u;

/// `value` / 2^shift rounded to an integer; shifts of 32 and more give what an infinite shift would.
constexpr std::uint32_t shift_right_rounded(std::uint32_t value, int shift, Rounding rounding) noexcept {
  if (shift <= 0) return value << -shift;
  if (shift > 31) return 0;  // callers pass values below 2^24, so the quotient is under one half
  const std::uint32_t kept = value >> shift;
  const std::uint32_t rest = value & ((1u << shift) - 1u);
  const std::uint32_t half = 1u << (shift - 1);
  if (rest != half) return kept + (rest > half ? 1u : 0u);
  if (rounding == Rounding::nearest_even) return kept + (kept & 1u);
  return kept + (rounding == Rounding::nearest_away ? 1u : 0u);
}

}  // namespace detail

constexpr bool is_nan(float x) noexcept { return (detail::float_bits(x) & ~detail::sign_mask) > detail::infinity_bits; }
constexpr bool is_finite(float x) noexcept {
  return (detail::float_bits(x) & ~detail::sign_mask) < detail::infinity_bits;
}

/// `x` rounded to an integer, saturating at +-(2^31 - 128); 0 for NaN. It reads the bits of `x`, so that no compiler
/// can fuse the product that made `x` into the rounding.
constexpr std::int32_t round_to_int(float x, Rounding rounding = Rounding::nearest_even) noexcept {
  const std::uint32_t u = detail::float_bits(x);
  const std::uint32_t magnitude = u & ~detail::sign_mask;
  if (magnitude > detail::infinity_bits) return 0;
  const int exponent = static_cast<int>(magnitude >> 23);
  const std::uint32_t significand = (magnitude & 0x007fffffu) | (exponent != 0 ? 0x00800000u : 0u);
  const int shift = 150 - (exponent != 0 ? exponent : 1);
  const std::uint32_t integer = shift < -7 ? 0x7fffff80u : detail::shift_right_rounded(significand, shift, rounding);
  const auto result = static_cast<std::int32_t>(integer);
  return (u & detail::sign_mask) != 0 ? -result : result;
}

}  // namespace pare
