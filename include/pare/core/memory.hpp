#pragma once

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <new>
#include <utility>

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

}  // namespace pare
