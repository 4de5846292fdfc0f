#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.hpp"
#include "io/name_index.hpp"
#include "io/safetensors.hpp"
#include "io/tensor.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"

namespace io {

/// The weights of an MLC-LLM model: `tensor-cache.json`, formerly `ndarray-cache.json`, and the shards that it lists.
/// Tensors are read from the mapped shards when touched; float32 that the shards hold as bfloat16 is widened when the
/// cache is opened, as TVM does.
class MlcCache {
 public:
  /// The names that the file with the list has.
  static constexpr std::string_view file_names[] = {"tensor-cache.json", "ndarray-cache.json"};

  /// Gives the content of a shard, by its path relative to the list.
  using ShardSource = pare::FunctionRef<pare::Result<std::span<const std::byte>>(const std::string&)>;

  /// Reads the list and maps the shards. They must have the size that the list says, lie in its folder, and hold every
  /// tensor once without overlap; their MD5 sums are not verified. Errors name the file, the record and the field.
  static pare::Result<MlcCache> open(const std::filesystem::path& list);

  /// The same for a list in memory. `name` stands for it in messages; what `shards` gives must outlive the result.
  static pare::Result<MlcCache> parse(std::string_view list, std::string_view name, ShardSource shards);

  /// The tensors in the order of the list.
  [[nodiscard]] const std::vector<TensorView>& tensors() const noexcept { return tensors_; }

  /// The tensor of that name, or nullptr.
  [[nodiscard]] const TensorView* find(std::string_view name) const noexcept { return by_name_.find(tensors_, name); }

  /// The `metadata` of the list; what is no text there, as JSON.
  [[nodiscard]] const Metadata& metadata() const noexcept { return metadata_; }

  /// The bytes of all shards.
  [[nodiscard]] std::size_t shard_bytes() const noexcept { return shard_bytes_; }

  /// Lets the system drop the pages of a tensor that has been read (MappedFile::release).
  void release(std::span<const std::byte> bytes) const noexcept;

  /// The name that messages use.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  MlcCache() = default;

  std::string name_;
  std::vector<MappedFile> files_;
  Metadata metadata_;
  std::vector<TensorView> tensors_;
  NameIndex by_name_;
  std::vector<std::vector<std::byte>> widened_;  ///< the tensors that were bfloat16 in the file
  std::size_t shard_bytes_ = 0;
};

}  // namespace io
