#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <numeric>
#include <span>
#include <utility>

#include "pare/calibration/calibration.hpp"

namespace pare {

/// The columns of a layer from the largest second moment of their input to the least, equal ones in their own order:
/// the order in which GPTQ's act-order quantizes them.
template <class Real>
Result<Array<std::uint32_t>> descending_order(const SecondMoment<Real>& moment,
                                              std::pmr::memory_resource* memory = nullptr) {
  auto order = Array<std::uint32_t>::create(moment.channels(), memory);
  if (!order) return order;
  std::iota(order->begin(), order->end(), 0u);
  std::sort(order->begin(), order->end(), [&](std::uint32_t a, std::uint32_t b) {
    const Real x = moment.sum()(a, a), y = moment.sum()(b, b);
    return x != y ? x > y : a < b;
  });
  return order;
}

namespace detail {

/// In which order the columns of a layer are quantized.
class ColumnSequence {
 public:
  /// The order `given`, or where it is empty descending_order, or the columns as they stand.
  template <class Real>
  static Result<ColumnSequence> create(std::span<const std::uint32_t> given, bool descending,
                                       const SecondMoment<Real>& moment, std::pmr::memory_resource* memory) {
    ColumnSequence sequence;
    sequence.given_ = given;
    if (!given.empty() || !descending) return sequence;
    auto sorted = descending_order(moment, memory);
    if (!sorted) return std::move(sorted).error();
    sequence.sorted_ = *std::move(sorted);
    return sequence;
  }

  /// The columns, or nothing where they are taken as they stand.
  [[nodiscard]] std::span<const std::uint32_t> columns() const noexcept {
    return given_.empty() ? sorted_.values() : given_;
  }
  [[nodiscard]] std::size_t column(std::size_t place) const noexcept {
    return columns().empty() ? place : columns()[place];
  }

 private:
  std::span<const std::uint32_t> given_;
  Array<std::uint32_t> sorted_;
};

/// Columns or rows [begin, end).
struct Span {
  std::size_t begin = 0, end = 0;

  [[nodiscard]] constexpr std::size_t size() const noexcept { return end - begin; }
};

/// The share of an error feedback's time that goes into factoring the Hessian: multiplications in double take twice as
/// long as those in float.
constexpr double factoring_share(Shape weights) noexcept {
  const auto rows = static_cast<double>(weights.rows), cols = static_cast<double>(weights.cols);
  return weights.cols == 0 ? 0.0 : 4.0 * cols / (4.0 * cols + 3.0 * rows);
}

/// What becomes of the weights of channels that never fired.
enum class SilentChannels {
  dropped,  ///< 0
  kept,     ///< rounded like the others
};

/// A layer's weights [out, in] in the order in which their columns are quantized, each of which passes its error on to
/// those behind it: what GPTQ, QoQ and EXL2 have in common. Weights and errors are float; the Hessian is factored in
/// the moment's precision. Memory: out * in + in^2 floats, and those of inverse_factor while it is created.
class ErrorFeedback {
 public:
  /// `order` names every column once, or is empty for the columns as they stand. Errors: other numbers of channels, no
  /// samples, weights that are not finite, those of inverse_factor. Reports its progress up to factoring_share.
  template <class Real>
  static Result<ErrorFeedback> create(MatrixView<const float> weights, const SecondMoment<Real>& moment,
                                      Damping damping, std::span<const std::uint32_t> order, SilentChannels silent,
                                      const Options& options) {
    if (Result<void> ok = check(weights, moment); !ok) return std::move(ok).error();
    // GPTQ multiplies the moment by 2 / samples before it counts silent channels as 1.
    const bool dropped = silent == SilentChannels::dropped;
    damping.silent = dropped ? static_cast<double>(moment.samples()) / 2.0 : 0.0;
    const ProgressPart progress(options.progress, 0.0, factoring_share(weights.shape()));
    auto factor = inverse_factor(moment.sum(), damping, order, options.memory, options.executor, progress);
    if (!factor) return std::move(factor).error();
    auto upper = Matrix<float>::copy(std::as_const(factor->upper).view(), options.memory);
    if (!upper) return std::move(upper).error();
    auto copy = Matrix<float>::create(weights.shape(), options.memory);
    if (!copy) return std::move(copy).error();
    for (std::size_t r = 0; r < weights.rows; ++r)
      for (std::size_t i = 0; i < weights.cols; ++i) {
        const std::size_t c = order.empty() ? i : order[i];
        (*copy)(r, i) = dropped && moment.sum()(c, c) == Real{0} ? 0.0f : weights(r, c);
      }
    return ErrorFeedback(*std::move(copy), *std::move(upper), factor->damping);
  }

