#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/dtype.hpp"
#include "io/tensor.hpp"
#include "pare/layouts/layouts.hpp"

namespace io {

/// The element type of a layout's part as files name it, and back; nothing for types that no layout has.
DType dtype(pare::PartType type) noexcept;
std::optional<pare::PartType> part_type(DType dtype) noexcept;

/// What is known of a quantized layer beside its tensors.
struct LayerSettings {
  pare::Shape shape{};         ///< of the weight
  pare::CodeFormat format{};   ///< of its codes; to write
  int bits = 4;                ///< of a code
  std::size_t group_size = 0;  ///< inputs that share a scale; 0 for whole rows
  pare::Shape block{};         ///< rows and columns that share a scale; {0, 0} where a file does not say
  int axis = 1;                ///< along which HQQ groups
  bool symmetric = true;       ///< whether all zero points are the middle code
};

/// A layout of quantized layers, chosen at run time: by its name, or by the quantization_config of a config.json. A
/// layer PREFIX is stored as tensors PREFIX.PART.
class WeightLayout {
 public:
  /// Error: an unknown name, with the list of those there are.
  static pare::Result<WeightLayout> named(std::string_view name);
  /// Error: `unsupported` for a quantization_config of no layout that pare reads.
  static pare::Result<WeightLayout> described(const nlohmann::json& quantization_config);
  static std::vector<std::string_view> names();

  [[nodiscard]] std::string_view name() const noexcept;
  /// The part that a layer stored in this layout has, and no float one.
  [[nodiscard]] std::string_view marker() const noexcept;

  /// The codes of a layer of `shape`. Errors: those of the layout, another shape; `unsupported` for codes of vectors.
  [[nodiscard]] pare::Result<pare::CodedMatrix> read(std::span<const pare::PartView> parts, pare::Shape shape) const;
  /// The weights of a layer of `shape`, row by row.
  [[nodiscard]] pare::Result<std::vector<float>> read_values(std::span<const pare::PartView> parts,
                                                             pare::Shape shape) const;
  /// The parts of a layer. Error: what the layout cannot hold.
  [[nodiscard]] pare::Result<std::vector<pare::Part>> write(const pare::CodedMatrix& matrix) const;
  [[nodiscard]] pare::Result<std::vector<pare::Part>> write(const pare::AdditiveMatrix& matrix) const;
  /// The quantization_config that says how such layers were written.
  [[nodiscard]] nlohmann::ordered_json describe(const pare::CodedMatrix& matrix) const;
  [[nodiscard]] nlohmann::ordered_json describe(const pare::AdditiveMatrix& matrix) const;

 private:
  struct Row;
  static const std::vector<Row>& rows();
  explicit WeightLayout(const Row& row) : row_(&row) {}

  const Row* row_;
  LayerSettings settings_;  ///< of a quantization_config
};

}  // namespace io
