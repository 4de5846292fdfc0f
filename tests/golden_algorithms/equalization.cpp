#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "coded.hpp"
#include "families.hpp"
#include "pare/quantize/bias_correction.hpp"
#include "pare/quantize/channel_alignment.hpp"

namespace golden {
namespace {

/// A layer of a file, its weight flattened to [out, all others].
struct StoredLayer {
  std::vector<float> weight, bias;
  std::size_t rows = 0;

  StoredLayer(const Tensors& tensors, const std::string& number)
      : weight(tensors.values<float>("W" + number)), rows(tensors.shape("W" + number).at(0)) {
    if (tensors.has("b" + number)) bias = tensors.values<float>("b" + number);
  }
  pare::LinearLayer layer() { return {{weight.data(), rows, weight.size() / rows}, bias}; }
};

void check_equalization(const Entry& entry, const Problem&, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  StoredLayer first(expected, "1"), second(expected, "2");
  const pare::CrossLayerEqualization equalization{.signed_weights = entry.config.at("signed").get<bool>()};
  const auto scales = value(equalization.equalize({.producer = first.layer(), .consumer = second.layer()}));
  outcome.near("S", expected.values<float>("S"), {scales.begin(), scales.end()});
  outcome.near("W1", expected.values<float>("W1_out"), first.weight);
  outcome.near("b1", expected.values<float>("b1_out"), first.bias);
  outcome.near("W2", expected.values<float>("W2_out"), second.weight);
}

void check_alignment(const Entry& entry, const Problem&, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  StoredLayer first(expected, "1"), second(expected, "2");
  const auto low = expected.values<float>("min"), high = expected.values<float>("max");
  std::vector<pare::ValueRange> ranges;
  for (std::size_t c = 0; c < low.size(); ++c) ranges.push_back({low[c], high[c]});
  value(pare::ChannelAlignment{}({.producer = first.layer(), .consumer = second.layer()}, ranges));
  outcome.near("W1", expected.values<float>("W1_out"), first.weight);
  outcome.near("b1", expected.values<float>("b1_out"), first.bias);
  outcome.near("W2", expected.values<float>("W2_out"), second.weight);
  outcome.near("b2", expected.values<float>("b2_out"), second.bias);
}

/// The convolution's weight rounded to 8 bits for each output channel; the bias is the file's.
void check_bias_correction(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const std::vector<float> bias = expected.values<float>("bias");
  const pare::MatrixView<const float> weight = problem.weight.view();

  const auto means_of = [](pare::MatrixView<const float> tokens, std::size_t channels) {
    auto statistics = value(pare::ChannelStatistics::create(channels));
    ensure(statistics.add(tokens));
    std::vector<float> means;
    for (std::size_t c = 0; c < channels; ++c) means.push_back(statistics.mean(c));
    return means;
  };
  const Table<float> tokens = problem.tokens();
  const auto exact = value(pare::mean_outputs(weight, bias, means_of(tokens.view(), weight.cols)));
  outcome.near("fp_mean", expected.values<float>("fp_mean"), {exact.begin(), exact.end()});

  const std::size_t channels = problem.weight_shape.at(1);
  const pare::Shape image{problem.input_shape.at(2), problem.input_shape.at(3)};
  const std::size_t area = image.rows * image.cols;
  std::vector<float> pixels(problem.inputs.size());
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    const std::size_t n = i / (channels * area), c = i / area % channels, k = i % area;
    pixels[(n * area + k) * channels + c] = problem.inputs[i];
  }
  const std::vector<float> input_means = means_of({pixels.data(), pixels.size() / channels, channels}, channels);
  outcome.near("x_mean", expected.values<float>("x_mean"), input_means);

  Table<float> rounded = problem.weight;
  ensure(pare::ActivationQuantizer{.bits = 8}(weight, rounded.view()));
  const pare::Convolution convolution{.channels = channels,
                                      .kernel = {problem.weight_shape.at(2), problem.weight_shape.at(3)},
                                      .stride = {problem.stride, problem.stride},
                                      .padding = {problem.padding, problem.padding}};
  const auto unfolded = value(pare::constant_image_means(input_means, image, convolution));
  const auto quantized = value(pare::mean_outputs(std::as_const(rounded).view(), bias, unfolded.values()));
  outcome.near("q_mean", expected.values<float>("q_mean"), {quantized.begin(), quantized.end()});

  const pare::BiasCorrection correction{.threshold = static_cast<float>(entry.number("threshold"))};
  const pare::CorrectedBias result = value(correction(bias, exact.values(), quantized.values()));
  std::vector<float> shift;
  for (std::size_t c = 0; c < bias.size(); ++c) shift.push_back(exact[c] - quantized[c]);
  outcome.near("shift", expected.values<float>("shift"), shift, true);
  outcome.near("new_bias", expected.values<float>("new_bias"), {result.bias.begin(), result.bias.end()});
  outcome.near("magnitude", {static_cast<float>(entry.number("magnitude"))}, {result.magnitude});
  outcome.check("applied", result.applied == entry.json.at("applied").get<bool>());
}

constexpr Method methods[] = {{"cle", check_equalization},
                              {"nncf_channel_alignment", check_alignment},
                              {"fast_bias_correction", check_bias_correction}};

}  // namespace

std::span<const Method> equalization_methods() { return methods; }

}  // namespace golden
