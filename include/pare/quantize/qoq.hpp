#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "pare/quantize/error_feedback.hpp"
#include "pare/quantize/grid.hpp"

namespace pare {

/// Where the zero point of a group of QoQ's 4-bit codes is taken off.
enum class QoqZero {
  after_scale,   ///< code * scale - zero, any 8-bit integer: QoQ of lmquant, whose first level reaches 120
  before_scale,  ///< (code - zero) * scale, the zero a code: what QServe's layout holds; the first level reaches 119
};

/// A layer quantized by QoQ.
struct QoqResult {
  CodedMatrix matrix;
  Array<float> channel_scales;  ///< the first level's of each row, for QServePerGroup; nothing without groups
  double loss = 0.0;            ///< as GptqResult's; 0 where nothing made up for errors
  double damping = 0.0;         ///< as GptqResult's
};

/// QoQ's 4-bit weights for products in 8 bits (Lin et al., QServe, 2024). With groups there are two levels, so that the
/// first product needs integers alone: each row is divided by a half, absmax / 120 (or 119), and clipped to that range,
/// and what is an 8-bit integer then but for its rounding becomes unsigned 4-bit codes with an integer scale and zero
/// for each group. Without groups a row has one half as its scale and one that is subtracted. Ties go to even.
struct Qoq {
  std::size_t group = 128;  ///< columns of a row that share a scale; 0: all of them, in one level
  QoqZero zero = QoqZero::after_scale;
  Damping damping{};
  bool act_order = true;                   ///< as Gptq's
  std::size_t block = 128;                 ///< as Gptq's
  std::span<const std::uint32_t> order{};  ///< as Gptq's

  /// Each weight of [out, in] to the nearest code. The matrix has the scale first level * second level, which float32
  /// holds exactly, and ShiftKind::offset or, with zeros before the scale, zero points. The result does not depend on
  /// the executor. Errors: weights that are not finite or beyond the range of half, out_of_memory.
  Result<QoqResult> operator()(MatrixView<const float> weights, const Options& options = {}) const {
    if (Result<void> ok = check_finite(weights, "the weight"); !ok) return std::move(ok).error();
    auto levels = fit(weights, options);
    if (!levels) return std::move(levels).error();
    const detail::RowTasks tasks(weights.shape(), 1);
    if (!weights.empty())
      options.executor(tasks.count, [&](std::size_t task) {
        for (std::size_t r = task * tasks.rows_per_task; r < std::min(weights.rows, (task + 1) * tasks.rows_per_task);
             ++r)
          for (std::size_t c = 0; c < weights.cols; ++c) levels->store(r, c, weights(r, c));
      });
    return QoqResult{std::move(levels->matrix), std::move(levels->channels)};
  }

  /// The codes of weights [out, in] for a layer whose inputs had this moment, as Gptq finds them, scales fitted before
  /// anything is rounded. Complexity, memory, progress and errors as Gptq's, and those above.
  template <class Real>
  Result<QoqResult> operator()(MatrixView<const float> weights, const SecondMoment<Real>& moment,
                               const Options& options = {}) const {
    if (block == 0) return Error{ErrorCode::invalid_argument, "pare: QoQ's block has at least one column"};
    const auto sequence = detail::ColumnSequence::create(order, act_order, moment, options.memory);
    if (!sequence) return sequence.error();
    if (weights.empty()) return (*this)(weights, options);
    auto feedback = detail::ErrorFeedback::create(weights, moment, damping, sequence->columns(),
                                                  detail::SilentChannels::dropped, options);
    if (!feedback) return std::move(feedback).error();
    auto levels = fit(weights, options);
    if (!levels) return std::move(levels).error();
    const auto quantizer = [&](std::size_t) {
      return [&](detail::Span, std::size_t place) {
        const std::size_t column = sequence->column(place);
        return [&levels = *levels, column](std::size_t row, float weight) { return levels.store(row, column, weight); };
      };
    };
    auto steps = detail::FeedbackSteps::create(*feedback, block, 1, options);
    if (!steps) return std::move(steps).error();
    if (Result<void> ok = steps->quantize_all(block, quantizer); !ok) return std::move(ok).error();
    const auto loss = steps->loss();
    if (!loss) return loss.error();
    return QoqResult{std::move(levels->matrix), std::move(levels->channels), *loss, feedback->damping()};
  }

 private:
  /// The scales and zeros of both levels.
  struct Levels {
    CodedMatrix matrix;
    Array<float> channels;
    float range = 0.0f;
    QoqZero zero = QoqZero::after_scale;

