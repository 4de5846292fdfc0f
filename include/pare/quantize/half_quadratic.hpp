#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include "pare/calibration/calibration.hpp"
#include "pare/layouts/layouts.hpp"

namespace pare {

/// Half-quadratic quantization (Badri and Shaji, HQQ, 2023): integer codes with a real zero point that is fitted to the
/// weights alone, by a proximal method for the error's l_p norm, p < 1, in which outliers count less. The groups and
/// the matrix are those of the layout Hqq: a group is `group` consecutive elements of the flattened weight (axis 1) or
/// a column of the weight reshaped to [group, rest] (axis 0, the better one); the result is [out, in] where groups lie
/// within rows or are whole columns, else the grouped matrix, with its elements in the same order in memory.
struct HalfQuadratic {
  double bits = 4.0;        ///< 1 to 8; codes go up to 2^bits - 1, rounded: 1.58 has three
  int axis = 1;             ///< 0 or 1
  std::size_t group = 64;   ///< elements that share a scale; 0: a whole row (axis 1) or column (axis 0)
  bool optimize = true;     ///< else the range decides scale and zero alone
  bool round_zero = false;  ///< round the zero that the range gives
  int iterations = 20;      ///< at most; they end when the mean error of all weights no longer falls
  float norm = 0.7f;        ///< p
  float beta = 10.0f;       ///< how firmly the error is held to what its norm wants

  /// The codes of a matrix [out, in], whose shift is a real zero: weight = (code - zero) * scale. A group in which
  /// weights differ by at most 1e-4 has a scale of 1. O(iterations * out * in); a copy of the weights as scratch. The
  /// result does not depend on the executor. Reports its progress, in which all iterations count though few may be
  /// needed. Errors: weights that are not finite, span too far for a scale or are no whole groups, options out of
  /// range, out_of_memory, cancelled.
  Result<CodedMatrix> operator()(MatrixView<const float> weights, const Options& options = {}) const {
    if (!(bits >= 1.0 && bits <= 8.0) || (axis != 0 && axis != 1) || iterations < 0 || !(beta > 0.0f) ||
        !(norm > 0.0f && norm <= 1.0f))
      return Error{ErrorCode::invalid_argument,
                   "pare: HQQ needs 1 to 8 bits, axis 0 or 1, a norm above 0 and up to 1, and a positive beta"};
    if (Result<void> ok = check_finite(weights, "the weight"); !ok) return std::move(ok).error();
    const std::size_t whole = axis == 1 ? weights.cols : weights.rows;
    const std::size_t size = group != 0 ? group : std::max<std::size_t>(whole, 1);
    std::size_t count = 0;
    if (!checked_multiply(weights.rows, weights.cols, count) || count % size != 0)
      return Error{ErrorCode::invalid_argument, "pare: " + std::to_string(weights.rows) + " x " +
                                                    std::to_string(weights.cols) + " weights are no groups of " +
                                                    std::to_string(size)};
    const std::size_t groups = count / size;
    const bool keeps_shape = axis == 1 ? weights.cols % size == 0 : weights.rows == size;
    const Shape grouped = axis == 1 ? Shape{groups, size} : Shape{size, groups};
    auto matrix = CodedMatrix::allocate(
        keeps_shape ? weights.shape() : grouped, unsigned_format(static_cast<int>(std::ceil(bits))),
        axis == 1 ? Shape{1, size} : Shape{size, 1}, ShiftKind::real_zero, options.memory);
    if (!matrix || count == 0) return matrix;

    auto values = Matrix<float>::create({groups, size}, options.memory);
    if (!values) return std::move(values).error();
    for (std::size_t i = 0; i < count; ++i) {
      const float x = weights(i / weights.cols, i % weights.cols);
      (axis == 1 ? (*values)(i / size, i % size) : (*values)(i % groups, i / groups)) = x;
    }
    auto parameters = Array<HqqParameters>::create(groups, options.memory);
    if (!parameters) return std::move(parameters).error();
    const int last = static_cast<int>(std::nearbyint(std::exp2(bits) - 1.0));
    for (std::size_t g = 0; g < groups; ++g) {
      const std::span<const float> row = values->row(g);
      const auto [lowest, highest] = std::minmax_element(row.begin(), row.end());
      HqqParameters& p = (*parameters)[g];
      p = hqq_parameters_upto(*lowest, *highest, last);
      if (!is_finite(p.scale) || !is_finite(p.zero))
        return Error{ErrorCode::invalid_argument,
                     "pare: the weights of group " + std::to_string(g) + " span too far for a scale"};
      if (round_zero) p.zero = std::nearbyint(p.zero);
    }
    const auto highest = static_cast<float>(last);
    const detail::RowTasks tasks(values->shape(), 1);
    const std::size_t turns = optimize ? static_cast<std::size_t>(iterations) : 0;
    ProgressMeter meter(options.progress, turns * tasks.count + 1);
    if (optimize)
      if (Result<void> ok = fit_zeros(*values, highest, parameters->values(), tasks, options, meter); !ok)
        return std::move(ok).error();
    for (std::size_t g = 0; g < groups; ++g) {
      matrix->scales().data[g] = (*parameters)[g].scale;
      matrix->shifts().data[g] = (*parameters)[g].zero;
      for (std::size_t k = 0; k < size; ++k)
        matrix->codes().data[axis == 1 ? g * size + k : k * groups + g] =
            static_cast<std::uint8_t>(code((*values)(g, k), (*parameters)[g], highest));
    }
    meter.advance(turns * tasks.count + 1);
    if (Result<void> ok = meter.status(); !ok) return std::move(ok).error();
    return matrix;
  }

