#pragma once

#include <Eigen/Cholesky>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string>
#include <utility>

#include "pare/calibration/calibration.hpp"
#include "pare/prune/pruned_matrix.hpp"

namespace pare {

/// The moment of some of the channels, in the order given. Errors: a channel that is not there, out_of_memory.
template <class Real>
Result<SecondMoment<Real>> columns_of(const SecondMoment<Real>& moment, std::span<const std::uint32_t> channels,
                                      std::pmr::memory_resource* memory = nullptr) {
  auto sum = Matrix<Real>::create({channels.size(), channels.size()}, memory);
  if (!sum) return std::move(sum).error();
  for (const std::uint32_t channel : channels)
    if (channel >= moment.channels())
      return Error{ErrorCode::invalid_argument, "pare: the second moment has no channel " + std::to_string(channel)};
  for (std::size_t i = 0; i < channels.size(); ++i)
    for (std::size_t j = 0; j < channels.size(); ++j) (*sum)(i, j) = moment.sum()(channels[i], channels[j]);
  return SecondMoment<Real>::restore(channels.size(), moment.samples(), moment.tokens(), sum->values(), memory);
}

/// What a layer's outputs ought to be, gathered together with the inputs it will have: the layers before it have been
/// compressed, so that its old weights no longer give the old outputs. weights() are those that come closest, and what
/// a pruning or quantization by the same inputs' second moment should then be near to. The idea of asymmetric
/// calibration (Li et al., "GPTAQ", 2025), as a least squares problem of its own. `Real` is what sums are kept in.
template <class Real>
class BasicOutputTarget {
 public:
  /// The target of a weight [outputs, inputs] before any sample. Errors: out_of_memory.
  static Result<BasicOutputTarget> create(std::size_t outputs, std::size_t inputs,
                                          std::pmr::memory_resource* memory = nullptr) {
    auto sum = Matrix<Real>::create({outputs, inputs}, memory);
    if (!sum) return std::move(sum).error();
    return BasicOutputTarget(*std::move(sum));
  }

  /// Adds the tokens of one sample: wanted outputs [tokens, outputs] and the inputs [tokens, inputs] that are there to
  /// make them of. The result does not depend on the executor. Errors: shapes that do not fit, values that are not
  /// finite (nothing is added then), out_of_memory.
  Result<void> add(MatrixView<const float> outputs, MatrixView<const float> inputs, const Options& options = {}) {
    if (outputs.shape() != Shape{inputs.rows, sum_.rows()})
      return detail::shape_error("the wanted outputs", outputs.shape(), {inputs.rows, sum_.rows()});
    if (inputs.cols != sum_.cols())
      return detail::shape_error("the inputs", inputs.shape(), {inputs.rows, sum_.cols()});
    if (Result<void> ok = check_finite(outputs, "the outputs"); !ok) return ok;
    if (Result<void> ok = check_finite(inputs, "the inputs"); !ok) return ok;
    auto wide = Matrix<Real>::create({block_tokens, outputs.cols + inputs.cols}, options.memory);
    if (!wide) return std::move(wide).error();
    for (std::size_t begin = 0; begin < inputs.rows; begin += block_tokens) {
      const std::size_t count = std::min(block_tokens, inputs.rows - begin);
      for (std::size_t t = 0; t < count; ++t) {
        for (std::size_t c = 0; c < outputs.cols; ++c) (*wide)(t, c) = outputs(begin + t, c);
        for (std::size_t c = 0; c < inputs.cols; ++c) (*wide)(t, outputs.cols + c) = inputs(begin + t, c);
      }
      constexpr std::size_t panel = 64;
      options.executor(ceil_div(outputs.cols, panel), [&](std::size_t task) {
        const std::size_t first = task * panel, rows = std::min(panel, outputs.cols - first);
        const std::size_t stride = outputs.cols + inputs.cols;
        as_eigen(MatrixView<Real>(&sum_(first, 0), rows, inputs.cols, inputs.cols, 1)).noalias() +=
            as_eigen(MatrixView<const Real>(&(*wide)(0, first), count, rows, stride, 1)).transpose() *
            as_eigen(MatrixView<const Real>(&(*wide)(0, outputs.cols), count, inputs.cols, stride, 1));
      });
    }
    return {};
  }

