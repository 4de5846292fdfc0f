#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "pare/tensor/kept_codes.hpp"

namespace pare {

/// Packed weights in compressed sparse rows: the kept codes, row after row, with the column of each and all scales and
/// zero points. S::bits and 32 more for a kept weight.
template <SchemeType S>
class CsrTensor {
 public:
  using scheme_type = S;

  /// What `mask` keeps of `packed`. Errors: as of BitmaskTensor::create.
  template <KernelBackend Kernels = HighwayKernels>
  static Result<CsrTensor> create(PackedView<S> packed, MaskView mask, const Options& options = {}) {
    if (Result<void> ok = detail::check_masked(packed, mask); !ok) return std::move(ok).error();
    auto offsets = detail::kept_offsets(mask, options.memory);
    if (!offsets) return std::move(offsets).error();
    auto columns = Array<std::uint32_t>::create((*offsets)[mask.rows], options.memory);
    if (!columns) return std::move(columns).error();
    auto codes = detail::KeptCodes<S>::create(packed, mask.rows, columns->size(), options);
    if (!codes) return std::move(codes).error();
    if (!mask.empty())
      options.executor(mask.rows, [&](std::size_t r) {
        detail::RowCodes<S, Kernels> from(packed, r);
        detail::RunWriter<S, Kernels> out(codes->codes(r, (*offsets)[r]));
        std::size_t k = (*offsets)[r];
        for (std::size_t c = 0; c < mask.cols; ++c)
          if (mask.test(r, c)) {
            out.push(from[c]);
            (*columns)[k++] = static_cast<std::uint32_t>(c);
          }
      });
    return CsrTensor(*std::move(offsets), *std::move(columns), *std::move(codes));
  }

  [[nodiscard]] Shape shape() const noexcept { return codes_.shape(); }
  [[nodiscard]] std::span<const std::uint32_t> columns() const noexcept { return columns_.values(); }
  /// Where the columns of each row begin; one more than rows, the last one the count of all.
  [[nodiscard]] std::span<const std::size_t> offsets() const noexcept { return offsets_.values(); }
  [[nodiscard]] std::span<const std::uint8_t> held() const noexcept { return codes_.bytes(); }
  [[nodiscard]] std::size_t bytes() const noexcept {
    return held().size() + columns_.size() * sizeof(std::uint32_t) + offsets_.size() * sizeof(std::size_t);
  }

  /// Writes every element: the value of its code, +0 for those not kept. Errors: as of BitmaskTensor::to_dense.
  template <KernelBackend Kernels = HighwayKernels>
  Result<void> to_dense(MatrixView<float> out) const {
    if (Result<void> ok = detail::clear_dense(shape(), out); !ok) return ok;
    detail::KeptValues values;
    for (std::size_t r = 0; r < out.rows; ++r)
      for (std::size_t k = offsets_[r]; k < offsets_[r + 1]; k += detail::kept_window) {
        const std::size_t count = std::min(detail::kept_window, offsets_[r + 1] - k);
        const float* value = decode<Kernels>(r, k, count, values.data());
        for (std::size_t i = 0; i < count; ++i) out(r, columns_[k + i]) = value[i];
      }
    return {};
  }

  /// Rows [begin, begin + rows) times the rows of x: of each 1024 kept weights of a row as
  /// ReferenceKernels::multiply_csr says, these sums added in order, from +0.
  template <KernelBackend Kernels>
  void multiply(MatrixView<const float> x, std::size_t begin, std::size_t rows, MatrixView<float> y) const noexcept {
    detail::KeptValues values;
    for (std::size_t r = begin; r < begin + rows; ++r) {
      for (std::size_t i = 0; i < x.rows; ++i) y.row(i)[r] = 0.0f;
      for (std::size_t k = offsets_[r]; k < offsets_[r + 1]; k += detail::kept_window) {
        const std::size_t ends[2] = {0, std::min(detail::kept_window, offsets_[r + 1] - k)};
        const float* value = decode<Kernels>(r, k, ends[1], values.data());
        for (std::size_t i = 0; i < x.rows; ++i) {
          float sum = 0.0f;
          Kernels::multiply_csr(x.row(i), value, columns_.data() + k, ends, 1, &sum);
          y.row(i)[r] += sum;
        }
      }
    }
  }
  [[nodiscard]] static constexpr std::size_t row_unit() noexcept { return 1; }

 private:
  CsrTensor(Array<std::size_t> offsets, Array<std::uint32_t> columns, detail::KeptCodes<S> codes)
      : offsets_(std::move(offsets)), columns_(std::move(columns)), codes_(std::move(codes)) {}

  /// The values of the weights [k, k + count), all of row r.
  template <KernelBackend Kernels>
  const float* decode(std::size_t r, std::size_t k, std::size_t count, float* values) const noexcept {
    float* const decoded =
        codes_.template decode<Kernels>(codes_.codes(r, offsets_[r]), k - offsets_[r], count, values);
    const PackedView<S> parameters = codes_.parameters();
    const std::size_t group = parameters.group();
    for (std::size_t i = 0; i < count;) {
      const std::size_t g = columns_[k + i] / group;
      std::size_t next = group == shape().cols ? count : i + 1;
      while (next < count && columns_[k + next] < (g + 1) * group) ++next;
      codes_.scale(parameters.first_block(r) + g, decoded + i, next - i);
      i = next;
    }
    return decoded;
  }

  Array<std::size_t> offsets_;
  Array<std::uint32_t> columns_;
  detail::KeptCodes<S> codes_;
};

}  // namespace pare
