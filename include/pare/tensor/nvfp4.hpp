#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <span>
#include <type_traits>
#include <utility>

#include "pare/tensor/coded.hpp"
#include "pare/tensor/dequantize.hpp"
#include "pare/tensor/quantize.hpp"

namespace pare {

/// The bytes of a row's codes.
constexpr std::size_t nvfp4_row_codes(std::size_t cols) noexcept { return ceil_div(cols, std::size_t{2}); }
/// The bytes of a row's scales.
constexpr std::size_t nvfp4_row_scales(std::size_t cols) noexcept { return ceil_div(cols, nvfp4_block); }

/// A matrix in NVFP4 as ModelOpt's and compressed-tensors' files hold it, in somebody else's memory: E2M1 codes, the
/// even column in the low nibble, in rows of nvfp4_row_codes bytes; an E4M3 code for each 16 columns of a row, in rows
/// of nvfp4_row_scales; a scale of the tensor, which the dialect explains. `Byte` is std::uint8_t to write through the
/// view, or const.
template <Nvfp4Dialect D, class Byte>
struct BasicNvfp4View {
  Shape shape;
  Byte* codes = nullptr;
  Byte* scales = nullptr;
  float tensor_scale = 1.0f;

  constexpr operator BasicNvfp4View<D, const Byte>() const noexcept
    requires(!std::is_const_v<Byte>)
  {
    return {shape, codes, scales, tensor_scale};
  }

  /// Rows from `first` on as a matrix of another shape, where columns are a multiple of 16.
  [[nodiscard]] constexpr BasicNvfp4View joined(std::size_t first, Shape joined_shape) const noexcept {
    return {joined_shape, codes + first * nvfp4_row_codes(shape.cols), scales + first * nvfp4_row_scales(shape.cols),
            tensor_scale};
  }
};

template <Nvfp4Dialect D>
using Nvfp4View = BasicNvfp4View<D, const std::uint8_t>;
template <Nvfp4Dialect D>
using Nvfp4Span = BasicNvfp4View<D, std::uint8_t>;

/// A matrix in NVFP4 that owns its bytes.
template <Nvfp4Dialect D>
class Nvfp4Tensor {
 public:
  /// Room for a matrix of this shape, contents unspecified, from `memory` or operator new. Errors: a shape larger than
  /// memory, out_of_memory.
  static Result<Nvfp4Tensor> allocate(Shape shape, std::pmr::memory_resource* memory = nullptr) {
    std::size_t codes = 0, scales = 0;
    constexpr std::size_t limit = std::numeric_limits<std::size_t>::max() / 64;
    if (shape.cols > limit || !checked_multiply(shape.rows, nvfp4_row_codes(shape.cols), codes) ||
        !checked_multiply(shape.rows, nvfp4_row_scales(shape.cols), scales) || codes > limit)
      return Error{ErrorCode::invalid_argument, "pare: the matrix is too large to pack"};
    Result<Buffer> buffer = Buffer::allocate(codes + scales, memory);
    if (!buffer) return std::move(buffer).error();
    return Nvfp4Tensor(shape, codes, std::move(*buffer));
  }

  float tensor_scale = 1.0f;

  [[nodiscard]] Shape shape() const noexcept { return shape_; }
  /// What a file calls weight or weight_packed, [rows, ceil(cols / 2)].
  [[nodiscard]] std::span<const std::uint8_t> codes() const noexcept { return {bytes(), codes_}; }
  /// What a file calls weight_scale, [rows, ceil(cols / 16)].
  [[nodiscard]] std::span<const std::uint8_t> scales() const noexcept {
    return {bytes() + codes_, buffer_.size() - codes_};
  }
  [[nodiscard]] Nvfp4View<D> view() const noexcept { return {shape_, bytes(), bytes() + codes_, tensor_scale}; }
  [[nodiscard]] Nvfp4Span<D> view() noexcept {
    auto* const p = reinterpret_cast<std::uint8_t*>(buffer_.data());
    return {shape_, p, p + codes_, tensor_scale};
  }

 private:
  Nvfp4Tensor(Shape shape, std::size_t codes, Buffer buffer)
      : shape_(shape), codes_(codes), buffer_(std::move(buffer)) {}
  [[nodiscard]] const std::uint8_t* bytes() const noexcept {
    return reinterpret_cast<const std::uint8_t*>(buffer_.data());
  }

