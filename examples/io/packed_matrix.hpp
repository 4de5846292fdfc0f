#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/checkpoint.hpp"
#include "io/dtype.hpp"
#include "io/tensor.hpp"
#include "pare/tensor/tensor.hpp"

namespace io {

/// A packed matrix whose scheme, one of pare's catalog, is chosen at run time: what a program that reads files needs.
class PackedMatrix {
 public:
  /// Quantizes rows of F32, F16 or BF16 elements as they lie in a file (unaligned, little-endian); `scheme` is a name
  /// of the catalog or an alias. Errors: unknown scheme, another dtype, bytes that do not fit the shape, out of memory.
  static pare::Result<PackedMatrix> quantize(std::string_view scheme, DType dtype, std::span<const std::byte> elements,
                                             pare::Shape shape, const pare::Options& options = {});
  /// As above, leaving out what the mask prunes (1 = kept).
  static pare::Result<PackedMatrix> quantize(std::string_view scheme, DType dtype, std::span<const std::byte> elements,
                                             pare::Shape shape, pare::MaskView mask, const pare::Options& options = {});
  /// A matrix over stored parts, which must outlive it. Errors: unknown scheme, parts of the wrong size.
  static pare::Result<PackedMatrix> over(std::string_view scheme, pare::Shape shape, std::span<const std::byte> codes,
                                         std::span<const std::byte> scales, std::span<const std::byte> zero_points);

  [[nodiscard]] std::string_view scheme() const;  ///< the full name in the catalog
  [[nodiscard]] pare::Shape shape() const;
  [[nodiscard]] double bits_per_weight() const;
  [[nodiscard]] std::span<const std::byte> codes() const;
  [[nodiscard]] std::span<const std::byte> scales() const;
  [[nodiscard]] std::span<const std::byte> zero_points() const;
  [[nodiscard]] DType scale_dtype() const;  ///< F32, F16, BF16, F8_E4M3, F8_E5M2 or F8_E8M0
  [[nodiscard]] pare::Shape scale_grid() const;

  /// Writes the values; errors as for pare::dequantize.
  pare::Result<void> dequantize(pare::MatrixView<float> out, const pare::Options& options = {}) const;
  /// y = x * W^T; errors as for pare::matmul.
  pare::Result<void> matmul(pare::MatrixView<const float> x, pare::MatrixView<float> y,
                            const pare::Options& options = {}) const;

  struct Concept;  // one per scheme of the catalog

 private:
  static pare::Result<PackedMatrix> own(pare::Buffer buffer, std::string_view scheme, pare::Shape shape,
                                        const pare::PackedSizes& sizes);
  explicit PackedMatrix(std::shared_ptr<const Concept> self) : self_(std::move(self)) {}
  std::shared_ptr<const Concept> self_;
};

/// The parts of a packed matrix apart from any file.
struct PackedParts {
  std::string scheme;
  std::vector<std::byte> codes, scales, zero_points;
};

/// The type that scales of a format have in a file.
template <pare::ScaleFormat F>
constexpr DType scale_dtype() noexcept {
  constexpr std::pair<std::string_view, DType> types[] = {
      {pare::F32::name(), DType::f32},      {pare::F16::name(), DType::f16},      {pare::BF16::name(), DType::bf16},
      {pare::E4M3::name(), DType::f8_e4m3}, {pare::E5M2::name(), DType::f8_e5m2}, {pare::E8M0::name(), DType::f8_e8m0}};
  for (const auto& [format, dtype] : types)
    if (format == F::name()) return dtype;
  return DType::f32;
}

/// How packed matrices lie in a safetensors file. A matrix NAME is stored as NAME.codes (U8, [rows, bytes of a row]),
/// NAME.scales (the scale's dtype, [rows, cols] of the grid of blocks) and, for asymmetric schemes, NAME.zero_points
/// (U8, the same grid). The metadata entry "pare" is a JSON object {"version": 1, "tensors": {NAME: {"scheme": ...,
/// "shape": [...]}}} with the original shape, whose first dimension is the rows and the product of the others the
/// columns.
struct PackedEntry {
  std::string name;
  std::string scheme;
  std::vector<std::uint64_t> shape;
};

/// The entries of a file's metadata; empty if the file holds no packed matrices. Errors: metadata that is not as above.
pare::Result<std::vector<PackedEntry>> packed_entries(const Checkpoint& checkpoint);
/// The matrix that an entry describes, over the checkpoint's memory. Errors: parts missing, of the wrong dtype or size.
pare::Result<PackedMatrix> load_packed(const Checkpoint& checkpoint, const PackedEntry& entry);
/// The tensors (name, dtype, shape) under which an entry is stored, for SafetensorsWriter's list.
pare::Result<std::vector<TensorInfo>> packed_parts(const PackedEntry& entry);
/// The metadata value for a list of entries.
std::string packed_metadata(std::span<const PackedEntry> entries);

}  // namespace io