  /// The weights as they stand, columns in the order of their quantization.
  [[nodiscard]] MatrixView<const float> weights() const noexcept { return weights_.view(); }
  [[nodiscard]] double damping() const noexcept { return damping_; }

  /// Quantizes some columns of some rows. `quantizer(rows, place)` is called for each column and returns what then
  /// gives the value of each weight, `(row, weight) -> value`, where the weight has taken over the errors of all
  /// columns before it. Later columns of weights() change only when all of these are done, which do not change there
  /// themselves. `scratch` holds a number for each element. Returns the sum of all squared errors in the outputs,
  /// damping included, which is not finite where the weights have left the range of float.
  template <class Quantizer>
  double quantize(Span rows, Span places, std::span<float> scratch, Quantizer&& quantizer) {
    const std::size_t width = places.size();
    const MatrixView<float> errors(scratch.data(), rows.size(), width);
    for (std::size_t r = 0; r < rows.size(); ++r)
      std::copy_n(weights_.row(rows.begin + r).data() + places.begin, width, errors.row(r));
    double loss = 0.0;
    // So few rows stay in the nearest cache, and are enough to hide how long each waits for its own last result.
    constexpr std::size_t few = 16;
    for (std::size_t first = 0; first < rows.size(); first += few)
      for (std::size_t i = 0; i < width; ++i) {
        const std::size_t last = std::min(rows.size(), first + few);
        const auto value = quantizer(Span{rows.begin + first, rows.begin + last}, places.begin + i);
        const float* const spread = upper_.row(places.begin + i).data() + places.begin;
        for (std::size_t r = first; r < last; ++r) {
          float* const row = errors.row(r);
          const float error = (row[i] - value(rows.begin + r, row[i])) / spread[i];
          row[i] = error;
          loss += static_cast<double>(error) * static_cast<double>(error);
          subtract_multiple(row + i + 1, error, spread + i + 1, width - i - 1);
        }
      }
    spread(rows, places, errors);
    return loss;
  }

 private:
  ErrorFeedback(Matrix<float> weights, Matrix<float> upper, double damping)
      : weights_(std::move(weights)), upper_(std::move(upper)), damping_(damping) {}

  template <class Real>
  static Result<void> check(MatrixView<const float> weights, const SecondMoment<Real>& moment) {
    if (weights.cols != moment.channels())
      return shape_error("the weight", weights.shape(), {weights.rows, moment.channels()});
    if (Result<void> ok = check_finite(weights, "the weight"); !ok) return ok;
    if (moment.samples() == 0)
      return Error{ErrorCode::invalid_argument, "pare: the moment has seen no samples; add some activations first"};
    return {};
  }

  /// Takes the errors of some columns off those behind them. A template, so that it is compiled where it is used.
  template <class Value>
  void spread(Span rows, Span places, MatrixView<Value> errors) {
    const std::size_t rest = weights_.cols() - places.end;
    if (rest == 0) return;
    const MatrixView<Value> later(&weights_(rows.begin, places.end), rows.size(), rest, weights_.cols(), 1);
    const MatrixView<const Value> factors(&upper_(places.begin, places.end), places.size(), rest, upper_.cols(), 1);
    as_eigen(later).noalias() -= as_eigen(errors) * as_eigen(factors);
  }

