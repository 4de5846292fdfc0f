#include <vector>

#include "coded.hpp"
#include "families.hpp"
#include "pare/quantize/quantize.hpp"

namespace golden {
namespace {

/// The grid that GPTQ's entries call by bits, sym and mse.
pare::MinMaxGrid min_max_grid(const Entry& entry) {
  return {.bits = entry.config.at("bits").get<int>(),
          .symmetric = entry.config.at("sym").get<bool>(),
          .search = entry.option("mse", false) ? pare::ClipSearch::mse() : pare::ClipSearch{}};
}

void check_min_max(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const pare::CodedMatrix matrix =
      value(pare::RoundToNearest{.group = group_of(entry)}(min_max_grid(entry), problem.weight.view()));
  outcome.codes("codes", expected.values<int>("codes"), codes(matrix));
  outcome.near("scale", expected.values<float>("scale"), scales(matrix));
  outcome.codes("codes", expected.values<float>("zero"), shifts(matrix));
  outcome.report_error(problem.error(dequantized(matrix)));
}

constexpr Method methods[] = {{"rtn", check_min_max}};

}  // namespace

std::span<const Method> round_to_nearest_methods() { return methods; }

}  // namespace golden
