#include "pare/quantize/obq.hpp"

#include <vector>

#include "coded.hpp"
#include "families.hpp"
#include "pare/quantize/min_max_grid.hpp"

namespace golden {
namespace {

/// The first "rows" rows of the weight, or all of them. The reference's grids are searched for the least error.
void check_obq(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  pare::MatrixView<const float> weights = problem.weight.view();
  weights.rows = entry.option("rows", weights.rows);
  const pare::MinMaxGrid grid{.bits = entry.config.at("bits").get<int>(),
                              .symmetric = entry.config.at("sym").get<bool>(),
                              .search = entry.option("mse", false) ? pare::ClipSearch::mse() : pare::ClipSearch{}};
  const pare::Obq obq{.group = group_of(entry), .damping = entry.option("rel_damp", 0.0)};
  const pare::ObqResult result = value(obq(grid, weights, problem.moment()));
  outcome.codes("codes", expected.values<int>("codes"), codes(result.matrix));
  outcome.codes("codes", expected.values<float>("scale"), scales(result.matrix));
  outcome.codes("codes", expected.values<float>("zero"), shifts(result.matrix));
  outcome.error(problem.error(dequantized(result.matrix)));
}

constexpr Method methods[] = {{"obc_quant", check_obq}};

}  // namespace

std::span<const Method> obq_methods() { return methods; }

}  // namespace golden
