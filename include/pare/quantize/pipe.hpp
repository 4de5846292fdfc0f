#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "pare/quantize/pipe_steps.hpp"
#include "pare/quantize/quantize_scheme.hpp"

namespace pare {

/// Layers that a pipe quantized, and what must happen to the inputs that they share: `changes`, in order.
template <class... Changes>
struct PipeResult {
  std::vector<CodedMatrix> matrices;  ///< of each layer
  std::tuple<Changes...> changes;     ///< ScaledInputs and RotatedInputs, to be folded into what produces the inputs

  /// Gives inputs [tokens, in] the form that the layers now take. Errors: another number of channels, a value that is
  /// not finite.
  Result<void> change_inputs(MatrixView<float> tokens, const Options& options = {}) const {
    return std::apply(
        [&](const auto&... change) {
          Result<void> result;
          static_cast<void>(((result = change.change_inputs(tokens, options)) && ...));
          return result;
        },
        changes);
  }
};

/// Steps that quantize layers one after the other: first what changes the layers' inputs (SmoothQuant, Awq,
/// RandomizedHadamard, RotateBy), then one algorithm that gives codes (RoundToNearest, Gptq, AdaRound, Obq, or anything
/// with their calls), then what betters codes (CoordinateDescent). Made by `pipe`.
template <class... Steps>
class Pipe {
  template <PipeRole Role>
  static constexpr std::size_t count = (std::size_t{pipe_role<Steps> == Role} + ... + 0);

  /// The place of the algorithm that gives codes.
  static constexpr std::size_t quantizer = [] {
    const std::array<PipeRole, sizeof...(Steps)> roles{pipe_role<Steps>...};
    std::size_t place = 0;
    while (place < roles.size() && roles[place] != PipeRole::quantizer) ++place;
    return place;
  }();
  static constexpr bool ordered = [] {
    const std::array<PipeRole, sizeof...(Steps)> roles{pipe_role<Steps>...};
    for (std::size_t i = 1; i < roles.size(); ++i)
      if (roles[i] < roles[i - 1]) return false;
    return true;
  }();

  static_assert(count<PipeRole::quantizer> != 0,
                "pare: a pipe needs one algorithm that gives codes: RoundToNearest, Gptq, AdaRound or Obq");
  static_assert(count<PipeRole::quantizer> <= 1, "pare: a pipe quantizes once; leave one algorithm that gives codes");
  static_assert(count<PipeRole::quantizer> != 1 || ordered,
                "pare: a pipe scales inputs first (SmoothQuant, Awq: a rotation leaves no magnitudes to go by), then "
                "rotates them, then quantizes, then betters the codes (CoordinateDescent)");

 public:
  /// Whether the codes are those of other inputs than the layers had.
  static constexpr bool changes_inputs = quantizer != 0;

  explicit constexpr Pipe(Steps... steps) : steps_(std::move(steps)...) {}

  /// Whether groups are neighbouring columns, as most layouts want them.
  [[nodiscard]] bool keeps_groups() const noexcept {
    if constexpr (requires { std::get<quantizer>(steps_).keeps_groups(); })
      return std::get<quantizer>(steps_).keeps_groups();
    else
      return true;
  }

  /// The codes of layers [out, in] that share inputs of this moment and these channels, on this grid. Copies of the
  /// layers and of the moment where inputs change. The result does not depend on the executor. Reports its progress.
  /// Errors: those of the steps, layers of other shapes, cancelled.
  template <Grid G, class Real>
  auto operator()(const G& grid, SharedInput layers, const SecondMoment<Real>& moment,
                  const ChannelStatistics& channels, const Options& options = {}) const {
    return run(grid, layers, moment, &channels, options);
  }
  /// The same for steps that ask nothing of single channels.
  template <Grid G, class Real>
  auto operator()(const G& grid, SharedInput layers, const SecondMoment<Real>& moment,
                  const Options& options = {}) const {
    static_assert(count<PipeRole::scaling> == 0,
                  "pare: SmoothQuant and Awq go by the magnitudes of channels; give the pipe ChannelStatistics too, "
                  "behind the moment");
    return run(grid, layers, moment, nullptr, options);
  }
  /// The codes of one layer whose inputs do not change: what pare::quantize<S> asks of an algorithm.
  template <Grid G, class Real>
    requires(!changes_inputs)
  Result<CodedMatrix> operator()(const G& grid, MatrixView<const float> weights, const SecondMoment<Real>& moment,
                                 const Options& options = {}) const {
    auto result = run(grid, SharedInput(&weights, 1), moment, nullptr, options);
    if (!result) return std::move(result).error();
    return std::move(result->matrices.front());
  }

