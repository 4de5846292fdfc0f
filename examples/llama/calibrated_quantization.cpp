#include "llama/calibrated_quantization.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <memory>
#include <span>
#include <utility>

#include "io/json.hpp"
#include "llama/block_runner.hpp"
#include "pare/calibration/calibration.hpp"
#include "pare/quantize/quantize.hpp"

namespace llama {
using pare::AnyGrid;
using pare::CodedMatrix;
using pare::Error;
using pare::ErrorCode;
using pare::MatrixView;
using pare::Options;
using pare::Result;

namespace {

/// What is known of the input that some layers share.
struct InputStatistics {
  pare::SecondMoment<double> moment;
  pare::ChannelStatistics channels;

  static Result<InputStatistics> create(std::size_t size) {
    auto moment = pare::SecondMoment<double>::create(size);
    if (!moment) return std::move(moment).error();
    auto channels = pare::ChannelStatistics::create(size);
    if (!channels) return std::move(channels).error();
    return InputStatistics{*std::move(moment), *std::move(channels)};
  }
  Result<void> add(MatrixView<const float> tokens, const Options& options) {
    if (auto done = moment.add(tokens, options); !done) return done;
    return channels.add(tokens, options);
  }
};

using LayerQuantizer = Result<CodedMatrix> (*)(const AnyGrid&, MatrixView<const float>, const InputStatistics&,
                                               const Options&);

Result<CodedMatrix> round(const AnyGrid& grid, MatrixView<const float> weights, const InputStatistics&,
                          const Options& options) {
  return pare::RoundToNearest{}(grid, weights, options);
}

Result<CodedMatrix> clip(const AnyGrid& grid, MatrixView<const float> weights, const InputStatistics&,
                         const Options& options) {
  return pare::RoundToNearest{}(pare::ClipSearchGrid<AnyGrid>{.base = grid}, weights, options);
}

constexpr pare::Gptq ordered_gptq{
    .damping = {.retries = 10, .retry_fraction = 0.1}, .act_order = true, .static_groups = true};

Result<CodedMatrix> gptq(const AnyGrid& grid, MatrixView<const float> weights, const InputStatistics& input,
                         const Options& options) {
  auto result = ordered_gptq(grid, weights, input.moment, options);
  if (!result) return std::move(result).error();
  return std::move(result->matrix);
}

Result<CodedMatrix> refine(const AnyGrid& grid, MatrixView<const float> weights, const InputStatistics& input,
                           const Options& options) {
  auto result = ordered_gptq(pare::ClipSearchGrid<AnyGrid>{.base = grid}, weights, input.moment, options);
  if (!result) return std::move(result).error();
  const auto error = pare::CoordinateDescent{}(grid, weights, input.moment, result->matrix, options);
  if (!error) return error.error();
  return std::move(result->matrix);
}

struct Method : CalibratedMethod {
  LayerQuantizer quantize;
};

constexpr std::array methods = {
    Method{{"rtn", "each weight to the nearest code"}, round},
    Method{{"mse", "the same, with the clipped range of least error for each group"}, clip},
    Method{{"gptq", "GPTQ in the order of activations, with static groups"}, gptq},
    Method{{"refined", "GPTQ with clipped ranges, then coordinate descent on codes and scales"}, refine},
};

/// Layers that share an input, in the order of execution.
constexpr std::array<std::span<const LinearRole>, 4> stages = {
    std::span(linear_roles).subspan(0, 3), std::span(linear_roles).subspan(3, 1), std::span(linear_roles).subspan(4, 2),
    std::span(linear_roles).subspan(6, 1)};

std::shared_ptr<const std::vector<float>> values_of(const CodedMatrix& matrix) {
  std::vector<float> values;
  values.reserve(matrix.shape.rows * matrix.shape.cols);
  for (std::size_t r = 0; r < matrix.shape.rows; ++r)
    for (std::size_t c = 0; c < matrix.shape.cols; ++c) values.push_back(matrix.value(r, c));
  return std::make_shared<const std::vector<float>>(std::move(values));
}

/// Quantizes the layers of one block after the other.
class BlockQuantizer {
 public:
  BlockQuantizer(const WeightFiles& files, const Config& config, const AnyGrid& grid, const Method& method,
                 std::vector<Stream>& streams, pare::Executor executor)
      : files_(files),
        config_(config),
        grid_(grid),
        method_(method),
        streams_(streams),
        runner_(config, streams, executor),
        options_{.executor = executor} {}

  Result<QuantizedBlock> quantize(std::size_t index, Block& block) {
    QuantizedBlock result;
    for (const std::span<const LinearRole> stage : stages) {
      auto input = gather(index, block, stage.front());
      if (!input) return std::move(input).error();
      for (const LinearRole role : stage) {
        const std::string name = expected_linear(config_, index, role).name;
        auto layer = quantize_layer(block[role].floats()->view(), *input);
        if (!layer)
          return Error{layer.error().code,
                       fmt::format("{}: tensor {}: {}", files_.name(), io::quote(name), layer.error().message)};
        replace(block[role], layer->matrix);
        result.layers.emplace(name, *std::move(layer));
      }
    }
    return result;
  }

