#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "pare/quantize/awq.hpp"
#include "pare/quantize/coordinate_descent.hpp"
#include "pare/quantize/rotation_fusing.hpp"
#include "pare/quantize/smooth_quant.hpp"

namespace pare {

/// What a step does within a pipe, in the order in which steps may follow one another.
enum class PipeRole { scaling, rotation, quantizer, refinement };

/// The role of a step; of an algorithm that gives codes unless it is specialized.
template <class Step>
inline constexpr PipeRole pipe_role = PipeRole::quantizer;

/// A pipe's step: rotates the layers' inputs by a Hadamard matrix with random signs (HadamardRotation).
struct RandomizedHadamard {
  std::uint64_t seed = 0;  ///< of the signs
};

/// A pipe's step: rotates the layers' inputs by a matrix of the caller's, who keeps it as long as the result.
template <Rotation Q>
struct RotateBy {
  const Q* rotation;

  explicit RotateBy(const Q& by) noexcept : rotation(&by) {}
};

template <>
inline constexpr PipeRole pipe_role<SmoothQuant> = PipeRole::scaling;
template <>
inline constexpr PipeRole pipe_role<Awq> = PipeRole::scaling;
template <>
inline constexpr PipeRole pipe_role<RandomizedHadamard> = PipeRole::rotation;
template <Rotation Q>
inline constexpr PipeRole pipe_role<RotateBy<Q>> = PipeRole::rotation;
template <>
inline constexpr PipeRole pipe_role<CoordinateDescent> = PipeRole::refinement;

/// Inputs divided by scales, which the layers' columns were multiplied by: fold them with divide_outputs.
struct ScaledInputs {
  Array<float> scales;

  Result<void> change_inputs(MatrixView<float> tokens, const Options& = {}) const {
    if (Result<void> ok = detail::check_layer({tokens}, "the matrix of inputs"); !ok) return ok;
    if (tokens.cols != scales.size())
      return detail::shape_error("the matrix of inputs", tokens.shape(), {tokens.rows, scales.size()});
    for (std::size_t t = 0; t < tokens.rows; ++t)
      for (std::size_t c = 0; c < tokens.cols; ++c) tokens(t, c) /= scales[c];
    return {};
  }
  Result<void> change_weights(MatrixView<float> weights, const Options&) const {
    return scale_inputs(weights, scales.values());
  }
  template <class Real>
  Result<void> change_moment(Matrix<Real>& sum, std::pmr::memory_resource*) const {
    for (std::size_t r = 0; r < sum.rows(); ++r)
      for (std::size_t c = 0; c < sum.cols(); ++c)
        sum(r, c) /= static_cast<Real>(scales[r]) * static_cast<Real>(scales[c]);
    return {};
  }
};

/// Inputs rotated: fold the rotation with rotate_outputs. `Q` is a Rotation or a pointer to one.
template <class Q>
struct RotatedInputs {
  Q held;

  [[nodiscard]] const auto& rotation() const noexcept {
    if constexpr (std::is_pointer_v<Q>)
      return *held;
    else
      return held;
  }
  Result<void> change_inputs(MatrixView<float> tokens, const Options& options = {}) const {
    return rotate_rows(rotation(), tokens, RotationSide::forward, options);
  }
  Result<void> change_weights(MatrixView<float> weights, const Options& options) const {
    return rotate_inputs(rotation(), weights, options);
  }
  /// The sum of x x^T becomes that of (x Q)^T (x Q).
  template <class Real>
  Result<void> change_moment(Matrix<Real>& sum, std::pmr::memory_resource* memory) const {
    const std::size_t n = sum.rows(), part = rotation().size();
    if (part == 0 || n % part != 0)
      return Error{ErrorCode::invalid_argument, "pare: inputs of " + std::to_string(n) +
                                                    " channels cannot be rotated by a matrix of " +
                                                    std::to_string(part)};
    auto row = Array<double>::create(2 * part, memory);
    if (!row) return std::move(row).error();
    for (const bool transposed : {false, true})
      for (std::size_t r = 0; r < n; ++r)
        for (std::size_t begin = 0; begin < n; begin += part) {
          const auto at = [&](std::size_t i) -> Real& { return transposed ? sum(begin + i, r) : sum(r, begin + i); };
          for (std::size_t i = 0; i < part; ++i) (*row)[i] = static_cast<double>(at(i));
          rotation().forward(row->data(), row->data() + part);
          for (std::size_t i = 0; i < part; ++i) at(i) = static_cast<Real>((*row)[i]);
        }
    // Rounding has made the two triangles differ a little.
    for (std::size_t r = 0; r < n; ++r)
      for (std::size_t c = 0; c < r; ++c) sum(c, r) = sum(r, c);
    return {};
  }
};

namespace detail {

/// Layers and what is known of the inputs that they share, on their way through a pipe.
template <class Real>
class PipedLayers {
 public:
  /// `channels` may be null. Copies only what is to change. Errors: no layer, shapes that differ, out_of_memory.
  static Result<PipedLayers> create(SharedInput layers, const SecondMoment<Real>& moment,
                                    const ChannelStatistics* channels, bool changes, const Options& options) {
    if (Result<void> ok = check_linears(layers, moment.channels()); !ok) return std::move(ok).error();
    PipedLayers piped;
    piped.views_.assign(layers.begin(), layers.end());
    piped.moment_ = &moment;
    if (channels != nullptr) {
      const std::size_t count = channels->channels().size();
      if (count != moment.channels()) return shape_error("the channel statistics", {1, count}, {1, moment.channels()});
      for (Array<float>* values : {&piped.largest_, &piped.mean_}) {
        auto made = Array<float>::create(count, options.memory);
        if (!made) return std::move(made).error();
        *values = *std::move(made);
      }
      for (std::size_t c = 0; c < count; ++c) {
        piped.largest_[c] = channels->largest_magnitude(c);
        piped.mean_[c] = channels->mean_magnitude(c);
      }
    }
    if (!changes) return piped;
    for (MatrixView<const float>& weights : piped.views_) {
      auto copy = Matrix<float>::copy(weights, options.memory);
      if (!copy) return std::move(copy).error();
      piped.copies_.push_back(*std::move(copy));
      weights = std::as_const(piped.copies_.back()).view();
    }
    return piped;
  }

