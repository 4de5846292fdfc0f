#include "pare/layouts/exl2.hpp"

#include "layout_checks.hpp"
#include "pare/layouts/gptq.hpp"

namespace {
using namespace layout_test;
using pare::Exl2;
using pare::ShiftKind;

/// Groups of so many bits and inputs each, the inputs in random places; scales (1 to 16)^2 times one half.
struct Groups {
  std::size_t rows = 32;
  std::vector<int> bits;
  std::vector<std::size_t> inputs;
};

pare::CodedMatrix groups(const Groups& like, unsigned seed) {
  std::mt19937 random(seed);
  const std::size_t count = like.bits.size(),
                    in = std::accumulate(like.inputs.begin(), like.inputs.end(), std::size_t{0});
  auto matrix = pare::CodedMatrix::allocate_groups({like.rows, in}, pare::unsigned_format(like.bits[0]), count,
                                                   ShiftKind::zero_point);
  EXPECT_TRUE(matrix);
  matrix->scale_type = pare::ScaleType::float16;
  std::size_t column = 0;
  for (std::size_t g = 0; g < count; ++g)
    for (std::size_t i = 0; i < like.inputs[g]; ++i) matrix->column_groups()[column++] = static_cast<std::uint32_t>(g);
  std::shuffle(matrix->column_groups().begin(), matrix->column_groups().end(), random);
  for (std::size_t r = 0; r < like.rows; ++r) {
    for (std::size_t c = 0; c < in; ++c)
      matrix->codes()(r, c) = static_cast<std::uint8_t>(random() & ((1u << like.bits[matrix->group_of(c)]) - 1u));
    for (std::size_t g = 0; g < count; ++g) {
      const auto root = r == 0 ? 16u : 1 + random() % 16;
      matrix->scales()(r, g) = static_cast<float>(root * root) * static_cast<float>(g + 1) / 1024.0f;
      matrix->shifts()(r, g) = static_cast<float>(1 << (like.bits[g] - 1));
    }
  }
  return *std::move(matrix);
}

TEST(Exl2, RoundTrips) {
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    expect_round_trip(Exl2{}, groups({.bits = {bits}, .inputs = {64}}, 1));
    expect_round_trip(Exl2{.outputs = 1}, groups({.rows = 1, .bits = {bits, bits}, .inputs = {32, 96}}, 2));
    expect_round_trip(Exl2{.outputs = 45}, groups({.rows = 45, .bits = {bits, bits}, .inputs = {32, 13}}, 3));
  }
  expect_round_trip(Exl2{}, groups({.rows = 64, .bits = {8, 6, 5, 4, 3, 2}, .inputs = {4, 16, 32, 8, 64, 16}}, 4));
}

TEST(Exl2, WordsScalesAndGroupsLieAsTheKernelReadsThem) {
  auto matrix = groups({.rows = 2, .bits = {8, 4}, .inputs = {4, 8}}, 5);
  for (std::uint32_t c = 0; c < 12; ++c) {
    matrix.column_groups()[c] = c % 3 == 0 ? 0u : 1u;
    for (std::size_t r = 0; r < 2; ++r) matrix.codes()(r, c) = static_cast<std::uint8_t>(c + r);
  }
  for (std::size_t g = 0; g < 2; ++g) {
    matrix.scales()(0, g) = 256.0f / 1024.0f;
    matrix.scales()(1, g) = 9.0f / 1024.0f;
  }
  const auto parts = write(Exl2{.outputs = 2}, matrix);
  const auto word = [&](std::size_t part, std::size_t i) {
    return pare::load_le(parts[part].view().bytes.data() + 4 * i, 4);
  };
  EXPECT_EQ(parts[0].shape, (std::vector<std::size_t>{2, 32}));
  EXPECT_EQ(word(0, 0), 0x09060300u);
  EXPECT_EQ(word(0, 1), 0x0a070401u);
  EXPECT_EQ(word(0, 2), 0x80808080u);  // outputs of padding are 0
  EXPECT_EQ(word(0, 32), 0xba875421u);
  EXPECT_EQ(word(1, 0), 0x2fu);
  EXPECT_EQ(pare::load_le(parts[2].view().bytes.data(), 2), pare::Half(256.0f / 1024.0f).bits);
  EXPECT_EQ(word(3, 0), 0x00000008u);
  EXPECT_EQ(word(3, 1), 0x00010004u);
  constexpr std::uint32_t places[] = {0, 4, 5, 1, 6, 7, 2, 8, 9, 3, 10, 11};
  for (std::size_t c = 0; c < 12; ++c) EXPECT_EQ(word(4, c), places[c]);
  const auto back = Exl2{.outputs = 2}.read(views(parts));
  EXPECT_EQ(back->value(1, 3), (4.0f - 128.0f) * 9.0f / 1024.0f);
  EXPECT_EQ(back->value(0, 11), (11.0f - 8.0f) * 0.25f);

  constexpr std::uint32_t turned[] = {3, 11, 10, 2, 9, 8, 1, 7, 6, 0, 5, 4};
  const auto other = write(Exl2{.outputs = 2, .inverse_permutation = turned}, matrix);
  EXPECT_EQ(pare::load_le(other[0].view().bytes.data(), 4), 0x00030609u);
  EXPECT_EQ(difference(*Exl2{.outputs = 2}.read(views(other)), *back), "");
  for (const std::size_t wrong : {11u, 3u, 12u}) {
    std::vector<std::uint32_t> bad(std::begin(turned), std::end(turned));
    bad[0] = static_cast<std::uint32_t>(wrong == 3 ? 2 : wrong);
    EXPECT_NE(refusal(Exl2{.inverse_permutation = bad}, matrix).find("into its group"), std::string::npos);
  }
  EXPECT_NE(refusal(Exl2{.inverse_permutation = std::span(turned).first(11)}, matrix).find("into its group"),
            std::string::npos);
}