  Matrix<float> weights_;
  Matrix<float> upper_;
  double damping_;
};

/// Rows of one task: of a size that depends on the shape alone, so that no sum depends on the executor.
constexpr std::size_t feedback_rows(Shape shape, std::size_t unit) noexcept {
  const std::size_t most = ceil_div(std::size_t{128}, unit) * unit;
  return most < shape.rows ? most : shape.rows;
}

/// Error feedback over all rows, in tasks of feedback_rows.
class FeedbackSteps {
 public:
  /// For steps of at most `width` columns. Error: out_of_memory.
  static Result<FeedbackSteps> create(ErrorFeedback& feedback, std::size_t width, std::size_t unit,
                                      const Options& options) {
    const Shape shape = feedback.weights().shape();
    const std::size_t height = feedback_rows(shape, unit), tasks = ceil_div(shape.rows, height);
    auto scratch = Matrix<float>::create({tasks, height * std::min(width, shape.cols)}, options.memory);
    if (!scratch) return std::move(scratch).error();
    auto losses = Array<double>::create(tasks, options.memory);
    if (!losses) return std::move(losses).error();
    return FeedbackSteps(feedback, height, *std::move(scratch), *std::move(losses), options);
  }

  [[nodiscard]] MatrixView<const float> weights() const noexcept { return feedback_->weights(); }

  /// Quantizes some columns; quantizer(task) returns what ErrorFeedback::quantize takes.
  template <class Quantizer>
  void quantize(Span places, Quantizer&& quantizer) {
    options_.executor(losses_.size(), [&](std::size_t task) { quantize(task, places, quantizer(task)); });
  }
  /// Quantizes all columns, `width` of them at a time. Error: cancelled.
  template <class Quantizer>
  Result<void> quantize_all(std::size_t width, Quantizer&& quantizer) {
    const ProgressPart progress(options_.progress, factoring_share(weights().shape()), 1.0);
    ProgressMeter meter(progress, weights().cols * losses_.size());
    options_.executor(losses_.size(), [&](std::size_t task) {
      auto&& columns = quantizer(task);
      const std::size_t count = weights().cols, step = std::min(width, count);
      for (std::size_t begin = 0; begin < count && !meter.cancelled(); begin += step) {
        const Span places{begin, begin + std::min(step, count - begin)};
        quantize(task, places, columns);
        meter.advance(places.size());
      }
    });
    return meter.status();
  }

  /// The sum of all squared errors in the outputs so far. Error: weights that left the range of float.
  [[nodiscard]] Result<double> loss() const {
    const double sum = std::accumulate(losses_.begin(), losses_.end(), 0.0);
    if (sum - sum == 0.0) return sum;
    return Error{ErrorCode::invalid_argument,
                 "pare: weights left the range of float while they made up for errors; scale them, or add damping"};
  }

 private:
  FeedbackSteps(ErrorFeedback& feedback, std::size_t height, Matrix<float> scratch, Array<double> losses,
                const Options& options)
      : feedback_(&feedback),
        height_(height),
        scratch_(std::move(scratch)),
        losses_(std::move(losses)),
        options_(options) {}

  /// Nothing more where a loss is not finite.
  template <class Columns>
  void quantize(std::size_t task, Span places, Columns&& columns) {
    double& loss = losses_[task];
    const Span rows{task * height_, std::min(weights().rows, (task + 1) * height_)};
    if (loss - loss == 0.0) loss += feedback_->quantize(rows, places, scratch_.row(task), columns);
  }

  ErrorFeedback* feedback_;
  std::size_t height_;
  Matrix<float> scratch_;
  Array<double> losses_;
  Options options_;
};

}  // namespace detail
}  // namespace pare
