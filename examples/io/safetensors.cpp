#include "io/safetensors.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "io/json.hpp"
#include "pare/core/bits.hpp"

namespace io {
using nlohmann::json;
using pare::Error;
using pare::ErrorCode;
using pare::Result;

std::string to_string(std::span<const std::size_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

namespace {

constexpr std::size_t length_bytes = 8;
constexpr std::size_t max_header = 100'000'000;
constexpr std::string_view metadata_key = "__metadata__";

/// A tensor as its header entry describes it: `begin` and `end` count from the start of the data.
struct Entry {
  TensorInfo info;
  std::size_t begin = 0;
  std::size_t end = 0;
};

Error corrupt(std::string_view file, std::string_view what) {
  return {ErrorCode::corrupt_data, fmt::format("{}: {}", file, what)};
}

Error corrupt(std::string_view file, std::string_view tensor, std::string_view what) {
  return {ErrorCode::corrupt_data, fmt::format("{}: tensor {}: {}", file, quote(tensor), what)};
}

/// Why `info` has no byte count.
std::string shape_fault(const TensorInfo& info) {
  const auto count = element_count(info.shape);
  std::size_t total = 0;
  const bool fits = count && pare::checked_multiply(*count, bits(info.dtype), total);
  return fmt::format("shape {} of {} {}", to_string(info.shape), name(info.dtype),
                     fits ? "ends within a byte" : "is too large");
}

/// The member `key` of an object as unsigned integers, or nothing.
std::optional<std::vector<std::size_t>> sizes(const json& object, const char* key) {
  const auto member = object.find(key);
  if (member == object.end() || !member->is_array()) return std::nullopt;
  std::vector<std::size_t> values;
  for (const json& value : *member) {
    if (!value.is_number_unsigned()) return std::nullopt;
    values.push_back(value.get<std::size_t>());
  }
  return values;
}

Result<Metadata> read_metadata(const json& object, std::string_view file) {
  Metadata metadata;
  if (!object.is_object()) return corrupt(file, "__metadata__ is not an object");
  for (const auto& [key, value] : object.items()) {
    if (!value.is_string()) return corrupt(file, fmt::format("__metadata__: {} is not a string", quote(key)));
    metadata.emplace(key, value.get<std::string>());
  }
  return metadata;
}

Result<Entry> read_entry(const std::string& tensor, const json& object, std::size_t data_size, std::string_view file) {
  const auto fault = [&](std::string_view what) { return corrupt(file, tensor, what); };
  if (!object.is_object()) return fault("is not an object");

  const auto type = object.find("dtype");
  if (type == object.end() || !type->is_string()) return fault("has no dtype");
  const auto& spelling = type->get_ref<const std::string&>();
  const auto dtype = parse_dtype(spelling);
  if (!dtype) return fault("unknown dtype " + quote(spelling));

  auto shape = sizes(object, "shape");
  if (!shape) return fault("shape is not a list of non-negative integers");
  const auto offsets = sizes(object, "data_offsets");
  if (!offsets || offsets->size() != 2) return fault("data_offsets are not two non-negative integers");

  const Entry entry{{tensor, *dtype, *std::move(shape)}, offsets->front(), offsets->back()};
  const auto expected = byte_count(entry.info.dtype, entry.info.shape);
  if (!expected) return fault(shape_fault(entry.info));
  const auto range = fmt::format("data_offsets [{}, {})", entry.begin, entry.end);
  if (entry.end < entry.begin) return fault(range + " end before they begin");
  if (entry.end - entry.begin != *expected)
    return fault(fmt::format("{} do not match shape {} of {} ({} bytes)", range, to_string(entry.info.shape), spelling,
                             *expected));
  if (entry.end > data_size) return fault(fmt::format("{} exceed the {} bytes of data in the file", range, data_size));
  return entry;
}

/// Sorts the entries by their data, which must follow one another from the first byte to the last.
Result<void> check_tiling(std::vector<Entry>& entries, std::size_t data_size, std::string_view file) {
  std::ranges::sort(entries, {}, [](const Entry& entry) {
    return std::tuple<std::size_t, std::size_t, std::string_view>(entry.begin, entry.end, entry.info.name);
  });
  std::size_t position = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != position)
      return corrupt(
          file, entry.info.name,
          fmt::format("data_offsets [{}, {}) {} at {}", entry.begin, entry.end,
                      entry.begin < position ? "overlap the tensor that ends" : "leave a hole that starts", position));
    position = entry.end;
  }
  if (position != data_size)
    return corrupt(file, fmt::format("{} trailing bytes after the last tensor", data_size - position));
  return {};
}

}  // namespace

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
  auto mapped = MappedFile::open(path);
  if (!mapped) return std::move(mapped).error();
  auto file = parse(mapped->bytes(), path.string());
  if (file) file->file_ = *std::move(mapped);
  return file;
}

