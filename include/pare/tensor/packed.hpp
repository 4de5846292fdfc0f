#pragma once

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string>
#include <utility>

#include "pare/core/core.hpp"
#include "pare/schemes/schemes.hpp"

namespace pare {

/// The bytes of the three parts of a packed matrix.
struct PackedSizes {
  std::size_t row_codes = 0;    ///< bytes of one row of codes; rows start on byte boundaries
  std::size_t codes = 0;        ///< rows * row_codes
  std::size_t scales = 0;       ///< one scale code a block, in row-major order of blocks, little-endian
  std::size_t zero_points = 0;  ///< one byte a block for asymmetric schemes, else 0

  [[nodiscard]] constexpr std::size_t total() const noexcept { return codes + scales + zero_points; }
};

/// The sizes that a matrix of this shape has under a scheme, or an error if they do not fit the address space.
template <SchemeType S>
Result<PackedSizes> packed_sizes(Shape shape) {
  const Shape grid = S::granularity_type::grid(shape);
  constexpr std::size_t scale_bytes = S::scale_type::bits / 8;
  std::size_t blocks = 0;
  PackedSizes sizes;
  // Eight times the largest part still fits, so that no sum or count of bits below overflows.
  constexpr std::size_t limit = std::numeric_limits<std::size_t>::max() / 64;
  if (shape.cols > limit) return Error{ErrorCode::invalid_argument, "pare: the matrix is too large to pack"};
  sizes.row_codes = packed_bytes(shape.cols, S::bits);
  if (!checked_multiply(shape.rows, sizes.row_codes, sizes.codes) || !checked_multiply(grid.rows, grid.cols, blocks) ||
      !checked_multiply(blocks, scale_bytes, sizes.scales) || sizes.codes > limit || sizes.scales > limit)
    return Error{ErrorCode::invalid_argument, "pare: the matrix is too large to pack"};
  sizes.zero_points = S::has_zero_point ? blocks : 0;
  return sizes;
}

/// A packed matrix in somebody else's memory: a bit stream of codes per row, a scale per block, and a zero point per
/// block where the scheme has them. No part needs alignment. `Byte` is std::uint8_t to write through the view, or
/// const.
template <SchemeType S, class Byte>
struct BasicPackedView {
  using scheme_type = S;

  Shape shape;
  Byte* codes = nullptr;
  Byte* scales = nullptr;
  Byte* zero_points = nullptr;

  constexpr operator BasicPackedView<S, const Byte>() const noexcept
    requires(!std::is_const_v<Byte>)
  {
    return {shape, codes, scales, zero_points};
  }

  /// A view over three stored parts, or an error if one of them has the wrong size.
  static Result<BasicPackedView> over(Shape shape, std::span<Byte> codes, std::span<Byte> scales,
                                      std::span<Byte> zero_points = {}) {
    const Result<PackedSizes> sizes = packed_sizes<S>(shape);
    if (!sizes) return sizes.error();
    const auto wrong = [](const char* part, std::size_t has, std::size_t needs) {
      return Error{ErrorCode::invalid_argument, std::string("pare: the packed ") + part + " have " +
                                                    std::to_string(has) + " bytes where the shape needs " +
                                                    std::to_string(needs)};
    };
    if (codes.size() != sizes->codes) return wrong("codes", codes.size(), sizes->codes);
    if (scales.size() != sizes->scales) return wrong("scales", scales.size(), sizes->scales);
    if (zero_points.size() != sizes->zero_points) return wrong("zero points", zero_points.size(), sizes->zero_points);
    return BasicPackedView{shape, codes.data(), scales.data(), zero_points.data()};
  }

