#pragma once

#include <vector>

#include "pare/layouts/layouts.hpp"
#include "runner.hpp"

namespace golden {

/// The columns that share a scale by the configuration's "g", where -1 means all: 0 for the library.
inline std::size_t group_of(const Entry& entry) {
  const int group = entry.option("g", -1);
  return group < 0 ? 0 : static_cast<std::size_t>(group);
}

inline std::vector<int> codes(const pare::CodedMatrix& matrix) {
  std::vector<int> result;
  for (std::size_t r = 0; r < matrix.shape.rows; ++r)
    for (std::size_t c = 0; c < matrix.shape.cols; ++c) result.push_back(matrix.codes()(r, c));
  return result;
}

/// Integer codes less their block's zero point, as files of signed codes have them.
inline std::vector<int> signed_codes(const pare::CodedMatrix& matrix) {
  std::vector<int> result;
  for (std::size_t r = 0; r < matrix.shape.rows; ++r)
    for (std::size_t c = 0; c < matrix.shape.cols; ++c)
      result.push_back(matrix.codes()(r, c) -
                       static_cast<int>(matrix.shifts()(r / matrix.block.rows, matrix.group_of(c))));
  return result;
}

inline std::vector<float> scales(const pare::CodedMatrix& matrix) {
  return {matrix.scales().data, matrix.scales().data + matrix.grid.rows * matrix.grid.cols};
}

inline std::vector<float> shifts(const pare::CodedMatrix& matrix) {
  return {matrix.shifts().data, matrix.shifts().data + matrix.grid.rows * matrix.grid.cols};
}

inline std::vector<float> dequantized(const pare::CodedMatrix& matrix) {
  std::vector<float> result;
  for (std::size_t r = 0; r < matrix.shape.rows; ++r)
    for (std::size_t c = 0; c < matrix.shape.cols; ++c) result.push_back(matrix.value(r, c));
  return result;
}

}  // namespace golden
