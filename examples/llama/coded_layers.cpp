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

/// The codes of a scheme's format as a CodedMatrix counts them.
template <pare::Format F>
constexpr pare::CodeFormat code_format() noexcept {
  if constexpr (pare::IntegerFormat<F>)
    return pare::unsigned_format(F::bits);
  else
    return pare::code_format<F>();
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
  auto matrix = CodedMatrix::allocate(shape, code_format<F>(), block,
                                      integer ? pare::ShiftKind::zero_point : pare::ShiftKind::none);
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

/// The parts of the matrix in one scheme, perhaps only one with scales of the same type; `unsupported` where that
/// cannot hold it.
template <pare::SchemeType S>
Result<io::PackedParts> encode(const CodedMatrix& matrix, bool same_scales) {
  using F = typename S::format_type;
  using G = typename S::granularity_type;
  constexpr bool integer = pare::IntegerFormat<F>;
  const Error unsupported{ErrorCode::unsupported, fmt::format("{} cannot hold it", pare::name<S>())};
  const Shape shape = matrix.shape;
  const Shape block{std::min(G::block_rows, shape.rows), std::min(G::block_cols, shape.cols)};
  if (G::grid(shape) != matrix.grid || block != matrix.block || !matrix.column_groups().empty()) return unsupported;
  if (matrix.tensor_scale != 1.0f) return unsupported;
  if (integer ? !matrix.format.integer || matrix.format.bits != F::bits
              : !(matrix.format == code_format<F>()) || matrix.shift_kind != pare::ShiftKind::none)
    return unsupported;
  const auto grid = pare::ScaleGrid::fit(matrix, pare::name<S>(), block);
  if (!grid) return unsupported;
  const auto part_type = io::part_type(io::scale_dtype<typename S::scale_type>());
  const auto scale_type = part_type ? pare::scale_type(*part_type) : std::nullopt;
  if (!scale_type || (same_scales && *scale_type != matrix.scale_type)) return unsupported;

  io::PackedParts parts{.scheme = std::string(pare::name<S>()), .codes = {}, .scales = {}, .zero_points = {}};
  const std::size_t blocks = matrix.grid.rows * matrix.grid.cols, scale_bytes = pare::element_bytes(*part_type);
  parts.scales.resize(blocks * scale_bytes);
  for (std::size_t i = 0; i < blocks; ++i) {
    const auto code = pare::encode_scale(*scale_type, matrix.scales().data[i]);
    if (!code) return unsupported;
    pare::store_le(reinterpret_cast<std::uint8_t*>(parts.scales.data()) + i * scale_bytes, *code, scale_bytes);
  }
  for (std::size_t i = 0; S::has_zero_point && i < blocks; ++i) {
    const auto zero = grid->zero_point(i / matrix.grid.cols, i % matrix.grid.cols, 0, (1 << F::bits) - 1);
    if (!zero) return unsupported;
    parts.zero_points.push_back(static_cast<std::byte>(*zero));
  }
  auto codes =
      integer && !S::has_zero_point ? pare::centred_codes(*grid, F::bits, nullptr) : pare::copy_codes(matrix, nullptr);
  if (!codes) return codes.error();
  const pare::MatrixView<std::uint8_t> stored = pare::bytes_view(*codes, shape);
  if (integer && !S::has_zero_point) pare::detail::flip_signs(stored, F::bits);
  const pare::Packing rows{.bits = F::bits, .crosses_words = true};
  const auto size = pare::packed_size(rows, shape);
  if (!size) return size.error();
  parts.codes.resize(*size);
  const std::span bytes(reinterpret_cast<std::uint8_t*>(parts.codes.data()), *size);
  if (auto done = pare::pack_codes(rows, pare::MatrixView<const std::uint8_t>(stored), bytes); !done)
    return done.error();
  return parts;
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
