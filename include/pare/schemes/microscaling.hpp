#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "pare/formats/formats.hpp"

namespace pare {

/// How the largest magnitude of a block becomes the exponent that its elements share. Six producers, six rules; a
/// reader need not know which, a writer must.
enum class SharedExponent {
  floor,        ///< floor(log2 a) - floor(log2 max): OCP Microscaling v1.0, gpt-oss
  floor_log2f,  ///< the same of a rounded logarithm: ggml and microxcaling, one more just below a power of two
  ceil,         ///< ceil(log2 a) - floor(log2 max): no element saturates
  ceil_ratio,   ///< ceil(log2f(a / max)): ModelOpt
  nncf,         ///< the same of a ratio not below 2^-23: NNCF
  bump,         ///< floor, of a rounded to the element's mantissa, halves up: compressed-tensors
  nearest,      ///< log2 of the power of two nearest to a, halves to the even field: "round to even"
};

/// The number of elements of a block that share an exponent (OCP Microscaling v1.0).
inline constexpr std::size_t mx_block = 32;

/// The elements of MXINT8: two's complement with six fractional bits, value q / 64. Encoders stay within +-127.
struct MXInt8 {
  static constexpr int bits = 8;
  static constexpr FormatKind kind = FormatKind::integer;
  static constexpr bool is_signed = true;
  static constexpr float max = 127.0f / 64.0f;

  static constexpr std::string_view name() noexcept { return "mxint8"; }
  static constexpr float decode(std::uint32_t code) noexcept { return Int<8>::decode(code) / 64.0f; }
  template <Conversion C = Conversion{}>
  static constexpr std::uint32_t encode(float x) noexcept {
    const std::int32_t q = round_to_int(x * 64.0f, C.rounding);
    return static_cast<std::uint32_t>(q < -127 ? -127 : q > 127 ? 127 : q) & 0xffu;
  }
};

inline constexpr MXInt8 mxint8{};

/// The E8M0 code of a block's scale from its largest magnitude. NaN and infinity give NaN,
/// and so does an exponent above 127. Exponents below -127 become -127.
template <Format F, SharedExponent R = SharedExponent::floor>
constexpr std::uint32_t shared_exponent(float magnitude) noexcept {
  if (!is_finite(magnitude)) return E8M0::nan_code;
  constexpr int top = detail::binary(F::max).exponent;
  // A block of zeros counts as one of 2^-126, as microxcaling has it.
  if (magnitude == 0.0f && R != SharedExponent::nncf) return top > 0 ? 0u : 1u;
  int exponent = magnitude == 0.0f ? 0 : detail::binary(magnitude).exponent - top;
  if constexpr (R == SharedExponent::floor_log2f) exponent = detail::floor_log2f(magnitude) - top;
  if constexpr (R == SharedExponent::ceil) {
    const bool exact = detail::binary(magnitude).significand == 1u << 23;
    exponent += exact ? 0 : 1;
  }
  if constexpr (R == SharedExponent::ceil_ratio || R == SharedExponent::nncf) {
    constexpr float least = R == SharedExponent::nncf ? detail::exp2_int(-23) : detail::exp2_int(-149);
    const float ratio = magnitude / F::max < least ? least : magnitude / F::max;
    exponent = detail::ceil_log2f(ratio);
  }
  if constexpr (R == SharedExponent::bump) {
    static_assert(MinifloatFormat<F>, "pare: SharedExponent::bump rounds to a mantissa, which only small floats have");
    exponent += detail::binary(magnitude).significand + (1u << (22 - F::layout.mantissa)) >= 1u << 24 ? 1 : 0;
  }
  if constexpr (R == SharedExponent::nearest) {
    const std::uint32_t significand = detail::binary(magnitude).significand, half = 3u << 22;
    const bool odd = ((exponent + top) & 1) == 0;  // the field is the exponent plus 127
    exponent += significand > half || (significand == half && odd) ? 1 : 0;
  }
  if (exponent > 127) return E8M0::nan_code;
  return static_cast<std::uint32_t>(exponent < -127 ? 0 : exponent + 127);
}

/// Encodes one block of OCP Microscaling v1.0: codes[i] for x[i], at most mx_block of them, and returns the scale's
/// code. Elements round as `Round` says and saturate. A block that holds NaN or infinity has a NaN scale and zero
/// codes.
template <Format F, SharedExponent R = SharedExponent::floor, Rounding Round = Rounding::nearest_even>
constexpr std::uint32_t encode_mx_block(std::span<const float> x, std::span<std::uint8_t> codes) noexcept {
  float largest = 0.0f;
  bool finite = true;
  for (const float v : x) {
    finite = finite && is_finite(v);
    const float magnitude = v < 0.0f ? -v : v;
    largest = magnitude > largest ? magnitude : largest;
  }
  const std::uint32_t scale = finite ? shared_exponent<F, R>(largest) : E8M0::nan_code;
  // The powers of E8M0 have exact reciprocals, subnormal ones included.
  const float inverse = scale == E8M0::nan_code ? 0.0f : detail::exp2_int(127 - static_cast<int>(scale));
  for (std::size_t i = 0; i < x.size(); ++i)
    codes[i] = scale == E8M0::nan_code
                   ? std::uint8_t{0}
                   : static_cast<std::uint8_t>(F::template encode<Conversion{.rounding = Round}>(x[i] * inverse));
  return scale;
}

/// The value of an element of a block; NaN where the scale is.
template <Format F>
constexpr float decode_mx(std::uint32_t code, std::uint32_t scale) noexcept {
  return F::decode(code) * E8M0::decode(scale);
}

/// How E2M1 is written by those who differ from the standard in halves or zeros.
enum class E2M1Rule {
  ocp,             ///< halves to even, the sign of -0 kept: ml_dtypes, ONNX
  positive_zero,   ///< the same, but -0 becomes +0: ModelOpt's NVFP4, compressed-tensors
  modelopt_mxfp4,  ///< halves toward zero; both zeros become -0
  ggml,            ///< halves toward zero; no -0, whatever is rounded to it
};

/// The code of a value within +-6 or saturating there; NaN gives 0.
template <E2M1Rule R = E2M1Rule::ocp>
constexpr std::uint32_t encode_e2m1(float x) noexcept {
  constexpr Rounding rounding =
      R == E2M1Rule::ocp || R == E2M1Rule::positive_zero ? Rounding::nearest_even : Rounding::nearest_toward_zero;
  const std::uint32_t code = E2M1::encode<Conversion{.rounding = rounding, .nan = NanRule::zero}>(x);
  if constexpr (R == E2M1Rule::positive_zero) return x == 0.0f ? 0u : code;
  if constexpr (R == E2M1Rule::modelopt_mxfp4) return x == 0.0f ? 8u : code;
  if constexpr (R == E2M1Rule::ggml) return code == 8u ? 0u : code;
  return code;
}

}  // namespace pare
