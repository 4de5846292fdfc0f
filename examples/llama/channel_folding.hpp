#pragma once

#include <cstddef>

#include "llama/block.hpp"
#include "llama/block_stages.hpp"
#include "llama/layer_methods.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// Where the scales of input channels come from.
enum class ChannelScaling { none, awq, smooth_quant, qoq };

/// Whether the input channels of a stage's layers are scaled: AWQ scales those behind a norm or a linear layer of as
/// many outputs, SmoothQuant those behind a norm, QoQ those behind a linear layer.
bool scales_stage(ChannelScaling scaling, const Config& config, std::size_t stage);

/// Multiplies the input channels of a stage's layers by the scales that AWQ, SmoothQuant (alpha 0.8) or QoQ (the same
/// with 0.3) finds for them, and divides by these what produces the input: the norm before the layers, the values
/// before the output projection, the up projection before the down projection. The block computes what it did. Returns
/// the scales. Errors: those of the algorithm.
pare::Result<pare::Array<float>> fold_scales(ChannelScaling scaling, const pare::AnyGrid& grid,
                                             const InputStatistics& input, std::size_t stage, Block& block,
                                             const pare::Options& options);

}  // namespace llama