 private:
  template <Grid G, class Real>
  auto run(const G& grid, SharedInput layers, const SecondMoment<Real>& moment, const ChannelStatistics* channels,
           const Options& options) const {
    return change<0>(grid, detail::PipedLayers<Real>::create(layers, moment, channels, changes_inputs, options),
                     options, std::tuple<>());
  }

  /// Makes the change of step I and all that follows.
  template <std::size_t I, Grid G, class Real, class... Changes>
  auto change(const G& grid, Result<detail::PipedLayers<Real>> layers, const Options& options,
              std::tuple<Changes...> changes) const {
    if constexpr (I == quantizer) {
      using R = Result<PipeResult<Changes...>>;
      if (!layers) return R(std::move(layers).error());
      PipeResult<Changes...> result{{}, std::move(changes)};
      constexpr std::size_t stages = sizeof...(Steps) - quantizer;
      const double share = 1.0 / static_cast<double>(layers->count() * stages);
      for (std::size_t i = 0; i < layers->count(); ++i) {
        const double begin = static_cast<double>(i * stages) * share;
        auto matrix = quantize_layer(grid, *layers, i, options, begin, share);
        if (!matrix) return R(std::move(matrix).error());
        result.matrices.push_back(*std::move(matrix));
      }
      return R(std::move(result));
    } else {
      using Change = typename decltype(detail::make_change(std::get<I>(steps_), grid, *layers, options))::value_type;
      Result<Change> made = Error{};
      if (layers) {
        made = detail::make_change(std::get<I>(steps_), grid, *layers, options);
        Result<void> changed = made ? layers->apply(*made, options) : Result<void>(made.error());
        if (!changed) layers = std::move(changed).error();
      }
      if (!layers)
        return decltype(change<I + 1>(grid, std::move(layers), options,
                                      std::tuple_cat(std::move(changes), std::tuple<Change>(*std::move(made)))))(
            std::move(layers).error());
      return change<I + 1>(grid, std::move(layers), options,
                           std::tuple_cat(std::move(changes), std::tuple<Change>(*std::move(made))));
    }
  }

  /// Quantizes one layer and betters its codes; each step is `share` of the progress.
  template <Grid G, class Real>
  Result<CodedMatrix> quantize_layer(const G& grid, const detail::PipedLayers<Real>& layers, std::size_t i,
                                     const Options& options, double begin, double share) const {
    const ProgressPart first(options.progress, begin, begin + share);
    auto matrix = detail::codes_of(std::get<quantizer>(steps_), grid, layers.weight(i), layers.moment(),
                                   Options{options.executor, options.memory, first});
    Result<void> good;
    const auto refine = [&](const auto& step) {
      begin += share;
      const ProgressPart part(options.progress, begin, begin + share);
      const auto done =
          step(grid, layers.weight(i), layers.moment(), *matrix, Options{options.executor, options.memory, part});
      if (!done) good = done.error();
      return done.has_value();
    };
    if (matrix)
      [&]<std::size_t... I>(std::index_sequence<I...>) {
        static_cast<void>((refine(std::get<quantizer + 1 + I>(steps_)) && ...));
      }(std::make_index_sequence<sizeof...(Steps) - quantizer - 1>());
    if (!good) return std::move(good).error();
    return matrix;
  }

  std::tuple<Steps...> steps_;
};

/// A recipe of several steps as one algorithm, which are run in the order in which they are named:
/// `pipe(SmoothQuant{.alpha = 0.8f}, RandomizedHadamard{.seed = 1}, Gptq{})(grid, layers, moment, channels)`. What does
/// not compose does not compile.
template <class... Steps>
constexpr Pipe<Steps...> pipe(Steps... steps) {
  return Pipe<Steps...>(std::move(steps)...);
}

/// A pipe whose codes are of other inputs than the layer had gives no packed tensor by itself.
template <SchemeType S, class M, class... Steps, class Real>
  requires(ShapedMatrix<const M> && Pipe<Steps...>::changes_inputs)
Result<PackedTensor<S>> quantize(const M&, const Pipe<Steps...>&, const SecondMoment<Real>&, const Options& = {}) {
  static_assert(!Pipe<Steps...>::changes_inputs,
                "pare: this pipe changes the layer's inputs, which quantize would forget; call the pipe with "
                "SchemeGrid<S>, fold the result's changes, and pack<S> its matrices");
  return Error{};
}

}  // namespace pare
