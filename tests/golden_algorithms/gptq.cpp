#include <algorithm>
#include <cmath>
#include <vector>

#include "coded.hpp"
#include "families.hpp"
#include "pare/quantize/quantize.hpp"

namespace golden {
namespace {

pare::MinMaxGrid min_max_grid(const Entry& entry) {
  return {.bits = entry.config.at("bits").get<int>(),
          .symmetric = entry.config.at("sym").get<bool>(),
          .search = entry.option("mse", false) ? pare::ClipSearch::mse() : pare::ClipSearch{}};
}

/// Scales and zero points of the groups that the reference's rounding agrees with to the last digits or so; the rule
/// says of codes how many.
void check_parameters(const std::vector<float>& expected, const std::vector<float>& found, Outcome& outcome) {
  std::size_t near = 0;
  for (std::size_t i = 0; i < std::min(expected.size(), found.size()); ++i)
    near += std::fabs(found[i] - expected[i]) <= 1e-4f * std::fabs(expected[i]) ? 1u : 0u;
  outcome.share("codes", near, expected.size(), found.size());
}

/// The order that the file has must be ours but for channels of the same moment.
void check_order(const std::vector<float>& diagonal, const std::vector<std::uint32_t>& order,
                 const pare::SecondMoment<double>& moment, bool sorted, Outcome& outcome) {
  const double scale = 2.0 / static_cast<double>(moment.samples());
  bool good = diagonal.size() == moment.channels() && order.size() == diagonal.size();
  for (std::size_t c = 0; good && c < diagonal.size(); ++c) {
    const double expected = static_cast<double>(diagonal[c]), ours = scale * moment.sum()(c, c);
    good = std::fabs(ours - expected) <= 1e-5 * expected;
  }
  outcome.check("hdiag", good, "the moment's diagonal is another");
  const std::vector<std::uint32_t> ours = [&] {
    const auto array = value(pare::descending_order(moment));
    return std::vector<std::uint32_t>(array.begin(), array.end());
  }();
  for (std::size_t i = 0; good && sorted && i < order.size(); ++i)
    good = std::fabs(diagonal[order[i]] - diagonal[ours[i]]) <= 1e-5f * diagonal[ours[i]];
  outcome.check("perm", good, "another order of the columns");
}

void check_gptq(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const bool act = entry.option("act", false);
  const auto order = expected.values<std::uint32_t>("perm");
  const pare::SecondMoment<double> moment = problem.moment();
  check_order(expected.values<float>("hdiag"), order, moment, act, outcome);
  const pare::Gptq gptq{.group = group_of(entry),
                        .block = entry.option("blocksize", std::size_t{128}),
                        .damping = {.fraction = entry.option("percdamp", 0.01)},
                        .act_order = act,
                        .static_groups = entry.option("static", false),
                        .order = act ? std::span<const std::uint32_t>(order) : std::span<const std::uint32_t>{}};
  const pare::GptqResult result = value(gptq(min_max_grid(entry), problem.weight.view(), moment));
  outcome.codes("codes", expected.values<int>("codes"), codes(result.matrix));
  check_parameters(expected.values<float>("scale"), scales(result.matrix), outcome);
  outcome.codes("codes", expected.values<float>("zero"), shifts(result.matrix));
  const auto groups = expected.values<std::size_t>("g_idx");
  bool same = groups.size() == result.matrix.shape.cols;
  for (std::size_t c = 0; same && c < groups.size(); ++c) same = result.matrix.group_of(c) == groups[c];
  outcome.check("g_idx", same, "columns of other groups");
  outcome.error(problem.error(dequantized(result.matrix)));
}

constexpr Method methods[] = {{"gptq", check_gptq}};

}  // namespace

std::span<const Method> gptq_methods() { return methods; }

}  // namespace golden
