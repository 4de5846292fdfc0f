#pragma once

/// The kernels in xsimd, for the instruction set that the translation unit is compiled for. Not part of pare.hpp: a
/// program that uses xsimd includes this header itself.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "pare/kernels/reference.hpp"
#include "pare/kernels/xsimd/codecs.hpp"
#include "pare/kernels/xsimd/elements.hpp"
#include "pare/kernels/xsimd/products.hpp"

#ifdef PARE_HAS_XSIMD

PARE_XSIMD_BEGIN
namespace pare {

/// The kernels of ReferenceKernels in batches of an xsimd architecture; the same bytes. The architecture is part of the
/// type, so that translation units compiled for different ones do not share functions.
template <class Arch>
struct BasicXsimdKernels {
  template <Element T>
  static void find_range(const T* x, std::size_t n, std::size_t group, Range* ranges,
                         std::size_t /*following*/ = 0) noexcept {
    for (std::size_t begin = 0; begin < n; ++ranges) {
      const std::size_t end = n - begin > group ? begin + group : n;
      *ranges = range_of(x + begin, end - begin);
      begin = end;
    }
  }

  template <Symmetry Rule, ScaleFormat S>
  static void derive_parameters(const Range* ranges, std::size_t n, float format_max,
                                BlockParameters* parameters) noexcept {
    ReferenceKernels::derive_parameters<Rule, S>(ranges, n, format_max, parameters);
  }

  template <Symmetry Rule, ScaleFormat S, Element T>
  static void find_parameters(const T* x, std::size_t n, std::size_t group, float format_max,
                              BlockParameters* parameters, std::uint8_t* scales, std::uint8_t* zero_points) noexcept {
    for (std::size_t begin = 0, g = 0; begin < n; ++g) {
      const std::size_t count = std::min(group, n - begin);
      parameters[g] = Rule::template parameters<S>(range_of(x + begin, count), format_max);
      ReferenceKernels::store_parameters<Rule, S>(parameters[g], g, scales, zero_points);
      begin += count;
    }
  }

  template <ScaleFormat S>
  static void decode_scales(const std::uint8_t* stored, std::size_t n, float* scales) noexcept {
    ReferenceKernels::decode_scales<S>(stored, n, scales);
  }

  template <Format F, Element T>
  static void encode(const T* x, std::size_t n, std::size_t group, const BlockParameters* parameters,
                     std::uint8_t* codes, std::size_t /*following*/ = 0) noexcept {
    for_each_block(n, group, 0, [&](std::size_t begin, std::size_t count, auto&& for_each_part) {
      Block block;
      block.load(x + begin, count);
      alignas(64) std::array<std::int32_t, Block::capacity> wide;
      for_each_part([&](std::size_t g, std::size_t from, std::size_t to) {
        const BlockParameters& p = parameters[g];
        if (p.finite && is_finite(p.inverse) && !is_nan(p.scale))
          for (std::size_t i = from; i < to; i += lanes)
            detail::encode_batch<F, Arch>(Floats::load_unaligned(block.values.data() + i), p)
                .store_unaligned(wide.data() + i);
        else
          for (std::size_t i = from; i < to; ++i)
            wide[i] = static_cast<std::int32_t>(quantize_value<F>(block.values[i], p));
      });
      alignas(64) std::array<std::uint8_t, detail::xsimd_block> bytes{};
      if (count == detail::xsimd_block)
        for (std::size_t i = 0; i < detail::xsimd_block; ++i) bytes[i] = static_cast<std::uint8_t>(wide[i]);
      else
        for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::uint8_t>(wide[i]);
      detail::pack_block<F::bits>(bytes.data(), count, codes + begin / 8 * F::bits);
    });
  }

  template <Format F, Element T>
  static void decode(const std::uint8_t* codes, std::size_t n, std::size_t group, std::size_t offset,
                     const float* scales, const std::uint8_t* zero_points, T* out) noexcept {
    for_each_block(n, group, offset, [&](std::size_t begin, std::size_t count, auto&& for_each_part) {
      alignas(64) std::array<std::uint8_t, detail::xsimd_block> bytes{};
      detail::unpack_block<F::bits>(codes + begin / 8 * F::bits, count, bytes.data());
      alignas(64) std::array<std::int32_t, Block::capacity> wide{};
      for (std::size_t i = 0; i < detail::xsimd_block; ++i) wide[i] = bytes[i];
      Block block;
      for_each_part([&](std::size_t g, std::size_t from, std::size_t to) {
        const std::uint8_t zero_point = UnsignedFormat<F> ? zero_points[g] : std::uint8_t{0};
        for (std::size_t i = from; i < to; i += lanes)
          (detail::decode_batch<F, Arch>(wide.data() + i, zero_point) * Floats(scales[g]))
              .store_unaligned(block.values.data() + i);
      });
      block.store(out + begin, count);
    });
  }

