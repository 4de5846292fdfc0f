// ModelOpt's INT4_AWQ and FP8, and DeepSeek's blocks of FP8.
#include "pare/layouts/modelopt.hpp"

#include "families.hpp"
#include "float8_checks.hpp"
#include "layout_parts.hpp"

namespace golden {
namespace {
namespace fs = std::filesystem;

void check_int4(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const std::vector<NamedPart> names{{"weight", "weight"}, {"weight_scale", "weight_scale"}};
  const pare::ModeloptInt4 layout;
  const auto matrix = read(layout, *vectors, names, report);
  if (!matrix) return;
  const auto integers = elements(matrix->shape, false, [&](std::size_t r, std::size_t c) {
    return static_cast<std::int8_t>(matrix->codes()(r, c) - 8);
  });
  report.equal("codes_signed", vectors->values<std::int8_t>("codes_signed"), integers);
  report.equal("dequant", vectors->values<float>("dequant"), values(*matrix, false));
  compare(*vectors, names, layout.write(*matrix), report);

  const auto weights = vectors->values<float>("input");
  if (weights.size() != integers.size()) return report.check("input", false, "another size");
  const auto scales = elements(matrix->grid, false, [&](std::size_t r, std::size_t g) {
    return pare::modelopt_int4_scale(range_of(weights, matrix->shape, *matrix, r, g));
  });
  report.equal("weight_scale of input", vectors->values<float>("weight_scale"), scales);
  report.equal("codes of input", codes(*matrix, false),
               elements(matrix->shape, false, [&](std::size_t r, std::size_t c) {
                 return pare::modelopt_int4_code(weights[r * matrix->shape.cols + c],
                                                 scales[r * matrix->grid.cols + matrix->group_of(c)]);
               }));
}

template <class Layout>
void check_fp8(const Layout& layout, const std::string& scale, const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const std::vector<NamedPart> names{{"weight", "weight"}, {scale, scale}};
  const auto matrix = read(layout, *vectors, names, report);
  if (!matrix) return;
  report.equal("dequant", vectors->values<float>("dequant"), values(*matrix, false));
  compare(*vectors, names, layout.write(*matrix), report);
  check_float8_quantizer(*vectors, scale, *matrix, 1.0f, report);
}

void check_tensor(const fs::path& file, Report& report) {
  check_fp8(pare::ModeloptFp8{}, "weight_scale", file, report);
}

void check_blocks(const fs::path& file, Report& report) {
  check_fp8(pare::DeepseekFp8{}, "weight_scale_inv", file, report);
}

}  // namespace

std::span<const Check> modelopt_checks() {
  static constexpr Check checks[] = {{"modelopt/int4_awq.safetensors", check_int4},
                                     {"modelopt/fp8_per_tensor.safetensors", check_tensor},
                                     {"modelopt/fp8_block128.safetensors", check_blocks}};
  return checks;
}

}  // namespace golden
