#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "pare/formats/format.hpp"

namespace pare {
namespace detail {

/// Every byte as a float. Kernels read zero points from it, into all lanes at once, instead of converting them.
inline constexpr auto byte_values = [] {
  std::array<float, 256> values{};
  for (std::size_t code = 0; code < values.size(); ++code) values[code] = static_cast<float>(code);
  return values;
}();

}  // namespace detail

/// B-bit integers: two's complement -2^(B-1) .. 2^(B-1) - 1, or unsigned 0 .. 2^B - 1. The one-bit signed integers are
/// -1 and 0.
template <int Bits, bool Signed>
struct Integer {
  static_assert(Bits >= 1 && Bits <= 8, "pare: integer formats have 1 to 8 bits");

  static constexpr int bits = Bits;
  static constexpr bool is_signed = Signed;
  static constexpr FormatKind kind = FormatKind::integer;
  static constexpr std::uint32_t mask = (1u << Bits) - 1u;
  static constexpr std::int32_t lowest = Signed ? -(1 << (Bits - 1)) : 0;
  static constexpr std::int32_t highest = Signed ? (1 << (Bits - 1)) - 1 : (1 << Bits) - 1;
  static constexpr float max = static_cast<float>(highest);

  static constexpr std::string_view name() noexcept {
    constexpr std::string_view all[2] = {"uint1uint2uint3uint4uint5uint6uint7uint8",
                                         "int1int2int3int4int5int6int7int8"};
    constexpr std::size_t length = Signed ? 4 : 5;
    return all[Signed ? 1 : 0].substr((Bits - 1) * length, length);
  }

  /// The integer behind the low `Bits` bits of a code.
  static constexpr std::int32_t value(std::uint32_t code) noexcept {
    const std::uint32_t low = code & mask;
    if constexpr (!Signed) return static_cast<std::int32_t>(low);
    constexpr std::uint32_t sign = 1u << (Bits - 1);
    return static_cast<std::int32_t>(low ^ sign) - static_cast<std::int32_t>(sign);
  }

  static constexpr float decode(std::uint32_t code) noexcept { return static_cast<float>(value(code)); }

  /// The nearest integer, saturating at both ends of the range; NaN gives 0 unless the policy asks for the maximum.
  template <Conversion C = Conversion{}>
  static constexpr std::uint32_t encode(float x) noexcept {
    if (C.nan == NanRule::maximum && is_nan(x)) return static_cast<std::uint32_t>(highest) & mask;
    const std::int32_t q = round_to_int(x, C.rounding);
    return static_cast<std::uint32_t>(q < lowest ? lowest : q > highest ? highest : q) & mask;
  }
};

/// Integers that count up from zero, which asymmetric schemes shift by a zero point. Models: UInt<4>.
template <class F>
concept UnsignedFormat = IntegerFormat<F> && !F::is_signed;

/// How files store a signed integer (three conventions, which no file names; a layout fixes one).
enum class IntegerStorage {
  twos_complement,  ///< the low bits of the integer: ONNX, OpenVINO, ModelOpt, GGUF's Q8_0
  offset_binary,    ///< the integer plus 2^(B-1): compressed-tensors, GGUF's Q4_0, Marlin, MatMulNBits without zero
                    ///< points
  zero_point,       ///< unsigned, with a zero point beside it: GPTQ, AWQ, HQQ, GGUF's Q4_1
};

/// The stored bits of a B-bit code in one convention as those of another that needs no zero point; the integer behind
/// both is the same. Two's complement and offset binary differ in the highest bit; unsigned codes with a zero point of
/// 2^(B-1) are offset binary.
constexpr std::uint32_t convert_storage(std::uint32_t code, int bits, IntegerStorage from, IntegerStorage to) noexcept {
  const bool flips = (from == IntegerStorage::twos_complement) != (to == IntegerStorage::twos_complement);
  return flips ? code ^ (1u << (bits - 1)) : code;
}

template <int Bits>
using Int = Integer<Bits, true>;
template <int Bits>
using UInt = Integer<Bits, false>;

}  // namespace pare
