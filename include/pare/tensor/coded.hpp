#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <span>
#include <string>
#include <utility>

#include "pare/layouts/layouts.hpp"
#include "pare/tensor/operand.hpp"
#include "pare/tensor/packed.hpp"

namespace pare {
namespace detail {

/// What CodedMatrix calls a scheme's format of scales.
template <ScaleFormat F>
constexpr ScaleType scale_type_of() noexcept {
  static_assert(F::kind != FormatKind::minifloat || F::bits == 16 || std::same_as<F, E4M3>,
                "pare: a CodedMatrix keeps scales in f32, f16, bf16, e4m3 or e8m0");
  if constexpr (F::kind == FormatKind::float32) return ScaleType::float32;
  if constexpr (F::kind == FormatKind::exponent) return ScaleType::float8_e8m0;
  if constexpr (std::same_as<F, F16>) return ScaleType::float16;
  if constexpr (std::same_as<F, BF16>) return ScaleType::bfloat16;
  return ScaleType::float8_e4m3;
}

/// A scheme's codes as a CodedMatrix counts them: integers from zero.
template <SchemeType S>
constexpr CodeFormat code_format_of() noexcept {
  using F = typename S::format_type;
  if constexpr (IntegerFormat<F>)
    return unsigned_format(F::bits);
  else
    return code_format<F>();
}

/// A scheme's block in a matrix of this shape, never of 0 rows or columns.
template <SchemeType S>
constexpr Shape block_of(Shape shape) noexcept {
  using G = typename S::granularity_type;
  return {std::min(G::block_rows, std::max<std::size_t>(shape.rows, 1)),
          std::min(G::block_cols, std::max<std::size_t>(shape.cols, 1))};
}

/// How a PackedTensor's codes follow one another.
template <SchemeType S>
inline constexpr Packing packed_rows{.bits = S::bits, .crosses_words = true};

}  // namespace detail

/// The codes of a packed matrix with nothing packed, to be written in any layout that holds them. A symmetric scheme of
/// integers has the zero point 2^(bits - 1). Errors: null pointers, out_of_memory.
template <SchemeType S>
Result<CodedMatrix> coded(PackedView<S> packed, std::pmr::memory_resource* memory = nullptr) {
  constexpr bool integer = IntegerFormat<typename S::format_type>;
  constexpr ScaleType scale_type = detail::scale_type_of<typename S::scale_type>();
  const Result<PackedSizes> sizes = packed_sizes<S>(packed.shape);
  if (!sizes) return sizes.error();
  auto matrix = CodedMatrix::allocate(packed.shape, detail::code_format_of<S>(), detail::block_of<S>(packed.shape),
                                      integer ? ShiftKind::zero_point : ShiftKind::none, memory);
  if (!matrix) return matrix;
  matrix->scale_type = scale_type;
  const std::size_t blocks = matrix->grid.rows * matrix->grid.cols;
  if (blocks == 0) return matrix;
  if (packed.codes == nullptr || packed.scales == nullptr || (S::has_zero_point && packed.zero_points == nullptr))
    return Error{ErrorCode::invalid_argument, "pare: the packed tensor is a null pointer"};
  if (auto done = unpack_codes(detail::packed_rows<S>, std::span(packed.codes, sizes->codes), matrix->codes()); !done)
    return done.error();
  for (std::size_t i = 0; i < blocks; ++i) matrix->scales().data[i] = packed.scale(i);
  if constexpr (S::has_zero_point) {
    for (std::size_t i = 0; i < blocks; ++i) matrix->shifts().data[i] = static_cast<float>(packed.zero_points[i]);
  } else if constexpr (integer) {
    detail::flip_signs(matrix->codes(), S::bits);
    fill_shifts(*matrix, static_cast<float>(1 << (S::bits - 1)));
  }
  return matrix;
}

/// As above, for a tensor that owns its bytes.
template <SchemeType S>
Result<CodedMatrix> coded(const PackedTensor<S>& packed, std::pmr::memory_resource* memory = nullptr) {
  return coded<S>(packed.view(), memory);
}

/// The packed form of a matrix of codes, which decodes to the same values; its blocks may be split into the scheme's.
/// Where the scheme cannot hold them, an `unsupported` error that says what it is: other codes, blocks that are no
/// multiples, columns in groups out of order, a scale or a zero point that the scheme's would round.
template <SchemeType S>
Result<PackedTensor<S>> pack(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) {
  constexpr bool integer = IntegerFormat<typename S::format_type>;
  constexpr ScaleType scale_type = detail::scale_type_of<typename S::scale_type>();
  constexpr auto name = pare::name<S>();
  if (integer ? !matrix.format.integer || matrix.format.bits > S::bits
              : !(matrix.format == detail::code_format_of<S>()))
    return detail::refuse(name, "codes of " + std::string(matrix.format.name));
  if (matrix.tensor_scale != 1.0f)
    return detail::refuse(name, "a scale of the whole tensor, " + text(matrix.tensor_scale));
  const auto grid = ScaleGrid::fit(matrix, name, detail::block_of<S>(matrix.shape));
  if (!grid) return grid.error();
  auto packed = PackedTensor<S>::allocate(matrix.shape, memory);
  if (!packed || matrix.shape.rows == 0 || matrix.shape.cols == 0) return packed;
  const PackedSpan<S> out = packed->view();
  const auto store = [&](std::size_t r, std::size_t g) -> Result<void> {
    const auto scale = grid->scale_code(r, g, scale_type);
    if (!scale) return scale.error();
    constexpr std::size_t scale_bytes = S::scale_type::bits / 8;
    const std::size_t i = r * grid->grid().cols + g;
    store_le(out.scales + i * scale_bytes, *scale, scale_bytes);
    if constexpr (S::has_zero_point) {
      const auto zero = grid->zero_point(r, g, 0, (1 << S::bits) - 1);
      if (!zero) return zero.error();
      out.zero_points[i] = static_cast<std::uint8_t>(*zero);
    }
    return {};
  };
  if (auto done = for_each_place(grid->grid(), store); !done) return done.error();
  if constexpr (!integer)
    if (auto good = grid->unshifted(); !good) return good.error();
  constexpr bool centred = integer && !S::has_zero_point;
  auto codes = centred ? centred_codes(*grid, S::bits, memory) : copy_codes(matrix, memory);
  if (!codes) return codes.error();
  const MatrixView<std::uint8_t> stored = bytes_view(*codes, matrix.shape);
  if (centred) detail::flip_signs(stored, S::bits);
  if (auto done = pack_codes(detail::packed_rows<S>, MatrixView<const std::uint8_t>(stored),
                             std::span(out.codes, packed->sizes().codes));
      !done)
    return done.error();
  return packed;
}

}  // namespace pare
