#include "pare/layouts/aqlm.hpp"

#include "layout_checks.hpp"

namespace {
using namespace layout_test;
using pare::AdditiveMatrix;
using pare::Aqlm;
using pare::Part;
using pare::PartType;
using pare::Shape;

struct Kind {
  Shape shape;
  Shape group{1, 8};
  std::size_t codebooks = 1;
  std::size_t vectors = 256;
  PartType type = PartType::float16;
};

/// The parts of a file with random codes and values.
std::vector<Part> random_parts(const Kind& kind, unsigned seed) {
  std::mt19937 random(seed);
  const std::size_t rows = kind.shape.rows / kind.group.rows, cols = kind.shape.cols / kind.group.cols;
  const auto codes = kind.vectors > 256 ? PartType::int16 : PartType::int8;
  std::vector<Part> parts;
  const auto add = [&](std::string_view name, PartType type, std::vector<std::size_t> shape) -> Part& {
    auto part = pare::make_part(name, type, std::move(shape));
    EXPECT_TRUE(part);
    parts.push_back(*std::move(part));
    return parts.back();
  };
  Part& list = add("codes", codes, {rows, cols, kind.codebooks});
  const std::size_t bytes = pare::element_bytes(codes);
  for (std::size_t i = 0; i < rows * cols * kind.codebooks; ++i) {
    const std::size_t code = random() % kind.vectors;
    pare::store_le(list.bytes().data() + i * bytes, code - (code >= kind.vectors / 2 ? kind.vectors : 0), bytes);
  }
  std::uniform_real_distribution<float> value(-1.0f, 1.0f);
  const auto fill = [&](Part& part) {
    const std::size_t size = pare::element_bytes(kind.type);
    const auto type = pare::scale_type(kind.type).value_or(pare::ScaleType::float32);
    for (std::size_t i = 0; i < part.memory.size() / size; ++i)
      pare::store_le(part.bytes().data() + i * size, pare::round_scale(type, value(random)), size);
  };
  fill(add("codebooks", kind.type, {kind.codebooks, kind.vectors, kind.group.rows, kind.group.cols}));
  fill(add("scales", kind.type, {rows, 1, 1, 1}));
  return parts;
}

void expect_round_trip(const Kind& kind) {
  const auto parts = random_parts(kind, 1);
  const auto matrix = Aqlm{}.read(views(parts));
  ASSERT_TRUE(matrix) << matrix.error().message;
  EXPECT_EQ(matrix->shape, kind.shape);
  const auto back = Aqlm{}.write(*matrix);
  ASSERT_TRUE(back) << back.error().message;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    EXPECT_EQ(back->at(i).name, parts[i].name);
    EXPECT_EQ(back->at(i).type, parts[i].type);
    EXPECT_EQ(back->at(i).shape, parts[i].shape);
    EXPECT_TRUE(same_bytes(back->at(i).memory, parts[i].memory)) << parts[i].name;
  }
}

TEST(Aqlm, RoundTrips) {
  for (const PartType type : {PartType::float16, PartType::bfloat16, PartType::float32})
    for (const std::size_t vectors : {2u, 4u, 128u, 256u, 512u, 4096u, 65536u})
      expect_round_trip({.shape = {6, 48}, .vectors = vectors, .type = type});
  for (const std::size_t codebooks : {2u, 3u, 8u})
    for (const Shape group : {Shape{1, 1}, {2, 8}, {3, 4}, {1, 16}})
      expect_round_trip({.shape = {6, 48}, .group = group, .codebooks = codebooks});
  for (const Shape shape : {Shape{1, 8}, {0, 8}, {4, 0}, {0, 0}}) expect_round_trip({.shape = shape});
}

