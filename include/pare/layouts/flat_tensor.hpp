#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "pare/layouts/flat_codes.hpp"

namespace pare {

/// What the elements of a dense tensor are in OpenVINO's and ONNX's sense: small floats, tables, or integers.
struct StoredFormat {
  CodeFormat format;
  bool twos_complement = false;  ///< integers below zero, which the codes count from the lowest

  [[nodiscard]] constexpr int bits() const noexcept { return format.bits; }
  [[nodiscard]] constexpr bool has_zero_point() const noexcept { return format.integer; }
  /// The code of the integer 0.
  [[nodiscard]] constexpr int middle() const noexcept { return twos_complement ? 1 << (format.bits - 1) : 0; }
};

/// Two's complement integers of 2 to 8 bits.
constexpr StoredFormat stored_int(int bits) noexcept { return {unsigned_format(bits), true}; }
/// Unsigned integers of 1 to 8 bits.
constexpr StoredFormat stored_uint(int bits) noexcept { return {unsigned_format(bits)}; }
/// Any other format, as stored<E2M1>().
template <Format F>
constexpr StoredFormat stored() noexcept {
  return {code_format<F>()};
}

namespace detail {

/// A tensor of codes in one stream of bits, with scales and perhaps zero points for its blocks: what the layouts of
/// OpenVINO and ONNX have in common.
struct FlatTensor {
  std::string_view layout;
  StoredFormat elements;
  Packing packing;  ///< of the flattened tensor
  Shape shape, block;
  std::string_view codes, scales, zero_points;  ///< names of the parts
  std::vector<std::size_t> scale_shape;         ///< of the scales; readers only count

  [[nodiscard]] Shape grid() const noexcept {
    return {ceil_div(shape.rows, block.rows), ceil_div(shape.cols, block.cols)};
  }

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory) const;

 private:
  Result<void> read_zeros(std::span<const PartView> parts, CodedMatrix& matrix,
                          std::pmr::memory_resource* memory) const;
};

/// The part of that name with so many scales of any float type, whatever its shape; bytes are E8M0.
inline Result<PartView> find_scale_list(std::span<const PartView> parts, std::string_view name, std::size_t count) {
  for (const PartView& part : parts) {
    if (part.name != name) continue;
    if (!scale_type(part.type) && part.type != PartType::uint8)
      return Error{ErrorCode::invalid_argument, "pare: " + std::string(name) + " has another element type"};
    auto found = find_part(parts, name, part.type, part.shape.size());
    if (!found) return found;
    if (found->bytes.size() / element_bytes(found->type) == count) return found;
    return Error{ErrorCode::invalid_argument, "pare: " + std::string(name) + " has " +
                                                  std::to_string(found->bytes.size() / element_bytes(found->type)) +
                                                  " scales, not " + std::to_string(count)};
  }
  return Error{ErrorCode::invalid_argument, "pare: " + std::string(name) + " is missing"};
}

inline Result<void> FlatTensor::read_zeros(std::span<const PartView> parts, CodedMatrix& matrix,
                                           std::pmr::memory_resource* memory) const {
  fill_shifts(matrix, static_cast<float>(elements.middle()));
  if (!has_part(parts, zero_points)) return {};
  auto buffer = Buffer::allocate(matrix.grid.rows * matrix.grid.cols, memory);
  if (!buffer) return buffer.error();
  const MatrixView<std::uint8_t> zeros = bytes_view(*buffer, matrix.grid);
  const auto found = find_packed_bytes(parts, zero_points);
  if (!found) return found.error();
  if (auto unpacked = unpack_flat(*found, packing, zeros); !unpacked) return unpacked;
  if (elements.twos_complement) flip_signs(zeros, elements.bits());
  return for_each_place(matrix.grid, [&](std::size_t r, std::size_t g) -> Result<void> {
    matrix.shifts()(r, g) = static_cast<float>(zeros(r, g));
    return {};
  });
}

inline Result<CodedMatrix> FlatTensor::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  if (elements.bits() == 0) return Error{ErrorCode::invalid_argument, "pare: elements have 1 to 8 bits"};
  const auto stream = find_packed_bytes(parts, codes);
  if (!stream) return stream.error();
  std::size_t count = 1;
  for (const std::size_t extent : scale_shape)
    if (!checked_multiply(count, extent, count))
      return Error{ErrorCode::invalid_argument, "pare: the shape is larger than memory can be"};
  const auto scale_list = find_scale_list(parts, scales, count);
  if (!scale_list) return scale_list.error();
  if (auto fits = expect_flat(*stream, packing, shape); !fits) return fits.error();
  auto matrix = CodedMatrix::allocate(shape, elements.format, block,
                                      elements.has_zero_point() ? ShiftKind::zero_point : ShiftKind::none, memory);
  if (!matrix) return matrix;
  if (auto unpacked = unpack_flat(*stream, packing, matrix->codes()); !unpacked) return unpacked.error();
  if (elements.twos_complement) flip_signs(matrix->codes(), elements.bits());
  read_scales(*scale_list, *matrix, by_rows(matrix->grid));
  if (!elements.has_zero_point()) return matrix;
  if (auto done = read_zeros(parts, *matrix, memory); !done) return done.error();
  return matrix;
}

inline Result<std::vector<Part>> FlatTensor::write(const CodedMatrix& matrix, std::pmr::memory_resource* memory) const {
  if (elements.bits() == 0) return Error{ErrorCode::invalid_argument, "pare: elements have 1 to 8 bits"};
  if (auto good = expect_no_tensor_scale(matrix, layout); !good) return good.error();
  if (matrix.shape != shape)
    return Error{ErrorCode::invalid_argument, "pare: the matrix has another shape than the layout"};
  const auto blocks = ScaleGrid::fit(matrix, layout, block);
  if (!blocks) return blocks.error();
  const bool stores_zeros = elements.has_zero_point() && !zero_points.empty();
  if (!elements.has_zero_point()) {
    if (auto good = expect_format(matrix, layout, elements.format); !good) return good.error();
    if (auto good = blocks->unshifted(); !good) return good.error();
  } else if (stores_zeros) {
    if (auto good = expect_integers(matrix, layout, elements.bits()); !good) return good.error();
  }
  auto buffer = elements.has_zero_point() && !stores_zeros
                    ? recentred_codes(*blocks, elements.bits(), elements.middle(), memory)
                    : copy_codes(matrix, memory);
  if (!buffer) return buffer.error();
  const MatrixView<std::uint8_t> stream = bytes_view(*buffer, shape);
  if (elements.twos_complement) flip_signs(stream, elements.bits());
  auto packed = pack_flat(codes, PartType::uint8, packing, stream, memory);
  if (!packed) return packed.error();
  auto scale_part = write_scales(scales, matrix.scale_type, scale_shape, *blocks, by_rows(blocks->grid()), memory);
  if (!scale_part) return scale_part.error();
  if (!stores_zeros) return collect(*std::move(packed), *std::move(scale_part));
  auto zeros = zero_point_codes(*blocks, elements.bits(), 0, (1 << elements.bits()) - 1, 0, memory);
  if (!zeros) return zeros.error();
  if (elements.twos_complement) flip_signs(bytes_view(*zeros, blocks->grid()), elements.bits());
  auto zero_part = pack_flat(zero_points, PartType::uint8, packing, bytes_view(*zeros, blocks->grid()), memory);
  if (!zero_part) return zero_part.error();
  return collect(*std::move(packed), *std::move(scale_part), *std::move(zero_part));
}

}  // namespace detail
}  // namespace pare
