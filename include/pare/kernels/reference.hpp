#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "pare/kernels/prepared.hpp"
#include "pare/kernels/reference_float_products.hpp"
#include "pare/kernels/reference_hadamard.hpp"
#include "pare/kernels/reference_lines.hpp"
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
struct ReferenceKernels : ReferenceFloatProducts, ReferenceHadamard, ReferenceLines {
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

  /// Rows of x, `cols` values each and `x_stride` floats apart, as eight-bit integers: in each group the scale is
  /// max|x| / 127 and the code round(x / scale) to nearest even, its quotient taken as a product with 1 / scale. Groups
  /// are whole units of columns; columns past the last count as zeros. Where the scale would be below the smallest
  /// normal float, it and the codes are 0; where a value of the group is not finite, the scale is NaN and the codes are
  /// 0. Writes the first `rows` rows of `out`, whose offsets, of groups or of their halves, are those of weights whose
  /// zero stands at `offset`.
  static void quantize_activations(const float* x, std::size_t rows, std::size_t x_stride, std::size_t cols,
                                   std::size_t group, std::int32_t offset, const QuantizedActivations& out) noexcept {
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t begin = 0, g = 0; begin < cols; begin += group, ++g) {
        const float* values = x + r * x_stride + begin;
        const std::size_t count = std::min(group, cols - begin);
        std::uint32_t magnitude = 0;
        for (std::size_t c = 0; c < count; ++c)
          magnitude = std::max(magnitude, detail::float_bits(values[c]) & ~detail::sign_mask);
        const float scale = activation_scale(magnitude), inverse = activation_inverse(scale);
        out.scales[g * out.rows + r] = scale;
        const std::size_t sections = out.has_halves ? 2 : 1, columns = group / sections;
        for (std::size_t s = 0; s < sections; ++s) {
          std::int32_t sum = 0;
          for (std::size_t c = s * columns; c < (s + 1) * columns; ++c) {
            const std::int32_t code = inverse != 0.0f && c < count ? round_to_int(values[c] * inverse) : 0;
            out.codes[(g * out.rows + r) * group + c] = static_cast<std::int8_t>(code);
            sum += code;
          }
          out.offsets[(g * sections + s) * out.rows + r] = -offset * sum;
        }
      }
  }
  /// The scale of a group whose largest magnitude has these bits.
  static constexpr float activation_scale(std::uint32_t magnitude) noexcept {
    if (magnitude >= detail::infinity_bits) return std::numeric_limits<float>::quiet_NaN();
    const float scale = detail::bits_float(magnitude) / 127.0f;
    return scale < std::numeric_limits<float>::min() ? 0.0f : scale;
  }
  /// What the values of a group with this scale are multiplied by.
  static constexpr float activation_inverse(float scale) noexcept { return scale > 0.0f ? 1.0f / scale : 0.0f; }

  /// y[i, j] for each of x.rows rows of activations (at most prepared_batch) and `outputs` rows of weights; y_stride
  /// counts floats.
  ///
  /// For each group the products of the codes with the weights' integers are summed exactly; the sum less its offset,
  /// rounded to float and multiplied by the weights' scale, joins y by a fused multiply-add with the activations'
  /// scale, in the order of the groups, from +0. Minimums join the product by a fused multiply-add with the offset,
  /// which is not in the sum then. Columns that Sparse24Codes do not keep add nothing: the sums are those of weights
  /// that hold a 0 there. Of Group16Codes the halves of a group are such groups, one after the other, that share the
  /// activations' scale.
  template <class Codes>
  static void multiply_prepared(const PreparedWeights& weights, std::size_t outputs, const QuantizedActivations& x,
                                float* y, std::size_t y_stride) noexcept {
    const std::size_t group_bytes = weights.units * prepared_unit_bytes<Codes>;
    constexpr std::size_t sections = prepared_sections<Codes>, columns = prepared_unit / sections;
    for (std::size_t i = 0; i < x.rows; ++i)
      for (std::size_t j = 0; j < outputs; ++j) {
        const std::size_t block = j / prepared_rows, row = j % prepared_rows;
        float total = 0.0f;
        for (std::size_t section = 0; section < weights.groups * sections; ++section) {
          const std::size_t g = section / sections, first = section % sections * columns;
          const std::uint8_t* codes = weights.codes + block * weights.code_stride + g * group_bytes;
          const std::uint8_t* zero_point =
              weights.zero_points == nullptr
                  ? nullptr
                  : weights.zero_points + block * weights.zero_point_stride + g * weights.zero_point_step + row;
          std::int32_t sum = 0;
          const std::int32_t offset = x.offsets[section * x.rows + i];
          if (!is_sparse24<Codes> && weights.minimums == nullptr)
            sum = offset * (zero_point == nullptr ? 1 : *zero_point);
          for (std::size_t u = 0; u < weights.units; ++u) {
            const std::uint8_t* unit = codes + u * prepared_unit_bytes<Codes>;
            const std::int8_t* x_codes = x.codes + ((g * x.rows + i) * weights.units + u) * prepared_unit;
            if constexpr (is_sparse24<Codes>)
              sum += sparse24_products<typename Codes::codes_type>(
                  unit, row, zero_point == nullptr ? weights.zero : *zero_point, x_codes);
            else
              for (std::size_t c = first; c < first + columns; ++c)
                sum += prepared_integer<Codes>(unit, row, c) * x_codes[c];
          }
          const float scale = prepared_scale(weights, block * weights.scale_stride + section * weights.scale_step, row);
          float products = static_cast<float>(sum) * scale;
          if (weights.minimums != nullptr)
            products = std::fma(
                static_cast<float>(offset),
                prepared_minimum(weights, block * weights.minimum_stride + section * weights.minimum_step, row),
                products);
          total = std::fma(products, x.scales[g * x.rows + i], total);
        }
        y[i * y_stride + j] = total;
      }
  }

 private:
  template <class Codes>
  static std::int32_t prepared_integer(const std::uint8_t* unit, std::size_t row, std::size_t column) noexcept {
    const PreparedPlace place = prepared_place<Codes>(row, column);
    const std::uint32_t code = unit[place.byte] >> place.shift;
    return static_cast<std::int32_t>(Codes::integer(code & ((1u << Codes::bits) - 1u)));
  }
  /// The products of a unit's kept columns, whose integers count from `zero` on.
  template <class Codes>
  static std::int32_t sparse24_products(const std::uint8_t* unit, std::size_t row, std::int32_t zero,
                                        const std::int8_t* x) noexcept {
    std::int32_t sum = 0;
    for (std::size_t kept = 0; kept < prepared_unit / 2; ++kept) {
      const PreparedPlace place = sparse24_place(row, kept);
      const std::size_t column = kept / 2 * 4 + (unit[place.byte] >> place.shift & 3u);
      sum += (prepared_integer<Codes>(unit + sparse24_places_bytes, row, kept) - zero) * x[column];
    }
    return sum;
  }
  static float prepared_scale(const PreparedWeights& weights, std::size_t at, std::size_t row) noexcept {
    return prepared_parameter(weights.scales + at, weights.scale, weights.scale_units, row);
  }
  static float prepared_minimum(const PreparedWeights& weights, std::size_t at, std::size_t row) noexcept {
    return prepared_parameter(weights.minimums + at, weights.minimum, weights.minimum_units, row);
  }
  static float prepared_parameter(const std::uint8_t* first, PreparedScale type, const PreparedUnits& units,
                                  std::size_t row) noexcept {
    const std::uint8_t* p = first + row * prepared_scale_bytes(type);
    if (type == PreparedScale::integer8) return static_cast<float>(static_cast<std::int8_t>(*p)) * *units.of(p);
    if (type == PreparedScale::float32) {
      float value;
      std::memcpy(&value, p, sizeof value);
      return value;
    }
    std::uint16_t code;
    std::memcpy(&code, p, sizeof code);
    return type == PreparedScale::float16 ? F16::decode(code) : BF16::decode(code);
  }
};

}  // namespace pare
