#include "llama/weight_files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <system_error>
#include <unordered_set>
#include <utility>

#include "io/json.hpp"
#include "llama/coded_layers.hpp"
#include "llama/elements.hpp"
#include "llama/gguf_metadata.hpp"
#include "llama/gguf_names.hpp"
#include "pare/layouts/layouts.hpp"

namespace llama {
namespace fs = std::filesystem;
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

struct Renaming {
  std::string_view llama2c;
  std::string_view hugging_face;
};
constexpr std::array<Renaming, 3> global_names{
    {{"tok_embeddings.weight", embedding_name}, {"norm.weight", final_norm_name}, {"output.weight", head_name}}};
constexpr std::array<Renaming, 9> block_names{{{"attention_norm.weight", "input_layernorm.weight"},
                                               {"attention.wq.weight", "self_attn.q_proj.weight"},
                                               {"attention.wk.weight", "self_attn.k_proj.weight"},
                                               {"attention.wv.weight", "self_attn.v_proj.weight"},
                                               {"attention.wo.weight", "self_attn.o_proj.weight"},
                                               {"ffn_norm.weight", "post_attention_layernorm.weight"},
                                               {"feed_forward.w1.weight", "mlp.gate_proj.weight"},
                                               {"feed_forward.w2.weight", "mlp.down_proj.weight"},
                                               {"feed_forward.w3.weight", "mlp.up_proj.weight"}}};

/// Replaces a name of one column by that of the other; empty where it is in neither table.
std::string rename(std::string_view name, std::string_view from_prefix, std::string_view to_prefix,
                   std::string_view Renaming::* from, std::string_view Renaming::* to) {
  const auto look_up = [&](const auto& table, std::string_view key) {
    const auto row = std::ranges::find(table, key, from);
    return row == table.end() ? std::string_view() : (*row).*to;
  };
  if (!name.starts_with(from_prefix)) return std::string(look_up(global_names, name));
  const std::size_t dot = name.find('.', from_prefix.size());
  if (dot == std::string_view::npos) return std::string(look_up(global_names, name));
  const std::string_view in_block = look_up(block_names, name.substr(dot + 1));
  if (in_block.empty()) return std::string(look_up(global_names, name));
  return fmt::format("{}{}.{}", to_prefix, name.substr(from_prefix.size(), dot - from_prefix.size()), in_block);
}

std::string to_hugging_face(std::string_view name) {
  return rename(name, "layers.", "model.layers.", &Renaming::llama2c, &Renaming::hugging_face);
}

std::string to_llama2c(std::string_view name) {
  return rename(name, "model.layers.", "layers.", &Renaming::hugging_face, &Renaming::llama2c);
}

/// The row of llama2.c's and GGUF's order, where the two rows of a rotary pair are neighbours, that is row `row` of
/// Hugging Face's, where they are half a head apart.
std::size_t interleaved_row(std::size_t row, std::size_t head_dim) {
  const std::size_t in_head = row % head_dim;
  return row - in_head + in_head % (head_dim / 2) * 2 + in_head / (head_dim / 2);
}

/// Brings the rows of a query or key matrix to Hugging Face's order.
std::vector<float> halve_pairs(const std::vector<float>& interleaved, std::size_t cols, std::size_t head_dim) {
  std::vector<float> halves(interleaved.size());
  const std::size_t rows = interleaved.size() / cols;
  for (std::size_t r = 0; r < rows; ++r)
    std::memcpy(halves.data() + r * cols, interleaved.data() + interleaved_row(r, head_dim) * cols,
                cols * sizeof(float));
  return halves;
}

Result<Tensor> read_llama2c(const io::Llama2cFile& file, std::string_view name) {
  const io::Llama2cTensor& stored = *file.find(to_llama2c(name));
  const bool rotary = name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight");
  Tensor tensor{stored, nullptr};
  tensor.name = name;
  if (stored.dtype == io::DType::f32 && !rotary) return tensor;
  std::vector<float> values = io::to_floats(stored);
  file.release(stored.bytes);
  file.release(stored.scales);
  if (rotary) values = halve_pairs(values, stored.shape.back(), file.config().head_dim());
  tensor.dtype = io::DType::f32;
  tensor.owned = std::make_shared<const std::vector<float>>(std::move(values));
  tensor.bytes = std::as_bytes(std::span(*tensor.owned));
  return tensor;
}

/// The rows of a head, where GGUF has those of the tensor in an order of its own; else 0.
Result<std::size_t> rotary_head_dim(const std::vector<io::GgufFile>& shards, const io::GgufTensor& stored,
                                    std::string_view name) {
  const bool query = name.ends_with("q_proj.weight"), key = name.ends_with("k_proj.weight");
  if (!query && !key) return std::size_t{0};
  const auto config = config_from_gguf(shards.front());
  if (!config) return config.error();
  const std::size_t rows = (query ? config->heads : config->kv_heads) * config->head_dim;
  if (stored.shape.size() == 2 && stored.shape.front() == rows) return config->head_dim;
  return Error{ErrorCode::corrupt_data,
               fmt::format("{}: tensor {}: {} rows where the heads have {}", shards.front().name(),
                           io::quote(stored.name), stored.shape.empty() ? 0 : stored.shape.front(), rows)};
}

Result<pare::CodedMatrix> read_coded_gguf(const std::vector<io::GgufFile>& shards, std::string_view name) {
  for (const io::GgufFile& shard : shards) {
    const io::GgufTensor* stored = shard.find(to_gguf_name(name));
    if (stored == nullptr) continue;
    auto matrix = coded_matrix(*stored);
    shard.release(stored->bytes);
    if (!matrix) return matrix;
    const auto head_dim = rotary_head_dim(shards, *stored, name);
    if (!head_dim) return head_dim.error();
    if (*head_dim == 0) return matrix;
    std::vector<std::size_t> sources(matrix->shape.rows);
    for (std::size_t r = 0; r < sources.size(); ++r) sources[r] = interleaved_row(r, *head_dim);
    return with_rows(*matrix, sources);
  }
  return Error{ErrorCode::corrupt_data, "there is no such tensor"};
}

/// The values of a tensor, with queries and keys in Hugging Face's order.
Result<Tensor> read_gguf(const std::vector<io::GgufFile>& shards, std::string_view name) {
  const std::string own_name = to_gguf_name(name);
  for (const io::GgufFile& shard : shards) {
    const io::GgufTensor* stored = shard.find(own_name.empty() ? name : own_name);
    if (stored == nullptr) continue;
    const io::GgmlTypeInfo& type = io::info_of(stored->type);
    std::vector<float> values(io::element_count(stored->shape).value_or(0));
    if (type.plain && is_float_dtype(*type.plain)) {
      to_floats(*type.plain, stored->bytes, values);
    } else {
      const std::span<const std::uint8_t> bytes(reinterpret_cast<const std::uint8_t*>(stored->bytes.data()),
                                                stored->bytes.size());
      const auto* block = pare::gguf::find_block_type(static_cast<std::uint32_t>(stored->type));
      auto done = block != nullptr
                      ? pare::gguf::dequantize(block->type, bytes, values)
                      : Result<void>(Error{ErrorCode::unsupported, fmt::format("is {}, which is not read", type.name)});
      if (!done)
        return Error{done.error().code,
                     fmt::format("{}: tensor {}: {}", shard.name(), io::quote(stored->name), done.error().message)};
    }
    shard.release(stored->bytes);
    const auto head_dim = rotary_head_dim(shards, *stored, name);
    if (!head_dim) return head_dim.error();
    if (*head_dim != 0) values = halve_pairs(values, stored->shape.back(), *head_dim);
    Tensor tensor{{{std::string(name), io::DType::f32, stored->shape}, {}}, nullptr};
    tensor.owned = std::make_shared<const std::vector<float>>(std::move(values));
    tensor.bytes = std::as_bytes(std::span(*tensor.owned));
    return tensor;
  }
  return Error{ErrorCode::corrupt_data, fmt::format("{}: has no tensor {}", shards.front().name(), io::quote(name))};
}

Error in_tensor(std::string_view file, std::string_view tensor, const Error& error) {
  return {error.code, fmt::format("{}: tensor {}: {}", file, io::quote(tensor), error.message)};
}

/// The parts of the layer with that weight, named by what follows the layer's name; those of types that no layout has
/// are left out.
std::vector<pare::PartView> part_views(std::string_view weight, const std::vector<const io::TensorView*>& tensors) {
  const std::size_t prefix = weight.rfind('.') + 1;
  std::vector<pare::PartView> parts;
  for (const io::TensorView* tensor : tensors)
    if (const auto type = io::part_type(tensor->dtype))
      parts.push_back({std::string_view(tensor->name).substr(prefix),
                       *type,
                       tensor->shape,
                       {reinterpret_cast<const std::uint8_t*>(tensor->bytes.data()), tensor->bytes.size()}});
  return parts;
}

}  // namespace

