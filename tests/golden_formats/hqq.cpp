// HQQ: the packings of 1, 2, 3, 4 and 8 bits, grouped along both axes.
#include "pare/layouts/hqq.hpp"

#include <nlohmann/json.hpp>

#include "families.hpp"
#include "layout_parts.hpp"

namespace golden {
namespace {
namespace fs = std::filesystem;

void check_hqq(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const auto meta = nlohmann::json::parse(vectors->metadata("meta"));
  const pare::Hqq layout{.bits = meta["nbits"],
                         .axis = meta["axis"],
                         .group_size = meta["group_size"],
                         .shape = {meta["shape"][0], meta["shape"][1]}};
  const std::vector<NamedPart> names{{"W_q", "W_q"}, {"scale", "scale"}, {"zero", "zero"}};
  const auto matrix = read(layout, *vectors, names, report);
  if (!matrix) return;
  report.equal("codes_grouped", vectors->values<std::uint8_t>("codes_grouped"), codes(*matrix, false));
  report.equal("dequant_f32math", vectors->values<float>("dequant_f32math"), values(*matrix, false));
  compare(*vectors, names, layout.write(*matrix), report);

  const auto input = vectors->values<float>("input");
  if (input.size() != matrix->codes_memory.size()) return report.check("input", false, "has another size");
  std::vector<std::uint8_t> found;
  std::vector<std::uint16_t> scales, zeros;
  std::vector<pare::HqqParameters> grids;
  for (std::size_t r = 0; r < matrix->grid.rows; ++r)
    for (std::size_t g = 0; g < matrix->grid.cols; ++g) {
      const auto [lowest, highest] = extremes(input, *matrix, r, g);
      grids.push_back(pare::hqq_parameters(lowest, highest, layout.bits));
      scales.push_back(pare::Half(grids.back().scale).bits);
      zeros.push_back(pare::Half(grids.back().zero).bits);
    }
  for (std::size_t r = 0; r < matrix->shape.rows; ++r)
    for (std::size_t c = 0; c < matrix->shape.cols; ++c)
      found.push_back(pare::hqq_code(input[r * matrix->shape.cols + c],
                                     grids[r / matrix->block.rows * matrix->grid.cols + c / matrix->block.cols],
                                     layout.bits));
  report.equal("codes of input", codes(*matrix, false), found);
  report.equal("scale of input", vectors->values<std::uint16_t>("scale"), scales);
  report.equal("zero of input", vectors->values<std::uint16_t>("zero"), zeros);
}

}  // namespace

std::span<const Check> hqq_checks() {
  static constexpr Check checks[] = {
      {"hqq/b1_axis0_g64.safetensors", check_hqq}, {"hqq/b1_axis1_g64.safetensors", check_hqq},
      {"hqq/b2_axis0_g64.safetensors", check_hqq}, {"hqq/b2_axis1_g64.safetensors", check_hqq},
      {"hqq/b3_axis0_g64.safetensors", check_hqq}, {"hqq/b3_axis1_g64.safetensors", check_hqq},
      {"hqq/b4_axis0_g64.safetensors", check_hqq}, {"hqq/b4_axis1_g64.safetensors", check_hqq},
      {"hqq/b8_axis0_g64.safetensors", check_hqq}, {"hqq/b8_axis1_g64.safetensors", check_hqq}};
  return checks;
}

}  // namespace golden