Result<SafetensorsFile> SafetensorsFile::parse(std::span<const std::byte> bytes, std::string_view name) {
  const auto fault = [&](std::string_view what) { return corrupt(name, what); };
  if (bytes.size() < length_bytes)
    return fault(fmt::format("too short for a safetensors file ({} bytes)", bytes.size()));
  const std::uint64_t length = pare::load_le(reinterpret_cast<const std::uint8_t*>(bytes.data()), length_bytes);
  if (length > max_header) return fault(fmt::format("header length {} exceeds the limit of {}", length, max_header));
  const auto rest = bytes.subspan(length_bytes);
  if (length > rest.size())
    return fault(fmt::format("header length {} exceeds the {} bytes that follow", length, rest.size()));
  const auto header_size = static_cast<std::size_t>(length);
  const std::size_t data_size = rest.size() - header_size;

  const auto header =
      parse_json({reinterpret_cast<const char*>(rest.data()), header_size}, fmt::format("{}: header", name));
  if (!header) return header.error();
  if (!header->is_object()) return fault("header is not a JSON object");

  SafetensorsFile file;
  file.name_ = name;
  std::vector<Entry> entries;
  for (const auto& [key, value] : header->items()) {
    if (key == metadata_key) {
      auto metadata = read_metadata(value, name);
      if (!metadata) return std::move(metadata).error();
      file.metadata_ = *std::move(metadata);
      continue;
    }
    auto entry = read_entry(key, value, data_size, name);
    if (!entry) return std::move(entry).error();
    entries.push_back(*std::move(entry));
  }
  if (auto tiled = check_tiling(entries, data_size, name); !tiled) return std::move(tiled).error();

  for (Entry& entry : entries)
    file.tensors_.push_back({std::move(entry.info), rest.subspan(header_size + entry.begin, entry.end - entry.begin)});
  file.by_name_.resize(file.tensors_.size());
  for (std::size_t i = 0; i < file.by_name_.size(); ++i) file.by_name_[i] = i;
  std::ranges::sort(file.by_name_, {}, [&](std::size_t i) -> const std::string& { return file.tensors_[i].name; });
  return file;
}

const TensorView* SafetensorsFile::find(std::string_view name) const noexcept {
  const auto name_of = [&](std::size_t i) -> std::string_view { return tensors_[i].name; };
  const auto found = std::ranges::lower_bound(by_name_, name, {}, name_of);
  return found != by_name_.end() && name_of(*found) == name ? &tensors_[*found] : nullptr;
}

