#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <type_traits>
#include <utility>

#include "pare/core/bits.hpp"
#include "pare/core/memory.hpp"
#include "pare/core/result.hpp"

namespace pare {

/// Rows and columns of a matrix. A linear weight is [out, in]; a convolution is [out, in * kh * kw].
struct Shape {
  std::size_t rows = 0;
  std::size_t cols = 0;

  friend constexpr bool operator==(const Shape&, const Shape&) = default;
};

/// A non-owning matrix: element (r, c) is data[r * row_stride + c * col_stride]. Strides count elements.
template <class T>
struct MatrixView {
  using value_type = std::remove_const_t<T>;

  T* data = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t row_stride = 0;
  std::size_t col_stride = 1;

  constexpr MatrixView() = default;
  /// Dense row-major.
  constexpr MatrixView(T* p, std::size_t r, std::size_t c) : data(p), rows(r), cols(c), row_stride(c) {}
  constexpr MatrixView(T* p, std::size_t r, std::size_t c, std::size_t rs, std::size_t cs)
      : data(p), rows(r), cols(c), row_stride(rs), col_stride(cs) {}
  constexpr operator MatrixView<const T>() const
    requires(!std::is_const_v<T>)
  {
    return {data, rows, cols, row_stride, col_stride};
  }

  [[nodiscard]] constexpr Shape shape() const { return {rows, cols}; }
  [[nodiscard]] constexpr bool empty() const { return rows == 0 || cols == 0; }
  /// Whether all elements follow one another, row after row.
  [[nodiscard]] constexpr bool is_contiguous() const {
    return (col_stride == 1 || cols <= 1) && (row_stride == cols || rows <= 1);
  }
  [[nodiscard]] constexpr T* row(std::size_t r) const { return data + r * row_stride; }
  [[nodiscard]] constexpr T& operator()(std::size_t r, std::size_t c) const {
    return data[r * row_stride + c * col_stride];
  }
};

/// A dense row-major view of `values`; an error if they are fewer than the shape needs.
template <class T>
Result<MatrixView<T>> view(std::span<T> values, Shape shape) {
  std::size_t count = 0;
  if (!checked_multiply(shape.rows, shape.cols, count) || count > values.size())
    return Error{ErrorCode::invalid_argument, "pare: the span is shorter than rows * cols"};
  return MatrixView<T>(values.data(), shape.rows, shape.cols);
}

/// Matrices of other libraries that describe themselves as Eigen's do: data(), rows(), cols(), rowStride(),
/// colStride(). Model: Eigen::MatrixXf, Eigen::Map and Eigen::Ref in either storage order.
template <class M>
concept StridedMatrix = requires(M& m) {
  { *m.data() };
  { m.rows() } -> std::convertible_to<std::ptrdiff_t>;
  { m.cols() } -> std::convertible_to<std::ptrdiff_t>;
  { m.rowStride() } -> std::convertible_to<std::ptrdiff_t>;
  { m.colStride() } -> std::convertible_to<std::ptrdiff_t>;
};

/// A view of another library's matrix, without a copy and without its headers.
template <StridedMatrix M>
constexpr auto view(M& m) {
  using T = std::remove_reference_t<decltype(*m.data())>;
  return MatrixView<T>(m.data(), static_cast<std::size_t>(m.rows()), static_cast<std::size_t>(m.cols()),
                       static_cast<std::size_t>(m.rowStride()), static_cast<std::size_t>(m.colStride()));
}

/// A dense row-major matrix that owns its memory, each element T{} at first.
template <class T>
class Matrix {
 public:
  Matrix() = default;

  /// Errors: out_of_memory, or invalid_argument where rows * cols cannot be counted.
  static Result<Matrix> create(Shape shape, std::pmr::memory_resource* memory = nullptr) {
    std::size_t count = 0;
    if (!checked_multiply(shape.rows, shape.cols, count))
      return Error{ErrorCode::invalid_argument, "pare: rows * cols is more than memory can be"};
    Result<Array<T>> values = Array<T>::create(count, memory);
    if (!values) return std::move(values).error();
    return Matrix(shape, *std::move(values));
  }
  /// A copy with each element converted.
  template <class U>
  static Result<Matrix> copy(MatrixView<U> from, std::pmr::memory_resource* memory = nullptr) {
    Result<Matrix> matrix = create(from.shape(), memory);
    if (matrix)
      for (std::size_t r = 0; r < from.rows; ++r)
        for (std::size_t c = 0; c < from.cols; ++c) (*matrix)(r, c) = static_cast<T>(from(r, c));
    return matrix;
  }

  [[nodiscard]] Shape shape() const noexcept { return shape_; }
  [[nodiscard]] std::size_t rows() const noexcept { return shape_.rows; }
  [[nodiscard]] std::size_t cols() const noexcept { return shape_.cols; }
  [[nodiscard]] MatrixView<T> view() noexcept { return {values_.data(), shape_.rows, shape_.cols}; }
  [[nodiscard]] MatrixView<const T> view() const noexcept { return {values_.data(), shape_.rows, shape_.cols}; }
  operator MatrixView<T>() noexcept { return view(); }
  operator MatrixView<const T>() const noexcept { return view(); }
  [[nodiscard]] std::span<T> values() noexcept { return values_.values(); }
  [[nodiscard]] std::span<const T> values() const noexcept { return values_.values(); }
  [[nodiscard]] std::span<T> row(std::size_t r) noexcept { return {values_.data() + r * shape_.cols, shape_.cols}; }
  [[nodiscard]] std::span<const T> row(std::size_t r) const noexcept {
    return {values_.data() + r * shape_.cols, shape_.cols};
  }
  [[nodiscard]] T& operator()(std::size_t r, std::size_t c) noexcept { return values_[r * shape_.cols + c]; }
  [[nodiscard]] const T& operator()(std::size_t r, std::size_t c) const noexcept {
    return values_[r * shape_.cols + c];
  }

 private:
  Matrix(Shape shape, Array<T> values) : shape_(shape), values_(std::move(values)) {}

  Shape shape_;
  Array<T> values_;
};

}  // namespace pare
