#pragma once

#include <cstddef>

namespace llama {

/// Rows that the functions below write have room for a multiple of this many floats.
inline constexpr std::size_t row_step = 16;

constexpr std::size_t padded(std::size_t columns) noexcept { return (columns + row_step - 1) / row_step * row_step; }

/// y_i = sum of x_i[c] * w_c over c < k, for m rows x_i and rows w_c of w, whose first n columns count. Rows of w and y
/// have padded(n) columns, w_stride and y_stride apart; y is written up to there. Each sum is taken in the order of c.
void multiply_rows(const float* const* x, std::size_t m, std::size_t k, const float* w, std::size_t w_stride,
                   std::size_t n, float* y, std::size_t y_stride) noexcept;

/// Replaces n scores, at least one, by exp(factor * (score - the largest)) and returns their sum; zeros follow them up
/// to padded(n). A score that is NaN stays so.
float exponentials(float* scores, std::size_t n, float factor) noexcept;

/// gate = silu(gate) * up, for n values.
void activate(float* gate, const float* up, std::size_t n) noexcept;

/// x += values, for n values.
void add(const float* values, float* x, std::size_t n) noexcept;

/// out = weights * (x * factor) with the factor that makes the mean of x's squares 1, but for epsilon; n values.
void normalize(const float* x, const float* weights, double epsilon, std::size_t n, float* out) noexcept;

}  // namespace llama
