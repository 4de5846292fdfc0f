#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "families.hpp"
#include "pare/quantize/additive_quantizer.hpp"
#include "runner.hpp"

namespace golden {
namespace {

template <class T>
pare::Buffer buffer(const std::vector<T>& values) {
  pare::Buffer memory = value(pare::Buffer::allocate(values.size() * sizeof(T)));
  if (!values.empty()) std::memcpy(memory.data(), values.data(), memory.size());
  return memory;
}

/// The matrix of one stage of the entry.
pare::AdditiveMatrix stored(const Tensors& tensors, const Problem& problem, const std::string& books,
                            const std::string& codes) {
  const std::vector<std::size_t> shape = tensors.shape(books + "_codebooks");
  if (shape.size() != 4) throw std::runtime_error("codebooks are not of four dimensions");
  // Codes are int16: those from 2^15 on wrapped around.
  std::vector<std::uint16_t> wrapped;
  for (const int code : tensors.values<int>(codes + "_codes")) wrapped.push_back(static_cast<std::uint16_t>(code));
  return {.shape = problem.weight.shape,
          .group = {shape[2], shape[3]},
          .codebooks = shape[0],
          .vectors = shape[1],
          .codes_memory = buffer(wrapped),
          .values_memory = buffer(tensors.values<float>(books + "_codebooks")),
          .scales_memory = buffer(tensors.values<float>(books + "_scales")),
          .value_type = pare::ScaleType::float32};
}

std::vector<int> codes(const pare::AdditiveMatrix& matrix) {
  std::vector<int> list;
  for (std::size_t r = 0; r < matrix.grid().rows; ++r)
    for (std::size_t c = 0; c < matrix.grid().cols; ++c)
      for (std::size_t m = 0; m < matrix.codebooks; ++m) list.push_back(matrix.code(r, c, m));
  return list;
}

double error(const Problem& problem, const pare::AdditiveMatrix& matrix) {
  std::vector<float> weights;
  for (std::size_t r = 0; r < matrix.shape.rows; ++r)
    for (std::size_t c = 0; c < matrix.shape.cols; ++c) weights.push_back(matrix.value(r, c));
  return problem.error(weights);
}

void check_aqlm(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const auto moment = problem.moment();
  // Figures follow from the codes: as much of one may differ as of them.
  const double allowed = 1.0 - entry.rule.share("codes");
  const auto figure = [&](const char* name, double ours) {
    const double reference = entry.number(name);
    outcome.check(name, std::fabs(ours - reference) <= allowed * reference,
                  std::to_string(ours) + " where the reference has " + std::to_string(reference));
  };
  for (const std::size_t beam : {std::size_t{1}, std::size_t{4}}) {
    const std::string name = "beam" + std::to_string(beam);
    pare::AdditiveMatrix matrix = stored(expected, problem, "init", "init");
    if (beam == 1) figure("rel_err_kmeans_init", error(problem, matrix));
    ensure(pare::AdditiveBeamSearch{.beam = beam}(problem.weight.view(), moment, matrix));
    const std::vector<int> reference = codes(stored(expected, problem, "init", name));
    outcome.codes("codes", reference, codes(matrix));
    figure((name + "_rel_err").c_str(), error(problem, matrix));
  }

  const pare::AdditiveMatrix final_matrix = stored(expected, problem, "final", "final");
  figure("rel_err", error(problem, final_matrix));
  const auto bits = [&](const pare::AdditiveMatrix& matrix) {
    const double width = std::log2(static_cast<double>(matrix.vectors)), out = static_cast<double>(matrix.shape.rows),
                 in = static_cast<double>(matrix.shape.cols), books = static_cast<double>(matrix.codebooks);
    const auto group = static_cast<double>(matrix.group.cols);
    return books * width / group + 16.0 * books * static_cast<double>(matrix.vectors) * group / (out * in) + 16.0 / in;
  };
  figure("bits_per_param", bits(final_matrix));
  const pare::AdditiveQuantizer algorithm{.beam = entry.option<std::size_t>("beam", 1), .tolerance = 0.002};
  const pare::AdditiveResult result =
      value(algorithm.train(problem.weight.view(), moment, stored(expected, problem, "init", "init")));
  figure("mse_init", result.first_loss);
  outcome.error(error(problem, result.matrix));
}

/// The points are rows of a file; the first centres those that lie farthest apart.
void check_kmeans(const Entry& entry, const Problem&, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const auto table = [&](const char* name) {
    const std::vector<std::size_t> shape = expected.shape(name);
    return Table<float>{expected.values<float>(name), {shape.at(0), shape.at(1)}};
  };
  const Table<float> data = table("data"), init = table("init"), centers = table("centers");
  const auto start = value(pare::farthest_points(data.view(), init.shape.rows));
  outcome.near("centers", init.values, {start.values().begin(), start.values().end()});
  const pare::Clusters clusters = value(pare::KMeans{}(data.view(), init.view()));
  outcome.near("centers", centers.values, {clusters.centers.values().begin(), clusters.centers.values().end()}, true);
  outcome.codes("idx", expected.values<int>("idx"),
                std::vector<int>(clusters.assignments.begin(), clusters.assignments.end()));
  double mse = 0.0;
  for (std::size_t i = 0; i < data.shape.rows; ++i)
    for (std::size_t d = 0; d < data.shape.cols; ++d) {
      const double difference =
          static_cast<double>(data.view()(i, d)) - static_cast<double>(clusters.centers(clusters.assignments[i], d));
      mse += difference * difference / static_cast<double>(data.values.size());
    }
  outcome.near("centers", {static_cast<float>(entry.number("mse"))}, {static_cast<float>(mse)});
}

constexpr Method methods[] = {{"aqlm", check_aqlm}, {"kmeans_greedy", check_kmeans}};

}  // namespace

std::span<const Method> aqlm_methods() { return methods; }

}  // namespace golden
