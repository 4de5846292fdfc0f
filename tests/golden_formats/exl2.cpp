// EXL2: groups of different widths in permuted rows.
#include "pare/layouts/exl2.hpp"

#include "families.hpp"
#include "layout_parts.hpp"

namespace golden {
namespace {
namespace fs = std::filesystem;

void check_mixed_bits(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const std::vector<NamedPart> names{{"q_weight", "q_weight"},
                                     {"q_scale", "q_scale"},
                                     {"q_scale_max", "q_scale_max"},
                                     {"q_groups", "q_groups"},
                                     {"q_invperm", "q_invperm"}};
  pare::Exl2 layout;
  const auto matrix = read(layout, *vectors, names, report);
  if (!matrix) return;
  const auto inputs = vectors->values<std::uint32_t>("q_perm");
  std::vector<std::uint8_t> permuted;
  for (const std::uint32_t input : inputs)
    for (std::size_t r = 0; r < matrix->shape.rows; ++r) permuted.push_back(matrix->codes()(r, input));
  report.equal("codes_permuted_rows", vectors->values<std::uint8_t>("codes_permuted_rows"), permuted);
  report.equal("dequant_in_out_f16", vectors->values<std::uint16_t>("dequant_in_out_f16"),
               halves(values(*matrix, true)));
  const auto places = vectors->values<std::uint32_t>("q_invperm");
  layout.inverse_permutation = places;
  auto same = layout.write(*matrix);
  if (!same) return report.check("write", false, same.error().message);
  // Dividing by 256 loses bits of small maxima: what remains of them has to be equal.
  const auto maxima = vectors->values<std::uint16_t>("q_scale_max");
  const auto unit = [](std::uint32_t maximum) { return pare::Half(pare::F16::decode(maximum) / 256.0f).bits; };
  for (pare::Part& part : *same)
    for (std::size_t g = 0; part.name == "q_scale_max" && g < maxima.size() && g < part.shape[0]; ++g) {
      const auto mine = static_cast<std::uint32_t>(pare::load_le(part.bytes().data() + 2 * g, 2));
      report.check("q_scale_max / 256", unit(mine) == unit(maxima[g]), "is another for group " + std::to_string(g));
      pare::store_le(part.bytes().data() + 2 * g, maxima[g], 2);
    }
  compare(*vectors, names, same, report);

  // Without the permutation another order of the same groups is written.
  const auto written = pare::Exl2().write(*matrix);
  if (!written) return report.check("write", false, written.error().message);
  std::vector<pare::PartView> views;
  for (const pare::Part& part : *written) views.push_back(part.view());
  const auto again = layout.read(views);
  if (!again) return report.check("read back", false, again.error().message);
  report.equal("codes read back", codes(*matrix, false), codes(*again, false));
  report.equal("values read back", values(*matrix, false), values(*again, false));
}

}  // namespace

std::span<const Check> exl2_checks() {
  static constexpr Check checks[] = {{"exl2/mixed_bits.safetensors", check_mixed_bits}};
  return checks;
}

}  // namespace golden
