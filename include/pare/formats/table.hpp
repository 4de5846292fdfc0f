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

struct IQ4NLValues {
  static constexpr std::array<float, 16> values = {-127.0f, -104.0f, -83.0f, -65.0f, -49.0f, -35.0f, -22.0f, -10.0f,
                                                   1.0f,    13.0f,   25.0f,  38.0f,  53.0f,  69.0f,  89.0f,  113.0f};
  static constexpr std::string_view name() noexcept { return "iq4_nl"; }
};

/// The 16 integers of ggml's IQ4_NL and IQ4_XS.
using IQ4NL = Table<IQ4NLValues>;

struct CB4Values {
  static constexpr std::array<float, 16> values = {-3.5f,    -2.5f,   -1.875f, -1.375f, -1.0f, -0.625f, -0.3125f, 0.0f,
                                                   0.28125f, 0.5625f, 0.875f,  1.125f,  1.5f,  2.0f,    2.5f,     3.5f};
  static constexpr std::string_view name() noexcept { return "cb4"; }
};

/// NNCF's default codebook of 16 values, each of which E4M3 holds.
using CB4 = Table<CB4Values>;

/// -1, 0 and 1 as the codes 0, 1 and 2 (BitNet b1.58; ggml's TQ1_0 and TQ2_0). Code 3 is not written; it decodes to 2,
/// as two bits of ggml's TQ2_0 do.
struct Ternary {
  static constexpr int bits = 2;
  static constexpr FormatKind kind = FormatKind::table;
  static constexpr float max = 1.0f;
  static constexpr std::string_view name() noexcept { return "ternary"; }
  static constexpr float decode(std::uint32_t code) noexcept { return static_cast<float>(code & 3u) - 1.0f; }
  /// The nearest of the three, halves away from zero as ggml rounds; NaN gives 0.
  static constexpr std::uint32_t encode(float x) noexcept {
    const std::int32_t q = round_to_int(x, Rounding::nearest_away);
    return static_cast<std::uint32_t>(q < -1 ? 0 : q > 1 ? 2 : q + 1);
  }
};

/// Which of bitsandbytes' two encoders of FP4 decides ties, -0 and NaN.
enum class BnbFP4Rule {
  cuda,       ///< a tree of comparisons: ties go to the smaller magnitude, -0 and NaN to +0
  bucketize,  ///< midpoints of the sorted values, ties to the lower one; small positive values become -0, NaN 1
};

/// bitsandbytes' 4-bit float, whose codes do not ascend with their values: 0, 1/192, 2/3, 1, 1/3, 1/2, 1/6, 1/4 for the
/// codes 0 to 7, and their negatives.
struct BnbFP4 {
  static constexpr int bits = 4;
  static constexpr FormatKind kind = FormatKind::table;
  static constexpr std::array<float, 8> magnitudes = {0.0f,         0.0625f / 12, 8.0f / 12, 1.0f,
                                                      4.0f / 12.0f, 6.0f / 12,    2.0f / 12, 3.0f / 12};
  /// Between the magnitudes in ascending order, with the digits that bitsandbytes gives them.
  static constexpr std::array<float, 7> thresholds = {0.00260417f, 0.0859375f, 0.20833333f, 0.29166667f,
                                                      0.4166667f,  0.583333f,  0.8333333f};
  static constexpr float max = 1.0f;

  static constexpr std::string_view name() noexcept { return "bnb_fp4"; }
  static constexpr float decode(std::uint32_t code) noexcept {
    const float magnitude = magnitudes[code & 7u];
    return (code & 8u) != 0 ? -magnitude : magnitude;
  }
  template <BnbFP4Rule R = BnbFP4Rule::cuda>
  static constexpr std::uint32_t encode(float x) noexcept {
    std::uint32_t place = 0;
    if constexpr (R == BnbFP4Rule::bucketize) {
      if (is_nan(x)) return ascending.back();
      for (std::size_t i = 0; i + 1 < ascending.size(); ++i)
        place += 0.5f * (decode(ascending[i]) + decode(ascending[i + 1])) < x ? 1u : 0u;
      return ascending[place];
    } else {
      const bool negative = x < 0.0f;
      for (const float t : thresholds) place += t < (negative ? -x : x) ? 1u : 0u;
      return ascending_magnitudes[place] | (negative ? 8u : 0u);
    }
  }

 private:
  static constexpr std::array<std::uint32_t, 8> ascending_magnitudes = {0, 1, 6, 7, 4, 5, 2, 3};
  /// As bitsandbytes sorts the values; of the zeros, +0 comes first.
  static constexpr std::array<std::uint32_t, 16> ascending = {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3};
};

inline constexpr IQ4NL iq4_nl{};
inline constexpr CB4 cb4{};
inline constexpr Ternary ternary{};
inline constexpr BnbFP4 bnb_fp4{};

}  // namespace pare
