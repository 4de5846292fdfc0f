#include "llama/convert.hpp"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

#include "io/json.hpp"
#include "io/packed_matrix.hpp"
#include "io/safetensors.hpp"
#include "io/weight_layout.hpp"
#include "llama/coded_layers.hpp"
#include "llama/model_writer.hpp"
#include "llama/tokenizer_files.hpp"
#include "llama/weights.hpp"

namespace llama {
namespace fs = std::filesystem;
using nlohmann::ordered_json;
using pare::CodedMatrix;
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

constexpr std::string_view float_layout = "float32";
constexpr std::string_view own_layout = "pare";

/// Collects tensors and writes them as one file, or as shards with an index where they are many.
class ShardWriter {
 public:
  explicit ShardWriter(const io::OutputDirectory& folder) : folder_(folder) {}

  Result<void> add(io::TensorInfo info, std::vector<std::byte> bytes) {
    constexpr std::size_t shard_bytes = std::size_t{1} << 30;
    if (!pending_.empty() && pending_bytes_ + bytes.size() > shard_bytes)
      if (auto done = flush(fmt::format("model-{:05}.safetensors", ++shards_)); !done) return done;
    pending_bytes_ += bytes.size();
    total_bytes_ += bytes.size();
    std::string name = info.name;
    pending_.emplace(std::move(name), std::pair(std::move(info), std::move(bytes)));
    return {};
  }

  /// Describes a layer whose parts have been added.
  void add_entry(io::PackedEntry entry) { entries_.push_back(std::move(entry)); }

  Result<void> finish() {
    if (shards_ == 0) return flush("model.safetensors");
    if (auto done = flush(fmt::format("model-{:05}.safetensors", ++shards_)); !done) return done;
    const ordered_json index{{"metadata", {{"total_size", total_bytes_}}}, {"weight_map", weight_map_}};
    return folder_.write_file("model.safetensors.index.json", index.dump(2) + "\n");
  }

 private:
  Result<void> flush(const std::string& name) {
    std::vector<io::TensorInfo> infos;
    infos.reserve(pending_.size());
    for (const auto& [key, tensor] : pending_) infos.push_back(tensor.first);
    auto file = folder_.create_file(name);
    if (!file) return std::move(file).error();
    io::Metadata metadata{{"format", "pt"}};
    if (!entries_.empty()) metadata["pare"] = io::packed_metadata(entries_);
    auto writer = io::SafetensorsWriter::create(*std::move(file), std::move(infos), metadata);
    if (!writer) return std::move(writer).error();
    for (const io::TensorInfo& info : writer->tensors()) {
      weight_map_[info.name] = name;
      if (auto done = writer->write(info.name, pending_.at(info.name).second); !done) return done;
    }
    pending_.clear();
    pending_bytes_ = 0;
    entries_.clear();
    return writer->finish();
  }

