#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <type_traits>

#include "pare/core/core.hpp"

namespace pare {

/// Eigen's type for a row-major matrix of any size.
template <class T>
using EigenMatrix = Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// A view as an Eigen matrix, without a copy; its columns must be adjacent.
template <class T>
auto as_eigen(MatrixView<T> view) {
  using Plain = std::conditional_t<std::is_const_v<T>, const EigenMatrix<T>, EigenMatrix<T>>;
  return Eigen::Map<Plain, 0, Eigen::OuterStride<>>(view.data, static_cast<Eigen::Index>(view.rows),
                                                    static_cast<Eigen::Index>(view.cols),
                                                    Eigen::OuterStride<>(static_cast<Eigen::Index>(view.row_stride)));
}

namespace detail {

/// y -= factor * x over so many values. Eigen, because compilers do not vectorize such loops at every level of
/// optimization; like every use of it, in a template over the number type, which those alone compile who call it.
template <class Real>
void subtract_multiple(Real* y, std::type_identity_t<Real> factor, const std::type_identity_t<Real>* x,
                       std::size_t count) {
  using Values = Eigen::Array<Real, Eigen::Dynamic, 1>;
  const auto size = static_cast<Eigen::Index>(count);
  Eigen::Map<Values>(y, size) -= factor * Eigen::Map<const Values>(x, size);
}

}  // namespace detail
}  // namespace pare
