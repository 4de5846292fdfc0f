#include "io/safetensors.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "fixtures.hpp"
#include "pare/core/bits.hpp"

namespace {
namespace fs = std::filesystem;
using fixtures::Folder;
using fixtures::golden;
using io::DType;
using io::SafetensorsFile;
using io::SafetensorsWriter;
using pare::ErrorCode;

/// A file with this header, not padded, and `data_size` zero bytes.
std::string file_with(std::string_view header, std::size_t data_size = 0) {
  std::string file(8, '\0');
  pare::store_le(reinterpret_cast<std::uint8_t*>(file.data()), header.size(), 8);
  return file.append(header).append(data_size, '\0');
}

/// The message with which these bytes are rejected, or nothing.
std::string fault(std::string_view file) {
  const auto result = SafetensorsFile::parse(fixtures::bytes(file), "file");
  if (result) return "";
  EXPECT_EQ(result.error().code, ErrorCode::corrupt_data);
  return result.error().message;
}

/// Writes every tensor of `file` as the reference writer would, in pieces of `piece` bytes.
void rewrite(const SafetensorsFile& file, const fs::path& path, std::size_t piece) {
  std::vector<io::TensorInfo> tensors(file.tensors().begin(), file.tensors().end());
  std::ranges::reverse(tensors);
  auto writer = SafetensorsWriter::create(path, tensors, file.metadata());
  ASSERT_TRUE(writer) << writer.error().message;
  for (const io::TensorInfo& tensor : writer->tensors()) {
    const auto bytes = file.find(tensor.name)->bytes;
    for (std::size_t at = 0; at < bytes.size(); at += piece)
      ASSERT_TRUE(writer->write(tensor.name, bytes.subspan(at, std::min(piece, bytes.size() - at))));
  }
  const auto done = writer->finish();
  ASSERT_TRUE(done) << done.error().message;
}

TEST(Safetensors, RejectsEveryInvalidGoldenFile) {
  const std::map<std::string, std::string> faults{
      {"duplicate_key", R"(duplicate key "a")"},
      {"end_before_begin", R"(tensor "a": data_offsets [8, 0) end before they begin)"},
      {"f4_odd_bits", R"(tensor "a": shape [3] of F4 ends within a byte)"},
      {"header_len_huge", "header length 9223372036854775808 exceeds the limit of 100000000"},
      {"header_len_past_eof", "header length 100 exceeds the 2 bytes that follow"},
      {"hole_between", R"(tensor "b": data_offsets [12, 16) leave a hole that starts at 8)"},
      {"metadata_not_string", R"(__metadata__: "a" is not a string)"},
      {"missing_field", R"(tensor "a": data_offsets)"},
      {"negative_dim", R"(tensor "a": shape is not a list of non-negative integers)"},
      {"not_json", "invalid JSON at byte 2"},
      {"not_object", "header is not a JSON object"},
      {"not_utf8", "not valid UTF-8"},
      {"overlap", R"(tensor "b": data_offsets [4, 12) overlap the tensor that ends at 8)"},
      {"shape_overflow", R"(tensor "a": shape [1099511627776, 1099511627776] of F32 is too large)"},
      {"size_mismatch", R"(tensor "a": data_offsets [0, 8) do not match shape [3] of F32 (12 bytes))"},
      {"too_short", "too short for a safetensors file (2 bytes)"},
      {"trailing_bytes", "4 trailing bytes after the last tensor"},
      {"truncated_data", R"(tensor "a": data_offsets [0, 8) exceed the 4 bytes of data in the file)"},
      {"unknown_dtype", R"(tensor "a": unknown dtype "Q4")"}};
  std::set<std::string> seen;
  for (const auto& entry : fs::directory_iterator(golden("formats/safetensors/invalid"))) {
    const std::string name = entry.path().stem().string();
    const auto result = SafetensorsFile::open(entry.path());
    ASSERT_FALSE(result) << name;
    ASSERT_TRUE(faults.contains(name)) << name;
    EXPECT_EQ(result.error().code, ErrorCode::corrupt_data);
    EXPECT_TRUE(result.error().message.starts_with(entry.path().string() + ": ")) << result.error().message;
    EXPECT_NE(result.error().message.find(faults.at(name)), std::string::npos)
        << name << ": " << result.error().message;
    seen.insert(name);
  }
  EXPECT_EQ(seen.size(), faults.size());
}

TEST(Safetensors, AcceptsEveryEdgeGoldenFile) {
  const std::map<std::string, std::size_t> tensors{{"empty_object", 0},
                                                   {"leading_space_ok_for_serde_not_spec", 1},
                                                   {"only_metadata", 0},
                                                   {"trailing_spaces", 1},
                                                   {"unaligned_header", 1}};
  std::size_t seen = 0;
  for (const auto& entry : fs::directory_iterator(golden("formats/safetensors/valid_edge"))) {
    const auto file = SafetensorsFile::open(entry.path());
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ(file->tensors().size(), tensors.at(entry.path().stem().string()));
    for (const auto& tensor : file->tensors()) EXPECT_EQ(fixtures::text(tensor.bytes), std::string(8, '\0'));
    ++seen;
  }
  EXPECT_EQ(seen, tensors.size());
  EXPECT_EQ(SafetensorsFile::open(golden("formats/safetensors/valid_edge/only_metadata.safetensors"))->metadata(),
            (io::Metadata{{"x", "y"}}));
}

TEST(Safetensors, ReadsEveryDtype) {
  struct Expected {
    const char* name;
    DType dtype;
    io::Extents shape;
    std::size_t begin, end;
  };
  const std::vector<Expected> expected{{"a.f32", DType::f32, {2, 3}, 0, 24},
                                       {"a.f16", DType::f16, {2, 3}, 24, 36},
                                       {"a.bf16", DType::bf16, {2, 3}, 36, 48},
                                       {"a.f64", DType::f64, {2, 3}, 48, 96},
                                       {"i8", DType::i8, {2}, 96, 98},
                                       {"u8", DType::u8, {2}, 98, 100},
                                       {"i16", DType::i16, {1}, 100, 102},
                                       {"u16", DType::u16, {1}, 102, 104},
                                       {"i32", DType::i32, {1}, 104, 108},
                                       {"u32", DType::u32, {1}, 108, 112},
                                       {"i64", DType::i64, {1}, 112, 120},
                                       {"u64", DType::u64, {1}, 120, 128},
                                       {"bool", DType::boolean, {3}, 128, 131},
                                       {"f8_e4m3", DType::f8_e4m3, {4}, 131, 135},
                                       {"f8_e5m2", DType::f8_e5m2, {4}, 135, 139},
                                       {"f8_e8m0", DType::f8_e8m0, {4}, 139, 143},
                                       {"f8_e4m3fnuz", DType::f8_e4m3fnuz, {2}, 143, 145},
                                       {"f8_e5m2fnuz", DType::f8_e5m2fnuz, {2}, 145, 147},
                                       {"f4", DType::f4, {2, 8}, 147, 155},
                                       {"f6_e2m3", DType::f6_e2m3, {4}, 155, 158},
                                       {"f6_e3m2", DType::f6_e3m2, {4}, 158, 161},
                                       {"c64", DType::c64, {1}, 161, 169},
                                       {"scalar", DType::f32, {}, 169, 173},
                                       {"empty", DType::f32, {0, 4}, 173, 173}};
  const auto path = golden("formats/safetensors/all_dtypes.safetensors");
  const auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->metadata(), (io::Metadata{{"format", "pt"},
                                            {"k",
                                             "v with \"quotes\" and \xc3\xbcn\xc3\xaf"
                                             "code"}}));

