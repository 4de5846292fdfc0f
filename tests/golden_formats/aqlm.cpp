// AQLM: one codebook of 16 bits, two of 8, and groups of two outputs.
#include "pare/layouts/aqlm.hpp"

#include <cstring>

#include "families.hpp"
#include "layout_parts.hpp"

namespace golden {
namespace {
namespace fs = std::filesystem;

/// The codebook [1, 65536, 1, 8] of which the vectors hold only the rows that are used.
pare::Result<pare::Part> sparse_codebook(const Vectors& vectors) {
  const auto used = vectors.values<std::int32_t>("codebook_used_index");
  const auto rows = vectors.values<std::uint16_t>("codebook_used_rows");
  auto part = pare::make_part("codebooks", pare::PartType::float16, {1, 65536, 1, 8});
  for (std::size_t i = 0; part && i < used.size() && i < rows.size() / 8; ++i)
    if (used[i] >= 0 && used[i] < 65536)
      std::memcpy(part->bytes().data() + static_cast<std::size_t>(used[i]) * 16, rows.data() + i * 8, 16);
  return part;
}

void check_aqlm(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const bool compact = vectors->has("codebook_used_index");
  std::vector<NamedPart> names{{"codes", "codes"}, {"scales", "scales"}};
  if (!compact) names.push_back({"codebooks", "codebooks"});
  auto views = parts(*vectors, names, report);
  const auto codebook = compact ? sparse_codebook(*vectors) : pare::Result<pare::Part>(pare::Part{});
  if (!codebook) return report.check("codebooks", false, codebook.error().message);
  if (compact) views.push_back(codebook->view());
  const pare::Aqlm layout;
  const auto matrix = layout.read(views);
  if (!matrix) return report.check("read", false, matrix.error().message);

  const pare::Shape grid = matrix->grid();
  std::vector<std::int32_t> unsigned_codes;
  for (std::size_t r = 0; r < grid.rows; ++r)
    for (std::size_t c = 0; c < grid.cols; ++c)
      for (std::size_t book = 0; book < matrix->codebooks; ++book) unsigned_codes.push_back(matrix->code(r, c, book));
  report.equal("codes_unsigned", vectors->values<std::int32_t>("codes_unsigned"), unsigned_codes);
  report.equal("dequant", vectors->values<float>("dequant"),
               elements(matrix->shape, false, [&](std::size_t r, std::size_t c) { return matrix->value(r, c); }));
  auto written = layout.write(*matrix);
  if (compact && written && written->size() == 3) {
    report.equal("codebooks", codebook->view().bytes, (*written)[1].view().bytes);
    written->erase(written->begin() + 1);
  }
  compare(*vectors, names, written, report);
}

}  // namespace

std::span<const Check> aqlm_checks() {
  static constexpr Check checks[] = {{"aqlm/1x16.safetensors", check_aqlm},
                                     {"aqlm/2x8.safetensors", check_aqlm},
                                     {"aqlm/og2.safetensors", check_aqlm}};
  return checks;
}

}  // namespace golden
