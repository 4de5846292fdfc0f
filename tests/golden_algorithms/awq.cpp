#include "pare/quantize/awq.hpp"

#include <vector>

#include "coded.hpp"
#include "families.hpp"
#include "pare/quantize/awq_grid.hpp"

namespace golden {
namespace {

/// The mean magnitude of each input channel over all tokens.
std::vector<float> mean_magnitudes(const Table<float>& tokens) {
  std::vector<double> sums(tokens.shape.cols);
  for (std::size_t i = 0; i < tokens.values.size(); ++i)
    sums[i % tokens.shape.cols] += std::fabs(static_cast<double>(tokens.values[i]));
  std::vector<float> means;
  for (const double sum : sums) means.push_back(static_cast<float>(sum / static_cast<double>(tokens.shape.rows)));
  return means;
}

/// The moment of every so many tokens, by which AWQ searches for clipping: of about 512 of them.
pare::SecondMoment<double> sampled_moment(const Table<float>& tokens) {
  const std::size_t stride = std::max<std::size_t>(1, tokens.shape.rows / 512), cols = tokens.shape.cols;
  auto moment = value(pare::SecondMoment<double>::create(cols));
  ensure(moment.add({tokens.values.data(), pare::ceil_div(tokens.shape.rows, stride), cols, stride * cols, 1}));
  return moment;
}

std::vector<float> unscaled(const pare::CodedMatrix& matrix, const std::vector<float>& scales) {
  std::vector<float> weights = dequantized(matrix);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] /= scales[i % scales.size()];
  return weights;
}

void check_awq(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const Table<float> tokens = problem.tokens();
  const pare::AwqGrid grid{.bits = entry.config.at("bits").get<int>(), .zero_point = entry.option("zero_point", true)};
  const pare::Awq awq{.clip_steps = entry.option("clip", true) ? 20 : 0, .group = group_of(entry)};
  const std::vector<float> magnitudes = mean_magnitudes(tokens);
  outcome.near("awq_scale", expected.values<float>("x_absmean"), magnitudes);

  const std::vector<pare::MatrixView<const float>> layers{problem.weight.view()};
  const pare::AwqScales found = value(awq.search(grid, layers, magnitudes, problem.moment()));
  outcome.near("best_ratio", {static_cast<float>(entry.number("best_ratio"))}, {static_cast<float>(found.ratio)});
  outcome.near("awq_scale", expected.values<float>("awq_scale"), {found.scales.begin(), found.scales.end()});
  outcome.near("awq_scale", expected.values<float>("loss_curve"), {found.losses.begin(), found.losses.end()});

  // Codes hang on the last bit of a scale; so they are those of the stored scales.
  const std::vector<float> scales = expected.values<float>("awq_scale");
  const pare::AwqMatrix result = value(awq.quantize(grid, problem.weight.view(), scales, sampled_moment(tokens)));
  outcome.codes("exact", expected.values<int>("codes"), codes(result.matrix));
  outcome.codes("exact", expected.values<float>("scale"), golden::scales(result.matrix));
  outcome.codes("exact", expected.values<float>("zero"), shifts(result.matrix));
  if (expected.has("clip_max"))
    outcome.codes("exact", expected.values<float>("clip_max"),
                  std::vector<float>(result.limits.values().begin(), result.limits.values().end()));
  outcome.report_error(problem.error(unscaled(result.matrix, scales)));
  const auto figure = [&](const char* name, const pare::CodedMatrix& matrix, const std::vector<float>& divisors) {
    outcome.near("awq_scale", {static_cast<float>(entry.number(name))},
                 {static_cast<float>(problem.error(unscaled(matrix, divisors)))});
  };
  figure("rel_err", result.matrix, scales);
  pare::Awq without_clipping = awq;
  without_clipping.clip_steps = 0;
  const auto scaled = value(without_clipping.quantize(grid, problem.weight.view(), scales, problem.moment()));
  figure("rel_err_scale_only", scaled.matrix, scales);
  const auto rounded = value(pare::RoundToNearest{.group = awq.group}(grid, problem.weight.view()));
  figure("rel_err_rtn_same_grid", rounded, std::vector<float>(scales.size(), 1.0f));
}

constexpr Method methods[] = {{"awq", check_awq}};

}  // namespace

std::span<const Method> awq_methods() { return methods; }

}  // namespace golden
