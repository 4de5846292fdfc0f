#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pare/formats/formats.hpp"

/// What a format does, seen from outside: everything here is found by decoding codes and encoding floats.
namespace pare::docs {

inline constexpr float infinity = std::numeric_limits<float>::infinity();
inline constexpr float largest_float = std::numeric_limits<float>::max();
inline constexpr float smallest_float = std::numeric_limits<float>::denorm_min();
/// A NaN with every payload bit set, so that what an encoder keeps of it shows.
inline constexpr float positive_nan = std::bit_cast<float>(0x7fffffffu);
inline constexpr float negative_nan = std::bit_cast<float>(0xffffffffu);

/// Returns `x` in Markdown: a decimal from 1/16 to a million, else odd integer times power of two, else the shortest
/// decimal that gives the same float.
inline std::string number(float x) {
  const bool negative = (std::bit_cast<std::uint32_t>(x) & 0x80000000u) != 0;
  const std::string sign = negative ? "-" : "";
  if (is_nan(x)) return sign + "NaN";
  if (!is_finite(x)) return negative ? "-inf" : "+inf";
  if (x == 0.0f) return sign + "0";
  const auto [exponent, significand] = pare::detail::binary(negative ? -x : x);
  const int zeros = std::countr_zero(significand);
  const std::uint32_t odd = significand >> zeros;
  const int power = exponent - 23 + zeros;
  if (odd >= 1u << 12 || (exponent >= -4 && exponent < 20)) return fmt::format("{}", x);
  return odd == 1 ? fmt::format("{}2^{}", sign, power) : fmt::format("{}{}·2^{}", sign, odd, power);
}

/// An encoder and the decoder of its codes.
struct Coder {
  std::string name;
  int bits;
  FormatKind kind;
  std::function<float(std::uint32_t)> decode;
  std::function<std::uint32_t(float)> encode;
  /// The borders between ascending values that the encoder aims at; none if they are the halves.
  std::vector<float> thresholds{};

  std::uint32_t codes() const { return 1u << bits; }
  float round(float x) const { return decode(encode(x)); }
  std::string hex(std::uint32_t code) const { return fmt::format("`0x{:0{}X}`", code, (bits + 3) / 4); }
};

template <class F>
Coder coder(std::string name, std::function<std::uint32_t(float)> encode) {
  return {std::move(name), F::bits, F::kind, [](std::uint32_t code) { return F::decode(code); }, std::move(encode)};
}

/// The encoder that a format has without policies.
template <class F>
Coder coder(std::string name) {
  Coder c = coder<F>(std::move(name), [](float x) { return F::encode(x); });
  if constexpr (requires { F::magnitudes; }) {
    for (const float t : F::thresholds) c.thresholds.insert(c.thresholds.end(), {-t, t});
    std::sort(c.thresholds.begin(), c.thresholds.end());
  }
  return c;
}

/// Returns the codes that satisfy `predicate` as runs, "`0x7D` - `0x7F`", or a dash if there is none.
template <class Predicate>
std::string code_runs(const Coder& c, Predicate predicate) {
  std::string text;
  for (std::uint32_t first = 0; first < c.codes(); ++first) {
    if (!predicate(first)) continue;
    std::uint32_t last = first;
    while (last + 1 < c.codes() && predicate(last + 1)) ++last;
    text += (text.empty() ? "" : ", ") + c.hex(first);
    if (last != first) text += (last == first + 1 ? ", " : " - ") + c.hex(last);
    first = last;
  }
  return text.empty() ? "-" : text;
}

/// Floats as integers of the same order, neighbours one apart.
constexpr std::int32_t to_ordered(float x) noexcept {
  const auto bits = std::bit_cast<std::int32_t>(x);
  return bits < 0 ? std::numeric_limits<std::int32_t>::min() - bits : bits;
}
constexpr float from_ordered(std::int32_t n) noexcept {
  return std::bit_cast<float>(n < 0 ? std::numeric_limits<std::int32_t>::min() - n : n);
}

/// Whether the encoder gives a finite value, or a float next to it, the code.
inline bool is_written(const Coder& c, std::uint32_t code) {
  const float value = c.decode(code);
  if (!is_finite(value)) return false;
  const std::int32_t place = to_ordered(value);
  return c.encode(value) == code || c.encode(from_ordered(place - 1)) == code ||
         c.encode(from_ordered(place + 1)) == code;
}

/// Returns the finite values that the encoder writes, ascending, -0 and +0 as one.
inline std::vector<float> written_values(const Coder& c) {
  std::vector<float> values;
  for (std::uint32_t code = 0; code < c.codes(); ++code)
    if (is_written(c, code)) values.push_back(c.decode(code));
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

/// Returns the smallest float of (low, high] that satisfies a predicate which holds from somewhere on, at `high` at
/// last.
template <class Predicate>
float first_float(float low, float high, Predicate predicate) {
  std::int64_t below = to_ordered(low), from = to_ordered(high);
  while (from - below > 1) {
    const std::int64_t middle = below + (from - below) / 2;
    (predicate(from_ordered(static_cast<std::int32_t>(middle))) ? from : below) = middle;
  }
  return from_ordered(static_cast<std::int32_t>(from));
}

/// Returns where an input goes that lies on the border of two values, and the borders that are not halves.
inline std::string halves(const Coder& c) {
  const std::vector<float> values = written_values(c);
  bool even = c.kind != FormatKind::table, away = true, toward_zero = true, lower = true, upper = true;
  float farthest = 0.0f;
  std::string elsewhere;
  for (std::size_t i = 0; i + 1 < values.size(); ++i) {
    const float a = values[i], b = values[i + 1], half = 0.5f * a + 0.5f * b;
    const float aim = c.thresholds.empty() ? half : c.thresholds[i];
    const float first_above = first_float(a, b, [&](float x) { return c.round(x) >= b; });
    const std::int32_t distance = to_ordered(first_above) - to_ordered(aim);
    if (distance != 0 && distance != 1) {
      elsewhere += fmt::format("; {} from {} on", number(b), number(first_above));
      continue;
    }
    const bool up = distance == 0, up_is_away = a + b > 0.0f;
    even = even && (c.encode(aim) & 1u) == 0;
    away = away && up == up_is_away;
    toward_zero = toward_zero && up != up_is_away;
    lower = lower && !up;
    upper = upper && up;
    farthest = std::max(farthest, aim > half ? aim - half : half - aim);
  }
  const std::string rule = even          ? "to the even code"
                           : away        ? "away from zero"
                           : toward_zero ? "toward zero"
                           : lower       ? "to the lower value"
                           : upper       ? "to the upper value"
                                         : "either way";
  const std::string aims =
      farthest == 0.0f ? "" : fmt::format(", at thresholds up to {:.1e} beside the half", farthest);
  return rule + aims + elsewhere;
}

/// Returns what `x` becomes: a zero, one end of the range, another value, or a NaN with its code.
inline std::string outcome(const Coder& c, float x) {
  const std::uint32_t code = c.encode(x);
  const float value = c.decode(code);
  if (is_nan(value)) return "NaN " + c.hex(code);
  if (value == 0.0f) return std::signbit(value) ? "-0" : "+0";
  const std::vector<float> values = written_values(c);
  return value == values.back() ? "largest" : value == values.front() ? "lowest" : number(value);
}

}  // namespace pare::docs
