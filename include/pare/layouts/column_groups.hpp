#pragma once

#include <optional>

#include "pare/layouts/packed_parts.hpp"

namespace pare {

/// Which columns share a scale, as a checkpoint says it: by a size, by the index of every column's group, or by the
/// number of groups alone.
struct ColumnGroups {
  std::size_t size = 1;           ///< columns of a group
  std::optional<PartView> index;  ///< the group of every column; nothing where groups are neighbours

  /// Works out the groups of `columns` columns in `count` groups. The index part `name` may be missing; an index of
  /// zeros alone stands for neighbours. `size` 0 takes the size from the index, or else needs groups of equal sizes.
  static Result<ColumnGroups> find(std::span<const PartView> parts, std::string_view name, std::size_t columns,
                                   std::size_t count, std::size_t size);

  /// The same where no layout has an index.
  static Result<ColumnGroups> find(std::size_t columns, std::size_t count, std::size_t size) {
    return find({}, {}, columns, count, size);
  }

  /// Gives a matrix the index, if there is one.
  Result<void> store(CodedMatrix& matrix, std::pmr::memory_resource* memory) const;

  [[nodiscard]] static std::uint32_t at(const PartView& index, std::size_t column) noexcept {
    return static_cast<std::uint32_t>(load_le(index.bytes.data() + column * 4, 4));
  }
};

inline Result<ColumnGroups> ColumnGroups::find(std::span<const PartView> parts, std::string_view name,
                                               std::size_t columns, std::size_t count, std::size_t size) {
  ColumnGroups groups{.size = size, .index = std::nullopt};
  if (has_part(parts, name)) {
    const auto index = find_part(parts, name, PartType::int32, 1);
    if (!index) return index.error();
    if (auto fits = expect_shape(*index, {columns}); !fits) return fits.error();
    groups.index = *index;
  }
  std::size_t zeros = 0;
  for (std::size_t c = 0; groups.index && c < columns; ++c) {
    const std::uint32_t group = at(*groups.index, c);
    if (group >= count)
      return Error{ErrorCode::invalid_argument, "pare: " + std::string(name) + " puts column " + std::to_string(c) +
                                                    " in group " + std::to_string(static_cast<std::int32_t>(group)) +
                                                    " of " + std::to_string(count)};
    zeros += group == 0 ? 1 : 0;
  }
  if (zeros == columns) groups.index.reset();
  const auto neighbours = [&](std::size_t of) {
    for (std::size_t c = 0; c < columns; ++c)
      if (at(*groups.index, c) != c / of) return false;
    return true;
  };
  if (groups.size == 0 && count != 0) {
    const bool by_index = groups.index && zeros != 0 && ceil_div(columns, zeros) == count && neighbours(zeros);
    if (!by_index && columns % count != 0)
      return Error{ErrorCode::invalid_argument, "pare: " + std::to_string(columns) + " columns in " +
                                                    std::to_string(count) + " groups need a group size"};
    groups.size = by_index ? zeros : columns / count;
  }
  if (groups.size == 0) groups.size = 1;
  if (ceil_div(columns, groups.size) != count)
    return Error{ErrorCode::invalid_argument, "pare: " + std::to_string(columns) + " columns make " +
                                                  std::to_string(ceil_div(columns, groups.size)) + " groups of " +
                                                  std::to_string(groups.size) + ", not " + std::to_string(count)};
  if (groups.index && neighbours(groups.size)) groups.index.reset();
  return groups;
}

inline Result<void> ColumnGroups::store(CodedMatrix& matrix, std::pmr::memory_resource* memory) const {
  if (!index) return {};
  if (auto room = matrix.allocate_column_groups(memory); !room) return room;
  const auto groups = matrix.column_groups();
  for (std::size_t c = 0; c < groups.size(); ++c) groups[c] = at(*index, c);
  return {};
}

/// A part int32 [in] with the group of every column.
inline Result<Part> write_column_groups(std::string_view name, const ScaleGrid& blocks,
                                        std::pmr::memory_resource* memory) {
  auto part = make_part(name, PartType::int32, {blocks.matrix().shape.cols}, memory);
  if (!part) return part;
  for (std::size_t c = 0; c < part->shape[0]; ++c) store_le(part->bytes().data() + c * 4, blocks.group_of(c), 4);
  return part;
}

}  // namespace pare
