#pragma once

#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "pare/quantize/channel_scales.hpp"

namespace pare {

/// A matrix [out, in] as a product b * a of two thin ones.
struct LowRank {
  Matrix<float> a;  ///< [rank, in]
  Matrix<float> b;  ///< [out, rank]
};

/// A correction of low rank for a quantized layer (NNCF's LoRA correction), which then computes with approximation + b
/// * a. It starts from the strongest directions of weights - approximation, where channels with large inputs count for
/// more, and takes turns in fitting a and b to that difference and to what it does to the outputs, by least squares.
struct LoraCorrection {
  std::size_t rank = 8;      ///< at least 1, at most the smaller side of the weights
  int iterations = 3;        ///< turns of the two; none leaves the starting point
  std::size_t group = 128;   ///< columns among which inputs are compared at the start; 0: all channels are alike
  std::size_t subset = 128;  ///< outputs are those of every (samples / subset)-th sample; at least 1

  /// The correction of `approximation` [out, in]. `samples` [samples, in] are inputs of the layer, such as the mean
  /// token of each sequence. O(min(out, in)^3 + out * in * min(out, in)); a few copies of the weights in double.
  /// Errors: shapes that differ, no samples, values that are not finite, a rank out of range, out_of_memory.
  template <class Real = double>
  Result<LowRank> operator()(MatrixView<const float> weights, MatrixView<const float> approximation,
                             MatrixView<const float> samples, const Options& options = {}) const {
    using Dense = EigenMatrix<Real>;
    if (approximation.shape() != weights.shape())
      return detail::shape_error("the approximation", approximation.shape(), weights.shape());
    if (samples.cols != weights.cols)
      return detail::shape_error("the matrix of samples", samples.shape(), {samples.rows, weights.cols});
    if (samples.rows == 0 || subset == 0 || rank == 0 || rank > std::min(weights.rows, weights.cols) || iterations < 0)
      return Error{ErrorCode::invalid_argument,
                   "pare: a correction needs samples, a subset of them and a rank between 1 and the smaller side of "
                   "the weights"};
    if (Result<void> ok = check_finite(weights, "the weight"); !ok) return std::move(ok).error();
    if (Result<void> ok = check_finite(approximation, "the approximation"); !ok) return std::move(ok).error();
    if (Result<void> ok = check_finite(samples, "the sample"); !ok) return std::move(ok).error();
    auto a = Matrix<float>::create({rank, weights.cols}, options.memory);
    if (!a) return std::move(a).error();
    auto b = Matrix<float>::create({weights.rows, rank}, options.memory);
    if (!b) return std::move(b).error();

    const MatrixView<const float> picked = detail::pick_samples(samples, subset);
    const Dense residual = dense<Dense>(weights) - dense<Dense>(approximation), inputs = dense<Dense>(picked);
    Dense left = residual;
    emphasize(samples, left);
    Dense right = directions(left);
    left = left * right.transpose();
    const Dense outputs = inputs * residual.transpose();
    for (int i = 0; i < iterations; ++i) {
      const Dense reduced = inputs * right.transpose();
      const Dense gram = right * right.transpose() + reduced.transpose() * reduced;
      const Dense target = right * residual.transpose() + reduced.transpose() * outputs;
      left = gram.completeOrthogonalDecomposition().solve(target).transpose();
      const Dense square = left.transpose() * left;
      // Over weights and outputs alike, the best right side is the best over the weights.
      right = square.completeOrthogonalDecomposition().solve(left.transpose() * residual);
    }
    copy(right, a->view());
    copy(left, b->view());
    return LowRank{*std::move(a), *std::move(b)};
  }

 private:
  template <class Dense>
  static Dense dense(MatrixView<const float> matrix) {
    Dense result(static_cast<Eigen::Index>(matrix.rows), static_cast<Eigen::Index>(matrix.cols));
    for (std::size_t r = 0; r < matrix.rows; ++r)
      for (std::size_t c = 0; c < matrix.cols; ++c)
        result(static_cast<Eigen::Index>(r), static_cast<Eigen::Index>(c)) =
            static_cast<typename Dense::Scalar>(matrix(r, c));
    return result;
  }

  template <class Dense>
  static void copy(const Dense& matrix, MatrixView<float> to) {
    for (std::size_t r = 0; r < to.rows; ++r)
      for (std::size_t c = 0; c < to.cols; ++c)
        to(r, c) = static_cast<float>(matrix(static_cast<Eigen::Index>(r), static_cast<Eigen::Index>(c)));
  }

  /// Multiplies each channel by its largest input, as a part of the largest in its group.
  template <class Dense>
  void emphasize(MatrixView<const float> samples, Dense& matrix) const {
    const std::size_t width = group == 0 ? 0 : std::min(group, samples.cols);
    for (std::size_t first = 0; width != 0 && first < samples.cols; first += width) {
      const std::size_t end = std::min(samples.cols, first + width);
      float most = 0.0f;
      for (const bool measured : {false, true})
        for (std::size_t c = first; c < end && (!measured || most > 0.0f); ++c) {
          float largest = 0.0f;
          for (std::size_t s = 0; s < samples.rows; ++s) largest = std::max(largest, std::fabs(samples(s, c)));
          if (measured)
            matrix.col(static_cast<Eigen::Index>(c)) *= static_cast<typename Dense::Scalar>(largest / most);
          else
            most = std::max(most, largest);
        }
    }
  }

  /// The strongest right singular vectors of a matrix [out, in]: [rank, in].
  template <class Dense>
  Dense directions(const Dense& matrix) const {
    const auto count = static_cast<Eigen::Index>(rank);
    const bool wide = matrix.cols() > matrix.rows();
    const Dense gram = wide ? Dense(matrix * matrix.transpose()) : Dense(matrix.transpose() * matrix);
    const Eigen::SelfAdjointEigenSolver<Dense> solver(gram);
    // Eigenvalues ascend.
    Dense vectors = solver.eigenvectors().rightCols(count).transpose();
    if (!wide) return vectors;
    Dense result = vectors * matrix;
    for (Eigen::Index i = 0; i < count; ++i) {
      const auto length = result.row(i).norm();
      if (length > 0) result.row(i) /= length;
    }
    return result;
  }
};

}  // namespace pare
