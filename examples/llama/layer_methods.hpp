#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "llama/architecture.hpp"
#include "pare/calibration/calibration.hpp"
#include "pare/core/result.hpp"
#include "pare/layouts/layouts.hpp"
#include "pare/quantize/any_grid.hpp"

namespace llama {

/// What is known of the input that some layers share.
struct InputStatistics {
  pare::SecondMoment<double> moment;
  pare::ChannelStatistics channels;

  static pare::Result<InputStatistics> create(std::size_t size);
  /// Adds the tokens of one sequence, [tokens, size].
  pare::Result<void> add(pare::MatrixView<const float> tokens, const pare::Options& options);
};

/// A way to choose the codes of one layer. Errors: those of the algorithm, and a grid that it is not for.
struct LayerMethod {
  using Function = pare::Result<pare::CodedMatrix> (*)(const pare::AnyGrid&, pare::MatrixView<const float>,
                                                       const InputStatistics&, LinearRole, const pare::Options&);
  std::string_view name;
  Function quantize;
};

/// Which of layer_methods.
enum class LayerChoice : std::size_t { rtn, hqq, mse, clip, gptq, refined };

/// In the order of LayerChoice: rounding to nearest; HQQ; ranges clipped for the least error of the weights; the same
/// for the least error of each group's part of the output, as AWQ does but for queries and keys; GPTQ in the order of
/// activations; GPTQ with clipped ranges and coordinate descent.
extern const std::array<LayerMethod, 6> layer_methods;

}  // namespace llama