namespace {

Error invalid(std::string_view file, std::string_view tensor, std::string_view what) {
  return {ErrorCode::invalid_argument, fmt::format("{}: tensor {}: {}", file, quote(tensor), what)};
}

/// The faults that the header of `tensors` would have.
Result<void> check_tensors(const std::vector<TensorInfo>& tensors, std::string_view file) {
  std::set<std::string_view> names{metadata_key};
  for (const TensorInfo& tensor : tensors) {
    if (!is_utf8(tensor.name)) return invalid(file, tensor.name, "its name is not valid UTF-8");
    if (!names.insert(tensor.name).second) return invalid(file, tensor.name, "its name is taken");
    if (!byte_count(tensor.dtype, tensor.shape)) return invalid(file, tensor.name, shape_fault(tensor));
  }
  return {};
}

/// The JSON header without padding, or nothing where the data outgrows the address space. `tensors` are sorted.
std::optional<std::string> header_text(const std::vector<TensorInfo>& tensors, const Metadata& metadata) {
  std::string text = "{";
  if (!metadata.empty()) text += fmt::format("{}:{},", json(metadata_key).dump(), json(metadata).dump());
  std::size_t begin = 0;
  for (const TensorInfo& tensor : tensors) {
    const std::size_t end = begin + *byte_count(tensor.dtype, tensor.shape);
    if (end < begin) return std::nullopt;
    text += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}},)", json(tensor.name).dump(),
                        name(tensor.dtype), fmt::join(tensor.shape, ","), begin, end);
    begin = end;
  }
  if (text.back() == ',') text.pop_back();
  return text + "}";
}

}  // namespace

Result<SafetensorsWriter> SafetensorsWriter::create(const std::filesystem::path& path, std::vector<TensorInfo> tensors,
                                                    const Metadata& metadata) {
  auto file = OutputFile::create(path);
  if (!file) return std::move(file).error();
  return create(*std::move(file), std::move(tensors), metadata);
}

Result<SafetensorsWriter> SafetensorsWriter::create(OutputFile file, std::vector<TensorInfo> tensors,
                                                    const Metadata& metadata) {
  if (auto valid = check_tensors(tensors, file.name()); !valid) return std::move(valid).error();
  for (const auto& [key, value] : metadata)
    if (!is_utf8(key) || !is_utf8(value))
      return Error{ErrorCode::invalid_argument,
                   fmt::format("{}: metadata {} is not valid UTF-8", file.name(), quote(key))};

  std::ranges::sort(tensors, [](const TensorInfo& a, const TensorInfo& b) {
    return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
  });
  auto header = header_text(tensors, metadata);
  if (header) header->append((length_bytes - header->size() % length_bytes) % length_bytes, ' ');
  if (!header || header->size() > max_header)
    return Error{ErrorCode::unsupported, file.name() + ": more tensors than a safetensors file can hold"};

  SafetensorsWriter writer(std::move(file));
  std::uint8_t length[length_bytes];
  pare::store_le(length, header->size(), length_bytes);
  if (auto done = writer.file_.write(std::as_bytes(std::span(length))); !done) return std::move(done).error();
  if (auto done = writer.file_.write(*header); !done) return std::move(done).error();
  writer.tensors_ = std::move(tensors);
  writer.move_to(0);
  return writer;
}

void SafetensorsWriter::move_to(std::size_t index) noexcept {
  for (current_ = index; current_ < tensors_.size(); ++current_) {
    remaining_ = *byte_count(tensors_[current_].dtype, tensors_[current_].shape);
    if (remaining_ != 0) return;
  }
}

Result<void> SafetensorsWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  if (current_ == tensors_.size()) return invalid(file_.name(), name, "is more than the file was declared to hold");
  const TensorInfo& expected = tensors_[current_];
  if (name != expected.name)
    return invalid(file_.name(), name, fmt::format("its data comes before {} is complete", quote(expected.name)));
  if (bytes.size() > remaining_)
    return invalid(file_.name(), name, fmt::format("{} bytes too many", bytes.size() - remaining_));
  if (auto done = file_.write(bytes); !done) return done;
  remaining_ -= bytes.size();
  if (remaining_ == 0) move_to(current_ + 1);
  return {};
}

Result<void> SafetensorsWriter::finish() {
  if (current_ < tensors_.size())
    return invalid(file_.name(), tensors_[current_].name, fmt::format("lacks {} bytes", remaining_));
  return file_.commit();
}

}  // namespace io
