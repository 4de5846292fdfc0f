#pragma once

#include <bit>
#include <string_view>
#include <vector>

#include "pare/layouts/packed_parts.hpp"

namespace pare {

/// compressed-tensors' "sparse-24-bitmask": `shape` int64 [2, 1], `compressed` [out, in / 2] of any type, the kept
/// values of a row in the order of their columns, and `bitmask` uint8 [out, ceil(in / 8)], the lowest bit for the first
/// column. It holds dense elements, quantized or not. Every four neighbours of a row keep two; in is a multiple of 4.
struct Sparse24Bitmask {
  static constexpr std::string_view name = "compressed-tensors:sparse-24-bitmask";

  /// The dense part `weight`.
  Result<Part> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  /// Which zeros fill up a group is free: negative ones first, so that they come back, then the first. A negative zero
  /// that finds no room comes back positive.
  Result<std::vector<Part>> write(const PartView& dense, std::pmr::memory_resource* memory = nullptr) const;
};

/// compressed-tensors' "sparse-bitmask": `shape` int64 [2], `compressed` of any type, all values that are not zero row
/// by row; `bitmask` uint8 [out, ceil(in / 8)]; `row_offsets` int64 [out], the place of each row's first value.
/// Negative zeros come back positive.
struct SparseBitmask {
  static constexpr std::string_view name = "compressed-tensors:sparse-bitmask";

  Result<Part> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  Result<std::vector<Part>> write(const PartView& dense, std::pmr::memory_resource* memory = nullptr) const;
};

namespace detail {

/// The part of that name, whatever its type.
inline Result<PartView> find_any_part(std::span<const PartView> parts, std::string_view name, std::size_t rank) {
  for (const PartView& part : parts)
    if (part.name == name) return find_part(parts, name, part.type, rank);
  return find_part(parts, name, PartType::uint8, rank);
}

/// Whether an element is zero; floats have two of them.
constexpr bool is_zero(PartType type, std::uint64_t element) noexcept {
  switch (type) {
    case PartType::float16:
    case PartType::bfloat16:
      return (element & 0x7fff) == 0;
    case PartType::float32:
      return (element & 0x7fffffff) == 0;
    case PartType::float8_e4m3:
      return (element & 0x7f) == 0;
    default:
      return element == 0;
  }
}

/// A mask of bits beside the elements it selects.
struct Bitmask {
  PartView mask;
  PartView values;
  Shape shape;

  static Result<Bitmask> find(std::span<const PartView> parts, std::size_t value_rank, std::size_t shape_rank) {
    const auto shape = read_shape(parts, "shape", shape_rank);
    if (!shape) return shape.error();
    const auto mask = find_part(parts, "bitmask", PartType::uint8, 2);
    if (!mask) return mask.error();
    const auto values = find_any_part(parts, "compressed", value_rank);
    if (!values) return values.error();
    if (auto fits = expect_shape(*mask, {shape->rows, ceil_div(shape->cols, 8)}); !fits) return fits.error();
    return Bitmask{*mask, *values, *shape};
  }

  [[nodiscard]] bool keeps(std::size_t row, std::size_t column) const noexcept {
    return (mask.bytes[row * ceil_div(shape.cols, 8) + column / 8] >> (column % 8) & 1) != 0;
  }
};

}  // namespace detail

inline Result<Part> Sparse24Bitmask::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  const auto found = detail::Bitmask::find(parts, 2, 2);
  if (!found) return found.error();
  const std::size_t rows = found->shape.rows, cols = found->shape.cols;
  if (cols % 4 != 0) return detail::refuse(name, std::to_string(cols) + " columns, only multiples of 4");
  if (auto fits = expect_shape(found->values, {rows, cols / 2}); !fits) return fits.error();
  auto dense = make_part("weight", found->values.type, {rows, cols}, memory);
  if (!dense) return dense;
  const std::size_t bytes = element_bytes(dense->type);
  const auto expand = [&](std::size_t r, std::size_t four) -> Result<void> {
    std::size_t from = r * cols / 2 + 2 * four, kept = 0;
    for (std::size_t c = 4 * four; c < 4 * four + 4; ++c) {
      if (!found->keeps(r, c)) continue;
      if (++kept > 2) break;
      store_le(dense->bytes().data() + (r * cols + c) * bytes,
               load_le(found->values.bytes.data() + from++ * bytes, bytes), bytes);
    }
    if (kept == 2) return {};
    return Error{ErrorCode::corrupt_data, "pare: bitmask does not keep two of row " + std::to_string(r) + ", columns " +
                                              std::to_string(4 * four) + " to " + std::to_string(4 * four + 3)};
  };
  if (auto done = for_each_place({rows, cols / 4}, expand); !done) return done.error();
  return dense;
}