  /// The same target where only some of the inputs are left, in the order given: with columns_of the moment, weights()
  /// are those by which the others are missed the least. Errors: an input that is not there, out_of_memory.
  [[nodiscard]] Result<BasicOutputTarget> columns(std::span<const std::uint32_t> inputs,
                                                  std::pmr::memory_resource* memory = nullptr) const {
    for (const std::uint32_t input : inputs)
      if (input >= sum_.cols())
        return Error{ErrorCode::invalid_argument, "pare: the target has no input " + std::to_string(input)};
    auto result = create(sum_.rows(), inputs.size(), memory);
    if (result)
      for (std::size_t r = 0; r < sum_.rows(); ++r)
        for (std::size_t c = 0; c < inputs.size(); ++c) result->sum_(r, c) = sum_(r, inputs[c]);
    return result;
  }

  /// The weights that come closest to the wanted outputs: W + (sum - W H) (H + damping * mean(diag H) I)^-1, so that
  /// more damping holds them nearer to the weights that were. `inputs` has seen the same samples. Errors: shapes that
  /// do not fit, a moment of no tokens, weights that are not finite or become so, a moment that is not positive
  /// definite.
  template <class Moment>
  [[nodiscard]] Result<Matrix<float>> weights(MatrixView<const float> original, const SecondMoment<Moment>& inputs,
                                              double damping, const Options& options = {}) const {
    if (Result<void> ok = detail::check_moment(original, inputs); !ok) return std::move(ok).error();
    if (original.shape() != sum_.shape()) return detail::shape_error("the weight", original.shape(), sum_.shape());
    auto result = Matrix<float>::copy(original, options.memory);
    if (!result) return result;
    auto hessian = Matrix<Real>::create({original.cols, original.cols}, options.memory);
    if (!hessian) return std::move(hessian).error();
    auto change = Matrix<Real>::create(original.shape(), options.memory);
    if (!change) return std::move(change).error();
    Real mean{};
    for (std::size_t i = 0; i < original.cols; ++i)
      for (std::size_t j = 0; j < original.cols; ++j) {
        (*hessian)(i, j) = static_cast<Real>(inputs.sum()(i, j));
        if (i == j) mean += (*hessian)(i, i) / static_cast<Real>(original.cols);
      }
    for (std::size_t r = 0; r < original.rows; ++r)
      for (std::size_t c = 0; c < original.cols; ++c) (*change)(r, c) = static_cast<Real>(original(r, c));
    auto delta = as_eigen(change->view());
    auto lower = as_eigen(hessian->view());
    delta = (as_eigen(sum_.view()) - delta * lower).eval();
    // A channel that never fired has a gradient of 0 and stays as it is, whatever stands on its diagonal.
    for (std::size_t i = 0; i < original.cols; ++i)
      (*hessian)(i, i) += (*hessian)(i, i) == Real{0} ? Real{1} : static_cast<Real>(damping) * mean;
    Eigen::Ref<EigenMatrix<Real>, 0, Eigen::OuterStride<>> in_place(lower);
    const Eigen::LLT<decltype(in_place)> factorization(in_place);
    if (factorization.info() != Eigen::Success)
      return Error{ErrorCode::invalid_argument,
                   "pare: the second moment is not positive definite; give more samples or more damping"};
    delta.transpose() = factorization.solve(delta.transpose()).eval();
    for (std::size_t r = 0; r < original.rows; ++r)
      for (std::size_t c = 0; c < original.cols; ++c)
        (*result)(r, c) = static_cast<float>(static_cast<Real>(original(r, c)) + (*change)(r, c));
    if (Result<void> ok = check_finite(*result, "the corrected weight"); !ok) return std::move(ok).error();
    return result;
  }

 private:
  static constexpr std::size_t block_tokens = 256;

  explicit BasicOutputTarget(Matrix<Real> sum) : sum_(std::move(sum)) {}

  Matrix<Real> sum_;  ///< of output input^T
};

using OutputTarget = BasicOutputTarget<double>;

}  // namespace pare
