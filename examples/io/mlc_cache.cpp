#include "io/mlc_cache.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "io/json.hpp"

namespace io {
namespace fs = std::filesystem;
using nlohmann::json;
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

struct NamedType {
  std::string_view name;
  DType dtype;
};
/// TVM's names, of which some changed.
constexpr NamedType dtype_names[] = {{"float32", DType::f32},
                                     {"float16", DType::f16},
                                     {"bfloat16", DType::bf16},
                                     {"float64", DType::f64},
                                     {"int8", DType::i8},
                                     {"int16", DType::i16},
                                     {"int32", DType::i32},
                                     {"int64", DType::i64},
                                     {"uint8", DType::u8},
                                     {"uint16", DType::u16},
                                     {"uint32", DType::u32},
                                     {"uint64", DType::u64},
                                     {"bool", DType::boolean},
                                     {"float8_e4m3fn", DType::f8_e4m3},
                                     {"e4m3_float8", DType::f8_e4m3},
                                     {"float8_e5m2", DType::f8_e5m2},
                                     {"e5m2_float8", DType::f8_e5m2},
                                     {"float8_e8m0fnu", DType::f8_e8m0}};

Error corrupt(std::string_view file, std::string_view what) {
  return {ErrorCode::corrupt_data, fmt::format("{}: {}", file, what)};
}

/// The member of an object where it is a T, or nullptr.
template <class T>
const T* member(const json& object, std::string_view key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : found->template get_ptr<const T*>();
}

std::optional<std::size_t> count(const json& object, std::string_view key) {
  const auto* number = member<json::number_unsigned_t>(object, key);
  if (number == nullptr) return std::nullopt;
  return static_cast<std::size_t>(*number);
}

/// One entry of a shard's list.
struct Record {
  TensorInfo info;
  std::size_t offset = 0;
  std::size_t bytes = 0;
  bool widen = false;  ///< bfloat16 in the shard, float32 for the reader
};

Result<Record> read_record(const json& object, std::string_view place) {
  const auto* name = object.is_object() ? member<json::string_t>(object, "name") : nullptr;
  if (name == nullptr) return corrupt(place, "a record has no name");
  const auto fault = [&](std::string_view what, ErrorCode code = ErrorCode::corrupt_data) {
    return Error{code, fmt::format("{}: record {}: {}", place, quote(*name), what)};
  };
  const auto* type = member<json::string_t>(object, "dtype");
  if (type == nullptr) return fault("has no dtype");
  const auto row = std::ranges::find(dtype_names, *type, &NamedType::name);
  if (row == std::end(dtype_names)) return fault("unknown dtype " + quote(*type), ErrorCode::unsupported);
  const auto* format = member<json::string_t>(object, "format");
  if (format == nullptr) return fault("has no format");
  if (*format != "raw" && *format != "f32-to-bf16")
    return fault("unknown format " + quote(*format), ErrorCode::unsupported);

  Record record;
  record.info = {*name, row->dtype, {}};
  record.widen = *format == "f32-to-bf16" && row->dtype == DType::f32;
  const auto* shape = member<json::array_t>(object, "shape");
  if (shape == nullptr) return fault("has no shape");
  for (const json& extent : *shape) {
    if (!extent.is_number_unsigned()) return fault("shape is not a list of non-negative integers");
    record.info.shape.push_back(extent.get<std::size_t>());
  }
  const auto bytes = count(object, "nbytes");
  if (!bytes) return fault("nbytes is no count");
  const auto offset = count(object, "byteOffset");
  if (!offset) return fault("byteOffset is no count");
  record.bytes = *bytes;
  record.offset = *offset;
  const auto expected = byte_count(record.widen ? DType::bf16 : record.info.dtype, record.info.shape);
  if (!expected || !byte_count(record.info.dtype, record.info.shape))
    return fault(fmt::format("shape {} is too large", to_string(record.info.shape)));
  if (record.bytes != *expected)
    return fault(fmt::format("nbytes {} does not match shape {} of {} in format {} ({} bytes)", record.bytes,
                             to_string(record.info.shape), *type, *format, *expected));
  return record;
}

/// A bfloat16 is the upper half of the float32 with its value.
std::vector<std::byte> widen(std::span<const std::byte> halves) {
  std::vector<std::byte> floats(2 * halves.size());
  for (std::size_t i = 0; i + 1 < halves.size(); i += 2) {
    floats[2 * i + 2] = halves[i];
    floats[2 * i + 3] = halves[i + 1];
  }
  return floats;
}

Metadata read_metadata(const json& object) {
  Metadata metadata;
  for (const auto& [key, value] : object.items())
    metadata.emplace(key, value.is_string() ? value.get<std::string>() : value.dump());
  return metadata;
}

}  // namespace

