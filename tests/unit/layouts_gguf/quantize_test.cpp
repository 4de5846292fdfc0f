#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "pare/layouts/gguf/gguf.hpp"
#include "pare/quantize/gguf_fast.hpp"
#include "random_values.hpp"

namespace {
namespace gguf = pare::gguf;
using gguf::BlockType;
using pare::ErrorCode;
using pare::MatrixView;

enum class Effort { thorough, fast };

std::vector<std::uint8_t> encode(BlockType type, const std::vector<float>& values, std::size_t cols,
                                 const gguf::QuantizeOptions& options = {}, Effort effort = Effort::thorough) {
  const pare::Shape shape{values.size() / cols, cols};
  const auto size = gguf::packed_size(type, shape);
  EXPECT_TRUE(size) << (size ? "" : size.error().message);
  std::vector<std::uint8_t> bytes(size ? *size : 0);
  const MatrixView<const float> weights(values.data(), shape.rows, shape.cols);
  const auto done = effort == Effort::fast ? gguf::quantize_fast(type, weights, bytes, options)
                                           : gguf::quantize(type, weights, bytes, options);
  EXPECT_TRUE(done) << (done ? "" : done.error().message);
  return bytes;
}

std::vector<float> decode(BlockType type, const std::vector<std::uint8_t>& bytes, std::size_t count) {
  std::vector<float> values(count);
  const auto done = gguf::dequantize(type, bytes, values);
  EXPECT_TRUE(done) << (done ? "" : done.error().message);
  return values;
}

double error_of(const std::vector<float>& a, const std::vector<float>& b, std::span<const float> weights = {}) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += (weights.empty() ? 1.0 : static_cast<double>(weights[i % weights.size()])) * difference * difference;
  }
  return sum;
}

TEST(GgufQuantize, PartialRowsNameBothNumbers) {
  std::vector<float> values(300);
  std::vector<std::uint8_t> bytes(144);
  const auto row = gguf::quantize(BlockType::q4_k, MatrixView<const float>(values.data(), 1, 300), bytes);
  ASSERT_FALSE(row);
  EXPECT_EQ(row.error().code, ErrorCode::invalid_argument);
  EXPECT_NE(row.error().message.find("300"), std::string::npos) << row.error().message;
  EXPECT_NE(row.error().message.find("256"), std::string::npos) << row.error().message;
  const auto size = gguf::packed_size(BlockType::q8_0, {3, 33});
  ASSERT_FALSE(size);
  EXPECT_NE(size.error().message.find("33"), std::string::npos) << size.error().message;
  EXPECT_NE(size.error().message.find("32"), std::string::npos) << size.error().message;
}

TEST(GgufQuantize, WrongSizesAndTypesAreErrors) {
  std::vector<float> values(256);
  std::vector<std::uint8_t> bytes(145);
  EXPECT_FALSE(gguf::quantize(BlockType::q4_k, MatrixView<const float>(values.data(), 1, 256), bytes));
  EXPECT_FALSE(gguf::dequantize(BlockType::q4_k, bytes, values));
  EXPECT_FALSE(gguf::dequantize(BlockType::q4_0, std::span(bytes).first(18), std::span(values).first(31)));
  const auto unknown = gguf::dequantize(static_cast<BlockType>(4), bytes, values);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::unsupported);
  EXPECT_FALSE(gguf::packed_size(static_cast<BlockType>(31), {1, 256}));
  constexpr std::size_t huge = std::numeric_limits<std::size_t>::max() / 256 * 256;
  EXPECT_FALSE(gguf::packed_size(BlockType::q8_0, {huge, huge}));
  EXPECT_FALSE(gguf::packed_size(BlockType::q8_0, {2, huge}));
  EXPECT_TRUE(gguf::quantize(BlockType::q4_k, MatrixView<const float>(values.data(), 0, 256), {}));
  EXPECT_TRUE(gguf::quantize(BlockType::q4_k, MatrixView<const float>(values.data(), 5, 0), {}));
  EXPECT_TRUE(gguf::dequantize(BlockType::q4_k, {}, {}));
}

