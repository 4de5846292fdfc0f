#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory_resource>
#include <span>
#include <utility>

#include "pare/quantize/additive_codes.hpp"

namespace pare::detail {

/// The loss of a matrix of additive codebooks and its derivatives by codebooks and scales.
template <class Real>
class AdditiveGradient {
 public:
  static Result<AdditiveGradient> create(const AdditiveMatrix& matrix, std::pmr::memory_resource* memory) {
    AdditiveGradient gradient(matrix.shape.rows);
    const std::size_t values = matrix.codebooks * matrix.vectors * matrix.group.cols;
    auto parts = Matrix<double>::create({gradient.tasks_, values}, memory);
    if (!parts) return std::move(parts).error();
    auto scales = Array<double>::create(matrix.shape.rows, memory);
    if (!scales) return std::move(scales).error();
    auto losses = Array<double>::create(gradient.tasks_, memory);
    if (!losses) return std::move(losses).error();
    auto scratch = Matrix<Real>::create({gradient.tasks_ * 2 * panel, matrix.shape.cols}, memory);
    if (!scratch) return std::move(scratch).error();
    gradient.parts_ = *std::move(parts);
    gradient.scales_ = *std::move(scales);
    gradient.losses_ = *std::move(losses);
    gradient.scratch_ = *std::move(scratch);
    return gradient;
  }

  /// The mean over tokens and outputs of the squared error; values() and scales() are then its derivatives.
  double compute(MatrixView<const float> weights, const SecondMoment<Real>& moment, const AdditiveMatrix& matrix,
                 const Executor& executor) {
    for (double& part : parts_.values()) part = 0.0;
    const double unit = 1.0 / (static_cast<double>(moment.tokens()) * static_cast<double>(weights.rows));
    executor(tasks_, [&](std::size_t task) {
      losses_[task] = 0.0;
      const std::size_t end = std::min(weights.rows, (task + 1) * rows_each_);
      for (std::size_t first = task * rows_each_; first < end; first += panel) {
        const std::size_t count = std::min(panel, end - first);
        const MatrixView<Real> errors(scratch_.row(task * 2 * panel).data(), count, weights.cols);
        const MatrixView<Real> products(scratch_.row(task * 2 * panel + panel).data(), count, weights.cols);
        for (std::size_t r = 0; r < count; ++r)
          for (std::size_t c = 0; c < weights.cols; ++c)
            errors(r, c) = static_cast<Real>(matrix.value(first + r, c)) - static_cast<Real>(weights(first + r, c));
        as_eigen(products).noalias() = as_eigen(errors) * as_eigen(moment.sum());
        losses_[task] += static_cast<double>(as_eigen(products).cwiseProduct(as_eigen(errors)).sum()) * unit;
        for (std::size_t r = 0; r < count; ++r) add_row(task, first + r, matrix, products.row(r), 2.0 * unit);
      }
    });
    double loss = 0.0;
    for (std::size_t task = 0; task < tasks_; ++task) {
      loss += losses_[task];
      for (std::size_t i = 0; task > 0 && i < parts_.cols(); ++i) parts_(0, i) += parts_(task, i);
    }
    return loss;
  }

  [[nodiscard]] std::span<const double> values() const noexcept { return parts_.row(0); }
  [[nodiscard]] std::span<const double> scales() const noexcept { return scales_.values(); }

 private:
  static constexpr std::size_t panel = 32;

  explicit AdditiveGradient(std::size_t rows)
      : rows_each_(std::max<std::size_t>(panel, ceil_div(rows, 16))), tasks_(ceil_div(rows, rows_each_)) {}

  /// Adds a row's part, of which `product` is the derivative by the weights but for a factor.
  void add_row(std::size_t task, std::size_t r, const AdditiveMatrix& matrix, const Real* product, double factor) {
    const std::size_t width = matrix.group.cols;
    const std::span<double> values = parts_.row(task);
    const auto scale = static_cast<double>(matrix.scale(r));
    scales_[r] = 0.0;
    for (std::size_t c = 0; c < matrix.grid().cols; ++c)
      for (std::size_t m = 0; m < matrix.codebooks; ++m) {
        const std::size_t code = matrix.code(r, c, m);
        const float* const vector = matrix.vector(m, code).data;
        double* const target = values.data() + (m * matrix.vectors + code) * width;
        for (std::size_t i = 0; i < width; ++i) {
          const double slope = factor * static_cast<double>(product[c * width + i]);
          target[i] += scale * slope;
          scales_[r] += static_cast<double>(vector[i]) * slope;
        }
      }
  }

  std::size_t rows_each_, tasks_;
  Matrix<double> parts_;
  Array<double> scales_, losses_;
  Matrix<Real> scratch_;
};

/// Adam without momentum (beta 0 and 0.95) in its AMSGrad form (Kingma and Ba, 2015; Reddi et al., 2018).
class Adam {
 public:
  static Result<Adam> create(std::size_t count, double learning_rate, std::pmr::memory_resource* memory) {
    auto squares = Matrix<double>::create({2, count}, memory);
    if (!squares) return std::move(squares).error();
    return Adam(*std::move(squares), learning_rate);
  }

  void update(std::span<float> parameters, std::span<const double> gradient) {
    remaining_ *= decay;
    const std::span<double> square = squares_.row(0), largest = squares_.row(1);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      square[i] = decay * square[i] + (1.0 - decay) * gradient[i] * gradient[i];
      largest[i] = std::max(largest[i], square[i]);
      const double length = std::sqrt(largest[i] / (1.0 - remaining_)) + 1e-8;
      parameters[i] = static_cast<float>(static_cast<double>(parameters[i]) - learning_rate_ * gradient[i] / length);
    }
  }

 private:
  static constexpr double decay = 0.95;

  Adam(Matrix<double> squares, double learning_rate) : squares_(std::move(squares)), learning_rate_(learning_rate) {}

  Matrix<double> squares_;  ///< the average of squares, and the largest that it was
  double learning_rate_;
  double remaining_ = 1.0;
};

}  // namespace pare::detail
