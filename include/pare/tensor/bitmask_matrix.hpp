#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

#include "pare/tensor/sparse_storage.hpp"

namespace pare {

/// A matrix as a mask and the kept values, row after row: 4 bytes a kept value and a bit for every element.
class BitmaskMatrix {
 public:
  /// What `mask` keeps of `weights`, zeros among it too. Errors: as of CsrMatrix::create.
  static Result<BitmaskMatrix> create(MatrixView<const float> weights, MaskView mask, const Options& options = {}) {
    if (Result<void> ok = detail::check_masked(weights, mask); !ok) return std::move(ok).error();
    auto offsets = detail::kept_offsets(mask, options.memory);
    if (!offsets) return std::move(offsets).error();
    auto values = Array<float>::create((*offsets)[mask.rows], options.memory);
    if (!values) return std::move(values).error();
    auto kept = Mask::create(mask.shape(), options.memory);
    if (!kept) return std::move(kept).error();
    if (!mask.empty())
      options.executor(mask.rows, [&](std::size_t r) {
        std::size_t k = (*offsets)[r];
        for (std::size_t c = 0; c < mask.cols; ++c) {
          const bool keep = mask.test(r, c);
          kept->set(r, c, keep);
          if (keep) (*values)[k++] = weights(r, c);
        }
      });
    return BitmaskMatrix(*std::move(kept), *std::move(offsets), *std::move(values));
  }

  [[nodiscard]] Shape shape() const noexcept { return mask_.shape(); }
  [[nodiscard]] MaskView mask() const noexcept { return mask_.view(); }
  [[nodiscard]] std::span<const float> values() const noexcept { return values_.values(); }
  [[nodiscard]] std::span<const float> held() const noexcept { return values(); }
  [[nodiscard]] std::size_t bytes() const noexcept {
    return values_.size() * sizeof(float) + offsets_.size() * sizeof(std::size_t) + shape().rows * mask().row_bytes();
  }

  /// Writes every element, +0 for those not kept. Errors: a shape that differs, a null pointer, overlapping elements.
  Result<void> to_dense(MatrixView<float> out) const {
    if (Result<void> ok = detail::clear_dense(shape(), out); !ok) return ok;
    std::size_t k = 0;
    for (std::size_t r = 0; r < out.rows; ++r)
      for (std::size_t c = 0; c < out.cols; ++c)
        if (mask_.test(r, c)) out(r, c) = values_[k++];
    return {};
  }

  /// Rows [begin, begin + rows) times the rows of x, as ReferenceKernels::multiply_bitmask says.
  template <KernelBackend Kernels>
  void multiply(MatrixView<const float> x, std::size_t begin, std::size_t rows, MatrixView<float> y) const noexcept {
    for (std::size_t i = 0; i < x.rows; ++i)
      Kernels::multiply_bitmask(x.row(i), mask().data + begin * mask().row_bytes(), mask().row_bytes(), values_.data(),
                                offsets_.data() + begin, rows, y.row(i) + begin);
  }
  [[nodiscard]] static constexpr std::size_t row_unit() noexcept { return 1; }

 private:
  BitmaskMatrix(Mask mask, Array<std::size_t> offsets, Array<float> values)
      : mask_(std::move(mask)), offsets_(std::move(offsets)), values_(std::move(values)) {}

  Mask mask_;
  Array<std::size_t> offsets_;
  Array<float> values_;
};

}  // namespace pare
