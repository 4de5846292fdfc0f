#include "llama/layer_codes.hpp"

namespace llama {

pare::Shape shape_of(const LayerCodes& codes) {
  return std::visit([](const auto& matrix) { return matrix.shape; }, codes);
}

std::vector<float> values_of(const LayerCodes& codes) {
  return std::visit(
      [](const auto& matrix) {
        std::vector<float> values;
        values.reserve(matrix.shape.rows * matrix.shape.cols);
        for (std::size_t r = 0; r < matrix.shape.rows; ++r)
          for (std::size_t c = 0; c < matrix.shape.cols; ++c) values.push_back(matrix.value(r, c));
        return values;
      },
      codes);
}

}  // namespace llama
