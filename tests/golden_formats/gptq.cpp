// GPTQ: read and written against AutoGPTQ's and GPTQModel's tensors.
#include "pare/layouts/gptq.hpp"

#include <algorithm>

#include "families.hpp"
#include "layout_parts.hpp"

namespace golden {
namespace {
namespace fs = std::filesystem;

std::vector<NamedPart> tensors(const std::string& zeros) {
  return {{"qweight", "qweight"}, {zeros, "qzeros"}, {"scales", "scales"}, {"g_idx", "g_idx"}};
}

/// The quantizer: weights to codes, scales and zero points.
void check_quantizer(const Vectors& vectors, const pare::CodedMatrix& matrix, int bits, bool symmetric,
                     Report& report) {
  const auto weights = vectors.values<float>("weight_in");
  if (weights.size() != matrix.shape.rows * matrix.shape.cols) return report.check("weight_in", false, "another size");
  std::vector<pare::BlockParameters> blocks;
  for (std::size_t r = 0; r < matrix.grid.rows; ++r)
    for (std::size_t g = 0; g < matrix.grid.cols; ++g)
      blocks.push_back(pare::gptq_parameters(range_of(weights, matrix.shape, matrix, r, g), bits, symmetric));
  const auto block = [&](std::size_t r, std::size_t c) { return blocks[r * matrix.grid.cols + matrix.group_of(c)]; };

  const auto codes_of = elements(matrix.shape, true, [&](std::size_t r, std::size_t c) {
    return pare::gptq_code(weights[r * matrix.shape.cols + c], block(r, c), bits);
  });
  report.equal("codes_in_out of weight_in", vectors.values<std::uint8_t>("codes_in_out"), codes_of);
  const auto scales = elements(matrix.grid, true, [&](std::size_t r, std::size_t g) {
    return pare::Half(blocks[r * matrix.grid.cols + g].scale).bits;
  });
  report.equal("scales of weight_in", vectors.values<std::uint16_t>("scales"), scales);
  const auto zeros = elements(matrix.grid, true, [&](std::size_t r, std::size_t g) {
    return static_cast<float>(blocks[r * matrix.grid.cols + g].zero_point);
  });
  report.equal("zero points of weight_in", shifts(matrix, true), zeros);
  if (!vectors.has("weight_fakequant")) return;
  const auto rounded = elements(matrix.shape, false, [&](std::size_t r, std::size_t c) {
    const int code = pare::gptq_code(weights[r * matrix.shape.cols + c], block(r, c), bits);
    return static_cast<float>(code - block(r, c).zero_point) * block(r, c).scale;
  });
  report.equal("weight_fakequant", vectors.values<float>("weight_fakequant"), rounded);
}

/// What AutoGPTQ's packer writes: a zero point of 0 becomes -1, whose ones fill the rest of their word.
std::vector<std::uint32_t> autogptq_words(const std::vector<float>& zeros, std::size_t groups, int bits) {
  const std::size_t width = static_cast<std::size_t>(bits), out = zeros.size() / groups;
  const std::size_t words = out * width / 32;
  std::vector<std::uint32_t> packed(groups * words);
  for (std::size_t g = 0; g < groups; ++g)
    for (std::size_t n = 0; n < out; ++n) {
      const auto field = static_cast<std::uint32_t>(static_cast<std::int32_t>(zeros[g * out + n]) - 1);
      const std::size_t word = n * width / 32, shift = n * width % 32;
      packed[g * words + word] |= field << shift;
      if (shift + width > 32) packed[g * words + word + 1] |= (field & ((1u << width) - 1u)) >> (32 - shift);
    }
  return packed;
}

void check_group(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const std::string stem = file.stem().string();
  const int bits = stem[1] - '0';
  const bool symmetric = stem.find("_sym_") != std::string::npos;
  const pare::AutoGptq v2{.bits = bits, .zeros = pare::GptqZeros::as_stored};
  const pare::AutoGptq wrapped{.bits = bits, .zeros = pare::GptqZeros::plus_one_wrapped};
  const pare::AutoGptq plus_one{.bits = bits};
  const auto matrix = read(v2, *vectors, tensors("qzeros_v2"), report);
  if (!matrix) return;
  report.equal("codes_in_out", vectors->values<std::uint8_t>("codes_in_out"), codes(*matrix, true));
  const auto zeros = floats(vectors->values<std::uint8_t>("zeros_g_out"));
  report.equal("zeros_g_out", zeros, shifts(*matrix, true));
  report.equal("dequant_in_out", vectors->values<float>("dequant_in_out"), values(*matrix, true));
  compare(*vectors, tensors("qzeros_v2"), v2.write(*matrix), report);
  compare(*vectors, tensors("qzeros_v1"), wrapped.write(*matrix), report);
  check_quantizer(*vectors, *matrix, bits, symmetric, report);

  if (const auto v1 = read(wrapped, *vectors, tensors("qzeros_v1"), report))
    report.equal("qzeros_v1", zeros, shifts(*v1, true));
  std::vector<float> unmasked = zeros;
  for (float& zero : unmasked) zero = zero == 0.0f ? static_cast<float>(1 << bits) : zero;
  if (const auto v1 = read(plus_one, *vectors, tensors("qzeros_v1"), report)) {
    report.equal("qzeros_v1 without a mask", unmasked, shifts(*v1, true));
    compare(*vectors, tensors("qzeros_v1"), plus_one.write(*v1), report);
  }
  report.check("zero points that v1 cannot hold", plus_one.write(*matrix).has_value() == (zeros == unmasked),
               "are written, or others are refused");
  report.equal("qzeros_v1_autogptq_raw", vectors->values<std::uint32_t>("qzeros_v1_autogptq_raw"),
               autogptq_words(zeros, matrix->grid.cols, bits));
}

void check_act_order(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const int bits = file.stem().string()[1] - '0';
  const pare::AutoGptq v2{.bits = bits, .zeros = pare::GptqZeros::as_stored};
  const pare::AutoGptq v1{.bits = bits, .zeros = pare::GptqZeros::plus_one_wrapped};
  const auto matrix = read(v2, *vectors, tensors("qzeros_v2"), report);
  if (!matrix) return;
  report.equal("codes_in_out", vectors->values<std::uint8_t>("codes_in_out"), codes(*matrix, true));
  report.equal("dequant_in_out", vectors->values<float>("dequant_in_out"), values(*matrix, true));
  compare(*vectors, tensors("qzeros_v2"), v2.write(*matrix), report);
  compare(*vectors, tensors("qzeros_v1"), v1.write(*matrix), report);
  const std::vector<float> zeros = shifts(*matrix, true);
  const float middle = static_cast<float>(1 << (bits - 1));
  const bool symmetric = std::count(zeros.begin(), zeros.end(), middle) == std::ssize(zeros);
  check_quantizer(*vectors, *matrix, bits, symmetric, report);

  std::vector<std::int32_t> order(matrix->shape.cols);
  for (std::size_t c = 0; c < order.size(); ++c) order[c] = static_cast<std::int32_t>(c);
  std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    const std::size_t first = matrix->group_of(static_cast<std::size_t>(a));
    const std::size_t second = matrix->group_of(static_cast<std::size_t>(b));
    return first != second ? first < second : a < b;
  });
  report.equal("exllama_q_perm", vectors->values<std::int32_t>("exllama_q_perm"), order);
}

