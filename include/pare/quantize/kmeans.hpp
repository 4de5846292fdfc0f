#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <string>
#include <utility>

#include "pare/calibration/calibration.hpp"

namespace pare {

/// Points, each with the centre that it is nearest to.
struct Clusters {
  Matrix<float> centers;             ///< [clusters, dimensions]
  Array<std::uint32_t> assignments;  ///< the centre of each point
  int iterations = 0;                ///< in which centres were moved
};

/// Lloyd's algorithm: points go to the nearest centre (the first of equals), and centres to the mean of their points
/// (one without points stays), until that changes nothing.
struct KMeans {
  int iterations = 1000;   ///< at most
  int check_every = 10;    ///< iterations after which the centres are compared with those before, from the first on
  double relative = 1e-6;  ///< the change of a coordinate, as a part of it, that counts as none
  double absolute = 1e-8;  ///< the change that does, besides

  /// The clusters of `points` [points, dimensions] that grow from `centers`; distances are computed in `Real`.
  /// O(iterations * points * clusters * dimensions); a copy of the points and up to 64 MiB of distances as scratch. The
  /// result does not depend on the executor. Errors: no centres, dimensions that differ, values that are not finite,
  /// options out of range, out_of_memory.
  template <class Real = float>
  Result<Clusters> operator()(MatrixView<const float> points, MatrixView<const float> centers,
                              const Options& options = {}) const {
    if (centers.cols != points.cols)
      return detail::shape_error("the matrix of centres", centers.shape(), {centers.rows, points.cols});
    if (centers.rows == 0 || centers.rows > std::numeric_limits<std::uint32_t>::max() || iterations < 0 ||
        check_every < 1)
      return Error{ErrorCode::invalid_argument, "pare: k-means needs centres to begin with and iterations to check"};
    if (Result<void> ok = check_finite(points, "the point"); !ok) return std::move(ok).error();
    if (Result<void> ok = check_finite(centers, "the centre"); !ok) return std::move(ok).error();
    auto dense = Matrix<Real>::copy(points, options.memory);
    if (!dense) return std::move(dense).error();
    auto start = Matrix<float>::copy(centers, options.memory);
    if (!start) return std::move(start).error();
    auto assignments = Array<std::uint32_t>::create(points.rows, options.memory);
    if (!assignments) return std::move(assignments).error();
    auto sums = Matrix<double>::create(centers.shape(), options.memory);
    if (!sums) return std::move(sums).error();
    auto counts = Array<std::size_t>::create(centers.rows, options.memory);
    if (!counts) return std::move(counts).error();
    Clusters result{*std::move(start), *std::move(assignments)};
    for (int i = 0; i < iterations; ++i) {
      if (Result<void> ok = assign(*dense, result, options); !ok) return std::move(ok).error();
      const bool still = move_centers(*dense, result, *sums, *counts);
      ++result.iterations;
      if (still && i % check_every == 0) break;
    }
    if (Result<void> ok = assign(*dense, result, options); !ok) return std::move(ok).error();
    return result;
  }

 private:
  template <class Real>
  static Result<void> assign(const Matrix<Real>& points, Clusters& clusters, const Options& options) {
    auto centers = Matrix<Real>::copy(std::as_const(clusters.centers).view(), options.memory);
    if (!centers) return std::move(centers).error();
    const std::size_t panel = std::clamp<std::size_t>((std::size_t{1} << 18) / centers->rows(), 8, 256);
    const std::size_t panels = ceil_div(points.rows(), panel);
    const std::size_t tasks = std::min<std::size_t>(panels, 64), panels_each = tasks == 0 ? 0 : ceil_div(panels, tasks);
    auto scores = Matrix<Real>::create({tasks * panel, centers->rows()}, options.memory);
    if (!scores) return std::move(scores).error();
    auto offsets = Array<Real>::create(centers->rows(), options.memory);
    if (!offsets) return std::move(offsets).error();
    for (std::size_t k = 0; k < centers->rows(); ++k) {
      for (const Real x : centers->row(k)) (*offsets)[k] += x * x;
      (*offsets)[k] /= 2;
    }
    options.executor(tasks, [&](std::size_t task) {
      const std::size_t end = std::min(points.rows(), (task + 1) * panels_each * panel);
      for (std::size_t first = task * panels_each * panel; first < end; first += panel) {
        const MatrixView<Real> products(scores->row(task * panel).data(), std::min(panel, end - first),
                                        centers->rows());
        const MatrixView<const Real> block(points.row(first).data(), products.rows, points.cols());
        as_eigen(products).noalias() = as_eigen(block) * as_eigen(std::as_const(*centers).view()).transpose();
        // The nearest centre c of x is that of the largest x c - |c|^2 / 2.
        for (std::size_t i = 0; i < products.rows; ++i) {
          std::size_t best = 0;
          Real most = products(i, 0) - (*offsets)[0];
          for (std::size_t k = 1; k < centers->rows(); ++k)
            if (const Real score = products(i, k) - (*offsets)[k]; score > most) {
              most = score;
              best = k;
            }
          clusters.assignments[first + i] = static_cast<std::uint32_t>(best);
        }
      }
    });
    return {};
  }

