// AWQ: the GEMM, GEMV and GEMV-fast layouts against AutoAWQ's tensors.
#include "pare/layouts/awq.hpp"

#include <algorithm>

#include "families.hpp"
#include "layout_parts.hpp"
#include "pare/layouts/gptq.hpp"

namespace golden {
namespace {
namespace fs = std::filesystem;

/// The group size that a file's name ends with: "gemv_g64".
std::size_t group_size(const fs::path& file) {
  const std::string stem = file.stem().string();
  return static_cast<std::size_t>(std::stoul(stem.substr(stem.rfind('g') + 1)));
}

/// The quantizer's grid of each block [rows, groups], its scales in float.
std::vector<pare::BlockParameters> grids(const Vectors& vectors, const pare::CodedMatrix& matrix) {
  const auto weights = vectors.values<float>("weight_in");
  const std::size_t cols = matrix.shape.cols, size = matrix.block.cols;
  std::vector<pare::BlockParameters> blocks;
  for (std::size_t r = 0; r < matrix.shape.rows && weights.size() == matrix.shape.rows * cols; ++r)
    for (std::size_t c = 0; c < cols; c += size) {
      const auto begin = weights.begin() + static_cast<std::ptrdiff_t>(r * cols + c);
      const auto [low, high] =
          std::minmax_element(begin, begin + static_cast<std::ptrdiff_t>(std::min(size, cols - c)));
      blocks.push_back(pare::awq_parameters(*low, *high));
    }
  return blocks;
}

void check_codes(const Vectors& vectors, const std::string& tensor, bool by_columns, const pare::CodedMatrix& matrix,
                 Report& report) {
  const auto blocks = grids(vectors, matrix);
  if (blocks.size() != matrix.grid.rows * matrix.grid.cols) return report.check("weight_in", false, "another size");
  const auto weights = vectors.values<float>("weight_in");
  const auto found = elements(matrix.shape, by_columns, [&](std::size_t r, std::size_t c) {
    const auto& block = blocks[r * matrix.grid.cols + matrix.group_of(c)];
    return pare::awq_code(weights[r * matrix.shape.cols + c], block);
  });
  report.equal(tensor + " of weight_in", vectors.values<std::uint8_t>(tensor), found);
  const auto scales = elements(matrix.grid, false, [&](std::size_t r, std::size_t g) { return matrix.scales()(r, g); });
  std::vector<float> rounded;
  for (const auto& block : blocks) rounded.push_back(static_cast<float>(pare::Half(block.scale)));
  report.equal("scales of weight_in", scales, rounded);
  std::vector<float> zeros;
  for (std::size_t i = 0; i < blocks.size(); ++i)
    zeros.push_back(matrix.shift_kind == pare::ShiftKind::offset
                        ? static_cast<float>(pare::Half(-(rounded[i] * static_cast<float>(blocks[i].zero_point))))
                        : static_cast<float>(blocks[i].zero_point));
  report.equal("zero points of weight_in", shifts(matrix, false), zeros);
}

void check_gemm(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const std::vector<NamedPart> names{{"qweight", "qweight"}, {"qzeros", "qzeros"}, {"scales", "scales"}};
  const pare::AwqGemm layout;
  const auto matrix = read(layout, *vectors, names, report);
  if (!matrix) return;
  report.check("group size", matrix->block.cols == group_size(file), "is another");
  report.equal("codes_in_out", vectors->values<std::uint8_t>("codes_in_out"), codes(*matrix, true));
  const auto zeros = vectors->values<std::uint8_t>("zeros_g_out");
  report.equal("zeros_g_out", floats(zeros), shifts(*matrix, true));
  report.equal("dequant_in_out", vectors->values<float>("dequant_in_out"), values(*matrix, true));
  compare(*vectors, names, layout.write(*matrix), report);
  check_codes(*vectors, "codes_in_out", true, *matrix, report);

  // AutoAWQ's way to ExLlama is GPTQ v1, but words less 0x11111111: a zero point of 0 borrows from its neighbour.
  const auto gptq = pare::AutoGptq{.zeros = pare::GptqZeros::as_stored}.write(*matrix);
  if (!gptq) return report.check("gptq", false, gptq.error().message);
  for (const pare::Part& part : *gptq) {
    const auto view = part.view();
    std::vector<std::uint32_t> words(view.bytes.size() / 4);
    if (!words.empty()) std::memcpy(words.data(), view.bytes.data(), view.bytes.size());
    if (part.name == "qzeros")
      for (std::uint32_t& word : words) word -= 0x11111111u;
    if (part.name == "qzeros" || part.name == "qweight")
      report.equal("exllama_" + part.name, vectors->values<std::uint32_t>("exllama_" + part.name), words);
  }
}

template <class Layout>
void check_out_in(const Layout& layout, const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const std::vector<NamedPart> names{{"qweight", "qweight"}, {"qzeros", "qzeros"}, {"scales", "scales"}};
  const auto matrix = read(layout, *vectors, names, report);
  if (!matrix) return;
  report.equal("codes_out_in", vectors->values<std::uint8_t>("codes_out_in"), codes(*matrix, false));
  report.equal("dequant_out_in", vectors->values<float>("dequant_out_in"), values(*matrix, false));
  compare(*vectors, names, layout.write(*matrix), report);
  check_codes(*vectors, "codes_out_in", false, *matrix, report);
}

void check_gemv(const fs::path& file, Report& report) {
  check_out_in(pare::AwqGemv{.group_size = group_size(file)}, file, report);
}

void check_gemv_fast(const fs::path& file, Report& report) {
  check_out_in(pare::AwqGemvFast{.group_size = group_size(file)}, file, report);
}

}  // namespace

std::span<const Check> awq_checks() {
  static constexpr Check checks[] = {{"awq/gemm_g128.safetensors", check_gemm},
                                     {"awq/gemv_g128.safetensors", check_gemv},
                                     {"awq/gemv_g64.safetensors", check_gemv},
                                     {"awq/gemv_g32.safetensors", check_gemv},
                                     {"awq/gemv_fast_g128.safetensors", check_gemv_fast}};
  return checks;
}

}  // namespace golden
