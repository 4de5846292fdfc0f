#include <Eigen/Core>
#include <vector>

#include "coded.hpp"
#include "families.hpp"
#include "pare/quantize/awq_grid.hpp"
#include "pare/quantize/round_to_nearest.hpp"
#include "pare/quantize/smooth_quant.hpp"

namespace golden {
namespace {

using Doubles = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Int8 = pare::AwqGrid;
constexpr Int8 per_row{.bits = 8, .zero_point = false};
constexpr pare::WholeMatrix<Int8> per_tensor{{.bits = 8, .zero_point = false}};

Doubles doubles(const std::vector<float>& values, pare::Shape shape) {
  Doubles result(shape.rows, shape.cols);
  for (std::size_t i = 0; i < values.size(); ++i) result.data()[i] = static_cast<double>(values[i]);
  return result;
}

template <pare::Grid G>
Doubles rounded(const G& grid, const Table<float>& table) {
  return doubles(dequantized(value(pare::RoundToNearest{}(grid, table.view()))), table.shape);
}

std::vector<float> largest_magnitudes(const Table<float>& tokens) {
  std::vector<float> largest(tokens.shape.cols);
  for (std::size_t i = 0; i < tokens.values.size(); ++i)
    largest[i % largest.size()] = std::max(largest[i % largest.size()], std::fabs(tokens.values[i]));
  return largest;
}

void check_smoothquant(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const Table<float> tokens = problem.tokens();
  const std::vector<float> magnitudes = largest_magnitudes(tokens);
  outcome.near("smooth_scale", expected.values<float>("act_absmax"), magnitudes);
  const std::vector<pare::MatrixView<const float>> layers{problem.weight.view()};
  const auto found = value(pare::SmoothQuant{.alpha = entry.config.at("alpha").get<float>()}(layers, magnitudes));
  outcome.near("smooth_scale", expected.values<float>("smooth_scale"), {found.begin(), found.end()});

  const std::vector<float> scales = expected.values<float>("smooth_scale");
  Table<float> weight = problem.weight, inputs = tokens;
  ensure(pare::scale_inputs(weight.view(), scales));
  for (std::size_t i = 0; i < inputs.values.size(); ++i) inputs.values[i] /= scales[i % scales.size()];
  const pare::CodedMatrix codes = value(pare::RoundToNearest{}(per_row, std::as_const(weight).view()));
  outcome.codes("codes exact", expected.values<int>("w_codes"), signed_codes(codes));
  outcome.near("smooth_scale", expected.values<float>("w_scale"), golden::scales(codes));

  const Doubles w = doubles(problem.weight.values, problem.weight.shape), x = doubles(tokens.values, tokens.shape);
  const Doubles y = x * w.transpose();
  const auto figure = [&](const char* name, const Doubles& activations, const Table<float>& weights) {
    const double error = (activations * rounded(per_row, weights).transpose() - y).norm() / y.norm();
    outcome.near("smooth_scale", {static_cast<float>(entry.number(name))}, {static_cast<float>(error)});
    return error;
  };
  outcome.report_error(figure("rel_err", rounded(per_row, inputs), weight));
  figure("rel_err_w8a8_pertoken_nosmooth", rounded(per_row, tokens), problem.weight);
  figure("rel_err_w8a8_pertensor_smooth", rounded(per_tensor, inputs), weight);
  figure("rel_err_w8a8_pertensor_nosmooth", rounded(per_tensor, tokens), problem.weight);
}

constexpr Method methods[] = {{"smoothquant", check_smoothquant}};

}  // namespace

std::span<const Method> smoothquant_methods() { return methods; }

}  // namespace golden
