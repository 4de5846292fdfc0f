#include "pare/layouts/marlin.hpp"

#include "layout_checks.hpp"
#include "pare/layouts/gptq.hpp"

namespace {
using namespace layout_test;
using pare::Marlin;

MatrixKind kind(pare::Shape shape, std::size_t group) {
  return {.shape = shape,
          .format = pare::unsigned_format(4),
          .block = {1, group},
          .shift = pare::ShiftKind::zero_point,
          .lowest_zero = 8,
          .highest_zero = 8};
}

TEST(Marlin, RoundTrips) {
  expect_round_trip(Marlin{}, random_matrix(kind({64, 16}, 16), 1));
  expect_round_trip(Marlin{}, random_matrix(kind({256, 384}, 128), 2));
  expect_round_trip(Marlin{}, random_matrix(kind({128, 128}, 128), 3));
  expect_round_trip(Marlin{.group_size = 64}, random_matrix(kind({64, 80}, 64), 4));
}

TEST(Marlin, TilesAndScalesLieAsTheSpecificationSays) {
  const std::size_t in = 32, out = 128;
  for (const std::size_t group : {16u, 32u}) {
    const auto matrix = random_matrix(kind({out, in}, group), 5);
    const auto parts = write(Marlin{}, matrix);
    EXPECT_EQ(parts[0].shape, (std::vector<std::size_t>{in / 16, out * 2}));
    std::vector<std::size_t> permutation;
    for (std::size_t i = 0; i < 32; ++i)
      for (std::size_t j = 0; j < 4; ++j)
        for (const std::size_t block : {0u, 1u})
          for (const std::size_t row : {2 * (i % 4), 2 * (i % 4) + 1, 2 * (i % 4 + 4), 2 * (i % 4 + 4) + 1})
            permutation.push_back(16 * row + i / 4 + 8 * block + 256 * j);
    const std::size_t interleave[] = {0, 2, 4, 6, 1, 3, 5, 7};
    for (std::size_t strip = 0; strip < in / 16; ++strip)
      for (std::size_t place = 0; place < 16 * out; ++place) {
        const std::size_t v = permutation[place % 1024 / 8 * 8 + interleave[place % 8]] + place / 1024 * 1024;
        const std::size_t n = v / 256 * 16 + v % 16, k = strip * 16 + v % 256 / 16;
        const auto byte = parts[0].view().bytes[(strip * 16 * out + place) / 2];
        ASSERT_EQ(byte >> (4 * (place % 2)) & 15, matrix.codes()(n, k)) << place;
      }
    std::vector<std::size_t> scale_permutation;
    const std::size_t single[] = {0, 1, 8, 9, 16, 17, 24, 25};
    for (std::size_t i = 0; i < (group == in ? 4u : 8u); ++i)
      for (std::size_t j = 0; j < 8; ++j) scale_permutation.push_back(group == in ? 2 * i + single[j] : i + 8 * j);
    const std::size_t period = scale_permutation.size();
    for (std::size_t g = 0; g < in / group; ++g)
      for (std::size_t place = 0; place < out; ++place) {
        const std::size_t n = place / period * period + scale_permutation[place % period];
        ASSERT_EQ(pare::scale_at(parts[1].view(), g * out + place), matrix.scales()(n, g));
      }
  }
}

TEST(Marlin, TakesSymmetricGptqAndCentresOtherIntegers) {
  const auto matrix = random_matrix(kind({64, 64}, 32), 6);
  const pare::AutoGptq gptq;
  const auto from_gptq = gptq.read(views(write(gptq, matrix)));
  const auto back = Marlin{}.read(views(write(Marlin{}, *from_gptq)));
  ASSERT_TRUE(back);
  EXPECT_EQ(difference(matrix, *back), "");

  auto narrow = kind({64, 32}, 32);
  narrow.format = pare::unsigned_format(3);
  narrow.lowest_zero = 0;
  narrow.highest_zero = 7;
  const auto codes = random_matrix(narrow, 7);
  const auto wide = Marlin{}.read(views(write(Marlin{}, codes)));
  ASSERT_TRUE(wide);
  for (std::size_t r = 0; r < 64; ++r)
    for (std::size_t c = 0; c < 32; ++c) EXPECT_EQ(wide->value(r, c), codes.value(r, c));
}

TEST(Marlin, RefusesWhatItCannotHold) {
  auto matrix = random_matrix(kind({64, 32}, 16), 8);
  matrix.shifts()(5, 1) = 7.0f;
  for (std::size_t c = 16; c < 32; ++c) matrix.codes()(5, c) = 3;
  EXPECT_TRUE(Marlin{}.write(matrix));
  matrix.codes()(5, 20) = 15;
  EXPECT_EQ(
      refusal(Marlin{}, matrix),
      "pare: marlin cannot hold the integer of row 5, group 1: 8 in column 20 does not fit in 4 bits with a sign");
  EXPECT_NE(refusal(Marlin{}, random_matrix(kind({32, 32}, 32), 8)).find("32 x 32"), std::string::npos);
}

TEST(Marlin, FindsDamage) {
  const Marlin layout{.group_size = 32};
  expect_damage_is_found(layout, write(layout, random_matrix(kind({64, 64}, 32), 9)));
}

}  // namespace