Result<MlcCache> MlcCache::open(const fs::path& list) {
  const auto mapped = MappedFile::open(list);
  if (!mapped) return mapped.error();
  const auto text = mapped->bytes();
  std::vector<MappedFile> files;
  const auto shard = [&](const std::string& path) -> Result<std::span<const std::byte>> {
    auto file = MappedFile::open(list.parent_path() / path);
    if (!file) return std::move(file).error();
    return files.emplace_back(*std::move(file)).bytes();
  };
  auto cache = parse({reinterpret_cast<const char*>(text.data()), text.size()}, list.string(), shard);
  if (cache) cache->files_ = std::move(files);
  return cache;
}

Result<MlcCache> MlcCache::parse(std::string_view list, std::string_view name, ShardSource shards) {
  const auto document = parse_json(list, name);
  if (!document) return document.error();
  const auto* records = document->is_object() ? member<json::array_t>(*document, "records") : nullptr;
  if (records == nullptr) return corrupt(name, "has no list of records");

  MlcCache cache;
  cache.name_ = name;
  if (const auto* metadata = member<json::object_t>(*document, "metadata")) cache.metadata_ = read_metadata(*metadata);
  std::set<std::string, std::less<>> names, paths;
  for (const json& shard : *records) {
    const auto* path = shard.is_object() ? member<json::string_t>(shard, "dataPath") : nullptr;
    if (path == nullptr) return corrupt(name, "a shard has no dataPath");
    const std::string place = fmt::format("{}: shard {}", name, quote(*path));
    if (!stays_inside(*path)) return corrupt(place, "dataPath is not inside the folder");
    if (!paths.insert(*path).second) return corrupt(place, "dataPath is there twice");
    const auto* format = member<json::string_t>(shard, "format");
    if (format == nullptr) return corrupt(place, "has no format");
    if (*format != "raw-shard")
      return Error{ErrorCode::unsupported, fmt::format("{}: unknown format {}", place, quote(*format))};
    const auto size = count(shard, "nbytes");
    if (!size) return corrupt(place, "nbytes is no count");
    const auto* entries = member<json::array_t>(shard, "records");
    if (entries == nullptr) return corrupt(place, "has no list of records");

    const auto content = shards(*path);
    if (!content) return content.error();
    if (content->size() != *size)
      return corrupt(place, fmt::format("has {} bytes where nbytes is {}", content->size(), *size));
    cache.shard_bytes_ += *size;
    std::size_t end = 0;
    for (const json& entry : *entries) {
      auto record = read_record(entry, place);
      if (!record) return std::move(record).error();
      const auto fault = [&](std::string_view what) {
        return corrupt(place, fmt::format("record {}: {}", quote(record->info.name), what));
      };
      if (!names.insert(record->info.name).second) return fault("its name is taken");
      if (record->offset < end)
        return fault(fmt::format("byteOffset {} overlaps the record that ends at {}", record->offset, end));
      if (record->offset > *size || record->bytes > *size - record->offset)
        return fault(fmt::format("{} bytes at byteOffset {} exceed the {} bytes of the shard", record->bytes,
                                 record->offset, *size));
      end = record->offset + record->bytes;
      auto bytes = content->subspan(record->offset, record->bytes);
      if (record->widen) bytes = cache.widened_.emplace_back(widen(bytes));
      cache.tensors_.push_back({std::move(record->info), bytes});
    }
  }
  cache.by_name_ = NameIndex(cache.tensors_);
  return cache;
}

void MlcCache::release(std::span<const std::byte> bytes) const noexcept {
  for (const MappedFile& file : files_) file.release(bytes);
}

}  // namespace io