  /// Puts finished layers in place of the block's own.
  Result<void> restore(std::size_t index, const QuantizedBlock& finished, Block& block) const {
    for (const LinearRole role : linear_roles) {
      const std::string name = expected_linear(config_, index, role).name;
      const auto found = finished.layers.find(name);
      if (found == finished.layers.end() || found->second.matrix.shape != block[role].shape())
        return Error{ErrorCode::corrupt_data, fmt::format("the finished block {} has no {}", index, io::quote(name))};
      replace(block[role], found->second.matrix);
    }
    return {};
  }

  /// Takes all sequences through a block.
  Result<void> advance(const Block& block) {
    for (Stream& stream : streams_)
      if (auto done = runner_.run(block, stream, ignore_inputs); !done) return done;
    return {};
  }

 private:
  /// What enters the layers of one stage, by the block as it is.
  Result<InputStatistics> gather(std::size_t index, const Block& block, LinearRole first) {
    auto input = InputStatistics::create(expected_linear(config_, index, first).shape[1]);
    if (!input) return input;
    Result<void> added;
    std::vector<float> sample;
    const auto observe = [&](LinearRole role, MatrixView<const float> tokens) {
      if (role != first) return;
      for (std::size_t t = 0; t < tokens.rows; ++t)
        sample.insert(sample.end(), tokens.row(t), tokens.row(t) + tokens.cols);
    };
    Stream copy;
    for (const Stream& stream : streams_) {
      copy = stream;
      sample.clear();
      if (auto done = runner_.run(block, copy, observe); !done) return std::move(done).error();
      const std::size_t channels = input->moment.channels();
      if (auto done = input->add({sample.data(), sample.size() / channels, channels}, options_); !done)
        return std::move(done).error();
    }
    return input;
  }

  Result<QuantizedBlock::Layer> quantize_layer(MatrixView<const float> weights, const InputStatistics& input) const {
    auto matrix = method_.quantize(grid_, weights, input, options_);
    if (!matrix) return std::move(matrix).error();
    QuantizedBlock::Layer layer{*std::move(matrix), {}, 0.0};
    const auto values = values_of(layer.matrix);
    for (std::size_t r = 0; r < weights.rows; ++r)
      for (std::size_t c = 0; c < weights.cols; ++c) layer.error.add(weights(r, c), (*values)[r * weights.cols + c]);
    const MatrixView<const float> approximation(values->data(), weights.rows, weights.cols);
    const auto nothing = std::vector<float>(weights.rows * weights.cols, 0.0f);
    const auto error = pare::output_error(weights, approximation, input.moment, options_);
    if (!error) return error.error();
    const auto whole =
        pare::output_error(weights, {nothing.data(), weights.rows, weights.cols}, input.moment, options_);
    if (!whole) return whole.error();
    layer.output_error = *whole > 0.0 ? std::sqrt(*error / *whole) : 0.0;
    return layer;
  }

  static void replace(Linear& linear, const CodedMatrix& matrix) {
    linear = Linear(FloatMatrix::owning(values_of(matrix), matrix.shape));
  }

  const WeightFiles& files_;
  const Config& config_;
  const AnyGrid& grid_;
  const Method& method_;
  std::vector<Stream>& streams_;
  BlockRunner runner_;
  Options options_;
};

}  // namespace

const std::vector<CalibratedMethod>& calibrated_methods() {
  static const std::vector<CalibratedMethod> list(methods.begin(), methods.end());
  return list;
}

Result<void> quantize_blocks(const WeightFiles& files, const Config& config, const CalibratedQuantization& how,
                             const std::vector<Sequence>& sequences, const BlockStore& store, pare::Executor executor,
                             io::ProgressCallback progress) {
  const auto method = std::ranges::find(methods, std::string_view(how.method), &Method::name);
  if (method == methods.end())
    return Error{ErrorCode::invalid_argument, fmt::format("unknown method {}", io::quote(how.method))};
  const auto grid = AnyGrid::named(how.scheme);
  if (!grid) return grid.error();
  if (auto complete = check_weights(files, config); !complete) return complete;
  if (auto floats = files.require_floats(); !floats) return floats;
  auto streams = embed_all(files, config, sequences);
  if (!streams) return std::move(streams).error();
  BlockQuantizer quantizer(files, config, *grid, *method, *streams, executor);
  for (std::size_t index = 0; index < config.layers; ++index) {
    auto block = load_block(files, config, index);
    if (!block) return std::move(block).error();
    if (store.has(index)) {
      const auto finished = store.load(index);
      if (!finished) return finished.error();
      if (auto done = quantizer.restore(index, *finished, *block); !done) return done;
    } else {
      const auto finished = quantizer.quantize(index, *block);
      if (!finished) return finished.error();
      if (auto done = store.save(index, *finished); !done) return done;
    }
    for (const LinearRole role : linear_roles)
      if (const auto tensor = files.read(expected_linear(config, index, role).name)) files.release(tensor->bytes);
    if (index + 1 < config.layers)
      if (auto done = quantizer.advance(*block); !done) return done;
    progress(index + 1, config.layers);
  }
  return {};
}

}  // namespace llama
