#include "io/llama2c.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "fixtures.hpp"
#include "io/safetensors.hpp"

namespace {
namespace fs = std::filesystem;
using fixtures::Folder;
using io::Llama2cConfig;
using io::Llama2cFile;
using pare::ErrorCode;

/// The golden file of that name, from the repository or from the reference data.
fs::path golden(const std::string& name) {
  const auto inside = fixtures::golden("formats/llama2c/" + name);
  return fs::exists(inside) ? inside : fixtures::shared("golden/formats/llama2c/" + name);
}

std::string fault(std::string_view file) {
  const auto result = Llama2cFile::parse(fixtures::bytes(file), "file");
  return result ? "" : result.error().message;
}

void put(std::string& file, std::size_t offset, std::int32_t value) { std::memcpy(file.data() + offset, &value, 4); }

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

struct Case {
  const char* file;
  int version;
  bool shared;
};

class Llama2c : public testing::TestWithParam<Case> {};

TEST_P(Llama2c, TensorsAreTheModels) {
  const auto path = golden(std::string(GetParam().file) + ".bin");
  const auto expected_path =
      golden(GetParam().shared ? "expected_shared.safetensors" : "expected_unshared.safetensors");
  SKIP_WITHOUT(path);
  SKIP_WITHOUT(expected_path);
  const auto file = Llama2cFile::open(path);
  ASSERT_TRUE(file) << file.error().message;
  const auto expected = io::SafetensorsFile::open(expected_path);
  ASSERT_TRUE(expected) << expected.error().message;

  const Llama2cConfig& config = file->config();
  EXPECT_EQ(config.version, GetParam().version);
  EXPECT_EQ(config.shared_classifier, GetParam().shared);
  EXPECT_EQ(config.dim, 32u);
  EXPECT_EQ(config.hidden_dim, 64u);
  EXPECT_EQ(config.layers, 2u);
  EXPECT_EQ(config.heads, 4u);
  EXPECT_EQ(config.kv_heads, 2u);
  EXPECT_EQ(config.vocab_size, 48u);
  EXPECT_EQ(config.seq_len, 16u);
  EXPECT_EQ(config.group_size, config.version == 2 ? 32u : 0u);

  std::size_t found = 0;
  for (const io::TensorView& tensor : expected->tensors()) {
    const bool rotation = tensor.name.starts_with("freqs_");
    const io::Llama2cTensor* read = file->find(tensor.name);
    if (tensor.name.ends_with("attention.mask") || (rotation && config.version != 0)) {
      EXPECT_EQ(read, nullptr) << tensor.name;
      continue;
    }
    ++found;
    ASSERT_NE(read, nullptr) << tensor.name;
    EXPECT_EQ(read->shape, tensor.shape) << tensor.name;
    const auto values = io::to_floats(*read);
    const auto original = fixtures::floats(tensor.bytes);
    if (read->dtype == io::DType::f32) {
      EXPECT_TRUE(same_bits(values, original)) << tensor.name;
      continue;
    }
    // The exporter: scale = max |w| / 127 of each group, code = nearest even of w / scale, all in float.
    ASSERT_EQ(read->dtype, io::DType::i8);
    const auto scales = fixtures::floats(read->scales);
    ASSERT_EQ(scales.size() * 32, original.size());
    for (std::size_t i = 0; i < original.size(); ++i) {
      const std::size_t group = i / 32;
      float largest = 0;
      for (std::size_t k = group * 32; k < group * 32 + 32; ++k) largest = std::max(largest, std::abs(original[k]));
      ASSERT_EQ(scales[group], largest / 127.0f) << tensor.name;
      const float code = std::nearbyint(original[i] / scales[group]);
      ASSERT_EQ(static_cast<float>(static_cast<std::int8_t>(read->bytes[i])), code) << tensor.name << " " << i;
      ASSERT_EQ(values[i], code * scales[group]) << tensor.name << " " << i;
      ASSERT_LE(std::abs(values[i] - original[i]), largest / 254 * (1 + 1e-5f)) << tensor.name << " " << i;
    }
  }
  EXPECT_EQ(found, file->tensors().size());
}

TEST_P(Llama2c, RejectsEveryOtherLength) {
  const auto path = golden(std::string(GetParam().file) + ".bin");
  SKIP_WITHOUT(path);
  const std::string content = fixtures::read(path);
  ASSERT_EQ(fault(content), "");
  for (std::size_t size = 0; size < 400; ++size) {
    const std::vector<char> exact(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_NE(fault({exact.data(), exact.size()}), "") << size;
  }
  for (std::size_t size = 400; size < content.size(); ++size)
    EXPECT_NE(fault(std::string_view(content).substr(0, size)), "") << size;
  EXPECT_NE(fault(content + "x").find("the file has"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Golden, Llama2c,
                         testing::Values(Case{"v0_shared", 0, true}, Case{"v0_unshared", 0, false},
                                         Case{"v1_shared", 1, true}, Case{"v1_unshared", 1, false},
                                         Case{"v2_shared", 2, true}, Case{"v2_unshared", 2, false}),
                         [](const auto& parameter) { return std::string(parameter.param.file); });

TEST(Llama2cFile, RejectsHostileHeaders) {
  const std::string legacy = fixtures::read(golden("v0_shared.bin"));
  const std::string int8 = fixtures::read(golden("v2_shared.bin"));
  const std::int32_t least = std::numeric_limits<std::int32_t>::min();
  const std::int32_t most = std::numeric_limits<std::int32_t>::max();
  for (std::size_t field = 0; field < 7; ++field) {
    for (const std::int32_t value : {0, -1, least, most, 1 << 30, 3}) {
      std::string file = legacy;
      put(file, field * 4, value);
      EXPECT_NE(fault(file), "") << field << " " << value;
      file = int8;
      put(file, 8 + field * 4, value);
      // Nothing in version 2 depends on the sequence length.
      if (field != 6 || value <= 0) {
        EXPECT_NE(fault(file), "") << field << " " << value;
      }
    }
  }
  std::string huge = legacy;
  for (std::size_t field = 0; field < 7; ++field) put(huge, field * 4, field == 3 || field == 4 ? 1 : most);
  EXPECT_NE(fault(huge).find("too many"), std::string::npos) << fault(huge);

  for (const std::int32_t group : {0, -1, least, most, 3, 64}) {
    std::string file = int8;
    put(file, 37, group);
    EXPECT_NE(fault(file).find("group size"), std::string::npos) << group;
  }
  std::string file = int8;
  put(file, 4, 3);
  EXPECT_EQ(Llama2cFile::parse(fixtures::bytes(file), "file").error().code, ErrorCode::unsupported);
  file = int8;
  file[36] = 2;
  EXPECT_NE(fault(file).find("flag"), std::string::npos);
}

TEST(Llama2cFile, ZeroGroupsDecodeToZero) {
  std::string file = fixtures::read(golden("v2_shared.bin"));
  const std::size_t norms = (2 + 2 + 1) * 32 * 4;
  const std::size_t codes = 48 * 32;
  put(file, 256 + norms + codes, 0);
  const auto read = Llama2cFile::parse(fixtures::bytes(file), "file");
  ASSERT_TRUE(read);
  const auto values = io::to_floats(*read->find("tok_embeddings.weight"));
  EXPECT_TRUE(std::all_of(values.begin(), values.begin() + 32, [](float x) { return x == 0; }));
  EXPECT_NE(values[32], 0);
}

TEST(Llama2cFile, ReadsFromAnyAddress) {
  const std::string content = fixtures::read(golden("v0_shared.bin"));
  const std::string shifted = "x" + content;
  const auto a = Llama2cFile::parse(fixtures::bytes(content), "a");
  const auto b = Llama2cFile::parse(fixtures::bytes(shifted).subspan(1), "b");
  ASSERT_TRUE(a && b);
  EXPECT_TRUE(same_bits(io::to_floats(*a->find("norm.weight")), io::to_floats(*b->find("norm.weight"))));
}

TEST(Llama2cFile, ReadsStories260K) {
  const auto path = fixtures::shared("data/models/llama/stories260K/stories260K.bin");
  SKIP_WITHOUT(path);
  const auto file = Llama2cFile::open(path);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->config().dim, 64u);
}

TEST(WriteLlama2c, RewritesALegacyFileByteForByte) {
  const Folder folder;
  for (const char* name : {"v0_shared.bin", "v0_unshared.bin"}) {
    const auto path = golden(name);
    SKIP_WITHOUT(path);
    const auto file = Llama2cFile::open(path);
    ASSERT_TRUE(file);
    const auto source = [&](std::string_view tensor) -> pare::Result<std::vector<float>> {
      return io::to_floats(*file->find(tensor));
    };
    const auto done = io::write_llama2c_v0(folder / name, file->config(), source);
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_TRUE(fixtures::read(folder / name) == fixtures::read(path)) << name;
  }
}

TEST(WriteLlama2c, RefusesWhatDoesNotFit) {
  const Folder folder;
  const Llama2cConfig config{
      .dim = 4, .hidden_dim = 8, .layers = 1, .heads = 2, .kv_heads = 1, .vocab_size = 3, .seq_len = 5};
  const auto one = [](std::string_view) -> pare::Result<std::vector<float>> { return std::vector<float>(1); };
  const auto none = [](std::string_view name) -> pare::Result<std::vector<float>> {
    return pare::Error{ErrorCode::corrupt_data, std::string(name)};
  };
  const auto wrong = io::write_llama2c_v0(folder / "out", config, one);
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("tok_embeddings.weight has 1 values instead of 12"), std::string::npos);
  const auto failed = io::write_llama2c_v0(folder / "out", config, none);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "tok_embeddings.weight");
  Llama2cConfig odd = config;
  odd.heads = 3;
  EXPECT_FALSE(io::write_llama2c_v0(folder / "out", odd, one));
  odd = config;
  odd.vocab_size = std::size_t{1} << 31;
  EXPECT_FALSE(io::write_llama2c_v0(folder / "out", odd, one));
  EXPECT_EQ(folder.entries(), 0u);
}

}  // namespace
