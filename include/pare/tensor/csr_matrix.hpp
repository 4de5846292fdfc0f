#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "pare/tensor/sparse_storage.hpp"

namespace pare {

/// A matrix in compressed sparse rows: the kept values, row after row, with the column of each. 8 bytes a kept value.
class CsrMatrix {
 public:
  /// What `mask` keeps of `weights`, zeros among it too. Errors: shapes that differ, null pointers, 2^31 columns or
  /// more, out_of_memory.
  static Result<CsrMatrix> create(MatrixView<const float> weights, MaskView mask, const Options& options = {}) {
    if (Result<void> ok = detail::check_masked(weights, mask); !ok) return std::move(ok).error();
    auto offsets = detail::kept_offsets(mask, options.memory);
    if (!offsets) return std::move(offsets).error();
    const std::size_t kept = (*offsets)[mask.rows];
    auto values = Array<float>::create(kept, options.memory);
    if (!values) return std::move(values).error();
    auto columns = Array<std::uint32_t>::create(kept, options.memory);
    if (!columns) return std::move(columns).error();
    options.executor(mask.rows, [&](std::size_t r) {
      std::size_t k = (*offsets)[r];
      for (std::size_t c = 0; c < mask.cols; ++c)
        if (mask.test(r, c)) {
          (*values)[k] = weights(r, c);
          (*columns)[k++] = static_cast<std::uint32_t>(c);
        }
    });
    return CsrMatrix(mask.shape(), *std::move(offsets), *std::move(values), *std::move(columns));
  }

  [[nodiscard]] Shape shape() const noexcept { return shape_; }
  [[nodiscard]] std::span<const float> values() const noexcept { return values_.values(); }
  [[nodiscard]] std::span<const float> held() const noexcept { return values(); }
  [[nodiscard]] std::span<const std::uint32_t> columns() const noexcept { return columns_.values(); }
  /// Where the values of each row begin; one more than rows, the last one the count of all.
  [[nodiscard]] std::span<const std::size_t> offsets() const noexcept { return offsets_.values(); }
  [[nodiscard]] std::size_t bytes() const noexcept {
    return values_.size() * (sizeof(float) + sizeof(std::uint32_t)) + offsets_.size() * sizeof(std::size_t);
  }

  /// Writes every element, +0 for those not kept. Errors: a shape that differs, a null pointer, overlapping elements.
  Result<void> to_dense(MatrixView<float> out) const {
    if (Result<void> ok = detail::clear_dense(shape_, out); !ok) return ok;
    for (std::size_t r = 0; r < shape_.rows; ++r)
      for (std::size_t k = offsets_[r]; k < offsets_[r + 1]; ++k) out(r, columns_[k]) = values_[k];
    return {};
  }

  /// Rows [begin, begin + rows) times the rows of x, as ReferenceKernels::multiply_csr says.
  template <KernelBackend Kernels>
  void multiply(MatrixView<const float> x, std::size_t begin, std::size_t rows, MatrixView<float> y) const noexcept {
    for (std::size_t i = 0; i < x.rows; ++i)
      Kernels::multiply_csr(x.row(i), values_.data(), columns_.data(), offsets_.data() + begin, rows, y.row(i) + begin);
  }
  [[nodiscard]] static constexpr std::size_t row_unit() noexcept { return 1; }

 private:
  CsrMatrix(Shape shape, Array<std::size_t> offsets, Array<float> values, Array<std::uint32_t> columns)
      : shape_(shape), offsets_(std::move(offsets)), values_(std::move(values)), columns_(std::move(columns)) {}

  Shape shape_;
  Array<std::size_t> offsets_;
  Array<float> values_;
  Array<std::uint32_t> columns_;
};

}  // namespace pare
