#include <array>
#include <bit>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "families.hpp"
#include "io/npy.hpp"
#include "pare/formats/formats.hpp"

namespace golden {
namespace {
namespace fs = std::filesystem;
using namespace pare;

template <class F>
void check_values(const fs::path& file, Report& report) {
  const auto npy = io::NpyFile::open(file);
  const auto expected = npy ? npy->values<float>() : Result<std::vector<float>>(npy.error());
  if (!expected) return report.check("values", false, expected.error().message);
  std::vector<float> found;
  for (std::uint32_t code = 0; code < (1u << F::bits); ++code) found.push_back(F::decode(code));
  report.equal("values", *expected, found);
}

/// The codes of every input under one rule.
template <class Code, class Encode>
std::vector<Code> encode_all(const std::vector<float>& input, Encode&& encode) {
  std::vector<Code> codes;
  for (const float x : input) codes.push_back(static_cast<Code>(encode(x)));
  return codes;
}

template <class F>
std::vector<float> decode_all(const std::vector<std::uint8_t>& codes) {
  std::vector<float> values;
  for (const std::uint8_t code : codes) values.push_back(F::decode(code));
  return values;
}

template <class F>
void check_minifloat(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  static constexpr NanRule nan = F::has_nan ? NanRule::canonical : NanRule::opposite;
  const auto input = vectors->values<float>("input");
  const auto saturated =
      encode_all<std::uint8_t>(input, [](float x) { return F::template encode<Conversion{.nan = nan}>(x); });
  const auto special = encode_all<std::uint8_t>(
      input, [](float x) { return F::template encode<Conversion{.overflow = Overflow::special, .nan = nan}>(x); });
  report.equal("code_sat", vectors->values<std::uint8_t>("code_sat"), saturated);
  report.equal("code_nosat", vectors->values<std::uint8_t>("code_nosat"), special);
  report.equal("decode_sat", vectors->values<float>("decode_sat"), decode_all<F>(saturated));
  report.equal("decode_nosat", vectors->values<float>("decode_nosat"), decode_all<F>(special));
}

void check_exponent(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const auto input = vectors->values<float>("input");
  const auto check = [&](const char* name, auto encode) {
    report.equal(name, vectors->values<std::uint8_t>(name), encode_all<std::uint8_t>(input, encode));
  };
  check("ml_dtypes", [](float x) { return E8M0::encode<ExponentRule::ml_dtypes>(x); });
  check("onnx_up_sat", [](float x) { return E8M0::encode<ExponentRule::ceil>(x); });
  check("onnx_up_nosat", [](float x) { return E8M0::encode<ExponentRule::ceil, Overflow::special>(x); });
  check("onnx_down", [](float x) { return E8M0::encode<ExponentRule::floor>(x); });
  check("onnx_nearest_sat", [](float x) { return E8M0::encode<ExponentRule::ties_up>(x); });
  check("onnx_nearest_nosat", [](float x) { return E8M0::encode<ExponentRule::ties_up, Overflow::special>(x); });
  check("openvino", [](float x) { return E8M0::encode<ExponentRule::openvino>(x); });
}

void check_nf4(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const auto codes = encode_all<std::uint8_t>(vectors->values<float>("input"), [](float x) { return NF4::encode(x); });
  report.equal("code", vectors->values<std::uint8_t>("code"), codes);
  report.equal("decode", vectors->values<float>("decode"), decode_all<NF4>(codes));
}

void check_bnb_fp4(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const auto input = vectors->values<float>("input");
  report.equal("code_cuda_tree", vectors->values<std::uint8_t>("code_cuda_tree"),
               encode_all<std::uint8_t>(input, [](float x) { return BnbFP4::encode<BnbFP4Rule::cuda>(x); }));
  report.equal("code_default_bucketize", vectors->values<std::uint8_t>("code_default_bucketize"),
               encode_all<std::uint8_t>(input, [](float x) { return BnbFP4::encode<BnbFP4Rule::bucketize>(x); }));
  report.equal("thresholds_cuda", vectors->values<float>("thresholds_cuda"),
               std::vector<float>(BnbFP4::thresholds.begin(), BnbFP4::thresholds.end()));
  const auto order = vectors->values<std::int32_t>("sorted_order");
  bool ascends = order.size() == 16;
  for (std::size_t i = 1; ascends && i < order.size(); ++i)
    ascends = BnbFP4::decode(static_cast<std::uint32_t>(order[i - 1])) <=
              BnbFP4::decode(static_cast<std::uint32_t>(order[i]));
  report.check("sorted_order", ascends, "does not sort the values");
}

void check_halves(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  static constexpr Conversion quiet{.overflow = Overflow::special, .nan = NanRule::quiet};
  static constexpr Conversion canonical{.overflow = Overflow::special};
  std::vector<float> input;
  for (const std::uint32_t bits : vectors->values<std::uint32_t>("input_bits"))
    input.push_back(std::bit_cast<float>(bits));
  report.equal("bf16_ggml", vectors->values<std::uint16_t>("bf16_ggml"),
               encode_all<std::uint16_t>(input, [](float x) { return BF16::encode<quiet>(x); }));
  report.equal("fp16_ggml", vectors->values<std::uint16_t>("fp16_ggml"),
               encode_all<std::uint16_t>(input, [](float x) { return F16::encode<canonical>(x); }));
  // NumPy leaves NaNs signalling and makes a payload of 0 into 1; pare makes them quiet, as hardware does.
  auto numpy = vectors->values<std::uint16_t>("fp16_rne_numpy");
  for (std::size_t i = 0; i < numpy.size() && i < input.size(); ++i)
    if (is_nan(input[i]))
      numpy[i] = static_cast<std::uint16_t>(0x7e00u | (numpy[i] & 0x8000u) |
                                            ((std::bit_cast<std::uint32_t>(input[i]) >> 13) & 0x03ffu));
  report.equal("fp16_rne_numpy", numpy,
               encode_all<std::uint16_t>(input, [](float x) { return F16::encode<quiet>(x); }));
}

template <class... F>
struct FormatsOf {};

template <class F>
std::vector<float> values_of() {
  std::vector<float> values;
  for (std::uint32_t code = 0; code < (1u << F::bits); ++code) values.push_back(F::decode(code));
  return values;
}

template <class... F>
void check_limits_of(FormatsOf<F...>, const std::string& name, const nlohmann::json& limits, Report& report) {
  bool known = false;
  const auto check = [&]<class G>(G) {
    if (G::name() != name && std::string(G::name()) + "fn" != name) return;
    known = true;
    report.check(name,
                 static_cast<double>(G::max) == limits.value("max", 0.0) &&
                     static_cast<double>(G::min_subnormal) == limits.value("min_subnormal", 0.0),
                 "has other limits");
  };
  (check(F{}), ...);
  report.check(name, known, "there is no such format");
}

void check_limits(const std::string& name, const nlohmann::json& limits, Report& report) {
  check_limits_of(FormatsOf<E2M1, E2M3, E3M2, E4M3, E5M2, E4M3FNUZ, E5M2FNUZ>{}, name, limits, report);
}

void check_tables(const fs::path& file, Report& report) {
  std::ifstream stream(file);
  const auto tables = nlohmann::json::parse(stream, nullptr, false);
  if (!tables.is_object()) return report.check("file", false, "is no JSON object");
  for (const auto& [name, value] : tables.items()) {
    if (name == "formats") {
      for (const auto& [format, limits] : value.items()) check_limits(format, limits, report);
      continue;
    }
    if (name.ends_with("_hex")) {
      std::vector<float> expected;
      for (const auto& text : value)
        expected.push_back(
            std::bit_cast<float>(static_cast<std::uint32_t>(std::stoul(text.get<std::string>(), nullptr, 16))));
      report.equal(name, expected, name.starts_with("nf4") ? values_of<NF4>() : values_of<BnbFP4>());
      continue;
    }
    std::vector<float> expected;
    for (const auto& number : value) expected.push_back(static_cast<float>(number.get<double>()));
    if (name == "nf4")
      report.equal(name, expected, values_of<NF4>());
    else if (name == "bnb_fp4_by_code")
      report.equal(name, expected, values_of<BnbFP4>());
    else if (name == "iq4nl")
      report.equal(name, expected, values_of<IQ4NL>());
    else if (name == "nncf_cb4")
      report.equal(name, expected, values_of<CB4>());
    else if (name == "nf4_thresholds")
      report.equal(name, expected, std::vector<float>(NF4::thresholds.begin(), NF4::thresholds.end()));
    else
      report.check(name, false, "there is no check for this table");
  }
}

constexpr Check checks[] = {
    {"numeric/decode_e2m1.npy", check_values<E2M1>},
    {"numeric/decode_e2m3.npy", check_values<E2M3>},
    {"numeric/decode_e3m2.npy", check_values<E3M2>},
    {"numeric/decode_e4m3fn.npy", check_values<E4M3>},
    {"numeric/decode_e4m3fnuz.npy", check_values<E4M3FNUZ>},
    {"numeric/decode_e5m2.npy", check_values<E5M2>},
    {"numeric/decode_e5m2fnuz.npy", check_values<E5M2FNUZ>},
    {"numeric/decode_e8m0.npy", check_values<E8M0>},
    {"numeric/table_nf4.npy", check_values<NF4>},
    {"numeric/table_bnb_fp4.npy", check_values<BnbFP4>},
    {"numeric/encode_e2m1.safetensors", check_minifloat<E2M1>},
    {"numeric/encode_e2m3.safetensors", check_minifloat<E2M3>},
    {"numeric/encode_e3m2.safetensors", check_minifloat<E3M2>},
    {"numeric/encode_e4m3fn.safetensors", check_minifloat<E4M3>},
    {"numeric/encode_e4m3fnuz.safetensors", check_minifloat<E4M3FNUZ>},
    {"numeric/encode_e5m2.safetensors", check_minifloat<E5M2>},
    {"numeric/encode_e5m2fnuz.safetensors", check_minifloat<E5M2FNUZ>},
    {"numeric/encode_e8m0.safetensors", check_exponent},
    {"numeric/encode_nf4.safetensors", check_nf4},
    {"numeric/encode_bnb_fp4.safetensors", check_bnb_fp4},
    {"numeric/encode_bf16_fp16.safetensors", check_halves},
    {"numeric/tables.json", check_tables},
};

}  // namespace

std::span<const Check> numeric_checks() { return checks; }

}  // namespace golden
