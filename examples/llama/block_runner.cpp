#include "llama/block_runner.hpp"

#include <algorithm>

#include "llama/model.hpp"
#include "llama/rope.hpp"

namespace llama {
using pare::MatrixView;
using pare::Result;

namespace {

std::size_t longest(const std::vector<Stream>& streams) {
  std::size_t tokens = 0;
  for (const Stream& stream : streams) tokens = std::max(tokens, stream.tokens);
  return tokens;
}

}  // namespace

Result<std::vector<Stream>> embed_all(const WeightFiles& files, const Config& config,
                                      const std::vector<Sequence>& sequences) {
  const auto ends = load_ends(files, config);
  if (!ends) return ends.error();
  std::vector<Stream> streams;
  for (const Sequence& sequence : sequences) {
    Stream stream{sequence.size(), std::vector<float>(sequence.size() * config.hidden_size)};
    auto done = embed(ends->embedding, sequence, {stream.hidden.data(), sequence.size(), config.hidden_size});
    if (!done) return std::move(done).error();
    streams.push_back(std::move(stream));
  }
  return streams;
}

BlockRunner::BlockRunner(const Config& config, const std::vector<Stream>& streams, pare::Executor executor)
    : config_(config), frequencies_(rope_frequencies(config)), cache_(config, longest(streams)), executor_(executor) {}

Result<void> BlockRunner::run(const Block& block, Stream& stream, InputObserver observe) {
  for (std::size_t first = 0; first < stream.tokens; first += Context::chunk) {
    const MatrixView<float> x(stream.hidden.data() + first * config_.hidden_size,
                              std::min(Context::chunk, stream.tokens - first), config_.hidden_size);
    auto done = run_block(config_, frequencies_, block, x, cache_, first, workspace_, executor_, observe);
    if (!done) return done;
  }
  return {};
}

}  // namespace llama
