#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory_resource>
#include <span>
#include <string>
#include <type_traits>

#include "pare/core/core.hpp"
#include "pare/kernels/kernels.hpp"

namespace pare {

/// Where the work of one call runs, where its memory comes from and who watches it.
struct Options {
  Executor executor = serial;                   ///< lends threads; the result does not depend on it
  std::pmr::memory_resource* memory = nullptr;  ///< for results and scratch; operator new when null
  Progress progress = unobserved;  ///< watches, and may cancel, the algorithms that take long: each says that it does
};

/// A class of kernels that gives the bytes of ReferenceKernels.
/// Models: ReferenceKernels, HighwayKernels, XsimdKernels.
template <class K>
concept KernelBackend = requires(const float* x, float* y, std::size_t n, Range* ranges, BlockParameters* p,
                                 std::uint8_t* codes, const std::uint32_t* columns, const std::size_t* offsets) {
  K::find_range(x, n, n, ranges, n);
  K::template derive_parameters<Symmetric, F32>(ranges, n, *x, p);
  K::template decode_scales<F16>(codes, n, y);
  K::template encode<Int<4>>(x, n, n, p, codes, n);
  K::template decode<Int<4>>(codes, n, n, n, x, codes, y);
  { K::template encode_nvfp4<Nvfp4Dialect::modelopt>(x, n, *x, codes, codes, n) } -> std::same_as<bool>;
  K::copy_past_caches(codes, n, codes);
  K::flush_copies();
  K::accumulate_products(x, n, n, x, n, n, n, y, n);
  K::template accumulate_coded_products<Int<4>>(x, codes, n, n, n, n, n, x, n, codes, n, y);
  K::quantize_activations(x, n, n, n, n, 0, QuantizedActivations{});
  K::template multiply_prepared<PreparedNibbles>(PreparedWeights{}, n, QuantizedActivations{}, y, n);
  K::fit_lines(x, x, n, n, LineTrials{}, y, y);
  K::encode_lines(x, n, n, x, x, *x, *x, codes);
  K::multiply_csr(x, x, columns, offsets, n, y);
  K::multiply_bitmask(x, codes, n, x, offsets, n, y);
  K::multiply_block_csr(x, n, x, columns, offsets, n, n, n, y);
};

namespace detail {
template <class M>
inline constexpr bool is_matrix_view = false;
template <class T>
inline constexpr bool is_matrix_view<MatrixView<T>> = true;
}  // namespace detail

/// A matrix that says its shape: a MatrixView or a type with Eigen's accessors.
template <class M>
concept ShapedMatrix = detail::is_matrix_view<std::remove_const_t<M>> || StridedMatrix<M>;

/// What a matrix can be passed as where its shape is known: one of these, or a contiguous range of rows * cols values.
template <class M>
concept MatrixOperand = ShapedMatrix<M> || requires(M& m) { std::span(m); };

namespace detail {

template <class M>
auto to_view(M& m, Shape shape) {
  if constexpr (is_matrix_view<std::remove_const_t<M>>) {
    using T = std::remove_pointer_t<decltype(m.data)>;
    return Result<MatrixView<T>>(m);
  } else if constexpr (StridedMatrix<M>) {
    using T = std::remove_reference_t<decltype(*m.data())>;
    return Result<MatrixView<T>>(pare::view(m));
  } else {
    return pare::view(std::span<typename decltype(std::span(m))::element_type>(m), shape);
  }
}

inline Error shape_error(const char* what, Shape has, Shape needs) {
  return {ErrorCode::invalid_argument, "pare: " + std::string(what) + " is " + std::to_string(has.rows) + " x " +
                                           std::to_string(has.cols) + " where " + std::to_string(needs.rows) + " x " +
                                           std::to_string(needs.cols) + " is needed"};
}

/// One past the last element that a view reaches, as a count of elements from its first.
template <class T>
constexpr std::size_t extent(MatrixView<T> m) noexcept {
  return m.empty() ? 0 : (m.rows - 1) * m.row_stride + (m.cols - 1) * m.col_stride + 1;
}

template <class A, class B>
bool overlap(const A* a, std::size_t a_count, const B* b, std::size_t b_count) noexcept {
  const auto a_begin = reinterpret_cast<std::uintptr_t>(a);
  const auto b_begin = reinterpret_cast<std::uintptr_t>(b);
  return a_count != 0 && b_count != 0 && a_begin < b_begin + b_count * sizeof(B) &&
         b_begin < a_begin + a_count * sizeof(A);
}

template <class T>
Result<void> check_input(MatrixView<T> m, const char* what) {
  if (!m.empty() && m.data == nullptr)
    return Error{ErrorCode::invalid_argument, "pare: " + std::string(what) + " is a null pointer"};
  return {};
}

/// Outputs are also written by several tasks at once: no element may stand at the place of another.
template <class T>
Result<void> check_output(MatrixView<T> m, const char* what) {
  if (Result<void> ok = check_input(m, what); !ok) return ok;
  const bool rows_apart = m.rows <= 1 || m.row_stride >= (m.cols - 1) * m.col_stride + 1;
  const bool cols_apart = m.rows <= 1 || m.col_stride >= (m.rows - 1) * m.row_stride + 1;
  const bool repeats = (m.rows > 1 && m.row_stride == 0) || (m.cols > 1 && m.col_stride == 0);
  if (!m.empty() && (repeats || (!rows_apart && !cols_apart)))
    return Error{ErrorCode::invalid_argument, std::string("pare: the strides of ") + what + " make elements overlap"};
  return {};
}

/// Whether y = x * W^T can be computed for weights of this shape, of which `parts` are the memory.
inline Result<void> check_product(Shape weights, std::initializer_list<std::span<const std::byte>> parts,
                                  MatrixView<const float> x, MatrixView<float> y) {
  if (x.cols != weights.cols) return shape_error("x", x.shape(), {x.rows, weights.cols});
  if (y.shape() != Shape{x.rows, weights.rows}) return shape_error("y", y.shape(), {x.rows, weights.rows});
  if (Result<void> ok = check_input(x, "x"); !ok) return ok;
  if (Result<void> ok = check_output(y, "y"); !ok) return ok;
  if ((x.col_stride != 1 && x.cols > 1) || (y.col_stride != 1 && y.cols > 1))
    return Error{ErrorCode::unsupported, "pare: matmul needs row-major x and y; use Eigen's RowMajor storage order"};
  bool overlaps = overlap(y.data, extent(y), x.data, extent(x));
  for (const std::span<const std::byte> part : parts)
    overlaps = overlaps || overlap(y.data, extent(y), part.data(), part.size());
  if (overlaps) return Error{ErrorCode::invalid_argument, "pare: y overlaps x or the weights"};
  return {};
}

/// Rows of a matrix as contiguous memory: in place where columns are adjacent, else through one row of scratch per
/// task.
template <class T>
class ContiguousRows {
 public:
  using value_type = std::remove_const_t<T>;

