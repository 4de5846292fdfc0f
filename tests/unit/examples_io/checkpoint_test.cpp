#include "io/checkpoint.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "fixtures.hpp"

namespace {
namespace fs = std::filesystem;
using fixtures::Folder;
using io::Checkpoint;
using pare::ErrorCode;

/// Writes a file of one-byte tensors with these names, each holding its name's first letter.
void write_file(const fs::path& path, const std::vector<std::string>& names) {
  std::vector<io::TensorInfo> tensors;
  for (const std::string& name : names) tensors.push_back({name, io::DType::u8, {1}});
  auto writer = io::SafetensorsWriter::create(path, tensors);
  ASSERT_TRUE(writer);
  for (const io::TensorInfo& tensor : writer->tensors())
    ASSERT_TRUE(writer->write(tensor.name, fixtures::bytes(std::string_view(tensor.name).substr(0, 1))));
  ASSERT_TRUE(writer->finish());
}

/// A folder with shards 1 (a, b) and 2 (c), and an index with this text as its weight_map.
struct Sharded {
  explicit Sharded(std::string_view weight_map) {
    write_file(folder / "1.safetensors", {"b", "a"});
    write_file(folder / "2.safetensors", {"c"});
    fixtures::write(folder / "model.safetensors.index.json",
                    R"({"metadata":{"total_size":3},"weight_map":)" + std::string(weight_map) + "}");
  }
  std::string fault() const {
    const auto result = Checkpoint::open(folder.path());
    return result ? "" : result.error().message;
  }
  Folder folder;
};

constexpr const char* right_map = R"({"c":"2.safetensors","a":"1.safetensors","b":"1.safetensors"})";

TEST(Checkpoint, OpensAFileOrItsFolder) {
  const Folder folder;
  write_file(folder / "model.safetensors", {"y", "x"});
  for (const fs::path& path : {folder.path(), folder / "model.safetensors"}) {
    const auto checkpoint = Checkpoint::open(path);
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    EXPECT_EQ(checkpoint->name(), (folder / "model.safetensors").string());
    ASSERT_EQ(checkpoint->tensors().size(), 2u);
    EXPECT_EQ(fixtures::text(checkpoint->find("y")->bytes), "y");
  }
}

TEST(Checkpoint, JoinsShards) {
  const Sharded model(right_map);
  for (const fs::path& path : {model.folder.path(), model.folder / "model.safetensors.index.json"}) {
    auto opened = Checkpoint::open(path);
    ASSERT_TRUE(opened) << opened.error().message;
    const Checkpoint checkpoint = *std::move(opened);
    std::string names;
    for (const io::TensorView* tensor : checkpoint.tensors()) names += tensor->name;
    EXPECT_EQ(names, "abc");
    EXPECT_EQ(checkpoint.files().size(), 2u);
    for (const char* name : {"a", "b", "c"}) {
      ASSERT_NE(checkpoint.find(name), nullptr);
      EXPECT_EQ(fixtures::text(checkpoint.find(name)->bytes), name);
      checkpoint.release(checkpoint.find(name)->bytes);
      EXPECT_EQ(*checkpoint.require(name), checkpoint.find(name));
    }
    EXPECT_EQ(checkpoint.find("d"), nullptr);
    const auto missing = checkpoint.require("d");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().message, checkpoint.name() + R"(: has no tensor "d")");
  }
}

TEST(Checkpoint, IndexAndShardsMustAgree) {
  EXPECT_EQ(Sharded(right_map).fault(), "");
  const auto says = [](const char* map, const char* reason) {
    const std::string fault = Sharded(map).fault();
    EXPECT_NE(fault.find(reason), std::string::npos) << map << ": " << fault;
    EXPECT_NE(fault.find("model.safetensors.index.json"), std::string::npos) << fault;
  };
  says(R"({"c":"2.safetensors","a":"1.safetensors"})", R"(tensor "b" is in 1.safetensors against the index)");
  says(R"({"c":"2.safetensors","a":"1.safetensors","b":"2.safetensors"})", R"(tensor "b" is)");
  says(R"({"c":"2.safetensors","a":"1.safetensors","b":"1.safetensors","d":"1.safetensors"})",
       R"(tensor "d" is not in 1.safetensors)");
  says(R"({"a":"1.safetensors","a":"1.safetensors"})", "duplicate key");
  says(R"({"a":1})", R"(file of tensor "a" is no text)");
  says(R"(["a"])", "has no weight_map");
}

TEST(Checkpoint, ShardsStayInsideTheFolder) {
  for (const char* name : {"/etc/passwd", "../1.safetensors", "x/../../1.safetensors", "", "x/", ".."}) {
    const Sharded model(R"({"a":")" + std::string(name) + R"("})");
    EXPECT_NE(model.fault().find("is not inside the folder"), std::string::npos) << name << ": " << model.fault();
  }
  const Sharded nul(R"({"a":"1.safetensors\u0000"})");
  EXPECT_NE(nul.fault().find("is not inside the folder"), std::string::npos) << nul.fault();
}

