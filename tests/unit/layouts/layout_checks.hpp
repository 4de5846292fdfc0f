#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "pare/layouts/packed_parts.hpp"

namespace layout_test {

/// What a random matrix looks like.
struct MatrixKind {
  pare::Shape shape;
  pare::CodeFormat format;
  pare::Shape block{1, 1};
  pare::ShiftKind shift = pare::ShiftKind::none;
  pare::ScaleType scales = pare::ScaleType::float16;
  int lowest_zero = 0;  ///< of zero points
  int highest_zero = 0;
  bool act_order = false;
};

inline pare::CodedMatrix random_matrix(const MatrixKind& kind, unsigned seed) {
  std::mt19937 random(seed);
  auto matrix = pare::CodedMatrix::allocate(kind.shape, kind.format, kind.block, kind.shift);
  EXPECT_TRUE(matrix) << matrix.error().message;
  matrix->scale_type = kind.scales;
  const auto codes = matrix->codes();
  for (std::size_t r = 0; r < codes.rows; ++r)
    for (std::size_t c = 0; c < codes.cols; ++c)
      codes(r, c) = static_cast<std::uint8_t>(random() & ((1u << kind.format.bits) - 1u));
  std::uniform_int_distribution<int> zero(kind.lowest_zero, kind.highest_zero);
  std::uniform_real_distribution<float> scale(0.001f, 2.0f);
  for (std::size_t r = 0; r < matrix->grid.rows; ++r)
    for (std::size_t g = 0; g < matrix->grid.cols; ++g) {
      matrix->scales()(r, g) = pare::decode_scale(kind.scales, pare::round_scale(kind.scales, scale(random)));
      if (kind.shift != pare::ShiftKind::none) matrix->shifts()(r, g) = static_cast<float>(zero(random));
    }
  if (kind.act_order) {
    EXPECT_TRUE(matrix->allocate_column_groups());
    const auto groups = matrix->column_groups();
    for (std::size_t c = 0; c < groups.size(); ++c) groups[c] = static_cast<std::uint32_t>(c / kind.block.cols);
    std::shuffle(groups.begin(), groups.end(), random);
  }
  return *std::move(matrix);
}

inline bool same_bytes(const pare::Buffer& a, const pare::Buffer& b) {
  return a.size() == b.size() && (a.size() == 0 || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

/// What distinguishes two matrices, or nothing.
inline std::string difference(const pare::CodedMatrix& a, const pare::CodedMatrix& b) {
  if (a.shape != b.shape) return "shape";
  if (!(a.format == b.format) || a.format.bits != b.format.bits) return "format";
  if (a.block != b.block || a.grid != b.grid) return "blocks";
  if (a.scale_type != b.scale_type) return "scale type";
  if (a.shift_kind != b.shift_kind) return "kind of shift";
  if (a.tensor_scale_kind != b.tensor_scale_kind || a.tensor_scale != b.tensor_scale) return "tensor scale";
  if (!same_bytes(a.codes_memory, b.codes_memory)) return "codes";
  if (!same_bytes(a.scales_memory, b.scales_memory)) return "scales";
  if (!same_bytes(a.shifts_memory, b.shifts_memory)) return "shifts";
  if (!same_bytes(a.column_group_memory, b.column_group_memory)) return "column groups";
  return {};
}

inline std::vector<pare::PartView> views(const std::vector<pare::Part>& parts) {
  std::vector<pare::PartView> list;
  for (const pare::Part& part : parts) list.push_back(part.view());
  return list;
}

template <class Layout>
std::vector<pare::Part> write(const Layout& layout, const pare::CodedMatrix& matrix) {
  auto parts = layout.write(matrix);
  EXPECT_TRUE(parts) << parts.error().message;
  return parts ? *std::move(parts) : std::vector<pare::Part>{};
}

template <class Layout>
void expect_round_trip(const Layout& layout, const pare::CodedMatrix& matrix) {
  const auto parts = write(layout, matrix);
  const auto back = layout.read(views(parts));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(difference(matrix, *back), "") << matrix.shape.rows << " x " << matrix.shape.cols;
}

/// The message with which a layout refuses a matrix; empty, and a failure, where it does not.
template <class Layout, class Matrix>
std::string refusal(const Layout& layout, const Matrix& matrix) {
  const auto parts = layout.write(matrix);
  EXPECT_FALSE(parts);
  return parts ? std::string{} : parts.error().message;
}

template <class Layout>
std::string read_error(const Layout& layout, std::span<const pare::PartView> parts) {
  const auto matrix = layout.read(parts);
  EXPECT_FALSE(matrix);
  return matrix ? std::string{} : matrix.error().message;
}

inline void expect_same_values(const pare::CodedMatrix& a, const pare::CodedMatrix& b) {
  ASSERT_EQ(a.shape, b.shape);
  for (std::size_t r = 0; r < a.shape.rows; ++r)
    for (std::size_t c = 0; c < a.shape.cols; ++c) ASSERT_EQ(a.value(r, c), b.value(r, c)) << r << ", " << c;
}

/// A matrix written into a layout and read out of it again, which must leave its values as they are.
template <class Layout>
pare::CodedMatrix converted(const Layout& layout, const pare::CodedMatrix& matrix) {
  auto back = layout.read(views(write(layout, matrix)));
  EXPECT_TRUE(back) << Layout::name << ": " << back.error().message;
  if (!back) return {};
  expect_same_values(matrix, *back);
  return *std::move(back);
}

/// Damages every part in turn: missing, of another type or rank, with too few bytes, or longer on one axis. Each must
/// be an error; a missing part must be named, unless it is among `optional`. Along the axes `growing`, as "weight 1",
/// one more is another good matrix. The parts `any_rank` are streams whose shape says nothing.
template <class Layout>
void expect_damage_is_found(const Layout& layout, const std::vector<pare::Part>& parts,
                            const std::vector<std::string>& optional = {}, const std::vector<std::string>& growing = {},
                            const std::vector<std::string>& any_rank = {}) {
  const auto among = [](const std::vector<std::string>& list, const std::string& item) {
    return std::find(list.begin(), list.end(), item) != list.end();
  };
  const std::vector<pare::PartView> good = views(parts);
  ASSERT_TRUE(layout.read(good)) << layout.read(good).error().message;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::string name = parts[i].name;
    auto bad = good;
    if (!among(optional, name)) {
      bad.erase(bad.begin() + static_cast<std::ptrdiff_t>(i));
      EXPECT_NE(read_error(layout, bad).find(name), std::string::npos) << name;
    }

    bad = good;
    bad[i].type = pare::PartType::uint16;
    EXPECT_NE(read_error(layout, bad).find(name), std::string::npos) << name;

    bad = good;
    std::vector<std::size_t> shape(good[i].shape.begin(), good[i].shape.end());
    shape.insert(shape.begin(), {1, 1, 1});
    bad[i].shape = shape;
    if (among(any_rank, name))
      EXPECT_TRUE(layout.read(bad)) << name;
    else
      EXPECT_NE(read_error(layout, bad).find(name), std::string::npos) << name;

    bad = good;
    if (!good[i].bytes.empty()) {
      bad[i].bytes = good[i].bytes.first(good[i].bytes.size() - 1);
      EXPECT_NE(read_error(layout, bad).find(name), std::string::npos) << name;
    }

    for (std::size_t axis = 0; axis < good[i].shape.size(); ++axis) {
      bad = good;
      shape.assign(good[i].shape.begin(), good[i].shape.end());
      ++shape[axis];
      std::size_t bytes = pare::element_bytes(good[i].type);
      for (const std::size_t extent : shape) bytes *= extent;
      const std::vector<std::uint8_t> zeros(bytes);
      bad[i].shape = shape;
      bad[i].bytes = zeros;
      EXPECT_EQ(layout.read(bad).has_value(), among(growing, name + " " + std::to_string(axis))) << name << axis;

      shape[axis] = ~std::size_t{0};
      bad[i].bytes = {};
      EXPECT_FALSE(layout.read(bad)) << name << ", axis " << axis;
    }
  }
}

}  // namespace layout_test
