#include "io/npy.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "fixtures.hpp"

namespace {
using fixtures::Folder;
using io::DType;
using io::NpyFile;
using pare::ErrorCode;

/// An array file of this version, with `header` as it stands.
std::string npy(std::string_view header, std::string_view data, char version = 1) {
  std::string file = "\x93NUMPY";
  file += {version, '\0', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  if (version != 1) file += std::string(2, '\0');
  return file.append(header).append(data);
}

std::string array(std::string_view descr, std::string_view shape, std::string_view data) {
  return npy("{'descr': '" + std::string(descr) + "', 'fortran_order': False, 'shape': " + std::string(shape) + ", }\n",
             data);
}

template <class T>
std::string raw(std::vector<T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

pare::Error fault(std::string_view file) {
  const auto result = NpyFile::parse(fixtures::bytes(file), "file");
  return result ? pare::Error{} : result.error();
}

template <class T>
std::vector<T> values(const std::string& file) {
  const auto result = NpyFile::parse(fixtures::bytes(file), "file");
  if (!result) {
    ADD_FAILURE() << result.error().message;
    return {};
  }
  const auto read = result->values<T>();
  if (!read) ADD_FAILURE() << read.error().message;
  return read ? *read : std::vector<T>{};
}

template <class T>
std::string values_fault(const std::string& file) {
  const auto result = NpyFile::parse(fixtures::bytes(file), "file")->values<T>();
  return result ? "" : result.error().message;
}

TEST(Npy, ReadsEveryElementType) {
  using Floats = std::vector<float>;
  EXPECT_EQ(values<float>(array("<f4", "(2,)", raw<float>({1.5f, -2}))), (Floats{1.5f, -2}));
  EXPECT_EQ(values<float>(array("<f8", "(2,)", raw<double>({1.5, 0.1}))), (Floats{1.5f, 0.1f}));
  EXPECT_EQ(values<float>(array("<f2", "(3,)", raw<std::uint16_t>({0x3c00, 0xc000, 0x0001}))),
            (Floats{1, -2, std::ldexp(1.0f, -24)}));
  EXPECT_EQ(values<float>(array("|i1", "(2,)", raw<std::int8_t>({-128, 127}))), (Floats{-128, 127}));
  EXPECT_EQ(values<float>(array("<i2", "(2,)", raw<std::int16_t>({-32768, 1}))), (Floats{-32768, 1}));
  EXPECT_EQ(values<float>(array("<i4", "(1,)", raw<std::int32_t>({-5}))), (Floats{-5}));
  EXPECT_EQ(values<float>(array("<i8", "(1,)", raw<std::int64_t>({-5}))), (Floats{-5}));
  EXPECT_EQ(values<float>(array("|u1", "(1,)", raw<std::uint8_t>({255}))), (Floats{255}));
  EXPECT_EQ(values<float>(array("<u1", "(1,)", raw<std::uint8_t>({255}))), (Floats{255}));
  EXPECT_EQ(values<float>(array("<u2", "(1,)", raw<std::uint16_t>({65535}))), (Floats{65535}));
  EXPECT_EQ(values<float>(array("<u4", "(1,)", raw<std::uint32_t>({7}))), (Floats{7}));
  EXPECT_EQ(values<float>(array("<u8", "(1,)", raw<std::uint64_t>({7}))), (Floats{7}));
  EXPECT_EQ(values<float>(array("|b1", "(2,)", raw<std::uint8_t>({0, 1}))), (Floats{0, 1}));
}

TEST(Npy, IntegersMustFit) {
  EXPECT_EQ(values<std::int32_t>(array("<i8", "(2,)", raw<std::int64_t>({-7, 2147483647}))),
            (std::vector<std::int32_t>{-7, 2147483647}));
  EXPECT_EQ(values_fault<std::int32_t>(array("<i8", "(2,)", raw<std::int64_t>({0, 2147483648}))),
            "file: element 1 is 2147483648, which does not fit");
  EXPECT_NE(values_fault<std::uint32_t>(array("<i4", "(1,)", raw<std::int32_t>({-1}))), "");
  EXPECT_NE(values_fault<std::uint8_t>(array("<u2", "(1,)", raw<std::uint16_t>({256}))), "");
  EXPECT_NE(values_fault<std::int64_t>(array("<u8", "(1,)", raw<std::uint64_t>({~std::uint64_t{0}}))), "");
  EXPECT_NE(values_fault<std::int64_t>(array("<f4", "(1,)", raw<float>({1}))), "");
}

TEST(Npy, KeepsSpecialFloats) {
  const float infinity = std::numeric_limits<float>::infinity();
  const auto read = values<float>(array("<f8", "(4,)", raw<double>({-0.0, infinity, std::nan(""), 1e300})));
  EXPECT_TRUE(std::signbit(read[0]));
  EXPECT_EQ(read[1], infinity);
  EXPECT_TRUE(std::isnan(read[2]));
  EXPECT_EQ(read[3], infinity);
}

TEST(Npy, ReadsShapes) {
  const std::map<std::string, io::Extents> shapes{{"()", {}},         {"(1,)", {1}},      {"(1L,)", {1}},
                                                  {"(1, 1)", {1, 1}}, {"(1,1,)", {1, 1}}, {" ( 1 , 1 ) ", {1, 1}}};
  for (const auto& [text, shape] : shapes) {
    const std::string file = array("|u1", text, "x");
    const auto read = NpyFile::parse(fixtures::bytes(file), "file");
    ASSERT_TRUE(read) << text << ": " << read.error().message;
    EXPECT_EQ(read->array().shape, shape) << text;
  }
  EXPECT_TRUE(values<float>(array("<f4", "(0, 7)", "")).empty());
}

TEST(Npy, ReadsEveryVersionAndKeyOrder) {
  const std::string header = R"({"shape": (1,), "descr": "<i2", "fortran_order": True})";
  for (const char version : {'\1', '\2', '\3'})
    EXPECT_EQ(values<std::int32_t>(npy(header, raw<std::int16_t>({-3}), version)), std::vector<std::int32_t>{-3});
}

TEST(Npy, RefusesOtherArrays) {
  for (const auto& file :
       {array(">f4", "(1,)", "xxxx"), array("<c8", "(1,)", "xxxxxxxx"), array("|O", "()", ""), array("", "()", ""),
        array("|f4", "(1,)", "xxxx"), npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "xxxx"),
        npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1), }", "xxxx"), npy("{}", "", '\4')}) {
    EXPECT_EQ(fault(file).code, ErrorCode::unsupported) << fault(file).message;
  }
}

TEST(Npy, RefusesBrokenFiles) {
  const std::vector<std::string> files{
      "",
      "\x93NUMPX\x01",
      array("<f4", "(2,)", "xxxx"),
      array("<f4", "(1,)", "xxxxx"),
      array("<f4", "(-1,)", ""),
      array("<f4", "(1)", "xxxx"),
      array("<f4", "(,)", "xxxx"),
      array("<f4", "(1 1)", "xxxx"),
      array("<f4", "(1,,1)", "xxxx"),
      array("<f4", "(1", "xxxx"),
      array("<f4", "1", "xxxx"),
      array("<f4", "(18446744073709551616,)", ""),
      array("<f4", "(4294967296, 4294967296)", ""),
      array("<f4", "(9223372036854775808,)", ""),
      npy("{'descr': '<f4', 'fortran_order': False}", ""),
      npy("{'descr': '<f4', 'fortran_order': False, 'shape': ()} x", "xxxx"),
      npy("{'descr': '<f4', 'fortran_order': 0, 'shape': ()}", "xxxx"),
      npy("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}", "xxxx"),
      npy("{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': 1}", "xxxx"),
      npy("{'descr': '<f4' 'fortran_order': False, 'shape': ()}", "xxxx"),
      npy("{'descr': '<f4", "")};
  for (const std::string& file : files) {
    EXPECT_EQ(fault(file).code, ErrorCode::corrupt_data) << file;
    EXPECT_TRUE(fault(file).message.starts_with("file: ")) << fault(file).message;
  }
}

TEST(Npy, RejectsEveryPrefix) {
  for (const char version : {'\1', '\2'}) {
    const std::string file = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }\n", "12345678", version);
    ASSERT_EQ(values<float>(file).size(), 2u);
    for (std::size_t size = 0; size < file.size(); ++size) {
      const std::vector<char> exact(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_FALSE(NpyFile::parse(std::as_bytes(std::span(exact)), "file")) << size;
    }
  }
}

TEST(Npy, WritesWhatItReads) {
  const Folder folder;
  const std::vector<float> floats{1.5f, -0.0f, 3, 4, 5, 6};
  const std::vector<std::int32_t> integers{-1, 2147483647};
  const std::vector<std::uint8_t> bytes{255};
  ASSERT_TRUE(io::write_npy(folder / "f", floats, io::Extents{2, 3}));
  ASSERT_TRUE(io::write_npy(folder / "i", integers, io::Extents{2}));
  ASSERT_TRUE(io::write_npy(folder / "u", bytes, io::Extents{}));
  const auto f = NpyFile::open(folder / "f");
  const auto i = NpyFile::open(folder / "i");
  const auto u = NpyFile::open(folder / "u");
  ASSERT_TRUE(f && i && u);
  EXPECT_EQ(f->array().shape, (io::Extents{2, 3}));
  EXPECT_EQ(*f->values<float>(), floats);
  EXPECT_EQ(*i->values<std::int32_t>(), integers);
  EXPECT_EQ(*u->values<std::uint8_t>(), bytes);
  EXPECT_EQ((fixtures::read(folder / "f").size() - 24) % 64, 0u);
  EXPECT_FALSE(io::write_npy(folder / "x", floats, io::Extents{7}));
  EXPECT_EQ(folder.entries(), 3u);
}

TEST(Npy, WritesTheBytesThatNumpyWrites) {
  const auto path = fixtures::golden("formats/numeric/table_nf4.npy");
  const Folder folder;
  const auto table = NpyFile::open(path);
  ASSERT_TRUE(table) << table.error().message;
  ASSERT_EQ(table->array().dtype, DType::f32);
  ASSERT_TRUE(io::write_npy(folder / "copy", *table->values<float>(), table->array().shape));
  EXPECT_EQ(fixtures::read(folder / "copy"), fixtures::read(path));
}

TEST(Npy, ReadsTokenIds) {
  const auto path = fixtures::shared("golden/models/llama/tinystories-656k/val_ids_64x256.npy");
  SKIP_WITHOUT(path);
  const auto ids = NpyFile::open(path);
  ASSERT_TRUE(ids) << ids.error().message;
  EXPECT_EQ(ids->array().shape, (io::Extents{64, 256}));
  const auto numbers = ids->values<std::int64_t>();
  ASSERT_TRUE(numbers) << numbers.error().message;
  for (const std::int64_t id : *numbers) EXPECT_TRUE(id >= 0 && id < 2048) << id;
}

}  // namespace
