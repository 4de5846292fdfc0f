#include "pare/layouts/packing.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <vector>

#include "layout_checks.hpp"
#include "pare/layouts/gptq.hpp"

namespace {
using pare::Along;
using pare::Packing;
using pare::Shape;
using pare::WordOrder;

constexpr auto reversed = pare::detail::make_order<24>([](std::size_t p) { return 23 - p; });

std::vector<Packing> packings() {
  std::vector<Packing> all;
  for (int bits = 1; bits <= 16; ++bits)
    for (const int word : {8, 16, 32})
      for (const bool crosses : {false, true}) {
        if (!crosses && bits > word) continue;
        for (const Along along : {Along::inputs, Along::outputs})
          for (const WordOrder words : {WordOrder::stream_major, WordOrder::word_major})
            all.push_back({.bits = bits, .word_bits = word, .crosses_words = crosses, .along = along, .words = words});
      }
  return all;
}

std::vector<std::uint16_t> random_codes(Shape shape, int bits, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::uint16_t> codes(shape.rows * shape.cols);
  for (std::uint16_t& code : codes) code = static_cast<std::uint16_t>(random() & ((1u << bits) - 1u));
  return codes;
}

void expect_round_trip(const Packing& packing, Shape shape) {
  const auto codes = random_codes(shape, packing.bits, 1);
  const auto size = pare::packed_size(packing, shape);
  ASSERT_TRUE(size);
  std::vector<std::uint8_t> bytes(*size, 0xa5);
  const pare::MatrixView<const std::uint16_t> view(codes.data(), shape.rows, shape.cols);
  ASSERT_TRUE(pare::pack_codes(packing, view, bytes));
  std::vector<std::uint16_t> back(codes.size(), 0xffff);
  ASSERT_TRUE(pare::unpack_codes(packing, std::span<const std::uint8_t>(bytes),
                                 pare::MatrixView<std::uint16_t>(back.data(), shape.rows, shape.cols)));
  EXPECT_EQ(codes, back);
}

TEST(Packing, EveryWidthWordAndDirectionRoundTrips) {
  for (const Packing& packing : packings())
    for (const Shape shape : {Shape{1, 1}, {3, 50}, {17, 9}, {0, 5}, {5, 0}}) expect_round_trip(packing, shape);
}

TEST(Packing, StripsOrdersPlanesAndPaddingRoundTrip) {
  Packing packing{.word_bits = 32, .strip = 3, .order = reversed};
  expect_round_trip(packing, {9, 24});
  expect_round_trip(packing, {7, 29});
  packing.along = Along::outputs;
  expect_round_trip(packing, {29, 7});
  packing.across = true;
  expect_round_trip(packing, {29, 7});
  for (int bits = 2; bits <= 8; ++bits) {
    const pare::AutoGptq planar{.bits = bits, .planar = true};
    expect_round_trip(planar.packing(Along::inputs), {5, 70});
    expect_round_trip(planar.packing(Along::outputs), {70, 5});
  }
  expect_round_trip({.word_bits = 32, .multiple = 24}, {3, 25});
}

TEST(Packing, StreamsAreLeastSignificantBitFirst) {
  const Shape shape{2, 21};
  for (int bits = 1; bits <= 8; ++bits) {
    const Packing packing{.bits = bits, .word_bits = 32, .crosses_words = true};
    const auto codes = random_codes(shape, bits, 2);
    std::vector<std::uint8_t> bytes(*pare::packed_size(packing, shape));
    ASSERT_TRUE(pare::pack_codes(packing, pare::MatrixView<const std::uint16_t>(codes.data(), 2, 21), bytes));
    const std::size_t row_bytes = bytes.size() / 2, width = static_cast<std::size_t>(bits);
    for (std::size_t i = 0; i < codes.size(); ++i)
      for (std::size_t b = 0; b < width; ++b) {
        const std::size_t bit = i % 21 * width + b;
        EXPECT_EQ(bytes[i / 21 * row_bytes + bit / 8] >> (bit % 8) & 1, codes[i] >> b & 1);
      }
  }
}

TEST(Packing, FillsUpWithThePaddingCode) {
  const Packing packing{.bits = 4, .multiple = 8, .padding = 9};
  const std::uint8_t codes[] = {1, 2, 3};
  std::vector<std::uint8_t> bytes(4);
  ASSERT_TRUE(pare::pack_codes(packing, pare::MatrixView<const std::uint8_t>(codes, 1, 3), bytes));
  EXPECT_EQ(bytes, (std::vector<std::uint8_t>{0x21, 0x93, 0x99, 0x99}));
}

TEST(Packing, RefusesWideCodesWrongSizesAndHugeShapes) {
  const std::uint8_t codes[] = {1, 16};
  std::uint8_t byte = 0;
  const pare::MatrixView<const std::uint8_t> view(codes, 1, 2);
  const auto wide = pare::pack_codes(Packing{}, view, {&byte, 1});
  ASSERT_FALSE(wide);
  EXPECT_EQ(wide.error().message, "pare: code 16 at (0, 1) does not fit in 4 bits");
  EXPECT_FALSE(pare::pack_codes(Packing{.bits = 8}, view, {&byte, 1}));
  constexpr std::size_t huge = ~std::size_t{0};
  for (const Shape shape : {Shape{huge, huge}, {huge, 1}, {1, huge}, {huge / 64, huge / 64}})
    EXPECT_FALSE(pare::packed_size(Packing{}, shape));
}

TEST(CodedMatrix, UnsignedFormatsAreThoseOfTheCompileTime) {
  EXPECT_EQ(pare::unsigned_format(4), pare::code_format<pare::UInt<4>>());
  for (int bits = 1; bits <= 8; ++bits) {
    const pare::CodeFormat format = pare::unsigned_format(bits);
    EXPECT_EQ(format.name, "uint" + std::to_string(bits));
    ASSERT_EQ(format.values.size(), std::size_t{1} << bits);
    for (std::size_t code = 0; code < format.values.size(); ++code)
      EXPECT_EQ(format.values[code], static_cast<float>(code));
  }
}

TEST(CodedMatrix, ValuesFollowTheKindsOfShiftAndTensorScale) {
  auto matrix = pare::CodedMatrix::allocate({1, 1}, pare::unsigned_format(4), {1, 1}, pare::ShiftKind::zero_point);
  ASSERT_TRUE(matrix);
  matrix->codes()(0, 0) = 13;
  matrix->scales()(0, 0) = 0.1f;
  matrix->shifts()(0, 0) = 3.0f;
  EXPECT_EQ(matrix->value(0, 0), 10.0f * 0.1f);
  matrix->tensor_scale = 1.3f;
  EXPECT_EQ(matrix->value(0, 0), 10.0f * 0.1f * 1.3f);
  matrix->tensor_scale_kind = pare::TensorScale::multiplies_scale;
  EXPECT_EQ(matrix->value(0, 0), 10.0f * (0.1f * 1.3f));
  matrix->tensor_scale_kind = pare::TensorScale::divides_scale;
  EXPECT_EQ(matrix->value(0, 0), 10.0f * (0.1f / 1.3f));
  matrix->tensor_scale_kind = pare::TensorScale::aside;
  EXPECT_EQ(matrix->value(0, 0), 10.0f * 0.1f);
  matrix->shift_kind = pare::ShiftKind::offset;
  const volatile float product = 13.0f * 0.1f;
  EXPECT_EQ(matrix->value(0, 0), product + 3.0f);
}

TEST(Parts, AreCheckedBeforeUse) {
  const std::size_t shape[] = {2, 3}, huge[] = {~std::size_t{0}, 2}, empty[] = {0, ~std::size_t{0}};
  const std::uint8_t bytes[24] = {};
  const pare::PartView part{.name = "scales", .type = pare::PartType::float32, .shape = shape, .bytes = bytes};
  EXPECT_TRUE(pare::find_part({&part, 1}, "scales", pare::PartType::float32, 2));
  for (const auto& [name, type, rank, message] :
       {std::tuple{"zeros", pare::PartType::float32, 2u, "pare: zeros is missing"},
        {"scales", pare::PartType::int32, 2u, "pare: scales has another element type"},
        {"scales", pare::PartType::float32, 1u, "pare: scales has 2 dimensions, not 1"}}) {
    const auto found = pare::find_part({&part, 1}, name, type, rank);
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().message, message);
  }
  pare::PartView bad = part;
  bad.bytes = std::span(bytes).first(23);
  EXPECT_EQ(pare::find_part({&bad, 1}, "scales", pare::PartType::float32, 2).error().message,
            "pare: scales has 23 bytes where its shape needs 24");
  bad.shape = huge;
  EXPECT_NE(pare::find_part({&bad, 1}, "scales", pare::PartType::float32, 2).error().message.find("overflows"),
            std::string::npos);
  bad.shape = empty;
  bad.bytes = {};
  EXPECT_TRUE(pare::find_part({&bad, 1}, "scales", pare::PartType::float32, 2));
}