  /// Whether no centre moved by more than counts.
  template <class Real>
  bool move_centers(const Matrix<Real>& points, Clusters& clusters, Matrix<double>& sums,
                    Array<std::size_t>& counts) const {
    for (double& sum : sums.values()) sum = 0.0;
    std::fill(counts.begin(), counts.end(), std::size_t{0});
    for (std::size_t i = 0; i < points.rows(); ++i) {
      const std::size_t k = clusters.assignments[i];
      ++counts[k];
      for (std::size_t d = 0; d < points.cols(); ++d) sums(k, d) += static_cast<double>(points(i, d));
    }
    bool still = true;
    for (std::size_t k = 0; k < counts.size(); ++k)
      for (std::size_t d = 0; d < points.cols() && counts[k] != 0; ++d) {
        const auto before = static_cast<double>(clusters.centers(k, d));
        const auto mean = static_cast<float>(sums(k, d) / static_cast<double>(counts[k]));
        still = still && std::fabs(static_cast<double>(mean) - before) <= absolute + relative * std::fabs(before);
        clusters.centers(k, d) = mean;
      }
    return still;
  }
};

namespace detail {

/// So many points of a matrix as a matrix, the i-th being `next(i)`.
template <class Next>
Result<Matrix<float>> pick_points(MatrixView<const float> points, std::size_t count, std::pmr::memory_resource* memory,
                                  Next&& next) {
  auto centers = Matrix<float>::create({count, points.cols}, memory);
  if (!centers) return centers;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t point = next(i);
    for (std::size_t d = 0; d < points.cols; ++d) (*centers)(i, d) = points(point, d);
  }
  return centers;
}

inline Result<void> check_points(MatrixView<const float> points, std::size_t count) {
  if (count == 0 || count > points.rows)
    return Error{ErrorCode::invalid_argument, "pare: " + std::to_string(points.rows) + " points have no " +
                                                  std::to_string(count) + " first centres among them"};
  return check_finite(points, "the point");
}

}  // namespace detail

/// Centres to begin with: the first point, then time and again the point farthest from all that are chosen (the first
/// of equals). O(points * count * dimensions). Errors: more centres than points or none, values that are not finite,
/// out_of_memory.
inline Result<Matrix<float>> farthest_points(MatrixView<const float> points, std::size_t count,
                                             std::pmr::memory_resource* memory = nullptr) {
  if (Result<void> ok = detail::check_points(points, count); !ok) return std::move(ok).error();
  auto distances = Array<double>::create(points.rows, memory);
  if (!distances) return std::move(distances).error();
  std::fill(distances->begin(), distances->end(), std::numeric_limits<double>::infinity());
  return detail::pick_points(points, count, memory, [&](std::size_t) {
    const auto chosen =
        static_cast<std::size_t>(std::max_element(distances->begin(), distances->end()) - distances->begin());
    for (std::size_t i = 0; i < points.rows; ++i) {
      double distance = 0.0;
      for (std::size_t d = 0; d < points.cols; ++d) {
        const double difference = static_cast<double>(points(i, d)) - static_cast<double>(points(chosen, d));
        distance += difference * difference;
      }
      (*distances)[i] = std::min((*distances)[i], distance);
    }
    return chosen;
  });
}

/// Centres to begin with: different points, drawn by a generator that `seed` starts. Errors: as farthest_points.
inline Result<Matrix<float>> random_points(MatrixView<const float> points, std::size_t count, std::uint64_t seed,
                                           std::pmr::memory_resource* memory = nullptr) {
  if (Result<void> ok = detail::check_points(points, count); !ok) return std::move(ok).error();
  auto order = Array<std::size_t>::create(points.rows, memory);
  if (!order) return std::move(order).error();
  for (std::size_t i = 0; i < points.rows; ++i) (*order)[i] = i;
  return detail::pick_points(points, count, memory, [&](std::size_t i) {
    // The splitmix64 generator, as the library's distributions differ between platforms.
    std::uint64_t z = seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    const std::size_t left = points.rows - i;
    if (left > 1) std::swap((*order)[i], (*order)[i + (z ^ z >> 31) % left]);
    return (*order)[i];
  });
}

}  // namespace pare
