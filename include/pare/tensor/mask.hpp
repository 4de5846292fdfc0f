#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <span>
#include <utility>

#include "pare/core/core.hpp"
#include "pare/tensor/operand.hpp"

namespace pare {

/// Which elements of a matrix are kept, non-owning: bit c % 8 of byte c / 8 of a row is 1 where column c is kept. Every
/// row starts at a whole byte; the bits past the last column carry no meaning.
struct MaskView {
  const std::uint8_t* data = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;

  /// A view of bits that the caller holds. Error: fewer bytes than the shape needs, or a shape too large to address.
  static Result<MaskView> over(std::span<const std::uint8_t> bytes, Shape shape) {
    std::size_t needed = 0;
    if (!checked_multiply(shape.rows, ceil_div(shape.cols, 8), needed) || needed > bytes.size())
      return Error{ErrorCode::invalid_argument, "pare: the span holds fewer bytes than the mask's shape needs"};
    return MaskView{bytes.data(), shape.rows, shape.cols};
  }

  [[nodiscard]] constexpr Shape shape() const { return {rows, cols}; }
  [[nodiscard]] constexpr bool empty() const { return rows == 0 || cols == 0; }
  [[nodiscard]] constexpr std::size_t row_bytes() const { return ceil_div(cols, 8); }
  [[nodiscard]] constexpr const std::uint8_t* row(std::size_t r) const { return data + r * row_bytes(); }

  /// Whether element (r, c) is kept.
  [[nodiscard]] constexpr bool test(std::size_t r, std::size_t c) const { return (row(r)[c / 8] >> (c % 8) & 1) != 0; }

  /// The number of kept elements.
  [[nodiscard]] constexpr std::size_t kept() const {
    if (empty()) return 0;
    std::size_t count = 0;
    for (std::size_t r = 0; r < rows; ++r) {
      const std::uint8_t* bytes = row(r);
      for (std::size_t b = 0; b < cols / 8; ++b) count += static_cast<std::size_t>(std::popcount(bytes[b]));
      for (std::size_t c = cols - cols % 8; c < cols; ++c)
        if (test(r, c)) ++count;
    }
    return count;
  }

  /// The share of pruned elements, in [0, 1]; 0 for an empty mask.
  [[nodiscard]] constexpr double sparsity() const {
    if (empty()) return 0.0;
    const std::size_t total = rows * cols;
    return static_cast<double>(total - kept()) / static_cast<double>(total);
  }
};

/// A MaskView that owns its bits. Rows may be written from different threads at once.
class Mask {
 public:
  Mask() = default;
  Mask(Mask&& other) noexcept : bits_(std::move(other.bits_)), shape_(std::exchange(other.shape_, {})) {}
  Mask& operator=(Mask&& other) noexcept {
    bits_ = std::move(other.bits_);
    shape_ = std::exchange(other.shape_, {});
    return *this;
  }

  /// A mask that keeps everything. Error: rows * cols does not fit in size_t, or out_of_memory.
  static Result<Mask> create(Shape shape, std::pmr::memory_resource* memory = nullptr) {
    std::size_t count = 0;
    if (!checked_multiply(shape.rows, shape.cols, count))
      return Error{ErrorCode::invalid_argument, "pare: a mask of rows * cols elements is too large to address"};
    const std::size_t row_bytes = ceil_div(shape.cols, 8);
    auto bits = Buffer::allocate(count == 0 ? 0 : shape.rows * row_bytes, memory);
    if (!bits) return std::move(bits).error();

    Mask mask(*std::move(bits), shape);
    if (count == 0) return mask;
    std::memset(mask.bits_.data(), 0xff, mask.bits_.size());
    if (shape.cols % 8 != 0) {
      const auto last = static_cast<std::byte>((1u << shape.cols % 8) - 1u);
      for (std::size_t r = 0; r < shape.rows; ++r) mask.bits_.data()[(r + 1) * row_bytes - 1] = last;
    }
    return mask;
  }

  [[nodiscard]] MaskView view() const noexcept {
    return {reinterpret_cast<const std::uint8_t*>(bits_.data()), shape_.rows, shape_.cols};
  }
  operator MaskView() const noexcept { return view(); }

  [[nodiscard]] Shape shape() const noexcept { return shape_; }
  [[nodiscard]] bool test(std::size_t r, std::size_t c) const { return view().test(r, c); }
  [[nodiscard]] std::size_t kept() const { return view().kept(); }
  [[nodiscard]] double sparsity() const { return view().sparsity(); }

  /// The bits of a row. Those past the last column stay 0.
  [[nodiscard]] std::uint8_t* row(std::size_t r) noexcept {
    return reinterpret_cast<std::uint8_t*>(bits_.data()) + r * ceil_div(shape_.cols, 8);
  }

  /// Keeps or prunes element (r, c), which must lie within the shape.
  void set(std::size_t r, std::size_t c, bool keep) {
    std::uint8_t& bits = row(r)[c / 8];
    const unsigned others = bits & ~(1u << c % 8);
    bits = static_cast<std::uint8_t>(others | (keep ? 1u : 0u) << c % 8);
  }

 private:
  Mask(Buffer bits, Shape shape) : bits_(std::move(bits)), shape_(shape) {}

  Buffer bits_;
  Shape shape_;
};

/// Copies the kept elements of `weights` to `out` bit for bit and writes +0.0f for the pruned ones, whatever they were
/// (NaN too). `out` may be `weights` itself. Errors: shapes differ, null pointers, any other overlap in memory.
inline Result<void> apply(MaskView mask, MatrixView<const float> weights, MatrixView<float> out,
                          const Options& options = {}) {
  if (mask.shape() != weights.shape()) return detail::shape_error("the mask", mask.shape(), weights.shape());
  if (out.shape() != weights.shape()) return detail::shape_error("the output", out.shape(), weights.shape());
  if (mask.empty()) return {};
  if (mask.data == nullptr) return Error{ErrorCode::invalid_argument, "pare: the mask is a null pointer"};
  if (Result<void> ok = detail::check_input(weights, "the weight matrix"); !ok) return ok;
  if (Result<void> ok = detail::check_output(out, "the output"); !ok) return ok;
  const bool in_place =
      out.data == weights.data && out.row_stride == weights.row_stride && out.col_stride == weights.col_stride;
  if ((!in_place && detail::overlap(out.data, detail::extent(out), weights.data, detail::extent(weights))) ||
      detail::overlap(out.data, detail::extent(out), mask.data, mask.rows * mask.row_bytes()))
    return Error{ErrorCode::invalid_argument, "pare: the output overlaps the weights or the mask"};

  options.executor(mask.rows, [&](std::size_t r) {
    for (std::size_t c = 0; c < mask.cols; ++c) out(r, c) = mask.test(r, c) ? weights(r, c) : 0.0f;
  });
  return {};
}

/// Writes +0.0f over the pruned elements of `weights`. Errors: shapes differ, null pointers, overlapping elements.
inline Result<void> apply(MaskView mask, MatrixView<float> weights, const Options& options = {}) {
  return apply(mask, weights, weights, options);
}

}  // namespace pare
