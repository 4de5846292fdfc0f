#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "io/quantize_file.hpp"
#include "llama/model.hpp"
#include "llama/tokenizer.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// Token ids that follow each other.
using Sequence = std::vector<std::int32_t>;

/// How well a model predicts sequences: the sum of -ln p(token | tokens before it) over all tokens but the first ones.
struct Likelihood {
  double sum_nll = 0.0;
  std::size_t predictions = 0;
  double seconds = 0.0;
  /// Beside a reference model, else 0: the sum over the predictions of KL(reference || model), in nats, and how many of
  /// them have the same most likely token.
  double sum_divergence = 0.0;
  std::size_t agreements = 0;

  [[nodiscard]] double mean_nll() const noexcept { return sum_nll / static_cast<double>(predictions); }
  [[nodiscard]] double mean_divergence() const noexcept { return sum_divergence / static_cast<double>(predictions); }
  [[nodiscard]] double perplexity() const noexcept;
};

/// Measures a model on sequences, and how far its predictions are from those of `reference`, unless that is null. A
/// sequence longer than `window` (0: the model's context) is taken in pieces, each beginning with the last token of the
/// piece before it. `progress` is told the predictions done and to do. Errors: nothing to predict, a window below 2, an
/// id outside the vocabulary, a reference with another vocabulary.
pare::Result<Likelihood> measure(const Model& model, const std::vector<Sequence>& sequences, std::size_t window,
                                 pare::Executor executor, io::ProgressCallback progress,
                                 const Model* reference = nullptr);

/// The rows of an integer array [sequences, tokens], or of [tokens]. Errors name the file.
pare::Result<std::vector<Sequence>> read_id_file(const std::filesystem::path& path);

/// The documents of a text file, which blank lines separate, each with what the tokenizer puts around a text.
pare::Result<std::vector<Sequence>> read_text_file(const std::filesystem::path& path, const Tokenizer& tokenizer);

/// The documents of a text, as above.
std::vector<Sequence> split_documents(std::string_view text, const Tokenizer& tokenizer);

}  // namespace llama
