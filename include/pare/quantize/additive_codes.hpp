#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "pare/calibration/calibration.hpp"
#include "pare/layouts/layouts.hpp"

namespace pare {

namespace detail {

template <class T>
std::span<T> values_in(Buffer& memory) noexcept {
  return {reinterpret_cast<T*>(memory.data()), memory.size() / sizeof(T)};
}

template <class T>
std::span<const T> values_in(const Buffer& memory) noexcept {
  return {reinterpret_cast<const T*>(memory.data()), memory.size() / sizeof(T)};
}

/// Whether a matrix of additive codebooks with groups within rows is whole, and fits the weights and the moment.
template <class Real>
Result<void> check_additive(MatrixView<const float> weights, const SecondMoment<Real>& moment,
                            const AdditiveMatrix& matrix) {
  if (matrix.shape != weights.shape()) return shape_error("the matrix of codebooks", matrix.shape, weights.shape());
  if (moment.channels() != weights.cols || moment.tokens() == 0)
    return Error{ErrorCode::invalid_argument, "pare: additive codebooks need the moment of some inputs, of " +
                                                  std::to_string(weights.cols) + " channels; this one is of " +
                                                  std::to_string(moment.channels()) + ", from " +
                                                  std::to_string(moment.tokens()) + " tokens"};
  if (matrix.group.rows != 1 || matrix.group.cols == 0 || matrix.shape.cols % matrix.group.cols != 0 ||
      matrix.codebooks == 0 || matrix.vectors == 0 || matrix.vectors > 65536)
    return Error{ErrorCode::unsupported,
                 "pare: additive codebooks need groups within rows that divide them, and 1 to 65536 vectors"};
  const std::size_t codes = matrix.grid().rows * matrix.grid().cols * matrix.codebooks;
  if (values_in<std::uint16_t>(matrix.codes_memory).size() != codes ||
      values_in<float>(matrix.values_memory).size() != matrix.codebooks * matrix.vectors * matrix.group.cols ||
      values_in<float>(matrix.scales_memory).size() != matrix.shape.rows)
    return Error{ErrorCode::invalid_argument, "pare: the matrix of codebooks lacks codes, values or scales"};
  for (const std::uint16_t code : values_in<std::uint16_t>(matrix.codes_memory))
    if (code >= matrix.vectors)
      return Error{ErrorCode::invalid_argument, "pare: the matrix has a code " + std::to_string(code) + " of " +
                                                    std::to_string(matrix.vectors) + " vectors"};
  return check_finite(weights, "the weight");
}

/// The versions of all rows that a beam search keeps, best first, and room for it to work.
template <class Real>
class Beams {
 public:
  static Result<Beams> create(MatrixView<const float> weights, const AdditiveMatrix& matrix, std::size_t beam,
                              std::pmr::memory_resource* memory) {
    Beams beams(matrix, beam);
    std::size_t versions = 0;
    if (!checked_multiply(weights.rows, beam, versions))
      return Error{ErrorCode::invalid_argument, "pare: a beam so wide is more than memory can be"};
    const std::size_t codes = matrix.grid().cols * matrix.codebooks;
    const auto room = [&](auto& target, Shape shape) -> Result<void> {
      auto made = std::remove_reference_t<decltype(target)>::create(shape, memory);
      if (!made) return std::move(made).error();
      target = *std::move(made);
      return {};
    };
    for (Result<void> ok :
         {room(beams.errors_, {versions, weights.cols}), room(beams.codes_, {versions, codes}),
          room(beams.losses_, {weights.rows, beam}), room(beams.kept_, {weights.rows, 1}),
          room(beams.products_, {versions, matrix.group.cols}), room(beams.columns_, {weights.cols, matrix.group.cols}),
          room(beams.book_, {matrix.vectors, matrix.group.cols}), room(beams.norms_, {matrix.vectors, 1}),
          room(beams.scores_, {beams.tasks_, matrix.vectors}), room(beams.choices_, {beams.tasks_, beam}),
          room(beams.parent_errors_, {beam == 1 ? 0 : beams.tasks_ * beam, weights.cols}),
          room(beams.parent_codes_, {beam == 1 ? 0 : beams.tasks_ * beam, codes})})
      if (!ok) return std::move(ok).error();
    for (std::size_t r = 0; r < weights.rows; ++r) {
      beams.kept_(r, 0) = 1;
      std::copy_n(values_in<std::uint16_t>(matrix.codes_memory).data() + r * codes, codes,
                  beams.codes_.row(r * beam).data());
      for (std::size_t c = 0; c < weights.cols; ++c)
        beams.errors_(r * beam, c) = static_cast<Real>(weights(r, c)) - static_cast<Real>(matrix.value(r, c));
    }
    return beams;
  }