Result<WeightFiles> WeightFiles::open(const fs::path& model) {
  std::error_code error;
  const fs::file_status status = fs::status(model, error);
  if (!fs::exists(status))
    return Error{ErrorCode::io, fmt::format("{}: cannot open: {}", model.string(),
                                            error ? error.message() : "No such file or directory")};
  constexpr std::string_view checkpoints[] = {".safetensors", ".json", ".pt", ".pth"};
  const std::string extension = model.extension().string();
  if (fs::is_directory(status) || std::ranges::find(checkpoints, extension) != std::end(checkpoints))
    return open_checkpoint(model);
  if (extension == ".gguf") return open_gguf(model);
  if (extension == ".bin") {
    const auto mapped = io::MappedFile::open(model);
    if (!mapped) return mapped.error();
    return io::TorchFile::recognizes(mapped->bytes()) ? open_checkpoint(model) : open_llama2c(model);
  }
  return Error{ErrorCode::unsupported,
               fmt::format("{}: is no model: neither a folder nor a .safetensors file, a .gguf, a .pt or a .bin file",
                           model.string())};
}

Result<WeightFiles> WeightFiles::open_checkpoint(const fs::path& model) {
  auto checkpoint = io::Checkpoint::open(model);
  if (!checkpoint) return std::move(checkpoint).error();
  auto packed = io::packed_entries(*checkpoint);
  if (!packed) return std::move(packed).error();

  std::map<std::string, ListedTensor, std::less<>> by_first_part;
  std::unordered_set<std::string> parts;
  for (const io::PackedEntry& entry : *packed) {
    const auto infos = io::packed_parts(entry);
    if (!infos) return infos.error();
    if (const auto whole = io::load_packed(*checkpoint, entry); !whole) return whole.error();
    ListedTensor listed{{entry.name, io::DType::u8, {entry.shape.begin(), entry.shape.end()}}, entry.scheme, true, 0};
    for (const io::TensorInfo& part : *infos) {
      listed.bytes += io::byte_count(part.dtype, part.shape).value_or(0);
      parts.insert(part.name);
    }
    by_first_part.emplace(infos->front().name, std::move(listed));
  }
  const fs::path opened = checkpoint->name();
  WeightFiles files(*std::move(checkpoint), opened.parent_path(), opened.string());
  files.packed_ = *std::move(packed);
  const auto& shards = std::get<io::Checkpoint>(files.source_).files();
  for (const io::CheckpointFile& shard : shards) files.file_bytes_ += static_cast<std::size_t>(shard.bytes);

  if (auto done = files.find_layers(); !done) return std::move(done).error();
  for (const auto& [name, layer] : files.layers_)
    for (const io::TensorView* part : layer) parts.insert(part->name);

  for (const io::TensorView* tensor : std::get<io::Checkpoint>(files.source_).tensors()) {
    if (const auto packed_here = by_first_part.find(tensor->name); packed_here != by_first_part.end())
      files.tensors_.push_back(packed_here->second);
    else if (!parts.contains(tensor->name))
      files.tensors_.push_back({*tensor, {}, false, tensor->bytes.size()});
  }
  files.index();
  return files;
}

