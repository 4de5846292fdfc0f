#pragma once

#include <string>
#include <string_view>

#include "pare/layouts/scale_types.hpp"

namespace pare {

/// Which order of the columns a layout can hold.
enum class ColumnOrder {
  blocks,  ///< neighbours share a group
  any,     ///< a group of its own for every column (act-order)
};

/// Calls visit(row, column) for each place of a grid. Nothing happens for an empty one, however long it is.
template <class Visit>
Result<void> for_each_place(Shape grid, Visit&& visit) {
  if (grid.rows == 0 || grid.cols == 0) return {};
  for (std::size_t r = 0; r < grid.rows; ++r)
    for (std::size_t c = 0; c < grid.cols; ++c)
      if (Result<void> done = visit(r, c); !done) return done;
  return {};
}

/// The blocks of a layout whose groups lie along the rows: of `group_size` columns, or, where that is 0, of the
/// matrix's own, which must then tell themselves by their number.
Result<Shape> group_block(const CodedMatrix& matrix, std::string_view layout, std::size_t group_size);

/// The scales and zero points of a matrix as the blocks of a layout, which may split the matrix's own: what writers ask
/// for. Everything a layout cannot hold is an `unsupported` error that names the block, the value and the limit.
class ScaleGrid {
 public:
  static Result<ScaleGrid> fit(const CodedMatrix& matrix, std::string_view layout, Shape block,
                               ColumnOrder order = ColumnOrder::blocks);

  [[nodiscard]] std::string_view layout() const noexcept { return layout_; }
  [[nodiscard]] const CodedMatrix& matrix() const noexcept { return *matrix_; }
  [[nodiscard]] Shape grid() const noexcept { return grid_; }
  [[nodiscard]] Shape block() const noexcept { return block_; }
  /// Whether column_groups() says more than the order of the columns.
  [[nodiscard]] bool reordered() const noexcept { return reordered_; }

  [[nodiscard]] std::size_t group_of(std::size_t column) const noexcept {
    return reordered_ ? matrix_->group_of(column) : column / block_.cols;
  }

  [[nodiscard]] float scale(std::size_t r, std::size_t g) const noexcept {
    return matrix_->scales()(source_row(r), source_group(g));
  }
  /// The code of a block's scale in the layout's type.
  [[nodiscard]] Result<std::uint32_t> scale_code(std::size_t r, std::size_t g, ScaleType type) const;
  /// The integer that a block's codes are counted from, within lowest .. highest. A shift that is added counts where
  /// it is a multiple of the scale, and nothing is rounded in either form.
  [[nodiscard]] Result<std::int32_t> zero_point(std::size_t r, std::size_t g, std::int32_t lowest,
                                                std::int32_t highest) const;
  /// The code of what is added to code * scale: -(scale * zero point) where the matrix has zero points. An error if the
  /// type cannot hold it, unless it may be rounded.
  [[nodiscard]] Result<std::uint32_t> offset_code(std::size_t r, std::size_t g, ScaleType type, bool rounded) const;
  /// The code of a zero point that need not be an integer, as a layout's type holds it; 0 where the matrix has none.
  [[nodiscard]] Result<std::uint32_t> shift_code(std::size_t r, std::size_t g, ScaleType type) const;
  /// An error unless values are code * scale alone.
  [[nodiscard]] Result<void> unshifted() const;

  /// "pare: gptq cannot hold the <what> of row 2, group 3: <why>".
  [[nodiscard]] Error refusal(std::string_view what, std::size_t r, std::size_t g, const std::string& why) const;

 private:
  [[nodiscard]] std::size_t source_row(std::size_t r) const noexcept { return r * block_.rows / matrix_->block.rows; }
  [[nodiscard]] std::size_t source_group(std::size_t g) const noexcept { return g * block_.cols / matrix_->block.cols; }

