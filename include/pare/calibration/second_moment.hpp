#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string>
#include <utility>

#include "pare/calibration/eigen_map.hpp"
#include "pare/calibration/finite.hpp"
#include "pare/tensor/tensor.hpp"

namespace pare {

/// The sum of x x^T over the inputs x of a layer, gathered one sample (a sequence, an image) at a time: what GPTQ,
/// SparseGPT, OBC, AQLM and EXL2 call the Hessian, before each scales it its own way. [channels, channels], in `Real`
/// (double, or float for half of the memory). A sum of parts is `merge`d.
template <class Real = double>
class SecondMoment {
 public:
  /// The moment of no input yet.
  static Result<SecondMoment> create(std::size_t channels, std::pmr::memory_resource* memory = nullptr) {
    auto sum = Matrix<Real>::create({channels, channels}, memory);
    if (!sum) return std::move(sum).error();
    return SecondMoment(*std::move(sum));
  }
  /// A moment that was taken apart by sum(), samples() and tokens(). Errors: a size that is not channels^2, a value
  /// that is not finite.
  static Result<SecondMoment> restore(std::size_t channels, std::uint64_t samples, std::uint64_t tokens,
                                      std::span<const Real> sum, std::pmr::memory_resource* memory = nullptr) {
    std::size_t count = 0;
    if (!checked_multiply(channels, channels, count) || sum.size() != count)
      return Error{ErrorCode::invalid_argument, "pare: a second moment of " + std::to_string(channels) +
                                                    " channels has as many squared values, not " +
                                                    std::to_string(sum.size())};
    for (const Real value : sum)
      if (!(value - value == Real{0}))
        return Error{ErrorCode::invalid_argument, "pare: a second moment holds a value that is not finite"};
    Result<SecondMoment> moment = create(channels, memory);
    if (!moment) return moment;
    std::copy(sum.begin(), sum.end(), moment->sum_.values().begin());
    moment->samples_ = samples;
    moment->tokens_ = tokens;
    return moment;
  }

  /// Adds the tokens [tokens, channels] of one sample. The result does not depend on the executor. Errors: another
  /// number of channels, an activation that is not finite (nothing is added then), out_of_memory.
  Result<void> add(MatrixView<const float> tokens, const Options& options = {}) {
    if (tokens.cols != channels())
      return detail::shape_error("the activations", tokens.shape(), {tokens.rows, channels()});
    if (Result<void> ok = check_finite(tokens, "the activations"); !ok) return ok;
    auto rows = Matrix<Real>::create({std::min(tokens.rows, block_tokens), channels()}, options.memory);
    if (!rows) return std::move(rows).error();
    for (std::size_t begin = 0; begin < tokens.rows && channels() > 0; begin += block_tokens) {
      const std::size_t count = std::min(block_tokens, tokens.rows - begin);
      for (std::size_t t = 0; t < count; ++t)
        for (std::size_t c = 0; c < channels(); ++c) (*rows)(t, c) = static_cast<Real>(tokens(begin + t, c));
      add_block({rows->values().data(), count, channels()}, options.executor);
    }
    ++samples_;
    tokens_ += tokens.rows;
    return {};
  }

  /// Adds what another one gathered. Error: another number of channels.
  Result<void> merge(const SecondMoment& other) {
    if (other.channels() != channels())
      return detail::shape_error("the other moment", other.sum_.shape(), sum_.shape());
    for (std::size_t i = 0; i < sum_.values().size(); ++i) sum_.values()[i] += other.sum_.values()[i];
    samples_ += other.samples_;
    tokens_ += other.tokens_;
    return {};
  }

  [[nodiscard]] std::size_t channels() const noexcept { return sum_.rows(); }
  [[nodiscard]] std::uint64_t samples() const noexcept { return samples_; }
  [[nodiscard]] std::uint64_t tokens() const noexcept { return tokens_; }
  /// The sum of x x^T, both triangles of it.
  [[nodiscard]] MatrixView<const Real> sum() const noexcept { return sum_.view(); }

 private:
  static constexpr std::size_t block_tokens = 256;

  explicit SecondMoment(Matrix<Real> sum) : sum_(std::move(sum)) {}

  /// Each task computes some rows of the lower triangle and mirrors them; no two write the same element.
  void add_block(MatrixView<const Real> x, const Executor& executor) {
    constexpr std::size_t panel = 128;
    executor(ceil_div(x.cols, panel), [&](std::size_t task) {
      const auto begin = static_cast<Eigen::Index>(task * panel);
      const auto height = std::min<Eigen::Index>(panel, static_cast<Eigen::Index>(x.cols) - begin);
      const auto tokens = as_eigen(x);
      auto sum = as_eigen(sum_.view());
      sum.block(begin, 0, height, begin + height).noalias() +=
          tokens.middleCols(begin, height).transpose() * tokens.leftCols(begin + height);
      sum.block(0, begin, begin, height) = sum.block(begin, 0, height, begin).transpose();
    });
  }

  Matrix<Real> sum_;
  std::uint64_t samples_ = 0;
  std::uint64_t tokens_ = 0;
};

}  // namespace pare
