#include <string>
#include <vector>

#include "coded.hpp"
#include "families.hpp"
#include "pare/quantize/quantize.hpp"

namespace golden {
namespace {

/// The rule has a clause for each kernel.
void check_qoq(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const auto kernel = entry.config.at("kernel").get<std::string>();
  const pare::Qoq qoq{.group = group_of(entry)};
  const pare::QoqResult result =
      value(kernel == "gptq" ? qoq(problem.weight.view(), problem.moment()) : qoq(problem.weight.view()));
  const pare::CodedMatrix& matrix = result.matrix;
  outcome.codes(kernel, expected.values<int>("codes"), codes(matrix));
  std::vector<float> first(result.channel_scales.begin(), result.channel_scales.end());
  std::vector<float> second = scales(matrix), zeros = shifts(matrix);
  for (std::size_t i = 0; i < zeros.size(); ++i) {
    const float unit = first.empty() ? 1.0f : first[i / matrix.grid.cols];
    zeros[i] /= -unit;
    second[i] /= unit;
  }
  outcome.near("scale0", expected.values<float>("scale0"), first.empty() ? second : first);
  if (!first.empty()) outcome.near("scale1", expected.values<float>("scale1"), second);
  outcome.near("zero", expected.values<float>("zero"), zeros);
  outcome.report_error(problem.error(dequantized(matrix)));
}

constexpr Method methods[] = {{"qoq", check_qoq}};

}  // namespace

std::span<const Method> qoq_methods() { return methods; }

}  // namespace golden
