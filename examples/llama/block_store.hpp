#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "llama/layer_codes.hpp"
#include "pare/core/result.hpp"
#include "pare/metrics/metrics.hpp"

namespace llama {

/// What quantization made of one block: the codes of its linear layers by their names, and other tensors whose values
/// changed.
struct QuantizedBlock {
  struct Layer {
    LayerCodes codes;
    pare::ErrorStatistics error;  ///< of the weights
    double output_error = 0.0;    ///< relative, of the layer's output over the calibration tokens
    std::string method = {};      ///< of layer_methods, by which the codes were chosen
  };
  std::map<std::string, Layer, std::less<>> layers;
  std::map<std::string, std::vector<float>, std::less<>> floats;
};

/// A folder of finished blocks, beside the output that is to be: work that was interrupted is taken up again where it
/// stopped.
class BlockStore {
 public:
  /// Opens or creates the folder. `task` says what is computed; blocks of another task are an error that names the
  /// folder, unless `restart`. Errors of the disk.
  static pare::Result<BlockStore> open(std::filesystem::path folder, const nlohmann::ordered_json& task, bool restart);

  /// Whether a block is there.
  [[nodiscard]] bool has(std::size_t block) const;
  /// A block that is there, its codes in this format.
  [[nodiscard]] pare::Result<QuantizedBlock> load(std::size_t block) const;
  /// Keeps a block; it is there whole or not at all.
  pare::Result<void> save(std::size_t block, const QuantizedBlock& content) const;
  /// Removes the folder and what open() and save() put there.
  void remove() const;

 private:
  explicit BlockStore(std::filesystem::path folder) : folder_(std::move(folder)) {}
  [[nodiscard]] std::filesystem::path path(std::size_t block) const;

  std::filesystem::path folder_;
};

}  // namespace llama
