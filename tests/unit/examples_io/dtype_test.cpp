#include "io/dtype.hpp"

#include <gtest/gtest.h>

#include "io/tensor.hpp"

namespace {

TEST(DType, NamesParseBack) {
  for (const io::DTypeInfo& info : io::dtypes) {
    EXPECT_EQ(io::parse_dtype(info.name), info.dtype);
    EXPECT_EQ(io::name(info.dtype), info.name);
    EXPECT_EQ(io::bits(info.dtype), info.bits);
  }
}

TEST(DType, SizeIsPartOfTheName) {
  for (const io::DTypeInfo& info : io::dtypes) {
    if (info.dtype == io::DType::boolean) continue;
    const auto digits = info.name.substr(info.name.find_first_of("123456789"));
    EXPECT_EQ(info.bits, static_cast<std::size_t>(std::stoul(std::string(digits)))) << info.name;
  }
}

TEST(DType, OtherSpellingsAreUnknown) {
  for (const char* text : {"", "f32", "F32 ", "Q4", "FLOAT", "F8"}) EXPECT_FALSE(io::parse_dtype(text)) << text;
}

TEST(ByteCount, CountsDenseBits) {
  using Shape = io::Extents;
  EXPECT_EQ(io::byte_count(io::DType::f32, Shape{}), 4u);
  EXPECT_EQ(io::byte_count(io::DType::f32, Shape{2, 3}), 24u);
  EXPECT_EQ(io::byte_count(io::DType::f4, Shape{2, 8}), 8u);
  EXPECT_EQ(io::byte_count(io::DType::f6_e2m3, Shape{4}), 3u);
  EXPECT_EQ(io::byte_count(io::DType::f64, Shape{7, 0}), 0u);
}

TEST(ByteCount, RefusesWhatIsNotWholeBytesOrDoesNotFit) {
  using Shape = io::Extents;
  const std::size_t huge = std::size_t{1} << 40;
  EXPECT_FALSE(io::byte_count(io::DType::f4, Shape{3}));
  EXPECT_FALSE(io::byte_count(io::DType::f6_e3m2, Shape{2}));
  EXPECT_FALSE(io::byte_count(io::DType::u8, Shape{huge, huge}));
  EXPECT_FALSE(io::byte_count(io::DType::f64, Shape{std::size_t{1} << 60}));
}

}  // namespace