  [[nodiscard]] std::size_t count() const noexcept { return views_.size(); }
  [[nodiscard]] SharedInput weights() const noexcept { return views_; }
  [[nodiscard]] MatrixView<const float> weight(std::size_t i) const noexcept { return views_[i]; }
  [[nodiscard]] const SecondMoment<Real>& moment() const noexcept { return changed_ ? *changed_ : *moment_; }
  [[nodiscard]] std::span<const float> largest_magnitudes() const noexcept { return largest_.values(); }
  [[nodiscard]] std::span<const float> mean_magnitudes() const noexcept { return mean_.values(); }

  /// Changes weights and statistics as the inputs change.
  template <class Change>
  Result<void> apply(const Change& change, const Options& options) {
    for (Matrix<float>& copy : copies_)
      if (Result<void> ok = change.change_weights(copy, options); !ok) return ok;
    auto sum = Matrix<Real>::copy(moment().sum(), options.memory);
    if (!sum) return std::move(sum).error();
    if (Result<void> ok = change.change_moment(*sum, options.memory); !ok) return ok;
    auto changed = SecondMoment<Real>::restore(moment().channels(), moment().samples(), moment().tokens(),
                                               sum->values(), options.memory);
    if (!changed) return std::move(changed).error();
    changed_ = *std::move(changed);
    if constexpr (requires { change.scales; })
      for (std::size_t c = 0; c < largest_.size(); ++c) {
        largest_[c] /= change.scales[c];
        mean_[c] /= change.scales[c];
      }
    return {};
  }

 private:
  std::vector<MatrixView<const float>> views_;
  std::vector<Matrix<float>> copies_;
  const SecondMoment<Real>* moment_ = nullptr;
  std::optional<SecondMoment<Real>> changed_;
  Array<float> largest_, mean_;
};

inline Result<ScaledInputs> scaled(Result<Array<float>> scales) {
  if (!scales) return std::move(scales).error();
  return ScaledInputs{*std::move(scales)};
}

template <Grid G, class Real>
Result<ScaledInputs> make_change(const SmoothQuant& step, const G&, const PipedLayers<Real>& layers,
                                 const Options& options) {
  return scaled(step(layers.weights(), layers.largest_magnitudes(), options));
}

template <Grid G, class Real>
Result<ScaledInputs> make_change(const Awq& step, const G& grid, const PipedLayers<Real>& layers,
                                 const Options& options) {
  auto found = step.search(grid, layers.weights(), layers.mean_magnitudes(), layers.moment(),
                           Options{options.executor, options.memory});
  if (!found) return std::move(found).error();
  return ScaledInputs{std::move(found->scales)};
}

template <Grid G, class Real>
Result<RotatedInputs<HadamardRotation>> make_change(const RandomizedHadamard& step, const G&,
                                                    const PipedLayers<Real>& layers, const Options& options) {
  auto rotation = HadamardRotation::random(layers.moment().channels(), step.seed, options.memory);
  if (!rotation) return std::move(rotation).error();
  return RotatedInputs<HadamardRotation>{*std::move(rotation)};
}

template <Rotation Q, Grid G, class Real>
Result<RotatedInputs<const Q*>> make_change(const RotateBy<Q>& step, const G&, const PipedLayers<Real>&,
                                            const Options&) {
  return RotatedInputs<const Q*>{step.rotation};
}

/// The codes that an algorithm gives, whether it asks for the moment or not.
template <class Quantizer, Grid G, class Real>
Result<CodedMatrix> codes_of(const Quantizer& quantizer, const G& grid, MatrixView<const float> weights,
                             const SecondMoment<Real>& moment, const Options& options) {
  if constexpr (requires { quantizer(grid, weights, moment, options); }) {
    auto result = quantizer(grid, weights, moment, options);
    if (!result) return std::move(result).error();
    if constexpr (std::same_as<typename decltype(result)::value_type, CodedMatrix>)
      return result;
    else
      return std::move(result->matrix);
  } else {
    static_assert(
        requires { quantizer(grid, weights, options); },
        "pare: a step of this pipe is called neither with (grid, weights, moment, options) nor with (grid, "
        "weights, options): it is none that gives codes");
    return quantizer(grid, weights, options);
  }
}

}  // namespace detail
}  // namespace pare
