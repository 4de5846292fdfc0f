#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "io/gguf.hpp"
#include "io/mlc_cache.hpp"
#include "io/safetensors.hpp"
#include "io/torch.hpp"

namespace io {

/// One of the files of a checkpoint; a model in MLC's shards counts as one.
struct CheckpointFile {
  std::string name;  ///< its path
  std::uintmax_t bytes = 0;
  Metadata metadata;  ///< of GGUF and PyTorch as text
};

/// The tensors of a model on disk, whatever it is stored in: one file or all shards of one.
class Checkpoint {
 public:
  /// Opens a file of safetensors, PyTorch (.pt, .pth, .bin) or GGUF (one shard opens all), the list of an MLC cache, an
  /// index file `*.index.json`, or a folder that holds one of these under its usual name. Index and shards must name
  /// exactly the same tensors; shards lie inside the folder.
  static pare::Result<Checkpoint> open(const std::filesystem::path& path);

  /// All tensors: shards by file name, and within a shard in its order. Blocks of GGUF are rows of bytes, of type U8
  /// with the bytes of a row as the innermost extent; find_blocks() says what they are.
  [[nodiscard]] const std::vector<const TensorView*>& tensors() const noexcept { return tensors_; }

  /// The tensor of that name, or nullptr.
  [[nodiscard]] const TensorView* find(std::string_view name) const noexcept;

  /// The tensor of that name as GGUF describes it, where it consists of blocks; else nullptr.
  [[nodiscard]] const GgufTensor* find_blocks(std::string_view name) const noexcept;

  /// The tensor of that name, or a corrupt_data error that says which file lacks it.
  [[nodiscard]] pare::Result<const TensorView*> require(std::string_view name) const;

  /// Lets the system drop the pages of a tensor that has been read (MappedFile::release).
  void release(std::span<const std::byte> bytes) const noexcept;

  /// The files, shards sorted by file name.
  [[nodiscard]] const std::vector<CheckpointFile>& files() const noexcept { return files_; }

  /// The path of the file or index that was opened, for messages.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  using Container = std::variant<SafetensorsFile, GgufFile, TorchFile, MlcCache>;

  Checkpoint() = default;
  static pare::Result<std::vector<Container>> open_containers(const std::filesystem::path& file);
  static pare::Result<std::vector<Container>> open_index(const std::filesystem::path& index);
  void add(Container container);
  /// To be called after the last add().
  void index();

  std::string name_;
  std::vector<Container> containers_;
  std::vector<CheckpointFile> files_;
  std::vector<std::vector<TensorView>> from_gguf_;  ///< one vector for each GGUF file
  std::vector<const TensorView*> tensors_;
  std::vector<const TensorView*> by_name_;
};

}  // namespace io
