#include "io/gguf.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "fixtures.hpp"
#include "io/gguf_writer.hpp"
#include "pare/core/bits.hpp"

namespace {
namespace fs = std::filesystem;
using fixtures::Folder;
using io::GgmlType;
using io::GgufFile;
using io::GgufWriter;
using pare::ErrorCode;

template <class T>
std::string number(T value) {
  std::uint8_t bytes[sizeof(T)];
  if constexpr (std::is_same_v<T, float>)
    pare::store_le(bytes, std::bit_cast<std::uint32_t>(value), sizeof(T));
  else
    pare::store_le(bytes, static_cast<std::uint64_t>(value), sizeof(T));
  return {reinterpret_cast<const char*>(bytes), sizeof(T)};
}

std::string text(std::string_view value) { return number<std::uint64_t>(value.size()) + std::string(value); }

/// A metadata entry: key, type and the value's bytes.
std::string entry(std::string_view key, std::uint32_t type, const std::string& value) {
  return text(key) + number(type) + value;
}

std::string tensor(std::string_view name, const std::vector<std::int64_t>& ne, std::uint32_t type,
                   std::uint64_t offset) {
  std::string info = text(name) + number(static_cast<std::uint32_t>(ne.size()));
  for (const std::int64_t extent : ne) info += number(extent);
  return info + number(type) + number(offset);
}

/// The parts of a file, each of which a test can spoil.
struct File {
  std::uint32_t version = 3;
  std::vector<std::string> entries;
  std::vector<std::string> tensors;
  std::string data;
  std::size_t alignment = 32;

  [[nodiscard]] std::string bytes() const {
    std::string file = std::string("GGUF") + number(version) +
                       number<std::int64_t>(static_cast<std::int64_t>(tensors.size())) +
                       number<std::int64_t>(static_cast<std::int64_t>(entries.size()));
    for (const std::string& part : entries) file += part;
    for (const std::string& part : tensors) file += part;
    if (!tensors.empty()) file.append((alignment - file.size() % alignment) % alignment, '\0');
    return file + data;
  }
};

std::string fault(std::string_view file) {
  const std::vector<char> exact(file.begin(), file.end());  // a sanitizer sees the first byte behind it
  const auto result = GgufFile::parse(fixtures::bytes({exact.data(), exact.size()}), "file");
  if (result) return "";
  EXPECT_TRUE(result.error().message.starts_with("file: ")) << result.error().message;
  return result.error().message;
}

void expect_fault(const File& file, std::string_view reason) {
  const std::string found = fault(file.bytes());
  EXPECT_NE(found.find(reason), std::string::npos) << "expected: " << reason << "\nfound: " << found;
}

/// Everything that `file` holds, written again.
std::string rewrite(const GgufFile& file, const fs::path& path) {
  std::vector<io::GgufTensorInfo> infos(file.tensors().begin(), file.tensors().end());
  auto writer = GgufWriter::create(path, file.metadata(), infos);
  if (!writer) return writer.error().message;
  for (const io::GgufTensor& tensor : file.tensors())
    if (auto done = writer->write(tensor.name, tensor.bytes); !done) return done.error().message;
  if (auto done = writer->finish(); !done) return done.error().message;
  return fixtures::read(path);
}

TEST(GgmlTypes, CountsBytes) {
  EXPECT_EQ(io::byte_count(GgmlType::q4_k, std::vector<std::size_t>{3, 256}), 432u);
  EXPECT_EQ(io::byte_count(GgmlType::mxfp4, std::vector<std::size_t>{2, 3, 32}), 102u);
  EXPECT_EQ(io::byte_count(GgmlType::f32, {}), 4u);
  EXPECT_EQ(io::byte_count(GgmlType::q8_0, std::vector<std::size_t>{4, 0}), 0u);
  EXPECT_EQ(io::byte_count(GgmlType::q8_0, std::vector<std::size_t>{32, 33}), std::nullopt);
  EXPECT_EQ(io::byte_count(GgmlType::q8_0, {}), std::nullopt);
  const std::size_t huge = std::size_t{1} << 62;
  EXPECT_EQ(io::byte_count(GgmlType::f32, std::vector<std::size_t>{huge}), std::nullopt);
  EXPECT_EQ(io::byte_count(GgmlType::i8, std::vector<std::size_t>{huge, 2}), std::nullopt);
  EXPECT_EQ(io::find_ggml_type("Q4_K")->type, GgmlType::q4_k);
  EXPECT_EQ(io::find_ggml_type("q4_k"), nullptr);
  for (const std::uint32_t removed : {4u, 5u, 31u, 32u, 33u, 36u, 37u, 38u, 43u})
    EXPECT_EQ(io::find_ggml_type(removed), nullptr) << removed;
}

TEST(GgufFile, ReadsEveryKindOfValue) {
  const auto file = GgufFile::open(fixtures::golden("formats/gguf/sample_v3.gguf"));
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->version(), 3u);
  EXPECT_EQ(file->alignment(), 64u);
  EXPECT_EQ(file->data_offset() % file->alignment(), 0u);
  ASSERT_NE(file->value_as<std::string>("general.architecture"), nullptr);
  EXPECT_EQ(file->value_as<std::uint32_t>("general.architecture"), nullptr);
  EXPECT_EQ(file->value("absent"), nullptr);
  ASSERT_NE(file->find("e.mxfp4"), nullptr);
  EXPECT_EQ(file->find("e.mxfp4")->shape, (io::Extents{2, 3, 32}));
  EXPECT_EQ(file->find("e.mxfp4")->type, GgmlType::mxfp4);
  EXPECT_EQ(file->find("absent"), nullptr);
}

