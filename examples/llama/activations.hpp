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
/// give, or eight-bit integers (pare::prepare), for speed, with a scale for each group of a row or one for each row.
enum class Activations { floats, int8, int8_row };

/// The names that the command line takes, in the order of the values.
inline constexpr std::string_view activation_names[] = {"float", "int8", "int8-row"};

/// The scheme that a head of floats gets where the blocks are multiplied with eight-bit activations.
inline constexpr std::string_view prepared_head_scheme = "int8-g32";

/// As load_linear, but layers that are packed or in codes of another layout are prepared where their scheme or groups
/// can be, for activations in eight bits of either kind, without a trip through floats, and the system may drop the
/// pages of the file that held packed ones. Errors: also out of memory, codes that cannot be read.
pare::Result<Linear> load_prepared(const WeightFiles& files, const ExpectedTensor& expected, Activations activations,
                                   pare::Executor executor);

/// Prepares the head, which is quantized by prepared_head_scheme where it is of floats: else it would take half of the
/// time of a model of four-bit blocks. Errors: its values cannot be quantized, out of memory.
pare::Result<void> prepare_head(Ends& ends, const WeightFiles& files, Activations activations, pare::Executor executor);

}  // namespace llama
