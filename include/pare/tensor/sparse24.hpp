#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "pare/tensor/mask.hpp"
#include "pare/tensor/prepared.hpp"

namespace pare {

/// Prepared weights that hold at most two of every four columns of a row, counted from column 0: half of the codes, and
/// two bits for the place of each. Made by `prepare_sparse24`; `matmul` and `matvec` take it as they do PreparedTensor.
template <SchemeType S>
using Sparse24Tensor = PreparedTensor<S, Sparse24Codes<typename detail::Preparation<S>::codes_type>>;

namespace detail {

/// Two of four columns with all that are kept among them, the first one first.
struct PlacePair {
  std::uint8_t first, second;
};
inline constexpr std::array<PlacePair, 16> place_pairs = [] {
  std::array<PlacePair, 16> pairs{};
  for (unsigned kept = 0; kept < 16; ++kept)
    for (std::uint8_t a = 4; a-- > 0;)
      for (std::uint8_t b = 3; b > a; --b)
        if ((kept & ~(1u << a | 1u << b)) == 0) pairs[kept] = {a, b};
  return pairs;
}();

/// Which of the columns [column, column + 4) the mask keeps; `column` is a multiple of four.
inline unsigned kept_of_four(MaskView mask, std::size_t row, std::size_t column) {
  const unsigned four = mask.row(row)[column / 8] >> column % 8 & 15u;
  return mask.cols - column < 4 ? four & ((1u << (mask.cols - column)) - 1u) : four;
}

inline Result<void> check_sparse24(MaskView mask) {
  for (std::size_t r = 0; r < mask.rows; ++r)
    for (std::size_t c = 0; c < mask.cols; c += 4)
      if (const int kept = std::popcount(kept_of_four(mask, r, c)); kept > 2)
        return Error{ErrorCode::invalid_argument, "pare: row " + std::to_string(r) + " keeps " + std::to_string(kept) +
                                                      " of the four columns from " + std::to_string(c) +
                                                      " on; 2:4 weights keep at most two"};
  return {};
}

/// The codes of block `block`, with the code of zero where a pair is not kept.
template <KernelBackend Kernels, SchemeType S>
void fill_sparse24(Sparse24Tensor<S>& tensor, std::size_t block, const PackedView<S>& packed, MaskView mask) {
  using P = Preparation<S>;
  using Codes = typename P::codes_type;
  constexpr std::size_t window = 512, unit_bytes = prepared_unit_bytes<Sparse24Codes<Codes>>;
  std::array<std::uint8_t, window> codes;
  const std::span<std::uint8_t> out = tensor.codes(block);
  std::fill(out.begin(), out.end(), std::uint8_t{0});
  const std::size_t first_row = block * prepared_rows;
  for (std::size_t r = 0; r < std::min(prepared_rows, mask.rows - first_row); ++r)
    for (std::size_t c = 0; c < mask.cols; c += 4) {
      if (c % window == 0)
        Kernels::template unpack<S::bits>(packed.row_codes(first_row + r) + c / 8 * S::bits,
                                          std::min(window, mask.cols - c), codes.data());
      std::uint32_t zero = 0;
      if constexpr (S::has_zero_point) zero = packed.zero_points[packed.first_block(first_row + r) + c / P::columns];
      const unsigned kept = kept_of_four(mask, first_row + r, c);
      const auto [first, second] = place_pairs[kept];
      std::uint8_t* unit = out.data() + c / prepared_unit * unit_bytes;
      for (const std::size_t place : {first, second}) {
        const std::size_t at = c % prepared_unit / 2 + (place == second ? 1 : 0);
        const std::uint32_t code = (kept >> place & 1u) != 0 ? codes[(c + place) % window] : zero;
        const PreparedPlace places = sparse24_place(r, at), values = prepared_place<Codes>(r, at);
        unit[places.byte] = static_cast<std::uint8_t>(unit[places.byte] | place << places.shift);
        std::uint8_t& value = unit[sparse24_places_bytes + values.byte];
        value = static_cast<std::uint8_t>(value | (code ^ P::flip) << values.shift);
      }
    }
}

/// Keeps the elements whose code is not that of zero.
template <KernelBackend Kernels, SchemeType S>
Result<Mask> mask_of_codes(const PackedView<S>& packed, const Options& options) {
  Result<Mask> mask = Mask::create(packed.shape, options.memory);
  if (!mask) return mask;
  options.executor(packed.shape.rows, [&](std::size_t r) {
    constexpr std::size_t window = 512;
    std::array<std::uint8_t, window> codes;
    for (std::size_t c = 0; c < packed.shape.cols; ++c) {
      if (c % window == 0)
        Kernels::template unpack<S::bits>(packed.row_codes(r) + c / 8 * S::bits,
                                          std::min(window, packed.shape.cols - c), codes.data());
      std::uint32_t zero = 0;
      if constexpr (S::has_zero_point) zero = packed.zero_points[packed.first_block(r) + c / Preparation<S>::columns];
      // The sign of a zero of E2M1 is its highest bit.
      constexpr std::uint32_t counted = Preparation<S>::is_e2m1 ? 7u : (1u << S::bits) - 1u;
      mask->set(r, c, (codes[c % window] & counted) != zero);
    }
  });
  return mask;
}

}  // namespace detail

/// Weights of which `mask` keeps at most two of every four columns, prepared as `prepare` does: the schemes are the
/// same, and a product gives the bits of one with dense prepared weights that are zero where the mask prunes. A product
/// of one row reads 5 bits a weight for codes of 8 bits and 3 for those of 4. Errors: shapes that differ, more than two
/// kept columns of four (which ones), null pointers, out_of_memory.
template <SchemeType S, KernelBackend Kernels = HighwayKernels>
Result<Sparse24Tensor<S>> prepare_sparse24(PackedView<S> packed, MaskView mask, const Options& options = {}) {
  if (Result<void> ok = detail::check_prepared(packed); !ok) return std::move(ok).error();
  if (mask.shape() != packed.shape) return detail::shape_error("the mask", mask.shape(), packed.shape);
  if (!mask.empty() && mask.data == nullptr)
    return Error{ErrorCode::invalid_argument, "pare: the mask is a null pointer"};
  Result<Sparse24Tensor<S>> tensor = Sparse24Tensor<S>::allocate(packed.shape, options.memory);
  if (!tensor || mask.empty()) return tensor;
  if (Result<void> ok = detail::check_sparse24(mask); !ok) return std::move(ok).error();
  options.executor(tensor->blocks(), [&](std::size_t block) {
    detail::fill_sparse24<Kernels>(*tensor, block, packed, mask);
    tensor->fill_parameters(block, packed);
  });
  return tensor;
}

template <SchemeType S, KernelBackend Kernels = HighwayKernels>
Result<Sparse24Tensor<S>> prepare_sparse24(const PackedTensor<S>& packed, MaskView mask, const Options& options = {}) {
  return prepare_sparse24<S, Kernels>(packed.view(), mask, options);
}

/// As above, of weights whose codes are zero where they were pruned.
template <SchemeType S, KernelBackend Kernels = HighwayKernels>
Result<Sparse24Tensor<S>> prepare_sparse24(PackedView<S> packed, const Options& options = {}) {
  if (Result<void> ok = detail::check_prepared(packed); !ok) return std::move(ok).error();
  Result<Mask> mask = detail::mask_of_codes<Kernels>(packed, options);
  if (!mask) return std::move(mask).error();
  return prepare_sparse24<S, Kernels>(packed, mask->view(), options);
}

template <SchemeType S, KernelBackend Kernels = HighwayKernels>
Result<Sparse24Tensor<S>> prepare_sparse24(const PackedTensor<S>& packed, const Options& options = {}) {
  return prepare_sparse24<S, Kernels>(packed.view(), options);
}

}  // namespace pare
