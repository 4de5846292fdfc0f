#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <utility>

#include "pare/prune/selection.hpp"
#include "pare/prune/structure.hpp"

namespace pare {

/// The variant of Wanda in which each row loses what little matters to it: of a row's saliencies in ascending order the
/// longest run goes whose sum is at most the share alpha of the row's, and all that tie with its last. Alpha, one for
/// the layer, is bisected in [0, 0.8] until the layer's sparsity is within `tolerance` of the one asked for, or alpha
/// is known to 0.001. Saliencies must not be negative; one that is not finite is left out of the sums and never goes.
/// Eight bytes of scratch for each element. Error: a sparsity or a tolerance that is NaN or outside [0, 1].
struct AdaptiveRows {
  double sparsity = 0.5;
  double tolerance = 0.001;

  template <class Scores>
  Result<void> select(const Scores& scores, Mask& mask, const PruneOptions& options) const {
    for (const double option : {sparsity, tolerance})
      if (!(option >= 0 && option <= 1))
        return Error{ErrorCode::invalid_argument,
                     "pare: the sparsity and its tolerance must lie in [0, 1], one is " + std::to_string(option)};
    const Shape shape = mask.shape();
    if (shape.rows == 0 || shape.cols == 0) return {};
    auto sorted = Matrix<double>::create(shape, options.memory);
    if (!sorted) return std::move(sorted).error();
    auto rows = Array<Row>::create(shape.rows, options.memory);
    if (!rows) return std::move(rows).error();
    options.executor(shape.rows, [&](std::size_t r) {
      const std::span<double> row = sorted->row(r);
      for (std::size_t c = 0; c < shape.cols; ++c) {
        const double score = scores(r, c);
        row[c] = std::isfinite(score) ? score : std::numeric_limits<double>::infinity();
      }
      std::sort(row.begin(), row.end());
      const auto finite =
          std::lower_bound(row.begin(), row.end(), std::numeric_limits<double>::infinity()) - row.begin();
      const std::span<double> summed = row.first(static_cast<std::size_t>(finite));
      (*rows)[r].finite = summed.size();
      (*rows)[r].sum = std::accumulate(summed.begin(), summed.end(), 0.0);
    });

    double alpha = 0.4, low = 0.0, high = 0.8;
    double reached = cut(*sorted, alpha, *rows, options);
    while (std::fabs(reached - sparsity) > tolerance && high - low >= 0.001) {
      (reached > sparsity ? high : low) = alpha;
      alpha = (low + high) / 2;
      reached = cut(*sorted, alpha, *rows, options);
    }
    options.executor(shape.rows, [&](std::size_t r) {
      for (std::size_t c = 0; c < shape.cols; ++c)
        if ((*rows)[r].pruned > 0 && scores(r, c) <= (*rows)[r].threshold) mask.set(r, c, false);
    });
    return {};
  }

 private:
  struct Row {
    std::size_t finite = 0;  ///< how many scores are
    double sum = 0.0;        ///< of these
    double threshold = 0.0;  ///< what is not above it goes, if anything is to
    std::size_t pruned = 0;
  };

  /// Sets the threshold of each row for an alpha; the sparsity that comes of it.
  static double cut(const Matrix<double>& sorted, double alpha, Array<Row>& rows, const PruneOptions& options) {
    options.executor(sorted.rows(), [&](std::size_t r) {
      Row& row = rows[r];
      const std::span<const double> scores = sorted.row(r).first(row.finite);
      const double most = row.sum * alpha;
      std::size_t count = 0;
      for (double sum = 0.0; count < scores.size(); ++count) {
        sum += scores[count];
        if (sum > most) break;
      }
      row.threshold = count > 0 ? scores[count - 1] : 0.0;
      while (count > 0 && count < scores.size() && scores[count] == row.threshold) ++count;
      row.pruned = count;
    });
    std::size_t pruned = 0;
    for (const Row& row : rows) pruned += row.pruned;
    return static_cast<double>(pruned) / (static_cast<double>(sorted.rows()) * static_cast<double>(sorted.cols()));
  }
};

static_assert(Structure<AdaptiveRows>);

}  // namespace pare
