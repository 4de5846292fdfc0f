#pragma once

#include <cstddef>
#include <memory_resource>
#include <span>
#include <string>
#include <utility>

#include "pare/calibration/finite.hpp"
#include "pare/calibration/growing_array.hpp"

namespace pare {

/// The mean token of each sample, kept: what NNCF's scale estimation and LoRA correction take for the activations.
/// Four bytes for each channel and sample.
class SampleMeans {
 public:
  explicit SampleMeans(std::size_t channels, std::pmr::memory_resource* memory = nullptr)
      : channels_(channels), means_(memory) {}

  /// Adds the mean of the tokens [tokens, channels] of one sample. Errors: another number of channels, no tokens, a
  /// value that is not finite, out_of_memory.
  Result<void> add(MatrixView<const float> tokens) {
    if (tokens.cols != channels_ || tokens.rows == 0)
      return detail::shape_error("the activations", tokens.shape(), {tokens.rows == 0 ? 1 : tokens.rows, channels_});
    if (Result<void> ok = check_finite(tokens, "the activations"); !ok) return ok;
    const auto mean = means_.append(channels_);
    if (!mean) return mean.error();
    for (std::size_t c = 0; c < channels_; ++c) {
      double sum = 0.0;
      for (std::size_t t = 0; t < tokens.rows; ++t) sum += static_cast<double>(tokens(t, c));
      (*mean)[c] = static_cast<float>(sum / static_cast<double>(tokens.rows));
    }
    return {};
  }
  /// Adds means [samples, channels] that another one gathered, or that were saved. Errors: another number of channels,
  /// a value that is not finite, out_of_memory.
  Result<void> merge(MatrixView<const float> means) {
    if (means.cols != channels_)
      return detail::shape_error("the matrix of means", means.shape(), {means.rows, channels_});
    if (Result<void> ok = check_finite(means, "the matrix of means"); !ok) return ok;
    const auto copy = means_.append(means.rows * channels_);
    if (!copy) return copy.error();
    for (std::size_t s = 0; s < means.rows; ++s)
      for (std::size_t c = 0; c < channels_; ++c) (*copy)[s * channels_ + c] = means(s, c);
    return {};
  }

  /// [samples, channels]
  [[nodiscard]] MatrixView<const float> means() const noexcept {
    return {means_.values().data(), channels_ == 0 ? 0 : means_.size() / channels_, channels_};
  }

 private:
  std::size_t channels_ = 0;
  GrowingArray<float> means_;
};

}  // namespace pare
