#include "pare/layouts/awq.hpp"

#include "layout_checks.hpp"
#include "pare/layouts/gptq.hpp"

namespace {
using namespace layout_test;
using pare::AwqGemm;
using pare::AwqGemv;
using pare::AwqGemvFast;
using pare::ShiftKind;

MatrixKind kind(pare::Shape shape, std::size_t group) {
  return {.shape = shape,
          .format = pare::unsigned_format(4),
          .block = {1, group},
          .shift = ShiftKind::zero_point,
          .lowest_zero = 0,
          .highest_zero = 15};
}

/// A matrix whose scaled zero points are float16 themselves.
pare::CodedMatrix with_offsets(MatrixKind like, unsigned seed) {
  auto matrix = random_matrix(like, seed);
  matrix.shift_kind = ShiftKind::offset;
  for (std::size_t r = 0; r < matrix.grid.rows; ++r)
    for (std::size_t g = 0; g < matrix.grid.cols; ++g)
      matrix.shifts()(r, g) = static_cast<float>(pare::Half(-matrix.scales()(r, g) * matrix.shifts()(r, g)));
  return matrix;
}

TEST(Awq, GemmRoundTrips) {
  expect_round_trip(AwqGemm{}, random_matrix(kind({64, 256}, 128), 1));
  expect_round_trip(AwqGemm{}, random_matrix(kind({8, 33}, 11), 2));
  expect_round_trip(AwqGemm{.group_size = 32}, random_matrix(kind({24, 100}, 32), 3));
  auto bfloat = kind({16, 64}, 32);
  bfloat.scales = pare::ScaleType::bfloat16;
  expect_round_trip(AwqGemm{}, random_matrix(bfloat, 4));
}

TEST(Awq, GemvRoundTrips) {
  for (const std::size_t group : {32u, 64u, 128u, 256u})
    for (const std::size_t out : {1u, 7u, 64u}) {
      expect_round_trip(AwqGemv{.group_size = group}, random_matrix(kind({out, 256}, group), 1));
      expect_round_trip(AwqGemv{.group_size = group}, random_matrix(kind({out, 11 * group}, group), 2));
    }
}

TEST(Awq, GemvFastRoundTrips) {
  for (const std::size_t group : {32u, 64u, 128u, 256u})
    expect_round_trip(AwqGemvFast{.group_size = group}, with_offsets(kind({12, 1280}, group), 1));
  expect_round_trip(AwqGemvFast{.group_size = 64, .offsets = "scaled_zeros"}, with_offsets(kind({4, 64}, 64), 1));
}

TEST(Awq, NibblesLieAsTheKernelsReadThem) {
  auto matrix = random_matrix(kind({8, 8}, 8), 1);
  for (std::size_t r = 0; r < 8; ++r)
    for (std::size_t c = 0; c < 8; ++c) matrix.codes()(r, c) = static_cast<std::uint8_t>(c == 0 ? r : 0);
  EXPECT_EQ(pare::load_le(write(AwqGemm{}, matrix)[0].view().bytes.data(), 4), 0x75316420u);

  // Every code of GEMV-fast, by the formula of the specification.
  const auto fast = with_offsets(kind({8, 128}, 64), 2);
  const auto parts = write(AwqGemvFast{.group_size = 64}, fast);
  const auto words = parts[0].view();
  for (std::size_t n = 0; n < 8; ++n)
    for (std::size_t k = 0; k < 128; ++k) {
      const std::size_t t = k % 32, p1 = t / 2 % 4 * 8 + t / 8 * 2 + t % 2;
      const std::size_t p2 = p1 / 8 * 8 + p1 % 8 % 2 * 4 + p1 % 8 / 2, column = k / 32 * 32 + p2;
      const std::size_t flat = column / 64 * 256 + n % 4 * 64 + column % 64;
      const std::uint64_t word = pare::load_le(words.bytes.data() + 2 * (n / 4 * 128 + flat / 4), 2);
      EXPECT_EQ(word >> (4 * (flat % 4)) & 15, fast.codes()(n, k));
    }
}

TEST(Awq, PadsScalesAsTheKernelsLoadThem) {
  const auto parts = write(AwqGemv{.group_size = 64}, random_matrix(kind({2, 128}, 64), 1));
  EXPECT_EQ(parts[1].shape, (std::vector<std::size_t>{2, 2}));
  EXPECT_EQ(parts[2].shape, (std::vector<std::size_t>{2, 16}));
  for (std::size_t i = 2; i < 16; ++i) EXPECT_EQ(parts[2].view().bytes[2 * i], 0);
}

TEST(Awq, ConvertsBetweenItsLayoutsAndGptq) {
  auto like = kind({64, 256}, 64);
  auto matrix = random_matrix(like, 5);
  for (std::size_t r = 0; r < matrix.grid.rows; ++r)
    for (std::size_t g = 0; g < matrix.grid.cols; ++g) matrix.scales()(r, g) = static_cast<float>(r + 1) / 64.0f;
  const AwqGemvFast fast{.group_size = 64};
  const auto gemv = AwqGemv{.group_size = 64}.read(views(write(AwqGemv{.group_size = 64}, matrix)));
  const auto offsets = fast.read(views(write(fast, *gemv)));
  ASSERT_TRUE(offsets);
  EXPECT_EQ(offsets->shift_kind, ShiftKind::offset);
  const pare::AutoGptq gptq{.zeros = pare::GptqZeros::as_stored};
  const auto back = gptq.read(views(write(gptq, *offsets)));
  const auto gemm = AwqGemm{}.read(views(write(AwqGemm{}, *back)));
  ASSERT_TRUE(gemm);
  EXPECT_EQ(difference(matrix, *gemm), "");
  for (std::size_t r = 0; r < matrix.shape.rows; ++r)
    for (std::size_t c = 0; c < matrix.shape.cols; ++c) EXPECT_EQ(offsets->value(r, c), matrix.value(r, c));
}

TEST(Awq, RefusesWhatItCannotHold) {
  const auto matrix = random_matrix(kind({64, 256}, 64), 6);
  EXPECT_NE(refusal(AwqGemv{.group_size = 128}, matrix).find("1 x 64"), std::string::npos);
  EXPECT_NE(refusal(AwqGemv{.group_size = 48}, matrix).find("groups of 48"), std::string::npos);
  EXPECT_NE(refusal(AwqGemv{.group_size = 0}, matrix).find("groups of 0"), std::string::npos);
  EXPECT_NE(refusal(AwqGemm{}, random_matrix(kind({63, 64}, 64), 6)).find("63 x 64"), std::string::npos);
  EXPECT_NE(refusal(AwqGemvFast{.group_size = 32}, random_matrix(kind({4, 96}, 32), 6)).find("4 x 96"),
            std::string::npos);
  auto ordered = kind({8, 64}, 32);
  ordered.act_order = true;
  EXPECT_NE(refusal(AwqGemm{}, random_matrix(ordered, 6)).find("act-order"), std::string::npos);

  auto inexact = random_matrix(kind({4, 64}, 64), 6);
  for (std::size_t r = 0; r < 4; ++r) inexact.scales()(r, 0) = 1.0f;
  inexact.scales()(1, 0) = 2047.0f / 1024.0f;
  inexact.shifts()(1, 0) = 15.0f;
  EXPECT_EQ(refusal(AwqGemvFast{.group_size = 64}, inexact).substr(0, 64),
            "pare: awq-gemv-fast cannot hold the offset of row 1, group 0: -2");
  EXPECT_TRUE((AwqGemvFast{.group_size = 64, .round_offsets = true}.write(inexact)));
  auto half = with_offsets(kind({8, 64}, 64), 6);
  half.scales()(3, 0) = 1.0f;
  half.shifts()(3, 0) = -1.5f;
  EXPECT_NE(refusal(AwqGemm{}, half).find("-1.5 is no whole multiple of the scale 1"), std::string::npos);
}

TEST(Awq, FindsDamage) {
  expect_damage_is_found(AwqGemm{}, write(AwqGemm{}, random_matrix(kind({16, 64}, 32), 7)));
  const AwqGemv gemv{.group_size = 32};
  expect_damage_is_found(gemv, write(gemv, random_matrix(kind({16, 64}, 32), 7)));
  const AwqGemvFast fast{.group_size = 32};
  expect_damage_is_found(fast, write(fast, with_offsets(kind({16, 64}, 32), 7)));
}

TEST(Awq, ParametersNeedNotHoldZero) {
  const auto positive = pare::awq_parameters(1.0f, 4.0f);
  EXPECT_EQ(positive.scale, 3.0f / 15.0f);
  EXPECT_EQ(positive.zero_point, 0);
  EXPECT_EQ(pare::awq_code(3.5f, positive), 15);
  EXPECT_EQ(pare::awq_parameters(-4.0f, -1.0f).zero_point, 15);
  EXPECT_EQ(pare::awq_parameters(0.0f, 0.0f).scale, 1e-5f / 15.0f);
  EXPECT_EQ(pare::awq_code(-std::numeric_limits<float>::infinity(), positive), 0);
}

}  // namespace