  template <int Bits>
  static void pack(const std::uint8_t* codes, std::size_t n, std::uint8_t* packed) noexcept {
    for (std::size_t i = 0; i < n; i += detail::xsimd_block)
      detail::pack_block<Bits>(codes + i, std::min(n - i, detail::xsimd_block), packed + i / 8 * Bits);
  }

  template <int Bits>
  static void unpack(const std::uint8_t* packed, std::size_t n, std::uint8_t* codes) noexcept {
    for (std::size_t i = 0; i < n; i += detail::xsimd_block)
      detail::unpack_block<Bits>(packed + i / 8 * Bits, std::min(n - i, detail::xsimd_block), codes + i);
  }

  static void copy_past_caches(const std::uint8_t* from, std::size_t n, std::uint8_t* to) noexcept {
    ReferenceKernels::copy_past_caches(from, n, to);
  }
  static void flush_copies() noexcept {}
  static void quantize_activations(const float* x, std::size_t rows, std::size_t x_stride, std::size_t cols,
                                   std::size_t group, std::int32_t offset, const QuantizedActivations& out) noexcept {
    ReferenceKernels::quantize_activations(x, rows, x_stride, cols, group, offset, out);
  }

  template <class Codes>
  static void multiply_prepared(const PreparedWeights& weights, std::size_t outputs, const QuantizedActivations& x,
                                float* y, std::size_t y_stride) noexcept {
    ReferenceKernels::multiply_prepared<Codes>(weights, outputs, x, y, y_stride);
  }
  static void multiply_csr(const float* x, const float* values, const std::uint32_t* columns,
                           const std::size_t* offsets, std::size_t rows, float* y) noexcept {
    ReferenceKernels::multiply_csr(x, values, columns, offsets, rows, y);
  }
  static void multiply_bitmask(const float* x, const std::uint8_t* bits, std::size_t row_bytes, const float* values,
                               const std::size_t* offsets, std::size_t rows, float* y) noexcept {
    ReferenceKernels::multiply_bitmask(x, bits, row_bytes, values, offsets, rows, y);
  }
  static void multiply_block_csr(const float* x, std::size_t cols, const float* values, const std::uint32_t* columns,
                                 const std::size_t* offsets, std::size_t block_rows, std::size_t block_cols,
                                 std::size_t rows, float* y) noexcept {
    ReferenceKernels::multiply_block_csr(x, cols, values, columns, offsets, block_rows, block_cols, rows, y);
  }
  template <Nvfp4Dialect D, Element T>
  static bool encode_nvfp4(const T* x, std::size_t n, float tensor_scale, std::uint8_t* codes, std::uint8_t* scales,
                           std::size_t following = 0) noexcept {
    return ReferenceKernels::encode_nvfp4<D>(x, n, tensor_scale, codes, scales, following);
  }
  static void fit_lines(const float* x, const float* weights, std::size_t count, std::size_t n,
                        const LineTrials& trials, float* scales, float* minimums) noexcept {
    ReferenceKernels::fit_lines(x, weights, count, n, trials, scales, minimums);
  }
  static void encode_lines(const float* x, std::size_t count, std::size_t n, const float* scales, const float* minimums,
                           float lowest, float highest, std::uint8_t* codes) noexcept {
    ReferenceKernels::encode_lines(x, count, n, scales, minimums, lowest, highest, codes);
  }
  template <class Real>
  static void butterflies(Real* x, std::size_t length) noexcept {
    ReferenceKernels::butterflies(x, length);
  }
  template <class Real>
  static void multiply_signs(const Real* x, const float* signs, std::size_t a_step, std::size_t b_step,
                             std::size_t order, std::size_t length, Real* sums) noexcept {
    ReferenceKernels::multiply_signs(x, signs, a_step, b_step, order, length, sums);
  }

  static void accumulate_products(const float* x, std::size_t m, std::size_t x_stride, const float* w, std::size_t n,
                                  std::size_t w_stride, std::size_t k, float* y, std::size_t y_stride) noexcept {
    if constexpr (detail::has_fused_multiply_add<Arch>) {
      // As many sums as the registers hold: 32 of AVX-512 and NEON, 16 of AVX2.
      constexpr std::size_t tile_m = lanes == 16 ? 6 : 2, tile_n = lanes == 16 ? 4 : 3;
      std::size_t j = 0;
      for (; n - j >= tile_n; j += tile_n)
        multiply<tile_m, tile_n>(x, m, x_stride, w + j * w_stride, w_stride, k, y + j, y_stride);
      for (; j < n; ++j) multiply<tile_m, 1>(x, m, x_stride, w + j * w_stride, w_stride, k, y + j, y_stride);
    } else {
      ReferenceKernels::accumulate_products(x, m, x_stride, w, n, w_stride, k, y, y_stride);
    }
  }

