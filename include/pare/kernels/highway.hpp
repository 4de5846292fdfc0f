#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "pare/kernels/highway/targets.hpp"
#include "pare/kernels/reference.hpp"

#define PARE_TARGET_INCLUDE "pare/kernels/highway/all-inl.hpp"
#include "pare/kernels/highway/foreach.hpp"

namespace pare {
inline namespace PARE_ABI {

namespace dispatch {

template <class Rule, class S>
struct Scaling {
  using symmetry_type = Rule;
  using scale_type = S;
};
template <class Rule, class S, class T>
struct Grouped {
  using symmetry_type = Rule;
  using scale_type = S;
  using element_type = T;
};
template <class F, class T>
struct Codec {
  using format_type = F;
  using element_type = T;
};
template <Nvfp4Dialect D, class T>
struct Nvfp4Codec {
  static constexpr Nvfp4Dialect dialect = D;
  using element_type = T;
};

/// The targets' entries of each kernel. Members of a class template, so that inline functions of many translation units
/// share them.
template <class T>
struct RangeTable {
  using Function = void (*)(const T*, std::size_t, std::size_t, Range*, std::size_t);
  static constexpr Function entry[] = PARE_TARGET_TABLE(find_range<T>);
};
template <class S>
struct ParameterTable {
  using Function = void (*)(const Range*, std::size_t, float, BlockParameters*);
  static constexpr Function entry[] = PARE_TARGET_TABLE(derive_parameters<S>);
};
template <class G>
struct GroupTable {
  using Function = void (*)(const typename G::element_type*, std::size_t, std::size_t, float, BlockParameters*,
                            std::uint8_t*, std::uint8_t*);
  static constexpr Function entry[] = PARE_TARGET_TABLE(find_parameters<G>);
};
template <class S>
struct ScaleTable {
  using Function = void (*)(const std::uint8_t*, std::size_t, float*);
  static constexpr Function entry[] = PARE_TARGET_TABLE(decode_scales<S>);
};
template <class C>
struct EncodeTable {
  using Function = void (*)(const typename C::element_type*, std::size_t, std::size_t, const BlockParameters*,
                            std::uint8_t*, std::size_t);
  static constexpr Function entry[] = PARE_TARGET_TABLE(encode<C>);
};
template <class C>
struct DecodeTable {
  using Function = void (*)(const std::uint8_t*, std::size_t, std::size_t, std::size_t, const float*,
                            const std::uint8_t*, typename C::element_type*);
  static constexpr Function entry[] = PARE_TARGET_TABLE(decode<C>);
};
template <class C>
struct Nvfp4Table {
  using Function = bool (*)(const typename C::element_type*, std::size_t, float, std::uint8_t*, std::uint8_t*,
                            std::size_t);
  static constexpr Function entry[] = PARE_TARGET_TABLE(encode_nvfp4<C>);
};
template <class W>
struct PackTable {
  using Function = void (*)(const std::uint8_t*, std::size_t, std::uint8_t*);
  static constexpr Function pack_entry[] = PARE_TARGET_TABLE(pack<W>);
  static constexpr Function unpack_entry[] = PARE_TARGET_TABLE(unpack<W>);
};
template <class Unused>
struct CopyTable {
  using Function = void (*)(const std::uint8_t*, std::size_t, std::uint8_t*);
  static constexpr Function entry[] = PARE_TARGET_TABLE(copy_past_caches<Unused>);
};
template <class Unused>
struct ProductTable {
  using Function = void (*)(const float*, std::size_t, std::size_t, const float*, std::size_t, std::size_t, std::size_t,
                            float*, std::size_t);
  static constexpr Function entry[] = PARE_TARGET_TABLE(accumulate_products<Unused>);
};
template <class C>
struct CodedProductTable {
  using Function = void (*)(const float*, const std::uint8_t*, std::size_t, std::size_t, std::size_t, std::size_t,
                            std::size_t, const float*, std::size_t, const std::uint8_t*, std::size_t, float*);
  static constexpr Function entry[] = PARE_TARGET_TABLE(accumulate_coded_products<C>);
};
template <class Unused>
struct ActivationTable {
  using Function = void (*)(const float*, std::size_t, std::size_t, std::size_t, std::size_t, std::int32_t,
                            const QuantizedActivations&);
  static constexpr Function entry[] = PARE_TARGET_TABLE(quantize_activations<Unused>);
};
template <class Codes>
struct PreparedTable {
  using Function = void (*)(const PreparedWeights&, std::size_t, const QuantizedActivations&, float*, std::size_t);
  static constexpr Function entry[] = PARE_TARGET_TABLE(multiply_prepared<Codes>);
};

template <class Unused>
struct SparseTable {
  using Csr = void (*)(const float*, const float*, const std::uint32_t*, const std::size_t*, std::size_t, float*);
  using Bitmask = void (*)(const float*, const std::uint8_t*, std::size_t, const float*, const std::size_t*,
                           std::size_t, float*);
  using BlockCsr = void (*)(const float*, std::size_t, const float*, const std::uint32_t*, const std::size_t*,
                            std::size_t, std::size_t, std::size_t, float*);
  static constexpr Csr csr[] = PARE_TARGET_TABLE(multiply_csr<Unused>);
  static constexpr Bitmask bitmask[] = PARE_TARGET_TABLE(multiply_bitmask<Unused>);
  static constexpr BlockCsr block_csr[] = PARE_TARGET_TABLE(multiply_block_csr<Unused>);
};
template <class Unused>
struct LineTable {
  using Fit = void (*)(const float*, const float*, std::size_t, std::size_t, const LineTrials&, float*, float*);
  using Encode = void (*)(const float*, std::size_t, std::size_t, const float*, const float*, float, float,
                          std::uint8_t*);
  static constexpr Fit fit[] = PARE_TARGET_TABLE(fit_lines<Unused>);
  static constexpr Encode encode[] = PARE_TARGET_TABLE(encode_lines<Unused>);
};
template <class Real>
struct HadamardTable {
  using Butterflies = void (*)(Real*, std::size_t);
  using Signs = void (*)(const Real*, const float*, std::size_t, std::size_t, std::size_t, std::size_t, Real*);
  static constexpr Butterflies butterfly[] = PARE_TARGET_TABLE(butterflies<Real>);
  static constexpr Signs signs[] = PARE_TARGET_TABLE(multiply_signs<Real>);
};

}  // namespace dispatch

/// The kernels of ReferenceKernels in Highway, for the best target of this processor, chosen at run time. The same
/// bytes.
struct HighwayKernels {
  template <Element T>
  static void find_range(const T* x, std::size_t n, std::size_t group, Range* ranges,
                         std::size_t following = 0) noexcept {
    dispatch::RangeTable<T>::entry[target_index()](x, n, group, ranges, following);
  }
  template <Symmetry Rule, ScaleFormat S>
  static void derive_parameters(const Range* ranges, std::size_t n, float format_max,
                                BlockParameters* parameters) noexcept {
    dispatch::ParameterTable<dispatch::Scaling<Rule, S>>::entry[target_index()](ranges, n, format_max, parameters);
  }
  template <Symmetry Rule, ScaleFormat S, Element T>
  static void find_parameters(const T* x, std::size_t n, std::size_t group, float format_max,
                              BlockParameters* parameters, std::uint8_t* scales, std::uint8_t* zero_points) noexcept {
    dispatch::GroupTable<dispatch::Grouped<Rule, S, T>>::entry[target_index()](x, n, group, format_max, parameters,
                                                                               scales, zero_points);
  }
  template <ScaleFormat S>
  static void decode_scales(const std::uint8_t* stored, std::size_t n, float* scales) noexcept {
    dispatch::ScaleTable<S>::entry[target_index()](stored, n, scales);
  }
  template <Format F, Element T>
  static void encode(const T* x, std::size_t n, std::size_t group, const BlockParameters* parameters,
                     std::uint8_t* codes, std::size_t following = 0) noexcept {
    dispatch::EncodeTable<dispatch::Codec<F, T>>::entry[target_index()](x, n, group, parameters, codes, following);
  }
  template <Format F, Element T>
  static void decode(const std::uint8_t* codes, std::size_t n, std::size_t group, std::size_t offset,
                     const float* scales, const std::uint8_t* zero_points, T* out) noexcept {
    dispatch::DecodeTable<dispatch::Codec<F, T>>::entry[target_index()](codes, n, group, offset, scales, zero_points,
                                                                        out);
  }
  template <Nvfp4Dialect D, Element T>
  static bool encode_nvfp4(const T* x, std::size_t n, float tensor_scale, std::uint8_t* codes, std::uint8_t* scales,
                           std::size_t following = 0) noexcept {
    return dispatch::Nvfp4Table<dispatch::Nvfp4Codec<D, T>>::entry[target_index()](x, n, tensor_scale, codes, scales,
                                                                                   following);
  }
  template <int Bits>
  static void pack(const std::uint8_t* codes, std::size_t n, std::uint8_t* packed) noexcept {
    dispatch::PackTable<std::integral_constant<int, Bits>>::pack_entry[target_index()](codes, n, packed);
  }
  template <int Bits>
  static void unpack(const std::uint8_t* packed, std::size_t n, std::uint8_t* codes) noexcept {
    dispatch::PackTable<std::integral_constant<int, Bits>>::unpack_entry[target_index()](packed, n, codes);
  }
  static void copy_past_caches(const std::uint8_t* from, std::size_t n, std::uint8_t* to) noexcept {
    dispatch::CopyTable<void>::entry[target_index()](from, n, to);
  }
  static void flush_copies() noexcept { hwy::FlushStream(); }
  static void accumulate_products(const float* x, std::size_t m, std::size_t x_stride, const float* w, std::size_t n,
                                  std::size_t w_stride, std::size_t k, float* y, std::size_t y_stride) noexcept {
    dispatch::ProductTable<void>::entry[target_index()](x, m, x_stride, w, n, w_stride, k, y, y_stride);
  }
  template <Format F>
  static void accumulate_coded_products(const float* x, const std::uint8_t* codes, std::size_t row_bytes,
                                        std::size_t rows, std::size_t n, std::size_t group, std::size_t offset,
                                        const float* scales, std::size_t scale_stride, const std::uint8_t* zero_points,
                                        std::size_t zero_point_stride, float* y) noexcept {
    dispatch::CodedProductTable<dispatch::Codec<F, float>>::entry[target_index()](
        x, codes, row_bytes, rows, n, group, offset, scales, scale_stride, zero_points, zero_point_stride, y);
  }
  static void quantize_activations(const float* x, std::size_t rows, std::size_t x_stride, std::size_t cols,
                                   std::size_t group, std::int32_t offset, const QuantizedActivations& out) noexcept {
    dispatch::ActivationTable<void>::entry[target_index()](x, rows, x_stride, cols, group, offset, out);
  }
  template <class Codes>
  static void multiply_prepared(const PreparedWeights& weights, std::size_t outputs, const QuantizedActivations& x,
                                float* y, std::size_t y_stride) noexcept {
    dispatch::PreparedTable<Codes>::entry[target_index()](weights, outputs, x, y, y_stride);
  }
  static void multiply_csr(const float* x, const float* values, const std::uint32_t* columns,
                           const std::size_t* offsets, std::size_t rows, float* y) noexcept {
    dispatch::SparseTable<void>::csr[target_index()](x, values, columns, offsets, rows, y);
  }
  static void multiply_bitmask(const float* x, const std::uint8_t* bits, std::size_t row_bytes, const float* values,
                               const std::size_t* offsets, std::size_t rows, float* y) noexcept {
    dispatch::SparseTable<void>::bitmask[target_index()](x, bits, row_bytes, values, offsets, rows, y);
  }
  static void multiply_block_csr(const float* x, std::size_t cols, const float* values, const std::uint32_t* columns,
                                 const std::size_t* offsets, std::size_t block_rows, std::size_t block_cols,
                                 std::size_t rows, float* y) noexcept {
    dispatch::SparseTable<void>::block_csr[target_index()](x, cols, values, columns, offsets, block_rows, block_cols,
                                                           rows, y);
  }
  static void fit_lines(const float* x, const float* weights, std::size_t count, std::size_t n,
                        const LineTrials& trials, float* scales, float* minimums) noexcept {
    dispatch::LineTable<void>::fit[target_index()](x, weights, count, n, trials, scales, minimums);
  }
  static void encode_lines(const float* x, std::size_t count, std::size_t n, const float* scales, const float* minimums,
                           float lowest, float highest, std::uint8_t* codes) noexcept {
    dispatch::LineTable<void>::encode[target_index()](x, count, n, scales, minimums, lowest, highest, codes);
  }
  template <class Real>
  static void butterflies(Real* x, std::size_t length) noexcept {
    dispatch::HadamardTable<Real>::butterfly[target_index()](x, length);
  }
  template <class Real>
  static void multiply_signs(const Real* x, const float* signs, std::size_t a_step, std::size_t b_step,
                             std::size_t order, std::size_t length, Real* sums) noexcept {
    dispatch::HadamardTable<Real>::signs[target_index()](x, signs, a_step, b_step, order, length, sums);
  }
};

}  // namespace PARE_ABI
}  // namespace pare
