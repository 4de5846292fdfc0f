#include "layout_checks.hpp"
#include "pare/layouts/marlin24.hpp"
#include "pare/layouts/sparse_bitmask.hpp"

namespace {
using namespace layout_test;
using pare::Marlin24;
using pare::PartType;
using pare::Shape;
using pare::Sparse24Bitmask;
using pare::SparseBitmask;

/// A matrix of which every four neighbours keep at most two values that are not the zero point.
pare::CodedMatrix sparse_matrix(int bits, Shape shape, std::size_t group, unsigned seed) {
  const int middle = 1 << (bits - 1);
  auto matrix = random_matrix({.shape = shape,
                               .format = pare::unsigned_format(bits),
                               .block = {1, group},
                               .shift = pare::ShiftKind::zero_point,
                               .lowest_zero = middle,
                               .highest_zero = middle},
                              seed);
  std::mt19937 random(seed);
  for (std::size_t r = 0; r < shape.rows; ++r)
    for (std::size_t four = 0; four < shape.cols / 4; ++four)
      for (unsigned pruned = 0; pruned < 2 || random() % 8 == 0; ++pruned) {
        std::size_t c = random() % 4;
        for (std::size_t tries = 0; tries < 4 && matrix.codes()(r, 4 * four + c) == middle; ++tries) c = (c + 1) % 4;
        matrix.codes()(r, 4 * four + c) = static_cast<std::uint8_t>(middle);
      }
  return matrix;
}

TEST(Marlin24, RoundTrips) {
  for (const int bits : {4, 8})
    for (const Shape shape : {Shape{64, 32}, {128, 96}, {64, 256}})
      for (const std::size_t group : {std::size_t{32}, shape.cols})
        expect_round_trip(Marlin24{.bits = bits}, sparse_matrix(bits, shape, group, 1));
}

TEST(Marlin24, RefusesDenseGroupsAndOtherShapes) {
  auto matrix = sparse_matrix(4, {64, 64}, 32, 2);
  for (std::size_t c = 8; c < 11; ++c) matrix.codes()(7, c) = 1;
  EXPECT_EQ(
      refusal(Marlin24{}, matrix),
      "pare: compressed-tensors:marlin-24 cannot hold more than two values that are not 0 in row 7, columns 8 to 11");
  EXPECT_NE(refusal(Marlin24{}, sparse_matrix(4, {32, 32}, 32, 2)).find("32 x 32"), std::string::npos);
  EXPECT_NE(refusal(Marlin24{.bits = 3}, sparse_matrix(4, {64, 32}, 32, 2)).find("not 3"), std::string::npos);
}

TEST(Marlin24, FindsDamage) {
  const Marlin24 layout{.group_size = 32};
  auto parts = write(layout, sparse_matrix(4, {64, 64}, 32, 3));
  expect_damage_is_found(layout, parts);
  parts[2].bytes()[0] = 0;
  EXPECT_NE(read_error(layout, views(parts)).find("pare: meta keeps no two columns in order of row 0"),
            std::string::npos);
}

TEST(Sparse24Metadata, PlacesEveryWordOnce) {
  for (const int bits : {16, 32})
    for (const std::size_t rows : {64u, 192u}) {
      std::vector<int> hits(rows * 8);
      for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < 8; ++c) ++hits[pare::cutlass24_place(r, c, rows, bits)];
      EXPECT_EQ(std::count(hits.begin(), hits.end(), 1), std::ssize(hits));
    }
  for (unsigned mask = 0; mask < 16; ++mask)
    if (std::popcount(mask) <= 2) {
      const pare::Kept24 kept = pare::kept24(mask);
      EXPECT_TRUE(kept.valid());
      EXPECT_EQ(mask & ~(1u << kept.first | 1u << kept.second), 0u);
      EXPECT_EQ(pare::Kept24::from_nibble(kept.nibble()).second, kept.second);
    }
}

/// A dense part with the given share of zeros, in fours if `fours`.
pare::Part dense_part(PartType type, Shape shape, bool fours, unsigned seed) {
  auto part = pare::make_part("weight", type, {shape.rows, shape.cols});
  EXPECT_TRUE(part);
  std::mt19937 random(seed);
  const std::size_t bytes = pare::element_bytes(type);
  for (std::size_t i = 0; i < shape.rows * shape.cols; i += fours ? 4 : 1) {
    const std::size_t first = random() % 4, second = (first + 1 + random() % 3) % 4;
    for (std::size_t c = 0; c < (fours ? 4u : 1u); ++c)
      if (fours ? c == first || c == second : random() % 3 == 0)
        pare::store_le(part->bytes().data() + (i + c) * bytes, random() % 0x7000 + 1, bytes);
  }
  return *std::move(part);
}

