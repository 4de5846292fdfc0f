#include "llama/perplexity.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <span>

#include "io/file.hpp"
#include "io/npy.hpp"

namespace llama {
using pare::Error;
using pare::ErrorCode;
using pare::MatrixView;
using pare::Result;

namespace {

/// ln of the sum of exp(logit).
double log_total(std::span<const float> logits) {
  const double highest = *std::ranges::max_element(logits);
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(logit - highest);
  return std::log(sum) + highest;
}

/// One prediction: -ln of the share that the softmax of the logits gives the token that comes, and what a reference
/// says of it.
struct Prediction {
  double loss = 0.0;
  double divergence = 0.0;
  bool agrees = false;
};

void compare(std::span<const float> reference, std::span<const float> logits, double total, Prediction& prediction) {
  const double reference_total = log_total(reference);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double log_share = double{reference[i]} - reference_total;
    prediction.divergence += std::exp(log_share) * (log_share - (double{logits[i]} - total));
  }
  prediction.agrees =
      std::ranges::max_element(reference) - reference.begin() == std::ranges::max_element(logits) - logits.begin();
}

/// A model at work, and a reference beside it or none.
struct Contexts {
  Context model;
  std::optional<Context> reference;
};

/// The logits of `count` tokens of a piece, from `begin` on.
Result<MatrixView<const float>> advance(Context& context, std::span<const std::int32_t> tokens) {
  const auto hidden = context.advance(tokens);
  if (!hidden) return hidden.error();
  return context.logits(*hidden);
}

/// Adds the predictions of all tokens of `piece` but the first.
Result<void> measure_piece(Contexts& contexts, std::span<const std::int32_t> piece, std::size_t vocab_size,
                           Likelihood& total, pare::Executor executor) {
  contexts.model.clear();
  if (contexts.reference) contexts.reference->clear();
  std::vector<Prediction> predictions(Context::chunk);
  for (std::size_t begin = 0; begin + 1 < piece.size(); begin += Context::chunk) {
    const std::size_t count = std::min(Context::chunk, piece.size() - 1 - begin);
    const auto tokens = piece.subspan(begin, count), next = piece.subspan(begin + 1, count);
    const auto logits = advance(contexts.model, tokens);
    if (!logits) return logits.error();
    for (const std::int32_t id : next)
      if (id < 0 || static_cast<std::size_t>(id) >= vocab_size)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("token id {} is outside the vocabulary of {} tokens", id, vocab_size)};
    std::optional<MatrixView<const float>> expected;
    if (contexts.reference) {
      const auto reference = advance(*contexts.reference, tokens);
      if (!reference) return reference.error();
      expected = *reference;
    }
    executor(count, [&](std::size_t t) {
      const std::span<const float> row(logits->row(t), vocab_size);
      const double row_total = log_total(row);
      predictions[t] = {.loss = row_total - double{row[static_cast<std::size_t>(next[t])]}};
      if (expected) compare({expected->row(t), vocab_size}, row, row_total, predictions[t]);
    });
    for (const Prediction& prediction : std::span(predictions).first(count)) {
      total.sum_nll += prediction.loss;
      total.sum_divergence += prediction.divergence;
      total.agreements += prediction.agrees ? 1 : 0;
    }
    total.predictions += count;
  }
  return {};
}

std::size_t count_predictions(const std::vector<Sequence>& sequences) {
  std::size_t count = 0;
  for (const Sequence& sequence : sequences) count += sequence.empty() ? 0 : sequence.size() - 1;
  return count;
}

}  // namespace

double Likelihood::perplexity() const noexcept { return std::exp(mean_nll()); }

Result<Likelihood> measure(const Model& model, const std::vector<Sequence>& sequences, std::size_t window,
                           pare::Executor executor, io::ProgressCallback progress, const Model* reference) {
  if (window == 0) window = model.config().context;
  if (window < 2) return Error{ErrorCode::invalid_argument, "a window of fewer than 2 tokens predicts nothing"};
  const std::size_t predictions = count_predictions(sequences);
  if (predictions == 0) return Error{ErrorCode::invalid_argument, "no sequence has a second token to predict"};
  if (reference != nullptr && reference->config().vocab_size != model.config().vocab_size)
    return Error{ErrorCode::invalid_argument,
                 fmt::format("the reference has a vocabulary of {} tokens, the model one of {}",
                             reference->config().vocab_size, model.config().vocab_size)};
  std::size_t longest = 0;
  for (const Sequence& sequence : sequences) longest = std::max(longest, sequence.size());

  const auto start = std::chrono::steady_clock::now();
  Likelihood total;
  const std::size_t length = std::min(window, longest);
  Contexts contexts{Context(model, length, executor), std::nullopt};
  if (reference != nullptr) contexts.reference.emplace(*reference, length, executor);
  for (const Sequence& sequence : sequences) {
    for (std::size_t begin = 0; begin + 1 < sequence.size(); begin += window - 1) {
      const auto piece = std::span(sequence).subspan(begin, std::min(window, sequence.size() - begin));
      auto done = measure_piece(contexts, piece, model.config().vocab_size, total, executor);
      if (!done) return std::move(done).error();
      progress(total.predictions, predictions);
    }
  }
  total.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return total;
}

Result<std::vector<Sequence>> read_id_file(const std::filesystem::path& path) {
  const auto file = io::NpyFile::open(path);
  if (!file) return file.error();
  const io::Extents& shape = file->array().shape;
  if (shape.empty() || shape.size() > 2)
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{}: expected shape [sequences, tokens], found {}", path.string(), io::to_string(shape))};
  const auto ids = file->values<std::int32_t>();
  if (!ids) return ids.error();
  std::vector<Sequence> sequences;
  const std::size_t tokens = shape.back();
  for (std::size_t begin = 0; begin < ids->size(); begin += tokens) {
    const auto row = ids->begin() + static_cast<std::ptrdiff_t>(begin);
    sequences.emplace_back(row, row + static_cast<std::ptrdiff_t>(tokens));
  }
  return sequences;
}

std::vector<Sequence> split_documents(std::string_view text, const Tokenizer& tokenizer) {
  std::vector<Sequence> sequences;
  std::string document;
  const auto finish = [&] {
    if (!document.empty()) sequences.push_back(tokenizer.encode(document));
    document.clear();
  };
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t") == std::string_view::npos)
      finish();
    else
      document.append(document.empty() ? "" : "\n").append(line);
  }
  finish();
  return sequences;
}

Result<std::vector<Sequence>> read_text_file(const std::filesystem::path& path, const Tokenizer& tokenizer) {
  const auto file = io::MappedFile::open(path);
  if (!file) return file.error();
  const auto bytes = file->bytes();
  auto sequences = split_documents({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, tokenizer);
  if (sequences.empty()) return Error{ErrorCode::invalid_argument, fmt::format("{}: holds no text", path.string())};
  return sequences;
}

}  // namespace llama