TEST(GgufQuantize, ImportanceIsChecked) {
  std::vector<float> values(64, 1.0f), importance(31, 1.0f);
  std::vector<std::uint8_t> bytes(36);
  const MatrixView<const float> view(values.data(), 2, 32);
  EXPECT_FALSE(gguf::quantize(BlockType::q4_0, view, bytes, {.importance = importance}));
  importance.assign(32, 1.0f);
  EXPECT_TRUE(gguf::quantize(BlockType::q4_0, view, bytes, {.importance = importance}));
  for (const float bad : {-1.0f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    importance[7] = bad;
    const auto done = gguf::quantize(BlockType::q4_0, view, bytes, {.importance = importance});
    ASSERT_FALSE(done);
    EXPECT_NE(done.error().message.find("column 7"), std::string::npos) << done.error().message;
  }
}

TEST(GgufQuantize, EveryInputGivesFiniteValues) {
  constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float most = std::numeric_limits<float>::max(), least = std::numeric_limits<float>::denorm_min();
  const std::vector<std::vector<float>> patterns{{0.0f},
                                                 {-0.0f},
                                                 {nan},
                                                 {inf},
                                                 {-inf},
                                                 {inf, -inf},
                                                 {nan, 1.0f, -2.0f},
                                                 {inf, 1.0f},
                                                 {most, -most},
                                                 {most},
                                                 {least},
                                                 {-least, least},
                                                 {1e-40f, 3e-41f},
                                                 {1e-7f, -2e-8f},
                                                 {1e30f, 1.0f},
                                                 {70000.0f},
                                                 {-65504.0f, 1.0f},
                                                 {nan, inf, -inf, most, least, 0.0f, -0.0f},
                                                 {1.0f},
                                                 {-1.0f}};
  const std::vector<float> weights = [] {
    std::vector<float> w(256, 1.0f);
    for (std::size_t i = 0; i < w.size(); ++i) w[i] = i % 5 == 0 ? 0.0f : static_cast<float>(i) * 1e30f;
    return w;
  }();
  for (const auto& row : gguf::block_types)
    for (std::size_t p = 0; p < patterns.size(); ++p) {
      SCOPED_TRACE(std::string(row.name) + " pattern " + std::to_string(p));
      std::vector<float> values(256);
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = patterns[p][i % patterns[p].size()];
      const std::vector<float> zero(256, 0.0f);
      for (const std::span<const float> importance :
           {std::span<const float>{}, std::span<const float>(weights), std::span<const float>(zero)}) {
        for (const Effort effort : {Effort::thorough, Effort::fast}) {
          const auto bytes = encode(row.type, values, 256, {.importance = importance}, effort);
          const auto decoded = decode(row.type, bytes, 256);
          for (std::size_t i = 0; i < decoded.size(); ++i) ASSERT_TRUE(std::isfinite(decoded[i])) << i;
        }
      }
    }
}

// NaN stands for zero, an infinity for the largest finite magnitude.
TEST(GgufQuantize, NotNumbersStandForNumbers) {
  RandomValues random(4);
  std::vector<float> clean(256), dirty;
  for (float& x : clean) x = random.value();
  clean[0] = 1.5f;
  dirty = clean;
  for (std::size_t i = 1; i < 256; i += 9) {
    clean[i] = 0.0f;
    dirty[i] = std::numeric_limits<float>::quiet_NaN();
  }
  for (const auto& row : gguf::block_types) {
    SCOPED_TRACE(row.name);
    EXPECT_EQ(encode(row.type, clean, 256), encode(row.type, dirty, 256));
    std::vector<float> loud(dirty.begin(), dirty.begin() + static_cast<std::ptrdiff_t>(row.elements));
    std::vector<float> bounded = loud;
    float peak = 0.0f;
    for (const float x : loud) peak = std::isfinite(x) ? std::max(peak, std::fabs(x)) : peak;
    for (float& x : bounded) x = std::isnan(x) ? 0.0f : x;
    loud[3] = std::numeric_limits<float>::infinity();
    bounded[3] = peak;
    loud[5] = -std::numeric_limits<float>::infinity();
    bounded[5] = -peak;
    EXPECT_EQ(encode(row.type, loud, row.elements), encode(row.type, bounded, row.elements));
    EXPECT_EQ(encode(row.type, loud, row.elements, {}, Effort::fast),
              encode(row.type, bounded, row.elements, {}, Effort::fast));
  }
}

TEST(GgufQuantize, ExecutorAndStridesDoNotMatter) {
  constexpr std::size_t rows = 5, cols = 512;
  RandomValues random(5);
  std::vector<float> values(rows * cols), transposed(rows * cols), importance(cols);
  for (float& x : values) x = random.heavy_value();
  for (float& x : importance) x = random.weight();
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c) transposed[c * rows + r] = values[r * cols + c];
  const auto backwards = [](std::size_t count, pare::Task task) {
    for (std::size_t i = count; i-- > 0;) task(i);
  };
  for (const auto& row : gguf::block_types) {
    SCOPED_TRACE(row.name);
    const auto bytes = encode(row.type, values, cols, {.importance = importance});
    EXPECT_EQ(bytes, encode(row.type, values, cols, {.importance = importance, .executor = backwards}));
    std::vector<std::uint8_t> strided(bytes.size());
    ASSERT_TRUE(gguf::quantize(row.type, MatrixView<const float>(transposed.data(), rows, cols, 1, rows), strided,
                               {.importance = importance}));
    EXPECT_EQ(bytes, strided);
    const auto fast = encode(row.type, values, cols, {.importance = importance}, Effort::fast);
    EXPECT_EQ(fast, encode(row.type, values, cols, {.importance = importance, .executor = backwards}, Effort::fast));
    ASSERT_TRUE(gguf::quantize_fast(row.type, MatrixView<const float>(transposed.data(), rows, cols, 1, rows), strided,
                                    {.importance = importance}));
    EXPECT_EQ(fast, strided);
  }
}

