// OpenVINO: streams of sub-byte elements, and weights compressed by NNCF's rules.
#include "pare/layouts/openvino.hpp"

#include "families.hpp"
#include "layout_parts.hpp"
#include "pare/schemes/microscaling.hpp"

namespace golden {
namespace {
namespace fs = std::filesystem;

void check_packing(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  constexpr std::pair<const char*, pare::StoredFormat> types[] = {
      {"u1", pare::stored_uint(1)}, {"u2", pare::stored_uint(2)}, {"u3", pare::stored_uint(3)},
      {"u4", pare::stored_uint(4)}, {"u6", pare::stored_uint(6)}, {"i4", pare::stored_int(4)}};
  for (const auto& [name, type] : types) {
    const pare::OpenVino layout{.elements = type};
    auto elements = vectors->values<std::uint8_t>(name);
    for (std::uint8_t& element : elements) element &= static_cast<std::uint8_t>((1u << layout.packing().bits) - 1);
    const auto raw = vectors->values<std::uint8_t>(std::string(name) + "_raw");
    std::vector<std::uint8_t> packed(raw.size()), unpacked(elements.size());
    const auto done = pare::pack_codes(
        layout.packing(), pare::MatrixView<const std::uint8_t>(elements.data(), 1, elements.size()), packed);
    if (!done) report.check(name, false, done.error().message);
    report.equal(std::string(name) + "_raw", raw, packed);
    const auto back =
        pare::unpack_codes(layout.packing(), raw, pare::MatrixView<std::uint8_t>(unpacked.data(), 1, unpacked.size()));
    if (!back) report.check(name, false, back.error().message);
    report.equal(name, elements, unpacked);
  }
}

/// The shape of a tensor [out, groups, size] or [out, in] as a matrix.
pare::Shape matrix_shape(const std::vector<std::size_t>& shape) {
  return {shape[0], shape.size() == 3 ? shape[1] * shape[2] : shape[1]};
}

/// Reads with the given parts, compares codes and values, and writes the same bytes again.
void check_layout(const Vectors& vectors, const pare::OpenVino& layout, const std::vector<pare::PartView>& views,
                  const std::string& dequantized, Report& report) {
  const auto matrix = layout.read(views);
  if (!matrix) return report.check("read", false, matrix.error().message);
  auto stored = codes(*matrix, false);
  if (layout.elements.twos_complement)
    for (std::uint8_t& code : stored) code = static_cast<std::uint8_t>(code - (1 << (matrix->format.bits - 1)));
  report.equal("codes", vectors.values<std::uint8_t>("codes"), stored);
  report.equal(dequantized, vectors.values<float>(dequantized), values(*matrix, false));
  const auto written = layout.write(*matrix);
  if (!written) return report.check("write", false, written.error().message);
  report.check("parts", written->size() == views.size(), "are not as many");
  for (const pare::PartView& view : views)
    for (const pare::Part& part : *written)
      if (part.name == view.name) report.equal(part.name, view.bytes, part.view().bytes);
}

void check_integers(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const std::string stem = file.stem().string();
  const bool four = stem.find("int4") != std::string::npos, symmetric = stem.ends_with("_sym");
  const int bits = four ? 4 : 8;
  const auto shape = vectors->shape("input");
  if (shape.size() != 3) return report.check("input", false, "has not three dimensions");
  const pare::OpenVino layout{.elements = symmetric ? pare::stored_int(bits) : pare::stored_uint(bits),
                              .shape = matrix_shape(shape),
                              .group_size = shape[2],
                              .zero_points = !symmetric};
  // The figures are of scales before they become float16.
  std::vector<NamedPart> names{{four ? "raw" : "codes", "weight"}, {"scale_f32", "scale"}};
  if (!symmetric) names.push_back({four ? "zero_point_raw" : "zero_point", "zero_point"});
  check_layout(*vectors, layout, parts(*vectors, names, report), "dequant", report);
  names[1].tensor = "scale_f16";
  const auto matrix = read(layout, *vectors, names, report);
  if (!matrix) return;

  const auto input = vectors->values<float>("input");
  std::vector<float> scales;
  std::vector<std::uint8_t> zeros, found;
  for (std::size_t r = 0; r < matrix->grid.rows; ++r)
    for (std::size_t g = 0; g < matrix->grid.cols; ++g) {
      const auto [lowest, highest] = extremes(input, *matrix, r, g);
      const pare::BlockParameters p = pare::nncf_asymmetric_parameters(lowest, highest, bits);
      scales.push_back(symmetric ? pare::nncf_symmetric_scale(lowest, highest, bits) : p.scale);
      zeros.push_back(p.zero_point);
      for (std::size_t c = g * shape[2]; c < (g + 1) * shape[2]; ++c) {
        const float x = input[r * matrix->shape.cols + c];
        found.push_back(symmetric ? pare::nncf_symmetric_code(x, scales.back(), bits)
                                  : pare::nncf_asymmetric_code(x, p, bits));
      }
    }
  report.equal("scale_f32 of input", vectors->values<float>("scale_f32"), scales);
  report.equal("scale_f16 of input", vectors->values<std::uint16_t>("scale_f16"), halves(scales));
  report.equal("codes of input", codes(*matrix, false), found);
  if (!symmetric) report.equal("zero_point of input", vectors->values<std::uint8_t>("zero_point"), zeros);
}

void check_nf4(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const auto shape = vectors->shape("input"), groups = vectors->shape("scale_f32");
  if (shape.size() != 2 || groups.size() != 2) return report.check("input", false, "is no matrix");
  const pare::OpenVino layout{.elements = pare::stored<pare::NF4>(),
                              .shape = matrix_shape(shape),
                              .group_size = shape[1] / groups[1],
                              .zero_points = false};
  check_layout(*vectors, layout, parts(*vectors, {{"raw", "weight"}, {"scale_f32", "scale"}}, report),
               "dequant_f32scale", report);
  const auto matrix = read(layout, *vectors, {{"raw", "weight"}, {"scale_f16", "scale"}}, report);
  if (!matrix) return;
  const auto input = vectors->values<float>("input");
  std::vector<float> scales;
  std::vector<std::uint8_t> found;
  for (std::size_t r = 0; r < matrix->grid.rows; ++r)
    for (std::size_t g = 0; g < matrix->grid.cols; ++g) {
      const float magnitude = range_of(input, matrix->shape, *matrix, r, g).magnitude();
      scales.push_back(magnitude < 0x1p-23f ? 0x1p-23f : magnitude);
      for (std::size_t c = g * layout.group_size; c < (g + 1) * layout.group_size; ++c)
        found.push_back(static_cast<std::uint8_t>(pare::NF4::encode(input[r * shape[1] + c] / scales.back())));
    }
  report.equal("scale_f32 of input", vectors->values<float>("scale_f32"), scales);
  report.equal("scale_f16 of input", vectors->values<std::uint16_t>("scale_f16"), halves(scales));
  report.equal("codes of input", vectors->values<std::uint8_t>("codes"), found);
}

void check_mxfp4(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const auto shape = vectors->shape("input");
  if (shape.size() != 2) return report.check("input", false, "is no matrix");
  const pare::OpenVino layout{
      .elements = pare::stored<pare::E2M1>(), .shape = matrix_shape(shape), .group_size = 32, .zero_points = false};
  check_layout(*vectors, layout, parts(*vectors, {{"raw", "weight"}, {"scale_f8e8m0", "scale"}}, report), "dequant",
               report);
  const auto matrix = read(layout, *vectors, {{"raw", "weight"}, {"scale_f8e8m0", "scale"}}, report);
  if (!matrix) return;
  const auto input = vectors->values<float>("input");
  std::vector<std::uint8_t> scales, found;
  for (std::size_t r = 0; r < matrix->grid.rows; ++r)
    for (std::size_t g = 0; g < matrix->grid.cols; ++g) {
      const float magnitude = range_of(input, matrix->shape, *matrix, r, g).magnitude();
      scales.push_back(
          static_cast<std::uint8_t>(pare::shared_exponent<pare::E2M1, pare::SharedExponent::nncf>(magnitude)));
      for (std::size_t c = g * 32; c < (g + 1) * 32; ++c)
        found.push_back(
            static_cast<std::uint8_t>(pare::E2M1::encode(input[r * shape[1] + c] / pare::E8M0::decode(scales.back()))));
    }
  report.equal("scale_f8e8m0 of input", vectors->values<std::uint8_t>("scale_f8e8m0"), scales);
  report.equal("codes of input", vectors->values<std::uint8_t>("codes"), found);
}

}  // namespace

std::span<const Check> openvino_checks() {
  static constexpr Check checks[] = {
      {"openvino/sub_byte_packing.safetensors", check_packing}, {"openvino/nncf_int4_sym.safetensors", check_integers},
      {"openvino/nncf_int4_asym.safetensors", check_integers},  {"openvino/nncf_int8_sym.safetensors", check_integers},
      {"openvino/nncf_int8_asym.safetensors", check_integers},  {"openvino/nncf_nf4_g64.safetensors", check_nf4},
      {"openvino/nncf_mxfp4_g32.safetensors", check_mxfp4}};
  return checks;
}

}  // namespace golden
