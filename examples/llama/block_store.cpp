#include "llama/block_store.hpp"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <deque>
#include <span>
#include <system_error>
#include <utility>

#include "io/file.hpp"
#include "io/json.hpp"
#include "io/safetensors.hpp"
#include "io/weight_layout.hpp"
#include "pare/schemes/schemes.hpp"

namespace llama {
namespace fs = std::filesystem;
using nlohmann::ordered_json;
using pare::CodedMatrix;
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

constexpr std::string_view task_file = "task.json";

/// The format of that name: integers by their width, all others from the catalog's.
pare::CodeFormat format_named(const std::string& name, int bits, bool integer) {
  if (integer) return pare::unsigned_format(bits);
  pare::CodeFormat found;
  pare::Catalog::for_each([&]<class S>(std::type_identity<S>) {
    if (S::format_type::name() == name) found = pare::code_format<typename S::format_type>();
  });
  return found;
}

template <class T>
std::span<const std::byte> bytes_of(const T* data, std::size_t count) {
  return std::as_bytes(std::span(data, count));
}

/// Tensors of a file in the making: the writer wants them in an order of its own.
class TensorList {
 public:
  void add(std::string name, io::DType dtype, io::Extents shape, std::span<const std::byte> bytes) {
    infos_.push_back({name, dtype, std::move(shape)});
    bytes_.emplace(std::move(name), bytes);
  }
  void add(const std::string& prefix, pare::Part part) {
    const pare::Part& kept = parts_.emplace_back(std::move(part));
    add(prefix + kept.name, io::dtype(kept.type), kept.shape, std::as_bytes(kept.view().bytes));
  }
  [[nodiscard]] Result<void> write(const fs::path& path, const io::Metadata& metadata) const {
    auto writer = io::SafetensorsWriter::create(path, infos_, metadata);
    if (!writer) return std::move(writer).error();
    for (const io::TensorInfo& info : writer->tensors())
      if (auto done = writer->write(info.name, bytes_.at(info.name)); !done) return done;
    return writer->finish();
  }

 private:
  std::vector<io::TensorInfo> infos_;
  std::map<std::string, std::span<const std::byte>> bytes_;
  std::deque<pare::Part> parts_;
};

void add_matrix(const std::string& name, const CodedMatrix& matrix, TensorList& list) {
  const std::size_t blocks = matrix.grid.rows * matrix.grid.cols;
  list.add(name + ".codes", io::DType::u8, {matrix.shape.rows, matrix.shape.cols},
           bytes_of(matrix.codes().data, matrix.shape.rows * matrix.shape.cols));
  list.add(name + ".scales", io::DType::f32, {matrix.grid.rows, matrix.grid.cols},
           bytes_of(matrix.scales().data, blocks));
  if (matrix.shift_kind != pare::ShiftKind::none)
    list.add(name + ".shifts", io::DType::f32, {matrix.grid.rows, matrix.grid.cols},
             bytes_of(matrix.shifts().data, blocks));
}

ordered_json describe(const QuantizedBlock::Layer& layer) {
  const pare::ErrorStatistics& e = layer.error;
  ordered_json json{
      {"output_error", layer.output_error},
      {"method", layer.method},
      {"weights", e.count},
      {"error",
       {e.sum_squared_error, e.sum_squared_reference, e.sum_squared_approximation, e.sum_product, e.largest_error}}};
  if (const auto* m = std::get_if<CodedMatrix>(&layer.codes))
    json.update({{"format", m->format.name},
                 {"bits", m->format.bits},
                 {"integer", m->format.integer},
                 {"block", {m->block.rows, m->block.cols}},
                 {"scale_type", static_cast<int>(m->scale_type)},
                 {"shift_kind", static_cast<int>(m->shift_kind)}});
  else
    json["layout"] = pare::Aqlm::name;
  return json;
}

/// Copies a tensor of the file into memory of its size.
Result<void> fill(const io::SafetensorsFile& file, const std::string& name, std::span<std::byte> out) {
  const io::TensorView* tensor = file.find(name);
  if (tensor == nullptr || tensor->bytes.size() != out.size())
    return Error{ErrorCode::corrupt_data,
                 fmt::format("{}: tensor {} is missing or of another size", file.name(), io::quote(name))};
  if (!out.empty()) std::memcpy(out.data(), tensor->bytes.data(), out.size());
  return {};
}

Result<LayerCodes> read_codebooks(const io::SafetensorsFile& file, const std::string& name) {
  std::vector<pare::PartView> parts;
  for (const io::TensorView& tensor : file.tensors())
    if (const auto type = io::part_type(tensor.dtype); type && tensor.name.starts_with(name + "."))
      parts.push_back({std::string_view(tensor.name).substr(name.size() + 1),
                       *type,
                       tensor.shape,
                       {reinterpret_cast<const std::uint8_t*>(tensor.bytes.data()), tensor.bytes.size()}});
  auto matrix = pare::Aqlm().read(parts);
  if (!matrix)
    return Error{ErrorCode::corrupt_data,
                 fmt::format("{}: {}: {}", file.name(), io::quote(name), matrix.error().message)};
  return LayerCodes(*std::move(matrix));
}

Result<LayerCodes> read_codes(const io::SafetensorsFile& file, const std::string& name, const nlohmann::json& json) {
  const io::TensorView* codes = file.find(name + ".codes");
  if (codes == nullptr || codes->shape.size() != 2)
    return Error{ErrorCode::corrupt_data, fmt::format("{}: {} has no matrix of codes", file.name(), io::quote(name))};
  const int scale_type = json.at("scale_type").get<int>(), shift_kind = json.at("shift_kind").get<int>();
  if (scale_type < 0 || scale_type > static_cast<int>(pare::ScaleType::float8_e8m0) || shift_kind < 0 ||
      shift_kind > static_cast<int>(pare::ShiftKind::offset))
    return Error{ErrorCode::corrupt_data, fmt::format("{}: {} is of no known kind", file.name(), io::quote(name))};
  const auto block = json.at("block").get<std::array<std::size_t, 2>>();
  auto matrix = CodedMatrix::allocate(
      {codes->shape[0], codes->shape[1]},
      format_named(json.at("format").get<std::string>(), json.at("bits").get<int>(), json.at("integer").get<bool>()),
      {block[0], block[1]}, static_cast<pare::ShiftKind>(shift_kind));
  if (!matrix) return std::move(matrix).error();
  matrix->scale_type = static_cast<pare::ScaleType>(scale_type);
  const auto memory = [](pare::Buffer& buffer) { return std::span(buffer.data(), buffer.size()); };
  if (auto done = fill(file, name + ".codes", memory(matrix->codes_memory)); !done) return std::move(done).error();
  if (auto done = fill(file, name + ".scales", memory(matrix->scales_memory)); !done) return std::move(done).error();
  if (matrix->shift_kind != pare::ShiftKind::none)
    if (auto done = fill(file, name + ".shifts", memory(matrix->shifts_memory)); !done) return std::move(done).error();
  return LayerCodes(*std::move(matrix));
}

Result<QuantizedBlock::Layer> read_layer(const io::SafetensorsFile& file, const std::string& name,
                                         const nlohmann::json& json) {
  auto codes = json.contains("layout") ? read_codebooks(file, name) : read_codes(file, name, json);
  if (!codes) return std::move(codes).error();
  const auto sums = json.at("error").get<std::array<double, 5>>();
  pare::ErrorStatistics error;
  error.count = json.at("weights").get<std::uint64_t>();
  error.sum_squared_error = sums[0];
  error.sum_squared_reference = sums[1];
  error.sum_squared_approximation = sums[2];
  error.sum_product = sums[3];
  error.largest_error = sums[4];
  return QuantizedBlock::Layer{*std::move(codes), error, json.at("output_error").get<double>(),
                               json.at("method").get<std::string>()};
}

}  // namespace

