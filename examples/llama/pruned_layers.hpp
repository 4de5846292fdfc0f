#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pare/core/matrix.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// Linear layers that pruning has changed, in a folder beside the output until that is written: a model may be larger
/// than memory.
class PrunedLayers {
 public:
  struct Layer {
    pare::Shape shape;
    std::size_t pruned = 0;  ///< weights cut away, as zeros or with the rows and columns that are gone
  };

  /// Creates the folder, in place of what an interrupted run may have left there. Errors of the disk.
  static pare::Result<PrunedLayers> create(std::filesystem::path folder);

  PrunedLayers(PrunedLayers&& other) noexcept
      : folder_(std::exchange(other.folder_, {})), layers_(std::move(other.layers_)) {}
  PrunedLayers& operator=(PrunedLayers&&) = delete;
  /// Removes the folder.
  ~PrunedLayers();

  /// Keeps a layer under the name that it has in the model.
  pare::Result<void> save(const std::string& name, pare::MatrixView<const float> weights, std::size_t pruned);
  /// The values of a layer that find() knows.
  [[nodiscard]] pare::Result<std::vector<float>> load(std::string_view name) const;
  /// What is known of a layer, or nullptr where pruning did not change it.
  [[nodiscard]] const Layer* find(std::string_view name) const;

 private:
  explicit PrunedLayers(std::filesystem::path folder) : folder_(std::move(folder)) {}
  [[nodiscard]] std::filesystem::path path(std::string_view name) const;

  std::filesystem::path folder_;
  std::map<std::string, Layer, std::less<>> layers_;
};

}  // namespace llama
