// QServe: W4A8 weights per channel and per group, in both orders of the second level.
#include "pare/layouts/qserve.hpp"

#include <nlohmann/json.hpp>

#include "families.hpp"
#include "io/file.hpp"
#include "layout_parts.hpp"

namespace golden {
namespace {
namespace fs = std::filesystem;

void check_per_channel(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const std::vector<NamedPart> names{{"qweight", "qweight"}, {"s1_scales", "s1_scales"}, {"s1_szeros", "s1_szeros"}};
  const pare::QServePerChannel layout;
  const auto matrix = read(layout, *vectors, names, report);
  if (!matrix) return;
  report.equal("codes_out_in", vectors->values<std::uint8_t>("codes_out_in"), codes(*matrix, false));
  report.equal("dequant_out_in", vectors->values<float>("dequant_out_in"), values(*matrix, false));
  compare(*vectors, names, layout.write(*matrix), report);

  // With zero points instead of their products.
  auto integers =
      pare::CodedMatrix::allocate(matrix->shape, matrix->format, matrix->block, pare::ShiftKind::zero_point);
  if (!integers) return report.check("memory", false, integers.error().message);
  std::copy_n(matrix->codes().data, matrix->codes_memory.size(), integers->codes().data);
  const auto zeros = vectors->values<std::uint8_t>("zero");
  for (std::size_t r = 0; r < zeros.size(); ++r) {
    integers->scales()(r, 0) = matrix->scales()(r, 0);
    integers->shifts()(r, 0) = static_cast<float>(zeros[r]);
  }
  integers->scale_type = matrix->scale_type;
  compare(*vectors, names, pare::QServePerChannel{.round_offsets = true}.write(*integers), report);
}

void check_per_group(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const auto channel = vectors->values<std::uint16_t>("s1_scales");
  std::vector<float> channel_scales;
  for (const std::uint16_t code : channel) channel_scales.push_back(pare::F16::decode(code));
  for (const auto order : {pare::QServeOrder::kernel, pare::QServeOrder::deepcompressor}) {
    const std::string suffix = order == pare::QServeOrder::kernel ? "" : "_deepcompressor";
    const std::vector<NamedPart> names{{"qweight", "qweight"},
                                       {"s1_scales", "s1_scales"},
                                       {"s2_scales" + suffix, "s2_scales"},
                                       {"s2_zeros" + suffix, "s2_zeros"}};
    const pare::QServePerGroup layout{.order = order, .channel_scales = channel_scales};
    const auto matrix = read(layout, *vectors, names, report);
    if (!matrix) continue;
    report.equal("codes_out_in" + suffix, vectors->values<std::uint8_t>("codes_out_in"), codes(*matrix, false));
    report.equal("dequant_out_in" + suffix, vectors->values<float>("dequant_out_in"), values(*matrix, false));
    report.equal("zero_g" + suffix, floats(vectors->values<std::uint8_t>("zero_g")), shifts(*matrix, false));
    const auto level1 = elements(matrix->shape, false, [&](std::size_t r, std::size_t c) {
      return static_cast<std::int8_t>(matrix->value(r, c) / channel_scales[r]);
    });
    report.equal("int8_level1" + suffix, vectors->values<std::int8_t>("int8_level1"), level1);
    compare(*vectors, names, layout.write(*matrix), report);
  }
}

/// The largest range of the first level from which no group of the second can leave int8, by trying all groups: level
/// 2 takes scale = round((highest - lowest) / 15), at least 1, and zero = round(-lowest / scale).
int protective_range() {
  for (int range = 127; range > 0; --range) {
    bool stays = true;
    for (int lowest = -range; lowest <= range && stays; ++lowest)
      for (int highest = lowest; highest <= range && stays; ++highest) {
        const int low = std::min(lowest, 0), high = std::max(highest, 0);
        const int scale = std::max(1, pare::round_to_int(static_cast<float>(high - low) / 15.0f));
        const int zero = std::clamp(pare::round_to_int(-static_cast<float>(low) / static_cast<float>(scale)), 0, 15);
        for (const int value : {low, high}) {
          const int code =
              std::clamp(pare::round_to_int(static_cast<float>(value) / static_cast<float>(scale)) + zero, 0, 15);
          const int back = (code - zero) * scale;
          stays = stays && back >= -128 && back <= 127;
        }
      }
    if (stays) return range;
  }
  return 0;
}

void check_protective_range(const fs::path& file, Report& report) {
  const auto mapped = io::MappedFile::open(file);
  if (!mapped) return report.check("open", false, mapped.error().message);
  const auto bytes = mapped->bytes();
  const auto json = nlohmann::json::parse(reinterpret_cast<const char*>(bytes.data()),
                                          reinterpret_cast<const char*>(bytes.data()) + bytes.size());
  const int expected = json["range"]["PreScale"];
  report.check("PreScale", pare::QServePerGroup::protective_range == expected, "is another");
  report.check("PreScale by trial", protective_range() == expected, std::to_string(protective_range()));
}

}  // namespace

std::span<const Check> qserve_checks() {
  static constexpr Check checks[] = {{"qserve/w4a8_per_channel.safetensors", check_per_channel},
                                     {"qserve/w4a8_per_group128.safetensors", check_per_group},
                                     {"qserve/protective_range.json", check_protective_range}};
  return checks;
}

}  // namespace golden
