#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "pare/formats/formats.hpp"
#include "pare/layouts/gguf/block_codes.hpp"
#include "pare/layouts/gguf/decode.hpp"
#include "pare/layouts/gguf/rounded.hpp"

namespace pare::gguf::detail {

using pare::detail::bits_float;
using pare::detail::float_bits;

constexpr float magnitude(float x) noexcept { return bits_float(float_bits(x) & ~pare::detail::sign_mask); }

/// A scale as GGUF stores it. What is beyond f16 saturates, so that every block decodes to finite values.
constexpr std::uint16_t f16_bits(float x) noexcept { return static_cast<std::uint16_t>(F16::encode<Conversion{}>(x)); }

/// 1 / d, or 0 where that is infinite or d is zero.
constexpr float inverse_or_zero(float d) noexcept {
  const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
  return is_finite(inverse) ? inverse : 0.0f;
}

/// A float of less than 2^31 rounded to an integer, halves away from zero, without a branch.
constexpr int round_away(float x) noexcept {
  const int whole = static_cast<int>(x);
  const float rest = x - static_cast<float>(whole);
  return whole + (rest >= 0.5f ? 1 : 0) - (rest <= -0.5f ? 1 : 0);
}

constexpr float clamp(float x, float low, float high) noexcept { return x < low ? low : x > high ? high : x; }

/// Of the values of a block that is encoded by a rule.
template <std::size_t N>
struct BlockRange {
  float lowest = bits_float(0x7f7fffffu);
  float highest = -bits_float(0x7f7fffffu);
  float signed_peak = 0.0f;  ///< the first value of the largest magnitude
  float peak = 0.0f;         ///< its magnitude

  constexpr explicit BlockRange(std::span<const float, N> x) noexcept {
    for (const float v : x) {
      lowest = v < lowest ? v : lowest;
      highest = v > highest ? v : highest;
      const float m = magnitude(v);
      signed_peak = m > peak ? v : signed_peak;
      peak = m > peak ? m : peak;
    }
  }
};

/// Q4_0 and Q5_0: the largest magnitude becomes code 0, the only one that reaches -zero * d.
template <BlockType T>
constexpr void encode_by_signed_peak(ConstBlockValues<T> x, BlockCodes& out) noexcept {
  constexpr int zero = block_layout<T>.zero;
  constexpr float top = static_cast<float>(2 * zero - 1);
  const float d = BlockRange<block_info<T>.elements>(x).signed_peak / static_cast<float>(-zero);
  const float inverse = inverse_or_zero(d);
  // Where 1 / d is infinite, as for a d that is subnormal, ggml on x86 gives code 0.
  const float offset = inverse == 0.0f && d != 0.0f ? 0.0f : static_cast<float>(zero) + 0.5f;
  const Rounded rounded;
  out.d = f16_bits(d);
  for (std::size_t i = 0; i < x.size(); ++i)
    out.codes[i] = static_cast<std::uint8_t>(clamp(rounded(x[i] * inverse) + offset, 0.0f, top));
}

/// Q4_1 and Q5_1: codes count up from the smallest value.
template <BlockType T>
constexpr void encode_by_range(ConstBlockValues<T> x, BlockCodes& out) noexcept {
  constexpr auto top = static_cast<float>((1 << block_layout<T>.code_bits) - 1);
  const BlockRange<block_info<T>.elements> range(x);
  const float width = range.highest - range.lowest, widest = bits_float(0x7f7fffffu);
  const float d = (width < widest ? width : widest) / top, inverse = inverse_or_zero(d);
  const Rounded rounded;
  out.d = f16_bits(d);
  out.dmin = f16_bits(range.lowest);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float distance = x[i] - range.lowest;
    out.codes[i] =
        static_cast<std::uint8_t>(clamp(rounded((distance < widest ? distance : widest) * inverse) + 0.5f, 0.0f, top));
  }
}

/// Q8_0, Q2_0, TQ1_0, TQ2_0: d = peak / Top, level = round(x / d), halves away from zero. Where 1 / d is infinite every
/// code is `Overflowed`, as ggml's on x86.
template <BlockType T, int Top, std::uint8_t Overflowed>
constexpr void encode_by_peak(ConstBlockValues<T> x, BlockCodes& out) noexcept {
  constexpr int zero = block_layout<T>.zero;
  constexpr auto limit = static_cast<float>(Top);
  const float d = BlockRange<block_info<T>.elements>(x).peak / limit, inverse = inverse_or_zero(d);
  const bool overflowed = d != 0.0f && inverse == 0.0f;
  const Rounded rounded;
  out.d = f16_bits(d);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const int q = round_away(clamp(rounded(x[i] * inverse), -limit, limit)) + zero;
    out.codes[i] = overflowed ? Overflowed : static_cast<std::uint8_t>(q);
  }
}

/// Q1_0: the sign, and the mean magnitude summed from the first value to the last.
constexpr void encode_by_sign(ConstBlockValues<BlockType::q1_0> x, BlockCodes& out) noexcept {
  float sum = 0.0f;
  for (std::size_t i = 0; i < x.size(); ++i) {
    sum += magnitude(x[i]);
    out.codes[i] = x[i] >= 0.0f ? 1 : 0;
  }
  out.d = f16_bits(sum / static_cast<float>(x.size()));
}

