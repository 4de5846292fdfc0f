#include "pare/layouts/openvino.hpp"

#include "layout_checks.hpp"
#include "pare/layouts/bitsandbytes.hpp"
#include "pare/layouts/gptq.hpp"

namespace {
using namespace layout_test;
using pare::OpenVino;
using pare::Shape;
using pare::ShiftKind;
using pare::StoredFormat;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

pare::CodedMatrix integers(int bits, Shape shape, std::size_t group, unsigned seed,
                           pare::ScaleType scales = pare::ScaleType::float16) {
  return random_matrix({.shape = shape,
                        .format = pare::unsigned_format(bits),
                        .block = {1, group},
                        .shift = ShiftKind::zero_point,
                        .scales = scales,
                        .highest_zero = (1 << bits) - 1},
                       seed);
}

/// The same with one zero point in all groups.
pare::CodedMatrix around(int zero, int bits, Shape shape, std::size_t group, unsigned seed) {
  auto matrix = integers(bits, shape, group, seed);
  pare::fill_shifts(matrix, static_cast<float>(zero));
  return matrix;
}

TEST(OpenVino, RoundTrips) {
  for (int bits = 1; bits <= 8; ++bits)
    for (const Shape shape : {Shape{1, 32}, {3, 96}, {16, 64}, {0, 32}, {3, 0}}) {
      const std::size_t row = shape.cols == 0 ? 1 : shape.cols;
      for (const std::size_t group : {std::size_t{8}, std::size_t{32}})
        expect_round_trip(OpenVino{.elements = pare::stored_uint(bits), .shape = shape, .group_size = group},
                          integers(bits, shape, group, 1));
      expect_round_trip(OpenVino{.elements = pare::stored_uint(bits), .shape = shape}, integers(bits, shape, row, 2));
      const OpenVino unsigned_zero{.elements = pare::stored_uint(bits), .shape = shape, .zero_points = false};
      expect_round_trip(unsigned_zero, around(0, bits, shape, row, 3));
      const OpenVino signed_codes{.elements = pare::stored_int(bits), .shape = shape, .zero_points = false};
      expect_round_trip(signed_codes, around(1 << (bits - 1), bits, shape, row, 4));
    }
  // An odd number of nibbles ends within a byte; codes of 3 bits run across bytes.
  for (const int bits : {3, 4})
    expect_round_trip(OpenVino{.elements = pare::stored_uint(bits), .shape = {3, 5}}, integers(bits, {3, 5}, 5, 5));
}

TEST(OpenVino, FloatsAndTablesRoundTrip) {
  using pare::ScaleType;
  const auto check = [](const StoredFormat& elements, std::size_t group, ScaleType scales) {
    expect_round_trip(
        OpenVino{.elements = elements, .shape = {4, 64}, .group_size = group},
        random_matrix({.shape = {4, 64}, .format = elements.format, .block = {1, group}, .scales = scales}, 6));
  };
  check(pare::stored<pare::NF4>(), 32, ScaleType::float16);
  check(pare::stored<pare::E2M1>(), 32, ScaleType::float8_e8m0);
  check(pare::stored<pare::E4M3>(), 64, ScaleType::float32);
}

TEST(OpenVino, ElementsLieInOneStream) {
  const auto stream = [](int bits, bool twos_complement) {
    auto matrix = around(twos_complement ? 1 << (bits - 1) : 0, bits, {2, 8}, 8, 7);
    for (std::size_t i = 0; i < 16; ++i) matrix.codes().data[i] = static_cast<std::uint8_t>(i & ((1u << bits) - 1u));
    const OpenVino layout{.elements = twos_complement ? pare::stored_int(bits) : pare::stored_uint(bits),
                          .zero_points = false};
    const auto parts = write(layout, matrix);
    const auto bytes = parts[0].view().bytes;
    return std::vector<std::uint8_t>(bytes.begin(), bytes.end());
  };
  EXPECT_EQ(stream(1, false), (std::vector<std::uint8_t>{0x55, 0x55}));
  EXPECT_EQ(stream(2, false), (std::vector<std::uint8_t>{0xe4, 0xe4, 0xe4, 0xe4}));
  EXPECT_EQ(stream(3, false), (std::vector<std::uint8_t>{0x88, 0xc6, 0xfa, 0x88, 0xc6, 0xfa}));
  EXPECT_EQ(stream(4, false)[3], 0x76);
  EXPECT_EQ(stream(4, true)[0], 0x98);
  EXPECT_EQ(stream(8, true)[1], 0x81);
  const auto grouped = write(OpenVino{.group_size = 4}, integers(4, {2, 8}, 4, 7));
  EXPECT_EQ(grouped[1].shape, (std::vector<std::size_t>{2, 2, 1}));
  EXPECT_EQ(grouped[2].shape, (std::vector<std::size_t>{2}));
}

TEST(OpenVino, RefusesWhatItCannotHold) {
  const auto matrix = integers(4, {4, 96}, 32, 8);
  EXPECT_NE(refusal(OpenVino{.elements = pare::stored_uint(3), .group_size = 32}, matrix).find("uint4 in 3 bits"),
            std::string::npos);
  EXPECT_NE(refusal(OpenVino{.group_size = 36}, matrix).find("96 columns are no groups of 36"), std::string::npos);
  EXPECT_NE(refusal(OpenVino{.group_size = 48}, matrix).find("1 x 32"), std::string::npos);
  EXPECT_NE(refusal(OpenVino{.shape = {4, 48}, .group_size = 16}, matrix).find("another shape"), std::string::npos);
  EXPECT_NE(refusal(OpenVino{.elements = pare::stored<pare::NF4>(), .group_size = 32}, matrix).find("only of nf4"),
            std::string::npos);
  auto nf4 = random_matrix({.shape = {2, 32},
                            .format = pare::code_format<pare::NF4>(),
                            .block = {1, 32},
                            .shift = ShiftKind::offset,
                            .lowest_zero = 2,
                            .highest_zero = 2},
                           8);
  EXPECT_NE(refusal(OpenVino{.elements = pare::stored<pare::NF4>()}, nf4).find("2 is not 0"), std::string::npos);
  EXPECT_NE(refusal(OpenVino{}, nf4).find("codes of nf4"), std::string::npos);
  auto outside = around(8, 4, {2, 32}, 32, 8);
  outside.shifts()(1, 0) = 16.0f;
  EXPECT_NE(refusal(OpenVino{}, outside).find("row 1, group 0: 16 is not within 0 .. 15"), std::string::npos);
  outside.shifts()(1, 0) = nan;
  EXPECT_NE(refusal(OpenVino{}, outside).find("nan is no integer"), std::string::npos);
  outside.shifts()(1, 0) = 4.0f;
  for (std::size_t c = 0; c < 32; ++c) outside.codes()(1, c) = 15;
  EXPECT_NE(refusal(OpenVino{.elements = pare::stored_int(4), .zero_points = false}, outside).find("11 in column 0"),
            std::string::npos);
  outside.tensor_scale = 2.0f;
  EXPECT_NE(refusal(OpenVino{}, outside).find("scale of the whole tensor"), std::string::npos);
}

TEST(OpenVino, FindsDamage) {
  const OpenVino layout{.shape = {4, 64}, .group_size = 32};
  const auto parts = write(layout, integers(4, {4, 64}, 32, 9));
  expect_damage_is_found(layout, parts, {"zero_point"}, {}, {"weight", "scale", "zero_point"});
  EXPECT_NE(read_error(OpenVino{.shape = {4, 64}, .group_size = 24}, views(parts)).find("no groups of 24"),
            std::string::npos);
  const auto single = write(OpenVino{}, integers(4, {1, 32}, 32, 9));
  for (const std::size_t extent : {std::size_t{1} << 42, std::size_t{1} << 63, ~std::size_t{0}})
    for (const Shape shape : {Shape{1, extent}, {extent, 1}, {extent, 32}, {extent, extent}})
      EXPECT_FALSE(OpenVino{.shape = shape}.read(views(single)));
  constexpr std::size_t huge = std::size_t{1} << 42;
  EXPECT_NE(read_error(OpenVino{.shape = {1, huge}}, views(single)).find("weight has 16 bytes, not the 2199023255552"),
            std::string::npos);
}

TEST(OpenVino, SymmetricRuleOfNncf) {
  EXPECT_EQ(pare::nncf_symmetric_scale(-4.0f, 2.0f, 4), 0.5f);
  EXPECT_EQ(pare::nncf_symmetric_scale(-2.0f, 4.0f, 4), -0.5f);
  EXPECT_EQ(pare::nncf_symmetric_scale(-4.0f, 4.0f, 4), 0.5f);
  EXPECT_EQ(pare::nncf_symmetric_scale(0.0f, 0.0f, 8), 0x1p-23f);
  EXPECT_EQ(pare::nncf_symmetric_scale(-0.0f, 1e-30f, 8), 0x1p-23f);
  EXPECT_EQ(pare::nncf_symmetric_code(4.0f, -0.5f, 4), 0);
  EXPECT_EQ(pare::nncf_symmetric_code(-4.0f, -0.5f, 4), 15);
  EXPECT_EQ(pare::nncf_symmetric_code(1.25f, 0.5f, 4), 10);  // 2.5
  EXPECT_EQ(pare::nncf_symmetric_code(-1.75f, 0.5f, 4), 4);  // -3.5
  EXPECT_EQ(pare::nncf_symmetric_code(nan, 0.5f, 4), 8);
  EXPECT_EQ(pare::nncf_symmetric_code(infinity, 0.5f, 8), 255);
  EXPECT_EQ(pare::nncf_symmetric_code(-infinity, 0.5f, 8), 0);
  EXPECT_EQ(pare::nncf_symmetric_code(3e38f, 0x1p-23f, 8), 255);
}

TEST(OpenVino, AsymmetricRuleOfNncf) {
  const auto p = pare::nncf_asymmetric_parameters(-1.0f, 2.0f, 4);
  EXPECT_EQ(p.scale, 3.0f / 15.0f);
  EXPECT_EQ(p.zero_point, 5);
  EXPECT_EQ(pare::nncf_asymmetric_code(-1.0f, p, 4), 0);
  EXPECT_EQ(pare::nncf_asymmetric_code(2.0f, p, 4), 15);
  EXPECT_EQ(pare::nncf_asymmetric_parameters(1.0f, 4.0f, 4).zero_point, 0);
  EXPECT_EQ(pare::nncf_asymmetric_parameters(-4.0f, -1.0f, 4).zero_point, 15);
  for (const float equal : {0.0f, -0.0f, 1e30f}) {
    const auto q = pare::nncf_asymmetric_parameters(equal, equal, 8);
    EXPECT_EQ(q.scale, 0x1p-23f);
    EXPECT_EQ(q.zero_point, 0);
    EXPECT_EQ(pare::nncf_asymmetric_code(equal, q, 8), equal == 0.0f ? 0 : 255);
  }
  EXPECT_EQ(pare::nncf_asymmetric_parameters(-1e30f, -1e30f, 8).zero_point, 255);
  EXPECT_EQ(pare::nncf_asymmetric_code(nan, p, 4), 0);
  EXPECT_EQ(pare::nncf_asymmetric_code(infinity, p, 4), 15);
  for (const float lowest : {-infinity, nan, -3e38f})
    for (const float highest : {infinity, nan, 3e38f})
      for (const float x : {nan, infinity, -infinity, 0.0f}) {
        const auto q = pare::nncf_asymmetric_parameters(lowest, highest, 4);
        EXPECT_LT(q.zero_point, 16);
        EXPECT_LT(pare::nncf_asymmetric_code(x, q, 4), 16);
        EXPECT_LT(pare::nncf_symmetric_code(x, pare::nncf_symmetric_scale(lowest, highest, 4), 4), 16);
      }
}

TEST(OpenVino, ConvertsFromGptqAndBitsandbytes) {
  const auto matrix = integers(4, {32, 128}, 32, 10);
  const pare::AutoGptq gptq{.zeros = pare::GptqZeros::as_stored};
  const OpenVino nibbles{.shape = {32, 128}, .group_size = 32};
  const OpenVino bytes{.elements = pare::stored_uint(8), .shape = {32, 128}, .group_size = 16};
  const auto back = converted(gptq, converted(nibbles, converted(gptq, matrix)));
  EXPECT_EQ(difference(back, matrix), "");
  converted(bytes, matrix);
  converted(OpenVino{.elements = pare::stored_int(4), .shape = {32, 128}, .group_size = 32}, matrix);

  const auto nf4 = random_matrix({.shape = {4, 128},
                                  .format = pare::code_format<pare::NF4>(),
                                  .block = {1, 64},
                                  .scales = pare::ScaleType::float32},
                                 11);
  const pare::Bitsandbytes4Bit bnb{.shape = {4, 128}};
  const OpenVino table{.elements = pare::stored<pare::NF4>(), .shape = {4, 128}, .group_size = 64};
  EXPECT_EQ(difference(converted(bnb, converted(table, converted(bnb, nf4))), nf4), "");
  EXPECT_NE(refusal(bnb, matrix).find("codes of uint4, only of nf4"), std::string::npos);
}

}  // namespace
