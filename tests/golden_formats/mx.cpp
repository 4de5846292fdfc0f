#include <algorithm>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "families.hpp"
#include "pare/layouts/layouts.hpp"
#include "pare/schemes/schemes.hpp"

namespace golden {
namespace {
namespace fs = std::filesystem;
using namespace pare;

/// A matrix cut into blocks along its rows, and back.
struct Blocks32 {
  std::vector<std::uint8_t> scales, codes;
  std::vector<float> values;
};

template <Format F, SharedExponent R, Rounding Round>
Blocks32 through_blocks(const std::vector<float>& input, std::size_t cols) {
  Blocks32 all;
  for (std::size_t row = 0; cols != 0 && row < input.size(); row += cols)
    for (std::size_t c = 0; c < cols; c += mx_block) {
      const std::size_t n = std::min(mx_block, cols - c);
      std::vector<std::uint8_t> codes(n);
      const std::uint32_t scale = encode_mx_block<F, R, Round>(std::span(input).subspan(row + c, n), codes);
      all.scales.push_back(static_cast<std::uint8_t>(scale));
      all.codes.insert(all.codes.end(), codes.begin(), codes.end());
      for (const std::uint8_t code : codes) all.values.push_back(decode_mx<F>(code, scale));
    }
  return all;
}

/// The values that were expected of a format without -0.
template <Format F>
std::vector<float> representable(std::vector<float> values) {
  if constexpr (IntegerFormat<F>)
    for (float& v : values) v += 0.0f;
  return values;
}

/// What microxcaling makes of the same blocks: its zeros have no sign.
template <Format F, Rounding Round>
std::vector<float> as_microxcaling(const std::vector<float>& input, std::size_t cols) {
  // It takes the floor of a rounded logarithm.
  std::vector<float> values = through_blocks<F, SharedExponent::floor_log2f, Round>(input, cols).values;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (input[i] == 0.0f) values[i] += 0.0f;
  return values;
}

template <Format F>
void check_blocks(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors || vectors->shape("input").size() != 2 || vectors->shape("input_rem").size() != 2)
    return report.check("input", false, "is no matrix");
  const auto input = vectors->values<float>("input"), rest = vectors->values<float>("input_rem");
  const std::size_t cols = vectors->shape("input")[1], rest_cols = vectors->shape("input_rem")[1];

  const auto exact = through_blocks<F, SharedExponent::floor, Rounding::nearest_even>(input, cols);
  report.equal("scale_e8m0", vectors->values<std::uint8_t>("scale_e8m0"), exact.scales);
  report.equal("codes", vectors->values<std::uint8_t>("codes"), exact.codes);
  report.equal("dequant", representable<F>(vectors->values<float>("dequant")), exact.values);
  constexpr Packing packing{.bits = F::bits, .crosses_words = true};
  const Shape shape{cols == 0 ? 0 : input.size() / cols, cols};
  std::vector<std::uint8_t> packed(packed_size(packing, shape) ? *packed_size(packing, shape) : 0);
  const auto done = pack_codes(packing, MatrixView<const std::uint8_t>(exact.codes.data(), shape.rows, cols), packed);
  report.check("pack", done.has_value(), "is refused");
  report.equal("packed_lsb", vectors->values<std::uint8_t>("packed_lsb"), packed);

  const auto check_reference = [&](const char* name, const std::vector<float>& found) {
    report.equal(name, representable<F>(vectors->values<float>(name)), found);
  };
  check_reference("ref_dequant_even", as_microxcaling<F, Rounding::nearest_even>(input, cols));
  check_reference("ref_dequant_nearest", as_microxcaling<F, Rounding::nearest_away>(input, cols));
  check_reference("ref_dequant_rem_even", as_microxcaling<F, Rounding::nearest_even>(rest, rest_cols));
  check_reference("ref_dequant_rem_nearest", as_microxcaling<F, Rounding::nearest_away>(rest, rest_cols));
}

void check_scale_rules(const fs::path& file, Report& report) {
  std::ifstream stream(file);
  const auto rows = nlohmann::json::parse(stream, nullptr, false);
  if (!rows.is_array()) return report.check("file", false, "is no JSON array");
  for (const auto& row : rows) {
    const auto amax = static_cast<float>(row.value("amax", 0.0));
    for (const auto& [rule, code] : row.items()) {
      if (rule == "amax") continue;
      std::uint32_t found = 256;
      if (rule == "ocp_floor_e2m1") found = shared_exponent<E2M1, SharedExponent::floor>(amax);
      if (rule == "modelopt_ceil_log2_amax_over_6_f32") found = shared_exponent<E2M1, SharedExponent::ceil_ratio>(amax);
      if (rule == "nncf_ceil") found = shared_exponent<E2M1, SharedExponent::nncf>(amax);
      if (rule == "compressed_tensors_f32") found = shared_exponent<E2M1, SharedExponent::bump>(amax);
      if (rule == "ggml_f32_floor_log2f") found = shared_exponent<E2M1, SharedExponent::floor_log2f>(amax);
      report.check(rule, code == found,
                   "amax " + std::to_string(amax) + " gives " + std::to_string(found) + ", not " + code.dump());
    }
  }
}

constexpr Check checks[] = {
    {"mx/mxfp4_e2m1.safetensors", check_blocks<E2M1>}, {"mx/mxfp6_e2m3.safetensors", check_blocks<E2M3>},
    {"mx/mxfp6_e3m2.safetensors", check_blocks<E3M2>}, {"mx/mxfp8_e4m3.safetensors", check_blocks<E4M3>},
    {"mx/mxfp8_e5m2.safetensors", check_blocks<E5M2>}, {"mx/mxint8.safetensors", check_blocks<MXInt8>},
    {"mx/scale_rules_e2m1.json", check_scale_rules},
};

}  // namespace

std::span<const Check> mx_checks() { return checks; }

}  // namespace golden
