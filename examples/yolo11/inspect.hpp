#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "io/safetensors.hpp"
#include "io/tensor.hpp"
#include "pare/core/result.hpp"

namespace yolo {

/// A tensor of a file; a packed one counts once, with the extents that it had before.
struct InspectedTensor {
  std::string name;
  std::string dtype;   ///< as safetensors spells it, or GGUF for its blocks; empty where packed
  std::string scheme;  ///< of pare's catalog; empty where not packed
  io::Extents shape;
  std::size_t bytes = 0;

  /// Stored bits per element; 0 for an empty tensor.
  [[nodiscard]] double bits_per_weight() const;
};

/// What a file holds.
struct Inspection {
  std::string file;
  std::uintmax_t bytes = 0;              ///< of the file or of all its shards
  io::Metadata metadata;                 ///< without the description of packed tensors
  std::vector<InspectedTensor> tensors;  ///< sorted by name, numbers in names by value
};

/// Reads whatever io::Checkpoint opens and checks its packed tensors.
pare::Result<Inspection> inspect(const std::filesystem::path& model);

/// Whether `a` comes before `b` when digits count as numbers: "model.2" before "model.10".
bool natural_less(std::string_view a, std::string_view b);

}  // namespace yolo
