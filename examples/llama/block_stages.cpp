#include "llama/block_stages.hpp"

#include <utility>

namespace llama {
using pare::MatrixView;
using pare::Options;
using pare::Result;

namespace {

MatrixView<const float> tokens_of(const std::vector<float>& values, std::size_t tokens) {
  return {values.data(), tokens, tokens == 0 ? 0 : values.size() / tokens};
}

}  // namespace

CalibrationStreams::CalibrationStreams(std::vector<Stream> streams, Wanted wanted)
    : streams_(std::move(streams)), wanted_(wanted) {
  if (wanted.targets) dense_ = streams_;
}

Result<CalibrationStreams> CalibrationStreams::create(const WeightFiles& files, const Config& config,
                                                      const std::vector<Sequence>& sequences, Wanted wanted) {
  auto streams = embed_all(files, config, sequences);
  if (!streams) return std::move(streams).error();
  return CalibrationStreams(*std::move(streams), wanted);
}

Result<void> CalibrationStreams::pass(BlockRunner& runner, const Block& block, const Stream& from, LinearRole first,
                                      Passage& passage) {
  passage.stream = from;
  passage.inputs.clear();
  return runner.run(block, passage.stream, [&](LinearRole role, MatrixView<const float> tokens) {
    if (role != first) return;
    for (std::size_t t = 0; t < tokens.rows; ++t)
      passage.inputs.insert(passage.inputs.end(), tokens.row(t), tokens.row(t) + tokens.cols);
  });
}

Result<StageStatistics> CalibrationStreams::gather(const Config& config, std::size_t index, const Block& dense,
                                                   const Config& resized, const Block& block, Stage stage,
                                                   pare::Executor executor) {
  const Options options{.executor = executor};
  const std::size_t size = block[stage.front()].shape().cols;
  auto channels = pare::InputFluctuation::create(size);
  if (!channels) return std::move(channels).error();
  StageStatistics result{*std::move(channels), {}, {}};
  if (wanted_.moment) {
    auto moment = pare::SecondMoment<double>::create(size);
    if (!moment) return std::move(moment).error();
    result.moment = *std::move(moment);
  }
  for (const LinearRole role : stage) {
    if (!wanted_.targets) break;
    auto target = pare::OutputTarget::create(expected_linear(config, index, role).shape[0], size);
    if (!target) return std::move(target).error();
    result.targets.push_back(*std::move(target));
  }
  BlockRunner runner(resized, streams_, executor), dense_runner(config, streams_, executor);
  Passage is, was;
  for (std::size_t s = 0; s < streams_.size(); ++s) {
    if (streams_[s].tokens == 0) continue;
    if (auto done = pass(runner, block, streams_[s], stage.front(), is); !done) return std::move(done).error();
    const MatrixView<const float> inputs = tokens_of(is.inputs, is.stream.tokens);
    if (auto done = result.channels.add(inputs, options); !done) return std::move(done).error();
    if (result.moment)
      if (auto done = result.moment->add(inputs, options); !done) return std::move(done).error();
    if (!wanted_.targets) continue;
    if (auto done = pass(dense_runner, dense, dense_[s], stage.front(), was); !done) return std::move(done).error();
    for (std::size_t i = 0; i < stage.size(); ++i) {
      const MatrixView<const float> weights = dense[stage[i]].floats()->view();
      if (auto done = add_target(stage[i], s, weights, is, was, result.targets[i], executor); !done)
        return std::move(done).error();
    }
  }
  return result;
}

Result<void> CalibrationStreams::add_target(LinearRole role, std::size_t sequence, MatrixView<const float> weights,
                                            const Passage& is, const Passage& was, pare::OutputTarget& target,
                                            pare::Executor executor) {
  const MatrixView<const float> inputs = tokens_of(is.inputs, is.stream.tokens);
  outputs_.resize(inputs.rows * weights.rows);
  const MatrixView<float> outputs(outputs_.data(), inputs.rows, weights.rows);
  const bool last = role == LinearRole::down;
  // The hidden states after the block are those before its last layer and that layer's output, which is still the dense
  // weights' here.
  multiply(last ? inputs : tokens_of(was.inputs, is.stream.tokens), weights, outputs, executor);
  const std::vector<float>& here = last ? is.stream.hidden : streams_[sequence].hidden;
  const std::vector<float>& there = last ? was.stream.hidden : dense_[sequence].hidden;
  if (last || role == LinearRole::output)
    for (std::size_t i = 0; i < outputs_.size(); ++i) outputs_[i] += there[i] - here[i];
  return target.add(outputs, inputs, {.executor = executor});
}

Result<void> CalibrationStreams::advance(const Config& config, const Block& dense, const Config& resized,
                                         const Block& block, pare::Executor executor) {
  BlockRunner runner(resized, streams_, executor);
  for (Stream& stream : streams_)
    if (auto done = runner.run(block, stream, ignore_inputs); !done) return done;
  if (dense_.empty()) return {};
  BlockRunner dense_runner(config, dense_, executor);
  for (Stream& stream : dense_)
    if (auto done = dense_runner.run(dense, stream, ignore_inputs); !done) return done;
  return {};
}

}  // namespace llama
