#include "io/torch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "io/json.hpp"
#include "io/pickle.hpp"
#include "io/torch_state.hpp"
#include "io/zip_archive.hpp"
#include "pare/core/bits.hpp"
#include "pare/core/executor.hpp"

namespace io {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

using Bytes = std::span<const std::byte>;

/// A pickle of the number 0x1950a86a20f9469cfc6c, with which a file without a zip archive starts.
constexpr std::array<unsigned char, 15> legacy_magic{0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                                     0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e};
constexpr std::int64_t legacy_protocol = 1001;

Error corrupt(std::string_view file, std::string_view what) {
  return {ErrorCode::corrupt_data, fmt::format("{}: {}", file, what)};
}

Error big_endian(std::string_view file) {
  return {ErrorCode::unsupported, fmt::format("{}: was saved on a big-endian machine, which is not supported", file)};
}

/// Memory for what is not in the file as it is needed, up to a limit.
class Gathered {
 public:
  explicit Gathered(std::size_t file_size) : left_(std::min(file_size, ~std::size_t{0} / 8) * 4 + (1u << 26)) {}

  [[nodiscard]] std::size_t left() const noexcept { return left_; }

  /// `size` zero bytes, or nothing where that exceeds the limit.
  std::byte* add(std::size_t size) {
    if (size > left_) return nullptr;
    left_ -= size;
    return blocks_.emplace_back(size).data();
  }
  Bytes add(std::vector<std::byte> block) {
    left_ -= std::min(left_, block.size());
    return blocks_.emplace_back(std::move(block));
  }
  std::vector<std::vector<std::byte>> take() { return std::move(blocks_); }

 private:
  std::size_t left_;
  std::vector<std::vector<std::byte>> blocks_;
};

/// Gives the bytes of a storage of the file.
using StorageSource = pare::FunctionRef<Result<Bytes>(const TorchStorage&)>;

bool is_contiguous(const TorchTensor& tensor) {
  std::uint64_t stride = 1;
  for (std::size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != stride) return false;
    stride *= tensor.shape[i];
  }
  return true;
}

/// Copies a strided view, dimension by dimension from `axis` on, and returns the end of what it wrote.
std::byte* gather(const TorchTensor& tensor, const std::byte* from, std::size_t axis, std::byte* to) {
  const std::size_t width = bytes_of(tensor.dtype);
  if (axis == tensor.shape.size()) {
    std::memcpy(to, from, width);
    return to + width;
  }
  const std::size_t step = tensor.strides[axis] * width;
  for (std::size_t i = 0; i < tensor.shape[axis]; ++i) to = gather(tensor, from + i * step, axis + 1, to);
  return to;
}

/// The tensor's elements in one piece. The view has been checked against the storage.
Result<Bytes> elements_of(const TorchTensor& tensor, StorageSource storage, Gathered& memory, std::string_view file) {
  const std::size_t size = *byte_count(tensor.dtype, tensor.shape);
  const auto bytes = storage(tensor.storage);
  if (!bytes) return bytes.error();
  if (size == 0) return Bytes{};
  const std::size_t base = tensor.storage.offset * bytes_of(tensor.storage.dtype);
  const Bytes from = bytes->subspan(base + tensor.offset * bytes_of(tensor.dtype));
  if (is_contiguous(tensor)) return from.first(size);
  std::byte* to = memory.add(size);
  if (to == nullptr)
    return Error{ErrorCode::unsupported,
                 fmt::format("{}: tensor {}: views that are not in one piece take too much memory; {} bytes are left",
                             file, quote(tensor.name), memory.left())};
  gather(tensor, from.data(), 0, to);
  return Bytes(to, size);
}

/// What a file of either kind gives: the model's tensors, without their data, and the texts beside them.
struct Contents {
  std::vector<TorchTensor> tensors;
  Metadata metadata;
};

Result<Contents> read_model(const Pickle& pickle, std::string_view file) {
  auto tensors = torch_state_dict(pickle, file);
  if (!tensors) return std::move(tensors).error();
  return Contents{*std::move(tensors), torch_metadata(pickle)};
}

