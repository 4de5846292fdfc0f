#include <string>
#include <vector>

#include "coded.hpp"
#include "families.hpp"
#include "pare/quantize/quantize.hpp"

namespace golden {
namespace {

template <int Bits, bool Symmetric>
void check_integers(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const pare::CodedMatrix matrix = value(pare::RoundToNearest{.group = group_of(entry)}(
      pare::NncfGrid{.bits = Bits, .symmetric = Symmetric}, problem.weight.view()));
  outcome.codes("codes", expected.values<int>("codes"), Symmetric ? signed_codes(matrix) : codes(matrix));
  outcome.near("scale", expected.values<float>("scale"), scales(matrix));
  if (!Symmetric) outcome.codes("zero", expected.values<float>("zero"), shifts(matrix));
  outcome.report_error(problem.error(dequantized(matrix)));
}

void check_nf4(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const pare::CodedMatrix matrix =
      value(pare::RoundToNearest{.group = group_of(entry)}(pare::AbsmaxGrid<pare::NF4>{}, problem.weight.view()));
  std::vector<float> values;
  for (const int code : codes(matrix)) values.push_back(pare::NF4::decode(static_cast<std::uint32_t>(code)));
  outcome.codes("values", expected.values<float>("values"), values);
  outcome.near("scale", expected.values<float>("scale"), scales(matrix));
  outcome.report_error(problem.error(dequantized(matrix)));
}

void check_gptq(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const bool symmetric = entry.config.at("mode").get<std::string>().ends_with("_sym");
  const int bits = entry.config.at("mode").get<std::string>().starts_with("int8") ? 8 : 4;
  const pare::Gptq gptq{.group = group_of(entry), .damping = {.fraction = entry.option("damp", 0.1)}};
  const auto result =
      value(gptq(pare::NncfGrid{.bits = bits, .symmetric = symmetric}, problem.weight.view(), problem.moment()));
  outcome.near("W_hat", expected.values<float>("W_hat"), dequantized(result.matrix), true);
  outcome.near("W_hat", expected.values<float>("scale"), scales(result.matrix));
  if (!symmetric) outcome.check("zero", expected.values<float>("zero") == shifts(result.matrix), "other zero points");
  outcome.error(problem.error(dequantized(result.matrix)));
}

constexpr Method methods[] = {{"nncf_int8_sym", check_integers<8, true>},
                              {"nncf_int8_asym", check_integers<8, false>},
                              {"nncf_int4_sym", check_integers<4, true>},
                              {"nncf_int4_asym", check_integers<4, false>},
                              {"nncf_nf4", check_nf4},
                              {"nncf_gptq", check_gptq}};

}  // namespace

std::span<const Method> nncf_grid_methods() { return methods; }

}  // namespace golden
