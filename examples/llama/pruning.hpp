#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pare/core/result.hpp"

namespace llama {

/// How to prune, in the words of the command line.
struct Pruning {
  std::string metric = "magnitude";        ///< of pruning_metrics()
  std::string structure = "unstructured";  ///< of pruning_structures()
  double sparsity = 0.5;                   ///< the share to prune, where the structure does not fix it
};

/// A metric's name, what it needs, and what --help says of it.
struct PruningMetric {
  std::string_view name;
  std::string_view summary;
  bool inputs = false;   ///< reads the norms of what enters the layer
  bool moment = false;   ///< reads its second moment too, and moves the weights that are kept
  bool layers = false;   ///< sees what the pruned layers of its own block give, not only the blocks before that
  bool targets = false;  ///< asks that outputs be near those of the dense model, and not only of the dense layer
  bool weights = true;   ///< judges single weights
  bool units = false;    ///< judges neurons and heads
  bool blocks = false;   ///< judges whole layers
};
const std::vector<PruningMetric>& pruning_metrics();

/// The same for structures.
struct PruningStructure {
  std::string_view name;
  std::string_view summary;
};
const std::vector<PruningStructure>& pruning_structures();

/// The metric of that name. The error lists all of them.
pare::Result<PruningMetric> find_metric(std::string_view name);

/// Whether a structure takes whole neurons, heads or layers away, so that the model becomes smaller.
bool is_physical(std::string_view structure) noexcept;

/// N and M of a structure's name "N:M", R and C of "RxC", by the separator; nothing where it is another name.
std::optional<std::array<std::size_t, 2>> parse_numbers(std::string_view structure, char separator) noexcept;

/// Whether only a saliency known of each weight beforehand can choose it: metrics that move weights cannot.
bool needs_saliency(std::string_view structure) noexcept;

/// Success where a structure's name, which may be N:M or RxC, the metric and the sparsity make sense together. Errors
/// say which does not.
pare::Result<void> check_pruning(const Pruning& pruning);

}  // namespace llama