Result<void> WeightFiles::find_layers() {
  const auto text = io::MappedFile::open(folder_ / "config.json");
  if (!text) return {};  // config() says what is wrong with it
  const auto json = io::parse_json({reinterpret_cast<const char*>(text->bytes().data()), text->bytes().size()},
                                   (folder_ / "config.json").string());
  if (!json || !json->is_object() || !json->contains("quantization_config")) return {};
  auto layout = io::WeightLayout::described((*json)["quantization_config"]);
  const auto config = this->config();
  if (!layout || !config) return {};
  const io::Checkpoint& checkpoint = std::get<io::Checkpoint>(source_);
  std::map<std::string, ExpectedTensor, std::less<>> expected;
  for (std::size_t layer = 0; layer < config->layers; ++layer)
    for (const LinearRole role : linear_roles) {
      ExpectedTensor tensor = expected_linear(*config, layer, role);
      std::string prefix = tensor.name.substr(0, tensor.name.rfind('.'));
      if (checkpoint.find(fmt::format("{}.{}", prefix, layout->marker())) != nullptr)
        expected.emplace(std::move(prefix), std::move(tensor));
    }
  for (const io::TensorView* tensor : checkpoint.tensors())
    for (std::size_t dot = tensor->name.find('.'); dot != std::string::npos; dot = tensor->name.find('.', dot + 1))
      if (const auto layer = expected.find(std::string_view(tensor->name).substr(0, dot)); layer != expected.end())
        layers_[layer->second.name].push_back(tensor);
  for (const auto& [prefix, tensor] : expected) {
    ListedTensor listed{{tensor.name, io::DType::f32, tensor.shape}, std::string(layout->name()), false, 0};
    for (const io::TensorView* part : layers_[tensor.name]) listed.bytes += part->bytes.size();
    tensors_.push_back(std::move(listed));
  }
  layout_ = *std::move(layout);
  return {};
}

