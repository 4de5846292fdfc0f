#pragma once

#include <string>
#include <utility>

#include "pare/calibration/calibration.hpp"
#include "pare/tensor/tensor.hpp"

namespace pare {

/// What pruning with an update of the kept weights returns.
struct PrunedMatrix {
  Matrix<float> weights;  ///< [out, in], +0 where pruned
  Mask mask;              ///< what is kept
  double loss = 0.0;      ///< the squared error of the outputs, summed over all calibration tokens; damping counts too
  double damping = 0.0;   ///< what was added to each diagonal element of the Hessian
};

namespace detail {

/// What every update by a second moment asks of its inputs.
template <class Real>
Result<void> check_moment(MatrixView<const float> weights, const SecondMoment<Real>& moment) {
  if (Result<void> ok = check_finite(weights, "the weight"); !ok) return ok;
  if (moment.channels() != weights.cols)
    return Error{ErrorCode::invalid_argument, "pare: the second moment has " + std::to_string(moment.channels()) +
                                                  " channels where the weight has " + std::to_string(weights.cols) +
                                                  " columns"};
  if (moment.tokens() == 0)
    return Error{ErrorCode::invalid_argument, "pare: the second moment has seen no tokens: add calibration samples"};
  return {};
}

}  // namespace detail
}  // namespace pare