TEST(GgufFile, ValuesAsText) {
  EXPECT_EQ(io::to_text(io::GgufValue(std::int8_t{-5})), "-5");
  EXPECT_EQ(io::to_text(io::GgufValue(true)), "true");
  EXPECT_EQ(io::to_text(io::GgufValue(0.5f)), "0.5");
  EXPECT_EQ(io::to_text(io::GgufValue(std::string("a b"))), "a b");
  EXPECT_EQ(io::to_text(io::GgufValue(io::GgufArray(std::vector<std::string>{"x", "\n"}))), R"(["x", "\n"])");
  EXPECT_EQ(io::to_text(io::GgufValue(io::GgufArray(std::vector<bool>(9, true)))),
            "[true, true, true, true, true, true, true, true, ...] (9 elements)");
  EXPECT_EQ(io::to_text(io::GgufValue(io::GgufArray(std::vector<double>()))), "[]");
  EXPECT_EQ(io::as_unsigned(io::GgufValue(std::int8_t{7})), 7u);
  EXPECT_EQ(io::as_unsigned(io::GgufValue(std::int8_t{-7})), std::nullopt);
  EXPECT_EQ(io::as_unsigned(io::GgufValue(true)), std::nullopt);
  EXPECT_EQ(io::as_unsigned(io::GgufValue(std::numeric_limits<std::uint64_t>::max())), ~std::uint64_t{0});
}

TEST(GgufFile, RewritesFilesByteForByte) {
  const Folder folder;
  std::vector<fs::path> files{fixtures::golden("formats/gguf/sample_v3.gguf")};
  for (const char* name : {"golden/models/gguf", "golden/models/gguf_k256", "data/models/llama/stories260K"}) {
    if (!fs::exists(fixtures::shared(name))) continue;
    for (const auto& found : fs::directory_iterator(fixtures::shared(name)))
      if (found.path().extension() == ".gguf") files.push_back(found.path());
  }
  for (const fs::path& path : files) {
    const auto file = GgufFile::open(path);
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_TRUE(rewrite(*file, folder / "out") == fixtures::read(path)) << path;
  }
}

