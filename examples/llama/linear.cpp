#include "llama/linear.hpp"

#include <algorithm>
#include <cstdint>

#include "llama/elements.hpp"
#include "pare/kernels/kernels.hpp"

namespace llama {

FloatMatrix FloatMatrix::over(const Tensor& tensor, pare::Shape shape) {
  if (tensor.dtype != io::DType::f32 || reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % alignof(float) != 0) {
    auto values = std::make_shared<std::vector<float>>(shape.rows * shape.cols);
    to_floats(tensor.dtype, tensor.bytes, *values);
    return owning(std::move(values), shape);
  }
  FloatMatrix matrix;
  matrix.owned_ = tensor.owned;
  matrix.data_ = reinterpret_cast<const float*>(tensor.bytes.data());
  matrix.shape_ = shape;
  return matrix;
}

FloatMatrix FloatMatrix::owning(std::shared_ptr<const std::vector<float>> values, pare::Shape shape) {
  FloatMatrix matrix;
  matrix.data_ = values->data();
  matrix.owned_ = std::move(values);
  matrix.shape_ = shape;
  return matrix;
}

pare::Shape Linear::shape() const {
  return std::visit([](const auto& weights) { return weights.shape(); }, weights_);
}

std::size_t Linear::bytes() const {
  if (const auto* codes = packed()) return codes->codes().size() + codes->scales().size() + codes->zero_points().size();
  if (const auto* codes = prepared()) return codes->bytes();
  return shape().rows * shape().cols * sizeof(float);
}

pare::Result<void> Linear::apply(pare::MatrixView<const float> x, pare::MatrixView<float> y,
                                 pare::Executor executor) const {
  if (const auto* codes = packed()) return codes->matmul(x, y, {.executor = executor});
  if (const auto* codes = prepared()) return codes->matmul(x, y, {.executor = executor});
  multiply(x, floats()->view(), y, executor);
  return {};
}

pare::Result<void> rewrite(Linear& linear, pare::FunctionRef<pare::Result<void>(pare::MatrixView<float>)> change) {
  const pare::MatrixView<const float> old = linear.floats()->view();
  auto values = std::make_shared<std::vector<float>>(old.data, old.data + old.rows * old.cols);
  if (auto done = change(pare::MatrixView<float>(values->data(), old.rows, old.cols)); !done) return done;
  linear = Linear(FloatMatrix::owning(std::move(values), old.shape()));
  return {};
}

void accumulate(pare::MatrixView<const float> x, pare::MatrixView<const float> weights, pare::MatrixView<float> y) {
  pare::HighwayKernels::accumulate_products(x.data, x.rows, x.row_stride, weights.data, weights.rows,
                                            weights.row_stride, x.cols, y.data, y.row_stride);
}

void multiply(pare::MatrixView<const float> x, pare::MatrixView<const float> weights, pare::MatrixView<float> y,
              pare::Executor executor) {
  // A block of x that the second-level cache holds meets a run of weights before the next one does.
  constexpr std::size_t weight_rows = 64, x_rows = 48, columns = 1024;
  for (std::size_t i = 0; i < y.rows; ++i) std::fill_n(y.row(i), y.cols, 0.0f);
  executor(pare::ceil_div(weights.rows, weight_rows), [&](std::size_t task) {
    const std::size_t n = task * weight_rows;
    const std::size_t n_count = std::min(weight_rows, weights.rows - n);
    for (std::size_t c = 0; c < x.cols; c += columns)
      for (std::size_t m = 0; m < x.rows; m += x_rows) {
        const std::size_t m_count = std::min(x_rows, x.rows - m), c_count = std::min(columns, x.cols - c);
        accumulate({x.row(m) + c, m_count, c_count, x.row_stride, 1},
                   {weights.row(n) + c, n_count, c_count, weights.row_stride, 1},
                   {y.row(m) + n, m_count, n_count, y.row_stride, 1});
      }
  });
}

}  // namespace llama