  /// Tries every vector of a codebook in the place of the one at group `j`.
  void visit(MatrixView<const Real> moment, std::size_t j, std::size_t m, const Executor& executor) {
    const std::size_t width = matrix_->group.cols;
    for (std::size_t c = 0; c < moment.rows; ++c)
      for (std::size_t i = 0; i < width; ++i) columns_(c, i) = moment(c, j * width + i);
    const MatrixView<const Real> square(columns_.row(j * width).data(), width, width);
    for (std::size_t k = 0; k < matrix_->vectors; ++k) {
      norms_(k, 0) = Real{0};
      for (std::size_t i = 0; i < width; ++i) book_(k, i) = static_cast<Real>(matrix_->vector(m, k)(0, i));
      for (std::size_t i = 0; i < width; ++i)
        for (std::size_t l = 0; l < width; ++l) norms_(k, 0) += book_(k, i) * square(i, l) * book_(k, l);
    }
    executor(tasks_, [&](std::size_t task) {
      const std::size_t first = task * rows_each_, last = std::min(matrix_->shape.rows, first + rows_each_);
      if (first >= last) return;
      const std::size_t versions = (last - first) * beam_;
      const MatrixView<const Real> errors(errors_.row(first * beam_).data(), versions, errors_.cols());
      const MatrixView<Real> products(products_.row(first * beam_).data(), versions, width);
      as_eigen(products).noalias() = as_eigen(errors) * as_eigen(std::as_const(columns_).view());
      for (std::size_t r = first; r < last; ++r) choose(task, r, j, j * matrix_->codebooks + m, square);
    });
  }

  /// The best version of each row.
  void write_codes(AdditiveMatrix& matrix) const {
    const auto found = values_in<std::uint16_t>(matrix.codes_memory);
    for (std::size_t r = 0; r < matrix.shape.rows; ++r)
      std::copy_n(codes_.row(r * beam_).data(), codes_.cols(), found.data() + r * codes_.cols());
  }

 private:
  struct Choice {
    Real loss;
    std::size_t parent, code;
  };

  Beams(const AdditiveMatrix& matrix, std::size_t beam)
      : matrix_(&matrix),
        beam_(beam),
        rows_each_(ceil_div(matrix.shape.rows, 64)),
        tasks_(ceil_div(matrix.shape.rows, rows_each_)) {}

  void choose(std::size_t task, std::size_t r, std::size_t j, std::size_t place, MatrixView<const Real> square) {
    const auto scale = static_cast<Real>(matrix_->scale(r));
    const std::span<Choice> choices = choices_.row(task);
    std::size_t count = 0;
    for (std::size_t b = 0; b < kept_(r, 0); ++b) {
      const std::size_t old = codes_(r * beam_ + b, place);
      const std::span<Real> product = products_.row(r * beam_ + b);
      // What is left to explain once the old vector is taken out.
      for (std::size_t i = 0; i < product.size(); ++i)
        for (std::size_t l = 0; l < product.size(); ++l) product[i] += scale * book_(old, l) * square(l, i);
      const MatrixView<Real> scores(scores_.row(task).data(), matrix_->vectors, 1);
      const MatrixView<const Real> column(product.data(), product.size(), 1);
      as_eigen(scores).noalias() = as_eigen(std::as_const(book_).view()) * as_eigen(column);
      const Real base = losses_(r, b) + scale * (2 * scores(old, 0) - scale * norms_(old, 0));
      for (std::size_t k = 0; k < matrix_->vectors; ++k) {
        const Real loss = base - scale * (2 * scores(k, 0) - scale * norms_(k, 0));
        if (count == beam_ && !(loss < choices[count - 1].loss)) continue;
        if (!(loss - loss == Real{0})) continue;
        std::size_t at = count < beam_ ? count++ : count - 1;
        for (; at > 0 && loss < choices[at - 1].loss; --at) choices[at] = choices[at - 1];
        choices[at] = {loss, b, k};
      }
    }
    if (count == 0) return;
    adopt(task, r, j, place, choices.first(count));
  }

