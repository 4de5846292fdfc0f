#include "llama/pruned_layers.hpp"

#include <fmt/format.h>

#include <cstring>
#include <span>
#include <system_error>

#include "io/file.hpp"

namespace llama {
namespace fs = std::filesystem;
using pare::Error;
using pare::ErrorCode;
using pare::MatrixView;
using pare::Result;

Result<PrunedLayers> PrunedLayers::create(fs::path folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  fs::create_directories(folder, error);
  if (error) return Error{ErrorCode::io, fmt::format("{}: {}", folder.string(), error.message())};
  return PrunedLayers(std::move(folder));
}

PrunedLayers::~PrunedLayers() {
  std::error_code ignored;
  if (!folder_.empty()) fs::remove_all(folder_, ignored);
}

fs::path PrunedLayers::path(std::string_view name) const { return folder_ / fmt::format("{}.f32", name); }

Result<void> PrunedLayers::save(const std::string& name, MatrixView<const float> weights, std::size_t pruned) {
  auto file = io::OutputFile::create(path(name));
  if (!file) return std::move(file).error();
  for (std::size_t r = 0; r < weights.rows; ++r)
    if (auto done = file->write(std::as_bytes(std::span(weights.row(r), weights.cols))); !done) return done;
  if (auto done = file->commit(); !done) return done;
  layers_[name] = {weights.shape(), pruned};
  return {};
}

Result<std::vector<float>> PrunedLayers::load(std::string_view name) const {
  const Layer& layer = layers_.find(name)->second;
  const auto file = io::MappedFile::open(path(name));
  if (!file) return file.error();
  std::vector<float> values(layer.shape.rows * layer.shape.cols);
  if (file->bytes().size() != values.size() * sizeof(float))
    return Error{ErrorCode::corrupt_data, fmt::format("{}: has been changed", path(name).string())};
  if (!values.empty()) std::memcpy(values.data(), file->bytes().data(), file->bytes().size());
  return values;
}

const PrunedLayers::Layer* PrunedLayers::find(std::string_view name) const {
  const auto found = layers_.find(name);
  return found == layers_.end() ? nullptr : &found->second;
}

}  // namespace llama