TEST(Checkpoint, SaysWhatIsMissing) {
  const Sharded model(R"({"a":"3.safetensors"})");
  EXPECT_NE(model.fault().find("3.safetensors: cannot open: No such file"), std::string::npos) << model.fault();
  const Folder empty;
  const auto nothing = Checkpoint::open(empty.path());
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, ErrorCode::io);
  EXPECT_NE(nothing.error().message.find("holds neither model.safetensors nor"), std::string::npos);
  const auto absent = Checkpoint::open(empty / "none");
  ASSERT_FALSE(absent);
  EXPECT_NE(absent.error().message.find("No such file"), std::string::npos);
}

TEST(Checkpoint, ABrokenShardIsNamed) {
  const Sharded model(right_map);
  fs::resize_file(model.folder / "2.safetensors", fs::file_size(model.folder / "2.safetensors") - 1);
  EXPECT_NE(model.fault().find("2.safetensors: tensor \"c\": data_offsets [0, 1) exceed"), std::string::npos)
      << model.fault();
}

TEST(Checkpoint, OpensAModelOfFiveShards) {
  const auto path = fixtures::shared("golden/models/hf_tiny/llama_sharded");
  SKIP_WITHOUT(path);
  const auto checkpoint = Checkpoint::open(path);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->files().size(), 5u);
  std::size_t bytes = 0;
  for (const io::TensorView* tensor : checkpoint->tensors()) {
    bytes += tensor->bytes.size();
    EXPECT_EQ(checkpoint->find(tensor->name), tensor);
  }
  EXPECT_EQ(bytes, 780'032u);
  ASSERT_NE(checkpoint->find("lm_head.weight"), nullptr);
}

TEST(Checkpoint, OpensOtherContainers) {
  const fs::path formats = fixtures::golden("formats");
  const auto twin = Checkpoint::open(formats / "torch_pt/state_dict_expected.safetensors");
  ASSERT_TRUE(twin);
  const Folder folder;
  fs::copy(formats / "torch_pt/state_dict.pt", folder / "pytorch_model.bin");
  fs::copy(formats / "torch_pt/state_dict_legacy_tar.pt", folder / "weights.ckpt");
  for (const fs::path& path : {formats / "torch_pt/state_dict.pt", folder.path(), folder / "weights.ckpt"}) {
    const auto checkpoint = Checkpoint::open(path);
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    ASSERT_EQ(checkpoint->tensors().size(), twin->tensors().size());
    for (const io::TensorView* tensor : twin->tensors())
      EXPECT_EQ(fixtures::text((*checkpoint->require(tensor->name))->bytes), fixtures::text(tensor->bytes));
    EXPECT_EQ(checkpoint->files().front().bytes, fs::file_size(checkpoint->name()));
  }
  const auto cache = Checkpoint::open(formats / "mlc/cache");
  ASSERT_TRUE(cache) << cache.error().message;
  EXPECT_EQ(cache->name(), (formats / "mlc/cache/tensor-cache.json").string());
  EXPECT_EQ(cache->tensors().size(), 3u);
  EXPECT_EQ(cache->files().front().bytes, fs::file_size(cache->name()) + 56);
}

TEST(Checkpoint, ListsBlocksOfGguf) {
  auto opened = Checkpoint::open(fixtures::golden("formats/gguf/sample_v3.gguf"));
  ASSERT_TRUE(opened) << opened.error().message;
  const Checkpoint checkpoint = *std::move(opened);
  const io::TensorView* plain = checkpoint.find("norm.weight");
  ASSERT_NE(plain, nullptr);
  EXPECT_EQ(plain->dtype, io::DType::f32);
  EXPECT_EQ(checkpoint.find_blocks("norm.weight"), nullptr);
  const io::TensorView* rows = checkpoint.find("e.mxfp4");
  ASSERT_NE(rows, nullptr);
  EXPECT_EQ(rows->dtype, io::DType::u8);
  EXPECT_EQ(rows->shape, (io::Extents{2, 3, 17}));
  ASSERT_NE(checkpoint.find_blocks("e.mxfp4"), nullptr);
  EXPECT_EQ(checkpoint.find_blocks("e.mxfp4")->shape, (io::Extents{2, 3, 32}));
  EXPECT_EQ(checkpoint.find_blocks("absent"), nullptr);
  for (const io::TensorView* tensor : checkpoint.tensors())
    EXPECT_EQ(io::byte_count(tensor->dtype, tensor->shape), tensor->bytes.size()) << tensor->name;
  EXPECT_EQ(checkpoint.files().front().metadata.at("general.architecture"), "llama");
}

TEST(Checkpoint, AnIndexMayListShardsOfPyTorch) {
  const Folder folder;
  fs::copy(fixtures::golden("formats/torch_pt/fake_yolo11.pt"), folder / "pytorch_model-00001-of-00001.bin");
  const auto file = Checkpoint::open(folder / "pytorch_model-00001-of-00001.bin");
  ASSERT_TRUE(file) << file.error().message;
  std::string map;
  for (const io::TensorView* tensor : file->tensors())
    map += (map.empty() ? "\"" : ",\"") + tensor->name + R"(":"pytorch_model-00001-of-00001.bin")";
  fixtures::write(folder / "pytorch_model.bin.index.json", R"({"weight_map":{)" + map + "}}");
  const auto whole = Checkpoint::open(folder.path());
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_EQ(whole->tensors().size(), file->tensors().size());
}

}  // namespace
