#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pare/core/core.hpp"

namespace pare {

/// The element types of the tensors that layouts consist of.
enum class PartType {
  uint8,
  int8,
  int16,
  uint16,
  int32,
  uint32,
  int64,
  float16,
  bfloat16,
  float32,
  float8_e4m3,
  float8_e8m0
};

/// Bytes of one element.
constexpr std::size_t element_bytes(PartType type) noexcept {
  constexpr std::size_t bytes[] = {1, 1, 2, 2, 4, 4, 8, 2, 2, 4, 1, 1};
  return bytes[static_cast<std::size_t>(type)];
}

/// One tensor of a layer in some layout: "qweight", "scales", ... Little endian, row-major.
struct PartView {
  std::string_view name;
  PartType type = PartType::uint8;
  std::span<const std::size_t> shape;
  std::span<const std::uint8_t> bytes;
};

/// A tensor that a layout wrote.
struct Part {
  std::string name;
  PartType type = PartType::uint8;
  std::vector<std::size_t> shape;
  Buffer memory;

  [[nodiscard]] std::span<std::uint8_t> bytes() noexcept {
    return {reinterpret_cast<std::uint8_t*>(memory.data()), memory.size()};
  }
  [[nodiscard]] PartView view() const noexcept {
    return {name, type, shape, {reinterpret_cast<const std::uint8_t*>(memory.data()), memory.size()}};
  }
};

/// Zero-filled room for a tensor.
inline Result<Part> make_part(std::string_view name, PartType type, std::vector<std::size_t> shape,
                              std::pmr::memory_resource* memory = nullptr) {
  std::size_t bytes = element_bytes(type);
  for (const std::size_t extent : shape)
    if (!checked_multiply(bytes, extent, bytes))
      return Error{ErrorCode::invalid_argument, "pare: " + std::string(name) + " is larger than memory can be"};
  auto buffer = Buffer::allocate(bytes, memory);
  if (!buffer) return buffer.error();
  Part part{std::string(name), type, std::move(shape), *std::move(buffer)};
  for (std::uint8_t& byte : part.bytes()) byte = 0;
  return part;
}

/// The part of that name; invalid_argument where it is missing, of another type or rank, or its bytes do not fill its
/// shape.
inline Result<PartView> find_part(std::span<const PartView> parts, std::string_view name, PartType type,
                                  std::size_t rank) {
  for (const PartView& part : parts) {
    if (part.name != name) continue;
    if (part.type != type)
      return Error{ErrorCode::invalid_argument, "pare: " + std::string(name) + " has another element type"};
    if (part.shape.size() != rank)
      return Error{ErrorCode::invalid_argument, "pare: " + std::string(name) + " has " +
                                                    std::to_string(part.shape.size()) + " dimensions, not " +
                                                    std::to_string(rank)};
    std::size_t bytes = element_bytes(type);
    for (const std::size_t extent : part.shape)
      if (!checked_multiply(bytes, extent, bytes))
        return Error{ErrorCode::invalid_argument, "pare: the shape of " + std::string(name) + " overflows"};
    if (bytes != part.bytes.size())
      return Error{ErrorCode::invalid_argument, "pare: " + std::string(name) + " has " +
                                                    std::to_string(part.bytes.size()) +
                                                    " bytes where its shape needs " + std::to_string(bytes)};
    return part;
  }
  return Error{ErrorCode::invalid_argument, "pare: " + std::string(name) + " is missing"};
}

}  // namespace pare
