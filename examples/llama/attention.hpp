#pragma once

#include <cstddef>
#include <vector>

#include "llama/config.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/matrix.hpp"

namespace llama {

/// The keys and values of one block at the positions so far.
class BlockCache {
 public:
  /// Room for `capacity` positions.
  BlockCache(const Config& config, std::size_t capacity);

  /// Stores the keys and values [tokens, kv_size] of the positions from `first` on, which must fit.
  void store(std::size_t first, pare::MatrixView<const float> keys, pare::MatrixView<const float> values);

  /// The keys of one head transposed, [head_dim, capacity], each row with room for padded(capacity).
  [[nodiscard]] pare::MatrixView<const float> keys(std::size_t kv_head) const noexcept;
  /// The values of one head, [capacity, head_dim], each row with room for padded(head_dim).
  [[nodiscard]] pare::MatrixView<const float> values(std::size_t kv_head) const noexcept;

 private:
  std::size_t head_dim_;
  std::size_t capacity_;
  std::size_t key_stride_;
  std::size_t value_stride_;
  std::vector<float> keys_;
  std::vector<float> values_;
};

/// Causal attention with grouped queries: row t of `queries` and of `out`, both [tokens, query_size], stands at
/// position `first` + t and sees the cache up to itself. The same values for every executor.
void attend(const Config& config, pare::MatrixView<const float> queries, const BlockCache& cache, std::size_t first,
            pare::MatrixView<float> out, pare::Executor executor);

}  // namespace llama
