#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.hpp"
#include "io/weight_layout.hpp"

namespace {

/// What is left of the input.
struct Input {
  std::span<const std::uint8_t> bytes;

  std::span<const std::uint8_t> take(std::size_t count) {
    const auto taken = bytes.first(std::min(count, bytes.size()));
    bytes = bytes.subspan(taken.size());
    return taken;
  }
  std::size_t number(std::size_t width) {
    const auto taken = take(width);
    return static_cast<std::size_t>(pare::load_le(taken.data(), taken.size()));
  }
};

struct Layer {
  std::vector<std::string> names;
  std::vector<std::vector<std::size_t>> shapes;
  std::vector<pare::PartView> views;
};

/// A part is the length of its name and the name, its type, its rank and extents of 16 bits, and its elements.
Layer parse(Input input) {
  constexpr std::size_t most = 16;
  Layer layer;
  layer.names.reserve(most);
  layer.shapes.reserve(most);
  while (!input.bytes.empty() && layer.views.size() < most) {
    const auto name = input.take(input.number(1));
    layer.names.emplace_back(name.begin(), name.end());
    const auto type = static_cast<pare::PartType>(input.number(1) % 12);
    auto& shape = layer.shapes.emplace_back(input.number(1) % 5);
    std::size_t bytes = pare::element_bytes(type);
    for (std::size_t& extent : shape) {
      extent = input.number(2);
      if (!pare::checked_multiply(bytes, extent, bytes)) bytes = 0;
    }
    layer.views.push_back({layer.names.back(), type, shape, input.take(bytes)});
  }
  return layer;
}

bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b); }

}  // namespace

/// The input is a quantization_config, behind a NUL byte the shape of a layer, 16 bits each, and its parts. It is
/// rejected, or read into a matrix that keeps its promises; what the layout writes of that reads as the same again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input{{data, size}};
  const auto end = static_cast<std::size_t>(std::ranges::find(input.bytes, 0) - input.bytes.begin());
  const auto config = io::parse_json({reinterpret_cast<const char*>(data), end}, "input");
  if (!config) return 0;
  const auto layout = io::WeightLayout::described(*config);
  if (!layout) return 0;
  input.take(end + 1);
  const pare::Shape shape{input.number(2), input.number(2)};
  const Layer layer = parse(input);
  if (const auto values = layout->read_values(layer.views, shape); values && values->size() != shape.rows * shape.cols)
    std::abort();
  const auto matrix = layout->read(layer.views, shape);
  if (!matrix) return 0;
  if (matrix->shape != shape || matrix->codes_memory.size() != shape.rows * shape.cols) std::abort();
  for (const std::uint32_t group : matrix->column_groups())
    if (group >= matrix->grid.cols) std::abort();
  for (std::size_t i = 0; i < matrix->codes_memory.size(); ++i)
    if (matrix->codes().data[i] >> matrix->format.bits != 0) std::abort();
  const auto written = layout->write(*matrix);
  if (!written) return 0;
  std::vector<pare::PartView> views;
  for (const pare::Part& part : *written) views.push_back(part.view());
  const auto described = nlohmann::json::parse(layout->describe(*matrix).dump());
  const auto again_layout = io::WeightLayout::described(described);
  if (!again_layout) std::abort();
  const auto again = again_layout->read(views, shape);
  if (!again) std::abort();
  for (std::size_t r = 0; r < shape.rows; ++r)
    for (std::size_t c = 0; c < shape.cols; ++c)
      if (!same(matrix->value(r, c), again->value(r, c))) std::abort();
  return 0;
}