/// A row of any number of blocks has the blocks that it would have by themselves, so that neighbours do not matter.
TEST(GgufQuantize, FastBlocksAreThoseOfTheirOwnValues) {
  constexpr std::size_t blocks = 11;
  RandomValues random(9);
  std::vector<float> values(blocks * 256);
  for (float& x : values) x = random.heavy_value();
  for (const BlockType type :
       {BlockType::q2_k, BlockType::q3_k, BlockType::q4_k, BlockType::q5_k, BlockType::q6_k, BlockType::iq4_xs})
    EXPECT_EQ(encode(type, values, values.size(), {}, Effort::fast), encode(type, values, 256, {}, Effort::fast));
}

/// The rule of Q4_0 to Q5_1 is one of the choices of their searches, in effect: searching must not be worse.
TEST(GgufQuantize, SearchIsNotWorseThanTheRule) {
  RandomValues random(6);
  std::vector<float> ones(256, 1.0f), weights(256);
  for (float& w : weights) w = random.weight();
  for (const BlockType type : {BlockType::q4_0, BlockType::q4_1, BlockType::q5_0, BlockType::q5_1})
    for (int round = 0; round < 50; ++round) {
      std::vector<float> values(256);
      for (float& x : values) x = round % 2 == 0 ? random.value() : random.heavy_value();
      const auto by_rule = decode(type, encode(type, values, 256), 256);
      for (const auto& importance : {ones, weights}) {
        const auto searched = decode(type, encode(type, values, 256, {.importance = importance}), 256);
        EXPECT_LT(error_of(values, searched, importance), error_of(values, by_rule, importance));
      }
    }
}

/// Signal to noise of uniform and heavy-tailed values within an interval: both worse and better would be a surprise.
TEST(GgufQuantize, SearchedTypesReachTheirAccuracy) {
  struct Expectation {
    BlockType type;
    double low, high;  ///< decibels
  };
  constexpr Expectation expectations[] = {
      {BlockType::q2_k, 13.0, 17.0},   {BlockType::q3_k, 17.5, 21.0}, {BlockType::q4_k, 25.0, 28.5},
      {BlockType::q5_k, 31.0, 35.0},   {BlockType::q6_k, 36.5, 40.0}, {BlockType::iq4_nl, 22.0, 25.0},
      {BlockType::iq4_xs, 22.0, 25.0},
  };
  RandomValues random(7);
  std::vector<float> values(256 * 64);
  for (float& x : values) x = random.value();
  const double energy = error_of(values, std::vector<float>(values.size(), 0.0f));
  for (const auto& [type, low, high] : expectations) {
    const double noise = error_of(values, decode(type, encode(type, values, 256), values.size()));
    const double decibels = 10.0 * std::log10(energy / noise);
    EXPECT_GT(decibels, low) << static_cast<int>(type);
    EXPECT_LT(decibels, high) << static_cast<int>(type);
  }
}

/// Lines by themselves err a fifth more than the search of the whole block at most, on values of all kinds, and they
/// count errors by their importance as it does.
TEST(GgufQuantize, FastIsNearTheSearch) {
  RandomValues random(12);
  std::vector<float> values(256 * 96), importance(256);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i / 256 % 2 == 0 ? random.value() : random.heavy_value();
  for (float& w : importance) w = random.weight() * random.weight();
  for (const BlockType type : {BlockType::q2_k, BlockType::q3_k, BlockType::q4_k, BlockType::q5_k, BlockType::q6_k})
    for (const std::span<const float> weights : {std::span<const float>{}, std::span<const float>(importance)}) {
      const auto error = [&](Effort effort) {
        const auto bytes = encode(type, values, 256, {.importance = weights}, effort);
        return error_of(values, decode(type, bytes, values.size()), weights);
      };
      EXPECT_LT(error(Effort::fast), 1.2 * error(Effort::thorough)) << static_cast<int>(type);
    }
}

