#include "pare/calibration/calibration.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "families.hpp"

namespace golden {
namespace {

pare::MatrixView<const float> row_of(const std::vector<float>& values) { return {values.data(), 1, values.size()}; }

/// The thresholds over a histogram in the order of the file's "amax".
std::vector<float> thresholds(const pare::HistogramView& histogram, float largest, bool is_unsigned) {
  std::vector<float> result;
  for (const double share : {0.99, 0.999, 0.9999, 0.99999})
    result.push_back(value(pare::percentile_threshold(histogram, share)));
  const pare::ClipSettings eight{.bits = 8, .is_unsigned = is_unsigned};
  const pare::ClipSettings four{.bits = 4, .is_unsigned = is_unsigned};
  result.push_back(value(pare::mse_threshold(histogram, eight)));
  result.push_back(value(pare::entropy_threshold(histogram, eight)));
  result.push_back(largest);
  result.push_back(value(pare::mse_threshold(histogram, four)));
  result.push_back(value(pare::entropy_threshold(histogram, four)));
  return result;
}

/// The thresholds by the stored histogram, and the histogram by the activations: first half of the sequences, second
/// half.
void check_histogram(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const auto counts = expected.values<double>("hist");
  const auto edges = expected.values<float>("edges"), amax = expected.values<float>("amax");
  const bool is_unsigned = entry.config.at("unsigned").get<bool>();

  auto collected = value(pare::Histogram::create(2048));
  const std::size_t half = problem.input_shape.at(0) / 2 * (problem.inputs.size() / problem.input_shape.at(0));
  ensure(collected.add({problem.inputs.data(), 1, half}));
  ensure(collected.add({problem.inputs.data() + half, 1, problem.inputs.size() - half}));

  const std::vector<float> by_stored = thresholds({counts, edges}, collected.largest(), is_unsigned);
  outcome.codes("amax", amax, by_stored);
  const char* figures[] = {
      "percentile_99.0", "percentile_99.9", "percentile_99.99", "percentile_99.999", "mse", "entropy", "max",
      "mse_4bit",        "entropy_4bit"};
  std::vector<float> reported;
  for (const char* figure : figures) reported.push_back(static_cast<float>(entry.number(figure)));
  outcome.codes("amax", reported, by_stored);

  const auto numbers = value(pare::HistogramNumbers::create(collected));
  const pare::HistogramView ours = numbers;
  double counted = 0.0, moved = 0.0;
  for (std::size_t i = 0; i < std::min(counts.size(), ours.counts.size()); ++i) {
    counted += counts[i];
    moved += std::fabs(counts[i] - ours.counts[i]) / 2.0;
  }
  // The rule is about given histograms; a value on an edge may be counted on its other side.
  outcome.check("hist", counts.size() == ours.counts.size() && moved <= 1e-3 * counted,
                std::to_string(ours.counts.size()) + " bins for " + std::to_string(counts.size()) + ", " +
                    std::to_string(moved) + " values elsewhere");
}

void check_octav(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const std::vector<float> weights(problem.weight.values.begin(), problem.weight.values.end());
  for (const auto& [figure, expected] : entry.json.items()) {
    if (!figure.starts_with("W_b") && !figure.starts_with("X_b")) continue;
    const float clip =
        value(pare::optimal_clip(row_of(figure[0] == 'W' ? weights : problem.inputs), std::stoi(figure.substr(3))));
    outcome.near(figure, {expected.get<float>()}, {clip});
  }
  const Tensors tensors = entry.tensors();
  for (const io::TensorView& tensor : tensors.file().tensors()) {
    const std::string name(tensor.name);
    const int bits = std::stoi(name.substr(name.rfind('b') + 1));
    std::vector<float> clips;
    for (std::size_t r = 0; r < problem.weight.shape.rows; ++r)
      clips.push_back(value(pare::optimal_clip({problem.weight.view().row(r), 1, problem.weight.shape.cols}, bits)));
    outcome.near(name, tensors.values<float>(name), clips);
  }
}

/// The names say what the ranges are of and how they are made: w_sym8_narrow, a_asym8, a_pos4, ...; "half" is symmetric
/// of 8 bits and over the same ranges as w_sym8.
void check_fake_quantize(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  for (const io::TensorView& tensor : expected.file().tensors()) {
    const std::string full(tensor.name);
    if (!full.ends_with(".in_low")) continue;
    const std::string name = full.substr(0, full.size() - 7);
    const bool half = name.ends_with("_half"), narrow = name.ends_with("_narrow");
    const bool asymmetric = name.find("asym") != std::string::npos;
    const std::size_t digit = name.find_first_of("0123456789");
    const pare::FakeQuantizeRule rule{.bits = digit == std::string::npos ? 8 : name[digit] - '0',
                                      .symmetric = !asymmetric,
                                      .narrow = narrow,
                                      .half_range = half};
    const std::string source = expected.has(name + ".min") ? name : "w_sym8";
    const auto low = expected.values<float>(source + ".min"), high = expected.values<float>(source + ".max");
    std::vector<pare::ValueRange> ranges;
    for (std::size_t i = 0; i < low.size(); ++i) ranges.push_back({low[i], high[i]});

    // What the ranges were taken from, where it is in the problem.
    if (name.starts_with("w_") || !name.ends_with("pos4")) {
      const bool weight = name.starts_with("w_");
      const auto found = value(weight ? pare::value_ranges(problem.weight.view(), pare::RangeScope::token)
                                      : pare::value_ranges(row_of(problem.inputs), pare::RangeScope::tensor));
      std::vector<float> our_low, our_high;
      for (const pare::ValueRange& range : found) {
        our_low.push_back(asymmetric || !weight ? range.lowest : -range.magnitude());
        our_high.push_back(asymmetric ? range.highest : range.magnitude());
      }
      outcome.near(source + ".min", low, our_low);
      outcome.near(source + ".max", high, our_high);
    }

    const auto made = value(rule(ranges));
    std::vector<float> in_low, in_high;
    for (const pare::FakeQuantize& f : made) {
      in_low.push_back(f.input_low);
      in_high.push_back(f.input_high);
    }
    outcome.near(full, expected.values<float>(full), in_low);
    outcome.near(name + ".in_high", expected.values<float>(name + ".in_high"), in_high);
    outcome.near(name + ".levels", expected.values<float>(name + ".levels"), {static_cast<float>(made[0].levels)});
  }
}

constexpr Method methods[] = {
    {"hist_calib", check_histogram}, {"octav", check_octav}, {"nncf_fake_quantize_params", check_fake_quantize}};

}  // namespace

std::span<const Method> calibration_methods() { return methods; }

}  // namespace golden
