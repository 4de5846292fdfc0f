#pragma once

#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "pare/quantize/scheme_grid.hpp"

namespace pare {

/// What an algorithm gives: a matrix of codes, or that as a member `matrix` beside what else is known.
template <class R>
concept QuantizedLayer = std::same_as<R, CodedMatrix> || std::same_as<decltype(R::matrix), CodedMatrix>;

/// An algorithm that quantizes to a grid by the second moment of a layer's inputs. Models: Gptq.
template <class A, class G, class Real>
concept MomentQuantizer = Grid<G> && requires(const A& algorithm, const G& grid, MatrixView<const float> weights,
                                              const SecondMoment<Real>& moment, const Options& options) {
  requires QuantizedLayer<typename decltype(algorithm(grid, weights, moment, options))::value_type>;
};

/// The packed form of weights [out, in] (a MatrixView or anything with Eigen's accessors, of float, Half or BFloat16)
/// whose codes an algorithm chooses on the scheme's own grid: `quantize<W4>(weights, Gptq{}, moment)`. Errors: those of
/// the algorithm, and groups that would not be neighbouring columns (Gptq's act_order without static_groups).
template <SchemeType S, class Algorithm, class M, class Real>
  requires ShapedMatrix<const M> && MomentQuantizer<Algorithm, SchemeGrid<S>, Real>
Result<PackedTensor<S>> quantize(const M& weights, const Algorithm& algorithm, const SecondMoment<Real>& moment,
                                 const Options& options = {}) {
  auto view = detail::to_view(weights, Shape{});
  if (!view) return std::move(view).error();
  using T = typename std::remove_reference_t<decltype(*view)>::value_type;
  static_assert(Element<T>, "pare: weights are float, pare::Half or pare::BFloat16");
  if constexpr (!std::is_same_v<T, float>) {
    if (Result<void> ok = detail::check_input(*view, "the weight"); !ok) return std::move(ok).error();
    auto floats = Matrix<float>::copy(*view, options.memory);
    if (!floats) return std::move(floats).error();
    return quantize<S>(std::as_const(*floats).view(), algorithm, moment, options);
  } else {
    if constexpr (requires { algorithm.keeps_groups(); })
      if (!algorithm.keeps_groups() && detail::block_of<S>(view->shape()).cols < view->cols)
        return Error{ErrorCode::invalid_argument,
                     "pare: a scheme's groups are neighbouring columns; set static_groups where the order is another"};
    auto result = algorithm(SchemeGrid<S>{}, MatrixView<const float>(*view), moment, options);
    if (!result) return std::move(result).error();
    if constexpr (std::is_same_v<typename decltype(result)::value_type, CodedMatrix>)
      return pack<S>(*result, options.memory);
    else
      return pack<S>(result->matrix, options.memory);
  }
}

}  // namespace pare