TEST(Aqlm, AddsTheVectorsOfEveryCodebook) {
  auto parts =
      random_parts({.shape = {2, 4}, .group = {1, 2}, .codebooks = 2, .vectors = 4, .type = PartType::float32}, 2);
  constexpr std::int8_t codes[] = {0, 1, -2, -1, -1, -2, 1, 0};
  for (std::size_t i = 0; i < 8; ++i) parts[0].bytes()[i] = static_cast<std::uint8_t>(codes[i]);
  for (std::size_t i = 0; i < 16; ++i)
    pare::store_le(parts[1].bytes().data() + 4 * i, pare::F32::encode(static_cast<float>(i < 8 ? i : 100 * (i - 8))),
                   4);
  pare::store_le(parts[2].bytes().data(), pare::F32::encode(1.0f), 4);
  pare::store_le(parts[2].bytes().data() + 4, pare::F32::encode(-0.5f), 4);
  const auto matrix = Aqlm{}.read(views(parts));
  ASSERT_TRUE(matrix) << matrix.error().message;
  EXPECT_EQ(matrix->code(0, 1, 0), 2);
  EXPECT_EQ(matrix->code(0, 1, 1), 3);
  constexpr float values[] = {0 + 200, 1 + 300, 4 + 600, 5 + 700};
  for (std::size_t c = 0; c < 4; ++c) EXPECT_EQ(matrix->value(0, c), values[c]);
  EXPECT_EQ(matrix->value(1, 0), (6.0f + 400.0f) * -0.5f);
  EXPECT_EQ(matrix->value(1, 3), (3.0f + 100.0f) * -0.5f);
}

TEST(Aqlm, FindsDamage) {
  for (const std::size_t vectors : {16u, 512u}) {
    const auto parts = random_parts({.shape = {4, 16}, .group = {2, 4}, .codebooks = 2, .vectors = vectors}, 3);
    expect_damage_is_found(Aqlm{}, parts, {}, {"codes 1", "codebooks 2", "codebooks 3"});
  }
  const auto refuses = [](const Kind& kind) {
    return read_error(Aqlm{}, views(random_parts(kind, 4))).find("no 2 to 65536 vectors, a power of two");
  };
  for (const std::size_t vectors : {std::size_t{1}, std::size_t{100}, std::size_t{131072}})
    EXPECT_NE(refuses({.shape = {1, 8}, .vectors = vectors}), std::string::npos) << vectors;
  EXPECT_NE(refuses({.shape = {1, 8}, .codebooks = 0}), std::string::npos);
}

TEST(Aqlm, RefusesWhatItCannotHold) {
  const auto read = [] { return *Aqlm{}.read(views(random_parts({.shape = {4, 32}}, 5))); };
  auto matrix = read();
  reinterpret_cast<float*>(matrix.scales_memory.data())[3] = 0.1f;
  EXPECT_EQ(refusal(Aqlm{}, matrix), "pare: aqlm cannot hold 0.100000001 among the scales: it is no float16");
  matrix = read();
  reinterpret_cast<float*>(matrix.values_memory.data())[17] = 1e6f;
  EXPECT_NE(refusal(Aqlm{}, matrix).find("1000000 among the codebooks"), std::string::npos);
  matrix = read();
  reinterpret_cast<std::uint16_t*>(matrix.codes_memory.data())[5] = 256;
  EXPECT_NE(refusal(Aqlm{}, matrix).find("code 256 of 256 vectors"), std::string::npos);
  // What a reader would refuse, and outputs or inputs that no group has.
  matrix = read();
  matrix.vectors = 100;
  EXPECT_NE(refusal(Aqlm{}, matrix).find("a power of two"), std::string::npos);
  matrix = read();
  matrix.group.cols = 0;
  EXPECT_NE(refusal(Aqlm{}, matrix).find("no values in them"), std::string::npos);
  EXPECT_NE(refusal(Aqlm{}, AdditiveMatrix{}).find("a power of two"), std::string::npos);
  matrix = read();
  matrix.shape.cols = 31;
  EXPECT_NE(refusal(Aqlm{}, matrix).find("4 x 31 weights, only multiples of 1 x 8"), std::string::npos);
}

}  // namespace
