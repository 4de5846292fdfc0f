#pragma once

#include <string_view>
#include <vector>

#include "pare/layouts/flat_tensor.hpp"
#include "pare/schemes/schemes.hpp"

namespace pare {

/// The constants of a compressed weight in OpenVINO's IR as NNCF writes them: `weight`, bytes of the element type's
/// stream (u1 with the first element in the highest bit, all others from the lowest bit on); `scale` float16, float32
/// or E8M0, one for each group of a row; `zero_point`, a stream like the weight, beside unsigned integers. Shape and
/// types are in the IR's XML: the members. The value is (code - zero point) * scale.
struct OpenVino {
  static constexpr std::string_view name = "openvino";

  StoredFormat elements = stored_uint(4);
  Shape shape{};               ///< of the weight; to write, {0, 0} for the matrix's own
  std::size_t group_size = 0;  ///< inputs that share a scale; 0 for whole rows
  bool zero_points = true;     ///< to write integers: whether zero points lie beside them; else they are the type's 0

  Result<CodedMatrix> read(std::span<const PartView> parts, std::pmr::memory_resource* memory = nullptr) const {
    const auto flat = tensor(shape);
    if (!flat) return flat.error();
    return flat->read(parts, memory);
  }
  Result<std::vector<Part>> write(const CodedMatrix& matrix, std::pmr::memory_resource* memory = nullptr) const {
    const auto flat = tensor(shape == Shape{} ? matrix.shape : shape);
    if (!flat) return flat.error();
    return flat->write(matrix, memory);
  }

  /// How the elements of a tensor follow one another.
  [[nodiscard]] constexpr Packing packing() const noexcept {
    Packing packing{.bits = elements.bits(), .crosses_words = true};
    if (elements.bits() == 1) packing.order = detail::high_first<8>;
    return packing;
  }

 private:
  [[nodiscard]] Result<detail::FlatTensor> tensor(Shape weights) const {
    const std::size_t columns = group_size != 0 ? group_size : detail::row_length(weights);
    if (weights.cols % columns != 0)
      return Error{ErrorCode::invalid_argument,
                   "pare: " + std::to_string(weights.cols) + " columns are no groups of " + std::to_string(columns)};
    detail::FlatTensor flat{.layout = name,
                            .elements = elements,
                            .packing = packing(),
                            .shape = weights,
                            .block = {1, columns},
                            .codes = "weight",
                            .scales = "scale",
                            .zero_points = zero_points ? "zero_point" : "",
                            .scale_shape = {weights.rows, weights.cols / columns, 1}};
    if (group_size == 0) flat.scale_shape = {weights.rows, 1};
    return flat;
  }
};

/// The scale of a group by NNCF's symmetric rule, which has the sign that makes the larger end exact: |lowest| /
/// 2^(bits - 1) where |lowest| >= highest, else -highest / 2^(bits - 1); the machine epsilon where that is smaller.
constexpr float nncf_symmetric_scale(float lowest, float highest, int bits) noexcept {
  constexpr float epsilon = 0x1p-23f;
  const float magnitude = lowest < 0.0f ? -lowest : lowest, half = static_cast<float>(1 << (bits - 1));
  const float scale = (magnitude >= highest ? magnitude : -highest) / half;
  return (scale < 0.0f ? -scale : scale) < epsilon ? epsilon : scale;
}

/// The code of a weight in such a grid, counted from the lowest: round(x / scale), ties to even, within the signed
/// integers of `bits` bits.
constexpr std::uint8_t nncf_symmetric_code(float x, float scale, int bits) noexcept {
  const std::int32_t q = round_to_int(x / scale), half = 1 << (bits - 1);
  return static_cast<std::uint8_t>((q < -half ? -half : q >= half ? half - 1 : q) + half);
}

/// The grid of a group by NNCF's asymmetric rule: scale = (highest - lowest) / (2^bits - 1), at least the machine
/// epsilon, zero point = -round(lowest / scale), ties to even, within the codes. The range is that of the weights
/// alone.
constexpr BlockParameters nncf_asymmetric_parameters(float lowest, float highest, int bits) noexcept {
  constexpr float epsilon = 0x1p-23f;
  BlockParameters p;
  const auto most = (1 << bits) - 1;
  p.scale = (highest - lowest) / static_cast<float>(most);
  if (p.scale < epsilon) p.scale = epsilon;
  p.inverse = 1.0f / p.scale;
  const std::int32_t zero = -round_to_int(lowest / p.scale);
  p.zero_point = static_cast<std::uint8_t>(zero < 0 ? 0 : zero > most ? most : zero);
  return p;
}

/// The code of a weight in such a grid: round(x / scale + zero point), ties to even, within 0 .. 2^bits - 1.
inline std::uint8_t nncf_asymmetric_code(float x, const BlockParameters& p, int bits) noexcept {
  const std::int32_t q = round_to_int(x / p.scale + static_cast<float>(p.zero_point)), most = (1 << bits) - 1;
  return static_cast<std::uint8_t>(q < 0 ? 0 : q > most ? most : q);
}

}  // namespace pare
