#include <Eigen/Core>
#include <numeric>
#include <vector>

#include "coded.hpp"
#include "families.hpp"
#include "pare/quantize/lora_correction.hpp"
#include "pare/quantize/nncf_awq.hpp"
#include "pare/quantize/nncf_grid.hpp"
#include "pare/quantize/round_to_nearest.hpp"
#include "pare/quantize/scale_estimation.hpp"
#include "pare/search/sensitivity.hpp"

namespace golden {
namespace {

pare::NncfGrid grid(const Entry& entry) {
  const auto mode = entry.config.at("mode").get<std::string>();
  if (mode.size() < 5 || !mode.starts_with("int")) throw std::runtime_error("the mode is not of integers");
  return {.bits = mode[3] - '0', .symmetric = mode.ends_with("_sym")};
}

/// The mean of each chunk of sample_len tokens.
Table<float> chunk_means(const Entry& entry, const Problem& problem) {
  const auto length = entry.config.at("sample_len").get<std::size_t>();
  Table<float> means;
  means.shape.cols = problem.weight.shape.cols;
  for (const Table<float>& sample : problem.samples)
    for (std::size_t begin = 0; begin + length <= sample.shape.rows; begin += length) {
      for (std::size_t c = 0; c < sample.shape.cols; ++c) {
        double sum = 0.0;
        for (std::size_t t = begin; t < begin + length; ++t) sum += static_cast<double>(sample.view()(t, c));
        means.values.push_back(static_cast<float>(sum / static_cast<double>(length)));
      }
      ++means.shape.rows;
    }
  return means;
}

pare::CodedMatrix rounded(const Entry& entry, const Table<float>& weight) {
  return value(pare::RoundToNearest{.group = group_of(entry)}(grid(entry), weight.view()));
}

void figure(Outcome& outcome, const char* subject, const char* name, double ours) {
  outcome.near(subject, {static_cast<float>(outcome.entry().number(name))}, {static_cast<float>(ours)});
}

void check_scale_estimation(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const Table<float> samples = chunk_means(entry, problem);
  const pare::CodedMatrix matrix =
      value(pare::ScaleEstimation{.group = group_of(entry)}(grid(entry), problem.weight.view(), samples.view()));
  const std::vector<float> reference = expected.values<float>("scale"), ours = scales(matrix);
  const double tolerance = entry.rule.relative("scale");
  std::size_t near = 0;
  for (std::size_t i = 0; i < std::min(reference.size(), ours.size()); ++i)
    near += std::fabs(reference[i] - ours[i]) <= static_cast<float>(tolerance) * std::fabs(reference[i]);
  outcome.share("scale", near, reference.size(), ours.size());
  if (expected.has("zero")) {
    outcome.codes("codes", expected.values<int>("codes"), codes(matrix));
    outcome.codes("codes", expected.values<float>("zero"), shifts(matrix));
  } else {
    outcome.codes("codes", expected.values<int>("codes"), signed_codes(matrix));
  }
  outcome.report_error(problem.error(dequantized(matrix)));
  figure(outcome, "scale", "rel_err_base", problem.error(dequantized(rounded(entry, problem.weight))));
}

void check_awq(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const Table<float> samples = chunk_means(entry, problem);
  const auto scales =
      value(pare::NncfAwq{.group = group_of(entry)}(grid(entry), problem.weight.view(), samples.view()));
  outcome.near("scale", expected.values<float>("awq_scale"), {scales.begin(), scales.end()});
  Table<float> weight = problem.weight;
  ensure(pare::scale_inputs(weight.view(), scales.values()));
  std::vector<float> approximation = dequantized(rounded(entry, weight));
  for (std::size_t i = 0; i < approximation.size(); ++i) approximation[i] /= scales[i % scales.size()];
  const double error = problem.error(approximation);
  outcome.report_error(error);
  figure(outcome, "scale", "rel_err", error);
}

void check_lora(const Entry& entry, const Problem& problem, Outcome& outcome) {
  using Floats = pare::EigenMatrix<float>;
  const Tensors expected = entry.tensors();
  const Table<float> samples = chunk_means(entry, problem);
  Table<float> approximation{dequantized(rounded(entry, problem.weight)), problem.weight.shape};
  const pare::LoraCorrection algorithm{.rank = entry.option<std::size_t>("rank", 8), .group = group_of(entry)};
  const pare::LowRank found =
      value(algorithm(problem.weight.view(), std::as_const(approximation).view(), samples.view()));
  const Floats product = pare::as_eigen(found.b.view()) * pare::as_eigen(found.a.view());
  const std::vector<float> ours(product.data(), product.data() + product.size());
  const std::vector<float> reference = expected.values<float>("BA");
  // A difference of two matrices: relative to the norm of the whole.
  double difference = 0.0, norm = 0.0;
  for (std::size_t i = 0; i < std::min(ours.size(), reference.size()); ++i) {
    const double x = static_cast<double>(reference[i]), y = static_cast<double>(ours[i]);
    difference += (x - y) * (x - y);
    norm += x * x;
  }
  const double apart = std::sqrt(difference / norm), allowed = entry.rule.relative("BA");
  outcome.check("BA", ours.size() == reference.size() && apart <= allowed,
                "is " + std::to_string(apart) + " apart where " + std::to_string(allowed) + " is allowed");
  figure(outcome, "BA", "rel_err_base", problem.error(approximation.values));
  for (std::size_t i = 0; i < ours.size(); ++i) approximation.values[i] += ours[i];
  const double error = problem.error(approximation.values);
  outcome.report_error(error);
  figure(outcome, "BA", "rel_err", error);
}

void check_criteria(const Entry& entry, const Problem& problem, Outcome& outcome) {
  using pare::Sensitivity;
  const nlohmann::json& layers = entry.json.at("layers");
  const std::size_t cols = problem.weight.shape.cols, count = layers.size();
  struct Column {
    const char* name;
    std::vector<float> expected, found;
  };
  std::vector<Column> columns;
  for (const char* name : {"max_mean", "frobenius", "hessian_trace_stat", "mean_var", "max_var", "mean_absmax",
                           "score_data_free", "score_hawq", "score_mean_var", "score_max_var", "score_mean_mag"})
    columns.push_back({name, {}, {}});
  for (const nlohmann::json& layer : layers) {
    const auto b = layer.at("block").get<std::size_t>();
    Table<float> weight{{}, {0, cols}};
    for (std::size_t r = b; r < problem.weight.shape.rows; r += count, ++weight.shape.rows)
      for (std::size_t c = 0; c < cols; ++c)
        weight.values.push_back(problem.weight.view()(r, c) * (0.5f + static_cast<float>(b)));
    pare::InputSensitivity inputs;
    for (Table<float> sample : problem.samples) {
      for (float& x : sample.values) x *= 1.0f + 0.5f * static_cast<float>(b);
      ensure(inputs.add(std::as_const(sample).view()));
    }
    const pare::CodedMatrix eight =
        value(pare::RoundToNearest{}(pare::NncfGrid{.bits = 8, .symmetric = false}, std::as_const(weight).view()));
    const Table<float> approximation{dequantized(eight), weight.shape};
    const pare::WeightError error = value(pare::weight_error(std::as_const(weight).view(), approximation.view()));
    const double found[] = {error.largest_mse,
                            error.norm,
                            inputs.hessian_trace(),
                            inputs.mean_variance(),
                            inputs.largest_variance(),
                            inputs.mean_magnitude(),
                            pare::sensitivity(Sensitivity::weight_error, error),
                            pare::sensitivity(Sensitivity::hessian_trace, error, inputs),
                            pare::sensitivity(Sensitivity::mean_variance, error, inputs),
                            pare::sensitivity(Sensitivity::largest_variance, error, inputs),
                            pare::sensitivity(Sensitivity::mean_magnitude, error, inputs)};
    for (std::size_t i = 0; i < columns.size(); ++i) {
      columns[i].expected.push_back(layer.at(columns[i].name).get<float>());
      columns[i].found.push_back(static_cast<float>(found[i]));
    }
  }
  const auto ranking = [](const std::vector<float>& scores) {
    std::vector<std::size_t> order(scores.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, {}, [&](std::size_t i) { return scores[i]; });
    return order;
  };
  for (const Column& column : columns) {
    outcome.near("rel", column.expected, column.found);
    outcome.codes("layer ranking", ranking(column.expected), ranking(column.found));
  }
}

constexpr Method methods[] = {{"nncf_scale_estimation", check_scale_estimation},
                              {"nncf_awq", check_awq},
                              {"nncf_lora_correction", check_lora},
                              {"nncf_mixed_precision_criteria", check_criteria}};

}  // namespace

std::span<const Method> nncf_methods() { return methods; }

}  // namespace golden
