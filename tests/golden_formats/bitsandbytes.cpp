// bitsandbytes: 4-bit weights with plain and nested absmax, and LLM.int8() rows.
#include "pare/layouts/bitsandbytes.hpp"

#include <nlohmann/json.hpp>

#include "families.hpp"
#include "io/bitsandbytes_state.hpp"
#include "io/npy.hpp"
#include "layout_parts.hpp"

namespace golden {
namespace {
namespace fs = std::filesystem;

std::string as_text(const std::vector<std::uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }

void check_4bit(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const bool nf4 = file.filename().string().starts_with("nf4");
  const std::string state_name = std::string("w.weight.quant_state.bitsandbytes__") + (nf4 ? "nf4" : "fp4");
  const std::string state = as_text(vectors->values<std::uint8_t>(state_name));
  auto layout = io::parse_bitsandbytes_state(state);
  if (!layout) return report.check("quant_state", false, layout.error().message);
  report.check("quant_state",
               nlohmann::json::parse(state) == nlohmann::json::parse(io::bitsandbytes_state(*layout, "float16")),
               "is written otherwise");
  std::vector<NamedPart> names{
      {"w.weight", "weight"}, {"w.weight.absmax", "weight.absmax"}, {"w.weight.quant_map", "weight.quant_map"}};
  if (layout->nested) {
    names.push_back({"w.weight.nested_absmax", "weight.nested_absmax"});
    names.push_back({"w.weight.nested_quant_map", "weight.nested_quant_map"});
  }
  const auto matrix = read(*layout, *vectors, names, report);
  if (!matrix) return;
  report.equal("dequant_f32", vectors->values<float>("dequant_f32"), values(*matrix, false));
  report.equal("dequant_f16", vectors->values<std::uint16_t>("dequant_f16"), halves(values(*matrix, false)));
  const auto scales =
      elements(matrix->grid, false, [&](std::size_t r, std::size_t g) { return matrix->scales()(r, g); });
  if (layout->nested) {
    report.equal("absmax_reconstructed", vectors->values<float>("absmax_reconstructed"), scales);
    const auto nested_absmax = vectors->values<float>("w.weight.nested_absmax");
    auto same = *layout;
    same.nested_absmax = nested_absmax;
    compare(*vectors, names, same.write(*matrix), report);
  } else {
    compare(*vectors, names, layout->write(*matrix), report);
  }

  // The same from the weights.
  const auto input = vectors->values<std::uint16_t>("input_f16");
  auto fresh = pare::CodedMatrix::allocate(matrix->shape, layout->format, matrix->block, pare::ShiftKind::none);
  if (!fresh) return report.check("memory", false, fresh.error().message);
  const std::size_t cols = matrix->shape.cols;
  for (std::size_t r = 0; r < fresh->grid.rows; ++r)
    for (std::size_t g = 0; g < fresh->grid.cols; ++g) {
      const std::size_t begin = g * layout->blocksize, end = std::min(cols, begin + layout->blocksize);
      pare::Range range;
      for (std::size_t c = begin; c < end; ++c) range.include(pare::F16::decode(input[r * cols + c]));
      fresh->scales()(r, g) = range.magnitude();
      for (std::size_t c = begin; c < end; ++c) {
        const float x = pare::F16::decode(input[r * cols + c]);
        const float scaled = pare::bnb_scaled(x, range.magnitude());
        fresh->codes()(r, c) = static_cast<std::uint8_t>(
            nf4 ? pare::NF4::encode(scaled) : pare::BnbFP4::encode<pare::BnbFP4Rule::bucketize>(scaled));
      }
    }
  report.equal("codes of input_f16", codes(*matrix, false), codes(*fresh, false));
  layout->nested_offset = layout->nested ? pare::bnb_nested_offset(*fresh) : 0.0f;
  layout->round_scales = true;
  report.check("nested_offset of input_f16",
               nlohmann::json::parse(state) == nlohmann::json::parse(io::bitsandbytes_state(*layout, "float16")),
               io::bitsandbytes_state(*layout, "float16"));
  compare(*vectors, names, layout->write(*fresh), report);
}

void check_int8(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const std::vector<NamedPart> names{{"weight", "weight"}, {"SCB", "SCB"}, {"weight_format", "weight_format"}};
  const pare::BitsandbytesInt8 layout;
  const auto matrix = read(layout, *vectors, names, report);
  if (!matrix) return;
  // The vectors keep the sign of weights that round to zero, which no integer holds.
  auto expected = vectors->values<float>("dequant");
  for (float& value : expected) value += 0.0f;
  report.equal("dequant", expected, values(*matrix, false));
  compare(*vectors, names, layout.write(*matrix), report);
  const auto input = vectors->values<float>("input");
  const std::size_t cols = matrix->shape.cols;
  std::vector<float> absmax;
  std::vector<std::uint8_t> found;
  for (std::size_t r = 0; r < matrix->shape.rows && input.size() == matrix->shape.rows * cols; ++r) {
    pare::Range range;
    for (std::size_t c = 0; c < cols; ++c) range.include(input[r * cols + c]);
    absmax.push_back(range.magnitude());
    for (std::size_t c = 0; c < cols; ++c) found.push_back(pare::bnb_int8_code(input[r * cols + c], range.magnitude()));
  }
  report.equal("SCB of input", vectors->values<float>("SCB"), absmax);
  report.equal("weight of input", codes(*matrix, false), found);
}

void check_dynamic_map(const fs::path& file, Report& report) {
  const auto npy = io::NpyFile::open(file);
  const auto expected = npy ? npy->values<float>() : pare::Result<std::vector<float>>(npy.error());
  if (!expected) return report.check("values", false, expected.error().message);
  report.equal("values", *expected, std::vector<float>(pare::bnb_dynamic_map.begin(), pare::bnb_dynamic_map.end()));
}

}  // namespace

std::span<const Check> bitsandbytes_checks() {
  static constexpr Check checks[] = {
      {"bnb/nf4.safetensors", check_4bit},          {"bnb/nf4_double_quant.safetensors", check_4bit},
      {"bnb/nf4_odd.safetensors", check_4bit},      {"bnb/nf4_odd_double_quant.safetensors", check_4bit},
      {"bnb/fp4.safetensors", check_4bit},          {"bnb/fp4_double_quant.safetensors", check_4bit},
      {"bnb/fp4_odd.safetensors", check_4bit},      {"bnb/fp4_odd_double_quant.safetensors", check_4bit},
      {"bnb/int8_rowwise.safetensors", check_int8}, {"bnb/dynamic_map_signed_8bit.npy", check_dynamic_map}};
  return checks;
}

}  // namespace golden