TEST(GgufFile, EveryTruncationIsAnError) {
  const std::string content = fixtures::read(fixtures::golden("formats/gguf/sample_v3.gguf"));
  const auto whole = GgufFile::parse(fixtures::bytes(content), "file");
  ASSERT_TRUE(whole);
  const auto last = whole->tensors().back().bytes;
  const auto needed = static_cast<std::size_t>(last.data() + last.size() - fixtures::bytes(content).data());
  for (std::size_t size = 0; size < needed; ++size)
    EXPECT_NE(fault(std::string_view(content).substr(0, size)), "") << size;
  for (std::size_t size = needed; size < content.size(); ++size)
    EXPECT_EQ(fault(std::string_view(content).substr(0, size)), "") << size;
}

TEST(GgufFile, FileHeader) {
  EXPECT_EQ(fault(File{}.bytes()), "");
  EXPECT_NE(fault("").find("is no GGUF file"), std::string::npos);
  EXPECT_NE(fault("GGUX").find("is no GGUF file"), std::string::npos);
  File file;
  file.version = 2;
  EXPECT_EQ(fault(file.bytes()), "");
  for (const std::uint32_t version : {0u, 1u, 4u}) {
    file.version = version;
    expect_fault(file, "GGUF version " + std::to_string(version) + " is not supported");
    EXPECT_EQ(GgufFile::parse(fixtures::bytes(file.bytes()), "file").error().code, ErrorCode::unsupported);
  }
  file.version = 0x03000000;
  expect_fault(file, "is a big-endian GGUF file");

  const auto counts = [](std::int64_t tensors, std::int64_t entries) {
    return std::string("GGUF") + number<std::uint32_t>(3) + number(tensors) + number(entries) + std::string(64, '\0');
  };
  EXPECT_NE(fault(counts(-1, 0)).find("the number of tensors is -1"), std::string::npos);
  EXPECT_NE(fault(counts(0, -1)).find("the number of metadata entries is -1"), std::string::npos);
  EXPECT_NE(fault(counts(std::int64_t{1} << 40, 0)).find("the number of tensors of 1099511627776 exceeds"),
            std::string::npos);
  EXPECT_NE(fault(counts(0, std::numeric_limits<std::int64_t>::max())).find("the number of metadata entries of"),
            std::string::npos);
}

TEST(GgufFile, MetadataFaults) {
  const auto with = [](std::vector<std::string> entries) {
    File file;
    file.entries = std::move(entries);
    return file;
  };
  const std::string byte(1, '\x01');
  EXPECT_EQ(fault(with({entry("a", 0, byte)}).bytes()), "");
  expect_fault(with({entry("", 0, byte)}), "metadata entry 0: the key is empty");
  expect_fault(with({entry("\xff", 0, byte)}), "metadata entry 0: the key is not valid UTF-8");
  expect_fault(with({entry(std::string_view("a\0b", 3), 0, byte)}), "the key holds a NUL byte");
  expect_fault(with({entry("a", 0, byte), entry("a", 0, byte)}), R"(metadata has the key "a" twice)");
  expect_fault(with({entry("a", 13, byte)}), R"(metadata entry 0 "a": the type 13 is unknown)");
  expect_fault(with({entry("a", 0xffffffff, byte)}), "the type 4294967295 is unknown");
  expect_fault(with({entry("a", 7, "\x02")}), R"("a": the value is a bool of 2)");
  expect_fault(with({entry("a", 8, number<std::uint64_t>(100))}), R"("a": the value needs 100 bytes at)");
  expect_fault(with({entry("a", 8, number(std::uint64_t{1} << 31))}), "more than the limit of 1073741824");
  expect_fault(with({entry("a", 8, number(~std::uint64_t{0}))}), "more than the limit of 1073741824");
  expect_fault(with({entry("a", 9, number<std::uint32_t>(9) + number<std::uint64_t>(0))}), "is an array of arrays");
  expect_fault(with({entry("a", 9, number<std::uint32_t>(13) + number<std::uint64_t>(0))}),
               "the element type 13 is unknown");
  expect_fault(with({entry("a", 9, number<std::uint32_t>(5) + number<std::uint64_t>(3) + number<std::int64_t>(0))}),
               "the array's length of 3 exceeds the 8 bytes that are left");
  expect_fault(with({entry("a", 9, number<std::uint32_t>(0) + number((std::uint64_t{1} << 30) + 1))}),
               "the array's length of 1073741825 exceeds the limit");
  expect_fault(with({entry("a", 9, number<std::uint32_t>(8) + number(~std::uint64_t{0}))}), "exceeds the limit");
  expect_fault(with({entry("a", 9, number<std::uint32_t>(7) + number<std::uint64_t>(2) + "\x01\x03")}),
               "an element is a bool of 3");

  for (const auto& [type, value] : {std::pair<std::uint32_t, std::string>{4, number<std::uint32_t>(0)},
                                    std::pair<std::uint32_t, std::string>{4, number<std::uint32_t>(48)},
                                    std::pair<std::uint32_t, std::string>{10, number<std::uint64_t>(32)},
                                    std::pair<std::uint32_t, std::string>{5, number<std::int32_t>(32)}})
    expect_fault(with({entry("general.alignment", type, value)}), "metadata general.alignment is");
}

