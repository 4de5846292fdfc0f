#pragma once

#include <bit>
#include <string_view>

#include "pare/formats/format.hpp"

namespace pare {

/// Which codes of a small float are not numbers.
enum class Specials {
  none,      ///< every code is finite: OCP FP4 and FP6
  nan_only,  ///< all ones is NaN, no infinity: the FN suffix of OCP E4M3
  fnuz,      ///< the sign bit alone is NaN; no infinity and no -0: the FNUZ suffix
  ieee,      ///< the top exponent holds infinities and NaNs, as in IEEE 754
};

/// The fields of a small float, from which every limit follows: a sign, `exponent` bits and `mantissa` bits.
struct FloatLayout {
  int exponent = 0;
  int mantissa = 0;
  int bias = 0;
  Specials specials = Specials::none;
};

namespace detail {

/// 2^e as a float, for e in -149 .. 127.
constexpr float exp2_int(int e) noexcept {
  return e >= -126 ? bits_float(static_cast<std::uint32_t>(e + 127) << 23) : bits_float(1u << (e + 149));
}

}  // namespace detail

/// A float of `1 + L.exponent + L.mantissa` bits with subnormals (OCP Microscaling v1.0, OCP FP8, IEEE 754 binary16).
template <FloatLayout L>
struct Minifloat {
  static constexpr FloatLayout layout = L;
  static constexpr int bits = 1 + L.exponent + L.mantissa;
  static constexpr FormatKind kind = FormatKind::minifloat;
  static constexpr std::uint32_t sign_bit = 1u << (bits - 1);
  static constexpr std::uint32_t magnitude_mask = sign_bit - 1u;
  static constexpr std::uint32_t infinity_code = magnitude_mask & ~((1u << L.mantissa) - 1u);  // ieee only
  static constexpr std::uint32_t max_code = L.specials == Specials::none       ? magnitude_mask
                                            : L.specials == Specials::fnuz     ? magnitude_mask
                                            : L.specials == Specials::nan_only ? magnitude_mask - 1u
                                                                               : infinity_code - 1u;
  /// The quiet NaN with the sign bit clear; max_code where the format has no NaN.
  static constexpr std::uint32_t nan_code = L.specials == Specials::none       ? max_code
                                            : L.specials == Specials::fnuz     ? sign_bit
                                            : L.specials == Specials::nan_only ? magnitude_mask
                                                                               : infinity_code | 1u << (L.mantissa - 1);
  static constexpr bool has_nan = L.specials != Specials::none;

  static constexpr std::string_view name() noexcept {
    if constexpr (bits == 16) return L.exponent == 5 ? "f16" : "bf16";
    if constexpr (L.specials == Specials::fnuz) return L.exponent == 4 ? "e4m3fnuz" : "e5m2fnuz";
    constexpr std::string_view all = "e2m1e2m3e3m2e4m3e5m2";
    constexpr std::size_t at = L.exponent == 2   ? (L.mantissa == 1 ? 0 : 4)
                               : L.exponent == 3 ? 8
                               : L.exponent == 4 ? 12
                                                 : 16;
    return all.substr(at, 4);
  }

  static constexpr float decode(std::uint32_t code) noexcept {
    const std::uint32_t sign = (code & sign_bit) != 0 ? detail::sign_mask : 0u;
    const std::uint32_t magnitude = code & magnitude_mask;
    if constexpr (L.specials == Specials::fnuz)
      if (code == sign_bit) return detail::bits_float(0x7fc00000u);
    if constexpr (L.specials == Specials::ieee)
      if (magnitude >= infinity_code)
        return detail::bits_float(sign | detail::infinity_bits | (magnitude - infinity_code) << (23 - L.mantissa));
    if constexpr (L.specials == Specials::nan_only)
      if (magnitude == magnitude_mask) return detail::bits_float(sign | 0x7fc00000u);
    if constexpr (L.exponent == 8) return detail::bits_float(sign | magnitude << (23 - L.mantissa));
    if (magnitude >> L.mantissa != 0)
      return detail::bits_float(sign |
                                ((magnitude << (23 - L.mantissa)) + (static_cast<std::uint32_t>(127 - L.bias) << 23)));
    if (magnitude == 0) return detail::bits_float(sign);
    const int top = static_cast<int>(std::bit_width(magnitude)) - 1;
    const auto exponent = static_cast<std::uint32_t>(top + 1 - L.bias - L.mantissa + 127);
    return detail::bits_float(sign | (exponent << 23) | ((magnitude << (23 - top)) & 0x007fffffu));
  }

  static constexpr float max = decode(max_code);
  static constexpr float min_normal = decode(1u << L.mantissa);
  static constexpr float min_subnormal = decode(1u);