  Shape shape_;
  std::size_t codes_ = 0;
  Buffer buffer_;
};

namespace detail {

/// Errors of a view that is to be read or written beside a matrix of elements.
template <Nvfp4Dialect D, class Byte, class T>
Result<void> check_nvfp4(BasicNvfp4View<D, Byte> packed, MatrixView<T> matrix) {
  if (!(packed.tensor_scale > 0.0f && is_finite(packed.tensor_scale)))
    return Error{ErrorCode::invalid_argument, "pare: NVFP4's scale of the tensor is a finite number above 0"};
  if (matrix.empty()) return {};
  if (packed.codes == nullptr || packed.scales == nullptr)
    return Error{ErrorCode::invalid_argument, "pare: the packed tensor is a null pointer"};
  const std::size_t rows = matrix.rows, codes = nvfp4_row_codes(matrix.cols), scales = nvfp4_row_scales(matrix.cols);
  if (overlap(matrix.data, extent(matrix), packed.codes, rows * codes) ||
      overlap(matrix.data, extent(matrix), packed.scales, rows * scales))
    return Error{ErrorCode::invalid_argument, "pare: the packed tensor overlaps the matrix"};
  return {};
}

inline Error not_finite_error() {
  return {ErrorCode::invalid_argument,
          "pare: the weights hold a value that is not finite, which NVFP4 has no code for"};
}

template <Nvfp4Dialect D, class Kernels, class T>
Result<void> encode_nvfp4_rows(MatrixView<const T> weights, Nvfp4Span<D> out, const Options& options) {
  const RowTasks tasks(weights.shape(), 1);
  auto rows = ContiguousRows<const T>::over(weights, tasks.count, options.memory);
  if (!rows) return std::move(rows).error();
  std::atomic<bool> finite = true;
  options.executor(tasks.count, [&](std::size_t task) {
    const std::size_t end = std::min(weights.rows, (task + 1) * tasks.rows_per_task);
    for (std::size_t r = task * tasks.rows_per_task; r < end; ++r)
      if (!Kernels::template encode_nvfp4<D>(
              rows->gather(task, r), weights.cols, out.tensor_scale, out.codes + r * nvfp4_row_codes(weights.cols),
              out.scales + r * nvfp4_row_scales(weights.cols), rows->following(r, weights.cols)))
        finite.store(false, std::memory_order_relaxed);
  });
  if (!finite) return not_finite_error();
  return {};
}

/// The values of columns [begin, begin + count) of a row; `begin` is a multiple of 16.
template <class Kernels, Nvfp4Dialect D, class T>
void decode_nvfp4_columns(Nvfp4View<D> packed, std::size_t row, std::size_t begin, std::size_t count, T* out) {
  constexpr std::size_t window = 64;
  const std::uint8_t* const codes = packed.codes + row * nvfp4_row_codes(packed.shape.cols);
  const std::uint8_t* const scale_codes = packed.scales + row * nvfp4_row_scales(packed.shape.cols);
  const float factor = D == Nvfp4Dialect::modelopt ? packed.tensor_scale : 1.0f;
  std::array<float, window> scales{};
  for (const std::size_t end = begin + count; begin < end;) {
    const std::size_t width = std::min(end - begin, window * nvfp4_block), blocks = ceil_div(width, nvfp4_block);
    Kernels::template decode<E4M3>(scale_codes + begin / nvfp4_block, blocks, blocks, 0, &factor, nullptr,
                                   scales.data());
    if constexpr (D == Nvfp4Dialect::compressed_tensors)
      for (float& s : scales) s /= packed.tensor_scale;
    Kernels::template decode<E2M1>(codes + begin / 2, width, nvfp4_block, 0, scales.data(), nullptr, out);
    begin += width;
    out += width;
  }
}

}  // namespace detail

/// Quantizes a matrix of float, Half or BFloat16 to NVFP4 into memory that the caller has prepared, under the scale of
/// the tensor that stands in `out`: nvfp4_tensor_scale<D> of its largest magnitude, or of what a calibration found.
/// What exceeds it saturates. The bytes are those of ModelOpt's and compressed-tensors' quantizers. Errors: a value
/// that is not finite, after which `out` holds nothing of use, a scale that is not finite, a scale that is not above 0,
/// shapes differ, null pointers, overlapping memory.
template <Nvfp4Dialect D, KernelBackend Kernels = HighwayKernels, Element T>
Result<void> quantize_nvfp4_into(MatrixView<const T> weights, Nvfp4Span<D> out, const Options& options = {}) {
  if (weights.shape() != out.shape) return detail::shape_error("the packed tensor", out.shape, weights.shape());
  if (Result<void> ok = detail::check_input(weights, "the weight matrix"); !ok) return ok;
  if (Result<void> ok = detail::check_nvfp4(out, weights); !ok) return ok;
  if (weights.empty()) return {};
  if (!weights.is_contiguous() || weights.cols % nvfp4_block != 0)
    return detail::encode_nvfp4_rows<D, Kernels>(weights, out, options);
  return detail::join_short_rows(weights.shape(), [&](std::size_t first, Shape shape) {
    return detail::encode_nvfp4_rows<D, Kernels>(MatrixView<const T>(weights.row(first), shape.rows, shape.cols),
                                                 out.joined(first, shape), options);
  });
}

/// A matrix in NVFP4, under the scale of the tensor that its largest magnitude gives: a MatrixView or anything with
/// Eigen's accessors, of float, Half or BFloat16. Reads the matrix twice. Errors as above, and out_of_memory.
template <Nvfp4Dialect D, KernelBackend Kernels = HighwayKernels, class M>
  requires ShapedMatrix<const M>
Result<Nvfp4Tensor<D>> quantize_nvfp4(const M& weights, const Options& options = {}) {
  auto view = detail::to_view(weights, Shape{});
  if (!view) return std::move(view).error();
  using T = typename std::remove_reference_t<decltype(*view)>::value_type;
  static_assert(Element<T>, "pare: weights are float, pare::Half or pare::BFloat16");
  if (Result<void> ok = detail::check_input(*view, "the weight matrix"); !ok) return std::move(ok).error();
  Result<Nvfp4Tensor<D>> packed = Nvfp4Tensor<D>::allocate(view->shape(), options.memory);
  if (!packed || view->empty()) return packed;
  auto rows = detail::ContiguousRows<const T>::over(*view, detail::few_tasks(view->shape()).count, options.memory);
  if (!rows) return std::move(rows).error();
  const Range range = detail::find_range_of_all<Kernels>(*rows, view->shape(), options);
  if (!range.finite) return detail::not_finite_error();
  const float scale = nvfp4_tensor_scale<D>(range.magnitude());
  // Of zeros, and of values so small that their scale would be none.
  packed->tensor_scale = scale > 0.0f ? scale : 1.0f;
  if (Result<void> ok = quantize_nvfp4_into<D, Kernels>(MatrixView<const T>(*view), packed->view(), options); !ok)
    return std::move(ok).error();
  return packed;
}

/// As above, from rows * cols values in row-major order.
template <Nvfp4Dialect D, KernelBackend Kernels = HighwayKernels, class Values>
  requires requires(const Values& v) { std::span(v); }
Result<Nvfp4Tensor<D>> quantize_nvfp4(const Values& weights, Shape shape, const Options& options = {}) {
  auto view = pare::view(std::span(weights), shape);
  if (!view) return std::move(view).error();
  return quantize_nvfp4<D, Kernels>(*view, options);
}

/// Writes the values of a matrix in NVFP4 into `out`, which may be what the dequantize of a PackedView takes. Errors:
/// shapes differ, null pointers, overlapping memory, a scale of the tensor that is not a finite number above 0.
template <Nvfp4Dialect D, KernelBackend Kernels = HighwayKernels, class Out>
  requires MatrixOperand<std::remove_reference_t<Out>>
Result<void> dequantize(Nvfp4View<D> packed, Out&& out, const Options& options = {}) {
  const auto view = detail::decoded_view(out, packed.shape);
  if (!view) return view.error();
  const auto target = *view;
  using T = typename decltype(target)::value_type;
  if (Result<void> ok = detail::check_nvfp4(packed, target); !ok) return ok;
  if (target.empty()) return {};
  return detail::decode_rows<Kernels>(target, options,
                                      [&](std::size_t row, std::size_t begin, std::size_t count, T* to) {
                                        detail::decode_nvfp4_columns<Kernels>(packed, row, begin, count, to);
                                      });
}

/// As above, for a tensor that owns its bytes.
template <Nvfp4Dialect D, KernelBackend Kernels = HighwayKernels, class Out>
  requires MatrixOperand<std::remove_reference_t<Out>>
Result<void> dequantize(const Nvfp4Tensor<D>& packed, Out&& out, const Options& options = {}) {
  return dequantize<D, Kernels>(packed.view(), out, options);
}

/// The codes of a matrix in NVFP4 with nothing packed, which ModeloptNvfp4 or CompressedNvfp4 writes as the same bytes.
/// Errors: null pointers, a scale of the tensor that is not a finite number above 0, out_of_memory.
template <Nvfp4Dialect D>
Result<CodedMatrix> coded(Nvfp4View<D> packed, std::pmr::memory_resource* memory = nullptr) {
  constexpr auto kind = D == Nvfp4Dialect::modelopt ? TensorScale::multiplies_scale : TensorScale::divides_scale;
  auto matrix = CodedMatrix::allocate(packed.shape, code_format<E2M1>(), {1, nvfp4_block}, ShiftKind::none, memory);
  if (!matrix) return matrix;
  if (Result<void> ok = detail::check_nvfp4(packed, std::as_const(*matrix).codes()); !ok) return std::move(ok).error();
  matrix->scale_type = ScaleType::float8_e4m3;
  matrix->tensor_scale = packed.tensor_scale;
  matrix->tensor_scale_kind = kind;
  const Shape grid = matrix->grid;
  const std::size_t row_codes = nvfp4_row_codes(packed.shape.cols);
  for (std::size_t r = 0; r < packed.shape.rows; ++r) {
    ReferenceKernels::unpack<4>(packed.codes + r * row_codes, packed.shape.cols, matrix->codes().row(r));
    ReferenceKernels::decode_scales<E4M3>(packed.scales + r * grid.cols, grid.cols, matrix->scales().row(r));
  }
  return matrix;
}

/// As above, for a tensor that owns its bytes.
template <Nvfp4Dialect D>
Result<CodedMatrix> coded(const Nvfp4Tensor<D>& packed, std::pmr::memory_resource* memory = nullptr) {
  return coded<D>(packed.view(), memory);
}

}  // namespace pare
