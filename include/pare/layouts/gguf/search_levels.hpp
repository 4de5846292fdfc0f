#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "pare/layouts/gguf/block_layout.hpp"

namespace pare::gguf::detail {

/// The levels Lowest .. Highest of a block type whose codes are integers.
template <int Lowest, int Highest>
struct IntegerLevels {
  static constexpr float lowest = Lowest;
  static constexpr float highest = Highest;
  static constexpr int count = Highest - Lowest + 1;

  /// The level of a code.
  static constexpr float level(int code) noexcept { return static_cast<float>(Lowest + code); }

  /// The nearest level, of two as near the even one. `t` must not be a product that could be fused.
  static constexpr float nearest(float t) noexcept {
    constexpr float magic = 12582912.0f;  // 1.5 * 2^23: adding it leaves the integer nearest to t
    const float rounded = (t + magic) - magic;
    const float above = rounded > lowest ? rounded : lowest;
    return above < highest ? above : highest;
  }
  static constexpr std::uint8_t code(float level) noexcept { return static_cast<std::uint8_t>(level - lowest); }
};

/// The levels of IQ4_NL and IQ4_XS.
struct Iq4Levels {
  static constexpr float lowest = iq4_levels.front();
  static constexpr float highest = iq4_levels.back();
  static constexpr int count = 16;

  static constexpr float level(int code) noexcept { return iq4_levels[static_cast<std::size_t>(code)]; }

  /// The nearest level, of two as near the upper one.
  static constexpr float nearest(float t) noexcept {
    const float above = t > lowest ? t : lowest;
    const float bounded = above < highest ? above : highest;
    return by_half[static_cast<std::size_t>(static_cast<int>((bounded - lowest) * 2.0f))];
  }
  static constexpr std::uint8_t code(float level) noexcept {
    std::size_t code = 0;
    while (static_cast<float>(iq4_levels[code]) != level) ++code;
    return static_cast<std::uint8_t>(code);
  }

 private:
  // All midpoints between levels are multiples of a half, so that one level is nearest from each half up to the next.
  static constexpr auto by_half = [] {
    std::array<float, static_cast<std::size_t>(2 * (113 + 127)) + 1> levels{};
    std::size_t code = 0;
    for (std::size_t i = 0; i < levels.size(); ++i) {
      const int twice = static_cast<int>(i) + 2 * iq4_levels.front();
      while (code + 1 < iq4_levels.size() && twice >= iq4_levels[code] + iq4_levels[code + 1]) ++code;
      levels[i] = iq4_levels[code];
    }
    return levels;
  }();
};

}  // namespace pare::gguf::detail
