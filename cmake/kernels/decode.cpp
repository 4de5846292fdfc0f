#include <vector>

#include "pare/kernels/compiled.hpp"
#include "pare/kernels/highway.hpp"

namespace pare {

template <ScaleFormat S>
void CompiledKernels::decode_scales(const std::uint8_t* stored, std::size_t n, float* scales) noexcept {
  HighwayKernels::decode_scales<S>(stored, n, scales);
}

template <class F, class T>
void CompiledKernels::decode_codes(const std::uint8_t* codes, std::size_t n, std::size_t group, std::size_t offset,
                                   const float* scales, const std::uint8_t* zero_points, T* out) noexcept {
  HighwayKernels::decode<F>(codes, n, group, offset, scales, zero_points, out);
}

template <int Bits>
void CompiledKernels::pack(const std::uint8_t* codes, std::size_t n, std::uint8_t* packed) noexcept {
  HighwayKernels::pack<Bits>(codes, n, packed);
}

template <int Bits>
void CompiledKernels::unpack(const std::uint8_t* packed, std::size_t n, std::uint8_t* codes) noexcept {
  HighwayKernels::unpack<Bits>(packed, n, codes);
}

void CompiledKernels::copy_past_caches(const std::uint8_t* from, std::size_t n, std::uint8_t* to) noexcept {
  HighwayKernels::copy_past_caches(from, n, to);
}

void CompiledKernels::flush_copies() noexcept { HighwayKernels::flush_copies(); }

void CompiledKernels::accumulate_products(const float* x, std::size_t m, std::size_t x_stride, const float* w,
                                          std::size_t n, std::size_t w_stride, std::size_t k, float* y,
                                          std::size_t y_stride) noexcept {
  HighwayKernels::accumulate_products(x, m, x_stride, w, n, w_stride, k, y, y_stride);
}

template <class F>
void CompiledKernels::multiply_codes(const float* x, const std::uint8_t* codes, std::size_t row_bytes, std::size_t rows,
                                     std::size_t n, std::size_t group, std::size_t offset, const float* scales,
                                     std::size_t scale_stride, const std::uint8_t* zero_points,
                                     std::size_t zero_point_stride, float* y) noexcept {
  HighwayKernels::accumulate_coded_products<F>(x, codes, row_bytes, rows, n, group, offset, scales, scale_stride,
                                               zero_points, zero_point_stride, y);
}

void CompiledKernels::quantize_activations(const float* x, std::size_t rows, std::size_t x_stride, std::size_t cols,
                                           std::size_t group, std::int32_t offset,
                                           const QuantizedActivations& out) noexcept {
  HighwayKernels::quantize_activations(x, rows, x_stride, cols, group, offset, out);
}

template <class Codes>
void CompiledKernels::multiply_prepared(const PreparedWeights& weights, std::size_t outputs,
                                        const QuantizedActivations& x, float* y, std::size_t y_stride) noexcept {
  HighwayKernels::multiply_prepared<Codes>(weights, outputs, x, y, y_stride);
}

void CompiledKernels::multiply_csr(const float* x, const float* values, const std::uint32_t* columns,
                                   const std::size_t* offsets, std::size_t rows, float* y) noexcept {
  HighwayKernels::multiply_csr(x, values, columns, offsets, rows, y);
}

void CompiledKernels::multiply_bitmask(const float* x, const std::uint8_t* bits, std::size_t row_bytes,
                                       const float* values, const std::size_t* offsets, std::size_t rows,
                                       float* y) noexcept {
  HighwayKernels::multiply_bitmask(x, bits, row_bytes, values, offsets, rows, y);
}

void CompiledKernels::multiply_block_csr(const float* x, std::size_t cols, const float* values,
                                         const std::uint32_t* columns, const std::size_t* offsets,
                                         std::size_t block_rows, std::size_t block_cols, std::size_t rows,
                                         float* y) noexcept {
  HighwayKernels::multiply_block_csr(x, cols, values, columns, offsets, block_rows, block_cols, rows, y);
}

void CompiledKernels::fit_lines(const float* x, const float* weights, std::size_t count, std::size_t n,
                                const LineTrials& trials, float* scales, float* minimums) noexcept {
  HighwayKernels::fit_lines(x, weights, count, n, trials, scales, minimums);
}

void CompiledKernels::encode_lines(const float* x, std::size_t count, std::size_t n, const float* scales,
                                   const float* minimums, float lowest, float highest, std::uint8_t* codes) noexcept {
  HighwayKernels::encode_lines(x, count, n, scales, minimums, lowest, highest, codes);
}

template <class Real>
void CompiledKernels::butterflies(Real* x, std::size_t length) noexcept {
  HighwayKernels::butterflies(x, length);
}

template <class Real>
void CompiledKernels::multiply_signs(const Real* x, const float* signs, std::size_t a_step, std::size_t b_step,
                                     std::size_t order, std::size_t length, Real* sums) noexcept {
  HighwayKernels::multiply_signs(x, signs, a_step, b_step, order, length, sums);
}

template void CompiledKernels::butterflies(float*, std::size_t) noexcept;
template void CompiledKernels::butterflies(double*, std::size_t) noexcept;
template void CompiledKernels::multiply_signs(const float*, const float*, std::size_t, std::size_t, std::size_t,
                                              std::size_t, float*) noexcept;
template void CompiledKernels::multiply_signs(const double*, const float*, std::size_t, std::size_t, std::size_t,
                                              std::size_t, double*) noexcept;

namespace {

using Function = void (*)();

template <class... F>
void add_formats(std::vector<Function>& kept, FormatList<F...>) {
  (kept.push_back(reinterpret_cast<Function>(&CompiledKernels::decode_codes<F, float>)), ...);
  (kept.push_back(reinterpret_cast<Function>(&CompiledKernels::decode_codes<F, Half>)), ...);
  (kept.push_back(reinterpret_cast<Function>(&CompiledKernels::decode_codes<F, BFloat16>)), ...);
  (kept.push_back(reinterpret_cast<Function>(&CompiledKernels::multiply_codes<F>)), ...);
  (kept.push_back(reinterpret_cast<Function>(&CompiledKernels::pack<F::bits>)), ...);
  (kept.push_back(reinterpret_cast<Function>(&CompiledKernels::unpack<F::bits>)), ...);
}

template <class Codes>
void add_products(std::vector<Function>& kept) {
  kept.push_back(reinterpret_cast<Function>(&CompiledKernels::multiply_prepared<Codes>));
  kept.push_back(reinterpret_cast<Function>(&CompiledKernels::multiply_prepared<Sparse24Codes<Codes>>));
}

template <class... S>
void add_scales(std::vector<Function>& kept, FormatList<S...>) {
  (kept.push_back(reinterpret_cast<Function>(&CompiledKernels::decode_scales<S>)), ...);
}

}  // namespace

/// Never called: naming their addresses here instantiates the templates for the whole list.
std::vector<Function> decode_kernels() {
  std::vector<Function> kept;
  add_formats(kept, CodeFormats{});
  add_scales(kept, ScaleFormats{});
  add_products<PreparedNibbles>(kept);
  add_products<PreparedBytes>(kept);
  add_products<PreparedE2M1>(kept);
  kept.push_back(reinterpret_cast<Function>(&CompiledKernels::multiply_prepared<Group16Codes<PreparedNibbles>>));
  kept.push_back(reinterpret_cast<Function>(&CompiledKernels::multiply_prepared<Group16Codes<PreparedBytes>>));
  kept.push_back(reinterpret_cast<Function>(&CompiledKernels::multiply_prepared<Group16Codes<PreparedE2M1>>));
  return kept;
}

}  // namespace pare
