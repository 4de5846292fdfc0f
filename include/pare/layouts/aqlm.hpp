#pragma once

#include <string_view>
#include <vector>

#include "pare/layouts/flat_codes.hpp"

namespace pare {

/// A weight matrix [out, in] of additive codebooks (Egiazarian et al., AQLM, 2024): each group of out_group x in_group
/// weights is the sum of one vector out of each codebook, times the scale of its rows.
struct AdditiveMatrix {
  Shape shape;                                ///< of the weights
  Shape group;                                ///< outputs and inputs that share codes
  std::size_t codebooks = 0;                  ///< vectors that are added up
  std::size_t vectors = 0;                    ///< in each codebook
  Buffer codes_memory;                        ///< uint16 [out / group.rows, in / group.cols, codebooks]
  Buffer values_memory;                       ///< float [codebooks, vectors, group.rows, group.cols]
  Buffer scales_memory;                       ///< float [out / group.rows]
  ScaleType value_type = ScaleType::float16;  ///< which all values and scales have

  [[nodiscard]] Shape grid() const noexcept { return {shape.rows / group.rows, shape.cols / group.cols}; }
  [[nodiscard]] std::uint16_t code(std::size_t r, std::size_t c, std::size_t book) const noexcept {
    return reinterpret_cast<const std::uint16_t*>(codes_memory.data())[(r * grid().cols + c) * codebooks + book];
  }
  /// The vector of a code, [group.rows, group.cols].
  [[nodiscard]] MatrixView<const float> vector(std::size_t book, std::size_t code) const noexcept {
    const auto* values = reinterpret_cast<const float*>(values_memory.data());
    return {values + (book * vectors + code) * group.rows * group.cols, group.rows, group.cols};
  }
  [[nodiscard]] float scale(std::size_t r) const noexcept {
    return reinterpret_cast<const float*>(scales_memory.data())[r];
  }
  /// The weight: the vectors added up in order, in float, then scaled.
  [[nodiscard]] float value(std::size_t row, std::size_t column) const noexcept {
    const std::size_t r = row / group.rows, c = column / group.cols;
    float sum = 0.0f;
    for (std::size_t book = 0; book < codebooks; ++book)
      sum += vector(book, code(r, c, book))(row % group.rows, column % group.cols);
    return sum * scale(r);
  }
};

/// AQLM's files: `codes` int8 (for at most 8 bits) or int16 [out / og, in / ig, codebooks], each code less 2^bits where
/// it is 2^(bits - 1) or more; `codebooks` of the model's type [codebooks, 2^bits, og, ig]; `scales` [out / og, 1, 1,
/// 1]. "1x16" has one codebook of 16 bits and groups of 8 inputs, "2x8" two of 8 bits.
struct Aqlm {
  static constexpr std::string_view name = "aqlm";

  Result<AdditiveMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  Result<std::vector<Part>> write(const AdditiveMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;
};

namespace detail {

inline Result<void> check_codebooks(const AdditiveMatrix& matrix) {
  const std::size_t vectors = matrix.vectors;
  if (vectors >= 2 && vectors <= 65536 && (vectors & (vectors - 1)) == 0 && matrix.codebooks != 0 &&
      matrix.group.rows != 0 && matrix.group.cols != 0)
    return {};
  return Error{ErrorCode::invalid_argument,
               "pare: codebooks has no 2 to 65536 vectors, a power of two, or no values in them"};
}

}  // namespace detail

inline Result<AdditiveMatrix> Aqlm::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  const auto books = find_float_part(parts, "codebooks", 4);
  if (!books) return books.error();
  const auto scales = find_part(parts, "scales", books->type, 4);
  if (!scales) return scales.error();
  AdditiveMatrix matrix;
  matrix.codebooks = books->shape[0];
  matrix.vectors = books->shape[1];
  matrix.group = {books->shape[2], books->shape[3]};
  matrix.value_type = scale_type(books->type).value_or(ScaleType::float16);
  const std::size_t last = matrix.vectors - 1;
  if (auto good = detail::check_codebooks(matrix); !good) return good.error();
  const PartType code_type = matrix.vectors > 256 ? PartType::int16 : PartType::int8;
  const auto codes = find_part(parts, "codes", code_type, 3);
  if (!codes) return codes.error();
  if (auto fits = expect_shape(*codes, {codes->shape[0], codes->shape[1], matrix.codebooks}); !fits)
    return fits.error();
  if (auto fits = expect_shape(*scales, {codes->shape[0], 1, 1, 1}); !fits) return fits.error();
  const auto rows = extent(*codes, codes->shape[0], matrix.group.rows);
  if (!rows) return rows.error();
  const auto cols = extent(*codes, codes->shape[1], matrix.group.cols);
  if (!cols) return cols.error();
  matrix.shape = {*rows, *cols};

