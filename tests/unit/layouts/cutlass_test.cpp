#include "layout_checks.hpp"
#include "pare/layouts/sparse_cutlass.hpp"

namespace {
using namespace layout_test;
using pare::Part;
using pare::PartType;
using pare::Shape;
using pare::Sparse24Cutlass;

constexpr PartType kinds[] = {PartType::float16, PartType::bfloat16,    PartType::int16,   PartType::int8,
                              PartType::uint8,   PartType::float8_e4m3, PartType::float32, PartType::int32};

Part zeros(PartType type, Shape shape) {
  auto part = pare::make_part("weight", type, {shape.rows, shape.cols});
  EXPECT_TRUE(part);
  return *std::move(part);
}

void set(Part& part, std::size_t row, std::size_t column, std::uint64_t element) {
  const std::size_t bytes = pare::element_bytes(part.type);
  pare::store_le(part.bytes().data() + (row * part.shape[1] + column) * bytes, element, bytes);
}

/// Random places and values; at most two of four, or one of two for elements of 32 bits.
Part random_dense(PartType type, Shape shape, unsigned seed) {
  std::mt19937 random(seed);
  Part part = zeros(type, shape);
  const std::size_t columns = pare::element_bytes(type) == 4 ? 2 : 4;
  for (std::size_t r = 0; r < shape.rows; ++r)
    for (std::size_t c = 0; c < shape.cols; c += columns)
      for (std::size_t i = 0; i < columns / 2; ++i)
        if (random() % 4 != 0) set(part, r, c + random() % columns, 1 + random() % 100);
  return part;
}

TEST(Sparse24Cutlass, RoundTrips) {
  for (const PartType type : kinds)
    for (const bool reordered : {false, true})
      for (const Shape shape : {Shape{64, 64}, {128, 192}, {192, 256}, {64, 96}, {0, 64}, {64, 0}}) {
        if (reordered && pare::element_bytes(type) == 1 && shape.cols % 64 != 0) continue;
        const Sparse24Cutlass layout{.reordered = reordered};
        const Part dense = random_dense(type, shape, 1);
        const auto parts = layout.write(dense.view());
        ASSERT_TRUE(parts) << parts.error().message;
        const auto back = layout.read(views(*parts));
        ASSERT_TRUE(back) << back.error().message;
        EXPECT_EQ(back->type, type);
        EXPECT_EQ(back->shape, dense.shape);
        EXPECT_TRUE(same_bytes(back->memory, dense.memory)) << static_cast<int>(type);
      }
}

TEST(Sparse24Cutlass, NibblesNameTheColumnsKept) {
  const Sparse24Cutlass rows{.reordered = false};
  Part halves = zeros(PartType::float16, {64, 16});
  set(halves, 0, 0, 11);
  set(halves, 0, 3, 12);
  set(halves, 0, 6, 13);
  set(halves, 0, 8, 14);
  auto parts = rows.write(halves.view());
  ASSERT_TRUE(parts);
  EXPECT_EQ(parts->at(1).type, PartType::int16);
  EXPECT_EQ(parts->at(1).shape, (std::vector<std::size_t>{64, 1}));
  // Columns 0 and 3; 2 and 3; 0 and 2, as the second of a single first column is free; and 2 and 3 of nothing.
  EXPECT_EQ(pare::load_le(parts->at(1).view().bytes.data(), 2), 0xe8ecu);
  constexpr std::uint64_t kept[] = {11, 12, 13, 0, 14, 0, 0, 0};
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(pare::load_le(parts->at(0).view().bytes.data() + 2 * i, 2), kept[i]);

  Part floats = zeros(PartType::float32, {64, 8});
  set(floats, 0, 0, 5);
  set(floats, 0, 3, 6);
  parts = rows.write(floats.view());
  ASSERT_TRUE(parts);
  EXPECT_EQ(pare::load_le(parts->at(1).view().bytes.data(), 2), 0xeee4u);
  EXPECT_EQ(pare::load_le(parts->at(0).view().bytes.data() + 4, 4), 6u);

  // Reordered, words of 16 bits of a row of two go to its own pair, and row 1 starts at the fifth word.
  Part wide = zeros(PartType::bfloat16, {64, 32});
  set(wide, 1, 0, 1);
  set(wide, 1, 1, 2);
  parts = Sparse24Cutlass{}.write(wide.view());
  ASSERT_TRUE(parts);
  EXPECT_EQ(pare::load_le(parts->at(1).view().bytes.data() + 2 * 4, 2), 0xeee4u);
}

TEST(Sparse24Cutlass, RefusesWhatItCannotHold) {
  const auto refused = [](const Part& dense) {
    const auto parts = Sparse24Cutlass{}.write(dense.view());
    EXPECT_FALSE(parts);
    return parts ? std::string{} : parts.error().message;
  };
  for (const PartType type : kinds) {
    const bool words = pare::element_bytes(type) == 4;
    Part dense = random_dense(type, {64, 64}, 2);
    for (std::size_t c = 8; c < 11; ++c) set(dense, 7, c, 3);
    EXPECT_EQ(refused(dense), "pare: cutlass:2:4 cannot hold more than " + std::string(words ? "1" : "2") +
                                  " values that are not 0 in row 7, columns 8 to " + (words ? "9" : "11"));
    EXPECT_NE(refused(zeros(type, {32, 64})).find("32 x 64 elements, only multiples of 64 x"), std::string::npos);
    EXPECT_NE(refused(zeros(type, {64, 20})).find("64 x 20 elements"), std::string::npos);
  }
  EXPECT_NE(refused(zeros(PartType::int64, {64, 64})).find("elements of 64 bits"), std::string::npos);
  // Reordered words come in pairs.
  EXPECT_NE(refused(zeros(PartType::int8, {64, 96})).find("64 x 96 elements, only multiples of 64 x 64"),
            std::string::npos);
  EXPECT_NE(refused(zeros(PartType::float16, {64, 16})).find("multiples of 64 x 32"), std::string::npos);
  EXPECT_NE(refused(zeros(PartType::float32, {64, 8})).find("multiples of 64 x 16"), std::string::npos);
  const auto single = Sparse24Cutlass{.reordered = false}.write(zeros(PartType::int8, {64, 32}).view());
  ASSERT_TRUE(single);
  EXPECT_NE(read_error(Sparse24Cutlass{}, views(*single)).find("multiples of 64 x 64"), std::string::npos);
  // Negative zeros need no room.
  Part negative = zeros(PartType::float16, {64, 32});
  for (std::size_t c = 0; c < 4; ++c) set(negative, 0, c, 0x8000);
  EXPECT_TRUE(Sparse24Cutlass{}.write(negative.view()));
  const Part dense = zeros(PartType::float16, {64, 32});
  pare::PartView view = dense.view();
  view.bytes = view.bytes.first(view.bytes.size() - 1);
  EXPECT_FALSE(Sparse24Cutlass{}.write(view));
  view = dense.view();
  view.shape = view.shape.first(1);
  EXPECT_FALSE(Sparse24Cutlass{}.write(view));
}

TEST(Sparse24Cutlass, FindsDamage) {
  for (const PartType type : kinds)
    for (const bool reordered : {false, true}) {
      const Sparse24Cutlass layout{.reordered = reordered};
      auto parts = layout.write(random_dense(type, {64, 64}, 3).view());
      ASSERT_TRUE(parts);
      // Of every other type of that size the values are another good matrix.
      if (pare::element_bytes(type) == 1) {
        expect_damage_is_found(layout, *parts);
      } else {
        auto list = views(*parts);
        list.pop_back();
        EXPECT_NE(read_error(layout, list).find("meta is missing"), std::string::npos);
        list = views(*parts);
        list[1].type = PartType::uint8;
        EXPECT_NE(read_error(layout, list).find("meta has another element type"), std::string::npos);
        const std::size_t other[] = {64, 48};
        list = views(*parts);
        list[0].shape = other;
        EXPECT_NE(read_error(layout, list).find("values has"), std::string::npos);
        list[0].type = PartType::int64;
        EXPECT_FALSE(layout.read(list));
      }
      for (const int nibble : {0x0, 0x1, 0x3, 0x5, 0x7, 0xb, 0xf}) {
        parts->at(1).bytes()[0] = static_cast<std::uint8_t>(0xe0 | nibble);
        EXPECT_NE(
            read_error(layout, views(*parts))
                .find("pare: meta keeps columns " + std::to_string(nibble & 3) + " and " + std::to_string(nibble >> 2)),
            std::string::npos);
      }
      for (const int nibble : {0x8, 0x9, 0xc, 0xd}) {
        parts->at(1).bytes()[0] = static_cast<std::uint8_t>(0xe0 | nibble);
        EXPECT_EQ(layout.read(views(*parts)).has_value(), pare::element_bytes(type) != 4);
      }
    }
  const std::size_t none[] = {0, std::size_t{1} << 63}, tall[] = {std::size_t{1} << 62, 0};
  const pare::PartView empty[] = {{"values", PartType::float16, none, {}}, {"meta", PartType::int16, none, {}}};
  EXPECT_FALSE(Sparse24Cutlass{}.read(empty));
  const pare::PartView rows[] = {{"values", PartType::float16, tall, {}}, {"meta", PartType::int16, tall, {}}};
  const auto read = Sparse24Cutlass{}.read(rows);
  EXPECT_EQ(read->shape, (std::vector<std::size_t>{std::size_t{1} << 62, 0}));
}

}  // namespace
