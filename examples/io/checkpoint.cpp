#include "io/checkpoint.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <initializer_list>
#include <map>
#include <system_error>
#include <type_traits>
#include <utility>

#include "io/json.hpp"

namespace io {
namespace fs = std::filesystem;
using nlohmann::json;
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

/// What a folder is searched for, in this order.
constexpr std::string_view usual_names[] = {"model.safetensors",     "model.safetensors.index.json",
                                            "pytorch_model.bin",     "pytorch_model.bin.index.json",
                                            MlcCache::file_names[0], MlcCache::file_names[1]};

/// For each shard's file name, the tensors that the index puts there.
using Shards = std::map<std::string, std::vector<std::string>, std::less<>>;

Error corrupt(std::string_view file, std::string_view what) {
  return {ErrorCode::corrupt_data, fmt::format("{}: {}", file, what)};
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
    if (!stays_inside(name))
      return corrupt(path.string(),
                     fmt::format("the file {} of tensor {} is not inside the folder", quote(name), quote(tensor)));
    shards[name].push_back(tensor);
  }
  return shards;
}

/// What kind of file it is: its name decides, and where that says nothing, how it starts.
enum class Kind { safetensors, gguf, torch, mlc };

Result<Kind> kind_of(const fs::path& path) {
  const std::string name = path.filename().string();
  if (std::ranges::find(MlcCache::file_names, name) != std::end(MlcCache::file_names)) return Kind::mlc;
  const auto ends_with_any = [&](std::initializer_list<std::string_view> endings) {
    return std::ranges::any_of(endings, [&](std::string_view ending) { return name.ends_with(ending); });
  };
  if (ends_with_any({".safetensors"})) return Kind::safetensors;
  if (ends_with_any({".gguf"})) return Kind::gguf;
  if (ends_with_any({".pt", ".pth", ".bin"})) return Kind::torch;
  const auto mapped = MappedFile::open(path);
  if (!mapped) return mapped.error();
  if (GgufFile::recognizes(mapped->bytes())) return Kind::gguf;
  return TorchFile::recognizes(mapped->bytes()) ? Kind::torch : Kind::safetensors;
}

/// The tensor with a type that TensorView has: blocks become rows of bytes.
TensorView plain_view(const GgufTensor& tensor) {
  const GgmlTypeInfo& type = info_of(tensor.type);
  TensorView view{{tensor.name, type.plain.value_or(DType::u8), tensor.shape}, tensor.bytes};
  if (!type.plain) view.shape.back() = view.shape.back() / type.elements * type.bytes;
  return view;
}

Metadata to_metadata(const std::vector<GgufEntry>& entries) {
  Metadata metadata;
  for (const GgufEntry& entry : entries) metadata.emplace(entry.key, to_text(entry.value));
  return metadata;
}

std::uintmax_t size_of(const fs::path& path) {
  std::error_code error;
  const std::uintmax_t size = fs::file_size(path, error);
  return error ? 0 : size;
}

/// Wraps what opening a file gave.
template <class Container, class T>
Result<std::vector<Container>> as_containers(Result<T> opened) {
  if (!opened) return std::move(opened).error();
  std::vector<Container> containers;
  containers.emplace_back(*std::move(opened));
  return containers;
}

}  // namespace

Result<std::vector<Checkpoint::Container>> Checkpoint::open_containers(const fs::path& file) {
  const auto kind = kind_of(file);
  if (!kind) return kind.error();
  switch (*kind) {
    case Kind::torch:
      return as_containers<Container>(TorchFile::open(file));
    case Kind::mlc:
      return as_containers<Container>(MlcCache::open(file));
    case Kind::safetensors:
      return as_containers<Container>(SafetensorsFile::open(file));
    case Kind::gguf:
      break;
  }
  auto shards = GgufFile::open_shards(file);
  if (!shards) return std::move(shards).error();
  std::vector<Container> containers;
  for (GgufFile& shard : *shards) containers.emplace_back(std::move(shard));
  return containers;
}

Result<std::vector<Checkpoint::Container>> Checkpoint::open_index(const fs::path& index) {
  const auto shards = read_index(index);
  if (!shards) return shards.error();
  std::vector<Container> containers;
  for (const auto& [file, tensors] : *shards) {
    auto shard = open_containers(index.parent_path() / file);
    if (!shard) return std::move(shard).error();
    Checkpoint listed;
    for (Container& container : *shard) listed.add(std::move(container));
    listed.index();
    for (const std::string& tensor : tensors)
      if (listed.find(tensor) == nullptr)
        return corrupt(index.string(), fmt::format("tensor {} is not in {}", quote(tensor), file));
    for (const TensorView* tensor : listed.tensors_)
      if (!std::ranges::binary_search(tensors, tensor->name))
        return corrupt(index.string(), fmt::format("tensor {} is in {} against the index", quote(tensor->name), file));
    for (Container& container : listed.containers_) containers.push_back(std::move(container));
  }
  return containers;
}

Result<Checkpoint> Checkpoint::open(const fs::path& path) {
  std::error_code ignored;
  fs::path source = path;
  if (fs::is_directory(path, ignored)) {
    const auto found =
        std::ranges::find_if(usual_names, [&](std::string_view name) { return fs::exists(path / name, ignored); });
    if (found == std::end(usual_names))
      return Error{ErrorCode::io, fmt::format("{}: holds neither {}", path.string(), fmt::join(usual_names, " nor "))};
    source = path / *found;
  }
  auto containers = source.filename().string().ends_with(".index.json") ? open_index(source) : open_containers(source);
  if (!containers) return std::move(containers).error();
  Checkpoint checkpoint;
  checkpoint.name_ = source.string();
  for (Container& container : *containers) checkpoint.add(std::move(container));
  checkpoint.index();
  return checkpoint;
}

void Checkpoint::add(Container container) {
  containers_.push_back(std::move(container));
  if (const auto* gguf = std::get_if<GgufFile>(&containers_.back())) {
    auto& views = from_gguf_.emplace_back();
    for (const GgufTensor& tensor : gguf->tensors()) views.push_back(plain_view(tensor));
    for (const TensorView& view : views) tensors_.push_back(&view);
    files_.push_back({gguf->name(), size_of(gguf->name()), to_metadata(gguf->metadata())});
    return;
  }
  std::visit(
      [&](const auto& file) {
        using File = std::decay_t<decltype(file)>;
        if constexpr (!std::is_same_v<File, GgufFile>) {
          for (const TensorView& tensor : file.tensors()) tensors_.push_back(&tensor);
          files_.push_back({file.name(), size_of(file.name()), file.metadata()});
        }
        if constexpr (std::is_same_v<File, MlcCache>) files_.back().bytes += file.shard_bytes();
      },
      containers_.back());
}

void Checkpoint::index() {
  by_name_ = tensors_;
  std::ranges::sort(by_name_, {}, &TensorView::name);
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

const GgufTensor* Checkpoint::find_blocks(std::string_view name) const noexcept {
  for (const Container& container : containers_) {
    const auto* gguf = std::get_if<GgufFile>(&container);
    const GgufTensor* tensor = gguf == nullptr ? nullptr : gguf->find(name);
    if (tensor != nullptr && !info_of(tensor->type).plain) return tensor;
  }
  return nullptr;
}

void Checkpoint::release(std::span<const std::byte> bytes) const noexcept {
  for (const Container& container : containers_) std::visit([&](const auto& file) { file.release(bytes); }, container);
}

}  // namespace io