Result<BlockStore> BlockStore::open(fs::path folder, const ordered_json& task, bool restart) {
  std::error_code error;
  BlockStore store(std::move(folder));
  if (restart) store.remove();
  fs::create_directories(store.folder_, error);
  if (error) return Error{ErrorCode::io, fmt::format("{}: {}", store.folder_.string(), error.message())};
  const std::string text = task.dump(2) + "\n";
  const fs::path path = store.folder_ / task_file;
  if (!fs::exists(path, error)) {
    auto file = io::OutputFile::create(path);
    if (!file) return std::move(file).error();
    if (auto done = file->write(text); !done) return std::move(done).error();
    if (auto done = file->commit(); !done) return std::move(done).error();
    return store;
  }
  const auto written = io::MappedFile::open(path);
  if (!written) return written.error();
  const std::span<const std::byte> bytes = written->bytes();
  if (bytes.size() != text.size() || std::memcmp(bytes.data(), text.data(), text.size()) != 0)
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{}: holds the finished blocks of another run; remove it, or --restart does",
                             store.folder_.string())};
  return store;
}

fs::path BlockStore::path(std::size_t block) const { return folder_ / fmt::format("block-{:05}.safetensors", block); }

bool BlockStore::has(std::size_t block) const {
  std::error_code ignored;
  return fs::exists(path(block), ignored);
}

Result<QuantizedBlock> BlockStore::load(std::size_t block) const {
  const auto file = io::SafetensorsFile::open(path(block));
  if (!file) return file.error();
  const auto text = file->metadata().find("layers");
  const auto json = io::parse_json(text == file->metadata().end() ? std::string_view() : text->second, file->name());
  if (!json) return json.error();
  QuantizedBlock result;
  try {
    for (const auto& [name, description] : json->items()) {
      auto layer = read_layer(*file, name, description);
      if (!layer) return std::move(layer).error();
      result.layers.emplace(name, *std::move(layer));
    }
  } catch (const nlohmann::json::exception& fault) {
    return Error{ErrorCode::corrupt_data, fmt::format("{}: {}", file->name(), fault.what())};
  }
  for (const io::TensorView& tensor : file->tensors()) {
    if (tensor.shape.size() != 1 || tensor.dtype != io::DType::f32) continue;
    std::vector<float> values(tensor.bytes.size() / sizeof(float));
    if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    result.floats.emplace(tensor.name, std::move(values));
  }
  return result;
}

Result<void> BlockStore::save(std::size_t block, const QuantizedBlock& content) const {
  TensorList list;
  ordered_json layers = ordered_json::object();
  for (const auto& [name, layer] : content.layers) {
    if (const auto* additive = std::get_if<pare::AdditiveMatrix>(&layer.codes)) {
      auto parts = pare::Aqlm().write(*additive);
      if (!parts) return std::move(parts).error();
      for (pare::Part& part : *parts) list.add(name + ".", std::move(part));
    } else {
      add_matrix(name, *std::get_if<CodedMatrix>(&layer.codes), list);
    }
    layers[name] = describe(layer);
  }
  for (const auto& [name, values] : content.floats)
    list.add(name, io::DType::f32, {values.size()}, bytes_of(values.data(), values.size()));
  return list.write(path(block), {{"layers", layers.dump()}});
}

void BlockStore::remove() const {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder_, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name == task_file || (name.starts_with("block-") && name.ends_with(".safetensors")))
      fs::remove(entry.path(), ignored);
  }
  fs::remove(folder_, ignored);  // stays where something else is in it
}

}  // namespace llama