TEST(GgufFile, TensorFaults) {
  const std::string data(64, 'x');
  const auto with = [&](std::vector<std::string> tensors) {
    File file;
    file.tensors = std::move(tensors);
    file.data = data;
    return file;
  };
  EXPECT_EQ(fault(with({tensor("a", {4, 2}, 0, 0), tensor("b", {32}, 24, 32)}).bytes()), "");
  EXPECT_EQ(fault(with({tensor("a", {}, 0, 0)}).bytes()), "");
  EXPECT_EQ(fault(with({tensor(std::string(63, 'n'), {1}, 0, 0)}).bytes()), "");
  expect_fault(with({tensor(std::string(64, 'n'), {1}, 0, 0)}), "tensor 0: the name has 64 bytes");
  expect_fault(with({tensor("\xff", {1}, 0, 0)}), "tensor 0: the name is not valid UTF-8");
  expect_fault(with({tensor("a", {8}, 0, 0), tensor("a", {8}, 0, 32)}), R"(tensor 1 "a": its name is taken)");
  expect_fault(with({tensor("a", {1, 1, 1, 1, 1}, 0, 0)}), R"(tensor 0 "a": has 5 dimensions)");
  expect_fault(with({tensor("a", {1, -1}, 0, 0)}), R"(tensor 0 "a": ne[1] is -1)");
  expect_fault(with({tensor("a", {1}, 4, 0)}), "the type 4 is unknown or was removed");
  expect_fault(with({tensor("a", {1}, 1000, 0)}), "the type 1000 is unknown or was removed");
  expect_fault(with({tensor("a", {33}, 8, 0)}), "ne[0] of 33 is no multiple of the 32 elements of a Q8_0 block");
  expect_fault(with({tensor("a", {}, 8, 0)}), "ne[0] of 1 is no multiple");
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  expect_fault(with({tensor("a", {most, most, most, most}, 24, 0)}), "is too large");
  expect_fault(with({tensor("a", {most}, 28, 0)}), "is too large");
  expect_fault(with({tensor("a", {most, 0, 2}, 24, 0), tensor("b", {1}, 24, 32)}),
               "the offset is 32 where 0 is the next one");
  expect_fault(with({tensor("a", {1}, 0, 32)}), "the offset is 32 where 0 is the next one");
  expect_fault(with({tensor("a", {8}, 0, 0), tensor("b", {8}, 0, 0)}), "the offset is 0 where 32 is the next one");
  expect_fault(with({tensor("a", {8}, 0, 0), tensor("b", {8}, 0, 64)}), "the offset is 64 where 32 is the next one");
  expect_fault(with({tensor("a", {1}, 0, 0), tensor("b", {1}, 0, 4)}), "the offset is 4 where 32 is the next one");
  expect_fault(with({tensor("a", {65}, 24, 0)}), "65 bytes at the offset 0 exceed the 64 bytes of data in the file");
  expect_fault(
      with({tensor("a", {most - 31}, 24, 0), tensor("b", {most - 31}, 24, static_cast<std::uint64_t>(most) - 31),
            tensor("c", {64}, 24, static_cast<std::uint64_t>(most) * 2 - 62)}),
      "the sizes up to here are too large");
}