    /// Rounds a weight, keeps its code and returns the value of that.
    float store(std::size_t row, std::size_t column, float weight) {
      const std::size_t g = matrix.group_of(column);
      const float scale = matrix.scales()(row, g), shift = matrix.shifts()(row, g);
      float quotient = 0.0f;
      if (channels.size() == 0) {
        quotient = std::nearbyint((weight - shift) / scale);
      } else {
        // Both divisions are exact: each scale and offset is an integer multiple of the row's.
        const float unit = channels[row], second = scale / unit;
        const float first = std::clamp(weight / unit, -range, range);
        quotient = zero == QoqZero::after_scale ? std::nearbyint((first - shift / unit) / second)
                                                : std::nearbyint(first / second) + shift;
      }
      matrix.codes()(row, column) = static_cast<std::uint8_t>(quotient > 0.0f ? std::min(quotient, highest) : 0.0f);
      return matrix.value(row, column);
    }
  };

  Result<Levels> fit(MatrixView<const float> weights, const Options& options) const;
  /// Both scales of a row without groups.
  static void fit_row(MatrixView<const float> weights, std::size_t row, Levels& levels);
  /// The second level of one group.
  static void fit_group(MatrixView<const float> weights, std::size_t row, std::size_t group, Levels& levels);

  static constexpr float highest = 15.0f;
};

inline void Qoq::fit_row(MatrixView<const float> weights, std::size_t row, Levels& levels) {
  float lowest = weights(row, 0), largest = lowest;
  for (std::size_t c = 1; c < weights.cols; ++c) {
    lowest = std::min(lowest, weights(row, c));
    largest = std::max(largest, weights(row, c));
  }
  const auto half = [](float x) { return static_cast<float>(Half(x)); };
  const float scale = half((largest - lowest) / highest);
  levels.matrix.scales()(row, 0) = scale != 0.0f ? scale : 1.0f;
  levels.matrix.shifts()(row, 0) = -half(-lowest);
}

inline void Qoq::fit_group(MatrixView<const float> weights, std::size_t row, std::size_t group, Levels& levels) {
  const float unit = levels.channels[row];
  const std::size_t begin = group * levels.matrix.block.cols;
  const std::size_t end = std::min(weights.cols, begin + levels.matrix.block.cols);
  float lowest = levels.range, largest = -levels.range;
  for (std::size_t c = begin; c < end; ++c) {
    const float first = std::clamp(weights(row, c) / unit, -levels.range, levels.range);
    lowest = std::min(lowest, first);
    largest = std::max(largest, first);
  }
  const bool before = levels.zero == QoqZero::before_scale;
  if (before) {
    lowest = std::min(lowest, 0.0f);
    largest = std::max(largest, 0.0f);
  }
  const float scale = std::max(std::nearbyint((largest - lowest) / highest), 1.0f);
  levels.matrix.scales()(row, group) = scale * unit;
  levels.matrix.shifts()(row, group) =
      before ? std::min(std::nearbyint(-lowest / scale), highest) : -(std::nearbyint(-lowest) * unit);
}

inline Result<Qoq::Levels> Qoq::fit(MatrixView<const float> weights, const Options& options) const {
  const std::size_t columns = std::max<std::size_t>(weights.cols, 1);
  const bool before = group != 0 && zero == QoqZero::before_scale;
  auto matrix =
      CodedMatrix::allocate(weights.shape(), unsigned_format(4), {1, group == 0 ? columns : std::min(group, columns)},
                            before ? ShiftKind::zero_point : ShiftKind::offset, options.memory);
  if (!matrix) return std::move(matrix).error();
  matrix->scale_type = group == 0 ? ScaleType::float16 : ScaleType::float32;
  Levels levels{*std::move(matrix), {}, before ? 119.0f : 120.0f, zero};
  if (group != 0) {
    auto channels = Array<float>::create(weights.rows, options.memory);
    if (!channels) return std::move(channels).error();
    levels.channels = *std::move(channels);
  }
  if (weights.empty()) return levels;
  for (std::size_t r = 0; r < weights.rows; ++r) {
    if (group == 0) {
      fit_row(weights, r, levels);
    } else {
      float magnitude = 0.0f;
      for (std::size_t c = 0; c < weights.cols; ++c) magnitude = std::max(magnitude, std::fabs(weights(r, c)));
      const auto unit = static_cast<float>(Half(magnitude / levels.range));
      levels.channels[r] = unit != 0.0f ? unit : 1.0f;
      for (std::size_t g = 0; g < levels.matrix.grid.cols; ++g) fit_group(weights, r, g, levels);
    }
    if (!is_finite(levels.matrix.scales()(r, 0)) || !is_finite(levels.matrix.shifts()(r, 0)))
      return Error{ErrorCode::invalid_argument, "pare: the weights of row " + std::to_string(r) +
                                                    " are too large for QoQ's scales in half precision"};
  }
  return levels;
}

}  // namespace pare
