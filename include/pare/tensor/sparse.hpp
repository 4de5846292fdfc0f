#pragma once

#include <concepts>
#include <span>

#include "pare/tensor/bitmask_matrix.hpp"
#include "pare/tensor/bitmask_tensor.hpp"
#include "pare/tensor/block_csr_matrix.hpp"
#include "pare/tensor/block_csr_tensor.hpp"
#include "pare/tensor/csr_matrix.hpp"
#include "pare/tensor/csr_tensor.hpp"

namespace pare {

namespace detail {
template <class W>
inline constexpr bool is_sparse = false;
template <>
inline constexpr bool is_sparse<CsrMatrix> = true;
template <>
inline constexpr bool is_sparse<BitmaskMatrix> = true;
template <>
inline constexpr bool is_sparse<BlockCsrMatrix> = true;
template <SchemeType S>
inline constexpr bool is_sparse<CsrTensor<S>> = true;
template <SchemeType S>
inline constexpr bool is_sparse<BitmaskTensor<S>> = true;
template <SchemeType S>
inline constexpr bool is_sparse<BlockCsrTensor<S>> = true;
}  // namespace detail

/// Weights of which only some are held. Models: CsrMatrix, BitmaskMatrix and BlockCsrMatrix of floats, CsrTensor,
/// BitmaskTensor and BlockCsrTensor of a scheme's codes.
template <class W>
concept SparseMatrix = detail::is_sparse<W>;

/// y = x * W^T with weights of which only some are held: x is [m, in], the weights [out, in], y [m, out].
///
/// What is not held takes no part, so that a NaN of x there leaves y alone; blocks are held whole. Every backend,
/// target and executor gives the same bits: the order of summation of floats is that of ReferenceKernels::multiply_csr,
/// multiply_bitmask and multiply_block_csr, that of codes what `multiply` of their type says. The bits of a
/// BitmaskTensor's products are those of the packed tensor's where its pruned codes mean 0. Codes are decoded as they
/// are multiplied, once for all rows of x. Allocates nothing. Rows of x and y must have adjacent columns. Errors:
/// shapes that do not fit, strided columns, null pointers, overlapping memory.
template <SparseMatrix W, KernelBackend Kernels = HighwayKernels>
Result<void> matmul(const W& weights, MatrixView<const float> x, MatrixView<float> y, const Options& options = {}) {
  return detail::multiply_sparse<Kernels>(weights, x, y, options);
}

/// As above; x and y are MatrixViews or types with Eigen's accessors.
template <SparseMatrix W, KernelBackend Kernels = HighwayKernels, class X, class Y>
Result<void> matmul(const W& weights, const X& x, Y&& y, const Options& options = {}) {
  auto input = detail::to_view(x, Shape{});
  auto output = detail::to_view(y, Shape{});
  if (!input) return std::move(input).error();
  if (!output) return std::move(output).error();
  return matmul<W, Kernels>(weights, MatrixView<const float>(*input), *output, options);
}

/// y = W * x for one vector: x has `in` values, y `out`.
template <SparseMatrix W, KernelBackend Kernels = HighwayKernels>
Result<void> matvec(const W& weights, std::span<const float> x, std::span<float> y, const Options& options = {}) {
  return matmul<W, Kernels>(weights, MatrixView<const float>(x.data(), 1, x.size()),
                            MatrixView<float>(y.data(), 1, y.size()), options);
}

}  // namespace pare
