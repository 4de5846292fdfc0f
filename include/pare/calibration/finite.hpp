#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "pare/metrics/metrics.hpp"
#include "pare/tensor/tensor.hpp"

namespace pare {

/// Success where every element is finite; else an error that says which is not. `what` names the matrix, as "the
/// activations".
inline Result<void> check_finite(MatrixView<const float> matrix, const char* what) {
  if (Result<void> ok = detail::check_input(matrix, what); !ok) return ok;
  for (std::size_t r = 0; r < matrix.rows; ++r)
    for (std::size_t c = 0; c < matrix.cols; ++c)
      if (!is_finite(matrix(r, c)))
        return Error{ErrorCode::invalid_argument, "pare: " + std::string(what) + " at (" + std::to_string(r) + ", " +
                                                      std::to_string(c) + ") is " +
                                                      (is_nan(matrix(r, c)) ? "not a number" : "infinite")};
  return {};
}

}  // namespace pare
