// 2:4 sparsity: compressed-tensors' bitmask, CUTLASS's metadata and marlin-24.
#include <algorithm>
#include <numeric>

#include "families.hpp"
#include "layout_parts.hpp"
#include "pare/layouts/marlin24.hpp"
#include "pare/layouts/sparse_bitmask.hpp"
#include "pare/layouts/sparse_cutlass.hpp"

namespace golden {
namespace {
namespace fs = std::filesystem;

/// Halves as numbers, in which the two zeros are one.
std::vector<float> numbers(std::span<const std::uint8_t> halves) {
  std::vector<float> list;
  for (std::size_t i = 0; i + 1 < halves.size(); i += 2)
    list.push_back(pare::F16::decode(static_cast<std::uint32_t>(pare::load_le(halves.data() + i, 2))) + 0.0f);
  return list;
}

void check_bitmask(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const std::vector<NamedPart> names{{"shape", "shape"}, {"compressed", "compressed"}, {"bitmask", "bitmask"}};
  const auto dense = parts(*vectors, {{"dense", "weight"}}, report);
  if (dense.size() != 1) return;
  const pare::Sparse24Bitmask layout;
  const auto expanded = layout.read(parts(*vectors, names, report));
  if (!expanded) return report.check("read", false, expanded.error().message);
  report.check("dense", expanded->shape == vectors->shape("dense"), "has another shape");
  report.equal("dense", numbers(dense[0].bytes), numbers(expanded->view().bytes));

  const auto written = layout.write(dense[0]);
  if (!written) return report.check("write", false, written.error().message);
  std::vector<pare::PartView> views;
  for (const pare::Part& part : *written) views.push_back(part.view());
  const auto again = layout.read(views);
  if (!again) return report.check("read back", false, again.error().message);
  report.equal("dense read back", numbers(dense[0].bytes), numbers(again->view().bytes));

  // Which zeros fill up a group is the producer's choice: only groups with two other values have to agree.
  const auto mask = vectors->values<std::uint8_t>("bitmask");
  const auto values = vectors->values<std::uint16_t>("compressed"), elements = vectors->values<std::uint16_t>("dense");
  const auto mine = (*written)[2].view().bytes;
  std::vector<std::uint8_t> nibbles, my_nibbles;
  std::vector<std::uint16_t> kept, my_kept;
  for (std::size_t four = 0; four < elements.size() / 4 && dense[0].shape[1] % 8 == 0; ++four) {
    const auto zero = [](std::uint16_t half) { return (half & 0x7fff) == 0; };
    if (std::count_if(elements.begin() + static_cast<std::ptrdiff_t>(4 * four),
                      elements.begin() + static_cast<std::ptrdiff_t>(4 * four + 4), zero) != 2)
      continue;
    nibbles.push_back(mask[four / 2] >> (four % 2 * 4) & 15);
    my_nibbles.push_back(mine[four / 2] >> (four % 2 * 4) & 15);
    for (std::size_t i = 2 * four; i < 2 * four + 2; ++i) {
      kept.push_back(values[i]);
      my_kept.push_back(static_cast<std::uint16_t>(pare::load_le((*written)[1].view().bytes.data() + 2 * i, 2)));
    }
  }
  report.equal("bitmask of full groups", nibbles, my_nibbles);
  report.equal("compressed of full groups", kept, my_kept);
  const auto shape = (*written)[0].view();
  report.equal("shape", parts(*vectors, {{"shape", "shape"}}, report)[0].bytes, shape.bytes);
}

/// The permutation of 16 x 16 tiles that an order of 16 x 64 codes is.
std::vector<std::int32_t> tile_permutation(std::span<const std::uint16_t> order) {
  std::vector<std::int32_t> list;
  for (const std::uint16_t element : order) list.push_back(element % 64 / 16 * 256 + element / 64 * 16 + element % 16);
  return list;
}

void check_marlin24(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const std::vector<NamedPart> names{
      {"weight_packed", "weight_packed"}, {"scale_packed", "scale_packed"}, {"meta", "meta"}};
  const pare::Marlin24 layout{.bits = file.stem().string().find("_w8") != std::string::npos ? 8 : 4};
  const auto matrix = read(layout, *vectors, names, report);
  if (!matrix) return;
  const auto integers = elements(matrix->shape, false, [&](std::size_t r, std::size_t c) {
    return static_cast<std::int8_t>(matrix->codes()(r, c) - (1 << (layout.bits - 1)));
  });
  report.equal("q_dense_out_in", vectors->values<std::int8_t>("q_dense_out_in"), integers);
  const auto scales = elements(matrix->grid, false,
                               [&](std::size_t r, std::size_t g) { return pare::Half(matrix->scales()(r, g)).bits; });
  report.equal("scale_out_group", vectors->values<std::uint16_t>("scale_out_group"), scales);
  compare(*vectors, names, layout.write(*matrix), report);

  report.equal("perm_4", vectors->values<std::int32_t>("perm_4"),
               tile_permutation(pare::Marlin24{.bits = 4}.packing().order));
  report.equal("perm_8", vectors->values<std::int32_t>("perm_8"),
               tile_permutation(pare::Marlin24{.bits = 8}.packing().order));
  std::vector<std::int32_t> scale_order(64), single(64);
  for (std::size_t output = 0; output < 64; ++output)
    scale_order[pare::detail::marlin24_scale_place(output)] = static_cast<std::int32_t>(output);
  std::iota(single.begin(), single.end(), 0);
  report.equal("scale_perm", vectors->values<std::int32_t>("scale_perm"), scale_order);
  report.equal("scale_perm_single", vectors->values<std::int32_t>("scale_perm_single"), single);
}

void check_cutlass(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  struct Kind {
    std::string prefix;
    int word_bits;
    pare::PartType meta;
  };
  for (const Kind& kind : {Kind{"f16", 16, pare::PartType::int16}, Kind{"i8", 32, pare::PartType::int32}}) {
    for (const bool reordered : {true, false}) {
      const pare::Sparse24Cutlass layout{.reordered = reordered};
      const std::vector<NamedPart> names{{kind.prefix + "_values", "values"},
                                         {kind.prefix + (reordered ? "_meta" : "_meta_plain"), "meta"}};
      auto views = parts(*vectors, names, report);
      const auto dense = parts(*vectors, {{kind.prefix + "_dense", "weight"}}, report);
      if (views.size() != 2 || dense.size() != 1) return;
      views[1].type = kind.meta;  // the plain words are unsigned
      const auto expanded = layout.read(views);
      if (!expanded) return report.check("read", false, expanded.error().message);
      report.equal(kind.prefix + "_dense", dense[0].bytes, expanded->view().bytes);
      const auto written = layout.write(dense[0]);
      if (!written) return report.check("write", false, written.error().message);
      for (std::size_t i = 0; i < 2; ++i) report.equal(names[i].tensor, views[i].bytes, (*written)[i].view().bytes);
    }
    const auto shape = vectors->shape(kind.prefix + "_meta");
    std::vector<std::int32_t> places;
    for (std::size_t r = 0; r < shape[0]; ++r)
      for (std::size_t c = 0; c < shape[1]; ++c)
        places.push_back(static_cast<std::int32_t>(pare::cutlass24_place(r, c, shape[0], kind.word_bits)));
    report.equal(kind.prefix + "_scatter_offsets", vectors->values<std::int32_t>(kind.prefix + "_scatter_offsets"),
                 places);
  }
}

}  // namespace

std::span<const Check> sparse24_checks() {
  static constexpr Check checks[] = {{"sparse24/bitmask.safetensors", check_bitmask},
                                     {"sparse24/cutlass.safetensors", check_cutlass},
                                     {"sparse24/marlin24_w4_g128.safetensors", check_marlin24}};
  return checks;
}

}  // namespace golden