/// A block whose values a block of the type can hold comes back, but for the rounding of scales to 11 bits. Q1_0 and
/// the tables of IQ4 have no zero, and scales of NVFP4 four bits.
TEST(GgufQuantize, RepresentableValuesComeBack) {
  std::vector<float> values(256);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i % 3 == 1 ? -4.0f : 0.0f;
  for (const auto& row : gguf::block_types) {
    SCOPED_TRACE(row.name);
    constexpr std::array others{BlockType::q1_0, BlockType::iq4_nl, BlockType::iq4_xs, BlockType::nvfp4};
    if (std::find(others.begin(), others.end(), row.type) != others.end()) continue;
    const auto decoded = decode(row.type, encode(row.type, values, 256), 256);
    for (std::size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(decoded[i], values[i], 4.0f * 0x1p-11f) << i;
  }
}

/// Bytes of every encoder on a fixed input. They are the same for every compiler, option and processor.
TEST(GgufQuantize, BytesAreTheSameEverywhere) {
  struct Expectation {
    BlockType type;
    std::uint64_t plain, weighted;
  };
  constexpr Expectation expectations[] = {
      {BlockType::q4_0, 0x7d37f1dfc07f18d2u, 0x12a35535604924e3u},
      {BlockType::q4_1, 0xf52d4272dedeedbbu, 0xeecef83994a64589u},
      {BlockType::q5_0, 0xd04bcb7e9bdbe876u, 0xb1ba593685a3a6aau},
      {BlockType::q5_1, 0x392d3a728a6d6d1du, 0xb818a22a6d84b3c8u},
      {BlockType::q8_0, 0xc988b94301fa2f37u, 0xc988b94301fa2f37u},
      {BlockType::q2_k, 0xb853ac4d1e7ae4ffu, 0x22c91c3739fccf83u},
      {BlockType::q3_k, 0xcbfb321291dca6a2u, 0xf364f71a6c9816e7u},
      {BlockType::q4_k, 0xe18eed2dad5d2905u, 0xc815cd4e823b18c9u},
      {BlockType::q5_k, 0x76e8eac7ccc562c5u, 0x396a99a001f6cd59u},
      {BlockType::q6_k, 0xc26f2d2bead2149au, 0x97dac99ced7a56f8u},
      {BlockType::iq4_nl, 0x4d807257295156e9u, 0xc0a2c6021bad26c9u},
      {BlockType::iq4_xs, 0x5876ac645bbdc43cu, 0xa78c92e1c446a661u},
      {BlockType::tq1_0, 0x976bb25f4b079649u, 0x976bb25f4b079649u},
      {BlockType::tq2_0, 0x0014b3dd103fee5eu, 0x0014b3dd103fee5eu},
      {BlockType::mxfp4, 0xb6cc74a7ffe7a497u, 0xb6cc74a7ffe7a497u},
      {BlockType::nvfp4, 0xa2b71c9528adbf47u, 0xa2b71c9528adbf47u},
      {BlockType::q1_0, 0x9e6f19052e723971u, 0x9e6f19052e723971u},
      {BlockType::q2_0, 0xf8a18e2ed1ba00dbu, 0xf8a18e2ed1ba00dbu},
  };
  RandomValues random(8);
  std::vector<float> values(256 * 48), importance(256);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i / 256 % 2 == 0 ? random.value() : random.heavy_value();
  for (float& w : importance) w = random.weight();
  const auto hash = [](const std::vector<std::uint8_t>& bytes) {
    std::uint64_t h = 0xcbf29ce484222325u;
    for (const std::uint8_t byte : bytes) h = (h ^ byte) * 0x100000001b3u;
    return h;
  };
  ASSERT_EQ(std::size(expectations), gguf::block_types.size());
  for (const auto& [type, plain, weighted] : expectations) {
    EXPECT_EQ(hash(encode(type, values, 256)), plain) << static_cast<int>(type);
    EXPECT_EQ(hash(encode(type, values, 256, {.importance = importance})), weighted) << static_cast<int>(type);
  }
}

}  // namespace
