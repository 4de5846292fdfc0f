#include "llama/tokenizer_bpe.hpp"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <tuple>

namespace llama::tokens {
namespace {

constexpr int position_bits = 40;
constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

// Adding one to the left id keeps the key of every pair apart from 0.
constexpr std::uint64_t pair_key(std::int32_t left, std::int32_t right) noexcept {
  return (static_cast<std::uint64_t>(left) + 1) << 32 | static_cast<std::uint32_t>(right);
}

}  // namespace

void PairTable::reserve(std::size_t count) { slots_.assign(std::bit_ceil(2 * count + 1), Slot{}); }

std::size_t PairTable::slot_of(std::uint64_t key) const noexcept {
  std::uint64_t hash = key;
  hash = (hash ^ hash >> 32) * 0x9E3779B97F4A7C15u;
  hash ^= hash >> 29;
  std::size_t slot = static_cast<std::size_t>(hash) & (slots_.size() - 1);
  while (slots_[slot].key != 0 && slots_[slot].key != key) slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

void PairTable::insert(std::int32_t left, std::int32_t right, Merge merge) {
  const std::uint64_t key = pair_key(left, right);
  slots_[slot_of(key)] = {key, merge};
}

const PairTable::Merge* PairTable::find(std::int32_t left, std::int32_t right) const noexcept {
  if (slots_.empty()) return nullptr;
  const Slot& slot = slots_[slot_of(pair_key(left, right))];
  return slot.key != 0 ? &slot.merge : nullptr;
}

std::vector<PairTable::Pair> PairTable::pairs() const {
  std::vector<Pair> all;
  for (const Slot& slot : slots_)
    if (slot.key != 0)
      all.push_back({static_cast<std::int32_t>((slot.key >> 32) - 1),
                     static_cast<std::int32_t>(static_cast<std::uint32_t>(slot.key)), slot.merge});
  std::ranges::sort(all, {}, [](const Pair& p) { return std::tuple(p.merge.rank, p.left, p.right); });
  return all;
}

void merge_pairs(const PairTable& pairs, std::vector<std::int32_t>& ids, MergeScratch& scratch) {
  const std::size_t count = ids.size();
  if (count < 2) return;
  auto& previous = scratch.previous;
  auto& next = scratch.next;
  auto& queue = scratch.queue;
  previous.resize(count);
  next.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    previous[i] = i == 0 ? none : i - 1;
    next[i] = i + 1 == count ? none : i + 1;
  }

  const auto candidate = [&](std::size_t position) {
    const PairTable::Merge* merge = pairs.find(ids[position], ids[next[position]]);
    if (merge != nullptr) queue.push_back(std::uint64_t{merge->rank} << position_bits | position);
    return merge != nullptr;
  };
  queue.clear();
  for (std::size_t i = 0; i + 1 < count; ++i) candidate(i);
  std::make_heap(queue.begin(), queue.end(), std::greater<>{});
  const auto enqueue = [&](std::size_t position) {
    if (candidate(position)) std::push_heap(queue.begin(), queue.end(), std::greater<>{});
  };

  constexpr std::int32_t absorbed = -1;
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), std::greater<>{});
    const std::uint64_t top = queue.back();
    queue.pop_back();
    const auto left = static_cast<std::size_t>(top & ((std::uint64_t{1} << position_bits) - 1));
    // The queue keeps pairs that no longer exist: their left side was absorbed, or either side has changed since.
    if (ids[left] == absorbed || next[left] == none) continue;
    const std::size_t right = next[left];
    const PairTable::Merge* merge = pairs.find(ids[left], ids[right]);
    if (merge == nullptr || merge->rank != top >> position_bits) continue;

    ids[left] = merge->id;
    ids[right] = absorbed;
    next[left] = next[right];
    if (next[left] != none) {
      previous[next[left]] = left;
      enqueue(left);
    }
    if (previous[left] != none) enqueue(previous[left]);
  }
  std::erase(ids, absorbed);
}

}  // namespace llama::tokens
