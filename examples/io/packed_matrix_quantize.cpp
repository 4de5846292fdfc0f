#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "io/packed_matrix.hpp"

namespace io {
using pare::Error;
using pare::ErrorCode;
using pare::Result;
using pare::SchemeType;
using pare::Shape;

static_assert(std::endian::native == std::endian::little, "elements are read as they lie in the file");

namespace {

/// Rows as they lie in a file, and which of their elements count.
struct Source {
  std::span<const std::byte> elements;
  Shape shape;
  const pare::MaskView* mask = nullptr;  ///< null where all do
};

/// The three parts of a packed matrix in one piece of memory.
struct Packed {
  std::string_view scheme;
  pare::PackedSizes sizes;
  pare::Buffer buffer;
};

/// Copies the rows [begin, begin + rows.rows) to `rows`, with zero for what the mask prunes.
template <pare::Element T>
void copy_rows(const Source& source, std::size_t begin, pare::MatrixView<T> rows, const pare::Options& options) {
  options.executor(rows.rows, [&](std::size_t r) {
    T* out = rows.row(r);
    const std::size_t row_bytes = rows.cols * sizeof(T);
    std::memcpy(out, source.elements.data() + (begin + r) * row_bytes, row_bytes);
    if (source.mask == nullptr) return;
    for (std::size_t c = 0; c < rows.cols; ++c)
      if (!source.mask->test(begin + r, c)) out[c] = T{};
  });
}

/// The rows [begin, end) of a packed matrix; `begin` starts a row of blocks.
template <SchemeType S>
pare::PackedSpan<S> rows_of(pare::PackedSpan<S> packed, std::size_t begin, std::size_t end) {
  const std::size_t block = packed.first_block(begin);
  return {{end - begin, packed.shape.cols},
          packed.row_codes(begin),
          packed.scales + block * (S::scale_type::bits / 8),
          S::has_zero_point ? packed.zero_points + block : nullptr};
}

/// Quantizes the elements in place or, where they are unaligned or masked, through a copy of a few rows of blocks.
template <SchemeType S, pare::Element T>
Result<void> quantize_elements(const Source& source, pare::PackedSpan<S> out, const pare::Options& options) {
  constexpr std::size_t copied_elements = std::size_t{1} << 20;
  constexpr std::size_t block_rows = S::granularity_type::block_rows;
  const auto [rows, cols] = source.shape;
  const bool aligned = reinterpret_cast<std::uintptr_t>(source.elements.data()) % alignof(T) == 0;
  const bool copies = !aligned || source.mask != nullptr;
  std::size_t step = rows;
  pare::Buffer buffer;
  if (copies) {
    if (block_rows < rows) step = std::min(rows, pare::ceil_div(copied_elements / cols + 1, block_rows) * block_rows);
    auto allocated = pare::Buffer::allocate(step * cols * sizeof(T), options.memory);
    if (!allocated) return std::move(allocated).error();
    buffer = *std::move(allocated);
  }
  for (std::size_t begin = 0; begin < rows; begin += step) {
    const std::size_t end = begin + std::min(step, rows - begin);
    pare::MatrixView<const T> weights(reinterpret_cast<const T*>(source.elements.data()), end - begin, cols);
    if (copies) {
      const pare::MatrixView<T> copy(reinterpret_cast<T*>(buffer.data()), end - begin, cols);
      copy_rows<T>(source, begin, copy, options);
      weights = copy;
    }
    if (auto done = pare::quantize_into<S>(weights, rows_of<S>(out, begin, end), options); !done) return done;
  }
  return {};
}

Result<Packed> pack(std::string_view scheme, DType dtype, const Source& source, const pare::Options& options) {
  std::size_t count = 0, bytes = 0;
  if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16)
    return Error{ErrorCode::unsupported,
                 fmt::format("{} elements cannot be quantized, only F32, F16 and BF16", name(dtype))};
  if (!pare::checked_multiply(source.shape.rows, source.shape.cols, count) ||
      !pare::checked_multiply(count, bits(dtype) / 8, bytes) || bytes != source.elements.size())
    return Error{ErrorCode::invalid_argument,
                 fmt::format("a matrix of {} x {} {} elements does not have {} bytes", source.shape.rows,
                             source.shape.cols, name(dtype), source.elements.size())};
  return pare::with_scheme(scheme, [&]<class S>(std::type_identity<S>) -> Result<Packed> {
    const Result<pare::PackedSizes> sizes = pare::packed_sizes<S>(source.shape);
    if (!sizes) return sizes.error();
    auto buffer = pare::Buffer::allocate(sizes->total(), options.memory);
    if (!buffer) return std::move(buffer).error();
    if (count != 0) {
      auto* p = reinterpret_cast<std::uint8_t*>(buffer->data());
      const pare::PackedSpan<S> out{source.shape, p, p + sizes->codes, p + sizes->codes + sizes->scales};
      const auto quantize = dtype == DType::f32   ? quantize_elements<S, float>
                            : dtype == DType::f16 ? quantize_elements<S, pare::Half>
                                                  : quantize_elements<S, pare::BFloat16>;
      if (Result<void> done = quantize(source, out, options); !done) return std::move(done).error();
    }
    return Packed{pare::name<S>(), *sizes, *std::move(buffer)};
  });
}

}  // namespace

Result<PackedMatrix> PackedMatrix::own(pare::Buffer buffer, std::string_view scheme, Shape shape,
                                       const pare::PackedSizes& sizes) {
  struct Owner {
    pare::Buffer buffer;
    std::shared_ptr<const Concept> matrix;
  };
  const std::span<const std::byte> bytes(buffer.data(), buffer.size());
  auto matrix = over(scheme, shape, bytes.first(sizes.codes), bytes.subspan(sizes.codes, sizes.scales),
                     bytes.last(sizes.zero_points));
  if (!matrix) return matrix;
  const auto owner = std::make_shared<const Owner>(Owner{std::move(buffer), std::move(matrix->self_)});
  return PackedMatrix(std::shared_ptr<const Concept>(owner, owner->matrix.get()));
}

Result<PackedMatrix> PackedMatrix::quantize(std::string_view scheme, DType dtype, std::span<const std::byte> elements,
                                            Shape shape, const pare::Options& options) {
  auto packed = pack(scheme, dtype, {.elements = elements, .shape = shape}, options);
  if (!packed) return std::move(packed).error();
  return own(std::move(packed->buffer), packed->scheme, shape, packed->sizes);
}

Result<PackedMatrix> PackedMatrix::quantize(std::string_view scheme, DType dtype, std::span<const std::byte> elements,
                                            Shape shape, pare::MaskView mask, const pare::Options& options) {
  if (mask.shape() != shape || (!mask.empty() && mask.data == nullptr))
    return Error{ErrorCode::invalid_argument, "the mask and the matrix differ in shape"};
  auto packed = pack(scheme, dtype, {.elements = elements, .shape = shape, .mask = &mask}, options);
  if (!packed) return std::move(packed).error();
  return own(std::move(packed->buffer), packed->scheme, shape, packed->sizes);
}

}  // namespace io
