#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pare/quantize/error_feedback.hpp"

namespace pare::detail {

/// How one of EXL2's groups, of so many bits, rounds the weights of an output.
class AdaptiveRounding {
 public:
  explicit AdaptiveRounding(int bits) : half_range_(static_cast<float>(1 << (bits - 1))) {}

  /// The scale that an output's weights alone would have.
  [[nodiscard]] float plain(std::span<const float> weights) const {
    float largest = 0.0f;
    for (const float w : weights) largest = std::max(largest, std::fabs(w));
    return largest / (half_range_ - 0.5f) + 1e-12f;
  }
  /// The sum of |error|^3.5 of an output's weights.
  template <class Real>
  [[nodiscard]] double error(std::span<const Real> weights, Real scale) const {
    using Values = Eigen::Array<Real, Eigen::Dynamic, 1>;
    const Eigen::Map<const Values> w(weights.data(), static_cast<Eigen::Index>(weights.size()));
    const auto half_range = static_cast<Real>(half_range_);
    const auto rounded = (w / scale).rint().max(-half_range).min(half_range - Real{1});
    const auto difference = (rounded * scale - w).abs();
    return static_cast<double>((difference.cube() * difference.sqrt()).sum());
  }
  /// The code of a weight, counted from zero.
  [[nodiscard]] std::uint8_t encode(float weight, float scale) const {
    const float code = scale > 0.0f ? std::nearbyint(weight / scale) : 0.0f;
    return static_cast<std::uint8_t>(std::clamp(code, -half_range_, half_range_ - 1.0f) + half_range_);
  }
  [[nodiscard]] float decode(std::uint8_t code, float scale) const {
    return static_cast<float>(Half((static_cast<float>(code) - half_range_) * scale));
  }
  [[nodiscard]] float zero_point() const noexcept { return half_range_; }

 private:
  float half_range_;
};

/// The search for the scales of EXL2's groups, one group after another, with the memory that it needs.
class AdaptiveScales {
 public:
  static Result<AdaptiveScales> create(std::size_t rows, const Options& options) {
    AdaptiveScales scales(feedback_rows({rows, 1}, 1), options.executor);
    auto plain = Array<float>::create(rows, options.memory);
    if (!plain) return std::move(plain).error();
    auto sums = Matrix<double>::create({ceil_div(rows, scales.height_), candidates}, options.memory);
    if (!sums) return std::move(sums).error();
    scales.plain_ = *std::move(plain);
    scales.sums_ = *std::move(sums);
    return scales;
  }

  /// Finds the scales for the weights [rows, columns of the group]; returns the largest, which may be infinite.
  template <class Real>
  Half fit(const AdaptiveRounding& rounding, MatrixView<const Real> weights) {
    const auto row = [&](std::size_t r) { return std::span<const Real>(weights.row(r), weights.cols); };
    each_row([&](std::size_t, std::size_t r) { plain_[r] = rounding.plain(row(r)); });
    most_ = *std::max_element(plain_.begin(), plain_.end());
    for (double& sum : sums_.values()) sum = 0.0;
    each_row([&](std::size_t task, std::size_t r) {
      const float part = static_cast<float>(root(r)) / 16.0f, scale = part * part * most_;
      for (std::size_t k = 0; k < candidates; ++k) sums_(task, k) += rounding.error(row(r), candidate(k) * scale);
    });
    std::size_t best = 0;
    for (std::size_t k = 0; k < candidates; ++k) {
      for (std::size_t task = 1; task < sums_.rows(); ++task) sums_(0, k) += sums_(task, k);
      if (sums_(0, k) < sums_(0, best)) best = k;
    }
    return Half(most_ * candidate(best));
  }
  /// The root of a row's scale, 1 to 16, in the group that was fitted last.
  [[nodiscard]] int root(std::size_t row) const {
    return static_cast<int>(std::clamp(std::nearbyint(std::sqrt(plain_[row] / most_) * 16.0f), 1.0f, 16.0f));
  }

 private:
  static constexpr std::size_t candidates = 97;

  AdaptiveScales(std::size_t height, const Executor& executor) : height_(height), executor_(executor) {}

  [[nodiscard]] static float candidate(std::size_t i) noexcept {
    return static_cast<float>(0.7 + 0.5 * static_cast<double>(i) / static_cast<double>(candidates - 1));
  }
  template <class Work>
  void each_row(Work&& work) {
    executor_(sums_.rows(), [&](std::size_t task) {
      for (std::size_t r = task * height_; r < std::min(plain_.size(), (task + 1) * height_); ++r) work(task, r);
    });
  }

  std::size_t height_;
  Executor executor_;
  float most_ = 0.0f;
  Array<float> plain_;   ///< what the scale of each row alone would be
  Matrix<double> sums_;  ///< of each task, the errors of each candidate
};

}  // namespace pare::detail