TEST(Exl2, RefusesWhatItCannotHold) {
  const Groups like{.bits = {4, 3}, .inputs = {64, 32}};
  auto zero = groups(like, 6);
  zero.shifts()(5, 1) = 8.0f;
  EXPECT_NE(refusal(Exl2{}, zero).find("the zero point 8 of row 5, group 1"), std::string::npos);
  for (const float wrong : {7.0f, 0.0f, -8.0f, 1.0f, 64.0f, 256.0f, std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity()}) {
    for (std::size_t r = 0; r < 32; ++r) zero.shifts()(r, 0) = wrong;
    EXPECT_NE(refusal(Exl2{}, zero).find("not half the codes"), std::string::npos) << wrong;
  }
  EXPECT_NE(refusal(Exl2{}, groups({.bits = {3, 4}, .inputs = {32, 32}}, 6)).find("more bits behind such of fewer"),
            std::string::npos);
  EXPECT_NE(refusal(Exl2{}, groups({.bits = {4, 4}, .inputs = {31, 33}}, 6)).find("31 inputs of 4 bits in group 0"),
            std::string::npos);
  auto scale = groups(like, 6);
  scale.scales()(3, 1) = 3.0f * scale.scales()(0, 1);
  EXPECT_NE(refusal(Exl2{}, scale).find("scales of group 1: they are no squares"), std::string::npos);
  for (const float wrong : {-1.0f, 1e6f, std::numeric_limits<float>::quiet_NaN()}) {
    scale.scales()(3, 1) = wrong;
    EXPECT_NE(refusal(Exl2{}, scale).find("scales of group 1"), std::string::npos);
  }
  // 38720 and 32000 are squares times 320 alone, whose 256-fold q_scale_max is no half any more.
  for (std::size_t r = 0; r < 32; ++r) scale.scales()(r, 1) = r == 0 ? 38720.0f : 32000.0f;
  EXPECT_NE(refusal(Exl2{}, scale).find("scales of group 1"), std::string::npos);
  auto code = groups(like, 6);
  for (std::size_t c = 0; c < 96; ++c)
    if (code.group_of(c) == 1) code.codes()(2, c) = 8;
  EXPECT_NE(refusal(Exl2{}, code).find("does not fit in 3 bits"), std::string::npos);
  auto added = groups(like, 6);
  added.shift_kind = ShiftKind::offset;
  EXPECT_NE(refusal(Exl2{}, added).find("a scale and a zero point"), std::string::npos);
  EXPECT_NE(refusal(Exl2{}, groups({.rows = 0, .bits = {4}, .inputs = {32}}, 6)).find("without elements"),
            std::string::npos);
  EXPECT_NE(refusal(Exl2{}, groups({.bits = {4}, .inputs = {0}}, 6)).find("without elements"), std::string::npos);
}

TEST(Exl2, FindsDamage) {
  const auto parts = write(Exl2{}, groups({.bits = {5, 2}, .inputs = {64, 32}}, 7));
  expect_damage_is_found(Exl2{}, parts);
  for (const std::size_t outputs : {std::size_t{33}, ~std::size_t{0}, std::size_t{64}})
    EXPECT_NE(read_error(Exl2{.outputs = outputs}, views(parts)).find("q_weight has 32 columns"), std::string::npos);
  const auto broken = [&](std::size_t part, std::size_t at, std::uint16_t value, const std::string& message) {
    auto copy = write(Exl2{}, groups({.bits = {5, 2}, .inputs = {64, 32}}, 7));
    pare::store_le(copy[part].bytes().data() + at, value, 2);
    EXPECT_NE(read_error(Exl2{}, views(copy)).find(message), std::string::npos) << message;
  };
  for (const std::uint16_t bits : {std::uint16_t{7}, std::uint16_t{0}, std::uint16_t{1}, std::uint16_t{65535}})
    broken(3, 0, bits, "q_groups has " + std::to_string(bits) + " bits for group 0");
  broken(3, 2, 1, "first row of words 1 for group 0");
  broken(3, 6, 13, "first row of words 0 for group 0");
  broken(3, 6, 11, "do not hold its inputs");
  broken(3, 0, 2, "do not hold its inputs");
  broken(4, 0, 96, "q_invperm is no permutation");
  broken(4, 4, 65535, "q_invperm is no permutation");
  std::uint16_t second = static_cast<std::uint16_t>(pare::load_le(parts[4].view().bytes.data() + 4, 2));
  broken(4, 0, second, "q_invperm is no permutation");
}

TEST(Exl2, ConvertsFromAndToGptq) {
  const auto matrix = groups({.bits = {4, 4}, .inputs = {32, 32}}, 8);
  const auto gptq = converted(pare::AutoGptq{}, matrix);
  EXPECT_EQ(difference(converted(Exl2{}, gptq), matrix), "");
  EXPECT_NE(refusal(pare::AutoGptq{}, groups({.bits = {5, 4}, .inputs = {32, 32}}, 8)).find("pare: gptq"),
            std::string::npos);
}

}  // namespace
