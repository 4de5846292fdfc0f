#include "comparison.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coded.hpp"
#include "pare/quantize/quantize.hpp"

namespace golden {
namespace {

using Errors = std::map<std::string, double>;  // of each problem
using Scheme = pare::Scheme<4, pare::Asymmetric, pare::PerGroup<64>, pare::f16>;
using Grid = pare::ClipSearchGrid<pare::SchemeGrid<Scheme>>;

constexpr std::array<std::string_view, 16> weight_quantizers = {"rtn",
                                                                "gptq",
                                                                "awq",
                                                                "hqq",
                                                                "qoq",
                                                                "exl2",
                                                                "aqlm",
                                                                "adaround",
                                                                "obc_quant",
                                                                "nncf_int4_asym",
                                                                "nncf_int4_sym",
                                                                "nncf_awq",
                                                                "nncf_nf4",
                                                                "nncf_gptq",
                                                                "nncf_scale_estimation",
                                                                "nncf_lora_correction"};

bool counts(const nlohmann::json& entry) {
  const auto method = entry.at("method").get<std::string>();
  const bool known = std::ranges::find(weight_quantizers, method) != weight_quantizers.end();
  const nlohmann::json& config = entry.at("config");
  const bool eight = config.contains("bits") && config.at("bits").is_number() && config.at("bits").get<int>() >= 8;
  return known && !eight && entry.contains("rel_err") && entry.at("rel_err").is_number();
}

/// What a recipe came to on a problem.
struct Reached {
  double error = 0.0;
  double bits = 0.0;
};

template <class Recipe>
Reached reach(const Problem& problem, const Recipe& recipe) {
  const pare::SecondMoment<double> moment = problem.moment();
  const pare::MatrixView<const float> weights = problem.weight.view();
  const auto found = value(recipe(Grid{}, pare::SharedInput(&weights, 1), moment));
  const auto packed = value(pare::pack<Scheme>(found.matrices[0]));
  // The outputs for the inputs as the recipe changes them, against those of the problem.
  Table<float> inputs = problem.tokens();
  ensure(found.change_inputs(inputs.view()));
  const std::vector<float> approximation = dequantized(value(pare::coded(packed)));
  const pare::MatrixView<const float> decoded(approximation.data(), weights.rows, weights.cols);
  const Table<float> tokens = problem.tokens();
  const auto exact =
      (pare::as_eigen(tokens.view()).cast<double>() * pare::as_eigen(weights).cast<double>().transpose()).eval();
  const auto ours =
      (pare::as_eigen(std::as_const(inputs).view()).cast<double>() * pare::as_eigen(decoded).cast<double>().transpose())
          .eval();
  return {(exact - ours).norm() / exact.norm(), packed.bits_per_weight()};
}

/// A rotation of all channels where there is one, else of runs of them.
pare::HadamardRotation rotation(std::size_t channels) {
  const std::size_t run = channels & (~channels + 1);
  return value(pare::HadamardRotation::random(pare::hadamard_order(channels) != 0 ? channels : run, 1));
}

}  // namespace

bool compare(const std::filesystem::path& folder) {
  std::ifstream file(folder / "results.json");
  if (!file) throw std::runtime_error(fmt::format("{}: cannot be read", (folder / "results.json").string()));
  std::map<std::string, Errors> references;
  Errors least;
  for (const nlohmann::json& entry : nlohmann::json::parse(file)) {
    if (!counts(entry)) continue;
    const auto problem = entry.at("problem").get<std::string>();
    const double error = entry.at("rel_err").get<double>();
    for (Errors* errors : {&references[entry.at("method").get<std::string>()], &least}) {
      const auto [at, added] = errors->try_emplace(problem, error);
      if (!added) at->second = std::min(at->second, error);
    }
  }

  const pare::Gptq gptq{.damping = {.fraction = 1e-3}, .act_order = true, .static_groups = true};
  const pare::CoordinateDescent descent{.rounds = 20, .sweeps = 20};
  std::map<std::string, Reached> plain, rotated;
  bool good = !least.empty();
  for (const auto& [name, reference] : least) {
    const Problem problem = Problem::open(folder / "problems" / (name + ".safetensors"));
    plain[name] = reach(problem, pare::pipe(gptq, descent));
    const pare::HadamardRotation turn = rotation(problem.weight.shape.cols);
    rotated[name] = reach(problem, pare::pipe(pare::RotateBy(turn), gptq, descent));
    good = good && rotated[name].error < reference && rotated[name].bits <= 4.5 && plain[name].bits <= 4.5;
  }

  fmt::print("| method |");
  for (const auto& [name, error] : least) fmt::print(" {} |", name);
  fmt::print("\n|---|");
  for (std::size_t i = 0; i < least.size(); ++i) fmt::print("---|");
  for (const auto& [method, errors] : references) {
    fmt::print("\n| {} |", method);
    for (const auto& [name, error] : least)
      fmt::print(" {} |", errors.contains(name) ? fmt::format("{:.4f}", errors.at(name)) : "");
  }
  const std::pair<const char*, std::map<std::string, Reached>*> rows[] = {
      {"`pipe(Gptq, CoordinateDescent)`", &plain}, {"`pipe(RotateBy, Gptq, CoordinateDescent)`", &rotated}};
  for (const auto& [what, reached] : rows) {
    fmt::print("\n| {} |", what);
    for (const auto& [name, error] : least) fmt::print(" **{:.4f}** |", reached->at(name).error);
  }
  fmt::print("\n| bits per weight of both |");
  for (const auto& [name, error] : least) fmt::print(" {:.3f} |", plain[name].bits);
  fmt::print("\n{}\n", good ? "below every reference" : "NOT below every reference");
  return good;
}

}  // namespace golden
