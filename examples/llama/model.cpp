#include "llama/model.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "llama/rope.hpp"

namespace llama {
using pare::Error;
using pare::ErrorCode;
using pare::MatrixView;
using pare::Result;

Result<Model> Model::load(const std::filesystem::path& model, const Loading& loading) {
  auto files = WeightFiles::open(model);
  if (!files) return std::move(files).error();
  return load(*std::move(files), loading);
}

Result<Model> Model::load(WeightFiles files, const Loading& loading) {
  auto config = files.config();
  if (!config) return std::move(config).error();
  if (auto complete = check_weights(files, *config); !complete) return std::move(complete).error();

  Model loaded(std::move(files), *std::move(config));
  for (std::size_t layer = 0; layer < loaded.config_.layers; ++layer) {
    auto block = load_block(loaded.files_, loaded.config_, layer, [&](const ExpectedTensor& expected) {
      return loading.activations == Activations::floats
                 ? load_linear(loaded.files_, expected)
                 : load_prepared(loaded.files_, expected, loading.activations, loading.executor);
    });
    if (!block) return std::move(block).error();
    loaded.blocks_.push_back(*std::move(block));
  }
  auto ends = load_ends(loaded.files_, loaded.config_);
  if (!ends) return std::move(ends).error();
  loaded.ends_ = *std::move(ends);
  const auto prepared = [](const Linear& linear) { return linear.prepared() != nullptr; };
  if (std::ranges::none_of(loaded.blocks_,
                           [&](const Block& block) { return std::ranges::any_of(block.linears, prepared); }))
    return loaded;
  loaded.activations_ = loading.activations;
  if (auto done = prepare_head(loaded.ends_, loaded.files_, loading.activations, loading.executor); !done)
    return std::move(done).error();
  return loaded;
}

std::size_t Model::weight_bytes() const noexcept {
  std::size_t bytes = ends_.head.bytes();
  for (const Block& block : blocks_)
    for (const Linear& linear : block.linears) bytes += linear.bytes();
  return bytes;
}

Result<void> embed(const FloatMatrix& embedding, std::span<const std::int32_t> tokens, MatrixView<float> x) {
  const MatrixView<const float> rows = embedding.view();
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    if (tokens[t] < 0 || static_cast<std::size_t>(tokens[t]) >= rows.rows)
      return Error{ErrorCode::invalid_argument,
                   fmt::format("token id {} is outside the vocabulary of {} tokens", tokens[t], rows.rows)};
    std::copy_n(rows.row(static_cast<std::size_t>(tokens[t])), rows.cols, x.row(t));
  }
  return {};
}

Context::Context(const Model& model, std::size_t capacity, pare::Executor executor)
    : model_(model),
      executor_(executor),
      capacity_(capacity),
      frequencies_(rope_frequencies(model.config())),
      caches_(model.config().layers, BlockCache(model.config(), capacity)) {}

Result<MatrixView<const float>> Context::advance(std::span<const std::int32_t> tokens) {
  const Config& config = model_.config();
  if (tokens.size() > capacity_ - length_)
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{} tokens do not fit a context of {}", length_ + tokens.size(), capacity_)};
  stream_.resize(tokens.size() * config.hidden_size);
  hidden_.resize(stream_.size());
  const MatrixView<float> x(stream_.data(), tokens.size(), config.hidden_size);
  if (auto done = embed(model_.ends().embedding, tokens, x); !done) return std::move(done).error();
  for (std::size_t layer = 0; layer < config.layers; ++layer) {
    auto done =
        run_block(config, frequencies_, model_.blocks()[layer], x, caches_[layer], length_, workspace_, executor_);
    if (!done) return std::move(done).error();
  }
  length_ += tokens.size();
  const MatrixView<float> hidden(hidden_.data(), tokens.size(), config.hidden_size);
  normalize(x, model_.ends().norm, config.norm_epsilon, hidden, executor_);
  return MatrixView<const float>(hidden);
}

Result<MatrixView<const float>> Context::logits(MatrixView<const float> hidden) {
  logits_.resize(hidden.rows * model_.config().vocab_size);
  const MatrixView<float> out(logits_.data(), hidden.rows, model_.config().vocab_size);
  if (auto done = model_.ends().head.apply(hidden, out, executor_); !done) return std::move(done).error();
  return MatrixView<const float>(out);
}

}  // namespace llama
