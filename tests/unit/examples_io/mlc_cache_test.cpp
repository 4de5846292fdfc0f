#include "io/mlc_cache.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "fixtures.hpp"
#include "io/safetensors.hpp"

namespace {
namespace fs = std::filesystem;
using fixtures::Folder;
using io::MlcCache;
using nlohmann::json;
using pare::ErrorCode;

const fs::path golden = fixtures::golden("formats/mlc");

json sample() { return json::parse(fixtures::read(golden / "cache/tensor-cache.json")); }

/// What is wrong with this list beside the golden shard.
std::string fault(const json& list) {
  const std::string shard = fixtures::read(golden / "cache/params_shard_0.bin");
  const auto source = [&](const std::string&) -> pare::Result<std::span<const std::byte>> {
    return fixtures::bytes(shard);
  };
  const auto cache = MlcCache::parse(list.dump(), "file", source);
  if (cache) return "";
  EXPECT_TRUE(cache.error().message.starts_with("file: ")) << cache.error().message;
  return cache.error().message;
}

/// Puts `value` in place of what `pointer` points to, or removes that; then the fault must give the reason.
void spoil(const char* pointer, const json& value, std::string_view reason) {
  json list = sample();
  if (value.is_discarded()) {
    const json::json_pointer at(pointer);
    list.at(at.parent_pointer()).erase(at.back());
  } else {
    list.at(json::json_pointer(pointer)) = value;
  }
  EXPECT_NE(fault(list).find(reason), std::string::npos) << "expected: " << reason << "\nfound: " << fault(list);
}
const json removed(json::value_t::discarded);

TEST(MlcCache, GoldenCache) {
  for (const std::string_view name : MlcCache::file_names) {
    const auto cache = MlcCache::open(golden / "cache" / name);
    ASSERT_TRUE(cache) << cache.error().message;
    const auto expected = io::SafetensorsFile::open(golden / "cache_expected.safetensors");
    ASSERT_TRUE(expected);
    ASSERT_EQ(cache->tensors().size(), 3u);
    for (const auto& [tensor, as] : {std::pair{"l.q_weight", "l.q_weight"}, std::pair{"l.q_scale", "l.q_scale"},
                                     std::pair{"norm.weight", "norm_loaded_f32"}}) {
      ASSERT_NE(cache->find(tensor), nullptr);
      EXPECT_EQ(cache->find(tensor)->dtype, expected->find(as)->dtype);
      EXPECT_EQ(cache->find(tensor)->shape, expected->find(as)->shape);
      EXPECT_EQ(fixtures::text(cache->find(tensor)->bytes), fixtures::text(expected->find(as)->bytes));
      cache->release(cache->find(tensor)->bytes);
    }
    EXPECT_EQ(cache->metadata().at("ParamSize"), "3");
    EXPECT_EQ(cache->shard_bytes(), fs::file_size(golden / "cache/params_shard_0.bin"));
  }
}

TEST(MlcCache, Faults) {
  EXPECT_EQ(fault(sample()), "");
  spoil("/records", 1, "has no list of records");
  spoil("/records/0/dataPath", removed, "a shard has no dataPath");
  spoil("/records/0/dataPath", "../x", "dataPath is not inside the folder");
  spoil("/records/0/dataPath", "/etc/passwd", "dataPath is not inside the folder");
  spoil("/records/0/format", "gzip", R"(shard "params_shard_0.bin": unknown format "gzip")");
  spoil("/records/0/format", removed, "has no format");
  spoil("/records/0/nbytes", -1, "nbytes is no count");
  spoil("/records/0/nbytes", 55, "has 56 bytes where nbytes is 55");
  spoil("/records/0/records", removed, "has no list of records");
  spoil("/records/0/records/0", 1, "a record has no name");
  spoil("/records/0/records/0/name", removed, "a record has no name");
  spoil("/records/0/records/0/dtype", removed, R"(record "l.q_weight": has no dtype)");
  spoil("/records/0/records/0/dtype", "handle", "unknown dtype \"handle\"");
  spoil("/records/0/records/0/format", removed, "has no format");
  spoil("/records/0/records/0/format", "f32-to-f8", "unknown format \"f32-to-f8\"");
  spoil("/records/0/records/0/shape", removed, "has no shape");
  spoil("/records/0/records/0/shape", json::array({-2, 4}), "shape is not a list of non-negative integers");
  spoil("/records/0/records/0/shape", json::array({2.0, 4}), "shape is not a list of non-negative integers");
  spoil("/records/0/records/0/shape", json::array({1ull << 62, 1ull << 62}), "is too large");
  spoil("/records/0/records/0/shape", json::array({3, 4}), "nbytes 32 does not match shape [3, 4] of uint32");
  spoil("/records/0/records/2/format", "raw", "nbytes 16 does not match shape [2, 4] of float32 in format raw");
  spoil("/records/0/records/0/nbytes", "32", "nbytes is no count");
  spoil("/records/0/records/0/byteOffset", removed, "byteOffset is no count");
  spoil("/records/0/records/1/byteOffset", 31, R"(record "l.q_scale": byteOffset 31 overlaps)");
  spoil("/records/0/records/2/byteOffset", 41, "16 bytes at byteOffset 41 exceed the 56 bytes of the shard");
  spoil("/records/0/records/2/byteOffset", ~std::uint64_t{0}, "exceed the 56 bytes of the shard");
  spoil("/records/0/records/1/name", "l.q_weight", R"(record "l.q_weight": its name is taken)");

  json twice = sample();
  twice["records"].push_back(twice["records"][0]);
  EXPECT_NE(fault(twice).find("dataPath is there twice"), std::string::npos);
}

TEST(MlcCache, EveryTruncationIsAnError) {
  const std::string list = fixtures::read(golden / "cache/tensor-cache.json");
  const auto none = [](const std::string&) -> pare::Result<std::span<const std::byte>> {
    return std::span<const std::byte>{};
  };
  for (std::size_t size = 0; size < list.find_last_of('}'); ++size)
    EXPECT_FALSE(MlcCache::parse(std::string_view(list).substr(0, size), "file", none)) << size;
}

TEST(MlcCache, AMissingShardIsNamed) {
  const Folder folder;
  fs::copy(golden / "cache/tensor-cache.json", folder / "tensor-cache.json");
  const auto cache = MlcCache::open(folder / "tensor-cache.json");
  ASSERT_FALSE(cache);
  EXPECT_EQ(cache.error().code, ErrorCode::io);
  EXPECT_NE(cache.error().message.find("params_shard_0.bin: cannot open"), std::string::npos);
}

}  // namespace
