#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace llama::tokens {

/// The pair-to-token table of byte pair encoding: open addressing, at most half full.
class PairTable {
 public:
  /// Ranks are below this, so that a rank and a position fit one 64-bit key.
  static constexpr std::size_t max_rank = std::size_t{1} << 24;

  struct Merge {
    std::uint32_t rank;  ///< lower merges first
    std::int32_t id;     ///< the token that the pair becomes
  };

  /// Makes room for `count` pairs, before the first insert.
  void reserve(std::size_t count);

  /// Adds or overwrites the pair; ids are not negative, and there are at most `count` pairs.
  void insert(std::int32_t left, std::int32_t right, Merge merge);

  /// The merge of the pair, or null.
  [[nodiscard]] const Merge* find(std::int32_t left, std::int32_t right) const noexcept;

  struct Pair {
    std::int32_t left;
    std::int32_t right;
    Merge merge;
  };
  /// Every pair, by ascending rank and then by ids.
  [[nodiscard]] std::vector<Pair> pairs() const;

 private:
  struct Slot {
    std::uint64_t key = 0;  // 0 marks an empty slot
    Merge merge{};
  };

  [[nodiscard]] std::size_t slot_of(std::uint64_t key) const noexcept;

  std::vector<Slot> slots_;
};

/// Memory that merge_pairs() reuses from call to call.
struct MergeScratch {
  std::vector<std::size_t> previous;
  std::vector<std::size_t> next;
  std::vector<std::uint64_t> queue;
};

/// Replaces pairs of neighbours in `ids`, lowest rank first and leftmost among equals, until none has a merge.
/// O(n log n).
void merge_pairs(const PairTable& pairs, std::vector<std::int32_t>& ids, MergeScratch& scratch);

}  // namespace llama::tokens
