#include "io/torch.hpp"

#include <gtest/gtest.h>
#include <zip.h>

#include <cstdint>
#include <string>
#include <vector>

#include "fixtures.hpp"
#include "io/safetensors.hpp"
#include "pickles.hpp"

namespace {
namespace fs = std::filesystem;
using fixtures::Folder;
using io::TorchFile;
using pare::ErrorCode;
using namespace pickles;
using namespace std::string_literals;

/// A storage behind the pickles of a legacy file.
struct Storage {
  std::string key;
  std::uint64_t elements;
  std::string data;
};

const std::string magic = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."s;

/// A file as torch.save wrote it before it used zip archives.
std::string legacy(const std::string& object, const std::vector<Storage>& storages) {
  std::string keys = "](";
  std::string data;
  for (const Storage& storage : storages) {
    keys += text(storage.key);
    data += little_endian(storage.elements, 8) + storage.data;
  }
  return magic + program(integer(1001)) + program(dict({{"little_endian", boolean(true)}})) + program(object) +
         program(keys + "e") + data;
}

const std::string four_bytes = storage("ByteStorage", "0", 4);

/// A state_dict of one tensor on four bytes.
std::string one(const std::string& value) { return legacy(dict({{"t", value}}), {{"0", 4, "abcd"}}); }

pare::Result<TorchFile> parse(std::string_view content) { return TorchFile::parse(fixtures::bytes(content), "file"); }

std::string fault(const std::string& content) {
  const std::vector<char> exact(content.begin(), content.end());  // a sanitizer sees the first byte behind it
  const auto file = parse({exact.data(), exact.size()});
  if (file) return "";
  EXPECT_TRUE(file.error().message.starts_with("file: ")) << file.error().message;
  return file.error().message;
}

void expect_fault(const std::string& content, std::string_view reason) {
  const std::string found = fault(content);
  EXPECT_NE(found.find(reason), std::string::npos) << "expected: " << reason << "\nfound: " << found;
}

/// "name=bytes " for every tensor, in order.
std::string listing(const std::string& content) {
  const auto file = parse(content);
  if (!file) return file.error().message;
  std::string text;
  for (const io::TensorView& tensor : file->tensors())
    text += tensor.name + "=" + std::string(fixtures::text(tensor.bytes)) + " ";
  return text;
}

void expect_equal(const fs::path& path, const fs::path& expected_path) {
  const auto file = TorchFile::open(path);
  ASSERT_TRUE(file) << file.error().message;
  const auto expected = io::SafetensorsFile::open(expected_path);
  ASSERT_TRUE(expected) << expected.error().message;
  EXPECT_EQ(file->tensors().size(), expected->tensors().size());
  for (const io::TensorView& tensor : expected->tensors()) {
    const io::TensorView* found = file->find(tensor.name);
    ASSERT_NE(found, nullptr) << tensor.name;
    EXPECT_EQ(found->dtype, tensor.dtype) << tensor.name;
    EXPECT_EQ(found->shape, tensor.shape) << tensor.name;
    EXPECT_EQ(fixtures::text(found->bytes), fixtures::text(tensor.bytes)) << tensor.name;
    file->release(found->bytes);
  }
}

TEST(TorchFile, GoldenFiles) {
  const auto golden = [](const char* name) { return fixtures::golden("formats/torch_pt") / name; };
  expect_equal(golden("state_dict.pt"), golden("state_dict_expected.safetensors"));
  expect_equal(golden("state_dict_legacy_tar.pt"), golden("state_dict_expected.safetensors"));
  expect_equal(golden("fake_yolo11.pt"), golden("fake_yolo11_expected.safetensors"));
}

TEST(TorchFile, RealModel) {
  const auto path = fixtures::shared("data/models/yolo11/yolo11n-seg.pt");
  SKIP_WITHOUT(path);
  expect_equal(path, fixtures::shared("data/models/yolo11/yolo11n-seg.safetensors"));
  const auto file = TorchFile::open(path);
  EXPECT_NE(file->metadata().at("names").find("\"0\":\"person\""), std::string::npos);
  EXPECT_EQ(file->tensors().front().name, "model.0.conv.weight");
}

TEST(TorchFile, TensorsStayInTheMapping) {
  const std::string content = fixtures::read(fixtures::golden("formats/torch_pt/fake_yolo11.pt"));
  const auto file = parse(content);
  ASSERT_TRUE(file);
  for (const io::TensorView& tensor : file->tensors()) {
    EXPECT_GE(tensor.bytes.data(), fixtures::bytes(content).data()) << tensor.name;
    EXPECT_LE(tensor.bytes.data() + tensor.bytes.size(), fixtures::bytes(content).data() + content.size());
  }
}

TEST(TorchFile, EveryTruncationIsAnError) {
  for (const char* name : {"state_dict.pt", "state_dict_legacy_tar.pt"}) {
    const std::string content = fixtures::read(fixtures::golden("formats/torch_pt") / name);
    for (std::size_t size = 0; size < content.size(); ++size)
      EXPECT_NE(fault(content.substr(0, size)), "") << name << " " << size;
  }
  const std::string legacy_file = fixtures::read(fixtures::golden("formats/torch_pt/state_dict_legacy_tar.pt"));
  expect_fault(legacy_file + "x", "1 trailing bytes after the last storage");
}

TEST(TorchFile, Views) {
  const auto view = [](std::int64_t offset, const std::string& size, const std::string& stride) {
    return listing(one(tensor(four_bytes, offset, size, stride)));
  };
  EXPECT_EQ(view(0, counts({4}), counts({1})), "t=abcd ");
  EXPECT_EQ(view(2, counts({2}), counts({1})), "t=cd ");
  EXPECT_EQ(view(0, counts({2, 2}), counts({1, 2})), "t=acbd ");
  EXPECT_EQ(view(1, counts({2}), counts({2})), "t=bd ");
  EXPECT_EQ(view(3, counts({3, 2}), counts({0, 0})), "t=dddddd ");
  EXPECT_EQ(view(1, counts({}), counts({})), "t=b ");
  EXPECT_EQ(view(0, counts({1, 4}), counts({77, 1})), "t=abcd ");
  EXPECT_EQ(view(400, counts({0, 9}), counts({9, 1})), "t= ");
  EXPECT_EQ(view(0, call(global("torch", "Size"), tuple({counts({2})})), counts({1})), "t=ab ");
}

TEST(TorchFile, ViewsThatExceedTheirStorage) {
  const auto exceeds = [](std::int64_t offset, const std::string& size, const std::string& stride,
                          std::string_view reason) {
    expect_fault(one(tensor(four_bytes, offset, size, stride)), reason);
  };
  const std::int64_t most = INT64_MAX;
  exceeds(0, counts({5}), counts({1}), "[5] with stride [1] at offset 0 exceeds the 4 elements of storage \"0\"");
  exceeds(4, counts({1}), counts({1}), "exceeds the 4 elements");
  exceeds(4, counts({}), counts({}), "exceeds the 4 elements");
  exceeds(0, counts({2}), counts({4}), "exceeds the 4 elements");
  exceeds(0, counts({3, 3}), counts({most, most}), "exceeds the 4 elements");
  exceeds(most, counts({2, 2}), counts({most, most}), "exceeds the 4 elements");
  exceeds(0, counts({most, most}), counts({0, 0}), "is too large");
  exceeds(0, counts({-1}), counts({1}), "the size is no tuple of at most 64 counts");
  exceeds(0, counts({1}), counts({-1}), "the stride is no tuple of 1 counts");
  exceeds(0, counts({1}), counts({1, 1}), "the stride is no tuple of 1 counts");
  exceeds(-1, counts({1}), counts({1}), "the storage offset is no count");
  exceeds(0, none, counts({1}), "the size is no tuple");
  exceeds(0, counts({most}), counts({0}), "is too large");
  exceeds(0, counts({std::int64_t{1} << 40}), counts({0}), "take too much memory");
  std::string many = "(";
  for (int i = 0; i < 65; ++i) many += integer(1);
  exceeds(0, many + "t", many + "t", "the size is no tuple of at most 64 counts");
}

TEST(TorchFile, KindsOfTensors) {
  const std::string size = counts({2}), stride = counts({1});
  const std::string inner = tensor(four_bytes, 1, size, stride);
  EXPECT_EQ(listing(one(call(global("torch._utils", "_rebuild_parameter"), tuple({inner, boolean(true), dict({})})))),
            "t=bc ");
  const auto from_type = [](const std::string& arguments) {
    return one(call(global("torch._tensor", "_rebuild_from_type_v2"),
                    tuple({global("torch._utils", "_rebuild_tensor_v2"), global("torch", "Tensor"), arguments, none})));
  };
  EXPECT_EQ(listing(from_type(tuple({four_bytes, integer(0), size, stride, boolean(false), dict({})}))), "t=ab ");
  expect_fault(from_type(none), "is no tensor");

  const auto third = [&](const std::string& on, const std::string& dtype, std::int64_t count) {
    return one(call(global("torch._utils", "_rebuild_tensor_v3"),
                    tuple({on, integer(0), counts({count}), stride, boolean(false), dict({}), dtype})));
  };
  const std::string untyped = std::string("(") + text("storage") + global("torch.storage", "UntypedStorage") +
                              text("0") + text("cpu") + integer(4) + "tQ";
  const auto eighth = parse(third(untyped, global("torch", "float8_e4m3fn"), 4));
  ASSERT_TRUE(eighth) << eighth.error().message;
  EXPECT_EQ(eighth->find("t")->dtype, io::DType::f8_e4m3);
  const auto half = parse(third(untyped, global("torch", "uint16"), 2));
  ASSERT_TRUE(half);
  EXPECT_EQ(half->find("t")->dtype, io::DType::u16);
  EXPECT_EQ(half->find("t")->bytes.size(), 4u);
  expect_fault(third(untyped, global("torch", "uint16"), 3), "exceeds the 2 elements");
  expect_fault(third(untyped, global("torch", "quint4x2"), 1), "dtype \"quint4x2\" is not supported");
  expect_fault(third(untyped, none, 1), "is not supported");
  expect_fault(third(storage("HalfStorage", "0", 2), global("torch", "float32"), 1), "does not fit its storage of F16");

  expect_fault(one(call(global("torch._utils", "_rebuild_qtensor"), tuple({four_bytes}))),
               "\"_rebuild_qtensor\" is not supported");
  expect_fault(one(call(global("torch._utils", "_rebuild_tensor_v2"), tuple({four_bytes}))), "too few arguments");
  expect_fault(one(call(global("torch._utils", "_rebuild_tensor_v2"), tuple({none, integer(0), size, stride}))),
               "has no storage");
}

TEST(TorchFile, Storages) {
  const std::string size = counts({1}), stride = counts({1});
  const auto on = [&](const std::string& storage) { return one(tensor(storage, 0, size, stride)); };
  expect_fault(on(storage("QInt8Storage", "0", 4)), "storages of \"QInt8Storage\" are not supported");
  expect_fault(on(storage("ByteStorage", "1", 4)), "storage \"0\" is unknown");
  expect_fault(on(storage("ByteStorage", "0", 5)), "storage \"0\" has 4 elements instead of 5");
  expect_fault(on(storage("FloatStorage", "0", 4)), "storage \"0\" needs 16 bytes, where 4 are left");
  expect_fault(on(storage("ByteStorage", "0", -1)), "the size of storage \"0\" is no count");
  expect_fault(on(storage("DoubleStorage", "0", INT64_MAX)), "the size of storage \"0\" is no count");
  expect_fault(on(tuple({text("storage")}) + "Q"), "is no storage");
  expect_fault(on(tuple({text("module"), none, none, none, none}) + "Q"), "is no storage");
  expect_fault(
      on(std::string("(") + text("storage") + global("os", "system") + text("0") + text("cpu") + integer(4) + "tQ"),
      "is no class of torch");

  const auto viewed = [](std::int64_t offset, std::int64_t count) {
    return storage("ByteStorage", "0", 4, tuple({text("v"), integer(offset), integer(count)}));
  };
  EXPECT_EQ(listing(on(viewed(2, 2))), "t=c ");
  expect_fault(one(tensor(viewed(2, 2), 2, size, stride)), "exceeds the 2 elements");
  expect_fault(on(viewed(2, 3)), "a view of storage \"0\" exceeds its 4 elements");
  expect_fault(on(viewed(INT64_MAX, INT64_MAX)), "a view of storage");

  const std::string good = dict({{"t", tensor(four_bytes, 0, size, stride)}});
  expect_fault(legacy(good, {}), "storage \"0\" is missing");
  expect_fault(legacy(good, {{"0", 4, "abcd"}, {"0", 4, "abcd"}}), "storage \"0\" is there twice");
  expect_fault(legacy(dict({{"t", tensor(four_bytes, 0, size, stride)},
                            {"u", tensor(storage("CharStorage", "0", 4), 0, size, stride)}}),
                      {{"0", 4, "abcd"}}),
               "storage \"0\" is described in two ways");
}

TEST(TorchFile, FindsTheModel) {
  const auto bytes = [](std::int64_t offset) { return tensor(four_bytes, offset, counts({1}), counts({1})); };
  const auto found = [](const std::string& object) { return listing(legacy(object, {{"0", 4, "abcd"}})); };
  EXPECT_EQ(found(dict({{"x", bytes(1)}, {"y", none}, {"z", bytes(0)}})), "x=b z=a ");
  EXPECT_EQ(found(dict({{"epoch", integer(3)}, {"state_dict", dict({{"x", bytes(1)}})}})), "x=b ");
  EXPECT_EQ(found(dict({{"model", dict({{"x", bytes(1)}})}, {"optimizer", dict({{"y", bytes(0)}})}})), "x=b ");

  const std::string a = module({{"w", bytes(0)}}, {}, {});
  const std::string b = module({{"w", bytes(1)}}, {}, {});
  EXPECT_EQ(found(dict({{"model", a}, {"ema", none}})), "w=a ");
  EXPECT_EQ(found(dict({{"model", a}, {"ema", b}})), "w=b ");
  EXPECT_EQ(found(a), "w=a ");
  EXPECT_EQ(
      found(module({{"w", bytes(0)}, {"bias", none}}, {{"kept", bytes(1)}, {"lost", bytes(2)}},
                   {{"0", a}, {"none", none}, {"inner", module({}, {}, {{"x", b}})}},
                   {{"_non_persistent_buffers_set", call(global("builtins", "set"), tuple({list({text("lost")})}))},
                    {"other", bytes(3)}})),
      "w=a kept=b 0.w=a inner.x.w=b ");
  EXPECT_EQ(found(module({}, {{"kept", bytes(1)}, {"lost", bytes(2)}}, {},
                         {{"_non_persistent_buffers_set", std::string("\x8f(") + text("lost") + "\x90"}})),
            "kept=b ");

  for (const std::string& empty :
       {none, dict({}), dict({{"x", integer(1)}}), global("os", "system"), module({}, {}, {})})
    EXPECT_NE(found(empty).find("holds no tensors"), std::string::npos);
}

TEST(TorchFile, ModulesInACircle) {
  const std::string state =
      std::string("}(") + text("_parameters") + dict({}) + text("_modules") + "}(" + text("self") + "h\0uu"s;
  expect_fault(legacy(global("m", "n") + ")\x81q\0"s + state + "b", {}), "nested too deep, or in a circle");

  // Each module holds the one below twice, so that a small file lists very many.
  std::string doubled = module({}, {}, {});
  for (int i = 0; i < 30; ++i) {
    const std::string index(1, static_cast<char>(i));
    doubled += std::string("q") + index + "0" + "cm\nn\n)\x81}(" + text("_parameters") + "}" + text("_modules") + "}(" +
               text("a") + "h" + index + text("b") + "h" + index + "uub";
  }
  expect_fault(legacy(doubled, {}), "nested too deep, or in a circle");
}

TEST(TorchFile, LegacyHeader) {
  const std::string tail = program(dict({})) + program("]");
  expect_fault("", "is no PyTorch file");
  expect_fault("PK", "is no PyTorch file");
  expect_fault(magic, "pickle at byte 0: ends without a STOP");
  expect_fault(magic + program(integer(1002)) + program(dict({})) + tail, "its protocol is not 1001");
  expect_fault(magic + program(integer(1001)) + program(dict({{"little_endian", boolean(false)}})) + tail,
               "was saved on a big-endian machine");
  expect_fault(magic + program(integer(1001)) + program(dict({})) +
                   program(dict({{"t", tensor(four_bytes, 0, counts({1}), counts({1}))}})) + program(none),
               "the keys of the storages are no list");
}

/// An archive with these entries, the named one compressed.
std::string archive(const fs::path& path, const std::vector<std::pair<std::string, std::string>>& entries,
                    std::string_view compressed = "") {
  fs::remove(path);
  zip_t* zip = zip_open(path.c_str(), ZIP_CREATE, nullptr);
  for (const auto& [name, content] : entries) {
    zip_source_t* source = zip_source_buffer(zip, content.data(), content.size(), 0);
    const auto index = static_cast<zip_uint64_t>(zip_file_add(zip, name.c_str(), source, ZIP_FL_ENC_UTF_8));
    zip_set_file_compression(zip, index, name == compressed ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0);
  }
  EXPECT_EQ(zip_close(zip), 0);
  return fixtures::read(path);
}

TEST(TorchFile, Archives) {
  const Folder folder;
  const std::string content(100, 'x');
  const std::string object =
      program(dict({{"t", tensor(storage("ByteStorage", "0", 100), 1, counts({3}), counts({1}))}}));
  const auto file = [&](std::vector<std::pair<std::string, std::string>> entries, std::string_view compressed = "") {
    return archive(folder / "a", entries, compressed);
  };
  EXPECT_EQ(listing(file({{"m/data.pkl", object}, {"m/data/0", content}})), "t=xxx ");
  EXPECT_EQ(listing(file({{"m/data.pkl", object}, {"m/data/0", content}}, "m/data/0")), "t=xxx ");
  EXPECT_EQ(listing(file({{"m/data.pkl", object}, {"m/data/0", content}}, "m/data.pkl")), "t=xxx ");
  EXPECT_EQ(listing(file({{"m/data.pkl", object}, {"m/data/0", content}, {"m/byteorder", "little"}})), "t=xxx ");
  expect_fault(file({{"m/data.pkl", object}, {"m/data/0", content}, {"m/byteorder", "big"}}), "big-endian");
  expect_fault(file({{"m/data.pkl", object}, {"m/data/0", content}, {"m/byteorder", "odd"}}), "byteorder is \"odd\"");
  expect_fault(file({{"m/data.pkl", object}, {"m/data/0", "xxxx"}}), "storage \"0\" has 4 bytes instead of 100");
  expect_fault(file({{"m/data.pkl", object}}), "has no entry \"m/data/0\"");
  expect_fault(file({{"m/other", object}}), "the zip archive has no entry data.pkl in its folder");

  std::string broken = file({{"m/data.pkl", object}, {"m/data/0", content}});
  broken[broken.find("storage")] = 'S';
  expect_fault(broken, "entry \"m/data.pkl\": CRC error");
}

}  // namespace
