#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string_view>

#include "io/tensor.hpp"

namespace io {

/// The element types of a GGUF file by their numbers there. Numbers that are missing here were never used or are gone.
enum class GgmlType : std::uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q8_1 = 9,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  q8_k = 15,
  iq2_xxs = 16,
  iq2_xs = 17,
  iq3_xxs = 18,
  iq1_s = 19,
  iq4_nl = 20,
  iq3_s = 21,
  iq2_s = 22,
  iq4_xs = 23,
  i8 = 24,
  i16 = 25,
  i32 = 26,
  i64 = 27,
  f64 = 28,
  iq1_m = 29,
  bf16 = 30,
  tq1_0 = 34,
  tq2_0 = 35,
  mxfp4 = 39,
  nvfp4 = 40,
  q1_0 = 41,
  q2_0 = 42,
};

/// One row of the table of types: a block of `elements` consecutive values of a row takes `bytes` bytes. A type without
/// blocks has one element in each, and `plain` is that element's type.
struct GgmlTypeInfo {
  GgmlType type;
  std::string_view name;
  std::size_t elements;
  std::size_t bytes;
  std::optional<DType> plain = std::nullopt;
};

/// Every type, by ascending number.
inline constexpr std::array<GgmlTypeInfo, 35> ggml_types{{
    {GgmlType::f32, "F32", 1, 4, DType::f32},
    {GgmlType::f16, "F16", 1, 2, DType::f16},
    {GgmlType::q4_0, "Q4_0", 32, 18},
    {GgmlType::q4_1, "Q4_1", 32, 20},
    {GgmlType::q5_0, "Q5_0", 32, 22},
    {GgmlType::q5_1, "Q5_1", 32, 24},
    {GgmlType::q8_0, "Q8_0", 32, 34},
    {GgmlType::q8_1, "Q8_1", 32, 36},
    {GgmlType::q2_k, "Q2_K", 256, 84},
    {GgmlType::q3_k, "Q3_K", 256, 110},
    {GgmlType::q4_k, "Q4_K", 256, 144},
    {GgmlType::q5_k, "Q5_K", 256, 176},
    {GgmlType::q6_k, "Q6_K", 256, 210},
    {GgmlType::q8_k, "Q8_K", 256, 292},
    {GgmlType::iq2_xxs, "IQ2_XXS", 256, 66},
    {GgmlType::iq2_xs, "IQ2_XS", 256, 74},
    {GgmlType::iq3_xxs, "IQ3_XXS", 256, 98},
    {GgmlType::iq1_s, "IQ1_S", 256, 50},
    {GgmlType::iq4_nl, "IQ4_NL", 32, 18},
    {GgmlType::iq3_s, "IQ3_S", 256, 110},
    {GgmlType::iq2_s, "IQ2_S", 256, 82},
    {GgmlType::iq4_xs, "IQ4_XS", 256, 136},
    {GgmlType::i8, "I8", 1, 1, DType::i8},
    {GgmlType::i16, "I16", 1, 2, DType::i16},
    {GgmlType::i32, "I32", 1, 4, DType::i32},
    {GgmlType::i64, "I64", 1, 8, DType::i64},
    {GgmlType::f64, "F64", 1, 8, DType::f64},
    {GgmlType::iq1_m, "IQ1_M", 256, 56},
    {GgmlType::bf16, "BF16", 1, 2, DType::bf16},
    {GgmlType::tq1_0, "TQ1_0", 256, 54},
    {GgmlType::tq2_0, "TQ2_0", 256, 66},
    {GgmlType::mxfp4, "MXFP4", 32, 17},
    {GgmlType::nvfp4, "NVFP4", 64, 36},
    {GgmlType::q1_0, "Q1_0", 128, 18},
    {GgmlType::q2_0, "Q2_0", 64, 18},
}};

static_assert([] {
  for (std::size_t i = 0; i < ggml_types.size(); ++i) {
    const GgmlTypeInfo& info = ggml_types[i];
    if (i > 0 && ggml_types[i - 1].type >= info.type) return false;
    if (info.plain && (info.elements != 1 || bits(*info.plain) != 8 * info.bytes)) return false;
    if (!info.plain && info.elements == 1) return false;
  }
  return true;
}());

/// The row of the type with this number, or nullptr.
constexpr const GgmlTypeInfo* find_ggml_type(std::uint32_t number) noexcept {
  for (const GgmlTypeInfo& info : ggml_types)
    if (static_cast<std::uint32_t>(info.type) == number) return &info;
  return nullptr;
}

/// The row of the type with exactly this name, such as "Q4_K", or nullptr.
constexpr const GgmlTypeInfo* find_ggml_type(std::string_view name) noexcept {
  for (const GgmlTypeInfo& info : ggml_types)
    if (info.name == name) return &info;
  return nullptr;
}

/// The row of a type.
constexpr const GgmlTypeInfo& info_of(GgmlType type) noexcept {
  return *find_ggml_type(static_cast<std::uint32_t>(type));
}

/// Bytes of a tensor, or nothing where its elements or bytes exceed 2^63 - 1 or a row ends within a block. A scalar
/// counts as a row of one element.
constexpr std::optional<std::size_t> byte_count(GgmlType type, std::span<const std::size_t> shape) noexcept {
  constexpr auto limit = static_cast<std::size_t>(std::numeric_limits<std::int64_t>::max());
  const GgmlTypeInfo& info = info_of(type);
  std::size_t count = 1;
  for (const std::size_t extent : shape)
    if (!pare::checked_multiply(count, extent, count) || count > limit) return std::nullopt;
  if ((shape.empty() ? 1 : shape.back()) % info.elements != 0) return std::nullopt;
  std::size_t total = 0;
  if (!pare::checked_multiply(count / info.elements, info.bytes, total) || total > limit) return std::nullopt;
  return total;
}

}  // namespace io