  const std::string content = fixtures::read(path);
  const std::size_t data = content.size() - 173;
  ASSERT_EQ(file->tensors().size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const io::TensorView& tensor = file->tensors()[i];
    const Expected& e = expected[i];
    EXPECT_EQ(tensor.name, e.name);
    EXPECT_EQ(tensor.dtype, e.dtype) << e.name;
    EXPECT_EQ(tensor.shape, e.shape) << e.name;
    EXPECT_EQ(fixtures::text(tensor.bytes), content.substr(data + e.begin, e.end - e.begin)) << e.name;
    EXPECT_EQ(file->find(e.name), &tensor);
  }
  for (const char* name : {"", "a", "a.f3", "a.f322", "__metadata__", "zzz"}) EXPECT_EQ(file->find(name), nullptr);
}

TEST(Safetensors, RewritesEveryDtype) {
  const Folder folder;
  const auto file = SafetensorsFile::open(golden("formats/safetensors/all_dtypes.safetensors"));
  ASSERT_TRUE(file);
  rewrite(*file, folder / "a", 3);
  rewrite(*file, folder / "b", 1000);
  EXPECT_EQ(fixtures::read(folder / "a"), fixtures::read(folder / "b"));
  const auto copy = SafetensorsFile::open(folder / "a");
  ASSERT_TRUE(copy) << copy.error().message;
  EXPECT_EQ(copy->metadata(), file->metadata());
  ASSERT_EQ(copy->tensors().size(), file->tensors().size());
  for (const io::TensorView& tensor : file->tensors()) {
    const io::TensorView* written = copy->find(tensor.name);
    ASSERT_NE(written, nullptr) << tensor.name;
    EXPECT_EQ(written->dtype, tensor.dtype);
    EXPECT_EQ(written->shape, tensor.shape);
    EXPECT_EQ(fixtures::text(written->bytes), fixtures::text(tensor.bytes)) << tensor.name;
  }
  EXPECT_EQ(copy->tensors().front().name, "u64");
  EXPECT_EQ(copy->tensors().back().name, "bool");
}