TEST(ScaleTypes, EncodeOnlyWhatTheyHold) {
  using pare::ScaleType;
  for (const ScaleType type :
       {ScaleType::float32, ScaleType::float16, ScaleType::bfloat16, ScaleType::float8_e4m3, ScaleType::float8_e8m0}) {
    EXPECT_EQ(pare::scale_type(pare::part_type(type)), type);
    const std::uint32_t codes = pare::element_bytes(pare::part_type(type)) == 1 ? 0x100u : 0x10000u;
    for (std::uint32_t code = 0; code < codes; ++code) {
      const float value = pare::decode_scale(type, code);
      const auto back = pare::encode_scale(type, value);
      ASSERT_TRUE(back) << code;
      EXPECT_TRUE(*back == code || pare::is_nan(value)) << code;
    }
  }
  EXPECT_FALSE(pare::encode_scale(ScaleType::float16, 1e-9f));
  EXPECT_FALSE(pare::encode_scale(ScaleType::float16, 65520.0f));
  EXPECT_FALSE(pare::encode_scale(ScaleType::bfloat16, 1.001f));
  EXPECT_FALSE(pare::encode_scale(ScaleType::float8_e4m3, 449.0f));
  EXPECT_FALSE(pare::encode_scale(ScaleType::float8_e4m3, std::numeric_limits<float>::infinity()));
  EXPECT_FALSE(pare::encode_scale(ScaleType::float8_e8m0, 3.0f));
  EXPECT_FALSE(pare::encode_scale(ScaleType::float8_e8m0, 0.0f));
  EXPECT_FALSE(pare::scale_type(pare::PartType::int32));
}

