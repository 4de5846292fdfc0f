#include "pare/layouts/mlc.hpp"

#include "layout_checks.hpp"
#include "pare/layouts/gptq.hpp"

namespace {
using namespace layout_test;
using pare::Half;
using pare::Mlc;
using pare::Shape;
using pare::ShiftKind;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

pare::CodedMatrix centred(int bits, Shape shape, std::size_t group, unsigned seed,
                          pare::ScaleType scales = pare::ScaleType::float16) {
  const int middle = (1 << (bits - 1)) - 1;
  return random_matrix({.shape = shape,
                        .format = pare::unsigned_format(bits),
                        .block = {1, group},
                        .shift = ShiftKind::zero_point,
                        .scales = scales,
                        .lowest_zero = middle,
                        .highest_zero = middle},
                       seed);
}

TEST(Mlc, RoundTrips) {
  for (const bool transposed : {false, true}) {
    for (int bits = 2; bits <= 8; ++bits) {
      const std::size_t group = 4 * (32 / static_cast<std::size_t>(bits));
      for (const std::size_t rows : {1u, 5u, 32u})
        for (const std::size_t columns : {group, 3 * group, 2 * group + 1, std::size_t{7}})
          expect_round_trip(Mlc{.bits = bits, .group_size = group, .transposed = transposed, .columns = columns},
                            centred(bits, {rows, columns}, group, 1));
    }
    expect_round_trip(Mlc{.transposed = transposed}, centred(4, {3, 64}, 32, 2, pare::ScaleType::bfloat16));
    expect_round_trip(Mlc{.transposed = transposed}, centred(4, {3, 64}, 32, 2, pare::ScaleType::float32));
    for (const Shape empty : {Shape{0, 64}, {3, 0}, {0, 0}})
      expect_round_trip(Mlc{.transposed = transposed}, centred(4, empty, 32, 3));
  }
}

TEST(Mlc, FillsWordsFromTheLowestBits) {
  auto matrix = centred(3, {2, 12}, 20, 1);
  for (std::size_t r = 0; r < 2; ++r)
    for (std::size_t c = 0; c < 12; ++c) matrix.codes()(r, c) = static_cast<std::uint8_t>((c + r) % 8);
  const Mlc rows{.bits = 3, .group_size = 20}, columns{.bits = 3, .group_size = 20, .transposed = true};
  const auto words = write(rows, matrix);
  EXPECT_EQ(words[0].shape, (std::vector<std::size_t>{2, 2}));
  EXPECT_EQ(words[1].shape, (std::vector<std::size_t>{2, 1}));
  EXPECT_EQ(pare::load_le(words[0].view().bytes.data(), 4), 010'76543210u);
  EXPECT_EQ(pare::load_le(words[0].view().bytes.data() + 4, 4), 032u);  // columns 10 and 11
  EXPECT_EQ(pare::load_le(words[0].view().bytes.data() + 8, 4), 021'07654321u);
  const auto swapped = write(columns, matrix);
  EXPECT_EQ(pare::load_le(swapped[0].view().bytes.data() + 4, 4), 021'07654321u);
  EXPECT_EQ(pare::load_le(swapped[0].view().bytes.data() + 8, 4), 032u);
  const auto back = rows.read(views(words));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->shape, (Shape{2, 20}));
  EXPECT_EQ(back->value(0, 0), -3.0f * matrix.scales()(0, 0));
}

TEST(Mlc, RefusesWhatItCannotHold) {
  const auto matrix = centred(4, {4, 96}, 32, 3);
  EXPECT_NE(refusal(Mlc{.columns = 64}, matrix).find("96 columns, not 64"), std::string::npos);
  EXPECT_NE(refusal(Mlc{.group_size = 64}, matrix).find("1 x 32"), std::string::npos);
  for (const Mlc& bad :
       {Mlc{.bits = 1}, Mlc{.bits = 0}, Mlc{.bits = 9}, Mlc{.group_size = 0}, Mlc{.group_size = 36}, Mlc{.bits = 3}})
    EXPECT_NE(refusal(bad, matrix).find("multiples of the codes in a word"), std::string::npos);
  auto low = centred(4, {4, 32}, 32, 3);
  for (std::size_t c = 0; c < 32; ++c) low.codes()(2, c) = 5;
  low.codes()(2, 9) = 0;
  low.shifts()(2, 0) = 8.0f;
  EXPECT_NE(refusal(Mlc{}, low).find("row 2, group 0: -8 in column 9 does not fit in 4 bits"), std::string::npos);
  auto wide = centred(4, {4, 32}, 32, 3);
  wide.scales()(1, 0) = 70000.0f;
  EXPECT_NE(refusal(Mlc{}, wide).find("70000 is no float16"), std::string::npos);
  EXPECT_NE(
      refusal(Mlc{}, random_matrix({.shape = {4, 32}, .format = pare::code_format<pare::NF4>(), .block = {1, 32}}, 3))
          .find("codes of nf4"),
      std::string::npos);
  wide.tensor_scale = 2.0f;
  EXPECT_NE(refusal(Mlc{}, wide).find("scale of the whole tensor"), std::string::npos);
}

TEST(Mlc, FindsDamage) {
  for (const bool transposed : {false, true}) {
    const Mlc layout{.transposed = transposed, .columns = 96};
    const auto parts = write(layout, centred(4, {5, 96}, 32, 4));
    expect_damage_is_found(layout, parts);
    expect_damage_is_found(Mlc{.transposed = transposed}, parts);
    EXPECT_FALSE((Mlc{.group_size = 0, .transposed = transposed}.read(views(parts))));
    EXPECT_FALSE((Mlc{.bits = 0, .transposed = transposed}.read(views(parts))));
    const auto single = write(Mlc{.transposed = transposed}, centred(4, {1, 32}, 32, 4));
    for (const std::size_t extent : {std::size_t{1} << 42, std::size_t{1} << 63, ~std::size_t{7}})
      EXPECT_FALSE((Mlc{.group_size = extent, .transposed = transposed, .columns = extent}.read(views(single))));
  }
}

TEST(Mlc, ScalesAndCodesOfEveryFloat) {
  EXPECT_EQ(static_cast<float>(pare::mlc_scale(14.0f, 4)), 2.0f);
  EXPECT_EQ(static_cast<float>(pare::mlc_scale(0.0f, 4)), 0.0f);
  EXPECT_EQ(static_cast<float>(pare::mlc_scale(6.0f, 2)), 6.0f);
  EXPECT_EQ(static_cast<float>(pare::mlc_scale(1e6f, 3)), infinity);
  EXPECT_TRUE(pare::is_nan(static_cast<float>(pare::mlc_scale(nan, 4))));
  const Half one(1.0f), zero(0.0f);
  EXPECT_EQ(pare::mlc_code(Half(5.0f), zero, 4), 7);
  EXPECT_EQ(pare::mlc_code(Half(nan), zero, 3), 3);
  EXPECT_EQ(pare::mlc_code(Half(0.5f), one, 4), 8);  // 7.5
  EXPECT_EQ(pare::mlc_code(Half(1.5f), one, 4), 8);  // 8.5
  EXPECT_EQ(pare::mlc_code(Half(1.5f), one, 4, pare::Rounding::nearest_away), 9);
  EXPECT_EQ(pare::mlc_code(Half(-9.0f), one, 4), 0);
  EXPECT_EQ(pare::mlc_code(Half(9.0f), one, 4), 14);
  EXPECT_EQ(pare::mlc_code(Half(infinity), one, 4), 14);
  EXPECT_EQ(pare::mlc_code(Half(-infinity), one, 4), 0);
  EXPECT_EQ(pare::mlc_code(Half(60000.0f), Half(1e-7f), 8), 254);
  for (const float x : {nan, infinity, -infinity, 0.0f, 6e4f})
    for (const float scale : {nan, infinity, -infinity, 1e-7f, -1.0f})
      for (int bits = 2; bits <= 8; ++bits) EXPECT_LT(pare::mlc_code(Half(x), Half(scale), bits), (1 << bits) - 1);
}

TEST(Mlc, ConvertsToAndFromGptq) {
  const auto matrix = centred(4, {32, 128}, 32, 5);
  const auto mlc = converted(Mlc{}, matrix);
  const auto gptq = converted(pare::AutoGptq{}, mlc);
  EXPECT_EQ(difference(converted(Mlc{}, gptq), matrix), "");
  // GPTQ's usual zero point is one higher, which only codes above 0 allow.
  auto usual = random_matrix({.shape = {32, 64},
                              .format = pare::unsigned_format(4),
                              .block = {1, 64},
                              .shift = ShiftKind::zero_point,
                              .lowest_zero = 8,
                              .highest_zero = 8},
                             6);
  EXPECT_NE(refusal(Mlc{}, usual).find("-8 in column"), std::string::npos);
  for (std::size_t i = 0; i < usual.codes_memory.size(); ++i)
    usual.codes().data[i] = std::max(usual.codes().data[i], std::uint8_t{1});
  converted(Mlc{}, converted(pare::AutoGptq{}, usual));
  auto ordered = random_matrix({.shape = {32, 64},
                                .format = pare::unsigned_format(4),
                                .block = {1, 32},
                                .shift = ShiftKind::zero_point,
                                .lowest_zero = 7,
                                .highest_zero = 7,
                                .act_order = true},
                               6);
  EXPECT_NE(refusal(Mlc{}, ordered).find("act-order"), std::string::npos);
}

}  // namespace
