// ONNX: raw data of sub-byte tensors, QuantizeLinear, and ONNX Runtime's MatMulNBits.
#include "pare/layouts/onnx.hpp"

#include "families.hpp"
#include "layout_parts.hpp"

namespace golden {
namespace {
namespace fs = std::filesystem;

void check_packing(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  struct Type {
    std::string elements, raw;
    pare::StoredFormat format;
  };
  const Type types[] = {{"i4", "i4_raw", pare::stored_int(4)},  {"i4_23", "i4_23_raw", pare::stored_int(4)},
                        {"u4", "u4_raw", pare::stored_uint(4)}, {"i2", "i2_raw", pare::stored_int(2)},
                        {"u2", "u2_raw", pare::stored_uint(2)}, {"e2m1_codes", "e2m1_raw", pare::stored<pare::E2M1>()}};
  for (const Type& type : types) {
    const pare::OnnxLinear layout{.elements = type.format};
    auto codes = vectors->values<std::uint8_t>(type.elements);
    for (std::uint8_t& code : codes) code &= static_cast<std::uint8_t>((1u << type.format.bits()) - 1);
    const auto raw = vectors->values<std::uint8_t>(type.raw);
    std::vector<std::uint8_t> packed(raw.size()), unpacked(codes.size());
    const auto done =
        pare::pack_codes(layout.packing(), pare::MatrixView<const std::uint8_t>(codes.data(), 1, codes.size()), packed);
    if (!done) report.check(type.raw, false, done.error().message);
    report.equal(type.raw, raw, packed);
    const auto back =
        pare::unpack_codes(layout.packing(), raw, pare::MatrixView<std::uint8_t>(unpacked.data(), 1, unpacked.size()));
    if (!back) report.check(type.elements, false, back.error().message);
    report.equal(type.elements, codes, unpacked);
  }
  std::vector<float> values;
  for (const std::uint8_t code : vectors->values<std::uint8_t>("e2m1_codes"))
    values.push_back(pare::E2M1::decode(code));
  report.equal("e2m1_values", vectors->values<float>("e2m1_values"), values);
}

void check_linear(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  std::vector<std::int8_t> int8;
  std::vector<std::uint8_t> uint8;
  for (const float x : vectors->values<float>("x")) {
    int8.push_back(static_cast<std::int8_t>(pare::onnx_quantize(x, 1.0f, 0, -128, 127)));
    uint8.push_back(static_cast<std::uint8_t>(pare::onnx_quantize(x, 0.5f, 3, 0, 255)));
  }
  report.equal("y_int8_s1_zp0", vectors->values<std::int8_t>("y_int8_s1_zp0"), int8);
  report.equal("y_uint8_s0.5_zp3", vectors->values<std::uint8_t>("y_uint8_s0.5_zp3"), uint8);

  const auto x = vectors->values<float>("blk_x"), scales = vectors->values<float>("blk_scale");
  const auto zeros = vectors->values<std::int8_t>("blk_zp");
  const auto shape = vectors->shape("blk_x"), grid = vectors->shape("blk_scale");
  if (shape.size() != 2 || grid.size() != 2) return report.check("blk_x", false, "is no matrix");
  std::vector<std::int8_t> integers;
  for (std::size_t r = 0; r < shape[0]; ++r)
    for (std::size_t c = 0; c < shape[1]; ++c) {
      const std::size_t block = r * grid[1] + c / 4;
      integers.push_back(
          static_cast<std::int8_t>(pare::onnx_quantize(x[r * shape[1] + c], scales[block], zeros[block], -8, 7)));
    }
  report.equal("blk_q_int4", vectors->values<std::int8_t>("blk_q_int4"), integers);

  const pare::OnnxLinear layout{
      .elements = pare::stored_int(4), .shape = {shape[0], shape[1]}, .axis = 1, .block_size = 4};
  // The zero points of the vectors have a byte each; in a file they are packed as x is.
  std::vector<std::uint8_t> nibbles, packed(pare::ceil_div(zeros.size(), 2));
  for (const std::int8_t zero : zeros) nibbles.push_back(static_cast<std::uint8_t>(zero & 15));
  static_cast<void>(pare::pack_codes(layout.packing(),
                                     pare::MatrixView<const std::uint8_t>(nibbles.data(), 1, nibbles.size()), packed));
  auto views = parts(*vectors, {{"blk_q_raw", "x"}, {"blk_scale", "x_scale"}}, report);
  const std::size_t extent[] = {packed.size()};
  views.push_back({"x_zero_point", pare::PartType::uint8, extent, packed});
  const auto matrix = layout.read(views);
  if (!matrix) return report.check("read", false, matrix.error().message);
  report.equal("blk_dq", vectors->values<float>("blk_dq"), values(*matrix, false));
  const auto written = layout.write(*matrix);
  if (!written) return report.check("write", false, written.error().message);
  for (std::size_t i = 0; i < 3; ++i) report.equal(views[i].name, views[i].bytes, (*written)[i].view().bytes);
}

void check_matmulnbits(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const std::string stem = file.stem().string();
  const bool symmetric = stem.ends_with("_sym");
  const int bits = stem[stem.find("_b") + 2] - '0';
  const auto weights = vectors->values<float>("W_K_N");
  const auto shape = vectors->shape("W_K_N");
  if (shape.size() != 2) return report.check("W_K_N", false, "is no matrix");
  const pare::MatMulNBits layout{.bits = bits, .columns = shape[0], .zero_points = !symmetric};
  std::vector<NamedPart> names{{"B", "B"}, {"scales", "scales"}};
  if (!symmetric) names.push_back({"zero_points", "zero_points"});
  const auto matrix = read(layout, *vectors, names, report);
  if (!matrix) return;
  report.equal("dequant_K_N", vectors->values<float>("dequant_K_N"), values(*matrix, true));
  compare(*vectors, names, layout.write(*matrix), report);

  const std::size_t padded = matrix->grid.cols * layout.block_size;
  std::vector<std::uint8_t> found(matrix->shape.rows * padded), stored(found.size());
  std::vector<float> scales, zeros;
  for (std::size_t n = 0; n < matrix->shape.rows; ++n)
    for (std::size_t g = 0; g < matrix->grid.cols; ++g) {
      const std::size_t begin = g * layout.block_size, end = std::min(shape[0], begin + layout.block_size);
      pare::Range range;
      for (std::size_t k = begin; k < end; ++k) range.include(weights[k * shape[1] + n]);
      const auto p = pare::matmulnbits_parameters(range, bits, symmetric);
      scales.push_back(p.scale);
      zeros.push_back(static_cast<float>(p.zero_point));
      for (std::size_t k = begin; k < end; ++k) {
        found[n * padded + k] = pare::matmulnbits_code(weights[k * shape[1] + n], p, bits);
        stored[n * padded + k] = matrix->codes()(n, k);
      }
    }
  report.equal("codes_N_K", vectors->values<std::uint8_t>("codes_N_K"), stored);
  report.equal("codes of W_K_N", vectors->values<std::uint8_t>("codes_N_K"), found);
  report.equal("scales of W_K_N", vectors->values<float>("scales"), scales);
  report.equal("zero_points of W_K_N", shifts(*matrix, false), zeros);
}

}  // namespace

std::span<const Check> onnx_checks() {
  static constexpr Check checks[] = {{"onnx/sub_byte_packing.safetensors", check_packing},
                                     {"onnx/quantize_linear.safetensors", check_linear},
                                     {"onnx/matmulnbits_b2_sym.safetensors", check_matmulnbits},
                                     {"onnx/matmulnbits_b2_asym.safetensors", check_matmulnbits},
                                     {"onnx/matmulnbits_b4_sym.safetensors", check_matmulnbits},
                                     {"onnx/matmulnbits_b4_asym.safetensors", check_matmulnbits},
                                     {"onnx/matmulnbits_b8_sym.safetensors", check_matmulnbits},
                                     {"onnx/matmulnbits_b8_asym.safetensors", check_matmulnbits}};
  return checks;
}

}  // namespace golden
