#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pare/layouts/packed_parts.hpp"
#include "pare/schemes/schemes.hpp"
#include "runner.hpp"

namespace golden {

/// A tensor of a golden file as a part of a layout.
struct NamedPart {
  std::string tensor;     ///< in the file
  std::string_view part;  ///< in the layout; must outlive the views
};

/// Tensors as parts, in that order; what is missing is a fault of the report.
inline std::vector<pare::PartView> parts(const Vectors& vectors, const std::vector<NamedPart>& names, Report& report) {
  constexpr std::pair<io::DType, pare::PartType> types[] = {{io::DType::u8, pare::PartType::uint8},
                                                            {io::DType::i8, pare::PartType::int8},
                                                            {io::DType::i16, pare::PartType::int16},
                                                            {io::DType::u16, pare::PartType::uint16},
                                                            {io::DType::i32, pare::PartType::int32},
                                                            {io::DType::u32, pare::PartType::uint32},
                                                            {io::DType::i64, pare::PartType::int64},
                                                            {io::DType::f16, pare::PartType::float16},
                                                            {io::DType::bf16, pare::PartType::bfloat16},
                                                            {io::DType::f32, pare::PartType::float32},
                                                            {io::DType::f8_e4m3, pare::PartType::float8_e4m3},
                                                            {io::DType::f8_e8m0, pare::PartType::float8_e8m0}};
  std::vector<pare::PartView> views;
  for (const NamedPart& name : names) {
    const io::TensorView* tensor = vectors.file().find(name.tensor);
    if (tensor == nullptr) {
      report.check(name.tensor, false, "is missing");
      continue;
    }
    pare::PartView view{.name = name.part, .type = pare::PartType::uint8, .shape = tensor->shape, .bytes = {}};
    for (const auto& [dtype, type] : types)
      if (dtype == tensor->dtype) view.type = type;
    view.bytes = {reinterpret_cast<const std::uint8_t*>(tensor->bytes.data()), tensor->bytes.size()};
    views.push_back(view);
  }
  return views;
}

/// Compares what a layout wrote with the tensors, type, shape and bytes; every part must have its tensor.
inline void compare(const Vectors& vectors, const std::vector<NamedPart>& names,
                    const pare::Result<std::vector<pare::Part>>& written, Report& report) {
  if (!written) return report.check("write", false, written.error().message);
  report.check("parts", written->size() == names.size(), std::to_string(written->size()) + " written");
  const std::vector<pare::PartView> expected = parts(vectors, names, report);
  for (const pare::PartView& tensor : expected) {
    const pare::Part* found = nullptr;
    for (const pare::Part& part : *written)
      if (part.name == tensor.name) found = &part;
    if (found == nullptr) {
      report.check(tensor.name, false, "is not written");
      continue;
    }
    const pare::PartView view = found->view();
    const bool same = view.type == tensor.type && std::vector(view.shape.begin(), view.shape.end()) ==
                                                      std::vector(tensor.shape.begin(), tensor.shape.end());
    report.check(tensor.name, same, "is written with another type or shape");
    report.equal(tensor.name, tensor.bytes, view.bytes);
  }
}

/// Every element of a matrix, row by row, or column by column.
template <class Element>
auto elements(pare::Shape shape, bool by_columns, Element&& element) {
  std::vector<decltype(element(std::size_t{}, std::size_t{}))> list;
  const std::size_t outer = by_columns ? shape.cols : shape.rows, inner = by_columns ? shape.rows : shape.cols;
  for (std::size_t i = 0; i < outer; ++i)
    for (std::size_t j = 0; j < inner; ++j) list.push_back(by_columns ? element(j, i) : element(i, j));
  return list;
}

inline std::vector<std::uint8_t> codes(const pare::CodedMatrix& matrix, bool by_columns) {
  return elements(matrix.shape, by_columns, [&](std::size_t r, std::size_t c) { return matrix.codes()(r, c); });
}

inline std::vector<float> values(const pare::CodedMatrix& matrix, bool by_columns) {
  return elements(matrix.shape, by_columns, [&](std::size_t r, std::size_t c) { return matrix.value(r, c); });
}

inline std::vector<float> shifts(const pare::CodedMatrix& matrix, bool by_columns) {
  return elements(matrix.grid, by_columns, [&](std::size_t r, std::size_t g) { return matrix.shifts()(r, g); });
}

/// The bits of numbers rounded to half precision.
inline std::vector<std::uint16_t> halves(const std::vector<float>& values) {
  std::vector<std::uint16_t> list;
  for (const float value : values) list.push_back(pare::Half(value).bits);
  return list;
}

/// Unsigned integers as floats.
inline std::vector<float> floats(const std::vector<std::uint8_t>& integers) {
  return {integers.begin(), integers.end()};
}

/// Reads a matrix; a fault of the report where that fails.
template <class Layout>
std::optional<pare::CodedMatrix> read(const Layout& layout, const Vectors& vectors, const std::vector<NamedPart>& names,
                                      Report& report) {
  auto matrix = layout.read(parts(vectors, names, report));
  if (matrix) return *std::move(matrix);
  report.check("read", false, matrix.error().message);
  return std::nullopt;
}

/// The range of each block of a matrix of weights [rows, cols].
inline pare::Range range_of(const std::vector<float>& weights, pare::Shape shape, const pare::CodedMatrix& matrix,
                            std::size_t r, std::size_t g) {
  pare::Range range;
  const std::size_t begin = r * matrix.block.rows, end = std::min(shape.rows, begin + matrix.block.rows);
  for (std::size_t row = begin; row < end; ++row)
    for (std::size_t c = 0; c < shape.cols; ++c)
      if (matrix.group_of(c) == g) range.include(weights[row * shape.cols + c]);
  return range;
}

/// The least and the greatest weight of each block, whether or not zero lies between them.
inline std::pair<float, float> extremes(const std::vector<float>& weights, const pare::CodedMatrix& matrix,
                                        std::size_t r, std::size_t g) {
  const pare::Shape shape = matrix.shape, block = matrix.block;
  const std::size_t top = r * block.rows, left = g * block.cols;
  std::pair result{weights[top * shape.cols + left], weights[top * shape.cols + left]};
  for (std::size_t row = top; row < std::min(shape.rows, top + block.rows); ++row)
    for (std::size_t c = left; c < std::min(shape.cols, left + block.cols); ++c) {
      result.first = std::min(result.first, weights[row * shape.cols + c]);
      result.second = std::max(result.second, weights[row * shape.cols + c]);
    }
  return result;
}

}  // namespace golden