TEST(GgufFile, AlignmentOfOne) {
  File file;
  file.alignment = 1;
  file.entries = {entry("general.alignment", 4, number<std::uint32_t>(1))};
  file.tensors = {tensor("a", {3}, 24, 0), tensor("b", {0}, 0, 3), tensor("c", {1}, 24, 3)};
  file.data = "abcd";
  const std::string content = file.bytes();
  const auto read = GgufFile::parse(fixtures::bytes(content), "file");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(fixtures::text(read->find("a")->bytes), "abc");
  EXPECT_EQ(fixtures::text(read->find("b")->bytes), "");
  EXPECT_EQ(fixtures::text(read->find("c")->bytes), "d");
  const Folder folder;
  EXPECT_EQ(rewrite(*read, folder / "out"), content);
}

/// The three shards of a model, with the numbers of their entries as given.
struct Shards {
  struct Numbers {
    std::uint16_t no;
    std::uint16_t count;
  };
  explicit Shards(std::vector<Numbers> numbers = {{0, 3}, {1, 3}, {2, 3}}, std::int32_t total = 3,
                  std::vector<std::string> names = {"a", "b", "c"}) {
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      File file;
      file.entries = {entry("split.no", 2, number(numbers[i].no)), entry("split.count", 2, number(numbers[i].count)),
                      entry("split.tensors.count", 5, number(total))};
      file.tensors = {tensor(names[i], {1}, 24, 0)};
      file.data = names[i];
      fixtures::write(path(i), file.bytes());
    }
  }
  [[nodiscard]] fs::path path(std::size_t i) const {
    return folder / ("m-0000" + std::to_string(i + 1) + "-of-00003.gguf");
  }
  [[nodiscard]] std::string fault() const {
    const auto result = GgufFile::open_shards(path(0));
    return result ? "" : result.error().message;
  }
  Folder folder;
};

TEST(GgufShards, AnyOfThemOpensAll) {
  const Shards shards;
  for (std::size_t i = 0; i < 3; ++i) {
    const auto opened = GgufFile::open_shards(shards.path(i));
    ASSERT_TRUE(opened) << opened.error().message;
    ASSERT_EQ(opened->size(), 3u);
    EXPECT_EQ(fixtures::text((*opened)[2].find("c")->bytes), "c");
  }
  EXPECT_EQ(GgufFile::open_shards(fixtures::golden("formats/gguf/sample_v3.gguf"))->size(), 1u);
}

TEST(GgufShards, FaultsAreNamed) {
  const auto says = [](const Shards& shards, std::string_view reason) {
    EXPECT_NE(shards.fault().find(reason), std::string::npos) << shards.fault();
  };
  says(Shards({{0, 3}, {2, 3}, {2, 3}}), "m-00002-of-00003.gguf: metadata split.no is 2 where 1 is expected");
  says(Shards({{0, 3}, {1, 4}, {2, 3}}), "metadata split.count is 4 where 3 is expected");
  says(Shards({{0, 2}, {1, 2}, {2, 2}}), "does not end with -00001-of-00002.gguf");
  says(Shards({{3, 3}, {1, 3}, {2, 3}}), "split.no 3 and split.count 3 contradict");
  says(Shards({{0, 3}, {1, 3}, {2, 3}}, 4), "split.tensors.count is 4, the shards hold 3 tensors");
  says(Shards({{0, 3}, {1, 3}, {2, 3}}, 3, {"a", "b", "a"}), R"(tensor "a" is in another shard too)");
  const Shards missing;
  fs::remove(missing.path(1));
  says(missing, "m-00002-of-00003.gguf: cannot open");
}

