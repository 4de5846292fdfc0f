#pragma once

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include "pare/core/bits.hpp"
#include "pare/core/result.hpp"

namespace pare {

/// Bytes aligned for every vector instruction set, from the caller's memory resource or, with none, from operator new.
class Buffer {
 public:
  static constexpr std::size_t alignment = 64;

  Buffer() = default;
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer(std::move(other)).swap(*this);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (data_ == nullptr) return;
    if (resource_ != nullptr)
      resource_->deallocate(data_, size_, alignment);
    else
      ::operator delete(data_, std::align_val_t{alignment});
  }

  /// `size` uninitialized bytes, or out_of_memory. What a caller's own resource throws passes through.
  static Result<Buffer> allocate(std::size_t size, std::pmr::memory_resource* resource = nullptr) {
    Buffer buffer;
    if (size == 0) return buffer;
    void* p = resource != nullptr ? resource->allocate(size, alignment)
                                  : ::operator new(size, std::align_val_t{alignment}, std::nothrow);
    if (p == nullptr)
      return Error{ErrorCode::out_of_memory, "pare: cannot allocate " + std::to_string(size) + " bytes"};
    buffer.data_ = static_cast<std::byte*>(p);
    buffer.size_ = size;
    buffer.resource_ = resource;
    return buffer;
  }

  [[nodiscard]] std::byte* data() noexcept { return data_; }
  [[nodiscard]] const std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(resource_, other.resource_);
  }

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::pmr::memory_resource* resource_ = nullptr;
};

/// So many values that own their memory, each T{} at first.
template <class T>
  requires(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>)
class Array {
 public:
  Array() = default;

  /// Errors: out_of_memory, or invalid_argument where the bytes cannot be counted.
  static Result<Array> create(std::size_t count, std::pmr::memory_resource* memory = nullptr) {
    std::size_t bytes = 0;
    if (!checked_multiply(count, sizeof(T), bytes))
      return Error{ErrorCode::invalid_argument, "pare: so many values are more than memory can be"};
    Result<Buffer> buffer = Buffer::allocate(bytes, memory);
    if (!buffer) return std::move(buffer).error();
    Array array(*std::move(buffer));
    for (std::size_t i = 0; i < count; ++i) array[i] = T{};
    return array;
  }

  [[nodiscard]] T* data() noexcept { return reinterpret_cast<T*>(buffer_.data()); }
  [[nodiscard]] const T* data() const noexcept { return reinterpret_cast<const T*>(buffer_.data()); }
  [[nodiscard]] std::size_t size() const noexcept { return buffer_.size() / sizeof(T); }
  [[nodiscard]] T& operator[](std::size_t i) noexcept { return data()[i]; }
  [[nodiscard]] const T& operator[](std::size_t i) const noexcept { return data()[i]; }
  [[nodiscard]] std::span<T> values() noexcept { return {data(), size()}; }
  [[nodiscard]] std::span<const T> values() const noexcept { return {data(), size()}; }
  [[nodiscard]] T* begin() noexcept { return data(); }
  [[nodiscard]] T* end() noexcept { return data() + size(); }
  [[nodiscard]] const T* begin() const noexcept { return data(); }
  [[nodiscard]] const T* end() const noexcept { return data() + size(); }

 private:
  explicit Array(Buffer buffer) : buffer_(std::move(buffer)) {}

  Buffer buffer_;
};

}  // namespace pare
