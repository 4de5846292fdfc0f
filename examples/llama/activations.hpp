#pragma once

#include <cstddef>
#include <string_view>

#include "llama/config.hpp"
#include "llama/weight_files.hpp"
#include "llama/weights.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// What enters the products of packed linear layers: floats, for results as near to the dequantized model as floats
/// give, or eight-bit integers with a scale for each group of a row (pare::prepare), for speed.
enum class Activations { floats, int8 };

/// The names that the command line takes, in the order of the values.
inline constexpr std::string_view activation_names[] = {"float", "int8"};

/// The scheme that a head of floats gets where the blocks are multiplied with eight-bit activations.
inline constexpr std::string_view prepared_head_scheme = "int8-g32";

/// Prepares the layers of block `layer` that are packed or in codes of another layout, where their scheme or groups can
/// be, and lets the system drop the pages of the file that held them. Errors: out of memory, codes that cannot be read.
pare::Result<void> prepare(Block& block, const WeightFiles& files, const Config& config, std::size_t layer,
                           pare::Executor executor);

/// Prepares the head, which is quantized by prepared_head_scheme where it is of floats: else it would take half of the
/// time of a model of four-bit blocks. Errors: its values cannot be quantized, out of memory.
pare::Result<void> prepare_head(Ends& ends, const WeightFiles& files, pare::Executor executor);

}  // namespace llama
