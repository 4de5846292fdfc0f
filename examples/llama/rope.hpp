#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "llama/config.hpp"
#include "pare/core/matrix.hpp"

namespace llama {

/// The angle per position of each pair of values of a head, head_dim / 2 of them, rounded to float as in transformers.
std::vector<float> rope_frequencies(const Config& config);

/// Turns each head (head_dim consecutive values of a row) by its position: row t stands at position `first` + t. Value
/// i of a head pairs with value i + head_dim / 2, as in transformers.
void rotate(pare::MatrixView<float> heads, std::size_t head_dim, std::span<const float> frequencies, std::size_t first);

}  // namespace llama
