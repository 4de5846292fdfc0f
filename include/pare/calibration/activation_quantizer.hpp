#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "pare/calibration/value_range.hpp"

namespace pare {

/// The scale and zero point that some activations share: value = scale * (code - zero point).
struct ActivationGrid {
  float scale = 1.0f;
  float zero_point = 0.0f;
};

/// Rounds activations to integers, over a range that is known before (static) or found in them (dynamic). Symmetric:
/// codes -2^(bits - 1) to 2^(bits - 1) - 1, scale = magnitude / (2^(bits - 1) - 1), as SmoothQuant and QuaRot do.
/// Asymmetric: codes 0 to 2^bits - 1 over a range that holds zero, the zero point rounded.
struct ActivationQuantizer {
  int bits = 8;  ///< 2 to 16
  bool symmetric = true;
  RangeScope scope = RangeScope::token;
  float clip = 1.0f;              ///< the share of the range that is kept; what is beyond saturates
  float least_magnitude = 1e-5f;  ///< the least width of a range, so that zeros have a scale

  /// The grid over a range.
  [[nodiscard]] ActivationGrid grid(const ValueRange& range) const noexcept {
    if (symmetric) return {std::max(clip * range.magnitude(), least_magnitude) / (half() - 1.0f), 0.0f};
    const float low = range.empty() ? 0.0f : clip * std::min(range.lowest, 0.0f);
    const float high = range.empty() ? 0.0f : clip * std::max(range.highest, 0.0f);
    const float scale = std::max(high - low, least_magnitude) / (2.0f * half() - 1.0f);
    return {scale, std::nearbyint(-low / scale)};
  }
  /// The integer that stands for x.
  [[nodiscard]] float code(float x, const ActivationGrid& grid) const noexcept {
    const float rounded = std::nearbyint(x / grid.scale) + grid.zero_point;
    return symmetric ? std::clamp(rounded, -half(), half() - 1.0f) : std::clamp(rounded, 0.0f, 2.0f * half() - 1.0f);
  }
  /// x after rounding.
  [[nodiscard]] float round(float x, const ActivationGrid& grid) const noexcept {
    return (code(x, grid) - grid.zero_point) * grid.scale;
  }

  /// The grids of ranges found before, by value_ranges, SampleRanges or ChannelStatistics: static quantization.
  /// Errors: bits out of range, a clip or width that is not a positive number, out_of_memory.
  Result<Array<ActivationGrid>> grids(std::span<const ValueRange> ranges,
                                      std::pmr::memory_resource* memory = nullptr) const {
    if (Result<void> ok = check(); !ok) return std::move(ok).error();
    auto grids = Array<ActivationGrid>::create(ranges.size(), memory);
    for (std::size_t i = 0; grids && i < ranges.size(); ++i) (*grids)[i] = grid(ranges[i]);
    return grids;
  }

  /// Rounds a matrix [tokens, channels] over given grids: one, or one for each column or row as `scope` says. `out` may
  /// be the matrix itself. Errors: a value that is not finite, another shape, another number of grids, a scale that is
  /// not positive, bits out of range.
  Result<void> operator()(MatrixView<const float> activations, std::span<const ActivationGrid> grids,
                          MatrixView<float> out, const Options& options = {}) const {
    if (Result<void> ok = check(); !ok) return ok;
    if (Result<void> ok = check_finite(activations, "the activations"); !ok) return ok;
    if (Result<void> ok = detail::check_output(out, "the result"); !ok) return ok;
    if (out.shape() != activations.shape()) return detail::shape_error("the result", out.shape(), activations.shape());
    const std::size_t needed = scope == RangeScope::tensor    ? 1
                               : scope == RangeScope::channel ? activations.cols
                                                              : activations.rows;
    if (grids.size() != needed)
      return Error{ErrorCode::invalid_argument, "pare: there are " + std::to_string(grids.size()) +
                                                    " ranges of activations where " + std::to_string(needed) +
                                                    " are needed"};
    for (const ActivationGrid& grid : grids)
      if (!(grid.scale > 0.0f && is_finite(grid.scale) && is_finite(grid.zero_point)))
        return Error{ErrorCode::invalid_argument, "pare: a scale of activations is not a finite positive number"};
    const detail::RowTasks tasks(activations.shape(), 1);
    options.executor(tasks.count, [&](std::size_t task) {
      const std::size_t last = std::min(activations.rows, (task + 1) * tasks.rows_per_task);
      for (std::size_t t = task * tasks.rows_per_task; t < last; ++t)
        for (std::size_t c = 0; c < activations.cols; ++c) {
          const std::size_t i = scope == RangeScope::tensor ? 0 : scope == RangeScope::channel ? c : t;
          out(t, c) = round(activations(t, c), grids[i]);
        }
    });
    return {};
  }

  /// Rounds a matrix over the ranges found in it: dynamic quantization. Errors as above.
  Result<void> operator()(MatrixView<const float> activations, MatrixView<float> out,
                          const Options& options = {}) const {
    const auto ranges = value_ranges(activations, scope, 0.0, options);
    if (!ranges) return ranges.error();
    const auto found = grids(ranges->values(), options.memory);
    if (!found) return found.error();
    return (*this)(activations, found->values(), out, options);
  }

 private:
  [[nodiscard]] Result<void> check() const {
    if (bits < 2 || bits > 16 || !(clip > 0.0f && is_finite(clip)) ||
        !(least_magnitude > 0.0f && is_finite(least_magnitude)))
      return Error{ErrorCode::invalid_argument,
                   "pare: activations have 2 to 16 bits, a positive share to keep and a positive least magnitude"};
    return {};
  }
  [[nodiscard]] float half() const noexcept { return static_cast<float>(1 << (bits - 1)); }
};

}  // namespace pare
