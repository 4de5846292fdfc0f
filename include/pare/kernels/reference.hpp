#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "pare/kernels/reference_float_products.hpp"
#include "pare/kernels/reference_hadamard.hpp"
#include "pare/kernels/reference_lines.hpp"
#include "pare/kernels/reference_nvfp4.hpp"
#include "pare/kernels/reference_prepared.hpp"
#include "pare/schemes/schemes.hpp"

namespace pare {

/// Code `index` of a dense LSB-first bit stream, the order of every stream in pare.
template <int Bits>
constexpr std::uint32_t read_code(const std::uint8_t* codes, std::size_t index) noexcept {
  const std::size_t bit = index * Bits;
  const auto shift = static_cast<int>(bit % 8);
  std::uint32_t window = codes[bit / 8];
  if (shift + Bits > 8) window |= static_cast<std::uint32_t>(codes[bit / 8 + 1]) << 8;
  return (window >> shift) & ((1u << Bits) - 1u);
}

/// Overwrites code `index` of a dense LSB-first bit stream.
template <int Bits>
constexpr void write_code(std::uint8_t* codes, std::size_t index, std::uint32_t code) noexcept {
  const std::size_t bit = index * Bits;
  const auto shift = static_cast<int>(bit % 8);
  const std::uint32_t mask = ((1u << Bits) - 1u) << shift;
  const std::uint32_t value = code << shift;
  codes[bit / 8] = static_cast<std::uint8_t>((codes[bit / 8] & ~mask) | value);
  if (shift + Bits > 8)
    codes[bit / 8 + 1] = static_cast<std::uint8_t>((codes[bit / 8 + 1] & ~(mask >> 8)) | value >> 8);
}

/// The scalar definition of every kernel. A backend is a class with these static functions; each gives these bytes.
///
/// A row of `n` values is divided into groups of `group` values, the last one maybe shorter. Pointers need no
/// alignment; inputs and outputs do not overlap. Nothing here allocates.
struct ReferenceKernels : ReferenceFloatProducts,
                          ReferenceHadamard,
                          ReferenceLines,
                          ReferenceNvfp4,
                          ReferencePreparedProducts {
  /// The range of each group of x[0 .. n) into ranges[0 .. ceil(n / group)). `following` values stand behind these in
  /// memory and are read next: a kernel may fetch them.
  template <Element T>
  static constexpr void find_range(const T* x, std::size_t n, std::size_t group, Range* ranges,
                                   [[maybe_unused]] std::size_t following = 0) noexcept {
    for (std::size_t begin = 0; begin < n; ++ranges) {
      const std::size_t end = n - begin > group ? begin + group : n;
      Range range;
      for (; begin < end; ++begin) range.include(static_cast<float>(x[begin]));
      *ranges = range;
    }
  }

  /// What a symmetry rule makes of the ranges of `n` groups whose codes reach `format_max`, the F::max of their format.
  template <Symmetry Rule, ScaleFormat S>
  static constexpr void derive_parameters(const Range* ranges, std::size_t n, float format_max,
                                          BlockParameters* parameters) noexcept {
    for (std::size_t i = 0; i < n; ++i) parameters[i] = Rule::template parameters<S>(ranges[i], format_max);
  }

  /// As find_range and derive_parameters one after the other; also stores the scales, S::bits / 8 bytes each, and where
  /// the rule has them, the zero points.
  template <Symmetry Rule, ScaleFormat S, Element T>
  static constexpr void find_parameters(const T* x, std::size_t n, std::size_t group, float format_max,
                                        BlockParameters* parameters, std::uint8_t* scales,
                                        std::uint8_t* zero_points) noexcept {
    for (std::size_t begin = 0, g = 0; begin < n; ++g) {
      const std::size_t count = std::min(group, n - begin);
      Range range;
      find_range(x + begin, count, count, &range);
      parameters[g] = Rule::template parameters<S>(range, format_max);
      store_parameters<Rule, S>(parameters[g], g, scales, zero_points);
      begin += count;
    }
  }

  /// Stores the scale of block g, and its zero point where the rule has one.
  template <Symmetry Rule, ScaleFormat S>
  static constexpr void store_parameters(const BlockParameters& parameters, std::size_t g, std::uint8_t* scales,
                                         std::uint8_t* zero_points) noexcept {
    store_le(scales + g * (S::bits / 8), parameters.scale_code, S::bits / 8);
    if constexpr (Rule::has_zero_point) zero_points[g] = parameters.zero_point;
  }

  /// The values of `n` stored scales, each of S::bits / 8 bytes.
  template <ScaleFormat S>
  static constexpr void decode_scales(const std::uint8_t* stored, std::size_t n, float* scales) noexcept {
    constexpr std::size_t bytes = S::bits / 8;
    for (std::size_t i = 0; i < n; ++i)
      scales[i] = S::decode(static_cast<std::uint32_t>(load_le(stored + i * bytes, bytes)));
  }

  /// The codes of x[0 .. n) as a bit stream of packed_bytes(n, F::bits) bytes; bits past the last code become 0.
  /// `following` is as for find_range.
  template <Format F, Element T>
  static constexpr void encode(const T* x, std::size_t n, std::size_t group, const BlockParameters* parameters,
                               std::uint8_t* codes, [[maybe_unused]] std::size_t following = 0) noexcept {
    std::fill_n(codes, packed_bytes(n, F::bits), std::uint8_t{0});
    for (std::size_t i = 0; i < n; ++i)
      write_code<F::bits>(codes, i, quantize_value<F>(static_cast<float>(x[i]), parameters[i / group]));
  }

  /// The values of n codes. The first code stands at `offset` (below `group`) within its group, whose scale is
  /// scales[0]. `zero_points` is read by unsigned formats only. Values round to nearest even in Half and BFloat16.
  template <Format F, Element T>
  static constexpr void decode(const std::uint8_t* codes, std::size_t n, std::size_t group, std::size_t offset,
                               const float* scales, const std::uint8_t* zero_points, T* out) noexcept {
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t g = group - offset > i ? 0 : (i - (group - offset)) / group + 1;
      const std::uint8_t zero_point = UnsignedFormat<F> ? zero_points[g] : std::uint8_t{0};
      out[i] = static_cast<T>(dequantize_value<F>(read_code<F::bits>(codes, i), scales[g], zero_point));
    }
  }

