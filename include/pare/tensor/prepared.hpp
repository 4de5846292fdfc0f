#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

#include "pare/tensor/prepared_product.hpp"

namespace pare {

/// A scheme whose weights `prepare` takes.
template <class S>
concept PreparableScheme = SchemeType<S> && detail::Preparation<S>::can_prepare;

/// The weights of a scheme in the order in which products read them, with integers for codes. It lives in memory alone:
/// no file holds it, and nothing is promised of its bytes. Rows are filled up to a multiple of 16, columns to whole
/// groups. Made by `prepare`. `Codes` is the order of the codes.
template <SchemeType S, class Codes = typename detail::Preparation<S>::codes_type>
class PreparedTensor {
 public:
  using scheme_type = S;
  using codes_type = Codes;
  static constexpr std::size_t group = detail::Preparation<S>::group;

  [[nodiscard]] Shape shape() const noexcept { return shape_; }
  /// The bytes that a product reads of the weights.
  [[nodiscard]] std::size_t bytes() const noexcept { return buffer_.size(); }
  [[nodiscard]] std::size_t blocks() const noexcept { return ceil_div(shape_.rows, prepared_rows); }
  /// Blocks of 16 rows from `block` on, as the kernels take them.
  [[nodiscard]] PreparedWeights weights(std::size_t block = 0) const noexcept {
    PreparedWeights w = strides_;
    const auto* p = reinterpret_cast<const std::uint8_t*>(buffer_.data());
    w.codes = p + block * w.code_stride;
    w.scales = p + scales_ + block * w.scale_stride;
    w.zero_points = S::has_zero_point ? p + zero_points_ + block * w.zero_point_stride : nullptr;
    return w;
  }

  /// Room for a matrix of this shape; contents unspecified.
  static Result<PreparedTensor> allocate(Shape shape, std::pmr::memory_resource* memory = nullptr) {
    using P = detail::Preparation<S>;
    // Where the packed codes, filled up, can be counted, so can all this: it is a few times as large.
    for (const Shape counted :
         {shape, Shape{ceil_div(shape.rows, prepared_rows) * prepared_rows, ceil_div(shape.cols, group) * group}})
      if (Result<PackedSizes> sizes = packed_sizes<S>(counted); !sizes) return std::move(sizes).error();
    PreparedTensor tensor(shape);
    PreparedWeights& w = tensor.strides_;
    w.groups = ceil_div(shape.cols, group);
    w.units = group / prepared_unit;
    w.scale = P::scale;
    w.zero = static_cast<std::uint8_t>(P::offset);
    const std::size_t groups_with_scales = P::shares_row ? std::min<std::size_t>(1, w.groups) : w.groups;
    const std::size_t scale_bytes = prepared_rows * prepared_scale_bytes(P::scale);
    w.code_stride = w.groups * w.units * prepared_unit_bytes<codes_type>;
    w.scale_step = P::shares_row ? 0 : scale_bytes;
    w.scale_stride = groups_with_scales * scale_bytes;
    w.zero_point_step = P::shares_row ? 0 : prepared_rows;
    w.zero_point_stride = S::has_zero_point ? groups_with_scales * prepared_rows : 0;
    tensor.scales_ = tensor.blocks() * w.code_stride;
    tensor.zero_points_ = tensor.scales_ + tensor.blocks() * w.scale_stride;
    Result<Buffer> buffer = Buffer::allocate(tensor.zero_points_ + tensor.blocks() * w.zero_point_stride, memory);
    if (!buffer) return std::move(buffer).error();
    tensor.buffer_ = *std::move(buffer);
    return tensor;
  }

  /// The codes of block `block`.
  [[nodiscard]] std::span<std::uint8_t> codes(std::size_t block) noexcept {
    return {reinterpret_cast<std::uint8_t*>(buffer_.data()) + block * strides_.code_stride, strides_.code_stride};
  }

  /// Fills the codes of block `block` with rows of `packed`, which has this tensor's shape.
  template <KernelBackend Kernels>
  void fill_codes(std::size_t block, const PackedView<S>& packed) noexcept {
    using P = detail::Preparation<S>;
    std::uint8_t* const out = codes(block).data();
    const std::size_t first_row = block * prepared_rows;
    constexpr std::size_t window = 512;
    static_assert(window % P::group == 0);
    std::array<std::uint8_t, window> codes;
    std::memset(out, 0, strides_.code_stride);
    for (std::size_t r = 0; r < std::min(prepared_rows, shape_.rows - first_row); ++r)
      for (std::size_t begin = 0; begin < shape_.cols; begin += window) {
        const std::size_t count = std::min(window, shape_.cols - begin);
        const std::size_t filled = ceil_div(count, P::group) * P::group;
        Kernels::template unpack<S::bits>(packed.row_codes(first_row + r) + begin / 8 * S::bits, count, codes.data());
        std::fill(codes.begin() + static_cast<std::ptrdiff_t>(count),
                  codes.begin() + static_cast<std::ptrdiff_t>(filled), std::uint8_t{0});
        std::uint8_t* units = out + begin / prepared_unit * prepared_unit_bytes<codes_type>;
        for (std::size_t c = 0; c < filled; c += 4) {
          const PreparedPlace place = prepared_place<codes_type>(r, c % prepared_unit);
          std::uint8_t* bytes = units + c / prepared_unit * prepared_unit_bytes<codes_type> + place.byte;
          const std::uint64_t four = load_le(codes.data() + c, 4) ^ (P::flip * std::uint64_t{0x01010101u});
          store_le(bytes, load_le(bytes, 4) | four << place.shift, 4);
        }
      }
  }