/// Gives every tensor its elements.
Result<std::vector<TensorView>> load(std::vector<TorchTensor> tensors, StorageSource storage, Gathered& memory,
                                     std::string_view file) {
  std::vector<TensorView> views;
  views.reserve(tensors.size());
  for (TorchTensor& tensor : tensors) {
    const auto bytes = elements_of(tensor, storage, memory, file);
    if (!bytes) return bytes.error();
    views.push_back({std::move(static_cast<TensorInfo&>(tensor)), *bytes});
  }
  return views;
}

struct Loaded {
  std::vector<TensorView> tensors;
  Metadata metadata;
};

Result<Loaded> load_zip(Bytes bytes, std::string_view file, Gathered& memory) {
  const auto archive = ZipArchive::parse(bytes, file);
  if (!archive) return archive.error();
  constexpr std::string_view object = "data.pkl";
  std::optional<std::string> folder;
  for (const std::string_view entry : archive->names())
    if (entry.ends_with(object) && (entry == object || std::ranges::count(entry, '/') == 1) && !folder)
      folder = entry.substr(0, entry.size() - object.size());
  if (!folder) return corrupt(file, "is no PyTorch file: the zip archive has no entry data.pkl in its folder");

  if (const std::string order = *folder + "byteorder"; archive->has(order)) {
    constexpr std::size_t longest = 16;
    const auto content = archive->read(order, longest);
    if (!content) return content.error();
    const std::string_view text(reinterpret_cast<const char*>(content->data()), content->size());
    if (text != "little" && text != "big") return corrupt(file, fmt::format("byteorder is {}", quote(text)));
    if (text == "big") return big_endian(file);
  }
  const auto program = archive->read(*folder + std::string(object), memory.left());
  if (!program) return program.error();
  const auto pickle = Pickle::parse(*program, file);
  if (!pickle) return pickle.error();
  auto contents = read_model(*pickle, file);
  if (!contents) return std::move(contents).error();

  std::map<std::string, Bytes> opened;
  const auto storage = [&](const TorchStorage& wanted) -> Result<Bytes> {
    const std::string entry = fmt::format("{}data/{}", *folder, wanted.key);
    auto found = opened.find(entry);
    if (found == opened.end()) {
      Bytes content;
      if (archive->has(entry) && !archive->is_stored(entry)) {
        auto inflated = archive->read(entry, memory.left());
        if (!inflated) return std::move(inflated).error();
        content = memory.add(*std::move(inflated));
      } else {
        const auto in_place = archive->view(entry);
        if (!in_place) return in_place.error();
        content = *in_place;
      }
      found = opened.emplace(entry, content).first;
    }
    const std::uint64_t expected = wanted.file_elements * bytes_of(wanted.dtype);
    if (found->second.size() != expected)
      return corrupt(file, fmt::format("storage {} has {} bytes instead of {}", quote(wanted.key), found->second.size(),
                                       expected));
    return found->second;
  };
  auto views = load(std::move(contents->tensors), storage, memory, file);
  if (!views) return std::move(views).error();
  return Loaded{*std::move(views), std::move(contents->metadata)};
}

/// The storages behind the pickles of a legacy file: for each key in turn the number of elements, and these.
Result<std::map<std::string, Bytes>> legacy_storages(Bytes rest, const Pickle& object, const Pickle& keys,
                                                     std::string_view file) {
  std::map<std::string, TorchStorage> described;
  for (Pickle::Ref ref = 0; ref < object.count(); ++ref) {
    const auto* persistent = object.get<Pickle::Persistent>(ref);
    if (persistent == nullptr) continue;
    auto storage = torch_storage(object, persistent->id, file);
    if (!storage) return std::move(storage).error();
    const auto [entry, added] = described.try_emplace(storage->key, *storage);
    if (!added && (entry->second.dtype != storage->dtype || entry->second.file_elements != storage->file_elements))
      return corrupt(file, fmt::format("storage {} is described in two ways", quote(storage->key)));
  }
  const auto* list = keys.get<Pickle::List>(keys.root());
  if (list == nullptr) return corrupt(file, "the keys of the storages are no list");
  std::map<std::string, Bytes> storages;
  for (const Pickle::Ref item : list->items) {
    const auto* key = keys.get<std::string>(item);
    const auto storage = key == nullptr ? described.end() : described.find(*key);
    if (storage == described.end())
      return corrupt(file, fmt::format("storage {} is unknown", key == nullptr ? "?" : quote(*key)));
    constexpr std::size_t length = sizeof(std::uint64_t);
    if (rest.size() < length) return corrupt(file, fmt::format("storage {} has no size", quote(*key)));
    const auto count = pare::load_le(reinterpret_cast<const std::uint8_t*>(rest.data()), length);
    rest = rest.subspan(length);
    if (count != storage->second.file_elements)
      return corrupt(file, fmt::format("storage {} has {} elements instead of {}", quote(*key), count,
                                       storage->second.file_elements));
    const std::uint64_t size = count * bytes_of(storage->second.dtype);
    if (size > rest.size())
      return corrupt(file, fmt::format("storage {} needs {} bytes, where {} are left", quote(*key), size, rest.size()));
    if (!storages.emplace(*key, rest.first(static_cast<std::size_t>(size))).second)
      return corrupt(file, fmt::format("storage {} is there twice", quote(*key)));
    rest = rest.subspan(static_cast<std::size_t>(size));
  }
  if (!rest.empty()) return corrupt(file, fmt::format("{} trailing bytes after the last storage", rest.size()));
  return storages;
}

