#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "pare/tensor/matmul.hpp"
#include "pare/tensor/sparse.hpp"
#include "pare/tensor/sparse24.hpp"
#include "pare/tensor/storage_choice.hpp"

namespace pare {

/// What is known of the products that pruned weights are made for.
struct ProductPlan {
  std::size_t rows = 1;                ///< of activations in a product
  std::size_t bytes_in_turns = 0;      ///< all dense weights that are read in turns, a whole model's; 0: these alone
  bool eight_bit_activations = false;  ///< products with activations in eight bits, as of `prepare`
};

namespace detail {

/// Dense floats that own their memory, with what is pruned +0.
class DenseFloats {
 public:
  static Result<DenseFloats> create(MatrixView<const float> weights, MaskView mask, const Options& options) {
    if (Result<void> ok = check_masked(weights, mask); !ok) return std::move(ok).error();
    auto values = Matrix<float>::create(weights.shape(), options.memory);
    if (!values) return std::move(values).error();
    if (Result<void> ok = apply(mask, weights, values->view(), options); !ok) return std::move(ok).error();
    return DenseFloats(*std::move(values));
  }
  [[nodiscard]] Shape shape() const noexcept { return values_.shape(); }
  [[nodiscard]] std::span<const float> held() const noexcept { return values_.values(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return held().size() * sizeof(float); }
  template <KernelBackend Kernels>
  void multiply(MatrixView<const float> x, std::size_t begin, std::size_t rows, MatrixView<float> y) const noexcept {
    for (std::size_t i = 0; i < x.rows; ++i) std::fill_n(y.row(i) + begin, rows, 0.0f);
    if (x.cols != 0)
      Kernels::accumulate_products(x.data, x.rows, x.row_stride, values_.row(begin).data(), rows, x.cols, x.cols,
                                   y.data + begin, y.row_stride);
  }
  [[nodiscard]] static constexpr std::size_t row_unit() noexcept { return 1; }

 private:
  explicit DenseFloats(Matrix<float> values) : values_(std::move(values)) {}
  Matrix<float> values_;
};

/// The types that hold weights of floats, or of a scheme's codes, in each storage.
template <class V>
struct Storages;
template <>
struct Storages<float> {
  using held = std::variant<DenseFloats, BitmaskMatrix, CsrMatrix, BlockCsrMatrix>;
};
template <SchemeType S>
struct Storages<S> {
  static constexpr bool can_prepare = Preparation<S>::can_prepare;
  using held = std::conditional_t<can_prepare,
                                  std::variant<PackedTensor<S>, BitmaskTensor<S>, CsrTensor<S>, BlockCsrTensor<S>,
                                               PreparedTensor<S>, Sparse24Tensor<S>>,
                                  std::variant<PackedTensor<S>, BitmaskTensor<S>, CsrTensor<S>, BlockCsrTensor<S>>>;
};

template <class W>
std::size_t bytes_of(const W& weights) noexcept {
  if constexpr (requires { weights.bytes(); })
    return weights.bytes();
  else
    return weights.sizes().total();
}

}  // namespace detail

/// Pruned weights in the storage whose products should be the fastest; V is float or a scheme. Made by sparse_weights;
/// `matmul` and `matvec` take it, with the sums of the storage that was chosen.
template <class V>
class SparseWeights {
 public:
  using value_type = V;
  using held_type = typename detail::Storages<V>::held;

  template <class W>
  SparseWeights(Storage storage, W held) : storage_(storage), held_(std::move(held)) {}

  [[nodiscard]] Storage storage() const noexcept { return storage_; }
  [[nodiscard]] const held_type& held() const noexcept { return held_; }
  [[nodiscard]] Shape shape() const noexcept {
    return visit([](const auto& weights) { return weights.shape(); });
  }
  /// Of the weights in their storage.
  [[nodiscard]] std::size_t bytes() const noexcept {
    return visit([](const auto& weights) { return detail::bytes_of(weights); });
  }

  /// What `visitor` returns of the weights, by their type. Without std::visit, which may throw.
  template <class Visitor, std::size_t I = 0>
  auto visit(const Visitor& visitor) const -> decltype(visitor(*std::get_if<0>(&std::declval<const held_type&>()))) {
    if constexpr (I + 1 < std::variant_size_v<held_type>)
      if (held_.index() != I) return visit<Visitor, I + 1>(visitor);
    return visitor(*std::get_if<I>(&held_));
  }

