#pragma once

#include <string_view>
#include <vector>

#include "pare/layouts/float_blocks.hpp"

namespace pare {

/// The MXFP4 experts of gpt-oss as transformers stores them: `blocks` uint8 [experts, out, in / 32, 16], the even
/// column in the low nibble, and `scales` uint8 [experts, out, in / 32], E8M0 (in a file `gate_up_proj_blocks`, ...).
/// The matrix has the rows of all experts, one after another.
struct GptOssMxfp4 {
  static constexpr std::string_view name = "gpt-oss:mxfp4";
  static constexpr Packing packing{};

  std::size_t experts = 1;  ///< to write; read from the shape

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const;
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const;

 private:
  static constexpr detail::FloatBlocks rows{
      .layout = name, .format = code_format<E2M1>(), .weight = "blocks", .scale = "scales"};
};

inline Result<CodedMatrix> GptOssMxfp4::read(std::span<const PartView> parts, std::pmr::memory_resource* memory) const {
  auto blocks = find_part(parts, "blocks", PartType::uint8, 4);
  if (!blocks) return blocks.error();
  auto scales = find_part(parts, "scales", PartType::uint8, 3);
  if (!scales) return scales.error();
  const auto shape = blocks->shape;
  if (auto fits = expect_shape(*blocks, {shape[0], shape[1], shape[2], 16}); !fits) return fits.error();
  if (auto fits = expect_shape(*scales, {shape[0], shape[1], shape[2]}); !fits) return fits.error();
  const auto all_rows = extent(*blocks, shape[0], shape[1]);
  if (!all_rows) return all_rows.error();
  const auto bytes = extent(*blocks, shape[2], 16);
  if (!bytes) return bytes.error();
  const std::size_t weight_shape[] = {*all_rows, *bytes}, scale_shape[] = {*all_rows, shape[2]};
  blocks->shape = weight_shape;
  scales->shape = scale_shape;
  const PartView flat[] = {*blocks, *scales};
  return rows.read(flat, memory);
}

inline Result<std::vector<Part>> GptOssMxfp4::write(const CodedMatrix& matrix,
                                                    std::pmr::memory_resource* memory) const {
  if (experts == 0 || matrix.shape.rows % experts != 0)
    return Error{ErrorCode::invalid_argument,
                 "pare: " + std::to_string(matrix.shape.rows) + " rows are no " + std::to_string(experts) + " experts"};
  auto parts = rows.write(matrix, memory);
  if (!parts) return parts;
  const std::size_t out = matrix.shape.rows / experts, count = matrix.shape.cols / 32;
  (*parts)[0].shape = {experts, out, count, 16};
  (*parts)[1].shape = {experts, out, count};
  return parts;
}

}  // namespace pare
