#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "pare/calibration/calibration.hpp"

namespace pare {

/// Schemes for keys and values, one row of which is what one head has of one token. `PerChannel` and `PerGroup` find a
/// scale for each token, or group of its values, when it is appended; `PerTensor` has one for a head, found before.
namespace kv {
using Int8 = Scheme<8, Asymmetric, PerChannel, f16>;
using Int4 = Scheme<4, Asymmetric, PerChannel, f16>;  ///< QServe's KV4
using FP8 = Scheme<e4m3, Symmetric, PerTensor>;
using FP8Token = Scheme<e4m3, Symmetric, PerChannel, f16>;
}  // namespace kv

/// The heads of a cache, the tokens that it has room for, and the values of a head and a token.
struct KvShape {
  std::size_t heads = 0;
  std::size_t capacity = 0;
  std::size_t width = 0;

  /// Of one head when it is full.
  [[nodiscard]] constexpr Shape head() const noexcept { return {capacity, width}; }
};

/// The keys, or the values, that attention keeps of the tokens so far: each head a packed matrix [capacity, width] of
/// `S`, its codes in the caller's memory, where they are also read. Nothing is allocated. Queries of several heads that
/// share one of the cache's (grouped-query attention) are rows next to each other, as are those of several tokens.
template <SchemeType S, KernelBackend Kernels = HighwayKernels>
class KvCache {
  static constexpr bool per_head = std::same_as<typename S::granularity_type, PerTensor>;
  static_assert(
      per_head || S::granularity_type::block_rows == 1,
      "pare: a cache appends token by token: its scheme is PerChannel or PerGroup (a scale for each token) or "
      "PerTensor (one for each head)");

 public:
  using scheme_type = S;

  /// The bytes of codes, scales and zero points of all heads, for `over`. Error: sizes beyond the address space.
  static Result<PackedSizes> sizes(const KvShape& shape) {
    auto sizes = packed_sizes<S>(shape.head());
    if (!sizes) return sizes;
    for (std::size_t* part : {&sizes->codes, &sizes->scales, &sizes->zero_points})
      if (!checked_multiply(*part, shape.heads, *part))
        return Error{ErrorCode::invalid_argument, "pare: the cache is larger than memory can be"};
    return sizes;
  }
  /// An empty cache in these bytes, with `ranges` of each head's values for schemes with one scale for a head; or one
  /// that holds `tokens` already. Errors: parts of the wrong size, no range for each head, a range that is not finite,
  /// more tokens than room.
  static Result<KvCache> over(const KvShape& shape, std::span<std::uint8_t> codes, std::span<std::uint8_t> scales,
                              std::span<std::uint8_t> zero_points = {}, std::span<const ValueRange> ranges = {},
                              std::size_t tokens = 0) {
    const auto needed = sizes(shape);
    if (!needed) return needed.error();
    if (codes.size() != needed->codes || scales.size() != needed->scales || zero_points.size() != needed->zero_points)
      return Error{ErrorCode::invalid_argument,
                   "pare: the cache's codes, scales and zero points have " + std::to_string(codes.size()) + ", " +
                       std::to_string(scales.size()) + " and " + std::to_string(zero_points.size()) +
                       " bytes where it needs " + std::to_string(needed->codes) + ", " +
                       std::to_string(needed->scales) + " and " + std::to_string(needed->zero_points)};
    if (tokens > shape.capacity)
      return Error{ErrorCode::invalid_argument, "pare: a cache for " + std::to_string(shape.capacity) +
                                                    " tokens cannot hold " + std::to_string(tokens)};
    if (ranges.size() != (per_head ? shape.heads : 0))
      return Error{ErrorCode::invalid_argument, "pare: there are " + std::to_string(ranges.size()) +
                                                    " ranges for a cache that needs " +
                                                    std::to_string(per_head ? shape.heads : 0)};
    for (const ValueRange& range : ranges)
      if (range.empty() || !is_finite(range.lowest) || !is_finite(range.highest))
        return Error{ErrorCode::invalid_argument, "pare: the range of a cache's head is empty or not finite"};
    return KvCache(shape, codes.data(), scales.data(), zero_points.data(), ranges, tokens);
  }

  [[nodiscard]] const KvShape& shape() const noexcept { return shape_; }
  [[nodiscard]] std::size_t tokens() const noexcept { return tokens_; }
  /// Forgets all tokens but the first so many; nothing where it has no more.
  void truncate(std::size_t tokens) noexcept { tokens_ = std::min(tokens_, tokens); }
  /// What a head holds, as any packed matrix [tokens, width]: to be read, multiplied or written elsewhere.
  [[nodiscard]] PackedView<S> head(std::size_t h) const noexcept { return rows(h, 0, tokens_); }

