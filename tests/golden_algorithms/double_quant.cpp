#include <filesystem>
#include <vector>

#include "coded.hpp"
#include "families.hpp"
#include "pare/quantize/absmax_grid.hpp"
#include "pare/quantize/double_quantization.hpp"
#include "pare/quantize/round_to_nearest.hpp"

namespace golden {
namespace {

/// The entry is of no problem of its own: its weights are those that have its shape and its absmax.
Problem find_problem(const Entry& entry, const Tensors& expected) {
  const std::vector<std::size_t> shape = expected.shape("codes");
  const std::vector<float> absmax = expected.values<float>("absmax");
  for (const auto& file : std::filesystem::directory_iterator(entry.folder / "problems")) {
    Problem problem = Problem::open(file.path());
    const std::vector<float>& weights = problem.weight.values;
    if (problem.weight.shape != pare::Shape{shape.at(0), shape.at(1)} || weights.size() % absmax.size() != 0) continue;
    float largest = 0.0f;
    for (std::size_t i = 0; i < weights.size() / absmax.size(); ++i) largest = std::max(largest, std::fabs(weights[i]));
    if (largest == absmax[0]) return problem;
  }
  throw std::runtime_error("no problem has the weights of this entry");
}

double relative_error(const std::vector<float>& weights, const std::vector<float>& approximation) {
  double squares = 0.0, total = 0.0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double w = static_cast<double>(weights[i]), difference = w - static_cast<double>(approximation[i]);
    squares += difference * difference;
    total += w * w;
  }
  return std::sqrt(squares / total);
}

void check_double_quantization(const Entry& entry, const Problem&, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const Problem problem = find_problem(entry, expected);
  const pare::DoubleQuantization algorithm{.block =
                                               problem.weight.values.size() / expected.values<float>("absmax").size()};
  const pare::DoubleQuantized result = value(algorithm(problem.weight.view()));
  outcome.codes("codes", expected.values<int>("codes"), codes(result.matrix));
  outcome.codes("codes", expected.values<int>("absmax_codes"),
                std::vector<int>(result.scale_codes.begin(), result.scale_codes.end()));
  outcome.near("codes", expected.values<float>("offset"), {result.offset});
  outcome.near("codes", expected.values<float>("absmax2"), {result.nested.begin(), result.nested.end()});
  outcome.near("codes", expected.values<float>("absmax_rec"), scales(result.matrix));
  outcome.near("codes", expected.values<float>("dynamic_map"),
               {pare::bnb_dynamic_map.begin(), pare::bnb_dynamic_map.end()});
  outcome.near("codes", expected.values<float>("nf4"), {pare::NF4::values.begin(), pare::NF4::values.end()});

  // What follows from the codes is stored with the precision of float.
  const auto figure = [&](const char* name, double ours) {
    outcome.check(name, std::fabs(ours - entry.number(name)) <= 0x1p-20 * entry.number(name), std::to_string(ours));
  };
  const std::vector<float> weights = dequantized(result.matrix);
  figure("w_rel", relative_error(problem.weight.values, weights));
  const auto plain = pare::RoundToNearest{.group = algorithm.block};
  if (result.matrix.shape == problem.weight.shape)
    figure("w_rel_no_dq",
           relative_error(problem.weight.values,
                          dequantized(value(plain(pare::AbsmaxGrid<pare::NF4>{}, problem.weight.view())))));
  figure("bits", algorithm.bits_per_weight());
}

constexpr Method methods[] = {{"nf4_double_quant", check_double_quantization}};

}  // namespace

std::span<const Method> double_quant_methods() { return methods; }

}  // namespace golden
