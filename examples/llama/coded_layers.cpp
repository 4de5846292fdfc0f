#include "llama/coded_layers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <type_traits>

#include "pare/quantize/quantize.hpp"

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
  const auto view = pare::PackedView<S>::over(packed.shape(), as_bytes(packed.codes()), as_bytes(packed.scales()),
                                              as_bytes(packed.zero_points()));
  if (!view) return view.error();
  return pare::coded<S>(*view);
}

std::vector<std::byte> copy(std::span<const std::uint8_t> bytes) {
  const auto all = std::as_bytes(bytes);
  return {all.begin(), all.end()};
}

/// The parts of the matrix in one scheme, perhaps only one with scales of the same type; `unsupported` where that
/// cannot hold it, or only with blocks or codes of another size.
template <pare::SchemeType S>
Result<io::PackedParts> encode(const CodedMatrix& matrix, bool same_scales) {
  const pare::SchemeGrid<S> grid;
  if (grid.block(matrix.shape) != matrix.block || grid.format().bits != matrix.format.bits ||
      !matrix.column_groups().empty() || (same_scales && grid.scale_type() != matrix.scale_type))
    return Error{ErrorCode::unsupported, fmt::format("{} cannot hold it", pare::name<S>())};
  const auto packed = pare::pack<S>(matrix);
  if (!packed) return packed.error();
  return io::PackedParts{.scheme = std::string(pare::name<S>()),
                         .codes = copy(packed->codes()),
                         .scales = copy(packed->scales()),
                         .zero_points = copy(packed->zero_points())};
}

}  // namespace

Result<io::PackedParts> pack(const CodedMatrix& matrix) {
  for (const bool same_scales : {true, false})
    for (const std::string_view name : pare::Catalog::names) {
      auto parts =
          pare::with_scheme(name, [&]<class S>(std::type_identity<S>) { return encode<S>(matrix, same_scales); });
      if (parts || parts.error().code != ErrorCode::unsupported) return parts;
    }
  return Error{ErrorCode::unsupported,
               fmt::format("pare: no scheme of the catalog has codes of {} in blocks of {} x {} with such scales",
                           matrix.format.name, matrix.block.rows, matrix.block.cols)};
}

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
