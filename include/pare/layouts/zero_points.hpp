#pragma once

#include "pare/layouts/packed_parts.hpp"

namespace pare {
namespace detail {

/// Two's complement to codes counted from the lowest, and back.
inline void flip_signs(MatrixView<std::uint8_t> codes, int bits) noexcept {
  const auto sign = static_cast<std::uint8_t>(1u << (bits - 1));
  for (std::size_t i = 0; i < codes.rows * codes.cols; ++i) codes.data[i] ^= sign;
}

}  // namespace detail

/// What a layout without stored zero points, whose code `middle` means zero, takes for each element: code - zero point
/// + middle. An error names the first that is out of range.
inline Result<Buffer> recentred_codes(const ScaleGrid& blocks, int bits, std::int32_t middle,
                                      std::pmr::memory_resource* memory) {
  const CodedMatrix& matrix = blocks.matrix();
  if (!matrix.format.integer) return detail::refuse(blocks.layout(), "codes of " + std::string(matrix.format.name));
  auto buffer = Buffer::allocate(matrix.codes_memory.size(), memory);
  if (!buffer) return buffer.error();
  const Shape grid = blocks.grid(), block = blocks.block();
  auto zero_memory = Buffer::allocate(grid.rows * grid.cols * sizeof(std::int32_t), memory);
  if (!zero_memory) return zero_memory.error();
  auto* const zeros = reinterpret_cast<std::int32_t*>(zero_memory->data());
  const auto find_zero = [&](std::size_t r, std::size_t g) -> Result<void> {
    const auto zero = blocks.zero_point(r, g, 0, 1 << matrix.format.bits);
    if (!zero) return zero.error();
    zeros[r * grid.cols + g] = *zero;
    return {};
  };
  if (auto found = for_each_place(grid, find_zero); !found) return found.error();
  const MatrixView<std::uint8_t> centred = bytes_view(*buffer, matrix.shape);
  const auto centre = [&](std::size_t row, std::size_t g, std::size_t begin, std::size_t end) -> Result<void> {
    const std::int32_t shift = middle - zeros[row / block.rows * grid.cols + g];
    for (std::size_t column = begin; column < end; ++column) {
      const std::int32_t code = matrix.codes()(row, column) + shift;
      if (code < 0 || code >> bits != 0)
        return blocks.refusal("integer", row / block.rows, g,
                              std::to_string(code - middle) + " in column " + std::to_string(column) +
                                  " does not fit in " + std::to_string(bits) + " bits with a sign");
      centred(row, column) = static_cast<std::uint8_t>(code);
    }
    return {};
  };
  // Columns in an order of their own are runs of one.
  const std::size_t columns = matrix.shape.cols, step = blocks.reordered() ? 1 : block.cols;
  const auto centre_run = [&](std::size_t row, std::size_t run) -> Result<void> {
    const std::size_t begin = run * step, end = columns - begin < step ? columns : begin + step;
    return centre(row, blocks.group_of(begin), begin, end);
  };
  if (auto done = for_each_place({matrix.shape.rows, ceil_div(columns, step)}, centre_run); !done) return done.error();
  return buffer;
}

/// The same around 2^(bits - 1).
inline Result<Buffer> centred_codes(const ScaleGrid& blocks, int bits, std::pmr::memory_resource* memory) {
  return recentred_codes(blocks, bits, 1 << (bits - 1), memory);
}

/// A copy of the codes as they are.
inline Result<Buffer> copy_codes(const CodedMatrix& matrix, std::pmr::memory_resource* memory) {
  auto buffer = Buffer::allocate(matrix.codes_memory.size(), memory);
  if (buffer && buffer->size() != 0) std::memcpy(buffer->data(), matrix.codes_memory.data(), buffer->size());
  return buffer;
}

/// Sets every shift of a matrix to one value.
inline void fill_shifts(CodedMatrix& matrix, float value) {
  float* shifts = reinterpret_cast<float*>(matrix.shifts_memory.data());
  for (std::size_t i = 0; i < matrix.shifts_memory.size() / sizeof(float); ++i) shifts[i] = value;
}

/// The zero points of all blocks as codes [grid], each less `bias` and in `bits` bits.
inline Result<Buffer> zero_point_codes(const ScaleGrid& blocks, int bits, std::int32_t lowest, std::int32_t highest,
                                       std::int32_t bias, std::pmr::memory_resource* memory) {
  auto buffer = Buffer::allocate(blocks.grid().rows * blocks.grid().cols, memory);
  if (!buffer) return buffer.error();
  const MatrixView<std::uint8_t> codes = bytes_view(*buffer, blocks.grid());
  const auto store = [&](std::size_t r, std::size_t g) -> Result<void> {
    const auto zero = blocks.zero_point(r, g, lowest, highest);
    if (!zero) return zero.error();
    codes(r, g) = static_cast<std::uint8_t>((*zero - bias) & ((1 << bits) - 1));
    return {};
  };
  if (auto stored = for_each_place(blocks.grid(), store); !stored) return stored.error();
  return buffer;
}

/// Unpacks a part of zero points, one code for each block of the matrix, and sets the shift of each to meaning(code).
template <class Meaning>
Result<void> read_zero_points(const PartView& part, const Packing& packing, CodedMatrix& matrix, Meaning&& meaning,
                              std::pmr::memory_resource* memory) {
  auto buffer = Buffer::allocate(matrix.grid.rows * matrix.grid.cols, memory);
  if (!buffer) return buffer.error();
  const MatrixView<std::uint8_t> codes = bytes_view(*buffer, matrix.grid);
  if (auto unpacked = unpack_part(part, packing, codes); !unpacked) return unpacked;
  return for_each_place(matrix.grid, [&](std::size_t r, std::size_t g) -> Result<void> {
    matrix.shifts()(r, g) = static_cast<float>(meaning(codes(r, g)));
    return {};
  });
}

/// A part of packed zero points, each within lowest .. highest and stored less `bias`.
inline Result<Part> write_zero_points(std::string_view name, PartType type, const Packing& packing,
                                      const ScaleGrid& blocks, std::int32_t lowest, std::int32_t highest,
                                      std::int32_t bias, std::pmr::memory_resource* memory) {
  auto codes = zero_point_codes(blocks, packing.bits, lowest, highest, bias, memory);
  if (!codes) return codes.error();
  return pack_part(name, type, packing, bytes_view(*codes, blocks.grid()), memory);
}

}  // namespace pare
