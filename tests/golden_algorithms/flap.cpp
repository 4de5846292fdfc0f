#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "families.hpp"
#include "pruning.hpp"

namespace golden {
namespace {

pare::InputFluctuation statistics(const Problem& problem) {
  auto inputs = value(pare::InputFluctuation::create(problem.weight.shape.cols));
  for (const Table<float>& sample : problem.samples) ensure(inputs.add(sample.view()));
  return inputs;
}

pare::FlapMetric metric_of(const std::string& name) {
  if (name == "WIFV") return pare::FlapMetric::wifv;
  if (name == "IFV") return pare::FlapMetric::ifv;
  if (name == "WIFN") return pare::FlapMetric::wifn;
  throw std::runtime_error(name + " is no metric of FLAP");
}

/// 1 for each kept unit.
std::vector<int> kept(const pare::Mask& mask) {
  std::vector<int> result = pruned(mask);
  for (int& unit : result) unit = 1 - unit;
  return result;
}

void check_flap(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const pare::InputFluctuation inputs = statistics(problem);
  const auto weights = problem.weight.view();
  const auto importance =
      value(pare::flap_importance(metric_of(entry.config.at("metric").get<std::string>()), weights, inputs));
  const double ratio = entry.config.at("ratio").get<double>();
  const auto removed = static_cast<std::size_t>(static_cast<double>(weights.cols) * ratio);
  const pare::Mask keep = value(pare::flap_uniform({.importance = importance.values()}, removed));
  const auto bias = value(pare::flap_bias(weights, inputs, keep));

  outcome.codes("keep", expected.values<int>("keep"), kept(keep));
  outcome.check("kept", keep.kept() == entry.json.at("kept").get<std::size_t>(), std::to_string(keep.kept()));
  outcome.near("bias", expected.values<float>("bias"), {bias.begin(), bias.end()}, true);
  outcome.near("bias", expected.values<float>("mean_inp"), {inputs.mean().begin(), inputs.mean().end()}, true);
  outcome.near("bias", expected.values<float>("metric"), {importance.begin(), importance.end()});
  std::vector<float> approximation = problem.weight.values;
  for (std::size_t i = 0; i < approximation.size(); ++i)
    if (!keep.test(0, i % weights.cols)) approximation[i] = 0.0f;
  const double error = problem.error(approximation, bias.values());
  outcome.report_error(error);
  outcome.near("bias", {static_cast<float>(entry.number("rel_err"))}, {static_cast<float>(error)});
  outcome.near("bias", {static_cast<float>(entry.number("rel_err_nobias"))},
               {static_cast<float>(problem.error(approximation))});
}

/// The metric of a stored layer, row by row, as doubles.
std::vector<std::vector<double>> layers_of(const Tensors& tensors, const char* name) {
  const std::vector<double> all = tensors.values<double>(name);
  const std::size_t channels = tensors.shape(name).at(1);
  std::vector<std::vector<double>> layers;
  for (std::size_t begin = 0; begin < all.size(); begin += channels)
    layers.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(begin),
                        all.begin() + static_cast<std::ptrdiff_t>(begin + channels));
  return layers;
}

void check_adaptive(const Entry& entry, const Problem&, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const auto attention = layers_of(expected, "attn_metric"), neurons = layers_of(expected, "mlp_metric");
  const std::size_t head = expected.shape("attn_metric").at(1) / expected.shape("attn_keep").at(1);
  std::vector<pare::FlapUnits> units;
  units.reserve(attention.size() + neurons.size());
  // 4 * head weights of a head for 3 of a neuron, per hidden channel; the reference truncates it.
  for (const auto& layer : attention)
    units.push_back({.importance = layer,
                     .width = head,
                     .power = entry.option("attn_power", 1),
                     .cost = std::floor(4.0 * static_cast<double>(head) / 3.0)});
  for (const auto& layer : neurons) units.push_back({.importance = layer});
  const pare::FlapSelection selection = value(pare::flap_adaptive(units, entry.config.at("ratio").get<double>()));
  std::vector<int> heads, channels;
  for (std::size_t i = 0; i < selection.masks.size(); ++i) {
    const std::vector<int> layer = kept(selection.masks[i]);
    std::vector<int>& all = i < attention.size() ? heads : channels;
    all.insert(all.end(), layer.begin(), layer.end());
  }
  outcome.codes("masks", expected.values<int>("attn_keep"), heads);
  outcome.codes("masks", expected.values<int>("mlp_keep"), channels);
  // Standardized in single precision by the reference: sums of as many terms as a layer has channels.
  const double error = std::fabs(selection.threshold - expected.values<double>("threshold").at(0));
  const auto terms = static_cast<double>(std::max(attention.at(0).size(), neurons.at(0).size()));
  outcome.check("threshold", error <= terms * 0x1p-24, std::to_string(error) + " apart");
}

constexpr Method methods[] = {{"flap", check_flap}, {"flap_al_am", check_adaptive}};

}  // namespace

std::span<const Method> flap_methods() { return methods; }

}  // namespace golden
