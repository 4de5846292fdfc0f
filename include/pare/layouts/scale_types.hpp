#pragma once

#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include "pare/layouts/coded_matrix.hpp"
#include "pare/layouts/parts.hpp"

namespace pare {

constexpr std::string_view scale_type_name(ScaleType type) noexcept {
  constexpr std::string_view names[] = {"float32", "float16", "bfloat16", "float8_e4m3", "float8_e8m0"};
  return names[static_cast<std::size_t>(type)];
}

/// The elements of parts that hold such scales.
constexpr PartType part_type(ScaleType type) noexcept {
  constexpr PartType types[] = {PartType::float32, PartType::float16, PartType::bfloat16, PartType::float8_e4m3,
                                PartType::float8_e8m0};
  return types[static_cast<std::size_t>(type)];
}

/// The scales that elements of that type are; nothing where they are no floats.
constexpr std::optional<ScaleType> scale_type(PartType type) noexcept {
  for (int i = 0; i < 5; ++i)
    if (const auto candidate = static_cast<ScaleType>(i); part_type(candidate) == type) return candidate;
  return std::nullopt;
}

/// The value of a stored scale.
constexpr float decode_scale(ScaleType type, std::uint32_t code) noexcept {
  switch (type) {
    case ScaleType::float16:
      return F16::decode(code);
    case ScaleType::bfloat16:
      return BF16::decode(code);
    case ScaleType::float8_e4m3:
      return E4M3::decode(code);
    case ScaleType::float8_e8m0:
      return E8M0::decode(code);
    case ScaleType::float32:
      break;
  }
  return F32::decode(code);
}

/// The code nearest to `value`, ties to even; halves overflow to infinity, 8-bit scales saturate.
constexpr std::uint32_t round_scale(ScaleType type, float value) noexcept {
  switch (type) {
    case ScaleType::float16:
      return Half(value).bits;
    case ScaleType::bfloat16:
      return BFloat16(value).bits;
    case ScaleType::float8_e4m3:
      return E4M3::encode(value);
    case ScaleType::float8_e8m0:
      return E8M0::encode(value);
    case ScaleType::float32:
      break;
  }
  return F32::encode(value);
}

/// The code whose value is `value` in every bit (any NaN stands for any other), or nothing.
constexpr std::optional<std::uint32_t> encode_scale(ScaleType type, float value) noexcept {
  const std::uint32_t code = round_scale(type, value);
  const float back = decode_scale(type, code);
  if (detail::float_bits(back) == detail::float_bits(value) || (is_nan(back) && is_nan(value))) return code;
  return std::nullopt;
}

/// Element i of a part that holds scales; bytes are taken for E8M0.
inline float scale_at(const PartView& part, std::size_t i) noexcept {
  const std::size_t bytes = element_bytes(part.type);
  return decode_scale(scale_type(part.type).value_or(ScaleType::float8_e8m0),
                      static_cast<std::uint32_t>(load_le(part.bytes.data() + i * bytes, bytes)));
}

/// A float as messages print it: enough digits to tell it from its neighbours.
inline std::string text(float value) {
  char digits[32];
  const int length = std::snprintf(digits, sizeof digits, "%.9g", static_cast<double>(value));
  return {digits, static_cast<std::size_t>(length)};
}

}  // namespace pare