  /// Appends tokens [tokens, heads * width], head after head in a row, rounding to nearest; heads are tasks of the
  /// executor. Values that are not finite become what quantize_into makes of them, and the scale of their token is that
  /// of the others: with integer codes NaN reads as 0, infinities as the ends of the range. With one scale for a head,
  /// values beyond its range saturate. Errors: another width, no room for so many, strided columns, memory that
  /// overlaps the cache; nothing is appended then.
  Result<void> append(MatrixView<const float> states, const Options& options = {}) {
    if (states.cols != shape_.heads * shape_.width)
      return detail::shape_error("the matrix of states", states.shape(), {states.rows, shape_.heads * shape_.width});
    if (Result<void> ok = detail::check_input(states, "the matrix of states"); !ok) return ok;
    if (states.col_stride != 1 && states.cols > 1)
      return Error{ErrorCode::unsupported, "pare: a cache takes tokens in rows of adjacent values"};
    if (states.rows > shape_.capacity - tokens_)
      return Error{ErrorCode::invalid_argument, "pare: a cache for " + std::to_string(shape_.capacity) +
                                                    " tokens that holds " + std::to_string(tokens_) +
                                                    " has no room for " + std::to_string(states.rows)};
    if (Result<void> ok = check_apart(states, "the matrix of states"); !ok) return ok;
    if (states.empty()) return {};
    options.executor(shape_.heads, [&](std::size_t h) {
      const MatrixView<const float> own(states.data + h * shape_.width, states.rows, shape_.width, states.row_stride,
                                        1);
      append_head(h, own);
    });
    tokens_ += states.rows;
    return {};
  }

  /// scores(i, t) = queries(i, :) . key t, for queries [n * heads, width], the n of each head next to each other, and
  /// scores [n * heads, tokens]: straight from the codes, with matmul's bits and bounds. Scale the queries before, mask
  /// the scores after. Heads are tasks of the executor. Errors: shapes that do not fit, those of matmul.
  Result<void> scores(MatrixView<const float> queries, MatrixView<float> scores, const Options& options = {}) const {
    if (Result<void> ok = check_rows(queries, shape_.width, "the matrix of queries"); !ok) return ok;
    if (scores.shape() != Shape{queries.rows, tokens_})
      return detail::shape_error("the matrix of scores", scores.shape(), {queries.rows, tokens_});
    if (Result<void> ok = check_apart(MatrixView<const float>(scores), "the matrix of scores"); !ok) return ok;
    if (queries.rows == 0) return {};
    const std::size_t each = queries.rows / shape_.heads;
    // Whatever is wrong with the operands is so for each head: one of them says it.
    Result<void> result;
    options.executor(shape_.heads, [&](std::size_t h) {
      Result<void> done =
          matmul<S, Kernels>(head(h), part(queries, h * each, each), part(scores, h * each, each), Options{});
      if (h == 0) result = std::move(done);
    });
    return result;
  }

  /// sums(i, :) = sum over t of shares(i, t) * value t, for shares [n * heads, tokens], the n of each head next to each
  /// other, and sums [n * heads, width]. Tokens join in runs of 64, each run summed as accumulate_products says, the
  /// runs in order: every backend, target and executor gives the same bits, off by at most (tokens / 64 + 10) * 2^-24 *
  /// sum |share * value| to first order. Uses 33 KiB of the stack. Heads are tasks of the executor. Errors: shapes that
  /// do not fit, strided columns, overlapping memory.
  Result<void> weighted_sums(MatrixView<const float> shares, MatrixView<float> sums,
                             const Options& options = {}) const {
    if (Result<void> ok = check_rows(shares, tokens_, "the matrix of shares"); !ok) return ok;
    if (sums.shape() != Shape{shares.rows, shape_.width})
      return detail::shape_error("the matrix of sums", sums.shape(), {shares.rows, shape_.width});
    if (Result<void> ok = detail::check_output(sums, "the matrix of sums"); !ok) return ok;
    if ((shares.col_stride != 1 && shares.cols > 1) || (sums.col_stride != 1 && sums.cols > 1))
      return Error{ErrorCode::unsupported, "pare: a cache's shares and sums have rows of adjacent values"};
    if (detail::overlap(sums.data, detail::extent(sums), shares.data, detail::extent(shares)))
      return Error{ErrorCode::invalid_argument, "pare: the sums overlap the shares"};
    if (Result<void> ok = check_apart(MatrixView<const float>(sums), "the matrix of sums"); !ok) return ok;
    if (sums.empty()) return {};
    const std::size_t each = shares.rows / shape_.heads;
    options.executor(shape_.heads, [&](std::size_t h) {
      add_values(head(h), part(shares, h * each, each), part(sums, h * each, each));
    });
    return {};
  }