 private:
  Storage storage_;
  held_type held_;
};

/// Float weights of which `mask` keeps some, in the storage that choose_storage names for `plan`; what is pruned counts
/// as +0. Errors: as of CsrMatrix::create.
inline Result<SparseWeights<float>> sparse_weights(MatrixView<const float> weights, MaskView mask,
                                                   const ProductPlan& plan = {}, const Options& options = {}) {
  if (Result<void> ok = detail::check_masked(weights, mask); !ok) return std::move(ok).error();
  const Storage storage =
      choose_storage({mask.shape(), 32, false, plan.rows, plan.bytes_in_turns, mask_structure(mask)});
  const auto hold = [&](auto held) -> Result<SparseWeights<float>> {
    if (!held) return std::move(held).error();
    return SparseWeights<float>(storage, *std::move(held));
  };
  switch (storage) {
    case Storage::bitmask:
      return hold(BitmaskMatrix::create(weights, mask, options));
    case Storage::csr:
      return hold(CsrMatrix::create(weights, mask, options));
    case Storage::blocks:
      return hold(BlockCsrMatrix::create(weights, mask, storage_block, options));
    default:
      return hold(detail::DenseFloats::create(weights, mask, options));
  }
}

/// Packed weights of which `mask` keeps some. `packed` decodes to 0 where the mask prunes, as what
/// quantize<S>(weights, mask) returns does: dense storage takes it as it is. Eight-bit activations are for the schemes
/// that `prepare` takes. Errors: as of BitmaskTensor::create; eight-bit activations with another scheme.
template <SchemeType S, KernelBackend Kernels = HighwayKernels>
Result<SparseWeights<S>> sparse_weights(PackedTensor<S> packed, MaskView mask, const ProductPlan& plan = {},
                                        const Options& options = {}) {
  if (Result<void> ok = detail::check_masked<S>(packed, mask); !ok) return std::move(ok).error();
  const Storage storage = choose_storage(
      {mask.shape(), S::bits, plan.eight_bit_activations, plan.rows, plan.bytes_in_turns, mask_structure(mask)});
  const auto hold = [&](auto held) -> Result<SparseWeights<S>> {
    if (!held) return std::move(held).error();
    return SparseWeights<S>(storage, *std::move(held));
  };
  if (plan.eight_bit_activations) {
    if constexpr (detail::Preparation<S>::can_prepare)
      return storage == Storage::sparse24 ? hold(prepare_sparse24<S, Kernels>(packed, mask, options))
                                          : hold(prepare<S, Kernels>(packed, options));
    return Error{ErrorCode::unsupported,
                 "pare: activations in eight bits need integers or e2m1 in groups of a multiple "
                 "of 32 columns, which " +
                     std::string(name<S>()) + " has not"};
  }
  switch (storage) {
    case Storage::bitmask:
      return hold(BitmaskTensor<S>::template create<Kernels>(packed, mask, options));
    case Storage::csr:
      return hold(CsrTensor<S>::template create<Kernels>(packed, mask, options));
    case Storage::blocks:
      return hold(BlockCsrTensor<S>::template create<Kernels>(packed, mask, storage_block, options));
    default:
      return SparseWeights<S>(storage, std::move(packed));
  }
}

namespace detail {
template <class W>
inline constexpr bool is_sparse_weights = false;
template <class V>
inline constexpr bool is_sparse_weights<SparseWeights<V>> = true;
}  // namespace detail

/// y = x * W^T with weights in whatever storage was chosen for them: x is [m, in], the weights [out, in], y [m, out].
/// Errors: those of that storage's product.
template <class W, KernelBackend Kernels = HighwayKernels>
  requires detail::is_sparse_weights<W>
Result<void> matmul(const W& weights, MatrixView<const float> x, MatrixView<float> y, const Options& options = {}) {
  return weights.visit([&](const auto& held) -> Result<void> {
    using Held = std::remove_cvref_t<decltype(held)>;
    if constexpr (std::is_same_v<Held, detail::DenseFloats> || SparseMatrix<Held>)
      return detail::multiply_sparse<Kernels>(held, x, y, options);
    else if constexpr (requires { held.view(); })
      return matmul<typename W::value_type, Kernels>(held.view(), x, y, options);
    else
      return matmul<typename W::value_type, Kernels>(held, x, y, options);
  });
}

/// y = W * x for one vector: x has `in` values, y `out`.
template <class W, KernelBackend Kernels = HighwayKernels>
  requires detail::is_sparse_weights<W>
Result<void> matvec(const W& weights, std::span<const float> x, std::span<float> y, const Options& options = {}) {
  return matmul<W, Kernels>(weights, MatrixView<const float>(x.data(), 1, x.size()),
                            MatrixView<float>(y.data(), 1, y.size()), options);
}

}  // namespace pare