 private:
  static float code(float x, const HqqParameters& p, float highest) {
    // A volatile product cannot be fused into the sum: the same codes on every machine.
    const volatile float product = x * p.inverse_scale;
    return std::clamp(std::nearbyint(product + p.zero), 0.0f, highest);
  }

  /// Moves each group's zero to where the codes are best met once the errors' sparse part is taken away.
  Result<void> fit_zeros(const Matrix<float>& values, float highest, std::span<HqqParameters> parameters,
                         const detail::RowTasks& tasks, const Options& options, ProgressMeter& meter) const {
    auto sums = Array<double>::create(tasks.count, options.memory);
    if (!sums) return std::move(sums).error();
    const auto size = static_cast<double>(values.cols());
    const float reach = 1.0f / beta;
    float least = std::numeric_limits<float>::infinity();
    for (int i = 0; i < iterations; ++i) {
      options.executor(tasks.count, [&](std::size_t task) {
        if (meter.cancelled()) return;
        double sum = 0.0;
        const std::size_t end = std::min(values.rows(), (task + 1) * tasks.rows_per_task);
        for (std::size_t g = task * tasks.rows_per_task; g < end; ++g) {
          HqqParameters& p = parameters[g];
          double zero = 0.0;
          for (const float x : values.row(g)) {
            const float q = code(x, p, highest);
            const float error = x - (q - p.zero) / p.inverse_scale;
            const float magnitude = std::fabs(error);
            const float kept = std::max(magnitude - std::pow(magnitude, norm - 1.0f) * reach, 0.0f);
            zero += static_cast<double>(q - (x - std::copysign(kept, error)) * p.inverse_scale);
            sum += static_cast<double>(magnitude);
          }
          p.zero = static_cast<float>(zero / size);
        }
        (*sums)[task] = sum;
        meter.advance(1);
      });
      if (meter.cancelled()) return meter.status();
      double total = 0.0;
      for (const double sum : *sums) total += sum;
      const auto error = static_cast<float>(total / static_cast<double>(values.values().size()));
      if (!(error < least)) break;
      least = error;
    }
    return {};
  }
};

}  // namespace pare
