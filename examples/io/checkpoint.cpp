#include "io/checkpoint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <system_error>
#include <utility>

#include "io/json.hpp"

namespace io {
namespace fs = std::filesystem;
using nlohmann::json;
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

constexpr std::string_view single_name = "model.safetensors";
constexpr std::string_view index_name = "model.safetensors.index.json";

/// For each shard's file name, the tensors that the index puts there.
using Shards = std::map<std::string, std::vector<std::string>, std::less<>>;

Error corrupt(std::string_view file, std::string_view what) {
  return {ErrorCode::corrupt_data, fmt::format("{}: {}", file, what)};
}

/// Whether a file of this name lies in the folder of the index or below.
bool stays_inside(const fs::path& file) {
  return file.has_filename() && file.is_relative() && std::ranges::find(file, fs::path("..")) == file.end();
}

Result<Shards> read_index(const fs::path& path) {
  const auto mapped = MappedFile::open(path);
  if (!mapped) return mapped.error();
  const auto text = mapped->bytes();
  const auto index = parse_json({reinterpret_cast<const char*>(text.data()), text.size()}, path.string());
  if (!index) return index.error();
  if (!index->is_object()) return corrupt(path.string(), "is not a JSON object");
  const auto map = index->find("weight_map");
  if (map == index->end() || !map->is_object()) return corrupt(path.string(), "has no weight_map");

  Shards shards;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string())
      return corrupt(path.string(), fmt::format("the file of tensor {} is no text", quote(tensor)));
    const auto& name = file.get_ref<const std::string&>();
    if (name.find('\0') != std::string::npos || !stays_inside(name))
      return corrupt(path.string(),
                     fmt::format("the file {} of tensor {} is not inside the folder", quote(name), quote(tensor)));
    shards[name].push_back(tensor);
  }
  return shards;
}

/// Opens one shard, which must hold exactly `tensors`.
Result<SafetensorsFile> open_shard(const fs::path& path, const std::vector<std::string>& tensors,
                                   std::string_view index) {
  auto shard = SafetensorsFile::open(path);
  if (!shard) return shard;
  for (const std::string& tensor : tensors)
    if (shard->find(tensor) == nullptr)
      return corrupt(index, fmt::format("tensor {} is not in {}", quote(tensor), path.filename().string()));
  for (const TensorView& tensor : shard->tensors())
    if (!std::ranges::binary_search(tensors, tensor.name))
      return corrupt(index,
                     fmt::format("tensor {} is in {} against the index", quote(tensor.name), path.filename().string()));
  return shard;
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const fs::path& path) {
  std::error_code ignored;
  fs::path source = path;
  if (fs::is_directory(path, ignored)) {
    source = path / single_name;
    if (!fs::exists(source, ignored)) source = path / index_name;
    if (!fs::exists(source, ignored))
      return Error{ErrorCode::io, fmt::format("{}: holds neither {} nor {}", path.string(), single_name, index_name)};
  }

  Checkpoint checkpoint;
  checkpoint.name_ = source.string();
  if (!source.filename().string().ends_with(".index.json")) {
    auto file = SafetensorsFile::open(source);
    if (!file) return std::move(file).error();
    checkpoint.files_.push_back(*std::move(file));
  } else {
    const auto shards = read_index(source);
    if (!shards) return shards.error();
    for (const auto& [name, tensors] : *shards) {
      auto shard = open_shard(source.parent_path() / name, tensors, checkpoint.name_);
      if (!shard) return std::move(shard).error();
      checkpoint.files_.push_back(*std::move(shard));
    }
  }
  for (const SafetensorsFile& file : checkpoint.files_)
    for (const TensorView& tensor : file.tensors()) checkpoint.tensors_.push_back(&tensor);
  checkpoint.by_name_ = checkpoint.tensors_;
  std::ranges::sort(checkpoint.by_name_, {}, &TensorView::name);
  return checkpoint;
}

const TensorView* Checkpoint::find(std::string_view name) const noexcept {
  const auto name_of = [](const TensorView* tensor) -> std::string_view { return tensor->name; };
  const auto found = std::ranges::lower_bound(by_name_, name, {}, name_of);
  return found != by_name_.end() && name_of(*found) == name ? *found : nullptr;
}

Result<const TensorView*> Checkpoint::require(std::string_view name) const {
  if (const TensorView* tensor = find(name)) return tensor;
  return corrupt(name_, fmt::format("has no tensor {}", quote(name)));
}

void Checkpoint::release(std::span<const std::byte> bytes) const noexcept {
  for (const SafetensorsFile& file : files_) file.release(bytes);
}

}  // namespace io