 private:
  KvCache(const KvShape& shape, std::uint8_t* codes, std::uint8_t* scales, std::uint8_t* zero_points,
          std::span<const ValueRange> ranges, std::size_t tokens)
      : shape_(shape), codes_(codes), scales_(scales), zero_points_(zero_points), tokens_(tokens) {
    for (std::size_t h = 0; h < ranges.size(); ++h) {
      Range range;
      range.include(ranges[h].lowest);
      range.include(ranges[h].highest);
      const BlockParameters p = S::parameters(range);
      const PackedSpan<S> own = rows(h, 0, shape.capacity);
      store_le(own.scales, p.scale_code, S::scale_type::bits / 8);
      if constexpr (S::has_zero_point) own.zero_points[0] = p.zero_point;
    }
  }

  template <class T>
  static MatrixView<T> part(MatrixView<T> matrix, std::size_t row, std::size_t count) noexcept {
    return {matrix.data + row * matrix.row_stride, count, matrix.cols, matrix.row_stride, matrix.col_stride};
  }

  /// Tokens [begin, begin + count) of a head.
  [[nodiscard]] PackedSpan<S> rows(std::size_t h, std::size_t begin, std::size_t count) const noexcept {
    const std::size_t row_bytes = packed_bytes(shape_.width, S::bits);
    const Shape grid = S::granularity_type::grid(shape_.head());
    const std::size_t first = h * grid.rows * grid.cols + (per_head ? 0 : begin * grid.cols);
    return {{count, shape_.width},
            codes_ + (h * shape_.capacity + begin) * row_bytes,
            scales_ + first * (S::scale_type::bits / 8),
            S::has_zero_point ? zero_points_ + first : nullptr};
  }

  [[nodiscard]] Result<void> check_rows(MatrixView<const float> matrix, std::size_t cols, const char* what) const {
    if (matrix.cols != cols) return detail::shape_error(what, matrix.shape(), {matrix.rows, cols});
    if (shape_.heads == 0 ? matrix.rows != 0 : matrix.rows % shape_.heads != 0)
      return Error{ErrorCode::invalid_argument, "pare: " + std::string(what) + " has " + std::to_string(matrix.rows) +
                                                    " rows, which " + std::to_string(shape_.heads) +
                                                    " heads cannot share evenly"};
    return detail::check_input(matrix, what);
  }

  /// Success where a matrix lies outside the cache's memory.
  [[nodiscard]] Result<void> check_apart(MatrixView<const float> matrix, const char* what) const {
    const auto parts = sizes(shape_);
    if (!parts) return parts.error();
    const std::size_t count = detail::extent(matrix);
    if (detail::overlap(matrix.data, count, codes_, parts->codes) ||
        detail::overlap(matrix.data, count, scales_, parts->scales) ||
        detail::overlap(matrix.data, count, zero_points_, parts->zero_points))
      return Error{ErrorCode::invalid_argument, "pare: " + std::string(what) + " overlaps the cache"};
    return {};
  }

  void append_head(std::size_t h, MatrixView<const float> states) {
    const PackedSpan<S> out = rows(h, tokens_, states.rows);
    if constexpr (per_head) {
      BlockParameters p;
      p.scale = PackedView<S>(out).scale(0);
      p.inverse = p.scale != 0.0f ? 1.0f / p.scale : 0.0f;
      if constexpr (S::has_zero_point) p.zero_point = out.zero_points[0];
      for (std::size_t t = 0; t < states.rows; ++t) {
        Range range;
        Kernels::find_range(states.row(t), shape_.width, shape_.width, &range);
        p.finite = range.finite;
        Kernels::template encode<typename S::format_type>(states.row(t), shape_.width, shape_.width, &p,
                                                          out.row_codes(t));
      }
    } else {
      // Rows of adjacent values that overlap nothing: there is nothing left to refuse.
      static_cast<void>(quantize_into<S, Kernels, float>(states, out));
    }
  }

  static void add_values(const PackedView<S>& values, MatrixView<const float> shares, MatrixView<float> sums) {
    constexpr std::size_t run = 64, panel = 128;
    alignas(Buffer::alignment) std::array<float, run * panel> tile;
    alignas(Buffer::alignment) std::array<float, panel> row;
    for (std::size_t i = 0; i < sums.rows; ++i) std::fill_n(sums.row(i), sums.cols, 0.0f);
    for (std::size_t t = 0; t < values.shape.rows; t += run)
      for (std::size_t c = 0; c < sums.cols; c += panel) {
        const std::size_t count = std::min(run, values.shape.rows - t), width = std::min(panel, sums.cols - c);
        for (std::size_t i = 0; i < count; ++i) {
          detail::decode_columns<Kernels, S>(values, t + i, c, width, row.data());
          for (std::size_t d = 0; d < width; ++d) tile[d * run + i] = row[d];
        }
        Kernels::accumulate_products(shares.data + t, shares.rows, shares.row_stride, tile.data(), width, run, count,
                                     sums.data + c, sums.row_stride);
      }
  }

  KvShape shape_;
  std::uint8_t* codes_;
  std::uint8_t* scales_;
  std::uint8_t* zero_points_;
  std::size_t tokens_;
};

}  // namespace pare