Result<WeightFiles> WeightFiles::open_llama2c(const fs::path& model) {
  auto file = io::Llama2cFile::open(model);
  if (!file) return std::move(file).error();
  if (file->config().head_dim() % 2 != 0)
    return Error{ErrorCode::corrupt_data,
                 fmt::format("{}: the head dimension {} is odd", model.string(), file->config().head_dim())};
  const io::Llama2cConfig header = file->config();
  WeightFiles files(*std::move(file), model.parent_path(), model.string());
  std::error_code ignored;
  files.file_bytes_ = static_cast<std::size_t>(fs::file_size(model, ignored));
  for (const io::Llama2cTensor& tensor : std::get<io::Llama2cFile>(files.source_).tensors()) {
    std::string name = to_hugging_face(tensor.name);
    if (name.empty() || (name == head_name && header.shared_classifier)) continue;
    const bool coded = tensor.dtype == io::DType::i8;
    files.tensors_.push_back({{std::move(name), io::DType::f32, tensor.shape},
                              coded ? fmt::format("int8-g{}", header.group_size) : std::string(),
                              false,
                              tensor.bytes.size() + tensor.scales.size()});
  }
  files.index();
  return files;
}

Result<WeightFiles> WeightFiles::open_gguf(const fs::path& model) {
  auto shards = io::GgufFile::open_shards(model);
  if (!shards) return std::move(shards).error();
  WeightFiles files(*std::move(shards), model.parent_path(), model.string());
  for (const io::GgufFile& shard : std::get<std::vector<io::GgufFile>>(files.source_)) {
    std::error_code ignored;
    files.file_bytes_ += static_cast<std::size_t>(fs::file_size(shard.name(), ignored));
    for (const io::GgufTensor& tensor : shard.tensors()) {
      const io::GgmlTypeInfo& type = io::info_of(tensor.type);
      std::string name = from_gguf_name(tensor.name);
      files.tensors_.push_back({{name.empty() ? tensor.name : std::move(name), io::DType::f32, tensor.shape},
                                type.plain ? std::string() : std::string(type.name),
                                false,
                                tensor.bytes.size()});
    }
  }
  files.index();
  return files;
}

void WeightFiles::index() {
  for (std::size_t i = 0; i < tensors_.size(); ++i) by_name_.emplace(tensors_[i].name, i);
}

Result<Config> WeightFiles::config() const {
  if (const auto* file = std::get_if<io::Llama2cFile>(&source_)) return to_config(file->config());
  if (const io::GgufFile* file = gguf()) return config_from_gguf(*file);
  return read_config(folder_ / "config.json");
}

io::Metadata WeightFiles::metadata() const {
  io::Metadata metadata;
  if (const auto* checkpoint = std::get_if<io::Checkpoint>(&source_))
    for (const io::CheckpointFile& file : checkpoint->files())
      metadata.insert(file.metadata.begin(), file.metadata.end());
  metadata.erase("pare");
  if (const io::GgufFile* file = gguf())
    for (const io::GgufEntry& entry : file->metadata()) metadata.emplace(entry.key, io::to_text(entry.value));
  return metadata;
}

