#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "pare/core/core.hpp"

namespace pare {

/// How the layers of a model share channels, as data: values that flow between layers, the axes of tensors that have a
/// value's channels, and what ties channels of values to each other. ChannelGroups carries a removal through it.
struct ChannelGraph {
  /// What one layer gives and others take.
  struct Value {
    std::string name;
    std::size_t channels = 0;
    bool fixed = false;  ///< no channel may go: a model's inputs and outputs, a residual stream that is to stay whole
  };
  /// An axis of a tensor, of which `each` neighbouring elements belong to one channel of the value: axis 0 of a weight
  /// [out, in, ...] to what the layer gives, axis 1 to what it takes; axis 0 of a BatchNorm's four vectors, of a bias,
  /// of a depthwise weight; axis 1 with each = h * w of a linear layer after a flattened image.
  struct Axis {
    std::string tensor;
    std::size_t axis = 0;
    std::size_t value = 0;
    std::size_t each = 1;
  };
  enum class Kind {
    same,   ///< channel i of each value is one: residual adds, gates, activations, normalization, depthwise layers
    parts,  ///< the first value is the others one after the other: a concatenation, or read backwards a split
    heads,  ///< attention: the first value is queries in heads of `width` channels, the others are keys, values, ... of
            ///< as many heads or a divisor of it; a head of keys goes as a whole, with all queries that read it
    units,  ///< `width` neighbouring channels of each value go together: grouped convolutions, channels in multiples
  };
  struct Coupling {
    Kind kind = Kind::same;
    std::vector<std::size_t> values;
    std::size_t width = 1;
  };

  std::vector<Value> values;
  std::vector<Axis> axes;
  std::vector<Coupling> couplings;

  /// Adds a value and returns its number.
  std::size_t add(std::string name, std::size_t channels, bool fixed = false) {
    values.push_back({std::move(name), channels, fixed});
    return values.size() - 1;
  }
};

}  // namespace pare