void check_planar(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  for (int bits = 2; bits <= 8; ++bits) {
    const std::string codes_name = "codes_" + std::to_string(bits), packed_name = "packed_" + std::to_string(bits);
    const auto shape = vectors->shape(codes_name);
    if (shape.size() != 2) {
      report.check(codes_name, false, "is no matrix");
      continue;
    }
    const auto expected = vectors->values<std::uint8_t>(codes_name);
    const std::vector<std::uint32_t> words = vectors->values<std::uint32_t>(packed_name);
    const std::size_t in = shape[0], out = shape[1];
    const pare::MatrixView<const std::uint8_t> weights(expected.data(), out, in, 1, out);
    const pare::Packing packing = pare::AutoGptq{.bits = bits, .planar = true}.packing(pare::Along::inputs);
    std::vector<std::uint32_t> found(words.size());
    const std::span bytes(reinterpret_cast<std::uint8_t*>(found.data()), found.size() * 4);
    const auto done = pare::pack_codes(packing, weights, bytes);
    report.check(packed_name, done.has_value(), done ? "" : done.error().message);
    report.equal(packed_name, words, found);
    std::vector<std::uint8_t> codes_found(expected.size());
    const std::span words_bytes(reinterpret_cast<const std::uint8_t*>(words.data()), words.size() * 4);
    const auto undone =
        pare::unpack_codes(packing, words_bytes, pare::MatrixView<std::uint8_t>(codes_found.data(), out, in, 1, out));
    report.check(codes_name, undone.has_value(), undone ? "" : undone.error().message);
    report.equal(codes_name, expected, codes_found);
  }
}

void check_zeros(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const auto fields = vectors->values<std::uint8_t>("stored_nibble");
  const auto meaning = [&](pare::GptqZeros zeros) {
    std::vector<std::uint8_t> list;
    for (const std::uint8_t field : fields) list.push_back(static_cast<std::uint8_t>(pare::gptq_zero(field, 4, zeros)));
    return list;
  };
  const auto expect = [&](const char* tensor, pare::GptqZeros zeros) {
    report.equal(tensor, vectors->values<std::uint8_t>(tensor), meaning(zeros));
  };
  expect("zero_exllama_plus1_nomask", pare::GptqZeros::plus_one);
  expect("zero_gptqmodel_v1tov2_masked", pare::GptqZeros::plus_one_wrapped);
  expect("zero_v2", pare::GptqZeros::as_stored);
}

}  // namespace

std::span<const Check> gptq_checks() {
  static constexpr Check checks[] = {
      {"gptq/w2_asym_g32.safetensors", check_group},     {"gptq/w2_sym_g32.safetensors", check_group},
      {"gptq/w3_asym_g32.safetensors", check_group},     {"gptq/w3_sym_g32.safetensors", check_group},
      {"gptq/w4_asym_g32.safetensors", check_group},     {"gptq/w4_sym_g32.safetensors", check_group},
      {"gptq/w8_asym_g32.safetensors", check_group},     {"gptq/w8_sym_g32.safetensors", check_group},
      {"gptq/w4_desc_act.safetensors", check_act_order}, {"gptq/planar_gptq_p.safetensors", check_planar},
      {"gptq/zero_semantics.safetensors", check_zeros}};
  return checks;
}

}  // namespace golden
