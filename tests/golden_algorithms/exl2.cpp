#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "coded.hpp"
#include "families.hpp"
#include "pare/quantize/quantize.hpp"
#include "pare/search/search.hpp"

namespace golden {
namespace {

/// Numbers with dashes between them, as "4-3" and "0.1-0.9".
std::vector<double> numbers(const std::string& text) {
  std::vector<double> result;
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t length = 0;
    result.push_back(std::stod(text.substr(begin), &length));
    begin += length + 1;
  }
  return result;
}

void check_exl2(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const auto bits = numbers(entry.config.at("bits").get<std::string>());
  const auto shares = numbers(entry.config.at("prop").get<std::string>());
  std::vector<pare::BitShare> list;
  list.reserve(bits.size());
  for (std::size_t i = 0; i < bits.size(); ++i)
    list.push_back({static_cast<int>(bits[i]), shares.at(i), entry.config.at("g").get<std::size_t>()});
  const auto order = expected.values<std::uint32_t>("perm");
  const pare::AdaptiveGptqResult result =
      value(pare::AdaptiveGptq{.shares = list, .order = order}(problem.weight.view(), problem.moment()));
  const pare::CodedMatrix& matrix = result.matrix;

  std::vector<int> rows;
  for (const std::uint32_t column : order)
    for (std::size_t r = 0; r < matrix.shape.rows; ++r) rows.push_back(matrix.codes()(r, column));
  outcome.codes("codes", expected.values<int>("qweight"), rows);
  std::vector<float> by_groups;
  std::vector<int> roots;
  for (std::size_t g = 0; g < matrix.grid.cols; ++g)
    for (std::size_t r = 0; r < matrix.grid.rows; ++r) {
      by_groups.push_back(matrix.scales()(r, g));
      roots.push_back(static_cast<int>(std::lround(16.0f * std::sqrt(by_groups.back() / result.group_maxima[g]))));
    }
  outcome.codes("codes", expected.values<float>("scale"), by_groups);
  outcome.codes("codes", expected.values<int>("qscale"), roots);
  outcome.codes("codes", expected.values<float>("qscale_max"),
                std::vector<float>(result.group_maxima.begin(), result.group_maxima.end()));
  outcome.check(
      "qgroups_bits",
      expected.values<int>("qgroups_bits") == std::vector<int>(result.group_bits.begin(), result.group_bits.end()),
      "groups of other bits");
  outcome.check("total_bits", entry.json.at("total_bits").get<std::uint64_t>() == result.bits,
                std::to_string(result.bits));
  outcome.error(problem.error(dequantized(matrix)));

  // What EXL2's layout holds is the same matrix.
  const auto parts = value(pare::Exl2{.inverse_permutation = result.places.values()}.write(matrix));
  std::vector<pare::PartView> views;
  views.reserve(parts.size());
  for (const pare::Part& part : parts) views.push_back(part.view());
  const pare::CodedMatrix read = value(pare::Exl2{.outputs = matrix.shape.rows}.read(views));
  outcome.check("layout", dequantized(read) == dequantized(matrix), "EXL2's tensors hold another matrix");
}

void check_allocation(const Entry& entry, const Problem&, Outcome& outcome) {
  const Tensors inputs = entry.tensors();
  const auto shape = inputs.shape("cost");
  const auto costs = inputs.values<std::uint64_t>("cost");
  const auto errors = inputs.values<double>("err");
  std::vector<std::vector<pare::LayerOption>> layers(shape.at(0));
  for (std::size_t i = 0; i < costs.size(); ++i) layers[i / shape.at(1)].push_back({costs[i], errors.at(i)});
  const auto budget = entry.json.at("budget").get<std::uint64_t>();
  // The rule: objective sum(err^norm) <= optimum * 1.001, cost <= budget.
  for (const auto& [norm, optimum] : entry.json.at("optimum").items()) {
    const pare::Allocation found = value(pare::Allocator{.power = std::stod(norm)}(layers, budget));
    double sum = 0.0;
    std::uint64_t cost = 0;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      cost += layers[i].at(found.choice.at(i)).cost;
      sum += std::pow(layers[i][found.choice[i]].error, std::stod(norm));
    }
    outcome.check("objective " + norm, sum <= optimum.at("sum").get<double>() * 1.001, std::to_string(sum));
    outcome.check("bound " + norm, found.bound == found.objective && found.objective == sum, "is no optimum");
    outcome.check("cost " + norm, cost <= budget && cost == found.cost, std::to_string(cost));
  }
}

constexpr Method methods[] = {{"exl2", check_exl2}, {"exl2_allocation", check_allocation}};

}  // namespace

std::span<const Method> exl2_methods() { return methods; }

}  // namespace golden
