#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

/// One result of a product, and how far from it that of eight-bit activations may be.
struct ProductBound {
  double exact = 0.0, error = 0.0;
};

/// One column of a row of weights: its value, and what its magnitude counts as in the bound.
struct BoundedWeight {
  double value, magnitude;
};

/// As the declaration of matmul states, for a row of activations of which every `group` columns share a scale, with so
/// many roundings to float; weight(c) is the BoundedWeight of column c.
template <class Weight>
ProductBound product_bound(std::span<const float> x, std::size_t group, double roundings, Weight weight) {
  ProductBound of;
  for (std::size_t begin = 0; begin < x.size(); begin += group) {
    const std::span<const float> values = x.subspan(begin, std::min(group, x.size() - begin));
    double scale = 0.0;
    for (const float v : values) scale = std::max(scale, std::abs(double{v}) / 127.0);
    for (std::size_t c = 0; c < values.size(); ++c) {
      const BoundedWeight w = weight(begin + c);
      of.exact += w.value * double{values[c]};
      of.error += w.magnitude * (0.501 * scale + std::ldexp(roundings * (std::abs(double{values[c]}) + scale), -24));
    }
  }
  return of;
}