inline Result<std::vector<Part>> Sparse24Bitmask::write(const PartView& dense,
                                                        std::pmr::memory_resource* memory) const {
  const auto checked = find_part({&dense, 1}, dense.name, dense.type, 2);
  if (!checked) return checked.error();
  const std::size_t rows = dense.shape[0], cols = dense.shape[1], bytes = element_bytes(dense.type);
  if (cols % 4 != 0) return detail::refuse(name, std::to_string(cols) + " columns, only multiples of 4");
  auto shape = write_shape("shape", {rows, cols}, 2, memory);
  if (!shape) return shape.error();
  auto values = make_part("compressed", dense.type, {rows, cols / 2}, memory);
  if (!values) return values.error();
  auto mask = make_part("bitmask", PartType::uint8, {rows, ceil_div(cols, 8)}, memory);
  if (!mask) return mask.error();
  const auto compress = [&](std::size_t r, std::size_t four) -> Result<void> {
    std::uint64_t elements[4] = {};
    for (std::size_t c = 0; c < 4; ++c)
      elements[c] = load_le(dense.bytes.data() + (r * cols + 4 * four + c) * bytes, bytes);
    const auto wanted = [&](std::size_t c, int turn) {
      return turn == 0 ? !detail::is_zero(dense.type, elements[c]) : turn == 2 || elements[c] != 0;
    };
    unsigned kept = 0;
    for (int turn = 0; turn < 3; ++turn)
      for (std::size_t c = 0; c < 4; ++c)
        if (wanted(c, turn) && (turn == 0 || std::popcount(kept) < 2)) kept |= 1u << c;
    if (std::popcount(kept) != 2)
      return detail::refuse(name, "more than two values that are not 0 in row " + std::to_string(r) + ", columns " +
                                      std::to_string(4 * four) + " to " + std::to_string(4 * four + 3));
    std::size_t to = r * cols / 2 + 2 * four;
    for (std::size_t c = 0; c < 4; ++c)
      if ((kept >> c & 1u) != 0) store_le(values->bytes().data() + to++ * bytes, elements[c], bytes);
    std::uint8_t& byte = mask->bytes()[r * ceil_div(cols, 8) + four / 2];
    byte = static_cast<std::uint8_t>(byte | kept << (four % 2 * 4));
    return {};
  };
  if (auto done = for_each_place({rows, cols / 4}, compress); !done) return done.error();
  return collect(*std::move(shape), *std::move(values), *std::move(mask));
}

inline Result<Part> SparseBitmask::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  const auto found = detail::Bitmask::find(parts, 1, 1);
  if (!found) return found.error();
  const std::size_t rows = found->shape.rows, cols = found->shape.cols;
  const auto offsets = find_part(parts, "row_offsets", PartType::int64, 1);
  if (!offsets) return offsets.error();
  if (auto fits = expect_shape(*offsets, {rows}); !fits) return fits.error();
  auto dense = make_part("weight", found->values.type, {rows, cols}, memory);
  if (!dense) return dense;
  const std::size_t bytes = element_bytes(dense->type), count = found->values.shape[0];
  std::size_t from = 0;
  const auto expand = [&](std::size_t r, std::size_t c) -> Result<void> {
    if (c == 0 && load_le(offsets->bytes.data() + r * 8, 8) != from)
      return Error{ErrorCode::corrupt_data, "pare: row_offsets of row " + std::to_string(r) + " is not the " +
                                                std::to_string(from) + " of bitmask"};
    if (!found->keeps(r, c)) return {};
    if (from == count)
      return Error{ErrorCode::corrupt_data, "pare: compressed has fewer elements than bitmask has ones"};
    store_le(dense->bytes().data() + (r * cols + c) * bytes,
             load_le(found->values.bytes.data() + from++ * bytes, bytes), bytes);
    return {};
  };
  if (auto done = for_each_place(found->shape, expand); !done) return done.error();
  if (from == count) return dense;
  return Error{ErrorCode::corrupt_data, "pare: compressed has more elements than bitmask has ones"};
}

inline Result<std::vector<Part>> SparseBitmask::write(const PartView& dense, std::pmr::memory_resource* memory) const {
  const auto checked = find_part({&dense, 1}, dense.name, dense.type, 2);
  if (!checked) return checked.error();
  const std::size_t rows = dense.shape[0], cols = dense.shape[1], bytes = element_bytes(dense.type);
  const auto element = [&](std::size_t r, std::size_t c) {
    return load_le(dense.bytes.data() + (r * cols + c) * bytes, bytes);
  };
  std::size_t count = 0;
  const auto add = [&](std::size_t r, std::size_t c) -> Result<void> {
    if (!detail::is_zero(dense.type, element(r, c))) ++count;
    return {};
  };
  static_cast<void>(for_each_place({rows, cols}, add));
  auto shape = write_shape("shape", {rows, cols}, 1, memory);
  if (!shape) return shape.error();
  auto values = make_part("compressed", dense.type, {count}, memory);
  if (!values) return values.error();
  auto mask = make_part("bitmask", PartType::uint8, {rows, ceil_div(cols, 8)}, memory);
  if (!mask) return mask.error();
  auto offsets = make_part("row_offsets", PartType::int64, {rows}, memory);
  if (!offsets) return offsets.error();
  std::size_t to = 0;
  const auto compress = [&](std::size_t r, std::size_t c) -> Result<void> {
    if (c == 0) store_le(offsets->bytes().data() + r * 8, to, 8);
    if (detail::is_zero(dense.type, element(r, c))) return {};
    store_le(values->bytes().data() + to++ * bytes, element(r, c), bytes);
    std::uint8_t& byte = mask->bytes()[r * ceil_div(cols, 8) + c / 8];
    byte = static_cast<std::uint8_t>(byte | 1u << (c % 8));
    return {};
  };
  static_cast<void>(for_each_place({rows, cols}, compress));
  return collect(*std::move(shape), *std::move(values), *std::move(mask), *std::move(offsets));
}

}  // namespace pare