  /// Fills the scales and zero points of block `block`.
  void fill_parameters(std::size_t block, const PackedView<S>& packed) noexcept {
    using P = detail::Preparation<S>;
    auto* const p = reinterpret_cast<std::uint8_t*>(buffer_.data());
    std::uint8_t* const scales = p + scales_ + block * strides_.scale_stride;
    std::uint8_t* const zero_points = p + zero_points_ + block * strides_.zero_point_stride;
    const std::size_t first_row = block * prepared_rows;
    constexpr std::size_t scale_bytes = prepared_scale_bytes(P::scale), stored_bytes = S::scale_type::bits / 8;
    std::memset(scales, 0, strides_.scale_stride);
    std::memset(zero_points, 0, strides_.zero_point_stride);
    const std::size_t groups = strides_.scale_stride / (prepared_rows * scale_bytes);
    for (std::size_t r = 0; r < std::min(prepared_rows, shape_.rows - first_row); ++r)
      for (std::size_t g = 0; g < groups; ++g) {
        const std::size_t from = packed.first_block(first_row + r) + (P::shares_row ? 0 : g * P::group / P::columns);
        const std::size_t to = g * prepared_rows + r;
        P::store_scale(static_cast<std::uint32_t>(load_le(packed.stored_scale(from), stored_bytes)),
                       scales + to * scale_bytes);
        if constexpr (S::has_zero_point) zero_points[to] = packed.zero_points[from];
      }
  }

 private:
  explicit PreparedTensor(Shape shape) : shape_(shape) {}

  Shape shape_;
  PreparedWeights strides_;  // its pointers stay null
  std::size_t scales_ = 0, zero_points_ = 0;
  Buffer buffer_;
};

/// Weights in the order in which products with eight-bit activations read them, made once from the packed form: integer
/// schemes of 2 to 8 bits, symmetric or not, and e2m1 (MXFP4), with groups of a multiple of 32 columns, a scale for
/// each row or one for the tensor. Codes of up to four bits take four, wider ones eight; f16 and bf16 scales and those
/// of eight bits take 16 bits. Errors: out_of_memory, null pointers.
template <SchemeType S, KernelBackend Kernels = HighwayKernels>
Result<PreparedTensor<S>> prepare(PackedView<S> packed, const Options& options = {}) {
  if (Result<void> ok = detail::check_prepared(packed); !ok) return std::move(ok).error();
  Result<PreparedTensor<S>> tensor = PreparedTensor<S>::allocate(packed.shape, options.memory);
  if (!tensor || packed.shape.rows == 0 || packed.shape.cols == 0) return tensor;
  options.executor(tensor->blocks(), [&](std::size_t block) {
    tensor->template fill_codes<Kernels>(block, packed);
    tensor->fill_parameters(block, packed);
  });
  return tensor;
}

template <SchemeType S, KernelBackend Kernels = HighwayKernels>
Result<PreparedTensor<S>> prepare(const PackedTensor<S>& packed, const Options& options = {}) {
  return prepare<S, Kernels>(packed.view(), options);
}

/// y = x * W^T with activations in eight bits: x is [m, in], the prepared weights [out, in], y [m, out]; x and y float.
///
/// Each group of columns of a row of x (PreparedTensor::group of them), or each row where `scales` says so, becomes
/// integers of -127 .. 127 times max|x| / 127; sums of products of integers are exact, and those of the groups are
/// added in order in float, as ReferenceKernels::multiply_prepared says; where rows of x and of the weights have one
/// scale each, those of rows of up to 65536 columns are exact too. Every backend, target and executor gives the same
/// bits (but for those of a NaN). With a the scales of the activations and G the groups of a row, each y is within sum
/// |w_c| * a_g
/// * 0.501 + (G + 2) * 2^-24 * sum |w_c| * (|x_c| + a_g) of the product with the dequantized weights, to first order. A
/// row of x that holds NaN or infinity gives NaN; magnitudes below 127 * 2^-126 count as 0 where those that share their
/// scale are no larger. Allocates in * m bytes and an eighth of that at most, once. Rows of x and y must have adjacent
/// columns. Errors: shapes that do not fit, strided columns, null pointers, overlapping memory, out_of_memory.
template <SchemeType S, KernelBackend Kernels = HighwayKernels, class Codes>
Result<void> matmul(const PreparedTensor<S, Codes>& weights, MatrixView<const float> x, MatrixView<float> y,
                    const Options& options = {}, ActivationScales scales = ActivationScales::per_group) {
  return detail::multiply_prepared<Codes, Kernels>(weights, PreparedTensor<S, Codes>::group,
                                                   detail::Preparation<S>::offset, x, y, options, scales);
}

/// As above; x and y are MatrixViews or types with Eigen's accessors.
template <SchemeType S, KernelBackend Kernels = HighwayKernels, class Codes, class X, class Y>
Result<void> matmul(const PreparedTensor<S, Codes>& weights, const X& x, Y&& y, const Options& options = {},
                    ActivationScales scales = ActivationScales::per_group) {
  auto input = detail::to_view(x, Shape{});
  auto output = detail::to_view(y, Shape{});
  if (!input) return std::move(input).error();
  if (!output) return std::move(output).error();
  return matmul<S, Kernels>(weights, MatrixView<const float>(*input), *output, options, scales);
}

/// y = W * x for one vector: x has `in` values, y `out`.
template <SchemeType S, KernelBackend Kernels = HighwayKernels, class Codes>
Result<void> matvec(const PreparedTensor<S, Codes>& weights, std::span<const float> x, std::span<float> y,
                    const Options& options = {}, ActivationScales scales = ActivationScales::per_group) {
  return matmul<S, Kernels>(weights, MatrixView<const float>(x.data(), 1, x.size()),
                            MatrixView<float>(y.data(), 1, y.size()), options, scales);
}

}  // namespace pare
