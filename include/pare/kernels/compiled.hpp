#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "pare/kernels/reference.hpp"

namespace pare {

/// Formats that a function can be called over.
template <Format... F>
struct FormatList {
  template <class G>
  static constexpr bool contains = (std::is_same_v<F, G> || ...);
};

/// Every format that codes of a Scheme can have, but for tables of the user's own.
using CodeFormats = FormatList<Int<2>, Int<3>, Int<4>, Int<5>, Int<6>, Int<7>, Int<8>, UInt<2>, UInt<3>, UInt<4>,
                               UInt<5>, UInt<6>, UInt<7>, UInt<8>, NF4, E2M1, E4M3, E5M2>;

/// Every format that scales of a Scheme can have.
using ScaleFormats = FormatList<F32, F16, BF16, E4M3, E5M2, E8M0>;

/// The kernels of HighwayKernels, compiled once in the library pare::kernels; including this costs little. The same
/// bytes.
struct CompiledKernels {
  template <Element T>
  static void find_range(const T* x, std::size_t n, std::size_t group, Range* ranges,
                         std::size_t following = 0) noexcept;

  template <Symmetry Rule, ScaleFormat S>
  static void derive_parameters(const Range* ranges, std::size_t n, float format_max,
                                BlockParameters* parameters) noexcept;

  template <Symmetry Rule, ScaleFormat S, Element T>
  static void find_parameters(const T* x, std::size_t n, std::size_t group, float format_max,
                              BlockParameters* parameters, std::uint8_t* scales, std::uint8_t* zero_points) noexcept;

  template <ScaleFormat S>
  static void decode_scales(const std::uint8_t* stored, std::size_t n, float* scales) noexcept;

  template <Format F, Element T>
  static void encode(const T* x, std::size_t n, std::size_t group, const BlockParameters* parameters,
                     std::uint8_t* codes, std::size_t following = 0) noexcept {
    static_assert(CodeFormats::contains<F>,
                  "pare: pare::kernels holds pare's own formats only; link pare::pare instead");
    encode_codes<F, T>(x, n, group, parameters, codes, following);
  }
  template <Format F, Element T>
  static void decode(const std::uint8_t* codes, std::size_t n, std::size_t group, std::size_t offset,
                     const float* scales, const std::uint8_t* zero_points, T* out) noexcept {
    static_assert(CodeFormats::contains<F>,
                  "pare: pare::kernels holds pare's own formats only; link pare::pare instead");
    decode_codes<F, T>(codes, n, group, offset, scales, zero_points, out);
  }
  template <int Bits>
  static void pack(const std::uint8_t* codes, std::size_t n, std::uint8_t* packed) noexcept;
  template <int Bits>
  static void unpack(const std::uint8_t* packed, std::size_t n, std::uint8_t* codes) noexcept;
  static void copy_past_caches(const std::uint8_t* from, std::size_t n, std::uint8_t* to) noexcept;
  static void flush_copies() noexcept;
  static void accumulate_products(const float* x, std::size_t m, std::size_t x_stride, const float* w, std::size_t n,
                                  std::size_t w_stride, std::size_t k, float* y, std::size_t y_stride) noexcept;
  template <Format F>
  static void accumulate_coded_products(const float* x, const std::uint8_t* codes, std::size_t row_bytes,
                                        std::size_t rows, std::size_t n, std::size_t group, std::size_t offset,
                                        const float* scales, std::size_t scale_stride, const std::uint8_t* zero_points,
                                        std::size_t zero_point_stride, float* y) noexcept {
    static_assert(CodeFormats::contains<F>,
                  "pare: pare::kernels holds pare's own formats only; link pare::pare instead");
    multiply_codes<F>(x, codes, row_bytes, rows, n, group, offset, scales, scale_stride, zero_points, zero_point_stride,
                      y);
  }

  static void quantize_activations(const float* x, std::size_t rows, std::size_t x_stride, std::size_t cols,
                                   std::size_t group, std::int32_t offset, const QuantizedActivations& out) noexcept;
  template <class Codes>
  static void multiply_prepared(const PreparedWeights& weights, std::size_t outputs, const QuantizedActivations& x,
                                float* y, std::size_t y_stride) noexcept;
  static void multiply_csr(const float* x, const float* values, const std::uint32_t* columns,
                           const std::size_t* offsets, std::size_t rows, float* y) noexcept;
  static void multiply_bitmask(const float* x, const std::uint8_t* bits, std::size_t row_bytes, const float* values,
                               const std::size_t* offsets, std::size_t rows, float* y) noexcept;
  static void multiply_block_csr(const float* x, std::size_t cols, const float* values, const std::uint32_t* columns,
                                 const std::size_t* offsets, std::size_t block_rows, std::size_t block_cols,
                                 std::size_t rows, float* y) noexcept;
  template <Nvfp4Dialect D, Element T>
  static bool encode_nvfp4(const T* x, std::size_t n, float tensor_scale, std::uint8_t* codes, std::uint8_t* scales,
                           std::size_t following = 0) noexcept;
  static void fit_lines(const float* x, const float* weights, std::size_t count, std::size_t n,
                        const LineTrials& trials, float* scales, float* minimums) noexcept;
  static void encode_lines(const float* x, std::size_t count, std::size_t n, const float* scales, const float* minimums,
                           float lowest, float highest, std::uint8_t* codes) noexcept;
  template <class Real>
  static void butterflies(Real* x, std::size_t length) noexcept;
  template <class Real>
  static void multiply_signs(const Real* x, const float* signs, std::size_t a_step, std::size_t b_step,
                             std::size_t order, std::size_t length, Real* sums) noexcept;

  /// The functions that the library defines behind those above.
  template <class F, class T>
  static void encode_codes(const T* x, std::size_t n, std::size_t group, const BlockParameters* parameters,
                           std::uint8_t* codes, std::size_t following) noexcept;
  template <class F, class T>
  static void decode_codes(const std::uint8_t* codes, std::size_t n, std::size_t group, std::size_t offset,
                           const float* scales, const std::uint8_t* zero_points, T* out) noexcept;
  template <class F>
  static void multiply_codes(const float* x, const std::uint8_t* codes, std::size_t row_bytes, std::size_t rows,
                             std::size_t n, std::size_t group, std::size_t offset, const float* scales,
                             std::size_t scale_stride, const std::uint8_t* zero_points, std::size_t zero_point_stride,
                             float* y) noexcept;
};

}  // namespace pare