  const std::size_t code_bytes = element_bytes(code_type), count = codes->bytes.size() / code_bytes;
  auto code_memory = Buffer::allocate(count * sizeof(std::uint16_t), memory);
  if (!code_memory) return code_memory.error();
  auto* const code_list = reinterpret_cast<std::uint16_t*>(code_memory->data());
  for (std::size_t i = 0; i < count; ++i)
    code_list[i] = static_cast<std::uint16_t>(load_le(codes->bytes.data() + i * code_bytes, code_bytes) & last);
  const auto floats = [&](const PartView& part) -> Result<Buffer> {
    const std::size_t size = part.bytes.size() / element_bytes(part.type);
    auto buffer = Buffer::allocate(size * sizeof(float), memory);
    if (!buffer) return buffer;
    for (std::size_t i = 0; i < size; ++i) reinterpret_cast<float*>(buffer->data())[i] = scale_at(part, i);
    return buffer;
  };
  auto value_memory = floats(*books);
  if (!value_memory) return value_memory.error();
  auto scale_memory = floats(*scales);
  if (!scale_memory) return scale_memory.error();
  matrix.codes_memory = *std::move(code_memory);
  matrix.values_memory = *std::move(value_memory);
  matrix.scales_memory = *std::move(scale_memory);
  return matrix;
}

inline Result<std::vector<Part>> Aqlm::write(const AdditiveMatrix& matrix, std::pmr::memory_resource* memory) const {
  if (auto good = detail::check_codebooks(matrix); !good) return good.error();
  if (auto good = expect_multiples(name, matrix.shape, matrix.group); !good) return good.error();
  const Shape grid = matrix.grid();
  const PartType code_type = matrix.vectors > 256 ? PartType::int16 : PartType::int8;
  const PartType type = part_type(matrix.value_type);
  auto codes = make_part("codes", code_type, {grid.rows, grid.cols, matrix.codebooks}, memory);
  if (!codes) return codes.error();
  const std::size_t code_bytes = element_bytes(code_type), count = codes->memory.size() / code_bytes;
  const auto* const code_list = reinterpret_cast<const std::uint16_t*>(matrix.codes_memory.data());
  for (std::size_t i = 0; i < count; ++i) {
    if (code_list[i] >= matrix.vectors)
      return detail::refuse(
          name, "code " + std::to_string(code_list[i]) + " of " + std::to_string(matrix.vectors) + " vectors");
    const std::uint64_t stored = code_list[i] - (code_list[i] >= matrix.vectors / 2 ? matrix.vectors : 0);
    store_le(codes->bytes().data() + i * code_bytes, stored, code_bytes);
  }
  const auto floats = [&](std::string_view part_name, const Buffer& values,
                          std::vector<std::size_t> shape) -> Result<Part> {
    auto part = make_part(part_name, type, std::move(shape), memory);
    if (!part) return part;
    const std::size_t bytes = element_bytes(type);
    for (std::size_t i = 0; i < part->memory.size() / bytes; ++i) {
      const float value = reinterpret_cast<const float*>(values.data())[i];
      const auto code = encode_scale(matrix.value_type, value);
      if (!code)
        return detail::refuse(name, text(value) + " among the " + std::string(part_name) + ": it is no " +
                                        std::string(scale_type_name(matrix.value_type)));
      store_le(part->bytes().data() + i * bytes, *code, bytes);
    }
    return part;
  };
  auto books = floats("codebooks", matrix.values_memory,
                      {matrix.codebooks, matrix.vectors, matrix.group.rows, matrix.group.cols});
  if (!books) return books.error();
  auto scales = floats("scales", matrix.scales_memory, {grid.rows, 1, 1, 1});
  if (!scales) return scales.error();
  return collect(*std::move(codes), *std::move(books), *std::move(scales));
}

}  // namespace pare
