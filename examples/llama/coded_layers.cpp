#include "llama/coded_layers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <type_traits>

#include "io/weight_layout.hpp"

namespace llama {
using pare::CodedMatrix;
using pare::Error;
using pare::ErrorCode;
using pare::Result;
using pare::Shape;

namespace {

std::span<const std::uint8_t> as_bytes(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}

template <pare::SchemeType S>
Result<CodedMatrix> decode(const io::PackedMatrix& packed) {
  using F = typename S::format_type;
  using G = typename S::granularity_type;
  constexpr bool integer = pare::IntegerFormat<F>;
  const Shape shape = packed.shape();
  const Shape block{std::min(G::block_rows, std::max<std::size_t>(shape.rows, 1)),
                    std::min(G::block_cols, std::max<std::size_t>(shape.cols, 1))};
  const auto part_type = io::part_type(packed.scale_dtype());
  if (!part_type || !pare::scale_type(*part_type))
    return Error{ErrorCode::unsupported,
                 fmt::format("no layout has scales of type {}", io::name(packed.scale_dtype()))};
  const pare::CodeFormat format = [] {
    if constexpr (integer)
      return pare::unsigned_format(F::bits);
    else
      return pare::code_format<F>();
  }();
  auto matrix =
      CodedMatrix::allocate(shape, format, block, integer ? pare::ShiftKind::zero_point : pare::ShiftKind::none);
  if (!matrix) return matrix;
  const pare::Packing rows{.bits = F::bits, .crosses_words = true};
  if (auto done = pare::unpack_codes(rows, as_bytes(packed.codes()), matrix->codes()); !done) return done.error();
  const std::size_t extents[] = {matrix->grid.rows, matrix->grid.cols};
  const pare::PartView scales{"scales", *part_type, extents, as_bytes(packed.scales())};
  pare::read_scales(scales, *matrix, pare::by_rows(matrix->grid));
  if constexpr (S::has_zero_point) {
    for (std::size_t i = 0; i < packed.zero_points().size(); ++i)
      matrix->shifts().data[i] = static_cast<float>(as_bytes(packed.zero_points())[i]);
  } else if constexpr (integer) {
    pare::detail::flip_signs(matrix->codes(), F::bits);
    pare::fill_shifts(*matrix, static_cast<float>(1 << (F::bits - 1)));
  }
  return matrix;
}

}  // namespace

Result<CodedMatrix> coded_matrix(const io::PackedMatrix& packed) {
  return pare::with_scheme(packed.scheme(), [&]<class S>(std::type_identity<S>) { return decode<S>(packed); });
}

Result<CodedMatrix> coded_matrix(const io::GgufTensor& tensor) {
  const auto* block = pare::gguf::find_block_type(static_cast<std::uint32_t>(tensor.type));
  if (block == nullptr || tensor.shape.size() != 2)
    return Error{ErrorCode::unsupported, fmt::format("is {}, no matrix of blocks", io::info_of(tensor.type).name)};
  const std::size_t rows = tensor.shape.front();
  const std::size_t extents[] = {rows, rows == 0 ? 0 : tensor.bytes.size() / rows};
  const pare::PartView part{"weight", pare::PartType::uint8, extents, as_bytes(tensor.bytes)};
  return pare::gguf::Blocks{block->type}.read({&part, 1});
}

Result<std::vector<std::byte>> gguf_blocks(io::GgmlType type, const CodedMatrix& matrix) {
  const auto parts = pare::gguf::Blocks{static_cast<pare::gguf::BlockType>(type)}.write(matrix);
  if (!parts) return parts.error();
  const auto bytes = std::as_bytes(parts->front().view().bytes);
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

Result<CodedMatrix> with_rows(const CodedMatrix& matrix, const std::vector<std::size_t>& sources) {
  if (matrix.block.rows != 1 || !matrix.column_groups().empty() || sources.size() != matrix.shape.rows)
    return Error{ErrorCode::unsupported,
                 "the rows of a matrix whose blocks or columns are tied together keep their order"};
  auto result = CodedMatrix::allocate(matrix.shape, matrix.format, matrix.block, matrix.shift_kind);
  if (!result) return result;
  result->scale_type = matrix.scale_type;
  result->tensor_scale = matrix.tensor_scale;
  result->tensor_scale_kind = matrix.tensor_scale_kind;
  for (std::size_t r = 0; r < sources.size(); ++r) {
    std::copy_n(matrix.codes().row(sources[r]), matrix.shape.cols, result->codes().row(r));
    std::copy_n(matrix.scales().row(sources[r]), matrix.grid.cols, result->scales().row(r));
    if (matrix.shift_kind != pare::ShiftKind::none)
      std::copy_n(matrix.shifts().row(sources[r]), matrix.grid.cols, result->shifts().row(r));
  }
  return result;
}

}  // namespace llama
