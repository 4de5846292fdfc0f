#pragma once

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "pare/layouts/packing.hpp"
#include "pare/layouts/scale_grid.hpp"

namespace pare {

inline MatrixView<std::uint8_t> bytes_view(Buffer& buffer, Shape shape) noexcept {
  return {reinterpret_cast<std::uint8_t*>(buffer.data()), shape.rows, shape.cols};
}

/// An error unless a part has that shape.
inline Result<void> expect_shape(const PartView& part, std::initializer_list<std::size_t> shape) {
  const std::span<const std::size_t> wanted(shape.begin(), shape.size());
  bool same = part.shape.size() == wanted.size();
  for (std::size_t i = 0; same && i < wanted.size(); ++i) same = part.shape[i] == wanted[i];
  if (same) return {};
  const auto list = [](std::span<const std::size_t> extents) {
    std::string text = "[";
    for (const std::size_t extent : extents) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
    return text + "]";
  };
  return Error{ErrorCode::invalid_argument,
               "pare: " + std::string(part.name) + " is " + list(part.shape) + ", not " + list(wanted)};
}

/// a * b, or an error that names the part whose shape makes it overflow.
inline Result<std::size_t> extent(const PartView& part, std::size_t a, std::size_t b) {
  std::size_t product = 0;
  if (checked_multiply(a, b, product)) return product;
  return Error{ErrorCode::invalid_argument, "pare: the shape of " + std::string(part.name) + " overflows"};
}

/// An error unless a part has exactly the words of so many codes.
inline Result<void> expect_words(const PartView& part, const Packing& packing, Shape codes) {
  const auto bytes = packed_size(packing, codes);
  if (!bytes) return bytes.error();
  const Shape words = packing.word_shape(codes);
  return expect_shape(part, {words.rows, words.cols});
}

/// Unpacks the words of a part into codes; an error unless it has exactly the words of that many.
inline Result<void> unpack_part(const PartView& part, const Packing& packing, MatrixView<std::uint8_t> codes) {
  if (auto fits = expect_words(part, packing, codes.shape()); !fits || codes.empty()) return fits;
  return unpack_codes(packing, part.bytes, codes);
}

/// A part [words of Packing::word_shape] that holds the codes. What is no multiple of the layout's unit is refused,
/// unless the packing says how to pad.
inline Result<Part> pack_part(std::string_view name, PartType type, const Packing& packing,
                              MatrixView<const std::uint8_t> codes, std::pmr::memory_resource* memory) {
  const auto bytes = packed_size(packing, codes.shape());
  if (!bytes) return bytes.error();
  const Shape words = packing.word_shape(codes.shape());
  auto part = make_part(name, type, {words.rows, words.cols}, memory);
  if (!part || codes.empty()) return part;
  if (auto packed = pack_codes(packing, codes, part->bytes()); !packed) return packed.error();
  return part;
}

/// An error unless rows and columns are multiples of what the words of a layout hold.
inline Result<void> expect_multiples(std::string_view layout, Shape shape, Shape unit) {
  if (shape.rows % unit.rows == 0 && shape.cols % unit.cols == 0) return {};
  return detail::refuse(layout, std::to_string(shape.rows) + " x " + std::to_string(shape.cols) +
                                    " weights, only multiples of " + std::to_string(unit.rows) + " x " +
                                    std::to_string(unit.cols));
}

/// The codes as a layout of `bits`-bit integers with zero points of its own holds them: as they are. An error unless
/// they are integers of at most that many bits.
inline Result<void> expect_integers(const CodedMatrix& matrix, std::string_view layout, int bits) {
  if (matrix.format.integer && matrix.format.bits <= bits) return {};
  return detail::refuse(layout,
                        "codes of " + std::string(matrix.format.name) + " in " + std::to_string(bits) + " bits");
}

/// An error unless the codes are those of one format.
inline Result<void> expect_format(const CodedMatrix& matrix, std::string_view layout, const CodeFormat& format) {
  if (matrix.format == format) return {};
  return detail::refuse(layout,
                        "codes of " + std::string(matrix.format.name) + ", only of " + std::string(format.name));
}

/// An error if the matrix has a scale of the whole tensor: layouts without one call this.
inline Result<void> expect_no_tensor_scale(const CodedMatrix& matrix, std::string_view layout) {
  if (matrix.tensor_scale == 1.0f || matrix.tensor_scale_kind == TensorScale::aside) return {};
  return detail::refuse(layout, "a scale of the whole tensor, " + text(matrix.tensor_scale));
}

/// The index of a block's scale in a part [grid.rows, grid.cols].
constexpr auto by_rows(Shape grid) noexcept {
  return [grid](std::size_t r, std::size_t g) { return r * grid.cols + g; };
}

/// The same in a part [grid.cols, grid.rows].
constexpr auto by_columns(Shape grid) noexcept {
  return [grid](std::size_t r, std::size_t g) { return g * grid.rows + r; };
}

/// Reads the scales of a matrix from a part, where place(row, group) is the element of each.
template <class Place>
void read_scales(const PartView& part, CodedMatrix& matrix, Place&& place) {
  matrix.scale_type = scale_type(part.type).value_or(ScaleType::float8_e8m0);
  const auto read = [&](std::size_t r, std::size_t g) -> Result<void> {
    matrix.scales()(r, g) = scale_at(part, place(r, g));
    return {};
  };
  static_cast<void>(for_each_place(matrix.grid, read));
}

/// A part with all scales of a grid, where read_scales finds them; what lies between is zero. A scale that the type
/// cannot hold is an error.
template <class Place>
Result<Part> write_scales(std::string_view name, PartType type, std::vector<std::size_t> shape, const ScaleGrid& grid,
                          Place&& place, std::pmr::memory_resource* memory) {
  auto part = make_part(name, type, std::move(shape), memory);
  if (!part) return part;
  const std::size_t bytes = element_bytes(type);
  const auto write = [&](std::size_t r, std::size_t g) -> Result<void> {
    const auto code = grid.scale_code(r, g, scale_type(type).value_or(ScaleType::float8_e8m0));
    if (!code) return code.error();
    store_le(part->bytes().data() + place(r, g) * bytes, *code, bytes);
    return {};
  };
  if (auto written = for_each_place(grid.grid(), write); !written) return written.error();
  return part;
}
template <class Place>
Result<Part> write_scales(std::string_view name, ScaleType type, std::vector<std::size_t> shape, const ScaleGrid& grid,
                          Place&& place, std::pmr::memory_resource* memory) {
  return write_scales(name, part_type(type), std::move(shape), grid, place, memory);
}

/// The type in which layouts of 16-bit scales store those of a matrix.
constexpr ScaleType half_type(const CodedMatrix& matrix) noexcept {
  return matrix.scale_type == ScaleType::bfloat16 ? ScaleType::bfloat16 : ScaleType::float16;
}

/// The type in which layouts of "the model's type" store the scales of a matrix.
constexpr ScaleType model_type(const CodedMatrix& matrix) noexcept {
  return matrix.scale_type == ScaleType::float16 || matrix.scale_type == ScaleType::bfloat16 ? matrix.scale_type
                                                                                             : ScaleType::float32;
}

/// The part of that name with scales of type float16, bfloat16 or float32 (what "the model's type" can be).
inline Result<PartView> find_float_part(std::span<const PartView> parts, std::string_view name, std::size_t rank) {
  for (const PartType type : {PartType::float16, PartType::bfloat16, PartType::float32})
    for (const PartView& part : parts)
      if (part.name == name && part.type == type) return find_part(parts, name, type, rank);
  return find_part(parts, name, PartType::float16, rank);
}

/// Whether there is a part of that name.
inline bool has_part(std::span<const PartView> parts, std::string_view name) noexcept {
  for (const PartView& part : parts)
    if (part.name == name) return true;
  return false;
}

/// The shape that a int64 part [2] or [2, 1] holds.
inline Result<Shape> read_shape(std::span<const PartView> parts, std::string_view name, std::size_t rank) {
  const auto part = find_part(parts, name, PartType::int64, rank);
  if (!part) return part.error();
  if (auto fits = rank == 1 ? expect_shape(*part, {2}) : expect_shape(*part, {2, 1}); !fits) return fits.error();
  const std::uint64_t rows = load_le(part->bytes.data(), 8), cols = load_le(part->bytes.data() + 8, 8);
  constexpr std::uint64_t limit = ~std::size_t{0} / 64;
  if (rows <= limit && cols <= limit) return Shape{static_cast<std::size_t>(rows), static_cast<std::size_t>(cols)};
  return Error{ErrorCode::invalid_argument, "pare: " + std::string(name) + " is no shape of a matrix"};
}

/// A part that holds a shape.
inline Result<Part> write_shape(std::string_view name, Shape shape, std::size_t rank,
                                std::pmr::memory_resource* memory) {
  auto part = make_part(name, PartType::int64, rank == 1 ? std::vector<std::size_t>{2} : std::vector<std::size_t>{2, 1},
                        memory);
  if (!part) return part;
  store_le(part->bytes().data(), shape.rows, 8);
  store_le(part->bytes().data() + 8, shape.cols, 8);
  return part;
}

/// Parts as a list.
template <class... Parts>
std::vector<Part> collect(Parts&&... parts) {
  std::vector<Part> list;
  list.reserve(sizeof...(parts));
  (list.push_back(std::forward<Parts>(parts)), ...);
  return list;
}

}  // namespace pare
