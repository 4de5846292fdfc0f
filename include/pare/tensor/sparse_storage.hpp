#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>

#include "pare/tensor/mask.hpp"

namespace pare {

/// Keeps what is not zero: NaN too, -0 not. Errors: a null pointer, a shape too large, out_of_memory.
inline Result<Mask> nonzero_mask(MatrixView<const float> weights, const Options& options = {}) {
  if (Result<void> ok = detail::check_input(weights, "the weight matrix"); !ok) return std::move(ok).error();
  Result<Mask> mask = Mask::create(weights.shape(), options.memory);
  if (mask && !weights.empty())
    options.executor(weights.rows, [&](std::size_t r) {
      for (std::size_t c = 0; c < weights.cols; ++c) mask->set(r, c, weights(r, c) != 0.0f);
    });
  return mask;
}

namespace detail {

/// Whether sparse storage can be made of weights of this shape and the mask.
inline Result<void> check_mask(MaskView mask, Shape weights) {
  if (mask.shape() != weights) return shape_error("the mask", mask.shape(), weights);
  if (!mask.empty() && mask.data == nullptr)
    return Error{ErrorCode::invalid_argument, "pare: the mask is a null pointer"};
  if (weights.cols > std::numeric_limits<std::int32_t>::max())
    return Error{ErrorCode::unsupported,
                 "pare: sparse storage takes at most 2^31 - 1 columns, not " + std::to_string(weights.cols)};
  return {};
}

inline Result<void> check_masked(MatrixView<const float> weights, MaskView mask) {
  if (Result<void> ok = check_mask(mask, weights.shape()); !ok) return ok;
  return check_input(weights, "the weight matrix");
}

/// Where the values of each row begin, and after the last one their count.
inline Result<Array<std::size_t>> kept_offsets(MaskView mask, std::pmr::memory_resource* memory) {
  if (mask.rows == std::numeric_limits<std::size_t>::max())
    return Error{ErrorCode::invalid_argument, "pare: the mask has more rows than can be counted"};
  Result<Array<std::size_t>> offsets = Array<std::size_t>::create(mask.rows + 1, memory);
  if (offsets && mask.cols != 0)
    for (std::size_t r = 0; r < mask.rows; ++r)
      (*offsets)[r + 1] = (*offsets)[r] + MaskView{mask.row(r), 1, mask.cols}.kept();
  return offsets;
}

/// Checks an output for the values of all elements and fills it with zeros.
inline Result<void> clear_dense(Shape shape, MatrixView<float> out) {
  if (out.shape() != shape) return shape_error("the output", out.shape(), shape);
  if (Result<void> ok = check_output(out, "the output"); !ok) return ok;
  for (std::size_t r = 0; r < out.rows; ++r)
    for (std::size_t c = 0; c < out.cols; ++c) out(r, c) = 0.0f;
  return {};
}

/// y = x * W^T for storage that multiplies some rows of it with x.
template <class Kernels, class Weights>
Result<void> multiply_sparse(const Weights& weights, MatrixView<const float> x, MatrixView<float> y,
                             const Options& options) {
  const Shape shape = weights.shape();
  if (Result<void> ok = check_product(shape, {std::as_bytes(weights.held())}, x, y); !ok) return ok;
  if (y.empty()) return {};
  const std::size_t unit = weights.row_unit(), rows_per_task = ceil_div(std::size_t{64}, unit) * unit;
  options.executor(ceil_div(shape.rows, rows_per_task), [&](std::size_t task) {
    const std::size_t begin = task * rows_per_task, rows = std::min(rows_per_task, shape.rows - begin);
    weights.template multiply<Kernels>(x, begin, rows, y);
  });
  return {};
}

}  // namespace detail
}  // namespace pare
