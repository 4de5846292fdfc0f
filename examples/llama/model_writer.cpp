#include "llama/model_writer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <span>
#include <system_error>
#include <utility>

#include "io/json.hpp"
#include "io/safetensors.hpp"
#include "llama/elements.hpp"
#include "llama/linear.hpp"
#include "llama/matrix_pruning.hpp"
#include "llama/tokenizer_files.hpp"
#include "llama/weights.hpp"

namespace llama {
namespace fs = std::filesystem;
using pare::Error;
using pare::ErrorCode;
using pare::Result;
using pare::Shape;

namespace {

/// The tensors of the new model, and what they are called in the old one.
struct Plan {
  std::vector<io::PlannedTensor> tensors;
  std::map<std::string, std::string, std::less<>> sources;
};

Plan make_plan(const WeightFiles& files, const Config& config, const Compression& compression) {
  Plan plan;
  for (const ListedTensor& tensor : files.tensors()) {
    const auto name = renamed(tensor.name, compression.blocks);
    if (!name) continue;
    io::PlannedTensor planned{tensor, is_block_linear(config, tensor.name) ? compression.scheme : std::string()};
    planned.name = *name;
    const PrunedLayers::Layer* layer = compression.layers == nullptr ? nullptr : compression.layers->find(tensor.name);
    if (layer != nullptr) planned.shape = {layer->shape.rows, layer->shape.cols};
    plan.sources.emplace(*name, tensor.name);
    plan.tensors.push_back(std::move(planned));
  }
  return plan;
}

/// Whether pare's catalog has the scheme; the error lists those that it has.
Result<void> check_scheme(const std::string& scheme) {
  auto parts = io::packed_parts({"", scheme, {1, 1}});
  return parts ? Result<void>() : std::move(parts).error();
}

/// Gives tensors one after the other, the linear layers pruned.
class Reader {
 public:
  Reader(const WeightFiles& files, const Config& config, const Plan& plan, const Compression& compression,
         pare::Executor executor)
      : files_(files), config_(config), plan_(plan), compression_(compression), executor_(executor) {}

  /// The elements of a tensor, until the next call.
  Result<std::span<const std::byte>> operator()(const io::PlannedTensor& planned) {
    files_.release(tensor_.bytes);
    const std::string& source = plan_.sources.find(planned.name)->second;
    const PrunedLayers::Layer* layer = compression_.layers == nullptr ? nullptr : compression_.layers->find(source);
    if (layer != nullptr) {
      const auto values = compression_.layers->load(source);
      if (!values) return values.error();
      tensor_ = {};
      pruned_.resize(values->size() * io::bits(planned.dtype) / 8);
      from_floats(planned.dtype, *values, pruned_);
      counts_[planned.name] = layer->pruned;
      return std::span<const std::byte>(pruned_);
    }
    auto tensor = files_.read(source);
    if (!tensor) return std::move(tensor).error();
    tensor_ = *std::move(tensor);
    if (!compression_.pruning || !is_block_linear(config_, source)) return tensor_.bytes;
    if (auto done = prune(planned.name); !done)
      return Error{done.error().code,
                   fmt::format("{}: tensor {}: {}", files_.name(), io::quote(source), done.error().message)};
    files_.release(tensor_.bytes);
    return std::span<const std::byte>(pruned_);
  }

  /// How many weights of a tensor that was read have been cut away.
  [[nodiscard]] std::size_t pruned(std::string_view name) const {
    const auto found = counts_.find(name);
    return found == counts_.end() ? 0 : found->second;
  }

 private:
  /// Fills pruned_ with the tensor's elements, zero where they go.
  Result<void> prune(const std::string& name) {
    const Shape shape{tensor_.shape[0], tensor_.shape[1]};
    const auto mask = make_mask(*compression_.pruning, FloatMatrix::over(tensor_, shape).view(), {}, executor_);
    if (!mask) return mask.error();
    const std::size_t element = io::bits(tensor_.dtype) / 8;
    pruned_.assign(tensor_.bytes.begin(), tensor_.bytes.end());
    executor_(shape.rows, [&](std::size_t r) {
      for (std::size_t c = 0; c < shape.cols; ++c)
        if (!mask->test(r, c)) std::memset(pruned_.data() + (r * shape.cols + c) * element, 0, element);
    });
    counts_[name] = shape.rows * shape.cols - mask->kept();
    return {};
  }