/// The E2M1 code whose value at scale `d`, that of half a unit, is nearest to x; the smaller of two as near, never -0.
constexpr std::uint8_t nearest_e2m1(float x, float d) noexcept {
  const float target = magnitude(x);
  float best = target;
  std::uint32_t code = 0;
  for (std::uint32_t k = 1; k < 8; ++k) {
    // A level has four bits at most and d as many: the product is exact.
    const float error = magnitude(static_cast<float>(doubled_e2m1_levels[k]) * d - target);
    code = error < best ? k : code;
    best = error < best ? error : best;
  }
  return static_cast<std::uint8_t>(code | (x < 0.0f && code != 0 ? 8u : 0u));
}

/// floor(log2f(x)) of a finite x > 0 as C libraries that round log2f correctly give it: just below 2^k, log2f rounds up
/// to k where half the spacing of floats under k, in units of 2^-24, exceeds the distance of x, over ln 2.
constexpr int floor_log2f(float x) noexcept {
  const std::uint32_t bits = float_bits(x), field = bits >> 23;
  const int shift = field != 0 ? 0 : std::countl_zero(bits) - 8;
  const std::uint32_t significand = (bits & 0x007fffffu) << shift | 0x00800000u;
  const int exponent = (field != 0 ? static_cast<int>(field) : 1) - shift - 127;
  const int next = exponent + 1;
  const int spacing = static_cast<int>(std::bit_width(static_cast<std::uint32_t>(next > 0 ? next - 1 : -next))) - 1;
  constexpr std::array<std::uint32_t, 8> reach{0, 1, 2, 5, 11, 22, 44, 88};  // floor(2^n ln 2)
  const std::uint32_t distance = (1u << 24) - significand;
  return spacing > 0 && distance <= reach[static_cast<std::size_t>(spacing)] ? next : exponent;
}

/// MXFP4: 2^(floor(log2f(peak)) - 2). The byte of blocks below 2^-125 wraps around as ggml's does; their codes are 0.
constexpr void encode_mxfp4(ConstBlockValues<BlockType::mxfp4> x, BlockCodes& out) noexcept {
  const float peak = BlockRange<32>(x).peak;
  out.d = peak > 0.0f ? static_cast<std::uint16_t>((floor_log2f(peak) + 125) & 0xff) : std::uint16_t{0};
  const float d = sub_block_scale<BlockType::mxfp4>(out, 0);
  for (std::size_t i = 0; i < x.size(); ++i) out.codes[i] = nearest_e2m1(x[i], d);
}

/// ggml's UE4M3: rounded by adding half a unit to the bits, with its three oddities: 0 below 2^-10, nothing below 2^-6
/// rounds up to it, and what would take the largest exponent, from 248 on, is 448.
constexpr std::uint8_t encode_ue4m3(float x) noexcept {
  if (!(x >= pare::detail::exp2_int(-10))) return 0;
  if (x >= 448.0f) return 0x7e;
  const std::uint32_t bits = float_bits(x);
  const int exponent = static_cast<int>(bits >> 23) - 127;
  if (exponent < -6) {
    const std::uint32_t significand = (bits & 0x007fffffu) | 0x00800000u;
    const int shift = 23 - 9 - exponent;
    const std::uint32_t rounded = (significand + (1u << (shift - 1))) >> shift;
    return static_cast<std::uint8_t>(rounded > 7 ? 7 : rounded);
  }
  const std::uint32_t rounded = (bits - (static_cast<std::uint32_t>(127 - 7) << 23) + (1u << 19)) >> 20;
  return static_cast<std::uint8_t>(rounded >= 0x78 ? 0x7e : rounded);
}

constexpr void encode_nvfp4(ConstBlockValues<BlockType::nvfp4> x, BlockCodes& out) noexcept {
  for (std::size_t j = 0; j < 4; ++j) {
    const std::span<const float, 16> part(x.data() + 16 * j, 16);
    out.scales[j] = encode_ue4m3(BlockRange<16>(part).peak / 6.0f);
    const float d = sub_block_scale<BlockType::nvfp4>(out, j);
    for (std::size_t i = 0; i < 16; ++i) out.codes[16 * j + i] = nearest_e2m1(part[i], d);
  }
}

}  // namespace pare::gguf::detail

namespace pare::gguf {

/// Whether ggml encodes a type by a rule that leaves one answer, when there are no importance weights.
template <BlockType T>
inline constexpr bool encoded_by_rule =
    block_layout<T>.scale_field == ScaleField::none ? block_layout<T>.levels != LevelTable::iq4 : T == BlockType::nvfp4;

/// Encodes a block of finite values with the rule of its type, to the same bytes as ggml's reference encoders while
/// scales fit in f16. Larger scales saturate.
template <BlockType T>
  requires encoded_by_rule<T>
constexpr BlockCodes encode_by_rule(ConstBlockValues<T> x) noexcept {
  BlockCodes out;
  out.scales[0] = 1;
  if constexpr (block_layout<T>.has_min) out.mins[0] = -1;
  using enum BlockType;
  if constexpr (T == q4_0 || T == q5_0)
    detail::encode_by_signed_peak<T>(x, out);
  else if constexpr (T == q4_1 || T == q5_1)
    detail::encode_by_range<T>(x, out);
  else if constexpr (T == q8_0)
    detail::encode_by_peak<T, 127, 128>(x, out);
  else if constexpr (T == q2_0)
    detail::encode_by_peak<T, 1, 0>(x, out);
  else if constexpr (T == tq1_0 || T == tq2_0)
    detail::encode_by_peak<T, 1, 1>(x, out);
  else if constexpr (T == q1_0)
    detail::encode_by_sign(x, out);
  else if constexpr (T == mxfp4)
    detail::encode_mxfp4(x, out);
  else
    detail::encode_nvfp4(x, out);
  return out;
}

}  // namespace pare::gguf
