#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "pare/kernels/prepared.hpp"

namespace pare {

/// The scalar definition of products of prepared weights with activations in eight bits.
struct ReferencePreparedProducts {
  /// Rows of x, `cols` values each and `x_stride` floats apart, as eight-bit integers: in each group the scale is
  /// max|x| / 127 and the code round(x / scale) to nearest even, its quotient taken as a product with 1 / scale; where
  /// a row has one scale, max|x| is that of the row. Groups are whole units of columns; columns past the last count as
  /// zeros. Where the scale would be below the smallest normal float, it and the codes are 0; where a value is not
  /// finite, its scale is NaN and the codes are 0. Writes the first `rows` rows of `out`, whose offsets, of groups, of
  /// their halves or of rows, are those of weights whose zero stands at `offset`.
  static void quantize_activations(const float* x, std::size_t rows, std::size_t x_stride, std::size_t cols,
                                   std::size_t group, std::int32_t offset, const QuantizedActivations& out) noexcept {
    for (std::size_t r = 0; r < rows; ++r) {
      const float* row = x + r * x_stride;
      if (out.offset_step == 0) out.offsets[r] = 0;
      if (out.scale_step == 0) out.scales[r] = activation_scale(largest_magnitude(row, cols));
      for (std::size_t begin = 0, g = 0; begin < cols; begin += group, ++g) {
        const std::size_t count = std::min(group, cols - begin);
        float& scale = out.scales[g * out.scale_step + r];
        if (out.scale_step != 0) scale = activation_scale(largest_magnitude(row + begin, count));
        encode_activations(row + begin, count, group, activation_inverse(scale), offset, g, r, out);
      }
    }
  }
  /// Group g of row r of `out`: its codes and offsets, where `count` values are multiplied by `inverse`.
  static void encode_activations(const float* values, std::size_t count, std::size_t group, float inverse,
                                 std::int32_t offset, std::size_t g, std::size_t r,
                                 const QuantizedActivations& out) noexcept {
    const std::size_t sections = out.has_halves ? 2 : 1, columns = group / sections;
    for (std::size_t s = 0; s < sections; ++s) {
      std::int32_t sum = 0;
      for (std::size_t c = s * columns; c < (s + 1) * columns; ++c) {
        const std::int32_t code = inverse != 0.0f && c < count ? round_to_int(values[c] * inverse) : 0;
        out.codes[(g * out.rows + r) * group + c] = static_cast<std::int8_t>(code);
        sum += code;
      }
      std::int32_t& to = out.offsets[(g * sections + s) * out.offset_step + r];
      to = (out.offset_step == 0 ? to : 0) - offset * sum;
    }
  }
  /// The bits of the largest magnitude of n values, which order as integers do.
  static std::uint32_t largest_magnitude(const float* values, std::size_t n) noexcept {
    std::uint32_t largest = 0;
    for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, detail::float_bits(values[i]) & ~detail::sign_mask);
    return largest;
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
  /// which is not in the sum then. Where a row of activations has one scale, the rounded sums join y by a fused
  /// multiply-add with the weights' scale, offsets by one with the minimum, and y is multiplied by the activations'
  /// scale at the end; where it also has one offset, all groups count as one. Columns that Sparse24Codes do not keep
  /// add nothing: the sums are those of weights that hold a 0 there. Of Group16Codes the halves of a group are such
  /// groups, one after the other, that share the activations' scale.
  template <class Codes>
  static void multiply_prepared(const PreparedWeights& weights, std::size_t outputs, const QuantizedActivations& x,
                                float* y, std::size_t y_stride) noexcept {
    const std::size_t group_bytes = weights.units * prepared_unit_bytes<Codes>;
    constexpr std::size_t sections = prepared_sections<Codes>, columns = prepared_unit / sections;
    for (std::size_t i = 0; i < x.rows; ++i)
      for (std::size_t j = 0; j < outputs; ++j) {
        const std::size_t block = j / prepared_rows, row = j % prepared_rows;
        float total = 0.0f;
        std::int32_t sum = 0;
        for (std::size_t section = 0; section < weights.groups * sections; ++section) {
          const std::size_t g = section / sections, first = section % sections * columns;
          const std::uint8_t* codes = weights.codes + block * weights.code_stride + g * group_bytes;
          const std::uint8_t* zero_point =
              weights.zero_points == nullptr
                  ? nullptr
                  : weights.zero_points + block * weights.zero_point_stride + g * weights.zero_point_step + row;
          const std::int32_t offset = x.offsets[section * x.offset_step + i];
          const bool begins = x.offset_step != 0 || section == 0;
          if (begins)
            sum = is_sparse24<Codes> || weights.minimums != nullptr
                      ? 0
                      : offset * (zero_point == nullptr ? 1 : *zero_point);
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
          const bool ends = x.offset_step != 0 || g + 1 == weights.groups;
          if (!ends) continue;
          const float scale = prepared_scale(weights, block * weights.scale_stride + section * weights.scale_step, row);
          const auto add_minimum = [&](float to) {
            if (weights.minimums == nullptr) return to;
            const std::size_t at = block * weights.minimum_stride + section * weights.minimum_step;
            return std::fma(static_cast<float>(offset), prepared_minimum(weights, at, row), to);
          };
          total = x.scale_step == 0
                      ? add_minimum(std::fma(static_cast<float>(sum), scale, total))
                      : std::fma(add_minimum(static_cast<float>(sum) * scale), x.scales[g * x.scale_step + i], total);
        }
        y[i * y_stride + j] = x.scale_step == 0 ? total * x.scales[i] : total;
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
