#include "llama/attention.hpp"

#include <algorithm>
#include <cmath>
#include <span>

#include "llama/linear.hpp"

namespace llama {
namespace {

/// Turns scores into weights that sum to 1.
void softmax(std::span<float> scores) {
  const float highest = *std::max_element(scores.begin(), scores.end());
  double sum = 0.0;
  for (float& score : scores) {
    score = std::exp(score - highest);
    sum += score;
  }
  const auto factor = static_cast<float>(1.0 / sum);
  for (float& score : scores) score *= factor;
}

}  // namespace

BlockCache::BlockCache(const Config& config, std::size_t capacity)
    : head_dim_(config.head_dim),
      capacity_(capacity),
      keys_(config.kv_size() * capacity),
      values_(config.kv_size() * capacity) {}

void BlockCache::store(std::size_t first, pare::MatrixView<const float> keys, pare::MatrixView<const float> values) {
  for (std::size_t t = 0; t < keys.rows; ++t)
    for (std::size_t c = 0; c < keys.cols; ++c) {
      const std::size_t head = c / head_dim_ * head_dim_ * capacity_;
      keys_[head + (first + t) * head_dim_ + c % head_dim_] = keys(t, c);
      values_[head + c % head_dim_ * capacity_ + first + t] = values(t, c);
    }
}

pare::MatrixView<const float> BlockCache::keys(std::size_t kv_head) const noexcept {
  return {keys_.data() + kv_head * capacity_ * head_dim_, capacity_, head_dim_};
}

pare::MatrixView<const float> BlockCache::values(std::size_t kv_head) const noexcept {
  return {values_.data() + kv_head * capacity_ * head_dim_, head_dim_, capacity_};
}

void attend(const Config& config, pare::MatrixView<const float> queries, const BlockCache& cache, std::size_t first,
            pare::MatrixView<float> out, std::vector<float>& scratch, pare::Executor executor) {
  constexpr std::size_t scratch_floats = std::size_t{1} << 22;
  const std::size_t head_dim = config.head_dim;
  const std::size_t heads_per_kv = config.heads / config.kv_heads;
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  const std::size_t most_rows = std::max<std::size_t>(1, scratch_floats / (config.heads * (first + queries.rows)));

  for (std::size_t begin = 0; begin < queries.rows; begin += most_rows) {
    const std::size_t rows = std::min(most_rows, queries.rows - begin);
    const std::size_t seen = first + begin + rows;
    scratch.resize(std::max(scratch.size(), config.heads * rows * seen));
    executor(config.heads, [&](std::size_t head) {
      const pare::MatrixView<float> scores(scratch.data() + head * rows * seen, rows, seen);
      std::fill_n(scores.data, rows * seen, 0.0f);
      pare::MatrixView<const float> keys = cache.keys(head / heads_per_kv);
      keys.rows = seen;
      accumulate({queries.row(begin) + head * head_dim, rows, head_dim, queries.row_stride, 1}, keys, scores);
      for (std::size_t t = 0; t < rows; ++t) {
        const std::size_t visible = first + begin + t + 1;
        for (std::size_t s = 0; s < visible; ++s) scores(t, s) *= scale;
        softmax({scores.row(t), visible});
        std::fill_n(scores.row(t) + visible, seen - visible, 0.0f);
        std::fill_n(out.row(begin + t) + head * head_dim, head_dim, 0.0f);
      }
      accumulate(scores, cache.values(head / heads_per_kv),
                 {out.row(begin) + head * head_dim, rows, head_dim, out.row_stride, 1});
    });
  }
}

}  // namespace llama
