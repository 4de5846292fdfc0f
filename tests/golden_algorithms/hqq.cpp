#include <vector>

#include "coded.hpp"
#include "families.hpp"
#include "pare/quantize/half_quadratic.hpp"

namespace golden {
namespace {

void check_hqq(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const pare::HalfQuadratic algorithm{.bits = entry.config.at("bits").get<double>(),
                                      .axis = entry.option("axis", 1),
                                      .group = group_of(entry),
                                      .optimize = entry.option("opt", true),
                                      .round_zero = entry.option("rz", false)};
  const pare::CodedMatrix matrix = value(algorithm(problem.weight.view()));
  outcome.codes("codes", expected.values<int>("codes"), codes(matrix));
  // A zero is a place among the codes: it is near or far in their unit.
  outcome.near("zero", expected.values<float>("zero"), shifts(matrix), true);
  outcome.near("zero", expected.values<float>("scale"), scales(matrix));
  const std::vector<float> weights = dequantized(matrix);
  outcome.report_error(problem.error(weights));

  double error = 0.0, squares = 0.0, total = 0.0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double w = static_cast<double>(problem.weight.values[i]), d = w - static_cast<double>(weights[i]);
    error += std::fabs(d);
    squares += d * d;
    total += w * w;
  }
  outcome.near("zero", {static_cast<float>(entry.number("w_mae"))},
               {static_cast<float>(error / static_cast<double>(weights.size()))});
  outcome.near("zero", {static_cast<float>(entry.number("w_rel"))}, {static_cast<float>(std::sqrt(squares / total))});
}

constexpr Method methods[] = {{"hqq", check_hqq}};

}  // namespace

std::span<const Method> hqq_methods() { return methods; }

}  // namespace golden