  const io::OutputDirectory& folder_;
  std::map<std::string, std::pair<io::TensorInfo, std::vector<std::byte>>> pending_;
  std::vector<io::PackedEntry> entries_;
  std::map<std::string, std::string> weight_map_;
  std::size_t pending_bytes_ = 0, total_bytes_ = 0, shards_ = 0;
};

std::vector<std::byte> copy(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

/// Writes the layer's parts and returns their bytes; `description` becomes the first layer's.
Result<std::size_t> write_layer(const WeightFiles& files, const ListedTensor& tensor, const LayerCodes& codes,
                                const io::WeightLayout& layout, ShardWriter& writer,
                                std::optional<ordered_json>& description) {
  const auto fault = [&](std::string_view message) {
    const auto* matrix = std::get_if<CodedMatrix>(&codes);
    const std::string_view from = matrix != nullptr ? matrix->format.name : pare::Aqlm::name;
    return Error{ErrorCode::unsupported,
                 fmt::format("{}: tensor {}: {} to {}: {}", files.name(), io::quote(tensor.name),
                             tensor.scheme.empty() ? from : tensor.scheme, layout.name(), message)};
  };
  const auto parts = std::visit([&](const auto& matrix) { return layout.write(matrix); }, codes);
  if (!parts) return fault(parts.error().message);
  ordered_json described = std::visit([&](const auto& matrix) { return layout.describe(matrix); }, codes);
  if (!description) description = described;
  if (described != *description)
    return fault("layers differ in their bits or groups, which one config.json cannot say");
  const std::string prefix = tensor.name.substr(0, tensor.name.rfind('.') + 1);
  std::size_t bytes = 0;
  for (const pare::Part& part : *parts) {
    bytes += part.view().bytes.size();
    if (auto done =
            writer.add({prefix + part.name, io::dtype(part.type), part.shape}, copy(std::as_bytes(part.view().bytes)));
        !done)
      return done.error();
  }
  return bytes;
}

/// Writes the layer in pare's own packing.
Result<std::size_t> write_packed(const WeightFiles& files, const ListedTensor& tensor, const LayerCodes& codes,
                                 ShardWriter& writer) {
  const auto* matrix = std::get_if<CodedMatrix>(&codes);
  auto parts = matrix != nullptr
                   ? pack(*matrix)
                   : Result<io::PackedParts>(Error{ErrorCode::unsupported, "pare's packing has no codebooks"});
  if (!parts)
    return Error{parts.error().code,
                 fmt::format("{}: tensor {}: {}", files.name(), io::quote(tensor.name), parts.error().message)};
  io::PackedEntry entry{tensor.name, parts->scheme, {tensor.shape.begin(), tensor.shape.end()}};
  const auto infos = io::packed_parts(entry);
  if (!infos) return infos.error();
  std::vector<std::byte>* const bytes[] = {&parts->codes, &parts->scales, &parts->zero_points};
  std::size_t size = 0;
  for (std::size_t i = 0; i < infos->size(); ++i) {
    size += bytes[i]->size();
    if (auto done = writer.add((*infos)[i], std::move(*bytes[i])); !done) return done.error();
  }
  writer.add_entry(std::move(entry));
  return size;
}

/// Writes floats as a tensor of F32.
template <class Value>
Result<std::size_t> write_floats(const ListedTensor& tensor, std::size_t count, Value&& value, ShardWriter& writer) {
  std::vector<std::byte> bytes(count * sizeof(float));
  auto* out = reinterpret_cast<std::uint8_t*>(bytes.data());
  for (std::size_t i = 0; i < count; ++i, out += sizeof(float)) pare::store_le(out, pare::F32::encode(value(i)), 4);
  const std::size_t size = bytes.size();
  if (auto done = writer.add({tensor.name, io::DType::f32, tensor.shape}, std::move(bytes)); !done) return done.error();
  return size;
}

/// The values of a layer's codes.
Result<std::size_t> write_values(const ListedTensor& tensor, const LayerCodes& codes, ShardWriter& writer) {
  const std::vector<float> values = values_of(codes);
  return write_floats(tensor, values.size(), [&](std::size_t i) { return values[i]; }, writer);
}

/// A tensor as the files have it.
Result<std::size_t> copy_tensor(const WeightFiles& files, const ListedTensor& tensor, ShardWriter& writer) {
  const auto read = files.read(tensor.name);
  if (!read) return read.error();
  const std::size_t size = read->bytes.size();
  if (auto added = writer.add(*read, copy(read->bytes)); !added) return std::move(added).error();
  files.release(read->bytes);
  return size;
}

/// config.json with this quantization_config, or without one.
Result<void> write_config(const WeightFiles& files, const Config& config, const io::OutputDirectory& folder,
                          const std::optional<ordered_json>& description) {
  ordered_json json;
  if (files.is_llama2c() || files.gguf() != nullptr) {
    json = ordered_json::parse(to_json(config));
  } else {
    const auto text = io::MappedFile::open(files.folder() / "config.json");
    if (!text) return text.error();
    json = ordered_json::parse(reinterpret_cast<const char*>(text->bytes().data()),
                               reinterpret_cast<const char*>(text->bytes().data()) + text->bytes().size());
  }
  json.erase("quantization_config");
  if (description) json["quantization_config"] = *description;
  return folder.write_file("config.json", json.dump(2) + "\n");
}

}  // namespace

std::vector<std::string> convertible_layouts() {
  std::vector<std::string> names{std::string(float_layout), std::string(own_layout)};
  for (const std::string_view name : io::WeightLayout::names()) names.emplace_back(name);
  return names;
}

Result<ConvertedModel> convert_model(const WeightFiles& files, std::string_view layout, const fs::path& folder,
                                     io::Overwrite overwrite, io::ProgressCallback progress) {
  const auto codes = [&](const ListedTensor& tensor) -> Result<LayerCodes> {
    auto matrix = files.read_coded(tensor.name);
    if (!matrix) return std::move(matrix).error();
    return LayerCodes(*std::move(matrix));
  };
  const auto floats = [](const ListedTensor&) { return Result(std::shared_ptr<const std::vector<float>>()); };
  return write_coded_model(files, {codes, floats}, layout, folder, overwrite, progress);
}

Result<ConvertedModel> write_coded_model(const WeightFiles& files, const CodedSource& source, std::string_view layout,
                                         const fs::path& folder, io::Overwrite overwrite,
                                         io::ProgressCallback progress) {
  std::optional<io::WeightLayout> target;
  if (layout != float_layout && layout != own_layout) {
    auto named = io::WeightLayout::named(layout);
    if (!named) return std::move(named).error();
    target = *named;
  }
  if (auto free = check_output(folder, overwrite); !free) return std::move(free).error();
  const auto config = files.config();
  if (!config) return config.error();
  if (auto complete = check_weights(files, *config); !complete) return std::move(complete).error();
  auto directory = io::OutputDirectory::create(folder, overwrite);
  if (!directory) return std::move(directory).error();

  ConvertedModel model;
  ShardWriter writer(*directory);
  std::optional<ordered_json> description;
  const auto write_linear = [&](const ListedTensor& tensor) -> Result<std::size_t> {
    const auto codes = source.codes(tensor);
    // Codes of vectors have values all the same.
    if (!codes && !tensor.packed && layout == float_layout) return copy_tensor(files, tensor, writer);
    if (!codes) return codes.error();
    if (target) return write_layer(files, tensor, *codes, *target, writer, description);
    return layout == own_layout ? write_packed(files, tensor, *codes, writer) : write_values(tensor, *codes, writer);
  };
  const auto write_other = [&](const ListedTensor& tensor) -> Result<std::size_t> {
    const auto values = source.floats(tensor);
    if (!values) return values.error();
    if (*values == nullptr) return copy_tensor(files, tensor, writer);
    return write_floats(tensor, (*values)->size(), [&](std::size_t i) { return (**values)[i]; }, writer);
  };
  std::uint64_t done = 0, all = 0;
  for (const ListedTensor& tensor : files.tensors()) all += tensor.bytes;
  for (const ListedTensor& tensor : files.tensors()) {
    const bool linear = is_block_linear(*config, tensor.name);
    const auto bytes = linear ? write_linear(tensor) : write_other(tensor);
    if (!bytes) return bytes.error();
    if (linear) model.layers.push_back({tensor.name, tensor.scheme, tensor.bytes, *bytes});
    done += tensor.bytes;
    progress(done, all);
  }
  if (auto written = writer.finish(); !written) return std::move(written).error();
  if (auto written = write_config(files, *config, *directory, description); !written) return std::move(written).error();
  if (auto written = copy_tokenizer_files(files, *config, *directory); !written) return std::move(written).error();
  if (auto written = directory->commit(); !written) return std::move(written).error();
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.path().extension() == ".safetensors")
      model.file_bytes += static_cast<std::size_t>(entry.file_size(ignored));
  return model;
}

}  // namespace llama
