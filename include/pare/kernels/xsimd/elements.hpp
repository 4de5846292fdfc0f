#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <xsimd/xsimd.hpp>

#include "pare/kernels/reference.hpp"

// 32-bit NEON turns subnormal floats into zeros and so cannot give the bytes of the reference.
#if !defined(XSIMD_NO_SUPPORTED_ARCHITECTURE) && !defined(__arm__)
#define PARE_HAS_XSIMD 1

// gcc 12 takes the deliberately undefined operands of its own AVX-512 intrinsics for mistakes of those who inline them.
#if defined(__GNUC__) && !defined(__clang__)
#define PARE_XSIMD_BEGIN                                                               \
  _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wuninitialized\"") \
      _Pragma("GCC diagnostic ignored \"-Wmaybe-uninitialized\"")
#define PARE_XSIMD_END _Pragma("GCC diagnostic pop")
#else
#define PARE_XSIMD_BEGIN
#define PARE_XSIMD_END
#endif

PARE_XSIMD_BEGIN
namespace pare::detail {

/// Rows are worked on in blocks of this many elements, which fill whole bytes at every width.
inline constexpr std::size_t xsimd_block = 32;

template <class Arch>
using FloatBatch = xsimd::batch<float, Arch>;
template <class Arch>
using IntBatch = xsimd::batch<std::int32_t, Arch>;

// Not xsimd::bitwise_cast, whose template argument changed its meaning between versions.
template <class Arch>
IntBatch<Arch> bits_of(const FloatBatch<Arch>& x) noexcept {
  return std::bit_cast<IntBatch<Arch>>(x);
}
template <class Arch>
FloatBatch<Arch> float_of(const IntBatch<Arch>& u) noexcept {
  return std::bit_cast<FloatBatch<Arch>>(u);
}

/// `yes` in the lanes where a < b, else `no`.
template <class Arch>
IntBatch<Arch> if_less(const IntBatch<Arch>& a, std::int32_t b, const IntBatch<Arch>& yes,
                       const IntBatch<Arch>& no) noexcept {
  return xsimd::select(a < IntBatch<Arch>(b), yes, no);
}

/// The codes of magnitudes that round to at most F::max, to nearest even. A power of two is added whose last place is
/// that of the format: its low bits are then the rounded mantissa, and a carry goes on into the exponent by itself.
template <MinifloatFormat F, class Arch>
IntBatch<Arch> round_magnitude(const FloatBatch<Arch>& magnitude) noexcept {
  using Floats = FloatBatch<Arch>;
  using Ints = IntBatch<Arch>;
  constexpr int drop = 23 - F::layout.mantissa;
  constexpr auto lowest = static_cast<std::int32_t>(float_bits(F::min_normal));
  const Ints exponent = bits_of<Arch>(xsimd::max(magnitude, Floats(F::min_normal))) & Ints(0x7f800000);
  const Ints anchor = exponent + Ints(drop << 23);
  const Ints mantissa = bits_of<Arch>(magnitude + float_of<Arch>(anchor)) - anchor;
  return mantissa + ((exponent - Ints(lowest)) >> drop);
}

/// The floats of one block and room for one more batch: work on a part of the block may run past its end.
template <class Arch>
struct XsimdBlock {
  static constexpr std::size_t lanes = FloatBatch<Arch>::size;
  static constexpr std::size_t capacity = xsimd_block + lanes;

  alignas(64) std::array<float, capacity> values{};

  /// The first `count` values from memory, the others of the block 0.
  void load(const float* x, std::size_t count) noexcept {
    std::memcpy(values.data(), x, count * sizeof(float));
    for (std::size_t i = count; i < xsimd_block; ++i) values[i] = 0.0f;
  }

  template <Element T>
  void load(const T* x, std::size_t count) noexcept {
    alignas(64) std::array<std::int32_t, xsimd_block> halves{};
    if (count == xsimd_block)
      for (std::size_t i = 0; i < xsimd_block; ++i) halves[i] = x[i].bits;
    else
      for (std::size_t i = 0; i < count; ++i) halves[i] = x[i].bits;
    for (std::size_t i = 0; i < xsimd_block; i += lanes)
      widen(IntBatch<Arch>::load_aligned(halves.data() + i), T()).store_aligned(values.data() + i);
  }

  void store(float* out, std::size_t count) const noexcept { std::memcpy(out, values.data(), count * sizeof(float)); }

  template <Element T>
  void store(T* out, std::size_t count) const noexcept {
    alignas(64) std::array<std::int32_t, xsimd_block> halves;
    for (std::size_t i = 0; i < xsimd_block; i += lanes)
      narrow(bits_of<Arch>(FloatBatch<Arch>::load_aligned(values.data() + i)), T()).store_aligned(halves.data() + i);
    if (count == xsimd_block)
      for (std::size_t i = 0; i < xsimd_block; ++i) out[i].bits = static_cast<std::uint16_t>(halves[i]);
    else
      for (std::size_t i = 0; i < count; ++i) out[i].bits = static_cast<std::uint16_t>(halves[i]);
  }

 private:
  using Floats = FloatBatch<Arch>;
  using Ints = IntBatch<Arch>;

  static Floats widen(const Ints& h, BFloat16) noexcept { return float_of<Arch>(h << 16); }
  static Floats widen(const Ints& h, Half) noexcept {
    const Ints magnitude = h & Ints(0x7fff);
    const Ints normal = (magnitude << 13) + Ints((127 - 15) << 23);
    const Ints special = normal + Ints((127 - 15) << 23);
    const Ints subnormal = bits_of<Arch>(xsimd::to_float(magnitude) * Floats(F16::min_subnormal));
    const Ints number = if_less<Arch>(magnitude, 0x7c00, if_less<Arch>(magnitude, 0x0400, subnormal, normal), special);
    return float_of<Arch>(number | ((h >> 15) << 31));
  }

  static Ints narrow(const Ints& u, BFloat16) noexcept {
    const Ints high = (u >> 16) & Ints(0xffff);
    const Ints rest = u & Ints(0xffff);
    // Up where the rest is over one half, or is one half and the kept part is odd.
    const Ints rounded = high + (((rest + Ints(0x7fff) + (high & Ints(1))) >> 16) & Ints(1));
    return if_less<Arch>(u & Ints(0x7fffffff), 0x7f800001, rounded, high | Ints(0x0040));
  }
  static Ints narrow(const Ints& u, Half) noexcept {
    const Ints sign = (u >> 16) & Ints(0x8000);
    const Ints magnitude = u & Ints(0x7fffffff);
    const Ints nan = ((magnitude >> 13) & Ints(0x03ff)) | Ints(0x7e00);
    const Ints special = if_less<Arch>(magnitude, 0x7f800001, Ints(0x7c00), nan);
    const Ints number =
        if_less<Arch>(magnitude, 0x477ff000, round_magnitude<F16, Arch>(float_of<Arch>(magnitude)), special);
    return number | sign;
  }
};

}  // namespace pare::detail
PARE_XSIMD_END

#endif
