#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/safetensors.hpp"
#include "pare/prune/prune.hpp"

namespace {

using pare::Magnitude;
using pare::MatrixView;
using pare::NofM;
using pare::PerLayer;
using pare::PerLayerThreshold;
using pare::PerRow;
using pare::Pruner;
using pare::Unstructured;
using pare::Wanda;

template <class T>
std::vector<T> values(const io::SafetensorsFile& file, const std::string& name) {
  const io::TensorView* tensor = file.find(name);
  if (tensor == nullptr) return {};
  std::vector<T> out(tensor->bytes.size() / sizeof(T));
  std::memcpy(out.data(), tensor->bytes.data(), out.size() * sizeof(T));
  return out;
}

/// The weights as a matrix, and the l2 norm of each input column over all tokens of a linear problem.
struct Problem {
  std::vector<float> weights;
  std::size_t rows = 0;
  std::vector<float> norms;
  [[nodiscard]] MatrixView<const float> view() const { return {weights.data(), rows, weights.size() / rows}; }
};

Problem load_problem(const std::filesystem::path& path) {
  const auto file = io::SafetensorsFile::open(path);
  Problem problem;
  if (!file) return problem;
  problem.weights = values<float>(*file, "W");
  const io::Extents shape = file->find("W")->shape;
  problem.rows = shape[0];
  if (shape.size() != 2) return problem;

  std::vector<double> squares(shape[1], 0.0);
  const std::vector<float> tokens = values<float>(*file, "X");
  for (std::size_t i = 0; i < tokens.size(); ++i) squares[i % shape[1]] += double{tokens[i]} * double{tokens[i]};
  for (const double square : squares) problem.norms.push_back(static_cast<float>(std::sqrt(square)));
  return problem;
}

/// Which of pare's pruners stands for a method and configuration of the reference, and the pattern's block width.
struct Recipe {
  pare::Result<pare::Mask> mask = pare::Error{pare::ErrorCode::unsupported, "no pruner of pare's"};
  std::size_t block = 0;
};

Recipe prune(const std::string& method, const nlohmann::json& config, const Problem& problem) {
  const auto weights = problem.view();
  const std::span<const float> norms = problem.norms;
  if (config.contains("variant")) return {};
  if (config.contains("nm")) {
    const std::string pattern = config["nm"];
    if (method == "wanda" && pattern == "2of4") return {Pruner<Wanda, NofM<2, 4>>{}(weights, norms), 4};
    if (method == "wanda" && pattern == "4of8") return {Pruner<Wanda, NofM<4, 8>>{}(weights, norms), 8};
    if (method == "magnitude" && pattern == "2of4") return {Pruner<Magnitude, NofM<2, 4>>{}(weights), 4};
    if (method == "magnitude" && pattern == "4of8") return {Pruner<Magnitude, NofM<4, 8>>{}(weights), 8};
    return {};
  }
  const double sparsity = config.value("sp", -1.0);
  if (method == "wanda")
    return {Pruner<Wanda, Unstructured<PerRow>>{.structure = {.sparsity = sparsity}}(weights, norms)};
  if (method == "magnitude")
    return {Pruner<Magnitude, Unstructured<PerLayerThreshold>>{.structure = {.sparsity = sparsity}}(weights)};
  if (method == "magnitude_fine")
    return {Pruner<Magnitude, Unstructured<PerLayer>>{.structure = {.sparsity = sparsity}}(weights)};
  return {};
}

bool has_tie(MatrixView<const float> weights, std::size_t row, std::size_t begin, std::size_t width) {
  for (std::size_t i = begin; i < begin + width; ++i)
    for (std::size_t j = i + 1; j < begin + width; ++j)
      if (std::fabs(weights(row, i)) == std::fabs(weights(row, j))) return true;
  return false;
}

/// Compares with the reference's mask (1 = pruned) by the entry's rule. `blocks_may_differ_by_ties` is the rule of n:m
/// magnitude masks; every other one has to be equal in full.
void expect_match(const pare::Mask& mask, const std::vector<std::uint8_t>& golden, const Problem& problem,
                  std::size_t block, bool blocks_may_differ_by_ties) {
  const auto weights = problem.view();
  ASSERT_EQ(mask.shape(), weights.shape());
  ASSERT_EQ(golden.size(), weights.rows * weights.cols);
  std::size_t pruned = 0;
  for (std::size_t r = 0; r < weights.rows; ++r)
    for (std::size_t c = 0; c < weights.cols; ++c) {
      const bool reference_kept = golden[r * weights.cols + c] == 0;
      pruned += reference_kept ? 0u : 1u;
      if (mask.test(r, c) == reference_kept) continue;
      ASSERT_TRUE(blocks_may_differ_by_ties && has_tie(weights, r, c / block * block, block))
          << "at " << r << ", " << c;
    }
  EXPECT_EQ(weights.rows * weights.cols - mask.kept(), pruned);
}

/// Runs every entry of `folder`/results.json that has files there; returns how many there were by method.
std::map<std::string, int> run_all(const std::filesystem::path& folder) {
  std::map<std::string, int> ran;
  std::ifstream stream(folder / "results.json");
  const auto entries = nlohmann::json::parse(stream, nullptr, false);
  for (const auto& entry : entries) {
    const std::string method = entry["method"];
    if (method != "wanda" && method != "magnitude" && method != "magnitude_fine") continue;
    const std::string name = entry["file"];
    SCOPED_TRACE(name);
    const auto file = io::SafetensorsFile::open(folder / name);
    if (!file) continue;
    const Problem problem = load_problem(folder / "problems" / (entry["problem"].get<std::string>() + ".safetensors"));
    if (problem.rows == 0) {
      ADD_FAILURE() << "no problem file";
      continue;
    }
    const Recipe recipe = prune(method, entry["config"], problem);
    if (!recipe.mask && recipe.mask.error().code == pare::ErrorCode::unsupported) continue;
    if (!recipe.mask) {
      ADD_FAILURE() << recipe.mask.error().message;
      continue;
    }
    const std::string rule = entry["match"];
    EXPECT_EQ(rule.rfind("exact mask", 0), 0u) << "a match rule that this test does not know: " << rule;
    const bool ties = recipe.block != 0 &&
                      rule.find("may differ only inside groups containing exactly equal |w|") != std::string::npos;
    expect_match(*recipe.mask, values<std::uint8_t>(*file, "mask"), problem, recipe.block, ties);
    ++ran[method];
  }
  return ran;
}

TEST(GoldenMasks, OfTheBundledSubset) {
  const std::map<std::string, int> ran = run_all(std::filesystem::path(PARE_TEST_DIR) / "golden" / "algorithms");
  EXPECT_EQ(ran, (std::map<std::string, int>{{"wanda", 4}, {"magnitude", 4}, {"magnitude_fine", 1}}));
}

TEST(GoldenMasks, OfTheWholeSet) {
  const char* elsewhere = std::getenv("PARE_GOLDEN_ALGORITHMS");
  const std::filesystem::path folder = elsewhere != nullptr
                                           ? std::filesystem::path(elsewhere)
                                           : std::filesystem::path(PARE_SHARED_DIR) / "golden" / "algorithms";
  if (!std::filesystem::exists(folder / "results.json")) GTEST_SKIP() << "no golden vectors at " << folder;
  const std::map<std::string, int> ran = run_all(folder);
  if (elsewhere != nullptr) return;
  EXPECT_EQ(ran, (std::map<std::string, int>{{"wanda", 10}, {"magnitude", 7}, {"magnitude_fine", 1}}));
}

}  // namespace
