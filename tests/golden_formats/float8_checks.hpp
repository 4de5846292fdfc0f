#pragma once

#include "layout_parts.hpp"
#include "pare/layouts/scaled_bytes.hpp"

namespace golden {

/// The quantizer of E4M3 weights: `input` to the scales and codes that a matrix was read with.
inline void check_float8_quantizer(const Vectors& vectors, const std::string& scale, const pare::CodedMatrix& matrix,
                                   float scale_of_zeros, Report& report) {
  const auto weights = vectors.values<float>("input");
  if (weights.size() != matrix.shape.rows * matrix.shape.cols) return report.check("input", false, "another size");
  const auto scales = elements(matrix.grid, false, [&](std::size_t r, std::size_t g) {
    return pare::float8_scale(range_of(weights, matrix.shape, matrix, r, g), scale_of_zeros);
  });
  report.equal(scale + " of input", vectors.values<float>(scale), scales);
  report.equal("weight of input", vectors.values<std::uint8_t>("weight"),
               elements(matrix.shape, false, [&](std::size_t r, std::size_t c) {
                 const std::size_t block = r / matrix.block.rows * matrix.grid.cols + matrix.group_of(c);
                 return pare::float8_code(weights[r * matrix.shape.cols + c], scales[block]);
               }));
}

}  // namespace golden
