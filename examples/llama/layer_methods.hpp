#pragma once

#include <array>
#include <cstddef>
#include <string_view>
#include <variant>

#include "llama/architecture.hpp"
#include "llama/layer_codes.hpp"
#include "pare/calibration/calibration.hpp"
#include "pare/core/result.hpp"
#include "pare/quantize/additive_quantizer.hpp"
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

/// What layers become: codes on a grid, or on codebooks of so many vectors.
using LayerScheme = std::variant<pare::AnyGrid, pare::AdditiveQuantizer>;

/// The scheme of the catalog of that name, or AQLM's codebooks: "2x8" is two of 8 bits for groups of 8 weights,
/// "1x16-g4" one of 16 bits for groups of 4. Error: another
/// name.
pare::Result<LayerScheme> scheme_named(std::string_view name);

/// Whether a whole row shares a scale, whatever its length.
bool has_whole_rows(const pare::AnyGrid& grid);

/// A way to choose the codes of one layer. Errors: those of the algorithm, and a scheme that it is not for, which is
/// `unsupported`.
struct LayerMethod {
  using Function = pare::Result<LayerCodes> (*)(const LayerScheme&, pare::MatrixView<const float>,
                                                const InputStatistics&, LinearRole, const pare::Options&);
  std::string_view name;
  Function quantize;
};

/// Which of layer_methods.
enum class LayerChoice : std::size_t { rtn, hqq, mse, clip, gptq, refined, progressive, additive };

/// In the order of LayerChoice: rounding to nearest; HQQ; ranges clipped for the least error of the weights; the same
/// for the least error of each group's part of the output, as AWQ does but for queries and keys; GPTQ in the order of
/// activations; GPTQ with clipped ranges and coordinate descent; QoQ's progressive codes; AQLM's additive codebooks.
extern const std::array<LayerMethod, 8> layer_methods;

}  // namespace llama
