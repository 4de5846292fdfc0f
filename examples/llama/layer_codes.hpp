#pragma once

#include <variant>
#include <vector>

#include "pare/layouts/layouts.hpp"

namespace llama {

/// The codes of one layer: of single weights, or of vectors out of codebooks (AQLM).
using LayerCodes = std::variant<pare::CodedMatrix, pare::AdditiveMatrix>;

/// Of the weights.
pare::Shape shape_of(const LayerCodes& codes);

/// What the codes stand for, [out, in] in row-major order.
std::vector<float> values_of(const LayerCodes& codes);

}  // namespace llama
