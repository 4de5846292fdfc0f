#pragma once

#include <cmath>
#include <cstddef>
#include <string>

#include "pare/core/core.hpp"

namespace pare {

/// What a scan settled on.
struct ScannedSparsity {
  double sparsity = 0.0;
  double accuracy = 0.0;  ///< with the layer at this sparsity
  bool within = false;    ///< whether it lost no more than allowed
};

/// How much of one layer can go, as Venum and Wanda's followers find it: tries the sparsities start, start + step, ...
/// below end, the largest first, and stops at the first whose accuracy is within `degradation` of the dense model's;
/// where none is, it returns the one with the best accuracy, the larger sparsity on a tie.
struct SensitivityScan {
  double start = 0.1;
  double step = 0.05;
  double end = 1.0;
  double degradation = 0.01;  ///< of the accuracy, in its own unit

  /// `accuracy_at(sparsity)` prunes the layer, measures the model and restores the layer; it returns Result<double>,
  /// higher being better, and its error is passed on. Error: a range without a sparsity in [0, 1].
  template <class Accuracy>
  Result<ScannedSparsity> operator()(double dense_accuracy, const Accuracy& accuracy_at) const {
    const double steps = (end - start) / step;
    if (!(start >= 0 && end <= 1 && step > 0 && steps > 0 && steps < 1e9 && degradation >= 0))
      return Error{ErrorCode::invalid_argument,
                   "pare: a sensitivity scan needs 0 <= start < end <= 1 and a positive "
                   "step, not " +
                       std::to_string(start) + " to " + std::to_string(end) + " by " + std::to_string(step)};
    // A range that is a whole number of steps but for rounding does not include its end.
    auto level = static_cast<std::size_t>(std::ceil(steps - 1e-9));
    ScannedSparsity best;
    for (bool first = true; level-- > 0; first = false) {
      const double sparsity = start + static_cast<double>(level) * step;
      Result<double> accuracy = accuracy_at(sparsity);
      if (!accuracy) return std::move(accuracy).error();
      const ScannedSparsity now{sparsity, *accuracy, std::fabs(*accuracy - dense_accuracy) <= degradation};
      if (now.within) return now;
      if (first || now.accuracy > best.accuracy) best = now;
    }
    return best;
  }
};

}  // namespace pare
