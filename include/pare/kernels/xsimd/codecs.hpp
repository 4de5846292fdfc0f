#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "pare/kernels/xsimd/elements.hpp"

#ifdef PARE_HAS_XSIMD

PARE_XSIMD_BEGIN
namespace pare::detail {

/// The codes of `x`, whose lanes are finite and belong to one group with a finite inverse.
template <IntegerFormat F, class Arch>
IntBatch<Arch> encode_batch(const FloatBatch<Arch>& x, const BlockParameters& p) noexcept {
  using Floats = FloatBatch<Arch>;
  using Ints = IntBatch<Arch>;
  // The limits are whole numbers, so that clamping before rounding gives what clamping after it does.
  const float zero = UnsignedFormat<F> ? static_cast<float>(p.zero_point) : 0.0f;
  const Floats lowest(UnsignedFormat<F> ? -zero : -F::max), highest(F::max - zero);
  const Floats clamped = xsimd::max(xsimd::min(x * Floats(p.inverse), highest), lowest);
  // The last place of 1.5 * 2^23 is 1: the sum rounds to an integer, to even, and holds it in its low bits.
  constexpr float anchor = 12582912.0f;
  constexpr auto anchor_bits = static_cast<std::int32_t>(float_bits(anchor));
  const Ints q = bits_of<Arch>(clamped + Floats(anchor)) - Ints(anchor_bits);
  return (q + Ints(static_cast<std::int32_t>(zero))) & Ints(static_cast<std::int32_t>(F::mask));
}

template <MinifloatFormat F, class Arch>
IntBatch<Arch> encode_batch(const FloatBatch<Arch>& x, const BlockParameters& p) noexcept {
  using Floats = FloatBatch<Arch>;
  using Ints = IntBatch<Arch>;
  const Ints u = bits_of<Arch>(x * Floats(p.inverse));
  const Floats magnitude = xsimd::min(float_of<Arch>(u & Ints(0x7fffffff)), Floats(F::max));
  const Ints sign = (u >> (32 - F::bits)) & Ints(static_cast<std::int32_t>(F::sign_bit));
  return round_magnitude<F, Arch>(magnitude) | sign;
}

template <TableFormat F, class Arch>
IntBatch<Arch> encode_batch(const FloatBatch<Arch>& x, const BlockParameters& p) noexcept {
  using Floats = FloatBatch<Arch>;
  const Floats scaled = x * Floats(p.inverse);
  const Floats zero(0.0f), one(1.0f);
  Floats code = zero;
  for (const float t : F::thresholds) code = code + xsimd::select(Floats(t) < scaled, one, zero);
  return xsimd::to_int(code);
}

/// The unscaled values of codes; integer formats less the zero point.
template <IntegerFormat F, class Arch>
FloatBatch<Arch> decode_batch(const std::int32_t* codes, std::uint8_t zero_point) noexcept {
  using Ints = IntBatch<Arch>;
  const Ints code = Ints::load_unaligned(codes);
  if constexpr (UnsignedFormat<F>) return xsimd::to_float(code - Ints(static_cast<std::int32_t>(zero_point)));
  constexpr std::int32_t sign = -F::lowest;
  return xsimd::to_float((code ^ Ints(sign)) - Ints(sign));
}

template <MinifloatFormat F, class Arch>
FloatBatch<Arch> decode_batch(const std::int32_t* codes, std::uint8_t) noexcept {
  using Floats = FloatBatch<Arch>;
  using Ints = IntBatch<Arch>;
  constexpr int drop = 23 - F::layout.mantissa;
  const Ints code = Ints::load_unaligned(codes);
  const Ints magnitude = code & Ints(static_cast<std::int32_t>(F::magnitude_mask));
  const Ints aligned = magnitude << drop;
  const Ints normal = aligned + Ints((127 - F::layout.bias) << 23);
  const Ints subnormal = bits_of<Arch>(xsimd::to_float(magnitude) * Floats(F::min_subnormal));
  Ints u = if_less<Arch>(magnitude, 1 << F::layout.mantissa, subnormal, normal);
  if constexpr (F::layout.specials == Specials::nan_only)
    u = if_less<Arch>(magnitude, static_cast<std::int32_t>(F::magnitude_mask), u, Ints(0x7fc00000));
  if constexpr (F::layout.specials == Specials::ieee)
    u = if_less<Arch>(magnitude, static_cast<std::int32_t>(F::infinity_code), u,
                      aligned + Ints(0x7f800000 - static_cast<std::int32_t>(F::infinity_code << drop)));
  return float_of<Arch>(u | ((code >> (F::bits - 1)) << 31));
}

template <TableFormat F, class Arch>
FloatBatch<Arch> decode_batch(const std::int32_t* codes, std::uint8_t) noexcept {
  constexpr std::size_t lanes = FloatBatch<Arch>::size;
  alignas(64) std::array<float, lanes> values;
  for (std::size_t i = 0; i < lanes; ++i) values[i] = F::values[static_cast<std::size_t>(codes[i])];
  return FloatBatch<Arch>::load_aligned(values.data());
}

/// Up to 32 codes, one a byte, to a bit stream.
template <int Bits>
void pack_block(const std::uint8_t* codes, std::size_t count, std::uint8_t* packed) noexcept {
  if constexpr (Bits == 8) {
    std::memcpy(packed, codes, count);
  } else if (count == xsimd_block) {
    for (std::size_t i = 0; i < xsimd_block; i += 8)
      store_le(packed + i / 8 * Bits, squeeze8<Bits>(load_le(codes + i, 8)), Bits);
  } else {
    for (std::size_t i = 0; i < count; i += 8) {
      const std::size_t rest = count - i < 8 ? count - i : 8;
      store_le(packed + i / 8 * Bits, squeeze8<Bits>(load_le(codes + i, rest)), packed_bytes(rest, Bits));
    }
  }
}

/// The inverse of pack_block.
template <int Bits>
void unpack_block(const std::uint8_t* packed, std::size_t count, std::uint8_t* codes) noexcept {
  if constexpr (Bits == 8) {
    std::memcpy(codes, packed, count);
  } else if (count == xsimd_block) {
    for (std::size_t i = 0; i < xsimd_block; i += 8)
      store_le(codes + i, spread8<Bits>(load_le(packed + i / 8 * Bits, Bits)), 8);
  } else {
    for (std::size_t i = 0; i < count; i += 8) {
      const std::size_t rest = count - i < 8 ? count - i : 8;
      store_le(codes + i, spread8<Bits>(load_le(packed + i / 8 * Bits, packed_bytes(rest, Bits))), rest);
    }
  }
}

}  // namespace pare::detail
PARE_XSIMD_END

#endif