constexpr PartType types[] = {PartType::uint8,    PartType::int8,    PartType::float16,
                              PartType::bfloat16, PartType::float32, PartType::float8_e4m3};

TEST(SparseBitmasks, RoundTripEveryType) {
  for (const PartType type : types)
    for (const Shape shape : {Shape{4, 64}, {3, 12}, {1, 4}, {0, 8}, {5, 0}}) {
      const auto dense = dense_part(type, shape, true, 4);
      const auto back = Sparse24Bitmask{}.read(views(*Sparse24Bitmask{}.write(dense.view())));
      ASSERT_TRUE(back) << back.error().message;
      EXPECT_TRUE(same_bytes(dense.memory, back->memory));
      EXPECT_EQ(back->shape, dense.shape);
      const auto free = dense_part(type, {shape.rows, shape.cols + 1}, false, 5);
      const auto any = SparseBitmask{}.read(views(*SparseBitmask{}.write(free.view())));
      ASSERT_TRUE(any) << any.error().message;
      EXPECT_TRUE(same_bytes(free.memory, any->memory));
    }
}

TEST(SparseBitmasks, KeepNegativeZerosWhereThereIsRoom) {
  auto dense = dense_part(PartType::float16, {1, 8}, true, 6);
  for (std::uint8_t& byte : dense.bytes()) byte = 0;
  const auto set = [&](std::size_t i, std::uint16_t half) { pare::store_le(dense.bytes().data() + 2 * i, half, 2); };
  set(1, 0x3c00);
  set(3, 0x8000);  // kept beside the one value
  set(4, 0x3c00);
  set(5, 0x8000);  // finds no room
  set(6, 0x7e00);  // NaN is no zero
  const auto parts = *Sparse24Bitmask{}.write(dense.view());
  EXPECT_EQ(parts[2].view().bytes[0], 0b0101'1010);
  const auto back = Sparse24Bitmask{}.read(views(parts));
  ASSERT_TRUE(back);
  set(5, 0);
  EXPECT_TRUE(same_bytes(dense.memory, back->memory));
  set(5, 0x3c00);
  const auto full = Sparse24Bitmask{}.write(dense.view());
  ASSERT_FALSE(full);
  EXPECT_NE(full.error().message.find("row 0, columns 4 to 7"), std::string::npos);
}

TEST(SparseBitmasks, FindDamage) {
  const auto dense = dense_part(PartType::float16, {4, 16}, true, 7);
  auto parts = *Sparse24Bitmask{}.write(dense.view());
  for (const std::string name : {"shape", "compressed", "bitmask"}) {
    auto without = views(parts);
    std::erase_if(without, [&](const pare::PartView& part) { return part.name == name; });
    EXPECT_NE(read_error(Sparse24Bitmask{}, without).find(name), std::string::npos);
  }
  parts[2].bytes()[1] ^= 0x01;
  EXPECT_NE(read_error(Sparse24Bitmask{}, views(parts)).find("bitmask does not keep two of row 0, columns 8 to 11"),
            std::string::npos);
  pare::store_le(parts[0].bytes().data(), 1u << 30, 8);
  EXPECT_NE(read_error(Sparse24Bitmask{}, views(parts)).find("bitmask"), std::string::npos);

  auto free = *SparseBitmask{}.write(dense.view());
  free[2].bytes()[0] = 0xff;
  EXPECT_FALSE(SparseBitmask{}.read(views(free)));
  free = *SparseBitmask{}.write(dense.view());
  free[3].bytes()[8] ^= 1;
  EXPECT_NE(read_error(SparseBitmask{}, views(free)).find("row_offsets of row 1"), std::string::npos);
  free = *SparseBitmask{}.write(dense.view());
  free[2].bytes()[7] = 0;
  EXPECT_NE(read_error(SparseBitmask{}, views(free)).find("more elements"), std::string::npos);
  free[2].bytes()[7] = 0xff;
  EXPECT_NE(read_error(SparseBitmask{}, views(free)).find("fewer elements"), std::string::npos);
}

}  // namespace
