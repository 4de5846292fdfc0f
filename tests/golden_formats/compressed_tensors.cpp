// compressed-tensors: packed integers of both ages, int8 and FP8 channels.
#include "pare/layouts/compressed_tensors.hpp"

#include "families.hpp"
#include "float8_checks.hpp"
#include "layout_parts.hpp"

namespace golden {
namespace {
namespace fs = std::filesystem;

/// Integers with a sign, counted from the lowest of `bits` bits.
std::vector<std::uint8_t> counted(const std::vector<std::int8_t>& integers, int bits) {
  std::vector<std::uint8_t> codes;
  for (const std::int8_t q : integers) codes.push_back(static_cast<std::uint8_t>(q + (1 << (bits - 1))));
  return codes;
}

void check_packing(const Vectors& vectors, const std::string& tensor, const pare::Packing& packing,
                   const std::vector<std::uint8_t>& codes, pare::Shape shape, Report& report) {
  const auto words = vectors.values<std::uint32_t>(tensor);
  const pare::Shape word_shape = packing.word_shape(shape);
  report.check(tensor, vectors.shape(tensor) == std::vector{word_shape.rows, word_shape.cols}, "has another shape");
  std::vector<std::uint32_t> packed(words.size());
  const auto done =
      pare::pack_codes(packing, pare::MatrixView<const std::uint8_t>(codes.data(), shape.rows, shape.cols),
                       {reinterpret_cast<std::uint8_t*>(packed.data()), packed.size() * 4});
  report.check(tensor, done.has_value(), done ? "" : done.error().message);
  report.equal(tensor, words, packed);
  std::vector<std::uint8_t> unpacked(codes.size());
  const auto undone =
      pare::unpack_codes(packing, {reinterpret_cast<const std::uint8_t*>(words.data()), words.size() * 4},
                         pare::MatrixView<std::uint8_t>(unpacked.data(), shape.rows, shape.cols));
  report.check(tensor, undone.has_value(), undone ? "" : undone.error().message);
  report.equal(tensor + " unpacked", codes, unpacked);
}

void check_words(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  for (int bits = 1; bits <= 8; ++bits) {
    const std::string suffix = "_b" + std::to_string(bits);
    const auto shape = vectors->shape("q" + suffix);
    if (shape.size() != 2) {
      report.check("q" + suffix, false, "is no matrix");
      continue;
    }
    const auto codes = counted(vectors->values<std::int8_t>("q" + suffix), bits);
    const pare::PackQuantized dense{.bits = bits}, padded{.bits = bits, .words = pare::PackedWords::padded};
    check_packing(*vectors, "new" + suffix, dense.packing(pare::Along::inputs), codes, {shape[0], shape[1]}, report);
    check_packing(*vectors, "old" + suffix, padded.packing(pare::Along::inputs), codes, {shape[0], shape[1]}, report);
  }
}

/// The quantizer: weights to scales, zero points and codes.
void check_quantizer(const Vectors& vectors, const pare::CodedMatrix& matrix, int bits, bool symmetric,
                     Report& report) {
  const auto weights = vectors.values<float>("input");
  if (weights.size() != matrix.shape.rows * matrix.shape.cols) return report.check("input", false, "another size");
  std::vector<pare::BlockParameters> blocks;
  for (std::size_t r = 0; r < matrix.grid.rows; ++r)
    for (std::size_t g = 0; g < matrix.grid.cols; ++g)
      blocks.push_back(pare::compressed_parameters(range_of(weights, matrix.shape, matrix, r, g), bits, symmetric));
  const auto block = [&](std::size_t r, std::size_t g) { return blocks[r * matrix.grid.cols + g]; };
  const auto grid = [&](auto&& element) { return elements(matrix.grid, false, element); };
  report.equal("weight_scale of input", grid([&](std::size_t r, std::size_t g) { return matrix.scales()(r, g); }),
               grid([&](std::size_t r, std::size_t g) { return block(r, g).scale; }));
  report.equal("zero points of input", shifts(matrix, false),
               grid([&](std::size_t r, std::size_t g) { return static_cast<float>(block(r, g).zero_point); }));
  report.equal("codes of input", codes(matrix, false), elements(matrix.shape, false, [&](std::size_t r, std::size_t c) {
                 return pare::compressed_code(weights[r * matrix.shape.cols + c], block(r, matrix.group_of(c)), bits);
               }));
}

void check_pack_quantized(const fs::path& file, bool symmetric, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const int bits = file.stem().string()[1] - '0';
  std::vector<NamedPart> names{
      {"weight_packed", "weight_packed"}, {"weight_scale", "weight_scale"}, {"weight_shape", "weight_shape"}};
  if (!symmetric) names.push_back({"weight_zero_point", "weight_zero_point"});
  const pare::PackQuantized layout{.bits = bits, .symmetric = symmetric};
  const auto matrix = read(layout, *vectors, names, report);
  if (!matrix) return;
  report.equal("q_int8", counted(vectors->values<std::int8_t>("q_int8"), bits), codes(*matrix, false));
  if (!symmetric)
    report.equal("zp_int8", floats(counted(vectors->values<std::int8_t>("zp_int8"), bits)), shifts(*matrix, false));
  report.equal("dequant", vectors->values<float>("dequant"), values(*matrix, false));
  compare(*vectors, names, layout.write(*matrix), report);
  check_quantizer(*vectors, *matrix, bits, symmetric, report);
}

void check_symmetric(const fs::path& file, Report& report) { check_pack_quantized(file, true, report); }
void check_asymmetric(const fs::path& file, Report& report) { check_pack_quantized(file, false, report); }

void check_int8(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const std::vector<NamedPart> names{{"weight", "weight"}, {"weight_scale", "weight_scale"}};
  const pare::IntQuantized layout;
  const auto matrix = read(layout, *vectors, names, report);
  if (!matrix) return;
  report.equal("dequant", vectors->values<float>("dequant"), values(*matrix, false));
  compare(*vectors, names, layout.write(*matrix), report);
  check_quantizer(*vectors, *matrix, 8, true, report);
}

void check_fp8(const fs::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const std::vector<NamedPart> names{{"weight", "weight"}, {"weight_scale", "weight_scale"}};
  const pare::FloatQuantized layout;
  const auto matrix = read(layout, *vectors, names, report);
  if (!matrix) return;
  report.equal("dequant", vectors->values<float>("dequant"), values(*matrix, false));
  compare(*vectors, names, layout.write(*matrix), report);
  check_float8_quantizer(*vectors, "weight_scale", *matrix, std::numeric_limits<float>::epsilon(), report);
}

}  // namespace

std::span<const Check> compressed_tensors_checks() {
  static constexpr Check checks[] = {{"compressed_tensors/pack_to_int32.safetensors", check_words},
                                     {"compressed_tensors/w4a16_sym_g32.safetensors", check_symmetric},
                                     {"compressed_tensors/w4a16_asym_g32.safetensors", check_asymmetric},
                                     {"compressed_tensors/int8_channel.safetensors", check_int8},
                                     {"compressed_tensors/fp8_channel.safetensors", check_fp8}};
  return checks;
}

}  // namespace golden
