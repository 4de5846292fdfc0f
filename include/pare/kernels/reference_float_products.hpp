#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace pare {

/// The columns whose products are summed before they join the result of a matrix product; the most that
/// accumulate_coded_products takes.
inline constexpr std::size_t product_columns = 1024;

/// The scalar definition of products with weights in float, all of them or only those that a storage holds.
struct ReferenceFloatProducts {
  /// y[i, j] += dot(x_i, w_j) for i < m rows of x and j < n rows of w, each k values long; strides count floats.
  ///
  /// The order of summation is part of the definition: sixteen partial sums, value c joining sum c mod 16 by a fused
  /// multiply-add, then folded in halves (s[j] + s[j + 8], + 4, + 2, + 1).
  static void accumulate_products(const float* x, std::size_t m, std::size_t x_stride, const float* w, std::size_t n,
                                  std::size_t w_stride, std::size_t k, float* y, std::size_t y_stride) noexcept {
    for (std::size_t i = 0; i < m; ++i)
      for (std::size_t j = 0; j < n; ++j) {
        std::array<float, 16> sum{};
        for (std::size_t c = 0; c < k; ++c)
          sum[c % 16] = std::fma(x[i * x_stride + c], w[j * w_stride + c], sum[c % 16]);
        y[i * y_stride + j] += fold(sum);
      }
  }

  /// y[r] for each of `rows` rows of which only some values are held: those of row r are values[offsets[r] ..
  /// offsets[r + 1]), value k of them in column columns[k]. Value k of a row joins partial sum k mod 16; the rest is as
  /// accumulate_products says.
  static void multiply_csr(const float* x, const float* values, const std::uint32_t* columns,
                           const std::size_t* offsets, std::size_t rows, float* y) noexcept {
    for (std::size_t r = 0; r < rows; ++r) {
      std::array<float, 16> sum{};
      for (std::size_t k = 0; k < offsets[r + 1] - offsets[r]; ++k)
        sum[k % 16] = std::fma(x[columns[offsets[r] + k]], values[offsets[r] + k], sum[k % 16]);
      y[r] = fold(sum);
    }
  }

  /// As multiply_csr, with a bit for each column: bit c % 8 of byte c / 8 of a row, `row_bytes` apart, is 1 where the
  /// value is held; those past the last column are 0. The value of column c joins partial sum c mod 16.
  static void multiply_bitmask(const float* x, const std::uint8_t* bits, std::size_t row_bytes, const float* values,
                               const std::size_t* offsets, std::size_t rows, float* y) noexcept {
    for (std::size_t r = 0; r < rows; ++r) {
      std::array<float, 16> sum{};
      const float* value = values + offsets[r];
      for (std::size_t b = 0; b < row_bytes; ++b)
        for (std::uint32_t left = bits[r * row_bytes + b]; left != 0; left &= left - 1) {
          const std::size_t c = b * 8 + static_cast<std::size_t>(std::countr_zero(left));
          sum[c % 16] = std::fma(x[c], *value++, sum[c % 16]);
        }
      y[r] = fold(sum);
    }
  }

  /// y[r] for `rows` rows of a matrix of which only some blocks are held, `block_rows` by `block_cols`: those of block
  /// row b are offsets[b] .. offsets[b + 1], block k stands in block column columns[k] and holds column after column.
  /// The last block row and column may reach past the matrix, which has `cols` columns. The products of a row join its
  /// sum by fused multiply-adds in the order of the columns, from +0.
  static void multiply_block_csr(const float* x, std::size_t cols, const float* values, const std::uint32_t* columns,
                                 const std::size_t* offsets, std::size_t block_rows, std::size_t block_cols,
                                 std::size_t rows, float* y) noexcept {
    for (std::size_t r = 0; r < rows; ++r) {
      const std::size_t b = r / block_rows;
      float sum = 0.0f;
      for (std::size_t k = offsets[b]; k < offsets[b + 1]; ++k) {
        const std::size_t first = columns[k] * block_cols;
        const float* block = values + k * block_rows * block_cols + r % block_rows;
        for (std::size_t c = 0; c < std::min(block_cols, cols - first); ++c)
          sum = std::fma(x[first + c], block[c * block_rows], sum);
      }
      y[r] = sum;
    }
  }

 private:
  static float fold(std::array<float, 16>& sum) noexcept {
    for (std::size_t half = 8; half > 0; half /= 2)
      for (std::size_t s = 0; s < half; ++s) sum[s] += sum[s + half];
    return sum[0];
  }
};

}  // namespace pare
