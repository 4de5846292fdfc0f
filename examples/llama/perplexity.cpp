#include "llama/perplexity.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "io/file.hpp"
#include "io/npy.hpp"

namespace llama {
using pare::Error;
using pare::ErrorCode;
using pare::MatrixView;
using pare::Result;

namespace {

/// -ln of the share that the softmax of `logits` gives `token`.
double negative_log_likelihood(std::span<const float> logits, std::int32_t token) {
  const float highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(logit - highest);
  return std::log(sum) + double{highest} - double{logits[static_cast<std::size_t>(token)]};
}

/// Adds the predictions of all tokens of `piece` but the first.
Result<void> measure_piece(Context& context, std::span<const std::int32_t> piece, std::size_t vocab_size,
                           Likelihood& total, pare::Executor executor) {
  context.clear();
  std::vector<double> losses(Context::chunk);
  for (std::size_t begin = 0; begin + 1 < piece.size(); begin += Context::chunk) {
    const std::size_t count = std::min(Context::chunk, piece.size() - 1 - begin);
    const auto hidden = context.advance(piece.subspan(begin, count));
    if (!hidden) return hidden.error();
    const auto logits = context.logits(*hidden);
    if (!logits) return logits.error();
    for (const std::int32_t next : piece.subspan(begin + 1, count))
      if (next < 0 || static_cast<std::size_t>(next) >= vocab_size)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("token id {} is outside the vocabulary of {} tokens", next, vocab_size)};
    executor(count, [&](std::size_t t) {
      losses[t] = negative_log_likelihood({logits->row(t), vocab_size}, piece[begin + 1 + t]);
    });
    for (std::size_t t = 0; t < count; ++t) total.sum_nll += losses[t];
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
                           pare::Executor executor, io::ProgressCallback progress) {
  if (window == 0) window = model.config().context;
  if (window < 2) return Error{ErrorCode::invalid_argument, "a window of fewer than 2 tokens predicts nothing"};
  const std::size_t predictions = count_predictions(sequences);
  if (predictions == 0) return Error{ErrorCode::invalid_argument, "no sequence has a second token to predict"};
  std::size_t longest = 0;
  for (const Sequence& sequence : sequences) longest = std::max(longest, sequence.size());

  const auto start = std::chrono::steady_clock::now();
  Likelihood total;
  Context context(model, std::min(window, longest), executor);
  for (const Sequence& sequence : sequences) {
    for (std::size_t begin = 0; begin + 1 < sequence.size(); begin += window - 1) {
      const auto piece = std::span(sequence).subspan(begin, std::min(window, sequence.size() - begin));
      auto done = measure_piece(context, piece, model.config().vocab_size, total, executor);
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
