#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "pare/schemes/granularity.hpp"
#include "pare/schemes/scaling.hpp"

namespace pare {

namespace detail {

template <auto What, class SymmetryPolicy>
struct FormatOf {
  using type = std::remove_const_t<decltype(What)>;
};
template <auto Bits, class SymmetryPolicy>
  requires std::integral<decltype(Bits)>
struct FormatOf<Bits, SymmetryPolicy> {
  static_assert(Bits >= 2 && Bits <= 8, "pare: Scheme's bit count is 2 to 8; for another width name a format");
  using type = Integer<Bits >= 2 && Bits <= 8 ? int{Bits} : 8, !std::same_as<SymmetryPolicy, Asymmetric>>;
};

}  // namespace detail

/// How a matrix becomes codes and scales, chosen at compile time.
///
/// @tparam What          a bit count (2 to 8: integers) or a format constant (nf4, e2m1, e4m3, e5m2)
/// @tparam SymmetryRule  Symmetric (no zero point) or Asymmetric (unsigned codes and a zero point)
/// @tparam GranularityRule  PerTensor, PerChannel, PerGroup<N> or PerBlock<R, C>
/// @tparam ScaleConstant    f32, f16, bf16, e4m3, e5m2 or e8m0
template <auto What, class SymmetryRule, class GranularityRule, auto ScaleConstant = f32>
struct Scheme {
  using format_type = typename detail::FormatOf<What, SymmetryRule>::type;
  using symmetry_type = SymmetryRule;
  using granularity_type = GranularityRule;
  using scale_type = std::remove_const_t<decltype(ScaleConstant)>;

  static_assert(Symmetry<SymmetryRule>, "pare: Scheme's second parameter is pare::Symmetric or pare::Asymmetric");
  static_assert(Granularity<GranularityRule>,
                "pare: Scheme's third parameter is PerTensor, PerChannel, PerGroup<N> or PerBlock<R, C>");
  static_assert(Format<format_type> && (!ScaleFormat<format_type> || format_type::bits == 8) &&
                    !std::same_as<format_type, E8M0>,
                "pare: Scheme's first parameter is a bit count or a format of at most 8 bits that holds signed values");
  static_assert(ScaleFormat<scale_type>,
                "pare: Scheme's fourth parameter is a scale format: f32, f16, bf16, e4m3, e5m2 or e8m0");
  static_assert(!std::same_as<SymmetryRule, Asymmetric> || IntegerFormat<format_type>,
                "pare: Asymmetric needs integer codes; use Symmetric with nf4 and the small floats");
  static_assert(!std::same_as<SymmetryRule, Asymmetric> || !std::same_as<scale_type, E8M0>,
                "pare: Asymmetric cannot have an e8m0 scale, which only powers of two fit; use f32, f16 or bf16");

  static constexpr int bits = format_type::bits;
  static constexpr bool has_zero_point = SymmetryRule::has_zero_point;

  /// What the range of one block makes of its scale and zero point.
  static constexpr BlockParameters parameters(const Range& range) noexcept {
    return SymmetryRule::template parameters<scale_type>(range, format_type::max);
  }
};

namespace detail {
template <class T>
inline constexpr bool is_scheme = false;
template <auto W, class S, class G, auto C>
inline constexpr bool is_scheme<Scheme<W, S, G, C>> = true;
}  // namespace detail

/// Models: every Scheme<...>.
template <class S>
concept SchemeType = detail::is_scheme<S>;

}  // namespace pare
