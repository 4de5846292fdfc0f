// MLC-LLM: q4f16 and q3f16 in both orders and with both ways to break ties.
#include "pare/layouts/mlc.hpp"

#include "families.hpp"
#include "layout_parts.hpp"

namespace golden {
namespace {
namespace fs = std::filesystem;

void check_orders(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const bool three = file.filename().string().starts_with("q3");
  const auto weights = vectors->values<std::uint16_t>("weight_f16");
  const auto shape = vectors->shape("weight_f16");
  if (shape.size() != 2) return report.check("weight_f16", false, "is no matrix");
  for (const std::string mode : {"_even", "_away", "_KN_even"}) {
    const bool transposed = mode.starts_with("_KN");
    const pare::Mlc layout{
        .bits = three ? 3 : 4, .group_size = three ? 40u : 32u, .transposed = transposed, .columns = shape[1]};
    const std::vector<NamedPart> names{{"q_weight" + mode, "q_weight"},
                                       {transposed ? "q_scale_KN" : "q_scale", "q_scale"}};
    const auto matrix = read(layout, *vectors, names, report);
    if (!matrix) continue;
    const std::string rounding = mode == "_away" ? "_away" : "_even";
    report.equal("codes" + mode, vectors->values<std::uint8_t>("codes" + rounding), codes(*matrix, false));
    report.equal("dequant_f16" + mode, vectors->values<std::uint16_t>("dequant_f16" + rounding),
                 halves(values(*matrix, false)));
    compare(*vectors, names, layout.write(*matrix), report);

    std::vector<std::uint8_t> found;
    std::vector<float> scales;
    for (std::size_t r = 0; r < shape[0]; ++r)
      for (std::size_t g = 0; g < matrix->grid.cols; ++g) {
        pare::Range range;
        const std::size_t begin = g * layout.group_size, end = std::min(shape[1], begin + layout.group_size);
        for (std::size_t c = begin; c < end; ++c) range.include(pare::F16::decode(weights[r * shape[1] + c]));
        const pare::Half scale = pare::mlc_scale(range.magnitude(), layout.bits);
        scales.push_back(static_cast<float>(scale));
        for (std::size_t c = begin; c < end; ++c)
          found.push_back(
              pare::mlc_code(pare::Half(pare::F16::decode(weights[r * shape[1] + c])), scale, layout.bits,
                             mode == "_away" ? pare::Rounding::nearest_away : pare::Rounding::nearest_even));
      }
    report.equal("codes of weight_f16" + mode, codes(*matrix, false), found);
    report.equal("q_scale of weight_f16" + mode,
                 elements(matrix->grid, false, [&](std::size_t r, std::size_t g) { return matrix->scales()(r, g); }),
                 scales);
  }
}

}  // namespace

std::span<const Check> mlc_checks() {
  static constexpr Check checks[] = {{"mlc/q4f16_1.safetensors", check_orders},
                                     {"mlc/q3f16_1.safetensors", check_orders}};
  return checks;
}

}  // namespace golden
