#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "pare/quantize/nvfp4_grid.hpp"
#include "pare/quantize/round_to_nearest.hpp"
#include "pare/quantize/scheme_grid.hpp"

namespace pare {

/// NVFP4 in the place of a Scheme: its scales have two levels, which no Scheme has.
struct Nvfp4 {};
/// In the place of a Scheme for a layer's inputs: they stay as they are.
struct PlainInputs {};

/// Where the range of a layer's inputs comes from.
enum class InputRange {
  dynamic,     ///< from the inputs themselves
  calibrated,  ///< from inputs seen before: static quantization, one range for the tensor
};

namespace detail {

/// A grid for values whose range is known, the same for every row.
template <Grid G>
struct CalibratedGrid : G {
  BlockGrid fitted;

  [[nodiscard]] Shape block(Shape shape) const { return {1, shape.cols == 0 ? 1 : shape.cols}; }
  [[nodiscard]] BlockGrid fit(std::span<const float>) const { return fitted; }
};

}  // namespace detail

/// The formats of a linear layer's weights and of its inputs: what a runtime's matrix product takes. Any algorithm of
/// this layer chooses the codes, on `weight_grid`. `Inputs` is applied to [tokens, channels] as to weights: "channel"
/// is a scale for each token.
template <class Weights, class Inputs, InputRange Range = InputRange::dynamic>
struct Recipe {
  static constexpr bool rounds_inputs = !std::same_as<Inputs, PlainInputs>;
  static constexpr InputRange input_range = Range;

  static_assert(SchemeType<Weights> || std::same_as<Weights, Nvfp4>, "pare: a recipe's weights are a Scheme or Nvfp4");
  static_assert(SchemeType<Inputs> || std::same_as<Inputs, Nvfp4> || std::same_as<Inputs, PlainInputs>,
                "pare: a recipe's inputs are a Scheme, Nvfp4 or PlainInputs");

  /// The grid of weights [out, in]. Error: a weight that is not finite.
  static auto weight_grid(MatrixView<const float> weights) {
    if constexpr (std::same_as<Weights, Nvfp4>)
      return Nvfp4Grid::over(weights);
    else
      return Result<SchemeGrid<Weights>>(SchemeGrid<Weights>{});
  }

  /// The codes of inputs [tokens, channels]; `calibrated` is the range of all inputs, for the recipes that ask for it.
  /// The result does not depend on the executor. Errors: an input that is not finite, no calibrated range where one is
  /// needed, out_of_memory.
  static Result<CodedMatrix> quantize_inputs(MatrixView<const float> tokens, const ValueRange& calibrated = {},
                                             const Options& options = {})
    requires rounds_inputs
  {
    if (Range == InputRange::calibrated &&
        (calibrated.empty() || !is_finite(calibrated.lowest) || !is_finite(calibrated.highest)))
      return Error{ErrorCode::invalid_argument,
                   "pare: static quantization needs the range of the inputs; calibrate it with ChannelStatistics"};
    if constexpr (std::same_as<Inputs, Nvfp4>) {
      const auto grid =
          Range == InputRange::calibrated ? Nvfp4Grid::up_to(calibrated.magnitude()) : Nvfp4Grid::over(tokens);
      if (!grid) return grid.error();
      return RoundToNearest{}(*grid, tokens, options);
    } else if constexpr (Range == InputRange::calibrated) {
      using G = SchemeGrid<Inputs>;
      return RoundToNearest{}(detail::CalibratedGrid<G>{{}, G::fit(std::array{calibrated.lowest, calibrated.highest})},
                              tokens, options);
    } else {
      return RoundToNearest{}(SchemeGrid<Inputs>{}, tokens, options);
    }
  }
};

/// The recipes with names: the rows of ModelOpt's matrix of formats.
namespace recipes {

/// Eight-bit integers: weights by output, inputs by token. Smooth the inputs first (SmoothQuant).
struct Int8 : Recipe<catalog::Int8Channel, catalog::Int8Channel> {
  static constexpr std::string_view name = "w8a8-int8";
};
/// FP8, one scale for the weights and a calibrated one for the inputs.
struct FP8Static : Recipe<catalog::FP8Tensor, catalog::FP8Tensor, InputRange::calibrated> {
  static constexpr std::string_view name = "w8a8-fp8-static";
};
/// FP8, weights by output, inputs by token.
struct FP8Dynamic : Recipe<catalog::FP8Channel, catalog::FP8Channel> {
  static constexpr std::string_view name = "w8a8-fp8-dynamic";
};
/// INT4 weights in groups of 128, inputs as they are. For Gptq and Awq.
struct W4A16 : Recipe<catalog::Int4Group128, PlainInputs> {
  static constexpr std::string_view name = "w4a16";
};
/// INT4 weights in groups of 128, inputs in FP8 by a calibrated scale.
struct W4A8FP8 : Recipe<catalog::Int4Group128, catalog::FP8Tensor, InputRange::calibrated> {
  static constexpr std::string_view name = "w4a8-fp8";
};
/// INT4 weights in groups of 128, inputs as integers of eight bits by token.
struct W4A8Int8 : Recipe<catalog::Int4Group128, catalog::Int8Channel> {
  static constexpr std::string_view name = "w4a8-int8";
};
/// NVFP4 weights and inputs, the inputs with a calibrated scale of the tensor.
struct NVFP4 : Recipe<Nvfp4, Nvfp4, InputRange::calibrated> {
  static constexpr std::string_view name = "nvfp4";
};
/// MXFP4 weights and inputs.
struct MXFP4 : Recipe<catalog::MXFP4, catalog::MXFP4> {
  static constexpr std::string_view name = "mxfp4";
};

using All = std::tuple<Int8, FP8Static, FP8Dynamic, W4A16, W4A8FP8, W4A8Int8, NVFP4, MXFP4>;

}  // namespace recipes

/// Calls f(R{}) for the recipe of that name and returns what f does, which must be a Result; an error that lists the
/// names where there is none.
template <class Function>
auto with_recipe(std::string_view text, Function&& f) -> decltype(f(recipes::Int8{})) {
  using R = decltype(f(recipes::Int8{}));
  R result = Error{};
  bool found = false;
  std::string known;
  const auto visit = [&](const auto& recipe) {
    known.append(known.empty() ? "" : ", ").append(recipe.name);
    if (recipe.name != text) return;
    found = true;
    result = f(recipe);
  };
  std::apply([&](const auto&... recipe) { (visit(recipe), ...); }, recipes::All{});
  if (!found)
    return Error{ErrorCode::invalid_argument,
                 "pare: unknown recipe \"" + std::string(text) + "\"; the known ones are " + known};
  return result;
}

}  // namespace pare
