#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "io/safetensors.hpp"

namespace io {

/// The tensors of a model: one safetensors file, or all shards of one.
class Checkpoint {
 public:
  /// Opens a safetensors file, an index file `*.index.json`, or a folder that holds `model.safetensors` or
  /// `model.safetensors.index.json`. Index and shards must name exactly the same tensors; shards lie inside the folder.
  static pare::Result<Checkpoint> open(const std::filesystem::path& path);

  /// All tensors: shards by file name, and within a shard in the order of the data.
  [[nodiscard]] const std::vector<const TensorView*>& tensors() const noexcept { return tensors_; }

  /// The tensor of that name, or nullptr.
  [[nodiscard]] const TensorView* find(std::string_view name) const noexcept;

  /// The tensor of that name, or a corrupt_data error that says which file lacks it.
  [[nodiscard]] pare::Result<const TensorView*> require(std::string_view name) const;

  /// Lets the system drop the pages of a tensor that has been read (MappedFile::release).
  void release(std::span<const std::byte> bytes) const noexcept;

  /// The shards, sorted by file name. The metadata is theirs.
  [[nodiscard]] const std::vector<SafetensorsFile>& files() const noexcept { return files_; }

  /// The path of the file or index that was opened, for messages.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  Checkpoint() = default;

  std::string name_;
  std::vector<SafetensorsFile> files_;
  std::vector<const TensorView*> tensors_;
  std::vector<const TensorView*> by_name_;
};

}  // namespace io
