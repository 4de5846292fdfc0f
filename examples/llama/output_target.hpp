#pragma once

#include <cstddef>
#include <vector>

#include "pare/calibration/calibration.hpp"
#include "pare/core/matrix.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// What enters a layer for some tokens, [tokens, in], and what its output is added to, [tokens, out], or nothing.
struct LayerTokens {
  pare::MatrixView<const float> input;
  pare::MatrixView<const float> residual;
};

/// Finds the weights with which a layer that gets the quantized model's inputs comes nearest to what it would put out
/// in the float model: the asymmetric calibration of GPTAQ (Li et al., 2025), solved by least squares for all weights
/// at once, and with the residual stream's own error in what a layer that writes to it has to make up for. Quantizing
/// these weights by the second moment of the quantized model's inputs then lessens the error of all layers so far.
class OutputTarget {
 public:
  /// For layers of `in` inputs whose output is added to a residual of `out` values; 0: to none. 8 * in * (in + out)
  /// bytes.
  OutputTarget(std::size_t in, std::size_t out);

  /// Adds the tokens of one sequence in the float model, and the same ones in the quantized model.
  void add(const LayerTokens& exact, const LayerTokens& quantized, pare::Executor executor);

  /// The weights, [out, in] in row-major order, by the second moment of all the quantized model's inputs that were
  /// added. O(in^3 + out * in^2). The result does not depend on the executor. Error: a moment that is not positive
  /// definite although 0.01 of its mean diagonal is added to the diagonal.
  [[nodiscard]] pare::Result<std::vector<float>> weights(pare::MatrixView<const float> weights,
                                                         const pare::SecondMoment<double>& moment) const;

 private:
  pare::EigenMatrix<double> inputs_;     ///< sum of (exact - quantized) quantized^T over inputs
  pare::EigenMatrix<double> residuals_;  ///< the same with residuals on the left
};

}  // namespace llama
