#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "pare/quantize/adaptive_gptq.hpp"
#include "pare/quantize/channel_scales.hpp"

namespace pare {

/// How near a block's outputs come to what they should be: 1 less the mean over batches of ||y - reference|| /
/// ||reference||, at least 1e-6, as EXL2 measures it.
class OutputAccuracy {
 public:
  /// Adds one batch. Errors: shapes that differ, an output that is not finite, a reference of zeros.
  Result<void> add(MatrixView<const float> reference, MatrixView<const float> outputs) {
    if (outputs.shape() != reference.shape())
      return detail::shape_error("the matrix of outputs", outputs.shape(), reference.shape());
    if (Result<void> ok = check_finite(reference, "the reference output"); !ok) return ok;
    if (Result<void> ok = check_finite(outputs, "the output"); !ok) return ok;
    double difference = 0.0, norm = 0.0;
    for (std::size_t r = 0; r < outputs.rows; ++r)
      for (std::size_t c = 0; c < outputs.cols; ++c) {
        const auto y = static_cast<double>(reference(r, c));
        const double apart = static_cast<double>(outputs(r, c)) - y;
        difference += apart * apart;
        norm += y * y;
      }
    if (norm == 0.0)
      return Error{ErrorCode::invalid_argument, "pare: outputs cannot be compared with a reference of zeros"};
    sum_ += std::sqrt(difference / norm);
    ++batches_;
    return {};
  }

  [[nodiscard]] std::uint64_t batches() const noexcept { return batches_; }
  /// 1 before the first batch.
  [[nodiscard]] double value() const noexcept {
    return batches_ == 0 ? 1.0 : std::max(1e-6, 1.0 - sum_ / static_cast<double>(batches_));
  }

 private:
  double sum_ = 0.0;
  std::uint64_t batches_ = 0;
};

/// What one option for a block costs and how near its outputs come: what an Allocator chooses among.
struct OptionMeasurement {
  std::uint64_t bits = 0;  ///< of all its layers
  double accuracy = 0.0;
};

/// EXL2's measurement of a block (attention or MLP): the block runs on its unquantized inputs with its layers quantized
/// in each of several ways, and the error of its outputs is what that way costs.
struct BlockMeasurement {
  AdaptiveGptq quantizer{};  ///< its `shares` are those of the options

  /// Measures each option, `options_of_block[i][k]` being the shares of layer k. `run` gets the rounded weights of all
  /// layers in order and adds the block's outputs, batch by batch. Layers have the moments of their inputs, in the same
  /// order. Equal shares of a layer are quantized once for options next to each other. Reports its progress. Errors:
  /// those of AdaptiveGptq and of `run`, numbers of layers that differ, a run that adds no batch, cancelled.
  template <class Real, class Run>
  Result<std::vector<OptionMeasurement>> operator()(
      SharedInput layers, std::span<const SecondMoment<Real>* const> moments,
      std::span<const std::vector<std::vector<BitShare>>> options_of_block, Run&& run,
      const Options& options = {}) const {
    if (moments.size() != layers.size())
      return Error{ErrorCode::invalid_argument, "pare: there are " + std::to_string(moments.size()) +
                                                    " moments for the " + std::to_string(layers.size()) +
                                                    " layers of the block"};
    std::vector<Matrix<float>> rounded;
    std::vector<MatrixView<const float>> views;
    for (const MatrixView<const float>& weights : layers) {
      auto copy = Matrix<float>::create(weights.shape(), options.memory);
      if (!copy) return std::move(copy).error();
      rounded.push_back(*std::move(copy));
      views.push_back(std::as_const(rounded.back()).view());
    }
    std::vector<std::uint64_t> bits(layers.size());
    std::vector<OptionMeasurement> measured;
    ProgressMeter meter(options.progress, options_of_block.size());
    for (std::size_t i = 0; i < options_of_block.size(); ++i) {
      const std::vector<std::vector<BitShare>>& shares = options_of_block[i];
      if (shares.size() != layers.size())
        return Error{ErrorCode::invalid_argument, "pare: option " + std::to_string(i) + " names the bits of " +
                                                      std::to_string(shares.size()) + " layers of " +
                                                      std::to_string(layers.size())};
      for (std::size_t k = 0; k < layers.size(); ++k) {
        if (i > 0 && same(shares[k], options_of_block[i - 1][k])) continue;
        AdaptiveGptq algorithm = quantizer;
        algorithm.shares = shares[k];
        const auto quantized = algorithm(layers[k], *moments[k], Options{options.executor, options.memory});
        if (!quantized) return quantized.error();
        bits[k] = quantized->bits;
        for (std::size_t r = 0; r < layers[k].rows; ++r)
          for (std::size_t c = 0; c < layers[k].cols; ++c) rounded[k](r, c) = quantized->matrix.value(r, c);
      }
      OutputAccuracy accuracy;
      if (Result<void> ok = run(SharedInput(views), accuracy); !ok) return std::move(ok).error();
      if (accuracy.batches() == 0)
        return Error{ErrorCode::invalid_argument, "pare: the run of a block that is measured added no batch"};
      std::uint64_t all = 0;
      for (const std::uint64_t b : bits) all += b;
      measured.push_back({all, accuracy.value()});
      meter.advance(1);
      if (Result<void> ok = meter.status(); !ok) return std::move(ok).error();
    }
    return measured;
  }

 private:
  static bool same(std::span<const BitShare> a, std::span<const BitShare> b) noexcept {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i)
      if (a[i].bits != b[i].bits || a[i].share != b[i].share || a[i].group != b[i].group) return false;
    return true;
  }
};

}  // namespace pare
