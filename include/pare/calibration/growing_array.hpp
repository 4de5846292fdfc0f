#pragma once

#include <algorithm>
#include <cstddef>
#include <memory_resource>
#include <span>
#include <utility>

#include "pare/core/core.hpp"

namespace pare {

/// Values that come a few at a time, kept in one piece; twice the room whenever it is full.
template <class T>
class GrowingArray {
 public:
  explicit GrowingArray(std::pmr::memory_resource* memory = nullptr) : memory_(memory) {}

  /// Appends as many values of T{} and returns where they are. Error: out_of_memory.
  Result<std::span<T>> append(std::size_t count) {
    if (count > room_.size() - size_) {
      auto larger = Array<T>::create(std::max(size_ + count, 2 * room_.size()), memory_);
      if (!larger) return std::move(larger).error();
      std::copy_n(room_.data(), size_, larger->data());
      room_ = *std::move(larger);
    }
    size_ += count;
    return room_.values().subspan(size_ - count, count);
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::span<const T> values() const noexcept { return {room_.data(), size_}; }
  [[nodiscard]] std::pmr::memory_resource* memory() const noexcept { return memory_; }

 private:
  std::size_t size_ = 0;
  Array<T> room_;
  std::pmr::memory_resource* memory_ = nullptr;
};

}  // namespace pare
