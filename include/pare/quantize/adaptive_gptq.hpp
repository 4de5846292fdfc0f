#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string>
#include <utility>

#include "pare/quantize/adaptive_scales.hpp"
#include "pare/quantize/error_feedback.hpp"

namespace pare {

/// The bits of some of a layer's input channels: those that matter most come first in a list of these.
struct BitShare {
  int bits = 4;            ///< 2, 3, 4, 5, 6 or 8
  double share = 1.0;      ///< of the channels, rounded up to whole groups
  std::size_t group = 32;  ///< channels whose weights share the scales
};

/// A layer quantized by AdaptiveGptq.
struct AdaptiveGptqResult {
  CodedMatrix matrix;              ///< groups of channels with zero points of 2^(bits - 1), as the layout Exl2 has them
  Array<std::uint32_t> places;     ///< of each channel among the rows of Exl2's tensors: its inverse_permutation
  Array<std::uint8_t> group_bits;  ///< of the codes of each group
  Array<float> group_maxima;       ///< q_scale_max of each group, a half
  std::uint64_t bits = 0;          ///< of all codes, scales and places as EXL2 counts them
  double loss = 0.0;               ///< as GptqResult's
  double damping = 0.0;            ///< as GptqResult's
};

/// The quantizer of EXL2 (exllamav2): GPTQ in descending_order over groups of input channels that differ in bits, each
/// with scales from a grid of their own. The scale of a group and an output is r^2 * unit with r from 1 to 16 by the
/// largest magnitude, the unit a half for the whole group, found among 97 from 0.7 to 1.2 times the plain one by the
/// least sum of |error|^3.5. Scales and values are rounded to half as the layout's kernels do.
struct AdaptiveGptq {
  std::span<const BitShare> shares{};  ///< none: all channels have 4 bits in groups of 32
  Damping damping{.fraction = 0.12, .retries = 10, .retry_fraction = 0.12};
  double floor = 1e-5;                     ///< the least damping for each sample of the moment
  std::span<const std::uint32_t> order{};  ///< another order of the channels, each of them once

  /// The codes of weights [out, in] for a layer whose inputs had this moment. Complexity and memory as Gptq's, and 97
  /// roundings of each weight. The result does not depend on the executor. Reports its progress. Errors: shapes that
  /// differ, weights that are not finite or too large for scales in half precision, no samples, a moment that is not
  /// positive definite with all the damping allowed, shares that are no bits or do not reach all channels,
  /// out_of_memory, cancelled.
  template <class Real>
  Result<AdaptiveGptqResult> operator()(MatrixView<const float> weights, const SecondMoment<Real>& moment,
                                        const Options& options = {}) const;

 private:
  static constexpr BitShare four_bits{};

  [[nodiscard]] std::span<const BitShare> all_shares() const noexcept {
    return shares.empty() ? std::span<const BitShare>(&four_bits, 1) : shares;
  }
  /// Groups of each share of so many channels.
  Result<Array<std::size_t>> count_groups(std::size_t channels, std::pmr::memory_resource* memory) const;
  /// The result before anything is known of it.
  Result<AdaptiveGptqResult> allocate(Shape shape, const Array<std::size_t>& counts,
                                      std::pmr::memory_resource* memory) const;
  template <class Steps>
  static Result<void> quantize_group(std::size_t g, int bits, detail::Span columns,
                                     const detail::ColumnSequence& sequence, Steps& steps,
                                     detail::AdaptiveScales& scales, AdaptiveGptqResult& result);
};

inline Result<Array<std::size_t>> AdaptiveGptq::count_groups(std::size_t channels,
                                                             std::pmr::memory_resource* memory) const {
  auto counts = Array<std::size_t>::create(all_shares().size(), memory);
  if (!counts) return counts;
  std::size_t rest = channels;
  for (std::size_t i = 0; i < counts->size(); ++i) {
    const BitShare& share = all_shares()[i];
    const bool known = (share.bits >= 2 && share.bits <= 6) || share.bits == 8;
    if (!known || share.group == 0 || !(share.share > 0.0 && share.share <= 1.0))
      return Error{ErrorCode::invalid_argument,
                   "pare: share " + std::to_string(i) + " needs 2 to 6 or 8 bits, a group and 0 < share <= 1"};
    const double wanted = std::min(static_cast<double>(channels) * share.share, static_cast<double>(rest));
    (*counts)[i] = static_cast<std::size_t>(std::ceil(wanted / static_cast<double>(share.group)));
    rest -= std::min(rest, (*counts)[i] * share.group);
  }
  if (rest == 0) return counts;
  return Error{ErrorCode::invalid_argument,
               "pare: the shares leave " + std::to_string(rest) + " channels without bits; they should add up to 1"};
}

inline Result<AdaptiveGptqResult> AdaptiveGptq::allocate(Shape shape, const Array<std::size_t>& counts,
                                                         std::pmr::memory_resource* memory) const {
  std::size_t groups = 0;
  int most_bits = 2;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    groups += counts[i];
    most_bits = std::max(most_bits, all_shares()[i].bits);
  }
  auto matrix = CodedMatrix::allocate_groups(shape, unsigned_format(most_bits), groups, ShiftKind::zero_point, memory);
  if (!matrix) return std::move(matrix).error();
  matrix->scale_type = ScaleType::float16;
  auto places = Array<std::uint32_t>::create(shape.cols, memory);
  if (!places) return std::move(places).error();
  auto bits = Array<std::uint8_t>::create(groups, memory);
  if (!bits) return std::move(bits).error();
  auto maxima = Array<float>::create(groups, memory);
  if (!maxima) return std::move(maxima).error();
  return AdaptiveGptqResult{*std::move(matrix), *std::move(places), *std::move(bits), *std::move(maxima)};
}

