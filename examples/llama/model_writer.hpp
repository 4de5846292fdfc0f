#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/file.hpp"
#include "io/quantize_file.hpp"
#include "llama/pruned_layers.hpp"
#include "llama/pruning.hpp"
#include "llama/weight_files.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"
#include "pare/metrics/metrics.hpp"

namespace llama {

/// What happens to the linear layers of the blocks on their way from one model to another. Embedding, norms and head,
/// and tensors that are not known, stay as they are.
struct Compression {
  std::string scheme = {};               ///< of pare's catalog; empty to keep the dtype
  std::optional<Pruning> pruning = {};   ///< applied before the scheme, by a metric that needs no calibration
  const PrunedLayers* layers = nullptr;  ///< layers that are pruned already; all others stay as they are
  std::optional<Config> config = {};     ///< the sizes of the new model, where pruning has changed them
  std::vector<std::size_t> blocks = {};  ///< the blocks to keep, in ascending order; empty: all
};

/// What became of one linear layer.
struct CompressedTensor {
  std::string name;
  io::Extents shape;
  std::size_t bytes = 0;        ///< in the new file
  std::size_t pruned = 0;       ///< weights cut away
  pare::ErrorStatistics error;  ///< of the packed weights against what was packed; empty where nothing was

  [[nodiscard]] std::size_t weights() const noexcept { return shape[0] * shape[1]; }
};

/// What became of a model.
struct CompressedModel {
  std::vector<CompressedTensor> tensors;
  std::size_t file_bytes = 0;
  std::string scheme;  ///< the full name of the scheme, or empty

  /// The sums over all linear layers.
  [[nodiscard]] CompressedTensor total() const;
};

/// Error: the folder that is to be written exists, and may not be replaced.
pare::Result<void> check_output(const std::filesystem::path& folder, io::Overwrite overwrite);

/// Writes the model as a folder in Hugging Face's layout: config.json, the tokenizer's files where there are any, and
/// one model.safetensors. Works tensor by tensor: memory is bounded by the largest one. The folder appears whole or not
/// at all. Errors: those of the files and of check_output, tensors that are packed already, an unknown scheme, faults
/// of the disk.
pare::Result<CompressedModel> write_model(const WeightFiles& files, const std::filesystem::path& folder,
                                          const Compression& compression, io::Overwrite overwrite,
                                          pare::Executor executor, io::ProgressCallback progress);

}  // namespace llama
