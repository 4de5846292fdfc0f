// Damaged tensors of every layout: each is refused or read into a matrix that keeps its promises.
#include "layout_checks.hpp"
#include "pare/layouts/awq.hpp"
#include "pare/layouts/bitsandbytes.hpp"
#include "pare/layouts/compressed_tensors.hpp"
#include "pare/layouts/exl2.hpp"
#include "pare/layouts/gpt_oss.hpp"
#include "pare/layouts/gptq.hpp"
#include "pare/layouts/hqq.hpp"
#include "pare/layouts/marlin.hpp"
#include "pare/layouts/marlin24.hpp"
#include "pare/layouts/mlc.hpp"
#include "pare/layouts/modelopt.hpp"
#include "pare/layouts/onnx.hpp"
#include "pare/layouts/openvino.hpp"
#include "pare/layouts/qserve.hpp"

namespace {
using namespace layout_test;
using pare::ScaleType;
using pare::Shape;

struct Damaged {
  std::vector<std::vector<std::size_t>> shapes;
  std::vector<std::vector<std::uint8_t>> bytes;
  std::vector<pare::PartView> views;
};

/// The parts with some extents, bytes, types or whole parts changed at random; bytes fill the shapes where they can.
Damaged damage(const std::vector<pare::Part>& parts, std::mt19937& random) {
  Damaged result;
  result.shapes.reserve(parts.size());
  result.bytes.reserve(parts.size());
  constexpr std::size_t extents[] = {
      0, 1, 2, 3, 7, 16, 33, 64, 65, 128, std::size_t{1} << 31, std::size_t{1} << 61, ~std::size_t{0}};
  for (const pare::Part& part : parts) {
    if (random() % 16 == 0) continue;
    auto& shape = result.shapes.emplace_back(part.shape);
    if (random() % 3 == 0 && !shape.empty()) shape[random() % shape.size()] = extents[random() % std::size(extents)];
    if (random() % 12 == 0) shape.push_back(1 + random() % 3);
    if (random() % 12 == 0 && !shape.empty()) shape.pop_back();
    const auto source = part.view().bytes;
    auto& bytes = result.bytes.emplace_back(source.begin(), source.end());
    std::size_t size = pare::element_bytes(part.type);
    bool fits = true;
    for (const std::size_t extent : shape) fits = fits && pare::checked_multiply(size, extent, size);
    if (fits && size < 1u << 20) bytes.resize(size, static_cast<std::uint8_t>(random()));
    if (random() % 16 == 0) bytes.resize(random() % 64);
    for (unsigned i = random() % 4; i > 0 && !bytes.empty(); --i)
      bytes[random() % bytes.size()] = static_cast<std::uint8_t>(random());
    const auto type = random() % 24 == 0 ? static_cast<pare::PartType>(random() % 12) : part.type;
    result.views.push_back({part.name, type, shape, bytes});
  }
  return result;
}

template <class Layout>
void expect_promises_kept(const Layout& layout, const pare::CodedMatrix& good, unsigned seed) {
  const auto parts = write(layout, good);
  std::mt19937 random(seed);
  int read = 0;
  for (int round = 0; round < 3000; ++round) {
    const Damaged bad = damage(parts, random);
    const auto matrix = layout.read(bad.views);
    if (!matrix) {
      ASSERT_EQ(matrix.error().message.substr(0, 6), "pare: ");
      continue;
    }
    ++read;
    ASSERT_EQ(matrix->codes_memory.size(), matrix->shape.rows * matrix->shape.cols);
    ASSERT_EQ(matrix->scales_memory.size(), matrix->grid.rows * matrix->grid.cols * sizeof(float));
    for (const std::uint32_t group : matrix->column_groups()) ASSERT_LT(group, matrix->grid.cols);
    if (matrix->shape.rows == 0 || matrix->shape.cols == 0) continue;
    for (std::size_t r = 0; r < matrix->shape.rows; ++r)
      for (std::size_t c = 0; c < matrix->shape.cols; ++c) ASSERT_LT(matrix->codes()(r, c), 1u << matrix->format.bits);
    static_cast<void>(matrix->value(matrix->shape.rows - 1, matrix->shape.cols - 1));
  }
  EXPECT_GT(read, 0) << Layout::name;
}

pare::CodedMatrix integers(int bits, Shape shape, std::size_t group, bool act_order = false) {
  const int middle = 1 << (bits - 1);
  return random_matrix({.shape = shape,
                        .format = pare::unsigned_format(bits),
                        .block = {1, group},
                        .shift = pare::ShiftKind::zero_point,
                        .lowest_zero = middle,
                        .highest_zero = middle,
                        .act_order = act_order},
                       1);
}

pare::CodedMatrix floats(const pare::CodeFormat& format, std::size_t group, ScaleType scales) {
  return random_matrix({.shape = {4, 64}, .format = format, .block = {1, group}, .scales = scales}, 1);
}

TEST(Hostile, Integers) {
  for (const int bits : {2, 3, 4, 8})
    expect_promises_kept(pare::AutoGptq{.bits = bits}, integers(bits, {32, 64}, 32), 1);
  expect_promises_kept(pare::AutoGptq{}, integers(4, {32, 64}, 32, true), 2);
  expect_promises_kept(pare::AutoGptq{.bits = 7, .planar = true}, integers(7, {32, 64}, 32), 3);
  expect_promises_kept(pare::Marlin{}, integers(4, {64, 32}, 16), 4);
  expect_promises_kept(pare::AwqGemm{}, integers(4, {16, 64}, 32), 5);
  expect_promises_kept(pare::AwqGemv{.group_size = 32}, integers(4, {16, 64}, 32), 6);
  expect_promises_kept(pare::AwqGemvFast{.group_size = 32}, integers(4, {16, 64}, 32), 7);
  for (int bits = 1; bits <= 8; ++bits)
    expect_promises_kept(pare::PackQuantized{.bits = bits, .symmetric = bits % 2 == 0}, integers(bits, {5, 64}, 32), 8);
  expect_promises_kept(pare::PackQuantized{}, integers(4, {5, 64}, 32, true), 9);
  expect_promises_kept(pare::IntQuantized{.symmetric = false}, integers(8, {5, 64}, 64), 10);
  expect_promises_kept(pare::ModeloptInt8{}, integers(8, {5, 64}, 64), 11);
  expect_promises_kept(pare::ModeloptInt4{}, integers(4, {6, 64}, 32), 12);
  auto zeros = integers(4, {64, 64}, 32);
  for (std::size_t r = 0; r < 64; ++r)
    for (std::size_t c = 0; c < 64; ++c)
      if (c % 4 > 1) zeros.codes()(r, c) = 8;
  expect_promises_kept(pare::Marlin24{}, zeros, 13);
}

TEST(Hostile, Floats) {
  const auto e2m1 = pare::code_format<pare::E2M1>(), e4m3 = pare::code_format<pare::E4M3>();
  expect_promises_kept(pare::ModeloptFp8{}, floats(e4m3, 64, ScaleType::float32), 1);
  expect_promises_kept(pare::DeepseekFp8{.block = {1, 32}}, floats(e4m3, 32, ScaleType::float32), 2);
  expect_promises_kept(pare::FloatQuantized{}, floats(e4m3, 32, ScaleType::bfloat16), 3);
  expect_promises_kept(pare::ModeloptNvfp4{}, floats(e2m1, 16, ScaleType::float8_e4m3), 4);
  expect_promises_kept(pare::CompressedNvfp4{}, floats(e2m1, 16, ScaleType::float8_e4m3), 5);
  expect_promises_kept(pare::ModeloptMxfp4{}, floats(e2m1, 32, ScaleType::float8_e8m0), 6);
  expect_promises_kept(pare::ModeloptMxfp8{}, floats(e4m3, 32, ScaleType::float8_e8m0), 7);
  expect_promises_kept(pare::GptOssMxfp4{.experts = 2}, floats(e2m1, 32, ScaleType::float8_e8m0), 8);
}

TEST(Hostile, IntegersOfRuntimes) {
  for (const int bits : {1, 2, 3, 4, 5, 6, 8}) {
    expect_promises_kept(pare::Hqq{.bits = bits, .group_size = 32, .shape = {4, 64}}, integers(bits, {4, 64}, 32), 1);
    expect_promises_kept(pare::OpenVino{.elements = pare::stored_uint(bits), .shape = {4, 64}, .group_size = 32},
                         integers(bits, {4, 64}, 32), 2);
  }
  expect_promises_kept(pare::OpenVino{.elements = pare::stored_int(4), .shape = {4, 64}}, integers(4, {4, 64}, 64), 3);
  auto columns = random_matrix({.shape = {16, 6},
                                .format = pare::unsigned_format(4),
                                .block = {16, 1},
                                .shift = pare::ShiftKind::zero_point,
                                .highest_zero = 15},
                               1);
  expect_promises_kept(pare::Hqq{.axis = 0, .group_size = 16, .shape = {16, 6}}, columns, 4);
  expect_promises_kept(pare::OnnxLinear{.elements = pare::stored_int(4), .shape = {16, 6}, .axis = 1}, columns, 5);
  expect_promises_kept(pare::OnnxLinear{.elements = pare::stored_uint(4), .shape = {5, 6}, .axis = 1, .block_size = 4},
                       integers(4, {5, 6}, 4), 6);
  for (const int bits : {2, 4, 8})
    for (const std::size_t inputs : {std::size_t{0}, std::size_t{64}})
      expect_promises_kept(pare::MatMulNBits{.bits = bits, .columns = inputs}, integers(bits, {5, 64}, 32), 7);
  for (const bool transposed : {false, true})
    for (const std::size_t inputs : {std::size_t{0}, std::size_t{64}}) {
      auto matrix = integers(4, {5, 64}, 32);
      pare::fill_shifts(matrix, 7.0f);
      expect_promises_kept(pare::Mlc{.transposed = transposed, .columns = inputs}, matrix, 8);
    }
  auto eight = integers(8, {5, 64}, 64);
  eight.tensor_scale = 127.0f;
  eight.tensor_scale_kind = pare::TensorScale::divides_value;
  expect_promises_kept(pare::BitsandbytesInt8{}, eight, 9);
}

TEST(Hostile, TwoLevels) {
  auto matrix = integers(4, {32, 64}, 32);
  for (std::size_t r = 0; r < 32; ++r)
    for (std::size_t g = 0; g < 2; ++g) matrix.scales()(r, g) = static_cast<float>(1 + 3 * g) / 16.0f;
  for (const auto order : {pare::QServeOrder::kernel, pare::QServeOrder::deepcompressor})
    expect_promises_kept(pare::QServePerGroup{.group_size = 32, .order = order}, matrix, 1);
  expect_promises_kept(pare::QServePerChannel{.round_offsets = true}, integers(4, {32, 64}, 64), 2);

  auto groups = pare::CodedMatrix::allocate_groups({3, 96}, pare::unsigned_format(5), 2, pare::ShiftKind::zero_point);
  ASSERT_TRUE(groups);
  for (std::size_t r = 0; r < 3; ++r)
    for (std::size_t c = 0; c < 96; ++c) groups->codes()(r, c) = static_cast<std::uint8_t>((r + c) % 8);
  for (std::uint32_t c = 0; c < 96; ++c) groups->column_groups()[c] = c % 3 == 0 ? 1 : 0;
  for (std::size_t r = 0; r < 3; ++r)
    for (std::size_t g = 0; g < 2; ++g) {
      groups->scales()(r, g) = 0.25f;
      groups->shifts()(r, g) = g == 0 ? 16.0f : 4.0f;
    }
  for (const std::size_t outputs : {0u, 3u}) expect_promises_kept(pare::Exl2{.outputs = outputs}, *groups, 3);
}

TEST(Hostile, Tables) {
  const auto nf4 = pare::code_format<pare::NF4>();
  const auto matrix = floats(nf4, 64, ScaleType::float32);
  expect_promises_kept(pare::Bitsandbytes4Bit{.shape = {4, 64}}, matrix, 1);
  const pare::Bitsandbytes4Bit nested{.shape = {4, 64}, .nested = true, .nested_blocksize = 3, .round_scales = true};
  expect_promises_kept(nested, matrix, 2);
  expect_promises_kept(pare::OpenVino{.elements = pare::stored<pare::NF4>(), .shape = {4, 64}}, matrix, 3);
  const auto e2m1 = pare::stored<pare::E2M1>();
  expect_promises_kept(pare::OnnxLinear{.elements = e2m1, .shape = {4, 64}, .axis = 1, .block_size = 32},
                       floats(e2m1.format, 32, ScaleType::float8_e8m0), 4);
}

}  // namespace
