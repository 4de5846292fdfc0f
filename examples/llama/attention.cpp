#include "llama/attention.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "llama/kernels.hpp"

namespace llama {
namespace {

/// The queries of some tokens that share the keys and values of a head, as rows.
struct QueryRows {
  std::vector<const float*> in;
  std::vector<float*> out;
  std::vector<std::size_t> visible;  ///< positions
};

/// Attention of the rows, the last of which sees the most.
void attend_rows(const QueryRows& rows, std::size_t head_dim, pare::MatrixView<const float> keys,
                 pare::MatrixView<const float> values) {
  const std::size_t count = rows.in.size(), seen = rows.visible.back();
  const std::size_t score_stride = padded(seen), out_stride = padded(head_dim);
  const auto memory = std::make_unique_for_overwrite<float[]>(count * (score_stride + out_stride));
  float* const scores = memory.get();
  float* const sums = scores + count * score_stride;
  multiply_rows(rows.in.data(), count, head_dim, keys.data, keys.row_stride, seen, scores, score_stride);
  std::vector<const float*> weights(count);
  std::vector<float> totals(count);
  const float factor = 1.0f / std::sqrt(static_cast<float>(head_dim));
  for (std::size_t r = 0; r < count; ++r) {
    float* const row = scores + r * score_stride;
    weights[r] = row;
    totals[r] = exponentials(row, rows.visible[r], factor);
    std::fill(row + rows.visible[r], row + seen, 0.0f);
  }
  multiply_rows(weights.data(), count, seen, values.data, values.row_stride, head_dim, sums, out_stride);
  for (std::size_t r = 0; r < count; ++r)
    for (std::size_t c = 0; c < head_dim; ++c) rows.out[r][c] = sums[r * out_stride + c] / totals[r];
}

}  // namespace

BlockCache::BlockCache(const Config& config, std::size_t capacity)
    : head_dim_(config.head_dim),
      capacity_(capacity),
      key_stride_(padded(capacity) + row_step),  // no power of two, whose rows would share few lines of a cache
      value_stride_(padded(config.head_dim)),
      keys_(config.kv_size() * key_stride_),
      values_(config.kv_heads * capacity * value_stride_) {}

void BlockCache::store(std::size_t first, pare::MatrixView<const float> keys, pare::MatrixView<const float> values) {
  for (std::size_t t = 0; t < keys.rows; ++t)
    for (std::size_t c = 0; c < keys.cols; ++c) {
      keys_[c * key_stride_ + first + t] = keys(t, c);
      values_[(c / head_dim_ * capacity_ + first + t) * value_stride_ + c % head_dim_] = values(t, c);
    }
}

pare::MatrixView<const float> BlockCache::keys(std::size_t kv_head) const noexcept {
  return {keys_.data() + kv_head * head_dim_ * key_stride_, head_dim_, capacity_, key_stride_, 1};
}

pare::MatrixView<const float> BlockCache::values(std::size_t kv_head) const noexcept {
  return {values_.data() + kv_head * capacity_ * value_stride_, capacity_, head_dim_, value_stride_, 1};
}

void attend(const Config& config, pare::MatrixView<const float> queries, const BlockCache& cache, std::size_t first,
            pare::MatrixView<float> out, pare::Executor executor) {
  const std::size_t head_dim = config.head_dim, group = config.heads / config.kv_heads;
  const std::size_t tokens =
      std::max<std::size_t>(1, 8 / group);  // as many rows as keys and values are read for at once
  const std::size_t tiles = pare::ceil_div(queries.rows, tokens);
  executor(config.kv_heads * tiles, [&](std::size_t task) {
    const std::size_t kv_head = task / tiles, begin = task % tiles * tokens;
    QueryRows rows;
    for (std::size_t t = begin; t < std::min(begin + tokens, queries.rows); ++t)
      for (std::size_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        rows.in.push_back(queries.row(t) + head * head_dim);
        rows.out.push_back(out.row(t) + head * head_dim);
        rows.visible.push_back(first + t + 1);
      }
    attend_rows(rows, head_dim, cache.keys(kv_head), cache.values(kv_head));
  });
}

}  // namespace llama
