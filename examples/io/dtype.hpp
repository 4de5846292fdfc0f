#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

namespace io {

/// The element types of a safetensors file, in the order in which its reference writer ranks them.
enum class DType {
  boolean,
  f4,
  f6_e2m3,
  f6_e3m2,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  c64,
  f64,
  i64,
  u64,
};

/// One row of the table of element types: `name` as safetensors spells it, `bits` of one element.
struct DTypeInfo {
  DType dtype;
  std::string_view name;
  std::size_t bits;
};

/// Every element type, at the index of its enumerator.
inline constexpr std::array<DTypeInfo, 22> dtypes{{
    {DType::boolean, "BOOL", 8},
    {DType::f4, "F4", 4},
    {DType::f6_e2m3, "F6_E2M3", 6},
    {DType::f6_e3m2, "F6_E3M2", 6},
    {DType::u8, "U8", 8},
    {DType::i8, "I8", 8},
    {DType::f8_e5m2, "F8_E5M2", 8},
    {DType::f8_e4m3, "F8_E4M3", 8},
    {DType::f8_e8m0, "F8_E8M0", 8},
    {DType::f8_e4m3fnuz, "F8_E4M3FNUZ", 8},
    {DType::f8_e5m2fnuz, "F8_E5M2FNUZ", 8},
    {DType::i16, "I16", 16},
    {DType::u16, "U16", 16},
    {DType::f16, "F16", 16},
    {DType::bf16, "BF16", 16},
    {DType::i32, "I32", 32},
    {DType::u32, "U32", 32},
    {DType::f32, "F32", 32},
    {DType::c64, "C64", 64},
    {DType::f64, "F64", 64},
    {DType::i64, "I64", 64},
    {DType::u64, "U64", 64},
}};

static_assert([] {
  for (std::size_t i = 0; i < dtypes.size(); ++i)
    if (dtypes[i].dtype != static_cast<DType>(i)) return false;
  return true;
}());

/// The safetensors spelling, such as "BF16".
constexpr std::string_view name(DType dtype) noexcept { return dtypes[static_cast<std::size_t>(dtype)].name; }

/// Bits of one element; F4 and F6 types are dense, below a byte.
constexpr std::size_t bits(DType dtype) noexcept { return dtypes[static_cast<std::size_t>(dtype)].bits; }

/// The type with exactly this safetensors spelling, if there is one.
constexpr std::optional<DType> parse_dtype(std::string_view text) noexcept {
  for (const DTypeInfo& info : dtypes)
    if (info.name == text) return info.dtype;
  return std::nullopt;
}

}  // namespace io