template <class Real>
Result<AdaptiveGptqResult> AdaptiveGptq::operator()(MatrixView<const float> weights, const SecondMoment<Real>& moment,
                                                    const Options& options) const {
  const auto counts = count_groups(weights.cols, options.memory);
  if (!counts) return counts.error();
  auto result = allocate(weights.shape(), *counts, options.memory);
  if (!result || weights.empty()) return result;
  const auto sequence = detail::ColumnSequence::create(order, true, moment, options.memory);
  if (!sequence) return sequence.error();
  Damping least = damping;
  least.floor = std::max(least.floor, floor * static_cast<double>(moment.samples()));
  auto feedback =
      detail::ErrorFeedback::create(weights, moment, least, sequence->columns(), detail::SilentChannels::kept, options);
  if (!feedback) return std::move(feedback).error();
  result->damping = feedback->damping();
  std::size_t widest = 1;
  for (const BitShare& share : all_shares()) widest = std::max(widest, std::min(share.group, weights.cols));
  auto steps = detail::FeedbackSteps::create(*feedback, widest, 1, options);
  if (!steps) return std::move(steps).error();
  auto scales = detail::AdaptiveScales::create(weights.rows, options);
  if (!scales) return std::move(scales).error();

  const ProgressPart progress(options.progress, detail::factoring_share(weights.shape()), 1.0);
  ProgressMeter meter(progress, weights.cols);
  detail::Span columns;
  std::size_t g = 0;
  for (std::size_t i = 0; i < counts->size(); ++i)
    for (std::size_t n = 0; n < (*counts)[i]; ++n, ++g) {
      const BitShare& share = all_shares()[i];
      columns = {columns.end, columns.end + std::min(share.group, weights.cols - columns.end)};
      if (Result<void> ok = quantize_group(g, share.bits, columns, *sequence, *steps, *scales, *result); !ok)
        return std::move(ok).error();
      meter.advance(columns.size());
      if (Result<void> ok = meter.status(); !ok) return std::move(ok).error();
    }
  // 4 bits of each root, a half and 32 bits of each group, a place of each channel.
  result->bits += static_cast<std::uint64_t>(g) * (4 * weights.rows + 16 + 32) + 32 * weights.cols;
  const auto loss = steps->loss();
  if (!loss) return loss.error();
  result->loss = *loss;
  return result;
}

template <class Steps>
Result<void> AdaptiveGptq::quantize_group(std::size_t g, int bits, detail::Span columns,
                                          const detail::ColumnSequence& sequence, Steps& steps,
                                          detail::AdaptiveScales& scales, AdaptiveGptqResult& result) {
  CodedMatrix& matrix = result.matrix;
  const MatrixView<const float> all = steps.weights();
  const detail::AdaptiveRounding rounding(bits);
  const MatrixView<const float> group(all.data + columns.begin, all.rows, columns.size(), all.row_stride, 1);
  const Half maximum = scales.fit(rounding, group);
  if (!is_finite(static_cast<float>(maximum)))
    return Error{ErrorCode::invalid_argument,
                 "pare: the weights of group " + std::to_string(g) + " are too large for scales in half precision"};
  const Half unit(static_cast<float>(maximum) / 256.0f);
  for (std::size_t r = 0; r < all.rows; ++r) {
    matrix.scales()(r, g) = detail::exl2_scale(scales.root(r), unit);
    matrix.shifts()(r, g) = rounding.zero_point();
  }
  steps.quantize(columns, [&](std::size_t) {
    return [&](detail::Span, std::size_t place) {
      const std::size_t column = sequence.column(place);
      return [&, column](std::size_t row, float weight) {
        const float scale = matrix.scales()(row, g);
        const std::uint8_t code = rounding.encode(weight, scale);
        matrix.codes()(row, column) = code;
        return rounding.decode(code, scale);
      };
    };
  });
  for (std::size_t place = columns.begin; place < columns.end; ++place) {
    result.places[sequence.column(place)] = static_cast<std::uint32_t>(place);
    matrix.column_groups()[sequence.column(place)] = static_cast<std::uint32_t>(g);
  }
  result.group_bits[g] = static_cast<std::uint8_t>(bits);
  result.group_maxima[g] = static_cast<float>(maximum);
  result.bits += static_cast<std::uint64_t>(columns.size()) * all.rows * static_cast<std::uint64_t>(bits);
  return {};
}

}  // namespace pare