TEST(Safetensors, RewritesAReferenceFileByteForByte) {
  const Folder folder;
  for (const char* name : {"golden/models/hf_tiny/llama3/model.safetensors",
                           "golden/models/hf_tiny/llama_sharded/model-00001-of-00005.safetensors",
                           "golden/models/hf_tiny/mixtral/model.safetensors"}) {
    const auto path = fixtures::shared(name);
    SKIP_WITHOUT(path);
    const auto file = SafetensorsFile::open(path);
    ASSERT_TRUE(file) << file.error().message;
    rewrite(*file, folder / "copy", 10'000);
    EXPECT_TRUE(fixtures::read(folder / "copy") == fixtures::read(path)) << name;
  }
}

TEST(Safetensors, OpensTheModelFiles) {
  for (const char* name :
       {"data/models/yolo11/yolo11n-seg.safetensors", "data/models/vision/resnet20-cifar10.safetensors",
        "data/models/llama/tinystories-656k/model.safetensors"}) {
    const auto path = fixtures::shared(name);
    SKIP_WITHOUT(path);
    const auto file = SafetensorsFile::open(path);
    EXPECT_TRUE(file) << file.error().message;
  }
}

TEST(Safetensors, RejectsEveryPrefix) {
  for (const char* name :
       {"formats/safetensors/all_dtypes.safetensors", "formats/safetensors/valid_edge/unaligned_header.safetensors"}) {
    const std::string content = fixtures::read(golden(name));
    ASSERT_EQ(fault(content), "");
    for (std::size_t size = 0; size < content.size(); ++size) {
      const std::vector<char> exact(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_NE(fault({exact.data(), exact.size()}), "") << size;
    }
  }
}

TEST(Safetensors, RejectsHostileHeaders) {
  const auto entry = [](std::string_view fields) { return file_with(R"({"a":{)" + std::string(fields) + "}}", 8); };
  const std::map<std::string, std::string> faults{
      {file_with(R"({"__metadata__":[]})"), "__metadata__ is not an object"},
      {file_with(R"({"__metadata__":{},"__metadata__":{}})"), "duplicate key"},
      {file_with(R"({"a":[]})"), "is not an object"},
      {file_with(R"({"a":null})"), "is not an object"},
      {file_with("{}", 1), "1 trailing bytes"},
      {file_with("\xef\xbb\xbf{}"), "byte order mark"},
      {file_with(std::string_view("{}\0", 3)), "NUL"},
      {file_with("{}x"), "invalid JSON"},
      {file_with(""), "invalid JSON"},
      {file_with(std::string(500'000, '[')), "nested"},
      {entry(R"("dtype":4,"shape":[2],"data_offsets":[0,8])"), "has no dtype"},
      {entry(R"("dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8])"), "duplicate key \"dtype\""},
      {entry(R"("dtype":"f32","shape":[2],"data_offsets":[0,8])"), "unknown dtype \"f32\""},
      {entry(R"("dtype":"F32","shape":2,"data_offsets":[0,8])"), "shape is not"},
      {entry(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"), "shape is not"},
      {entry(R"("dtype":"F32","shape":["2"],"data_offsets":[0,8])"), "shape is not"},
      {entry(R"("dtype":"F32","shape":[true],"data_offsets":[0,8])"), "shape is not"},
      {entry(R"("dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,8])"), "shape is not"},
      {entry(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8])"), "is too large"},
      {entry(R"("dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,8])"), "is too large"},
      {entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,8])"), "data_offsets are not"},
      {entry(R"("dtype":"F32","shape":[2],"data_offsets":[-8,0])"), "data_offsets are not"},
      {entry(R"("dtype":"F32","shape":[2],"data_offsets":[18446744073709551608,18446744073709551615])"),
       "do not match"},
      {entry(R"("dtype":"F32","shape":[2],"data_offsets":[18446744073709551600,18446744073709551608])"),
       "exceed the 8"},
      {entry(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])"), "leave a hole"},
      {entry(R"("dtype":"F6_E2M3","shape":[2],"data_offsets":[0,1])"), "ends within a byte"}};
  for (const auto& [file, reason] : faults)
    EXPECT_NE(fault(file).find(reason), std::string::npos) << reason << ": " << fault(file);
}

TEST(Safetensors, MessagesStayOnOneLine) {
  const std::string message = fault(file_with(R"({"a\n\u001b[31m":{"dtype":"Q\n4"}})"));
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
}

TEST(Safetensors, IgnoresUnknownFieldsAsTheReferenceDoes) {
  EXPECT_EQ(fault(file_with(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":{"y":[1]}}})", 8)), "");
}

TEST(Safetensors, EmptyTensorsMayShareAnOffset) {
  EXPECT_EQ(fault(file_with(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[2,2]},
                                "b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},
                                "c":{"dtype":"F64","shape":[3,0],"data_offsets":[2,2]},
                                "d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
                            2)),
            "");
  EXPECT_NE(fault(file_with(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[1,1]},
                                "b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
                            2)),
            "");
}

TEST(SafetensorsWriter, TheBytesAreTheReferenceWriters) {
  const Folder folder;
  auto writer = SafetensorsWriter::create(
      folder / "out", {{"b", DType::u8, {3}}, {"a", DType::u8, {1}}, {"z", DType::i16, {}}}, {{"k", "v"}});
  ASSERT_TRUE(writer);
  ASSERT_TRUE(writer->write("z", fixtures::bytes("zz")));
  ASSERT_TRUE(writer->write("a", fixtures::bytes("a")));
  ASSERT_TRUE(writer->write("b", fixtures::bytes("b")));
  ASSERT_TRUE(writer->write("b", fixtures::bytes("bb")));
  ASSERT_TRUE(writer->finish());
  const std::string header =
      R"({"__metadata__":{"k":"v"},"z":{"dtype":"I16","shape":[],"data_offsets":[0,2]},)"
      R"("a":{"dtype":"U8","shape":[1],"data_offsets":[2,3]},"b":{"dtype":"U8","shape":[3],"data_offsets":[3,6]}})";
  const std::string padding((8 - header.size() % 8) % 8, ' ');
  EXPECT_EQ(fixtures::read(folder / "out"), file_with(header + padding) + "zzabbb");
}

TEST(SafetensorsWriter, WritesNoTensors) {
  const Folder folder;
  auto writer = SafetensorsWriter::create(folder / "out", {});
  ASSERT_TRUE(writer && writer->finish());
  EXPECT_EQ(fixtures::read(folder / "out"), file_with("{}      "));
}

TEST(SafetensorsWriter, EscapesNames) {
  const Folder folder;
  const std::string name = "a\"\\\n\x01\xc3\xbc";
  auto writer = SafetensorsWriter::create(folder / "out", {{name, DType::u8, {1}}}, {{name, name}});
  ASSERT_TRUE(writer && writer->write(name, fixtures::bytes("x")) && writer->finish());
  const auto file = SafetensorsFile::open(folder / "out");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_NE(file->find(name), nullptr);
  EXPECT_EQ(file->metadata().at(name), name);
}

TEST(SafetensorsWriter, EmptyTensorsNeedNoData) {
  const Folder folder;
  auto writer = SafetensorsWriter::create(
      folder / "out",
      {{"a", DType::f32, {0}}, {"b", DType::f32, {1}}, {"c", DType::f32, {2, 0}}, {"d", DType::u8, {0}}});
  ASSERT_TRUE(writer);
  EXPECT_TRUE(writer->write("a", {}));
  EXPECT_TRUE(writer->write("b", fixtures::bytes("bbbb")));
  ASSERT_TRUE(writer->finish());
  EXPECT_EQ(SafetensorsFile::open(folder / "out")->tensors().size(), 4u);
}

TEST(SafetensorsWriter, RefusesWhatItCannotDeclare) {
  const Folder folder;
  const std::size_t huge = std::size_t{1} << 62;
  const std::vector<std::pair<std::vector<io::TensorInfo>, std::string>> cases{
      {{{"a", DType::u8, {1}}, {"a", DType::f32, {1}}}, "its name is taken"},
      {{{"__metadata__", DType::u8, {1}}}, "its name is taken"},
      {{{"\xff", DType::u8, {1}}}, "not valid UTF-8"},
      {{{"a", DType::f4, {3}}}, "ends within a byte"},
      {{{"a", DType::f32, {huge, huge}}}, "too large"}};
  for (const auto& [tensors, reason] : cases) {
    const auto writer = SafetensorsWriter::create(folder / "out", tensors);
    ASSERT_FALSE(writer);
    EXPECT_EQ(writer.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(writer.error().message.find(reason), std::string::npos) << writer.error().message;
    EXPECT_TRUE(writer.error().message.starts_with((folder / "out").string()));
  }
  EXPECT_FALSE(SafetensorsWriter::create(folder / "out", {}, {{"k", "\xff"}}));
  std::vector<io::TensorInfo> sum;
  for (const char* name : {"a", "b", "c", "d", "e", "f", "g", "h", "i"}) sum.push_back({name, DType::u8, {huge / 2}});
  EXPECT_FALSE(SafetensorsWriter::create(folder / "out", sum));
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(SafetensorsWriter, RefusesDataOutOfPlace) {
  const Folder folder;
  {
    auto writer = SafetensorsWriter::create(folder / "out", {{"a", DType::u8, {2}}, {"b", DType::u8, {2}}});
    ASSERT_TRUE(writer);
    const auto early = writer->write("b", fixtures::bytes("bb"));
    ASSERT_FALSE(early);
    EXPECT_NE(early.error().message.find(R"(tensor "b": its data comes before "a" is complete)"), std::string::npos);
    const auto long_one = writer->write("a", fixtures::bytes("aaa"));
    ASSERT_FALSE(long_one);
    EXPECT_NE(long_one.error().message.find("1 bytes too many"), std::string::npos);
    EXPECT_FALSE(writer->write("unknown", fixtures::bytes("x")));
    ASSERT_TRUE(writer->write("a", fixtures::bytes("aa")));
    ASSERT_TRUE(writer->write("b", fixtures::bytes("b")));
    const auto unfinished = writer->finish();
    ASSERT_FALSE(unfinished);
    EXPECT_NE(unfinished.error().message.find(R"(tensor "b": lacks 1 bytes)"), std::string::npos);
    ASSERT_TRUE(writer->write("b", fixtures::bytes("b")));
    EXPECT_FALSE(writer->write("b", fixtures::bytes("b")));
  }
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(SafetensorsWriter, AFullDiskIsAnIoError) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "needs /dev/full";
  const Folder folder;
  fs::create_symlink("/dev/full", folder / "full");
  const std::string data(1 << 20, 'x');
  auto writer = SafetensorsWriter::create(folder / "full", {{"a", DType::u8, {data.size()}}});
  ASSERT_TRUE(writer);
  const auto written = writer->write("a", fixtures::bytes(data));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, ErrorCode::io);
  EXPECT_EQ(folder.entries(), 1u);
}

}  // namespace