  template <Conversion C = Conversion{}>
  static constexpr std::uint32_t encode(float x) noexcept {
    const std::uint32_t u = detail::float_bits(x);
    const std::uint32_t sign = (u & detail::sign_mask) != 0 ? sign_bit : 0u;
    const std::uint32_t magnitude = u & ~detail::sign_mask;
    if (magnitude > detail::infinity_bits) return encode_nan<C.nan>(magnitude, sign);
    constexpr std::uint32_t overflow_code = C.overflow == Overflow::saturate || L.specials == Specials::none ? max_code
                                            : L.specials == Specials::ieee ? infinity_code
                                                                           : nan_code;
    if (magnitude == detail::infinity_bits) return with_sign(overflow_code, sign);
    const int float_exponent = magnitude >> 23 != 0 ? static_cast<int>(magnitude >> 23) : 1;
    const std::uint32_t significand = (magnitude & 0x007fffffu) | (magnitude >> 23 != 0 ? 0x00800000u : 0u);
    // The exponent field this value takes before rounding; subnormals share the field of the smallest normals.
    const int field = float_exponent - 127 + L.bias;
    const int normal_field = field > 1 ? field : 1;
    const int shift = 23 - L.mantissa + (normal_field - field);
    const std::uint32_t rounded = detail::shift_right_rounded(significand, shift, C.rounding);
    // A significand that rounds up to 2^(mantissa + 1) carries into the field by itself.
    const std::uint32_t code = rounded + (static_cast<std::uint32_t>(normal_field - 1) << L.mantissa);
    return with_sign(code > max_code ? overflow_code : code, sign);
  }

 private:
  /// Without -0, the sign bit alone and the NaN have no other sign.
  static constexpr std::uint32_t with_sign(std::uint32_t code, std::uint32_t sign) noexcept {
    if constexpr (L.specials == Specials::fnuz) return code == 0 || code == nan_code ? code : sign | code;
    return sign | code;
  }
  template <NanRule R>
  static constexpr std::uint32_t encode_nan(std::uint32_t magnitude, std::uint32_t sign) noexcept {
    if constexpr (R == NanRule::zero) return 0;
    if constexpr (R == NanRule::maximum) return max_code;
    if constexpr (R == NanRule::opposite) return sign_bit ^ sign;
    if constexpr (L.specials == Specials::fnuz) return nan_code;
    if constexpr (R == NanRule::quiet && L.specials == Specials::ieee)
      return sign | nan_code | ((magnitude >> (23 - L.mantissa)) & magnitude_mask);
    return sign | nan_code;
  }
};

using E2M1 = Minifloat<FloatLayout{2, 1, 1, Specials::none}>;
using E2M3 = Minifloat<FloatLayout{2, 3, 1, Specials::none}>;
using E3M2 = Minifloat<FloatLayout{3, 2, 3, Specials::none}>;
using E4M3FNUZ = Minifloat<FloatLayout{4, 3, 8, Specials::fnuz}>;
using E5M2FNUZ = Minifloat<FloatLayout{5, 2, 16, Specials::fnuz}>;
using E4M3 = Minifloat<FloatLayout{4, 3, 7, Specials::nan_only}>;
using E5M2 = Minifloat<FloatLayout{5, 2, 15, Specials::ieee}>;
using F16 = Minifloat<FloatLayout{5, 10, 15, Specials::ieee}>;
using BF16 = Minifloat<FloatLayout{8, 7, 127, Specials::ieee}>;

inline constexpr E2M1 e2m1{};          ///< 4 bits: 0, .5, 1, 1.5, 2, 3, 4, 6 and their negatives (OCP MX v1.0)
inline constexpr E2M3 e2m3{};          ///< 6 bits, +-7.5, every code finite (OCP MX v1.0)
inline constexpr E3M2 e3m2{};          ///< 6 bits, +-28, every code finite (OCP MX v1.0)
inline constexpr E4M3FNUZ e4m3fnuz{};  ///< 8 bits, +-240, one NaN, no infinity, no -0
inline constexpr E5M2FNUZ e5m2fnuz{};  ///< 8 bits, +-57344, one NaN, no infinity, no -0
inline constexpr E4M3 e4m3{};          ///< 8 bits, +-448, NaN, no infinity (OCP FP8 E4M3, "FN")
inline constexpr E5M2 e5m2{};          ///< 8 bits, +-57344, infinities and NaNs (OCP FP8 E5M2)
inline constexpr F16 f16{};            ///< IEEE 754 binary16
inline constexpr BF16 bf16{};          ///< the upper half of binary32

}  // namespace pare
