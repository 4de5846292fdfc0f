#pragma once

#include <cstdint>
#include <type_traits>

#include "pare/formats/minifloat.hpp"

namespace pare {

/// Storage of one 16-bit float; arithmetic happens in float.
template <MinifloatFormat F>
struct Storage16 {
  using format_type = F;

  std::uint16_t bits = 0;

  constexpr Storage16() = default;
  /// Rounds to nearest even; beyond the largest finite value gives infinity; NaN stays a quiet NaN.
  constexpr explicit Storage16(float x) noexcept
      : bits(static_cast<std::uint16_t>(
            F::template encode<Conversion{.overflow = Overflow::special, .nan = NanRule::quiet}>(x))) {}
  constexpr explicit operator float() const noexcept { return F::decode(bits); }

  friend constexpr bool operator==(Storage16, Storage16) = default;
};

using Half = Storage16<F16>;
using BFloat16 = Storage16<BF16>;

/// The element types that tensors of weights come in.
template <class T>
concept Element = std::is_same_v<T, float> || std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>;

}  // namespace pare
