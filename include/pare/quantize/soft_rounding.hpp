#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <string>
#include <utility>

#include "pare/quantize/grid.hpp"

namespace pare {

/// How far a weight is rounded up: h(alpha) = clip(1.2 * sigmoid(alpha) - 0.1, 0, 1), the rectified sigmoid by which
/// AdaRound makes rounding a matter of gradients. 0 and 1 are reached at finite alpha.
struct SoftRounding {
  static constexpr double stretch = 1.2;
  static constexpr double margin = 0.1;

  double up = 0.0;     ///< h
  double slope = 0.0;  ///< dh / d alpha

  static SoftRounding at(double alpha) noexcept {
    const double sigmoid = 1.0 / (1.0 + std::exp(-alpha));
    const double stretched = stretch * sigmoid - margin;
    if (stretched < 0.0 || stretched > 1.0) return {std::clamp(stretched, 0.0, 1.0), 0.0};
    return {stretched, stretch * sigmoid * (1.0 - sigmoid)};
  }
  /// The alpha of a part between 0 and 1.
  static double alpha(double part) noexcept { return -std::log(stretch / (part + margin) - 1.0); }

  /// What drives h to 0 or 1: 1 - |2 h - 1|^sharpness.
  [[nodiscard]] double penalty(double sharpness) const noexcept {
    return 1.0 - std::pow(std::fabs(2.0 * up - 1.0), sharpness);
  }
  /// Its derivative by alpha.
  [[nodiscard]] double penalty_slope(double sharpness) const noexcept {
    const double side = 2.0 * up - 1.0;
    return -2.0 * sharpness * std::copysign(std::pow(std::fabs(side), sharpness - 1.0), side) * slope;
  }
};

/// A weight between two codes.
struct SoftWeight {
  double weight = 0.0;
  double scale = 0.0;
  double zero = 0.0;
  double below = 0.0;  ///< the code of rounding down, before it is clipped to the range
  double alpha = 0.0;
  double gradient = 0.0;  ///< of the squared error by alpha
  double mean = 0.0;      ///< Adam's first moment
  double square = 0.0;    ///< Adam's second moment
};

/// Some rows of a matrix on their way from real numbers to codes, each row for itself. 80 bytes for each weight.
class SoftRows {
 public:
  /// Starts from the exact values of `count` rows of the weights, between the codes next to them on the blocks of
  /// `coded`: integers with zero points. Error: out_of_memory.
  static Result<SoftRows> create(const CodedMatrix& coded, MatrixView<const float> weights, std::size_t first,
                                 std::size_t count, std::pmr::memory_resource* memory = nullptr) {
    auto soft = Matrix<SoftWeight>::create({count, weights.cols}, memory);
    if (!soft) return std::move(soft).error();
    auto errors = Matrix<double>::create({2 * count, weights.cols}, memory);
    if (!errors) return std::move(errors).error();
    for (std::size_t r = 0; r < count; ++r)
      for (std::size_t c = 0; c < weights.cols; ++c) {
        const BlockGrid grid = detail::block_grid(coded, (first + r) / coded.block.rows, coded.group_of(c));
        const float weight = weights(first + r, c), quotient = weight / grid.scale;
        // Any range of codes ends long before; a scale of 0 has only the zero point.
        const float steps = grid.scale == 0.0f || is_nan(quotient) ? 0.0f : std::clamp(quotient, -65536.0f, 65536.0f);
        const float down = std::floor(steps);
        (*soft)(r, c) = {.weight = static_cast<double>(weight),
                         .scale = static_cast<double>(grid.scale),
                         .zero = static_cast<double>(grid.shift),
                         .below = static_cast<double>(down) + static_cast<double>(grid.shift),
                         .alpha = SoftRounding::alpha(static_cast<double>(steps - down))};
      }
    return SoftRows(*std::move(soft), *std::move(errors), first, (1 << coded.format.bits) - 1);
  }

  /// The weights [rows, columns], which a trainer may change.
  [[nodiscard]] MatrixView<SoftWeight> weights() noexcept { return weights_.view(); }
  /// The value of a weight that is rounded up so far.
  [[nodiscard]] double value(const SoftWeight& w, double up) const noexcept {
    return w.scale * (std::clamp(w.below + up, 0.0, highest_) - w.zero);
  }
  /// The code of a weight when it is rounded the way that it leans.
  [[nodiscard]] double code(const SoftWeight& w) const noexcept {
    return std::clamp(w.below + (w.alpha >= 0.0 ? 1.0 : 0.0), 0.0, highest_);
  }

  /// The squared error of the outputs for inputs of this second moment [columns, columns] while weights are between
  /// codes; fills in each weight's gradient.
  template <class Real>
  double differentiate(const Matrix<Real>& moment) {
    const double loss = error(moment, [&](const SoftWeight& w) { return value(w, SoftRounding::at(w.alpha).up); });
    const std::size_t rows = weights_.rows();
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < weights_.cols(); ++c) {
        SoftWeight& w = weights_(r, c);
        const SoftRounding rounding = SoftRounding::at(w.alpha);
        const double code = w.below + rounding.up;
        const bool within = code >= 0.0 && code <= highest_;
        w.gradient = within ? 2.0 * errors_(rows + r, c) * w.scale * rounding.slope : 0.0;
      }
    return loss;
  }
  /// The squared error of the outputs once each weight is rounded the way that it leans.
  template <class Real>
  double rounded_error(const Matrix<Real>& moment) {
    return error(moment, [&](const SoftWeight& w) { return w.scale * (code(w) - w.zero); });
  }
  /// Writes the codes of the rows.
  void store(CodedMatrix& coded) const {
    for (std::size_t r = 0; r < weights_.rows(); ++r)
      for (std::size_t c = 0; c < weights_.cols(); ++c)
        coded.codes()(first_ + r, c) = static_cast<std::uint8_t>(code(weights_(r, c)));
  }

 private:
  SoftRows(Matrix<SoftWeight> weights, Matrix<double> errors, std::size_t first, int highest)
      : weights_(std::move(weights)), errors_(std::move(errors)), first_(first), highest_(highest) {}

  /// The lower half of errors_ becomes the errors of the weights times the moment.
  template <class Value>
  double error(const Matrix<double>& moment, const Value& value_of) {
    const std::size_t rows = weights_.rows(), cols = weights_.cols();
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < cols; ++c) errors_(r, c) = value_of(weights_(r, c)) - weights_(r, c).weight;
    return multiply(errors_.view(), moment.view());
  }

  /// Fills the lower half of the errors; returns the sum of both halves' products of elements.
  template <class Sum>
  static Sum multiply(MatrixView<Sum> halves, MatrixView<const Sum> moment) {
    const auto count = static_cast<Eigen::Index>(halves.rows / 2);
    auto errors = as_eigen(halves);
    errors.bottomRows(count).noalias() = errors.topRows(count) * as_eigen(moment);
    return errors.topRows(count).cwiseProduct(errors.bottomRows(count)).sum();
  }

  Matrix<SoftWeight> weights_;
  Matrix<double> errors_;
  std::size_t first_ = 0;
  double highest_ = 0.0;
};

}  // namespace pare
