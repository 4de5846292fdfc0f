#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <utility>
#include <vector>

#include "llama/activations.hpp"
#include "llama/block.hpp"
#include "llama/config.hpp"
#include "llama/weight_files.hpp"
#include "llama/weights.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// How a model is loaded.
struct Loading {
  /// But with floats, packed layers are prepared once, in memory of the size of their codes; where there are any, so is
  /// the head, as prepare_head() says. Layers of floats in the blocks stay so.
  Activations activations = Activations::floats;
  pare::Executor executor = pare::serial;
};

/// A LLaMA ready to run. Immutable: any number of contexts may use it.
class Model {
 public:
  /// Opens and loads MODEL. Errors are those of WeightFiles::open, read_config and check_weights, and out of memory.
  static pare::Result<Model> load(const std::filesystem::path& model, const Loading& loading = {});
  /// The same from files that are open already.
  static pare::Result<Model> load(WeightFiles files, const Loading& loading = {});

  [[nodiscard]] const Config& config() const noexcept { return config_; }
  [[nodiscard]] const WeightFiles& files() const noexcept { return files_; }
  [[nodiscard]] const std::vector<Block>& blocks() const noexcept { return blocks_; }
  [[nodiscard]] const Ends& ends() const noexcept { return ends_; }
  /// The bytes of weights that the products of one token read, the head's included.
  [[nodiscard]] std::size_t weight_bytes() const noexcept;
  /// What was asked for, or floats where no layer of the blocks takes eight-bit activations.
  [[nodiscard]] Activations activations() const noexcept { return activations_; }

 private:
  Model(WeightFiles files, Config config) : files_(std::move(files)), config_(std::move(config)) {}

  WeightFiles files_;
  Config config_;
  std::vector<Block> blocks_;
  Activations activations_ = Activations::floats;
  Ends ends_;
};

/// Copies the embeddings of `tokens` to `x`, [tokens, hidden_size]. Error: an id outside the vocabulary.
pare::Result<void> embed(const FloatMatrix& embedding, std::span<const std::int32_t> tokens, pare::MatrixView<float> x);

/// One sequence on its way through a model, with its keys and values.
class Context {
 public:
  /// How many tokens are best taken in at once: memory grows with it, and speed no more beyond it.
  static constexpr std::size_t chunk = 128;

  /// Room for `capacity` tokens. The model must outlive the context, as must what `executor` refers to.
  Context(const Model& model, std::size_t capacity, pare::Executor executor);

  /// Takes in the next tokens and returns what the head turns into logits, [tokens, hidden_size], valid until the next
  /// call. Errors: an id outside the vocabulary, or more tokens than there is room for.
  pare::Result<pare::MatrixView<const float>> advance(std::span<const std::int32_t> tokens);

  /// The logits, [tokens, vocab_size], of rows that advance() returned, valid until the next call.
  pare::Result<pare::MatrixView<const float>> logits(pare::MatrixView<const float> hidden);

  /// Starts a new sequence.
  void clear() noexcept { length_ = 0; }

  /// Tokens taken in so far.
  [[nodiscard]] std::size_t length() const noexcept { return length_; }

 private:
  const Model& model_;
  pare::Executor executor_;
  std::size_t capacity_;
  std::size_t length_ = 0;
  std::vector<float> frequencies_;
  std::vector<BlockCache> caches_;
  Workspace workspace_;
  std::vector<float> stream_;
  std::vector<float> hidden_;
  std::vector<float> logits_;
};

}  // namespace llama
