#include <algorithm>
#include <numeric>
#include <vector>

#include "families.hpp"
#include "pruning.hpp"

namespace golden {
namespace {

/// The l2 norm of each input column over all tokens.
std::vector<float> norms(const Problem& problem) {
  auto inputs = value(pare::InputFluctuation::create(problem.weight.shape.cols));
  for (const Table<float>& sample : problem.samples) ensure(inputs.add(sample.view()));
  const auto result = value(inputs.norms());
  return {result.begin(), result.end()};
}

/// The mask of a metric by the configuration's "nm" or, with the structure for it, its "sp".
template <class Metric, class Structure, class... Norms>
pare::Mask mask_of(const Entry& entry, const Problem& problem, const Norms&... activation) {
  const auto weights = problem.weight.view();
  if (entry.config.contains("nm"))
    return value(pare::Pruner<Metric, pare::AnyNofM>{.structure = pattern(entry.config.at("nm").get<std::string>())}(
        weights, std::span<const float>(activation)...));
  return value(pare::Pruner<Metric, Structure>{.structure = {.sparsity = entry.config.at("sp").get<double>()}}(
      weights, std::span<const float>(activation)...));
}

void check_mask(const Tensors& expected, const Problem& problem, const pare::Mask& mask, Outcome& outcome) {
  outcome.codes("mask", expected.values<int>("mask"), pruned(mask));
  if (outcome.entry().json.contains("sparsity"))
    outcome.check("sparsity", std::fabs(mask.sparsity() - outcome.entry().number("sparsity")) < 1e-12,
                  std::to_string(mask.sparsity()));
  outcome.report_error(problem.error(masked(problem.weight.view(), mask)));
}

void check_wanda(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const std::vector<float> norm = norms(problem);
  const pare::Mask mask = entry.option("variant", false)
                              ? mask_of<pare::Wanda, pare::AdaptiveRows>(entry, problem, norm)
                              : mask_of<pare::Wanda, pare::Unstructured<pare::PerRow>>(entry, problem, norm);
  check_mask(expected, problem, mask, outcome);
  const auto samples = static_cast<double>(problem.samples.size());
  std::vector<double> scaler(norm.begin(), norm.end());
  for (double& n : scaler) n = n * n / samples;
  check_sums(outcome, "scaler_row", expected.values<float>("scaler_row"), scaler, problem.tokens().shape.rows);
}

/// A mask may differ from the reference's where a group holds equal magnitudes: neither is then right.
void check_magnitude(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const pare::Mask mask = mask_of<pare::Magnitude, pare::Unstructured<pare::PerLayerThreshold>>(entry, problem);
  if (!entry.config.contains("nm")) return check_mask(expected, problem, mask, outcome);
  const std::size_t m = pattern(entry.config.at("nm").get<std::string>()).of, cols = problem.weight.shape.cols;
  std::vector<int> theirs = expected.values<int>("mask");
  const std::vector<int> ours = pruned(mask);
  std::size_t tied = 0;
  for (std::size_t begin = 0; begin < ours.size(); begin += std::min(m, cols - begin % cols)) {
    const std::size_t width = std::min(m, cols - begin % cols);
    const auto first = static_cast<std::ptrdiff_t>(begin), last = first + static_cast<std::ptrdiff_t>(width);
    std::vector<float> group(problem.weight.values.begin() + first, problem.weight.values.begin() + last);
    for (float& w : group) w = std::fabs(w);
    std::ranges::sort(group);
    if (std::ranges::adjacent_find(group) == group.end()) continue;
    const auto count = [&](const std::vector<int>& all) {
      return std::accumulate(all.begin() + first, all.begin() + last, 0);
    };
    outcome.check("tied group", count(ours) == count(theirs), "not as many are pruned");
    std::copy(ours.begin() + first, ours.begin() + last, theirs.begin() + first);
    ++tied;
  }
  outcome.codes("mask", theirs, ours);
  outcome.check("groups without ties", tied * m < ours.size(), "there are none");
  outcome.report_error(problem.error(masked(problem.weight.view(), mask)));
}

void check_fine(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const auto weights = problem.weight.view();
  check_mask(expected, problem, mask_of<pare::Magnitude, pare::Unstructured<pare::PerLayerKthValue>>(entry, problem),
             outcome);
  check_sums(outcome, "l1", expected.values<float>("l1"), value(pare::L1Norm{}(weights)), weights.cols);
  check_sums(outcome, "l2", expected.values<float>("l2"), value(pare::L2Norm{}(weights)), weights.cols);
  check_sums(outcome, "geometric_median", expected.values<float>("geometric_median"),
             value(pare::GeometricMedian{}(weights)), weights.rows * weights.cols);
}

void check_venum(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const std::vector<float> norm = norms(problem);
  check_mask(expected, problem, mask_of<pare::Wanda, pare::Unstructured<pare::PerRow>>(entry, problem, norm), outcome);
  if (!expected.has("cwp_norm")) return;
  const auto filters = value(pare::ActivationNorm{norm}(problem.weight.view()));
  check_sums(outcome, "cwp_norm", expected.values<float>("cwp_norm"), filters,
             problem.tokens().shape.rows + problem.weight.shape.cols);
  std::vector<int> order(filters.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, [&](int a, int b) {
    const double x = filters[static_cast<std::size_t>(a)], y = filters[static_cast<std::size_t>(b)];
    return x != y ? x < y : a < b;
  });
  outcome.codes("order", expected.values<int>("cwp_order"), order);
}

constexpr Method methods[] = {
    {"wanda", check_wanda}, {"magnitude", check_magnitude}, {"magnitude_fine", check_fine}, {"venum", check_venum}};

}  // namespace

std::span<const Method> saliency_methods() { return methods; }

}  // namespace golden
