#include "llama/output_target.hpp"

#include <Eigen/Cholesky>
#include <algorithm>

namespace llama {
using pare::as_eigen;
using pare::EigenMatrix;
using pare::Error;
using pare::ErrorCode;
using pare::MatrixView;
using pare::Result;

namespace {

constexpr double damping = 0.01;

/// sum += (exact - quantized)^T * inputs; some rows of the sum are a task.
void add_products(MatrixView<const float> exact, MatrixView<const float> quantized, const EigenMatrix<double>& inputs,
                  EigenMatrix<double>& sum, pare::Executor executor) {
  constexpr std::size_t panel = 64;
  const EigenMatrix<double> difference =
      as_eigen(exact).template cast<double>() - as_eigen(quantized).template cast<double>();
  executor(pare::ceil_div(exact.cols, panel), [&](std::size_t task) {
    const auto begin = static_cast<Eigen::Index>(task * panel);
    const auto height = static_cast<Eigen::Index>(std::min(panel, exact.cols - task * panel));
    sum.middleRows(begin, height).noalias() += difference.middleCols(begin, height).transpose() * inputs;
  });
}

}  // namespace

OutputTarget::OutputTarget(std::size_t in, std::size_t out)
    : inputs_(EigenMatrix<double>::Zero(static_cast<Eigen::Index>(in), static_cast<Eigen::Index>(in))),
      residuals_(EigenMatrix<double>::Zero(static_cast<Eigen::Index>(out), static_cast<Eigen::Index>(in))) {}

void OutputTarget::add(const LayerTokens& exact, const LayerTokens& quantized, pare::Executor executor) {
  const EigenMatrix<double> inputs = as_eigen(quantized.input).cast<double>();
  add_products(exact.input, quantized.input, inputs, inputs_, executor);
  if (residuals_.rows() > 0) add_products(exact.residual, quantized.residual, inputs, residuals_, executor);
}

Result<std::vector<float>> OutputTarget::weights(MatrixView<const float> weights,
                                                 const pare::SecondMoment<double>& moment) const {
  std::vector<float> result(weights.rows * weights.cols);
  auto target = as_eigen(MatrixView<float>(result.data(), weights.rows, weights.cols));
  EigenMatrix<double> missing = as_eigen(weights).cast<double>() * inputs_;
  if (residuals_.rows() > 0) missing += residuals_;
  EigenMatrix<double> damped = as_eigen(moment.sum());
  const double mean = damped.diagonal().mean();
  target = as_eigen(weights);
  if (!(mean > 0.0)) return result;  // nothing ever entered the layer
  damped.diagonal().array() += damping * mean;
  const Eigen::LLT<Eigen::Ref<EigenMatrix<double>>> factor(damped);
  if (factor.info() != Eigen::Success)
    return Error{ErrorCode::invalid_argument,
                 "the second moment of the layer's inputs is not positive definite; calibrate with more text"};
  const EigenMatrix<double> change = factor.solve(missing.transpose()).transpose();
  target += change.cast<float>();
  return result;
}

}  // namespace llama