Result<Loaded> load_legacy(Bytes bytes, std::string_view file, Gathered& memory) {
  const auto next = [&]() -> Result<Pickle> {
    auto pickle = Pickle::parse(bytes, file);
    if (pickle) bytes = bytes.subspan(pickle->size());
    return pickle;
  };
  bytes = bytes.subspan(legacy_magic.size());
  const auto protocol = next();
  if (!protocol) return protocol.error();
  if (const auto* number = protocol->get<std::int64_t>(protocol->root());
      number == nullptr || *number != legacy_protocol)
    return Error{ErrorCode::unsupported, fmt::format("{}: its protocol is not {}", file, legacy_protocol)};
  const auto system = next();
  if (!system) return system.error();
  if (const auto little = system->entry(system->root(), "little_endian"))
    if (const auto* flag = system->get<bool>(*little); flag != nullptr && !*flag) return big_endian(file);
  const auto object = next();
  if (!object) return object.error();
  const auto keys = next();
  if (!keys) return keys.error();

  auto contents = read_model(*object, file);
  if (!contents) return std::move(contents).error();
  const auto storages = legacy_storages(bytes, *object, *keys, file);
  if (!storages) return storages.error();
  const auto storage = [&](const TorchStorage& wanted) -> Result<Bytes> {
    const auto found = storages->find(wanted.key);
    if (found != storages->end()) return found->second;
    return corrupt(file, fmt::format("storage {} is missing", quote(wanted.key)));
  };
  auto views = load(std::move(contents->tensors), storage, memory, file);
  if (!views) return std::move(views).error();
  return Loaded{*std::move(views), std::move(contents->metadata)};
}

bool is_legacy(Bytes bytes) noexcept {
  return bytes.size() >= legacy_magic.size() &&
         std::memcmp(bytes.data(), legacy_magic.data(), legacy_magic.size()) == 0;
}

}  // namespace

bool TorchFile::recognizes(Bytes bytes) noexcept { return ZipArchive::recognizes(bytes) || is_legacy(bytes); }

Result<TorchFile> TorchFile::open(const std::filesystem::path& path) {
  auto mapped = MappedFile::open(path);
  if (!mapped) return std::move(mapped).error();
  auto file = parse(mapped->bytes(), path.string());
  if (file) file->file_ = *std::move(mapped);
  return file;
}

Result<TorchFile> TorchFile::parse(Bytes bytes, std::string_view name) {
  if (!recognizes(bytes))
    return corrupt(name, "is no PyTorch file: it starts neither as a zip archive nor as torch.save did before that");
  Gathered memory(bytes.size());
  auto loaded = is_legacy(bytes) ? load_legacy(bytes, name, memory) : load_zip(bytes, name, memory);
  if (!loaded) return std::move(loaded).error();
  TorchFile file;
  file.name_ = name;
  file.tensors_ = std::move(loaded->tensors);
  file.metadata_ = std::move(loaded->metadata);
  file.gathered_ = memory.take();
  file.by_name_ = NameIndex(file.tensors_);
  return file;
}

}  // namespace io
