#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory_resource>
#include <span>
#include <string>
#include <utility>

#include "pare/core/core.hpp"

namespace pare {

namespace detail {

inline Result<void> check_densities(double sparsity, std::size_t layers, std::size_t dense) {
  if (!(sparsity >= 0 && sparsity <= 1))
    return Error{ErrorCode::invalid_argument,
                 "pare: the sparsity must lie in [0, 1], it is " + std::to_string(sparsity)};
  if (dense > layers)
    return Error{ErrorCode::invalid_argument,
                 "pare: " + std::to_string(dense) + " of " + std::to_string(layers) + " layers cannot stay dense"};
  return {};
}

}  // namespace detail

/// The sparsity of each layer when all have the same, but for the first `dense` layers, which stay whole and are not
/// made up for: RigL's "uniform" with dense = 1. Errors: a sparsity outside [0, 1], fewer layers than `dense`.
inline Result<Array<double>> uniform_sparsities(std::size_t layers, double sparsity, std::size_t dense = 0,
                                                std::pmr::memory_resource* memory = nullptr) {
  if (Result<void> ok = detail::check_densities(sparsity, layers, dense); !ok) return std::move(ok).error();
  auto result = Array<double>::create(layers, memory);
  if (result) std::fill(result->begin() + dense, result->end(), sparsity);
  return result;
}

/// The sparsity of each layer by Erdos-Renyi kernels (Evci et al., "Rigging the Lottery", 2020): a layer of the
/// dimensions d is as dense as sum(d) / product(d) says, times the factor that brings all layers together to
/// `sparsity`. A layer that would be more than dense is kept dense, and the factor found anew for the others. `shapes`
/// holds the dimensions of each weight, in any order. Errors: a sparsity outside [0, 1], a weight without elements or
/// too large to count.
inline Result<Array<double>> erdos_renyi_sparsities(std::span<const std::span<const std::size_t>> shapes,
                                                    double sparsity, std::pmr::memory_resource* memory = nullptr) {
  if (Result<void> ok = detail::check_densities(sparsity, shapes.size(), 0); !ok) return std::move(ok).error();
  auto sparsities = Array<double>::create(shapes.size(), memory);
  auto counts = Array<double>::create(shapes.size(), memory);
  auto raw = Array<double>::create(shapes.size(), memory);
  if (!sparsities || !counts || !raw) return Error{ErrorCode::out_of_memory, "pare: cannot allocate the densities"};
  for (std::size_t l = 0; l < shapes.size(); ++l) {
    std::size_t count = 1;
    double sum = 0.0;
    for (const std::size_t dimension : shapes[l]) {
      sum += static_cast<double>(dimension);
      if (!checked_multiply(count, dimension, count)) count = 0;
      if (count == 0)
        return Error{ErrorCode::invalid_argument,
                     "pare: the weight of layer " + std::to_string(l) + " has no elements, or too many to count"};
    }
    (*counts)[l] = static_cast<double>(count);
    (*raw)[l] = sum / (*counts)[l];
  }
  // A layer is dense once its sparsity is found to be 0 or less; each round can only add dense layers.
  std::fill(sparsities->begin(), sparsities->end(), 1.0);
  for (bool settled = false; !settled;) {
    double wanted = 0.0, divisor = 0.0;
    for (std::size_t l = 0; l < shapes.size(); ++l) {
      const bool dense = (*sparsities)[l] <= 0.0;
      wanted += (*counts)[l] * (dense ? -sparsity : 1.0 - sparsity);
      divisor += dense ? 0.0 : (*raw)[l] * (*counts)[l];
    }
    const double factor = divisor > 0.0 ? wanted / divisor : 0.0;
    settled = true;
    for (std::size_t l = 0; l < shapes.size(); ++l) {
      if ((*sparsities)[l] <= 0.0) continue;
      (*sparsities)[l] = std::max(0.0, 1.0 - factor * (*raw)[l]);
      settled = settled && (*sparsities)[l] > 0.0;
    }
  }
  return sparsities;
}

}  // namespace pare
