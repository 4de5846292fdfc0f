#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

#include "pare/tensor/kept_codes.hpp"

namespace pare {

/// Packed weights as a mask and the codes that it keeps, row after row, with all scales and zero points: S::bits for a
/// kept weight and one for every weight. Any mask will do, those of N of every M columns too.
template <SchemeType S>
class BitmaskTensor {
 public:
  using scheme_type = S;

  /// What `mask` keeps of `packed`. Errors: shapes that differ, null pointers, 2^31 columns or more, out_of_memory.
  template <KernelBackend Kernels = HighwayKernels>
  static Result<BitmaskTensor> create(PackedView<S> packed, MaskView mask, const Options& options = {}) {
    if (Result<void> ok = detail::check_masked(packed, mask); !ok) return std::move(ok).error();
    auto offsets = detail::kept_offsets(mask, options.memory);
    if (!offsets) return std::move(offsets).error();
    auto kept = Mask::create(mask.shape(), options.memory);
    if (!kept) return std::move(kept).error();
    auto codes = detail::KeptCodes<S>::create(packed, mask.rows, (*offsets)[mask.rows], options);
    if (!codes) return std::move(codes).error();
    if (!mask.empty())
      options.executor(mask.rows, [&](std::size_t r) {
        detail::RowCodes<S, Kernels> from(packed, r);
        detail::RunWriter<S, Kernels> out(codes->codes(r, (*offsets)[r]));
        for (std::size_t c = 0; c < mask.cols; ++c) {
          const bool keep = mask.test(r, c);
          kept->set(r, c, keep);
          if (keep) out.push(from[c]);
        }
      });
    return BitmaskTensor(*std::move(kept), *std::move(offsets), *std::move(codes));
  }

  [[nodiscard]] Shape shape() const noexcept { return mask_.shape(); }
  [[nodiscard]] MaskView mask() const noexcept { return mask_.view(); }
  [[nodiscard]] std::span<const std::uint8_t> held() const noexcept { return codes_.bytes(); }
  [[nodiscard]] std::size_t bytes() const noexcept {
    return held().size() + offsets_.size() * sizeof(std::size_t) + shape().rows * mask().row_bytes();
  }

  /// Writes every element: the value of its code, +0 for those not kept. Errors: a shape that differs, a null pointer,
  /// overlapping elements.
  template <KernelBackend Kernels = HighwayKernels>
  Result<void> to_dense(MatrixView<float> out) const {
    if (Result<void> ok = detail::clear_dense(shape(), out); !ok) return ok;
    detail::KeptValues values;
    for (std::size_t r = 0; r < out.rows; ++r)
      for (std::size_t c = 0, k = 0; c < out.cols; c += detail::kept_window) {
        const std::size_t width = std::min(detail::kept_window, out.cols - c), count = kept(r, c, width);
        const float* value = decode<Kernels>(r, c, width, k, count, values.data());
        for (std::size_t i = 0; i < width; ++i)
          if (mask_.test(r, c + i)) out(r, c + i) = *value++;
        k += count;
      }
    return {};
  }

  /// Rows [begin, begin + rows) times the rows of x: of each 1024 columns as ReferenceKernels::multiply_bitmask says,
  /// these sums added in order, from +0.
  template <KernelBackend Kernels>
  void multiply(MatrixView<const float> x, std::size_t begin, std::size_t rows, MatrixView<float> y) const noexcept {
    detail::KeptValues values;
    for (std::size_t r = begin; r < begin + rows; ++r) {
      for (std::size_t i = 0; i < x.rows; ++i) y.row(i)[r] = 0.0f;
      for (std::size_t c = 0, k = 0; c < x.cols; c += detail::kept_window) {
        const std::size_t width = std::min(detail::kept_window, x.cols - c), count = kept(r, c, width);
        if (count == 0) continue;
        const float* value = decode<Kernels>(r, c, width, k, count, values.data());
        const std::size_t ends[2] = {0, count};
        for (std::size_t i = 0; i < x.rows; ++i) {
          float sum = 0.0f;
          Kernels::multiply_bitmask(x.row(i) + c, mask().row(r) + c / 8, ceil_div(width, 8), value, ends, 1, &sum);
          y.row(i)[r] += sum;
        }
        k += count;
      }
    }
  }
  [[nodiscard]] static constexpr std::size_t row_unit() noexcept { return 1; }

 private:
  BitmaskTensor(Mask mask, Array<std::size_t> offsets, detail::KeptCodes<S> codes)
      : mask_(std::move(mask)), offsets_(std::move(offsets)), codes_(std::move(codes)) {}

  /// How many of `width` columns from `begin` on row r keeps.
  [[nodiscard]] std::size_t kept(std::size_t r, std::size_t begin, std::size_t width) const noexcept {
    const std::uint8_t* bits = mask().row(r);
    std::size_t count = 0;
    const std::size_t end = begin + width;
    for (std::size_t c = begin; c < end;) {
      const std::size_t in_byte = std::min(8 - c % 8, end - c);
      if (c % 8 == 0 && end - c >= 64) {
        std::uint64_t word;
        std::memcpy(&word, bits + c / 8, sizeof word);
        count += static_cast<std::size_t>(std::popcount(word));
        c += 64;
      } else {
        count += static_cast<std::size_t>(std::popcount((bits[c / 8] >> c % 8) & ((1u << in_byte) - 1u)));
        c += in_byte;
      }
    }
    return count;
  }

  /// The values of the `count` kept of `width` columns from `begin` on, before which row r keeps `first`.
  template <KernelBackend Kernels>
  const float* decode(std::size_t r, std::size_t begin, std::size_t width, std::size_t first, std::size_t count,
                      float* values) const noexcept {
    float* const decoded = codes_.template decode<Kernels>(codes_.codes(r, offsets_[r]), first, count, values);
    const PackedView<S> parameters = codes_.parameters();
    const std::size_t group = parameters.group();
    float* value = decoded;
    for (std::size_t c = begin; c < begin + width;) {
      const std::size_t next = std::min(begin + width, (c / group + 1) * group);
      const std::size_t n = next - c == width ? count : kept(r, c, next - c);
      codes_.scale(parameters.first_block(r) + c / group, value, n);
      value += n;
      c = next;
    }
    return decoded;
  }

  Mask mask_;
  Array<std::size_t> offsets_;
  detail::KeptCodes<S> codes_;
};

}  // namespace pare