TEST(GgufWriter, RefusesWhatItCannotHold) {
  const Folder folder;
  const std::size_t huge = std::size_t{1} << 61;
  using Infos = std::vector<io::GgufTensorInfo>;
  const std::vector<std::pair<Infos, std::string>> cases{
      {{{"a", GgmlType::f32, {1}}, {"a", GgmlType::f32, {1}}}, "its name is taken"},
      {{{std::string(64, 'n'), GgmlType::f32, {1}}}, "at most 63 bytes"},
      {{{"\xff", GgmlType::f32, {1}}}, "no text"},
      {{{"a", GgmlType::f32, {1, 1, 1, 1, 1}}}, "more than 4 dimensions"},
      {{{"a", GgmlType::q4_0, {32, 16}}}, "ends within a block of 32"},
      {{{"a", GgmlType::f32, {huge}}}, "is too large"},
      {{{"a", GgmlType::i8, {3 * huge}}, {"b", GgmlType::i8, {3 * huge}}, {"c", GgmlType::i8, {3 * huge}}},
       "the sizes up to here are too large"}};
  for (const auto& [infos, reason] : cases) {
    const auto writer = GgufWriter::create(folder / "out", {}, infos);
    ASSERT_FALSE(writer) << reason;
    EXPECT_EQ(writer.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(writer.error().message.find(reason), std::string::npos) << writer.error().message;
  }
  const std::vector<std::vector<io::GgufEntry>> metadata{{{"", std::uint8_t{1}}},
                                                         {{"\xff", std::uint8_t{1}}},
                                                         {{"a", std::uint8_t{1}}, {"a", std::uint8_t{1}}},
                                                         {{"a", io::GgufArray(std::monostate{})}},
                                                         {{"general.alignment", std::uint64_t{32}}},
                                                         {{"general.alignment", std::uint32_t{0}}},
                                                         {{"general.alignment", std::uint32_t{3}}}};
  for (const auto& entries : metadata) EXPECT_FALSE(GgufWriter::create(folder / "out", entries, {}));
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(GgufWriter, RefusesDataOutOfPlace) {
  const Folder folder;
  {
    auto writer = GgufWriter::create(folder / "out", {},
                                     {{"e", GgmlType::f32, {0}}, {"a", GgmlType::i8, {2}}, {"b", GgmlType::i8, {2}}});
    ASSERT_TRUE(writer);
    EXPECT_FALSE(writer->write("b", fixtures::bytes("bb")));
    EXPECT_FALSE(writer->write("a", fixtures::bytes("aaa")));
    ASSERT_TRUE(writer->write("a", fixtures::bytes("a")));
    ASSERT_TRUE(writer->write("a", fixtures::bytes("a")));
    ASSERT_TRUE(writer->write("b", fixtures::bytes("b")));
    const auto unfinished = writer->finish();
    ASSERT_FALSE(unfinished);
    EXPECT_NE(unfinished.error().message.find(R"(tensor "b": lacks 1 bytes)"), std::string::npos);
    ASSERT_TRUE(writer->write("b", fixtures::bytes("b")));
    EXPECT_FALSE(writer->write("b", fixtures::bytes("b")));
  }
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(GgufWriter, NothingIsAFileToo) {
  const Folder folder;
  auto writer = GgufWriter::create(folder / "out", {}, {});
  ASSERT_TRUE(writer && writer->finish());
  EXPECT_EQ(fixtures::read(folder / "out"), File{}.bytes());
}

}  // namespace
