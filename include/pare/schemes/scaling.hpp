#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <limits>

#include "pare/formats/formats.hpp"

namespace pare {

/// What a block of weights spans. `finite` is false when a NaN or an infinity stood among them; the limits are those of
/// the finite ones, and zero belongs to every range.
struct Range {
  float lowest = 0.0f;
  float highest = 0.0f;
  bool finite = true;

  [[nodiscard]] constexpr float magnitude() const noexcept { return -lowest > highest ? -lowest : highest; }
  constexpr void include(float x) noexcept {
    if (!is_finite(x)) {
      finite = false;
      return;
    }
    lowest = x < lowest ? x : lowest;
    highest = x > highest ? x : highest;
  }
  constexpr void merge(const Range& other) noexcept {
    lowest = other.lowest < lowest ? other.lowest : lowest;
    highest = other.highest > highest ? other.highest : highest;
    finite = finite && other.finite;
  }
};

/// By how much the values of a bounded block may pass F::max, once they are scaled: what does rounds to F::max in every
/// format whose codes have signs.
inline constexpr float bounded_by = 1.00390625f;

/// How one block's values map to codes: code = round(x * inverse) + zero_point, value = (code - zero_point) * scale.
struct BlockParameters {
  float scale = 0.0f;            ///< exactly what the stored scale decodes to
  float inverse = 0.0f;          ///< 1 / scale, 0 where the scale is 0 or NaN
  std::uint32_t scale_code = 0;  ///< the stored scale
  std::uint8_t zero_point = 0;   ///< 0 for symmetric schemes
  bool finite = true;            ///< whether every value of the block is finite
  bool bounded = false;          ///< whether no value's |x| * inverse is above F::max * bounded_by
};

/// A format that scales can be stored in. Models: F32, F16, BF16, E4M3, E5M2, E8M0.
template <class F>
concept ScaleFormat =
    Format<F> &&
    (F::kind == FormatKind::float32 || F::kind == FormatKind::exponent || F::kind == FormatKind::minifloat) &&
    F::bits >= 8;

/// The scalar definition of quantization: the code of one value. Formats that count up from zero use the zero point.
template <Format F>
constexpr std::uint32_t quantize_value(float x, const BlockParameters& p) noexcept {
  if constexpr (UnsignedFormat<F>) {
    const std::int32_t q = round_to_int(x * p.inverse);
    const std::int32_t zero = p.zero_point;
    return static_cast<std::uint32_t>(q < -zero ? 0 : q > F::highest - zero ? F::highest : q + zero);
  } else {
    if (is_nan(p.scale)) return 0;
    if (is_nan(x)) {
      if constexpr (MinifloatFormat<F>)
        return F::template encode<Conversion{.nan = F::has_nan ? NanRule::canonical : NanRule::zero}>(x);
      else
        return F::encode(0.0f);
    }
    const float scaled = x * p.inverse;
    if (is_nan(scaled)) return F::encode(0.0f);  // an infinity in a block whose finite values are all zero
    return F::encode(scaled > F::max ? F::max : scaled < -F::max ? -F::max : scaled);
  }
}

/// The scalar definition of dequantization: (code - zero point) * scale, one rounding.
template <Format F>
constexpr float dequantize_value(std::uint32_t code, float scale, std::uint8_t zero_point) noexcept {
  if constexpr (UnsignedFormat<F>)
    return static_cast<float>(F::value(code) - static_cast<std::int32_t>(zero_point)) * scale;
  else
    return F::decode(code) * scale;
}

namespace detail {

/// Fills in what follows from a wanted scale. Scales below the smallest normal float count as 0 (their inverse would
/// overflow), and so the block's values become 0.
template <ScaleFormat S>
constexpr BlockParameters with_scale(float wanted, bool finite = true) noexcept {
  BlockParameters p;
  p.finite = finite;
  p.scale_code = S::encode(wanted);
  p.scale = S::decode(p.scale_code);
  if (p.scale >= std::numeric_limits<float>::min() && is_finite(p.scale)) {
    p.inverse = 1.0f / p.scale;
  } else if constexpr (S::kind != FormatKind::exponent) {
    p.scale_code = S::encode(0.0f);
    p.scale = 0.0f;
  } else {
    // 2^-127, the smallest power E8M0 has, is subnormal but its inverse is not.
    p.inverse = p.scale > 0.0f ? exp2_int(127) : 0.0f;
  }
  return p;
}

/// The same where the values of the block are in `range` and codes reach `format_max`.
constexpr BlockParameters with_bounds(BlockParameters p, const Range& range, float format_max) noexcept {
  p.bounded = range.finite && range.magnitude() * p.inverse <= format_max * bounded_by;
  return p;
}

}  // namespace detail

/// Codes centred on zero: scale = max|x| / F::max, rounded to the scale's format (saturating). Integer codes stay
/// within
/// +-(2^(B-1) - 1). With an E8M0 scale: 2^(floor(log2 max|x|) - floor(log2 F::max)), the shared exponent of OCP MX
/// v1.0; a block that holds NaN or infinity then has a NaN scale and zero codes. With any other scale those elements
/// take no part in the range, infinities saturate, and NaN becomes the format's NaN or, where it has none, zero.
struct Symmetric {
  static constexpr bool has_zero_point = false;
  static constexpr std::string_view name() noexcept { return ""; }

  /// The parameters of a block whose codes reach `format_max`, the F::max of their format.
  template <ScaleFormat S>
  static constexpr BlockParameters parameters(const Range& range, float format_max) noexcept {
    const float magnitude = range.magnitude();
    if constexpr (S::kind == FormatKind::exponent) {
      if (!range.finite) return {.scale = S::decode(S::nan_code), .scale_code = S::nan_code, .finite = false};
      const auto top = static_cast<int>(detail::float_bits(format_max) >> 23) - 127;
      const int exponent = static_cast<int>(detail::float_bits(magnitude) >> 23) - 127 - top;
      return detail::with_bounds(
          detail::with_scale<S>(detail::exp2_int(magnitude == 0.0f || exponent < -127 ? -127 : exponent)), range,
          format_max);
    } else {
      return detail::with_bounds(detail::with_scale<S>(magnitude / format_max, range.finite), range, format_max);
    }
  }
};

/// Codes 0 .. 2^B - 1 over [min(x, 0), max(x, 0)]: scale = (max - min) / (2^B - 1), zero point = round(-min / scale).
/// Zero is represented exactly. Infinities saturate, NaN becomes zero; a range wider than float holds saturates.
struct Asymmetric {
  static constexpr bool has_zero_point = true;
  static constexpr std::string_view name() noexcept { return "asym"; }

  /// The parameters of a block whose codes reach `format_max`, the F::max of their format.
  template <ScaleFormat S>
  static constexpr BlockParameters parameters(const Range& range, float format_max) noexcept {
    const float width = range.highest - range.lowest;
    BlockParameters p = detail::with_scale<S>((width < F32::max ? width : F32::max) / format_max, range.finite);
    const std::int32_t zero = round_to_int(-range.lowest * p.inverse), highest = static_cast<std::int32_t>(format_max);
    p.zero_point = static_cast<std::uint8_t>(zero > highest ? highest : zero);
    return detail::with_bounds(p, range, format_max);
  }
};

/// Models: Symmetric, Asymmetric.
template <class P>
concept Symmetry = std::same_as<P, Symmetric> || std::same_as<P, Asymmetric>;

}  // namespace pare
