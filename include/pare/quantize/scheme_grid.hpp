#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pare/quantize/grid.hpp"

namespace pare {

namespace detail {

template <ScaleFormat F>
constexpr ScaleType scale_type_of() noexcept {
  static_assert(F::kind != FormatKind::minifloat || F::bits == 16 || std::same_as<F, E4M3>,
                "pare: the algorithms keep scales in f32, f16, bf16, e4m3 or e8m0");
  if constexpr (F::kind == FormatKind::float32) return ScaleType::float32;
  if constexpr (F::kind == FormatKind::exponent) return ScaleType::float8_e8m0;
  if constexpr (std::same_as<F, F16>) return ScaleType::float16;
  if constexpr (std::same_as<F, BF16>) return ScaleType::bfloat16;
  return ScaleType::float8_e4m3;
}

}  // namespace detail

/// A scheme's own grid: the scale and zero point that `pare::quantize<S>` would give the block, and its rounding.
/// Integer codes are counted from zero, and so a symmetric scheme's zero point is 2^(bits - 1).
template <SchemeType S>
struct SchemeGrid {
  using scheme_type = S;
  using format_type = typename S::format_type;
  static constexpr bool integer = IntegerFormat<format_type>;

  [[nodiscard]] static CodeFormat format() {
    if constexpr (integer)
      return unsigned_format(format_type::bits);
    else
      return code_format<format_type>();
  }
  [[nodiscard]] static ShiftKind shift_kind() { return integer ? ShiftKind::zero_point : ShiftKind::none; }
  [[nodiscard]] static ScaleType scale_type() { return detail::scale_type_of<typename S::scale_type>(); }
  [[nodiscard]] static Shape block(Shape shape) {
    using G = typename S::granularity_type;
    return {std::min(G::block_rows, std::max<std::size_t>(shape.rows, 1)),
            std::min(G::block_cols, std::max<std::size_t>(shape.cols, 1))};
  }

  [[nodiscard]] static BlockGrid fit(std::span<const float> block) {
    Range range;
    for (const float x : block) range.include(x);
    const BlockParameters p = S::parameters(range);
    return {p.scale, S::has_zero_point ? static_cast<float>(p.zero_point) : middle};
  }
  [[nodiscard]] static std::uint8_t encode(float x, const BlockGrid& fitted) {
    BlockParameters p;
    p.scale = fitted.scale;
    p.inverse = fitted.scale != 0.0f ? 1.0f / fitted.scale : 0.0f;
    if constexpr (S::has_zero_point) p.zero_point = static_cast<std::uint8_t>(fitted.shift);
    const auto code = static_cast<std::uint8_t>(quantize_value<format_type>(x, p));
    return integer && !S::has_zero_point ? static_cast<std::uint8_t>(code ^ (1u << (format_type::bits - 1))) : code;
  }
  [[nodiscard]] static float decode(std::uint8_t code, const BlockGrid& fitted) {
    if constexpr (integer)
      return (static_cast<float>(code) - fitted.shift) * fitted.scale;
    else
      return format_type::decode(code) * fitted.scale;
  }

 private:
  static constexpr float middle = integer ? static_cast<float>(1 << (format_type::bits - 1)) : 0.0f;
};

}  // namespace pare