  static Result<ContiguousRows> over(MatrixView<T> matrix, std::size_t tasks, std::pmr::memory_resource* memory) {
    ContiguousRows rows(matrix);
    if (matrix.col_stride == 1 || matrix.cols <= 1) return rows;
    std::size_t count = 0, bytes = 0;
    if (!checked_multiply(tasks, matrix.cols, count) || !checked_multiply(count, sizeof(T), bytes))
      return Error{ErrorCode::out_of_memory, "pare: the scratch rows do not fit the address space"};
    Result<Buffer> scratch = Buffer::allocate(bytes, memory);
    if (!scratch) return std::move(scratch).error();
    rows.scratch_ = std::move(*scratch);
    return rows;
  }

  /// Row r for reading.
  const value_type* gather(std::size_t task, std::size_t r) {
    if (scratch_.data() == nullptr) return matrix_.row(r);
    value_type* p = row(task);
    for (std::size_t c = 0; c < matrix_.cols; ++c) p[c] = matrix_(r, c);
    return p;
  }
  /// How many values stand in memory behind column c of row r that are not in the caches yet, for all that is known.
  [[nodiscard]] std::size_t following(std::size_t r, std::size_t c) const noexcept {
    constexpr std::size_t cached = std::size_t{1} << 20;
    const std::size_t row = matrix_.cols - c, rows = matrix_.rows - r - 1;
    if (!in_place() || matrix_.rows * matrix_.cols <= cached / sizeof(T)) return 0;
    return row + (matrix_.row_stride == matrix_.cols ? rows * matrix_.cols : 0);
  }
  /// Whether rows are written where they belong.
  [[nodiscard]] bool in_place() const noexcept { return scratch_.data() == nullptr; }
  /// Where row r is to be written; `scatter` brings it home.
  value_type* target(std::size_t task, std::size_t r)
    requires(!std::is_const_v<T>)
  {
    return scratch_.data() == nullptr ? matrix_.row(r) : row(task);
  }
  void scatter(std::size_t task, std::size_t r)
    requires(!std::is_const_v<T>)
  {
    if (scratch_.data() == nullptr) return;
    const value_type* p = row(task);
    for (std::size_t c = 0; c < matrix_.cols; ++c) matrix_(r, c) = p[c];
  }

 private:
  explicit ContiguousRows(MatrixView<T> matrix) : matrix_(matrix) {}
  value_type* row(std::size_t task) { return reinterpret_cast<value_type*>(scratch_.data()) + task * matrix_.cols; }

  MatrixView<T> matrix_;
  Buffer scratch_;
};

/// Splits rows into tasks of about 64 Ki elements, at multiples of `unit` rows.
struct RowTasks {
  std::size_t rows_per_task = 1;
  std::size_t count = 0;

  RowTasks(Shape shape, std::size_t unit) noexcept {
    const std::size_t wanted = ceil_div(std::size_t{1} << 16, shape.cols == 0 ? 1 : shape.cols);
    rows_per_task = wanted > shape.rows ? shape.rows : wanted;
    if (rows_per_task == 0) return;
    if (unit < shape.rows)
      rows_per_task = ceil_div(rows_per_task, unit) * unit;
    else
      rows_per_task = shape.rows;
    count = ceil_div(shape.rows, rows_per_task);
  }
};

}  // namespace detail
}  // namespace pare
