#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

#include "io/packed_matrix.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"
#include "pare/layouts/layouts.hpp"
#include "pare/tensor/prepared_product.hpp"

namespace io {

/// A pare::PreparedTensor whose scheme is chosen at run time, or a pare::PreparedMatrix: weights in the order in which
/// products with eight-bit activations read them, in memory of its own.
class PreparedMatrix {
 public:
  /// Whether prepare() takes matrices of this scheme of the catalog.
  static bool takes(std::string_view scheme);

  /// Repacks a matrix, which is needed no more, for products whose activations have such scales. Errors: unsupported
  /// where takes() is false, out of memory.
  static pare::Result<PreparedMatrix> prepare(const PackedMatrix& packed, const pare::Options& options = {},
                                              pare::ActivationScales scales = pare::ActivationScales::per_group);
  /// The same for codes of any layout. Errors: those of pare::prepare.
  static pare::Result<PreparedMatrix> prepare(const pare::CodedMatrix& codes, const pare::Options& options = {},
                                              pare::ActivationScales scales = pare::ActivationScales::per_group);

  [[nodiscard]] pare::Shape shape() const;
  /// The bytes that a product reads of the weights.
  [[nodiscard]] std::size_t bytes() const;

  /// y = x * W^T with activations in eight bits; errors and the bound of y's error as for pare::matmul.
  pare::Result<void> matmul(pare::MatrixView<const float> x, pare::MatrixView<float> y,
                            const pare::Options& options = {}) const;

  struct Concept;  // one per scheme that can be prepared

 private:
  PreparedMatrix(std::shared_ptr<const Concept> self, pare::ActivationScales scales)
      : self_(std::move(self)), scales_(scales) {}
  std::shared_ptr<const Concept> self_;
  pare::ActivationScales scales_;
};

}  // namespace io
