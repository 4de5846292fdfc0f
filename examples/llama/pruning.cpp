#include "llama/pruning.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <system_error>

#include "io/json.hpp"
#include "pare/prune/prune.hpp"

namespace llama {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

const std::vector<PruningMetric>& pruning_metrics() {
  static const std::vector<PruningMetric> list = {
      {.name = "magnitude", .summary = "the absolute value; of neurons and heads, what reads them", .units = true},
      {.name = "random", .summary = "none: what every other metric must beat", .units = true},
      {.name = "wanda", .summary = "the same times the norm of the weight's input", .inputs = true, .units = true},
      {.name = "sparsegpt",
       .summary = "what its removal costs, later columns making up for it",
       .inputs = true,
       .moment = true},
      {.name = "obc",
       .summary = "the same one weight at a time, all others making up for it; for some hundred columns",
       .inputs = true,
       .moment = true,
       .layers = true},
      {.name = "refined",
       .summary = "SparseGPT's zeros improved by exchanges, least squares towards the dense model's outputs",
       .inputs = true,
       .moment = true,
       .layers = true,
       .targets = true},
      {.name = "flap",
       .summary = "of neurons and heads: how much their output fluctuates, times what reads it",
       .inputs = true,
       .weights = false,
       .units = true},
      {.name = "median",
       .summary = "of neurons and heads: how far what reads them is from what reads the others",
       .weights = false,
       .units = true},
      {.name = "influence",
       .summary = "of layers: how much the hidden states turn on their way through",
       .inputs = true,
       .weights = false,
       .blocks = true}};
  return list;
}

const std::vector<PruningStructure>& pruning_structures() {
  static const std::vector<PruningStructure> list = {
      {"unstructured", "a share of each row's weights"},
      {"per-layer", "a share of each layer's weights, wherever they are"},
      {"adaptive", "a share of each layer's weights, each row losing what matters little to it (Wanda's variant)"},
      {"N:M", "all but N of every M neighbours in a row, as 2:4 or 4:8"},
      {"RxC", "a share of the blocks of R rows and C columns, as 16x1"},
      {"neurons", "a share of the neurons of each layer, which becomes smaller; needs calibration"},
      {"heads", "a share of the key-value heads with the queries that read them; likewise"},
      {"units", "the same share of both, heads first; likewise"},
      {"layers", "a share of the layers; likewise"}};
  return list;
}

Result<PruningMetric> find_metric(std::string_view name) {
  const auto& list = pruning_metrics();
  const auto found = std::ranges::find(list, name, &PruningMetric::name);
  if (found != list.end()) return *found;
  std::string names;
  for (const PruningMetric& metric : list) names.append(names.empty() ? "" : ", ").append(metric.name);
  return Error{ErrorCode::invalid_argument,
               fmt::format("unknown metric {}; the known ones are {}", io::quote(name), names)};
}

bool is_physical(std::string_view structure) noexcept {
  return structure == "neurons" || structure == "heads" || structure == "units" || structure == "layers";
}

std::optional<std::array<std::size_t, 2>> parse_numbers(std::string_view structure, char separator) noexcept {
  const std::size_t middle = structure.find(separator);
  if (middle == std::string_view::npos) return {};
  std::array<std::size_t, 2> numbers{};
  const auto read = [](std::string_view digits, std::size_t& value) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc() && end == digits.data() + digits.size();
  };
  if (!read(structure.substr(0, middle), numbers[0]) || !read(structure.substr(middle + 1), numbers[1])) return {};
  return numbers;
}

bool needs_saliency(std::string_view structure) noexcept {
  return structure == "adaptive" || parse_numbers(structure, 'x');
}

Result<void> check_pruning(const Pruning& pruning) {
  const auto metric = find_metric(pruning.metric);
  if (!metric) return metric.error();
  const auto invalid = [](std::string message) { return Error{ErrorCode::invalid_argument, std::move(message)}; };
  if (!(pruning.sparsity >= 0 && pruning.sparsity <= 1))
    return invalid(fmt::format("the sparsity must lie in [0, 1], it is {}", pruning.sparsity));
  const std::string& structure = pruning.structure;
  bool good = metric->weights;
  if (const auto groups = parse_numbers(structure, ':')) {
    if (auto pattern = pare::AnyNofM{(*groups)[0], (*groups)[1]}.check(); !pattern) return pattern;
  } else if (const auto block = parse_numbers(structure, 'x'); block && ((*block)[0] == 0 || (*block)[1] == 0)) {
    return invalid(fmt::format("blocks of {} hold no weights", structure));
  } else if (needs_saliency(structure)) {
    good = metric->weights && !metric->moment;
  } else if (is_physical(structure)) {
    good = structure == "layers" ? metric->blocks : metric->units;
  } else if (structure != "unstructured" && structure != "per-layer") {
    std::string names;
    for (const PruningStructure& known : pruning_structures())
      names.append(names.empty() ? "" : ", ").append(known.name);
    return invalid(fmt::format("unknown structure {}; the known ones are {} with numbers such as 2:4 or 16x1",
                               io::quote(structure), names));
  }
  if (good) return {};
  return invalid(fmt::format("metric {} does not judge what structure {} takes away; --help says which does",
                             pruning.metric, structure));
}

}  // namespace llama