  /// n codes, one a byte, to a bit stream of packed_bytes(n, Bits) bytes; only the low bits of each code are kept.
  template <int Bits>
  static constexpr void pack(const std::uint8_t* codes, std::size_t n, std::uint8_t* packed) noexcept {
    std::fill_n(packed, packed_bytes(n, Bits), std::uint8_t{0});
    for (std::size_t i = 0; i < n; ++i) write_code<Bits>(packed, i, codes[i] & ((1u << Bits) - 1u));
  }

  /// The inverse of pack.
  template <int Bits>
  static constexpr void unpack(const std::uint8_t* packed, std::size_t n, std::uint8_t* codes) noexcept {
    for (std::size_t i = 0; i < n; ++i) codes[i] = static_cast<std::uint8_t>(read_code<Bits>(packed, i));
  }

  /// Copies n bytes to memory that is not read again soon: past the caches, where a processor can. Other threads see
  /// them after flush_copies().
  static void copy_past_caches(const std::uint8_t* from, std::size_t n, std::uint8_t* to) noexcept {
    std::memcpy(to, from, n);
  }
  static void flush_copies() noexcept {}

  /// y[j] += dot(x, w_j) for `rows` rows of n <= product_columns codes, in the order of accumulate_products. The codes,
  /// scales and zero points of row j start at j times their stride; `group` and `offset` are as for decode.
  template <Format F>
  static void accumulate_coded_products(const float* x, const std::uint8_t* codes, std::size_t row_bytes,
                                        std::size_t rows, std::size_t n, std::size_t group, std::size_t offset,
                                        const float* scales, std::size_t scale_stride, const std::uint8_t* zero_points,
                                        std::size_t zero_point_stride, float* y) noexcept {
    std::array<float, product_columns> values;
    for (std::size_t j = 0; j < rows; ++j) {
      decode<F>(codes + j * row_bytes, n, group, offset, scales + j * scale_stride,
                UnsignedFormat<F> ? zero_points + j * zero_point_stride : nullptr, values.data());
      accumulate_products(x, 1, n, values.data(), 1, n, n, y + j, 1);
    }
  }
};

}  // namespace pare