  template <class T>
  static void copy_row(const Matrix<T>& from, std::size_t r, Matrix<T>& to, std::size_t s) {
    std::copy_n(from.row(r).data(), from.cols(), to.row(s).data());
  }

  void adopt(std::size_t task, std::size_t r, std::size_t j, std::size_t place, std::span<const Choice> choices) {
    const auto scale = static_cast<Real>(matrix_->scale(r));
    for (std::size_t b = 0; beam_ > 1 && b < kept_(r, 0); ++b) {
      copy_row(errors_, r * beam_ + b, parent_errors_, task * beam_ + b);
      copy_row(codes_, r * beam_ + b, parent_codes_, task * beam_ + b);
    }
    for (std::size_t b = 0; b < choices.size(); ++b) {
      const auto& [loss, parent, code] = choices[b];
      const std::span<Real> error = errors_.row(r * beam_ + b);
      if (beam_ > 1) {
        copy_row(parent_errors_, task * beam_ + parent, errors_, r * beam_ + b);
        copy_row(parent_codes_, task * beam_ + parent, codes_, r * beam_ + b);
      }
      std::uint16_t& old = codes_(r * beam_ + b, place);
      for (std::size_t i = 0; i < book_.cols(); ++i)
        error[j * book_.cols() + i] += scale * (book_(old, i) - book_(code, i));
      old = static_cast<std::uint16_t>(code);
      losses_(r, b) = loss;
    }
    kept_(r, 0) = choices.size();
  }

  const AdditiveMatrix* matrix_;
  std::size_t beam_, rows_each_, tasks_;
  Matrix<Real> errors_, losses_, products_, columns_, book_, norms_, scores_, parent_errors_;
  Matrix<std::uint16_t> codes_, parent_codes_;
  Matrix<std::size_t> kept_;
  Matrix<Choice> choices_;
};

}  // namespace detail

/// AQLM's search for codes (Egiazarian et al., 2024): group after group and codebook after codebook, every vector of
/// the codebook is tried in the place of the one there, and the best few rows so far go on to the next place. Codebooks
/// and scales stay. The error never grows.
struct AdditiveBeamSearch {
  std::size_t beam = 1;  ///< versions of a row that are kept, at least 1

  /// Replaces the codes of `matrix` for weights [out, in] of a layer whose inputs had this moment. O(out * in * (in +
  /// codebooks * vectors) * beam); `beam` copies of the weights as scratch, of `Real` each. The result does not depend
  /// on the executor. Errors: shapes that differ, groups of several rows, no inputs, weights that are not finite, a
  /// beam of 0, out_of_memory; the matrix is as it was then.
  template <class Real>
  Result<void> operator()(MatrixView<const float> weights, const SecondMoment<Real>& moment, AdditiveMatrix& matrix,
                          const Options& options = {}) const {
    if (Result<void> ok = detail::check_additive(weights, moment, matrix); !ok) return ok;
    if (beam == 0) return Error{ErrorCode::invalid_argument, "pare: a beam keeps at least one version of a row"};
    if (weights.empty()) return {};
    auto beams = detail::Beams<Real>::create(weights, matrix, beam, options.memory);
    if (!beams) return std::move(beams).error();
    for (std::size_t j = 0; j < matrix.grid().cols; ++j)
      for (std::size_t m = 0; m < matrix.codebooks; ++m) beams->visit(moment.sum(), j, m, options.executor);
    beams->write_codes(matrix);
    return {};
  }
};

}  // namespace pare