TEST(ScaleGrid, SplitsBlocksAndRefusesToJoinThem) {
  const auto matrix = layout_test::random_matrix(
      {.shape = {6, 48}, .format = pare::unsigned_format(4), .block = {2, 32}, .shift = pare::ShiftKind::none}, 1);
  const auto split = pare::ScaleGrid::fit(matrix, "test", {1, 16});
  ASSERT_TRUE(split);
  EXPECT_EQ(split->grid(), (Shape{6, 3}));
  for (std::size_t r = 0; r < 6; ++r)
    for (std::size_t g = 0; g < 3; ++g) EXPECT_EQ(split->scale(r, g), matrix.scales()(r / 2, g / 2));
  for (const Shape block : {Shape{3, 16}, {1, 48}, {1, 64}, {1, 24}}) {
    const auto refused = pare::ScaleGrid::fit(matrix, "test", block);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message.substr(0, 51), "pare: test cannot hold scales of 2 x 32 elements in");
  }
  EXPECT_FALSE(pare::ScaleGrid::fit(matrix, "test", {0, 1}));
  const auto whole =
      layout_test::random_matrix({.shape = {6, 48}, .format = pare::unsigned_format(4), .block = {6, 50}}, 1);
  EXPECT_TRUE(pare::ScaleGrid::fit(whole, "test", {4, 11}));
}

TEST(ScaleGrid, TakesOffsetsForZeroPointsOnlyWhereNothingIsRounded) {
  auto matrix = layout_test::random_matrix(
      {.shape = {1, 4}, .format = pare::unsigned_format(4), .block = {1, 4}, .shift = pare::ShiftKind::offset}, 1);
  matrix.scales()(0, 0) = 0.0999755859375f;  // of float16
  matrix.shifts()(0, 0) = -matrix.scales()(0, 0) * 7.0f;
  const auto zero = pare::ScaleGrid::fit(matrix, "test", {1, 4})->zero_point(0, 0, 0, 15);
  ASSERT_TRUE(zero) << zero.error().message;
  EXPECT_EQ(*zero, 7);
  matrix.scale_type = pare::ScaleType::float32;
  EXPECT_FALSE(pare::ScaleGrid::fit(matrix, "test", {1, 4})->zero_point(0, 0, 0, 15));
  matrix.scale_type = pare::ScaleType::float16;
  for (const float shift :
       {-0.7f, std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity(), 1.0f}) {
    matrix.shifts()(0, 0) = shift;
    EXPECT_FALSE(pare::ScaleGrid::fit(matrix, "test", {1, 4})->zero_point(0, 0, 0, 15)) << shift;
  }
  matrix.shift_kind = pare::ShiftKind::real_zero;
  for (const float shift :
       {0.5f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -1.0f, 16.0f}) {
    matrix.shifts()(0, 0) = shift;
    EXPECT_FALSE(pare::ScaleGrid::fit(matrix, "test", {1, 4})->zero_point(0, 0, 0, 15)) << shift;
  }
}

}  // namespace