const ListedTensor* WeightFiles::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

Result<const ListedTensor*> WeightFiles::require(const ExpectedTensor& expected) const {
  const auto fault = [&](std::string_view found) {
    return Error{ErrorCode::corrupt_data, fmt::format("{}: tensor {}: expected shape {}, found {}", name_,
                                                      io::quote(expected.name), io::to_string(expected.shape), found)};
  };
  const ListedTensor* tensor = find(expected.name);
  if (tensor == nullptr) return fault("no tensor of that name");
  if (tensor->shape != expected.shape) return fault(io::to_string(tensor->shape));
  if (!tensor->packed && !is_float_dtype(tensor->dtype))
    return Error{ErrorCode::unsupported,
                 fmt::format("{}: tensor {}: expected F32, F16 or BF16, found {}", name_, io::quote(expected.name),
                             tensor->scheme.empty() ? io::name(tensor->dtype) : std::string_view(tensor->scheme))};
  return tensor;
}

Result<void> WeightFiles::require_floats() const {
  const auto packed = std::ranges::find_if(
      tensors_, [&](const ListedTensor& tensor) { return tensor.packed || layers_.contains(tensor.name); });
  if (packed == tensors_.end()) return {};
  return Error{ErrorCode::unsupported, fmt::format("{}: tensor {}: is packed as {} already; start from the float model",
                                                   name_, io::quote(packed->name), packed->scheme)};
}

Result<Tensor> WeightFiles::read(std::string_view name) const {
  if (const auto* file = std::get_if<io::Llama2cFile>(&source_)) return read_llama2c(*file, name);
  if (const auto* shards = std::get_if<std::vector<io::GgufFile>>(&source_)) return read_gguf(*shards, name);
  if (const auto layer = layers_.find(name); layer != layers_.end()) {
    const ListedTensor& listed = *find(name);
    auto values = layout_->read_values(part_views(name, layer->second), {listed.shape[0], listed.shape[1]});
    if (!values) return in_tensor(name_, name, values.error());
    Tensor tensor{{listed, {}}, std::make_shared<const std::vector<float>>(*std::move(values))};
    tensor.bytes = std::as_bytes(std::span(*tensor.owned));
    return tensor;
  }
  const auto tensor = std::get<io::Checkpoint>(source_).require(name);
  if (!tensor) return tensor.error();
  return Tensor{**tensor, nullptr};
}

Result<pare::CodedMatrix> WeightFiles::read_coded(std::string_view name) const {
  auto codes = [&]() -> Result<pare::CodedMatrix> {
    if (const auto* shards = std::get_if<std::vector<io::GgufFile>>(&source_)) return read_coded_gguf(*shards, name);
    if (const auto layer = layers_.find(name); layer != layers_.end()) {
      const ListedTensor& listed = *find(name);
      return layout_->read(part_views(name, layer->second), {listed.shape[0], listed.shape[1]});
    }
    if (std::ranges::find(packed_, name, &io::PackedEntry::name) == packed_.end())
      return Error{ErrorCode::unsupported, "has no codes; quantize the model first"};
    const auto packed = read_packed(name);
    if (!packed) return packed.error();
    return coded_matrix(*packed);
  }();
  if (!codes) return in_tensor(name_, name, codes.error());
  return codes;
}

Result<io::PackedMatrix> WeightFiles::read_packed(std::string_view name) const {
  const auto entry = std::ranges::find(packed_, name, &io::PackedEntry::name);
  if (entry == packed_.end())
    return Error{ErrorCode::invalid_argument, fmt::format("{}: tensor {} is not packed", name_, io::quote(name))};
  return io::load_packed(std::get<io::Checkpoint>(source_), *entry);
}

void WeightFiles::release(std::span<const std::byte> bytes) const noexcept {
  if (const auto* shards = std::get_if<std::vector<io::GgufFile>>(&source_))
    for (const io::GgufFile& shard : *shards) shard.release(bytes);
  else if (const auto* checkpoint = std::get_if<io::Checkpoint>(&source_))
    checkpoint->release(bytes);
  else
    std::get<io::Llama2cFile>(source_).release(bytes);
}

}  // namespace llama