  const CodedMatrix* matrix_ = nullptr;
  std::string_view layout_;
  Shape block_;
  Shape grid_;
  bool reordered_ = false;
};

namespace detail {

inline Error refuse(std::string_view layout, const std::string& why) {
  return {ErrorCode::unsupported, "pare: " + std::string(layout) + " cannot hold " + why};
}

/// Whether blocks of `fine` elements lie within blocks of `coarse` elements of an axis.
constexpr bool splits(std::size_t coarse, std::size_t fine, std::size_t extent) noexcept {
  return coarse >= extent || coarse % fine == 0;
}

}  // namespace detail

inline Result<Shape> group_block(const CodedMatrix& matrix, std::string_view layout, std::size_t group_size) {
  if (group_size != 0) return Shape{1, group_size};
  const std::size_t columns = matrix.shape.cols, size = matrix.block.cols;
  if (size < columns && columns % size != 0)
    return detail::refuse(layout, "a shorter last group (" + std::to_string(columns) + " columns in groups of " +
                                      std::to_string(size) + ") without a group_size");
  return Shape{1, size};
}

inline Result<ScaleGrid> ScaleGrid::fit(const CodedMatrix& matrix, std::string_view layout, Shape block,
                                        ColumnOrder order) {
  if (block.rows == 0 || block.cols == 0)
    return Error{ErrorCode::invalid_argument, "pare: a block of " + std::string(layout) + " has no elements"};
  ScaleGrid blocks;
  blocks.matrix_ = &matrix;
  blocks.layout_ = layout;
  blocks.block_ = block;
  blocks.grid_ = {ceil_div(matrix.shape.rows, block.rows), ceil_div(matrix.shape.cols, block.cols)};
  const auto groups = matrix.column_groups();
  for (std::size_t c = 0; c < groups.size() && !blocks.reordered_; ++c)
    blocks.reordered_ = groups[c] != c / matrix.block.cols;
  const Shape have = matrix.block;
  if (blocks.reordered_ &&
      (order == ColumnOrder::blocks || have.cols != block.cols || matrix.grid.cols != blocks.grid_.cols))
    return detail::refuse(layout, "columns whose groups are out of order (act-order)");
  if (!detail::splits(have.rows, block.rows, matrix.shape.rows) ||
      !detail::splits(have.cols, block.cols, matrix.shape.cols))
    return detail::refuse(layout, "scales of " + std::to_string(have.rows) + " x " + std::to_string(have.cols) +
                                      " elements in its blocks of " + std::to_string(block.rows) + " x " +
                                      std::to_string(block.cols));
  return blocks;
}

inline Error ScaleGrid::refusal(std::string_view what, std::size_t r, std::size_t g, const std::string& why) const {
  return detail::refuse(layout_, "the " + std::string(what) + " of row " + std::to_string(r * block_.rows) +
                                     ", group " + std::to_string(g) + ": " + why);
}

inline Result<std::uint32_t> ScaleGrid::scale_code(std::size_t r, std::size_t g, ScaleType type) const {
  if (const auto code = encode_scale(type, scale(r, g))) return *code;
  return refusal("scale", r, g, text(scale(r, g)) + " is no " + std::string(scale_type_name(type)));
}

inline Result<std::int32_t> ScaleGrid::zero_point(std::size_t r, std::size_t g, std::int32_t lowest,
                                                  std::int32_t highest) const {
  float zero = 0.0f;
  if (matrix_->shift_kind != ShiftKind::none) {
    const float shift = matrix_->shifts()(source_row(r), source_group(g));
    zero = shift;
    if (matrix_->shift_kind == ShiftKind::offset) {
      const float s = scale(r, g);
      zero = s == 0.0f && shift == 0.0f ? 0.0f : static_cast<float>(round_to_int(-shift / s));
      // Sums of a code's and a shift's multiple of the scale are exact as long as the scale leaves them the bits.
      const bool narrow = matrix_->scale_type != ScaleType::float32;
      if (!narrow || !(static_cast<double>(zero) * static_cast<double>(s) == -static_cast<double>(shift)))
        return refusal("offset", r, g, text(shift) + " is no whole multiple of the scale " + text(s));
    }
    if (!(zero == static_cast<float>(round_to_int(zero))))
      return refusal("zero point", r, g, text(zero) + " is no integer");
  }
  if (zero < static_cast<float>(lowest) || zero > static_cast<float>(highest))
    return refusal("zero point", r, g,
                   text(zero) + " is not within " + std::to_string(lowest) + " .. " + std::to_string(highest));
  return static_cast<std::int32_t>(zero);
}

inline Result<std::uint32_t> ScaleGrid::offset_code(std::size_t r, std::size_t g, ScaleType type, bool rounded) const {
  if (matrix_->shift_kind == ShiftKind::none) return round_scale(type, 0.0f);
  const float shift = matrix_->shifts()(source_row(r), source_group(g)), s = scale(r, g);
  const bool added = matrix_->shift_kind == ShiftKind::offset;
  const float offset = added ? shift : -(s * shift);
  if (rounded) return round_scale(type, offset);
  if (!added && (shift != static_cast<float>(round_to_int(shift)) ||
                 -static_cast<double>(offset) != static_cast<double>(s) * static_cast<double>(shift)))
    return refusal("zero point", r, g, text(shift) + " times the scale " + text(s) + " has to be rounded");
  if (const auto code = encode_scale(type, offset)) return *code;
  return refusal("offset", r, g, text(offset) + " is no " + std::string(scale_type_name(type)));
}

inline Result<std::uint32_t> ScaleGrid::shift_code(std::size_t r, std::size_t g, ScaleType type) const {
  const float shift = matrix_->shift_kind == ShiftKind::none ? 0.0f : matrix_->shifts()(source_row(r), source_group(g));
  if (const auto code = encode_scale(type, shift)) return *code;
  return refusal("zero point", r, g, text(shift) + " is no " + std::string(scale_type_name(type)));
}

inline Result<void> ScaleGrid::unshifted() const {
  if (matrix_->shift_kind == ShiftKind::none) return {};
  return for_each_place(grid_, [&](std::size_t r, std::size_t g) -> Result<void> {
    const float shift = matrix_->shifts()(source_row(r), source_group(g));
    if (shift == 0.0f) return {};
    return refusal("shift", r, g, text(shift) + " is not 0");
  });
}

}  // namespace pare
