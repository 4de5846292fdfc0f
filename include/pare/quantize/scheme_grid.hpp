#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pare/quantize/grid.hpp"

namespace pare {

/// A scheme's own grid: the scale and zero point that `pare::quantize<S>` would give the block, and its rounding.
/// Integer codes are counted from zero, and so a symmetric scheme's zero point is 2^(bits - 1).
template <SchemeType S>
struct SchemeGrid {
  using scheme_type = S;
  using format_type = typename S::format_type;
  static constexpr bool integer = IntegerFormat<format_type>;

  [[nodiscard]] static CodeFormat format() { return detail::code_format_of<S>(); }
  [[nodiscard]] static ShiftKind shift_kind() { return integer ? ShiftKind::zero_point : ShiftKind::none; }
  [[nodiscard]] static ScaleType scale_type() { return detail::scale_type_of<typename S::scale_type>(); }
  [[nodiscard]] static Shape block(Shape shape) { return detail::block_of<S>(shape); }

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
