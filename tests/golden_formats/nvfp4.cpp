#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "families.hpp"
#include "pare/layouts/layouts.hpp"
#include "pare/schemes/schemes.hpp"
#include "pare/tensor/tensor.hpp"

namespace golden {
namespace {
namespace fs = std::filesystem;
using namespace pare;

using Bytes = std::vector<std::uint8_t>;

Bytes pack_nibbles(const Bytes& codes) {
  Bytes packed(codes.size() / 2);
  for (std::size_t i = 0; i < packed.size(); ++i)
    packed[i] = static_cast<std::uint8_t>(codes[2 * i] | codes[2 * i + 1] << 4);
  return packed;
}

Bytes unpack_nibbles(const Bytes& packed) {
  Bytes codes;
  for (const std::uint8_t byte : packed) {
    codes.push_back(byte & 15u);
    codes.push_back(static_cast<std::uint8_t>(byte >> 4));
  }
  return codes;
}

float largest(const std::vector<float>& values) {
  float found = 0.0f;
  for (const float v : values) found = std::max(found, std::fabs(v));
  return found;
}

struct Quantized {
  float tensor_scale = 0.0f;
  Bytes scales, codes;
  std::vector<float> values;
};

template <Nvfp4Dialect D>
Quantized encode_blocks(const std::vector<float>& input) {
  Quantized q;
  q.tensor_scale = nvfp4_tensor_scale<D>(largest(input));
  for (std::size_t i = 0; i + nvfp4_block <= input.size(); i += nvfp4_block) {
    Bytes codes(nvfp4_block);
    const std::uint32_t scale = encode_nvfp4_block<D>(std::span(input).subspan(i, nvfp4_block), q.tensor_scale, codes);
    q.scales.push_back(static_cast<std::uint8_t>(scale));
    for (const std::uint8_t code : codes) {
      q.codes.push_back(code);
      q.values.push_back(E2M1::decode(code) * nvfp4_scale<D>(scale, q.tensor_scale));
    }
  }
  return q;
}

/// The verbs on a matrix of one row.
template <Nvfp4Dialect D>
void check_verbs(const std::vector<float>& input, const Quantized& expected, Report& report) {
  const auto packed = quantize_nvfp4<D>(MatrixView<const float>(input.data(), 1, input.size()));
  if (!packed) return report.check("quantize_nvfp4", false, packed.error().message);
  report.equal("quantize_nvfp4's scale", std::vector<float>{expected.tensor_scale},
               std::vector<float>{packed->tensor_scale});
  report.equal("quantize_nvfp4's scales", expected.scales, Bytes(packed->scales().begin(), packed->scales().end()));
  report.equal("quantize_nvfp4's codes", pack_nibbles(expected.codes),
               Bytes(packed->codes().begin(), packed->codes().end()));
  std::vector<float> values(input.size());
  report.check("dequantize", dequantize(*packed, values).has_value(), "is refused");
  report.equal("dequantize", expected.values, values);
}

void check_modelopt(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const auto input = vectors->values<float>("input");
  const Quantized q = encode_blocks<Nvfp4Dialect::modelopt>(input);
  check_verbs<Nvfp4Dialect::modelopt>(input, q, report);
  report.equal("weight_scale_2", vectors->values<float>("weight_scale_2"), std::vector<float>{q.tensor_scale});
  report.equal("weight_scale", vectors->values<std::uint8_t>("weight_scale"), q.scales);
  report.equal("codes", vectors->values<std::uint8_t>("codes"), q.codes);
  report.equal("weight", vectors->values<std::uint8_t>("weight"), pack_nibbles(q.codes));
  report.equal("dequant", vectors->values<float>("dequant"), q.values);
}

void check_compressed_tensors(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const auto input = vectors->values<float>("input");
  const Quantized q = encode_blocks<Nvfp4Dialect::compressed_tensors>(input);
  check_verbs<Nvfp4Dialect::compressed_tensors>(input, q, report);
  report.equal("weight_global_scale", vectors->values<float>("weight_global_scale"),
               std::vector<float>{q.tensor_scale});
  report.equal("weight_scale", vectors->values<std::uint8_t>("weight_scale"), q.scales);
  report.equal("weight_packed", vectors->values<std::uint8_t>("weight_packed"), pack_nibbles(q.codes));
  report.equal("dequant", vectors->values<float>("dequant"), q.values);
}

void check_modelopt_mxfp4(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const auto input = vectors->values<float>("input");
  Bytes scales, codes;
  std::vector<float> values;
  for (std::size_t i = 0; i + mx_block <= input.size(); i += mx_block) {
    const std::vector<float> block(input.begin() + static_cast<std::ptrdiff_t>(i),
                                   input.begin() + static_cast<std::ptrdiff_t>(i + mx_block));
    const std::uint32_t scale = shared_exponent<E2M1, SharedExponent::ceil_ratio>(largest(block));
    scales.push_back(static_cast<std::uint8_t>(scale));
    for (const float x : block) {
      const std::uint32_t code = encode_e2m1<E2M1Rule::modelopt_mxfp4>(x / E8M0::decode(scale));
      codes.push_back(static_cast<std::uint8_t>(code));
      values.push_back(decode_mx<E2M1>(code, scale));
    }
  }
  report.equal("weight_scale", vectors->values<std::uint8_t>("weight_scale"), scales);
  report.equal("codes", vectors->values<std::uint8_t>("codes"), codes);
  report.equal("weight", vectors->values<std::uint8_t>("weight"), pack_nibbles(codes));
  report.equal("dequant", vectors->values<float>("dequant"), values);
}

void check_rounding(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const auto input = vectors->values<float>("input");
  const auto check = [&](const char* name, auto encode, float limit) {
    const auto expected = vectors->values<std::uint8_t>(name);
    if (expected.size() != input.size()) return report.check(name, false, "has another size than the input");
    for (std::size_t i = 0; i < input.size(); ++i)
      if (std::fabs(input[i]) <= limit)
        report.check(name, encode(input[i]) == expected[i],
                     std::to_string(input[i]) + " gives " + std::to_string(encode(input[i])) + ", not " +
                         std::to_string(expected[i]));
  };
  constexpr float everything = std::numeric_limits<float>::infinity();
  check("ocp_rne", [](float x) { return encode_e2m1<E2M1Rule::ocp>(x); }, everything);
  check("modelopt_nvfp4", [](float x) { return encode_e2m1<E2M1Rule::positive_zero>(x); }, everything);
  check("compressed_tensors_cpu", [](float x) { return encode_e2m1<E2M1Rule::positive_zero>(x); }, everything);
  check("modelopt_mxfp4", [](float x) { return encode_e2m1<E2M1Rule::modelopt_mxfp4>(x); }, everything);
  // ggml searches the nearest value; where all are equally far off in float, it takes the first. A block's own scale
  // never lets that happen.
  check("ggml_mxfp4", [](float x) { return encode_e2m1<E2M1Rule::ggml>(x); }, 1e6f);
}

void check_gguf_repack(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const Bytes codes = unpack_nibbles(vectors->values<std::uint8_t>("modelopt_weight"));
  const Bytes scales = vectors->values<std::uint8_t>("modelopt_weight_scale");
  constexpr auto type = gguf::BlockType::nvfp4;
  constexpr std::size_t n = gguf::block_info<type>.elements, bytes = gguf::block_info<type>.bytes;
  Bytes blocks(codes.size() / n * bytes);
  for (std::size_t b = 0; b < codes.size() / n && scales.size() == codes.size() / nvfp4_block; ++b) {
    gguf::BlockCodes block;
    for (std::size_t j = 0; j < n / nvfp4_block; ++j) block.scales[j] = scales[b * (n / nvfp4_block) + j] & 0x7f;
    std::copy_n(codes.begin() + static_cast<std::ptrdiff_t>(b * n), n, block.codes.begin());
    gguf::pack_block<type>(block, std::span<std::uint8_t, bytes>(blocks.data() + b * bytes, bytes));
  }
  report.equal("gguf_block", vectors->values<std::uint8_t>("gguf_block"), blocks);
  std::vector<float> values(codes.size());
  const auto done = gguf::dequantize(type, blocks, values);
  report.check("dequantize", done.has_value(), "is refused");
  report.equal("dequant_without_sidecar", vectors->values<float>("dequant_without_sidecar"), values);
  report.check("scale_sidecar", vectors->values<float>("scale_sidecar").size() == 1, "is no scalar");
}

void check_gptoss(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const Bytes codes = unpack_nibbles(vectors->values<std::uint8_t>("gate_up_proj_blocks"));
  const Bytes scales = vectors->values<std::uint8_t>("gate_up_proj_scales");
  const auto shape = vectors->shape("gate_up_proj_blocks");
  if (shape.size() != 4 || scales.size() * mx_block != codes.size()) return report.check("shapes", false, "do not fit");
  std::vector<float> values(codes.size());
  for (std::size_t i = 0; i < codes.size(); ++i) values[i] = decode_mx<E2M1>(codes[i], scales[i / mx_block]);
  report.equal("dequant_E_out_in", vectors->values<float>("dequant_E_out_in"), values);

  const std::size_t experts = shape[0], out = shape[1], in = shape[2] * mx_block;
  std::vector<float> transposed(values.size());
  for (std::size_t e = 0; e < experts; ++e)
    for (std::size_t o = 0; o < out; ++o)
      for (std::size_t i = 0; i < in; ++i) transposed[(e * in + i) * out + o] = values[(e * out + o) * in + i];
  report.equal("dequant_hf_E_in_out", vectors->values<float>("dequant_hf_E_in_out"), transposed);

  constexpr auto type = gguf::BlockType::mxfp4;
  constexpr std::size_t bytes = gguf::block_info<type>.bytes;
  Bytes blocks(scales.size() * bytes);
  for (std::size_t b = 0; b < scales.size(); ++b) {
    gguf::BlockCodes block;
    block.d = scales[b];
    std::copy_n(codes.begin() + static_cast<std::ptrdiff_t>(b * mx_block), mx_block, block.codes.begin());
    gguf::pack_block<type>(block, std::span<std::uint8_t, bytes>(blocks.data() + b * bytes, bytes));
  }
  report.equal("gguf_mxfp4", vectors->values<std::uint8_t>("gguf_mxfp4"), blocks);
}

constexpr Check checks[] = {
    {"nvfp4/modelopt.safetensors", check_modelopt},
    {"nvfp4/compressed_tensors.safetensors", check_compressed_tensors},
    {"nvfp4/modelopt_mxfp4.safetensors", check_modelopt_mxfp4},
    {"nvfp4/e2m1_rounding_by_library.safetensors", check_rounding},
    {"nvfp4/gguf_repack.safetensors", check_gguf_repack},
    {"nvfp4/gptoss_mxfp4.safetensors", check_gptoss},
};

}  // namespace

std::span<const Check> nvfp4_checks() { return checks; }

}  // namespace golden
