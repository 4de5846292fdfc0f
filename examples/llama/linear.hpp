#pragma once

#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "io/packed_matrix.hpp"
#include "io/prepared_matrix.hpp"
#include "llama/weight_files.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// A row-major matrix of floats that other objects may share: in memory of its own, or where a file is mapped.
class FloatMatrix {
 public:
  FloatMatrix() = default;

  /// The values of a tensor of a float dtype. Aligned F32 stays where it is, so that the tensor's file must outlive the
  /// matrix; anything else is copied.
  static FloatMatrix over(const Tensor& tensor, pare::Shape shape);

  /// Values in row-major order, as many as the shape has.
  static FloatMatrix owning(std::shared_ptr<const std::vector<float>> values, pare::Shape shape);

  [[nodiscard]] pare::MatrixView<const float> view() const noexcept { return {data_, shape_.rows, shape_.cols}; }
  [[nodiscard]] pare::Shape shape() const noexcept { return shape_; }

 private:
  std::shared_ptr<const std::vector<float>> owned_;
  const float* data_ = nullptr;
  pare::Shape shape_;
};

/// A linear layer without bias, [out, in]: floats, codes of any scheme of pare's catalog, or codes prepared for
/// products with eight-bit activations.
class Linear {
 public:
  Linear() = default;
  explicit Linear(FloatMatrix weights) : weights_(std::move(weights)) {}
  explicit Linear(io::PackedMatrix weights) : weights_(std::move(weights)) {}
  explicit Linear(io::PreparedMatrix weights) : weights_(std::move(weights)) {}

  [[nodiscard]] pare::Shape shape() const;
  /// The bytes that a product reads of the weights.
  [[nodiscard]] std::size_t bytes() const;

  /// The weights, or nullptr where they are codes.
  [[nodiscard]] const FloatMatrix* floats() const noexcept { return std::get_if<FloatMatrix>(&weights_); }
  /// The codes, or nullptr where the weights are floats or prepared.
  [[nodiscard]] const io::PackedMatrix* packed() const noexcept { return std::get_if<io::PackedMatrix>(&weights_); }
  /// The prepared codes, or nullptr where the weights are something else.
  [[nodiscard]] const io::PreparedMatrix* prepared() const noexcept {
    return std::get_if<io::PreparedMatrix>(&weights_);
  }

  /// y = x * W^T with x [m, in] and y [m, out], rows dense or strided. Errors: as for pare::matmul.
  pare::Result<void> apply(pare::MatrixView<const float> x, pare::MatrixView<float> y, pare::Executor executor) const;

 private:
  std::variant<FloatMatrix, io::PackedMatrix, io::PreparedMatrix> weights_;
};

/// Gives a layer of floats the weights that `change` makes of a copy of them. Errors: those of `change`.
pare::Result<void> rewrite(Linear& linear, pare::FunctionRef<pare::Result<void>(pare::MatrixView<float>)> change);

/// y = x * W^T for floats; the same values for every executor.
void multiply(pare::MatrixView<const float> x, pare::MatrixView<const float> weights, pare::MatrixView<float> y,
              pare::Executor executor);

/// y += x * W^T on this thread.
void accumulate(pare::MatrixView<const float> x, pare::MatrixView<const float> weights, pare::MatrixView<float> y);

}  // namespace llama
