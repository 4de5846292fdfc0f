#include <cmath>
#include <optional>
#include <vector>

#include "families.hpp"
#include "pruning.hpp"

namespace golden {
namespace {

pare::MatrixView<const float> rows_of(const Entry& entry, const Problem& problem) {
  return first_rows(problem, entry.option("rows", problem.weight.shape.rows));
}

/// Of the outputs other than the mask the rule gives the error's tolerance: weights, losses and sparsity have it too.
void check_result(const Entry& entry, const Problem& problem, const pare::PrunedMatrix& ours, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const std::vector<float> weights(ours.weights.values().begin(), ours.weights.values().end());
  outcome.codes("mask", expected.values<int>("mask"), pruned(ours.mask));
  outcome.near("rel_err", expected.values<float>("W_hat"), weights, true);
  outcome.near("rel_err", {static_cast<float>(entry.number("sparsity"))}, {static_cast<float>(ours.mask.sparsity())});
  outcome.error(problem.error(weights));
}

void check_unstructured(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const pare::Obc obc{.damping = entry.option("rel_damp", 0.0)};
  const auto weights = rows_of(entry, problem);
  const auto moment = problem.moment();
  check_result(entry, problem,
               value(obc(pare::Unstructured<pare::PerLayer>{entry.config.at("sp").get<double>()}, weights, moment)),
               outcome);
  const pare::ObcTrace trace = value(obc.trace(1, weights, moment));
  // The files have the loss of the dense row, 0, before the others.
  std::vector<float> losses;
  for (std::size_t r = 0; r < weights.rows; ++r) {
    losses.push_back(0.0f);
    for (const double loss : trace.losses.row(r)) losses.push_back(static_cast<float>(loss));
  }
  outcome.near("rel_err", entry.tensors().values<float>("losses"), losses, true);
}

void check_groups(const Entry& entry, const Problem& problem, Outcome& outcome) {
  pare::Array<std::uint32_t> order;
  if (problem.convolution)
    order = value(pare::channels_last(
        {.channels = problem.weight_shape.at(1), .kernel = {problem.weight_shape.at(2), problem.weight_shape.at(3)}}));
  const pare::Obc obc{.damping = entry.option("rel_damp", 0.0), .order = order.values()};
  const std::size_t n = entry.config.at("n").get<std::size_t>(), m = entry.config.at("m").get<std::size_t>();
  check_result(entry, problem,
               value(obc(pare::AnyNofM{.keep = m - n, .of = m}, rows_of(entry, problem), problem.moment())), outcome);
}

constexpr Method methods[] = {{"obc_unstr", check_unstructured}, {"obc_nm", check_groups}};

}  // namespace

std::span<const Method> obc_methods() { return methods; }

}  // namespace golden