  const WeightFiles& files_;
  const Config& config_;
  const Plan& plan_;
  const Compression& compression_;
  pare::Executor executor_;
  Tensor tensor_;
  std::vector<std::byte> pruned_;
  std::map<std::string, std::size_t, std::less<>> counts_;
};

/// Writes what goes with the weights.
Result<void> write_companions(const WeightFiles& files, const Config& config, const Compression& compression,
                              const io::OutputDirectory& folder) {
  const fs::path described = files.folder() / "config.json";
  Result<void> done;
  if (files.is_llama2c()) {
    done = folder.write_file("config.json", to_json(compression.config.value_or(config)));
  } else if (compression.config) {
    const auto text = resize_config(described, *compression.config, compression.blocks);
    done = text ? folder.write_file("config.json", *text) : text.error();
  } else {
    done = folder.copy_file(described);
  }
  if (!done) return done;
  return copy_tokenizer_files(files, config, folder);
}

}  // namespace

CompressedTensor CompressedModel::total() const {
  CompressedTensor total{.name = "all of them", .shape = {0, 1}, .error = {}};
  for (const CompressedTensor& tensor : tensors) {
    total.shape[0] += tensor.weights();
    total.bytes += tensor.bytes;
    total.pruned += tensor.pruned;
    total.error.merge(tensor.error);
  }
  return total;
}

Result<void> check_output(const fs::path& folder, io::Overwrite overwrite) {
  std::error_code ignored;
  if (overwrite == io::Overwrite::yes || !fs::exists(fs::symlink_status(folder, ignored))) return {};
  return Error{ErrorCode::invalid_argument, folder.string() + ": exists already; --force replaces it"};
}

Result<CompressedModel> write_model(const WeightFiles& files, const fs::path& folder, const Compression& compression,
                                    io::Overwrite overwrite, pare::Executor executor, io::ProgressCallback progress) {
  if (auto free = check_output(folder, overwrite); !free) return std::move(free).error();
  if (!compression.scheme.empty())
    if (auto known = check_scheme(compression.scheme); !known) return std::move(known).error();
  const auto config = files.config();
  if (!config) return config.error();
  if (auto complete = check_weights(files, *config); !complete) return std::move(complete).error();
  if (auto floats = files.require_floats(); !floats) return std::move(floats).error();
  const Plan plan = make_plan(files, *config, compression);
  auto directory = io::OutputDirectory::create(folder, overwrite);
  if (!directory) return std::move(directory).error();
  if (auto done = write_companions(files, *config, compression, *directory); !done) return std::move(done).error();
  auto file = directory->create_file("model.safetensors");
  if (!file) return std::move(file).error();
  Reader reader(files, *config, plan, compression, executor);
  const auto layers = io::write_quantized(*std::move(file), plan.tensors, {{"format", "pt"}}, {files.name(), reader},
                                          executor, progress);
  if (!layers) return layers.error();
  if (auto done = directory->commit(); !done) return std::move(done).error();

  CompressedModel model;
  model.scheme = pare::resolve_alias(compression.scheme);
  for (const io::PackedLayer& layer : *layers)
    model.tensors.push_back({layer.name, layer.shape, layer.bytes_after, reader.pruned(layer.name), layer.error});
  for (const io::PlannedTensor& tensor : plan.tensors)
    if (tensor.scheme.empty() && is_block_linear(*config, plan.sources.at(tensor.name)))
      model.tensors.push_back({tensor.name,
                               tensor.shape,
                               io::byte_count(tensor.dtype, tensor.shape).value_or(0),
                               reader.pruned(tensor.name),
                               {}});
  std::error_code ignored;
  model.file_bytes = static_cast<std::size_t>(fs::file_size(folder / "model.safetensors", ignored));
  return model;
}

}  // namespace llama
