#include <vector>

#include "coded.hpp"
#include "families.hpp"
#include "pare/quantize/quantize.hpp"
#include "pruning.hpp"

namespace golden {
namespace {

template <class S>
void check_structure(const S& structure, const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const pare::SparseGpt sparse_gpt{.block = entry.option<std::size_t>("blocksize", 128),
                                   .damping = {.fraction = entry.option("percdamp", 0.01)}};
  std::vector<float> approximation;
  std::vector<int> mask;
  if (entry.config.contains("bits")) {
    const pare::MinMaxGrid grid{.bits = entry.config.at("bits").get<int>(),
                                .symmetric = entry.config.at("sym").get<bool>()};
    const pare::PrunedCodes ours = value(sparse_gpt(structure, grid, problem.weight.view(), problem.moment()));
    approximation = dequantized(ours.codes);
    mask = pruned(ours.mask);
    outcome.codes("mask", expected.values<int>("codes"), codes(ours.codes));
    outcome.near("W_hat", expected.values<float>("scale"), scales(ours.codes));
    outcome.near("W_hat", expected.values<float>("zero"), shifts(ours.codes));
  } else {
    const pare::PrunedMatrix ours = value(sparse_gpt(structure, problem.weight.view(), problem.moment()));
    approximation.assign(ours.weights.values().begin(), ours.weights.values().end());
    mask = pruned(ours.mask);
    outcome.near("W_hat", expected.values<float>("W_hat"), approximation, true);
  }
  outcome.codes("mask", expected.values<int>("mask"), mask);
  outcome.error(problem.error(approximation));
}

void check_sparsegpt(const Entry& entry, const Problem& problem, Outcome& outcome) {
  if (entry.config.contains("nm"))
    check_structure(pattern(entry.config.at("nm").get<std::string>()), entry, problem, outcome);
  else
    check_structure(pare::Unstructured<pare::PerLayerThreshold>{.sparsity = entry.config.at("sp").get<double>()}, entry,
                    problem, outcome);
}

constexpr Method methods[] = {{"sparsegpt", check_sparsegpt}};

}  // namespace

std::span<const Method> sparsegpt_methods() { return methods; }

}  // namespace golden
