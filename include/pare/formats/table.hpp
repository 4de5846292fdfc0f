#pragma once

#include <array>
#include <bit>
#include <string_view>

#include "pare/formats/format.hpp"

namespace pare {

/// A format given by its values in ascending order. `Values` names them: `static constexpr std::array<float, 1 << bits>
/// values` and `name()`; the largest magnitude is the end of the range that a symmetric scale maps onto.
template <class Values>
struct Table {
  static constexpr auto values = Values::values;
  static constexpr std::size_t size = values.size();
  static constexpr int bits = static_cast<int>(std::bit_width(size)) - 1;
  static constexpr FormatKind kind = FormatKind::table;
  static_assert(size >= 2 && size <= 256 && std::has_single_bit(size), "pare: a table has 2, 4, ... or 256 values");
  static_assert(
      [] {
        for (std::size_t i = 1; i < size; ++i)
          if (!(values[i - 1] < values[i])) return false;
        return true;
      }(),
      "pare: the values of a table stand in ascending order");

  /// The midpoints between neighbours, rounded to the nearest float.
  static constexpr std::array<float, size - 1> thresholds = [] {
    std::array<float, size - 1> t{};
    for (std::size_t i = 0; i + 1 < size; ++i) t[i] = 0.5f * values[i] + 0.5f * values[i + 1];
    return t;
  }();
  static constexpr float max = -values.front() > values.back() ? -values.front() : values.back();

  static constexpr std::string_view name() noexcept { return Values::name(); }
  static constexpr float decode(std::uint32_t code) noexcept { return values[code & (size - 1)]; }

  /// The number of thresholds strictly below `x`: a tie goes to the lower code, infinities saturate, NaN gives code 0
  /// (bitsandbytes' and OpenVINO's rule).
  static constexpr std::uint32_t encode(float x) noexcept {
    std::uint32_t code = 0;
    for (const float t : thresholds) code += t < x ? 1u : 0u;
    return code;
  }
};

struct NF4Values {
  static constexpr std::array<float, 16> values = {
      -1.0f,
      -0.6961928009986877f,
      -0.5250730514526367f,
      -0.39491748809814453f,
      -0.28444138169288635f,
      -0.18477343022823334f,
      -0.09105003625154495f,
      0.0f,
      0.07958029955625534f,
      0.16093020141124725f,
      0.24611230194568634f,
      0.33791524171829224f,
      0.44070982933044434f,
      0.5626170039176941f,
      0.7229568362236023f,
      1.0f,
  };
  static constexpr std::string_view name() noexcept { return "nf4"; }
};

/// 4-bit NormalFloat (Dettmers et al., QLoRA, 2023): the quantiles of a normal distribution.
using NF4 = Table<NF4Values>;

inline constexpr NF4 nf4{};

}  // namespace pare
