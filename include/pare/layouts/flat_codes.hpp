#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pare/layouts/zero_points.hpp"

namespace pare {

namespace detail {

/// The order of a byte whose first code stands in the highest bits.
template <std::size_t N>
inline constexpr auto high_first = make_order<N>([](std::size_t p) { return N - 1 - p; });

/// Columns of a row as the size of a block, which is never 0.
constexpr std::size_t row_length(Shape shape) noexcept { return shape.cols != 0 ? shape.cols : 1; }

/// A float32 part [values].
inline Result<Part> float_part(std::string_view name, std::span<const float> values,
                               std::pmr::memory_resource* memory) {
  auto part = make_part(name, PartType::float32, {values.size()}, memory);
  if (!part) return part;
  for (std::size_t i = 0; i < values.size(); ++i) store_le(part->bytes().data() + 4 * i, F32::encode(values[i]), 4);
  return part;
}

/// The shape in which blocks of the flattened matrix lie within rows: its own, or a single row.
inline Result<Shape> shape_of_blocks(Shape shape, std::size_t block) {
  std::size_t count = 0;
  if (!checked_multiply(shape.rows, shape.cols, count))
    return Error{ErrorCode::invalid_argument, "pare: the shape is larger than memory can be"};
  return shape.cols % block == 0 ? shape : Shape{1, count};
}

/// An error unless a matrix is what shape_of_blocks() says of `shape`, or of its own shape where that is {0, 0}.
inline Result<void> expect_blocks_in_rows(const CodedMatrix& matrix, std::string_view layout, Shape shape,
                                          std::size_t block) {
  if (block == 0) return Error{ErrorCode::invalid_argument, "pare: a block of " + std::string(layout) + " is empty"};
  const auto wanted = shape_of_blocks(shape == Shape{} ? matrix.shape : shape, block);
  if (!wanted) return wanted.error();
  if (*wanted == matrix.shape) return {};
  return refuse(layout, "a matrix of " + std::to_string(matrix.shape.rows) + " x " + std::to_string(matrix.shape.cols) +
                            " where blocks of " + std::to_string(block) + " elements need it as " +
                            std::to_string(wanted->rows) + " x " + std::to_string(wanted->cols));
}

}  // namespace detail

/// A matrix's elements as a single row.
template <class T>
constexpr MatrixView<T> flattened(MatrixView<T> matrix) noexcept {
  return {matrix.data, 1, matrix.rows * matrix.cols};
}

/// The bytes of a part, whatever its type and shape, as uint8 [1, bytes].
struct PackedBytes {
  std::string_view name;
  std::span<const std::uint8_t> bytes;
};

/// The part of that name as nothing but bytes.
inline Result<PackedBytes> find_packed_bytes(std::span<const PartView> parts, std::string_view name) {
  for (const PartView& part : parts) {
    if (part.name != name) continue;
    const auto found = find_part(parts, name, part.type, part.shape.size());
    if (!found) return found.error();
    return PackedBytes{name, found->bytes};
  }
  return Error{ErrorCode::invalid_argument, "pare: " + std::string(name) + " is missing"};
}

/// An error unless a stream has exactly the bytes of so many codes: what readers ask before they make room for them.
inline Result<void> expect_flat(const PackedBytes& packed, const Packing& packing, Shape codes) {
  std::size_t count = 0;
  if (!checked_multiply(codes.rows, codes.cols, count))
    return Error{ErrorCode::invalid_argument, "pare: the shape is larger than memory can be"};
  const auto bytes = packed_size(packing, {1, count});
  if (!bytes) return bytes.error();
  if (*bytes == packed.bytes.size()) return {};
  return Error{ErrorCode::invalid_argument, "pare: " + std::string(packed.name) + " has " +
                                                std::to_string(packed.bytes.size()) + " bytes, not the " +
                                                std::to_string(*bytes) + " of " + std::to_string(codes.rows) + " x " +
                                                std::to_string(codes.cols) + " codes"};
}

/// Unpacks one stream of all codes, row by row; an error unless there are exactly its bytes.
inline Result<void> unpack_flat(const PackedBytes& packed, const Packing& packing, MatrixView<std::uint8_t> codes) {
  if (auto fits = expect_flat(packed, packing, codes.shape()); !fits || codes.empty()) return fits;
  return unpack_codes(packing, packed.bytes, flattened(codes));
}

/// A part [bytes] that holds one stream of all codes, row by row.
inline Result<Part> pack_flat(std::string_view name, PartType type, const Packing& packing,
                              MatrixView<const std::uint8_t> codes, std::pmr::memory_resource* memory) {
  auto part = pack_part(name, type, packing, flattened(codes), memory);
  if (part) part->shape = {part->memory.size() / element_bytes(type)};
  return part;
}

}  // namespace pare