  [[nodiscard]] constexpr std::size_t row_bytes() const noexcept { return packed_bytes(shape.cols, S::bits); }
  [[nodiscard]] constexpr Byte* row_codes(std::size_t row) const noexcept { return codes + row * row_bytes(); }
  /// The position, in row-major order of blocks, of the first block of a row.
  [[nodiscard]] constexpr std::size_t first_block(std::size_t row) const noexcept {
    return row / S::granularity_type::block_rows * S::granularity_type::grid(shape).cols;
  }
  /// How many consecutive columns share a scale.
  [[nodiscard]] constexpr std::size_t group() const noexcept {
    return S::granularity_type::block_cols < shape.cols ? S::granularity_type::block_cols : shape.cols;
  }
  [[nodiscard]] constexpr Byte* stored_scale(std::size_t block) const noexcept {
    return scales + block * (S::scale_type::bits / 8);
  }
  /// Rows from `first` on as a matrix of another shape; see detail::rows_join.
  [[nodiscard]] constexpr BasicPackedView joined(std::size_t first, Shape joined_shape) const noexcept {
    const std::size_t block = first_block(first);
    return {joined_shape, row_codes(first), stored_scale(block), S::has_zero_point ? zero_points + block : nullptr};
  }
  [[nodiscard]] float scale(std::size_t block) const noexcept {
    return S::scale_type::decode(static_cast<std::uint32_t>(load_le(stored_scale(block), S::scale_type::bits / 8)));
  }
};

template <SchemeType S>
using PackedView = BasicPackedView<S, const std::uint8_t>;
template <SchemeType S>
using PackedSpan = BasicPackedView<S, std::uint8_t>;

namespace detail {

/// Whether the blocks of a matrix's rows, and the bytes of their codes, follow one another as those of one long row.
template <SchemeType S>
constexpr bool rows_join(Shape shape) noexcept {
  using G = typename S::granularity_type;
  return G::block_rows == 1 && G::block_cols != whole && shape.cols % G::block_cols == 0 &&
         shape.cols * S::bits % 8 == 0;
}

/// Short rows of a matrix that is not empty as fewer long ones, which kernels take in larger pieces: calls `work(first,
/// shape)` for the rows from `first` on as a matrix of that shape, at most twice, and returns the first error or the
/// last result.
template <class Work>
auto join_short_rows(Shape shape, Work&& work) {
  constexpr std::size_t wanted = 4096;
  const std::size_t together = shape.cols < wanted ? std::min(shape.rows, wanted / shape.cols) : 1;
  const std::size_t whole_rows = shape.rows / together * together;
  auto result = work(std::size_t{0}, Shape{whole_rows / together, shape.cols * together});
  if (const std::size_t rest = shape.rows - whole_rows; result && rest != 0)
    result = work(whole_rows, Shape{1, rest * shape.cols});
  return result;
}

}  // namespace detail

/// A packed matrix that owns its bytes, in one allocation: codes, scales, zero points.
template <SchemeType S>
class PackedTensor {
 public:
  using scheme_type = S;

  /// Room for a matrix of this shape, contents unspecified, from `memory` or operator new.
  static Result<PackedTensor> allocate(Shape shape, std::pmr::memory_resource* memory = nullptr) {
    const Result<PackedSizes> sizes = packed_sizes<S>(shape);
    if (!sizes) return sizes.error();
    Result<Buffer> buffer = Buffer::allocate(sizes->total(), memory);
    if (!buffer) return std::move(buffer).error();
    return PackedTensor(shape, *sizes, std::move(*buffer));
  }

  [[nodiscard]] Shape shape() const noexcept { return shape_; }
  [[nodiscard]] const PackedSizes& sizes() const noexcept { return sizes_; }
  /// Stored bits per weight, scales and zero points included; 0 for an empty matrix.
  [[nodiscard]] double bits_per_weight() const noexcept {
    const double weights = static_cast<double>(shape_.rows) * static_cast<double>(shape_.cols);
    return weights == 0.0 ? 0.0 : 8.0 * static_cast<double>(sizes_.total()) / weights;
  }

  [[nodiscard]] std::span<const std::uint8_t> codes() const noexcept { return {bytes(), sizes_.codes}; }
  [[nodiscard]] std::span<const std::uint8_t> scales() const noexcept {
    return {bytes() + sizes_.codes, sizes_.scales};
  }
  [[nodiscard]] std::span<const std::uint8_t> zero_points() const noexcept {
    return {bytes() + sizes_.codes + sizes_.scales, sizes_.zero_points};
  }

  [[nodiscard]] PackedView<S> view() const noexcept {
    return {shape_, codes().data(), scales().data(), zero_points().data()};
  }
  [[nodiscard]] PackedSpan<S> view() noexcept {
    auto* p = reinterpret_cast<std::uint8_t*>(buffer_.data());
    return {shape_, p, p + sizes_.codes, p + sizes_.codes + sizes_.scales};
  }
  operator PackedView<S>() const noexcept { return view(); }

 private:
  PackedTensor(Shape shape, const PackedSizes& sizes, Buffer buffer)
      : shape_(shape), sizes_(sizes), buffer_(std::move(buffer)) {}
  [[nodiscard]] const std::uint8_t* bytes() const noexcept {
    return reinterpret_cast<const std::uint8_t*>(buffer_.data());
  }

  Shape shape_;
  PackedSizes sizes_;
  Buffer buffer_;
};

}  // namespace pare