  template <Format F>
  static void accumulate_coded_products(const float* x, const std::uint8_t* codes, std::size_t row_bytes,
                                        std::size_t rows, std::size_t n, std::size_t group, std::size_t offset,
                                        const float* scales, std::size_t scale_stride, const std::uint8_t* zero_points,
                                        std::size_t zero_point_stride, float* y) noexcept {
    alignas(64) std::array<float, product_columns> values;
    for (std::size_t j = 0; j < rows; ++j) {
      decode<F>(codes + j * row_bytes, n, group, offset, scales + j * scale_stride,
                UnsignedFormat<F> ? zero_points + j * zero_point_stride : nullptr, values.data());
      accumulate_products(x, 1, n, values.data(), 1, n, n, y + j, 1);
    }
  }

 private:
  using Floats = detail::FloatBatch<Arch>;
  using Block = detail::XsimdBlock<Arch>;
  static constexpr std::size_t lanes = Block::lanes;

  template <class T>
  static Range range_of(const T* x, std::size_t n) noexcept {
    const Floats zero(0.0f), most(F32::max);
    Floats lowest = zero, highest = zero;
    auto finite = zero <= most;
    for (std::size_t i = 0; i < n; i += detail::xsimd_block) {
      // Zeros past the end are no matter: zero belongs to every range.
      Block block;
      block.load(x + i, std::min(n - i, detail::xsimd_block));
      for (std::size_t j = 0; j < detail::xsimd_block; j += lanes) {
        const Floats v = Floats::load_aligned(block.values.data() + j);
        lowest = xsimd::min(lowest, v);
        highest = xsimd::max(highest, v);
        finite = finite && xsimd::abs(v) <= most;
      }
    }
    Range range;
    if (!xsimd::all(finite)) {
      for (std::size_t i = 0; i < n; ++i) range.include(static_cast<float>(x[i]));
      return range;
    }
    alignas(64) std::array<float, lanes> low, high;
    lowest.store_aligned(low.data());
    highest.store_aligned(high.data());
    for (std::size_t half = lanes / 2; half > 0; half /= 2)
      for (std::size_t j = 0; j < half; ++j) {
        low[j] = std::min(low[j], low[j + half]);
        high[j] = std::max(high[j], high[j + half]);
      }
    // Minima and maxima may keep a -0; the sum with +0 does not.
    range.lowest = low[0] + 0.0f;
    range.highest = high[0] + 0.0f;
    return range;
  }

  /// Calls f(begin, count, for_each_part) for each block of a row; for_each_part(h) calls h(g, from, to) for each group
  /// g that has the elements [from, to) of the block, in ascending order. The row starts at `offset` within group 0.
  template <class Function>
  static void for_each_block(std::size_t n, std::size_t group, std::size_t offset, Function&& f) noexcept {
    std::size_t g = 0, remaining = group - offset;
    for (std::size_t begin = 0; begin < n; begin += detail::xsimd_block) {
      const std::size_t count = std::min(n - begin, detail::xsimd_block);
      f(begin, count, [&](auto&& h) {
        for (std::size_t from = 0; from < count;) {
          const std::size_t to = std::min(count, from + std::min(remaining, count));
          h(g, from, to);
          remaining -= to - from;
          from = to;
          if (remaining == 0) {
            remaining = group;
            ++g;
          }
        }
      });
    }
  }

  /// Rows of x in tiles of M, the last ones singly.
  template <std::size_t M, std::size_t N>
  static void multiply(const float* x, std::size_t m, std::size_t x_stride, const float* w, std::size_t w_stride,
                       std::size_t k, float* y, std::size_t y_stride) noexcept {
    std::size_t i = 0;
    for (; m - i >= M; i += M)
      detail::accumulate_tile<Arch, M, N>(x + i * x_stride, x_stride, w, w_stride, k, y + i * y_stride, y_stride);
    for (; i < m; ++i)
      detail::accumulate_tile<Arch, 1, N>(x + i * x_stride, x_stride, w, w_stride, k, y + i * y_stride, y_stride);
  }
};

using XsimdKernels = BasicXsimdKernels<xsimd::default_arch>;

}  // namespace pare
PARE_XSIMD_END

#else

namespace pare {

/// xsimd has no architecture here that gives the bytes of the reference.
using XsimdKernels = ReferenceKernels;

}  // namespace pare

#endif
