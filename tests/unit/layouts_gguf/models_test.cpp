// Whole models that llama-quantize wrote: every tensor decodes to the floats that gguf-py gives (by their hashes), and
// the rule-based encoders write its bytes again from the file of full precision.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "io/gguf.hpp"
#include "io/json.hpp"
#include "pare/layouts/gguf/gguf.hpp"
#include "sha256.hpp"

namespace {
namespace fs = std::filesystem;
namespace gguf = pare::gguf;

std::span<const std::uint8_t> bytes_of(const io::GgufTensor& tensor) {
  return {reinterpret_cast<const std::uint8_t*>(tensor.bytes.data()), tensor.bytes.size()};
}
std::span<const std::uint8_t> bytes_of(const std::vector<float>& values) {
  return {reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * sizeof(float)};
}

/// The values of a tensor; nothing for types that are neither blocks, F32 nor F16.
std::optional<std::vector<float>> values_of(const io::GgufTensor& tensor) {
  std::size_t count = 1;
  for (const std::size_t extent : tensor.shape) count *= extent;
  std::vector<float> values(count);
  const auto bytes = bytes_of(tensor);
  if (const auto* block = gguf::find_block_type(static_cast<std::uint32_t>(tensor.type))) {
    const auto done = gguf::dequantize(block->type, bytes, values);
    EXPECT_TRUE(done) << (done ? "" : done.error().message);
  } else if (tensor.type == io::GgmlType::f32) {
    std::memcpy(values.data(), bytes.data(), bytes.size());
  } else if (tensor.type == io::GgmlType::f16) {
    for (std::size_t i = 0; i < count; ++i)
      values[i] = pare::F16::decode(static_cast<std::uint32_t>(pare::load_le(&bytes[2 * i], 2)));
  } else {
    return std::nullopt;
  }
  return values;
}

bool by_rule(gguf::BlockType type) {
  bool result = false;
  gguf::detail::with_block_type(type, [&]<gguf::BlockType T>() { result = gguf::encoded_by_rule<T>; });
  return result;
}

class GgufModels : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(PARE_SHARED_DIR) / "golden/models";
    if (std::string(PARE_SHARED_DIR).empty() || !fs::exists(folder_ / "results.json"))
      GTEST_SKIP() << "the models are not part of a clone";
    std::ifstream stream(folder_ / "results.json");
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    auto results = io::parse_json(text, "results.json");
    ASSERT_TRUE(results) << results.error().message;
    results_ = *std::move(results);
  }

  /// Checks every packaged file of a folder against its hashes and against the bytes of its source.
  void check(const std::string& family, const std::string& source_name, bool values_have_hashes) {
    auto source = io::GgufFile::open(folder_ / family / source_name);
    ASSERT_TRUE(source) << source.error().message;
    std::size_t hashed = 0, encoded = 0;
    for (const auto& [name, entry] : results_[family].items()) {
      if (!entry["packaged"].get<bool>() || name == source_name) continue;
      SCOPED_TRACE(name);
      auto file = io::GgufFile::open(folder_ / family / name);
      ASSERT_TRUE(file) << file.error().message;
      for (const io::GgufTensor& tensor : file->tensors()) {
        SCOPED_TRACE(tensor.name);
        const auto values = values_of(tensor);
        ASSERT_TRUE(values);
        if (values_have_hashes) {
          const auto& expected = entry["tensors"][tensor.name];
          EXPECT_EQ(short_sha256(bytes_of(tensor)), expected["data_sha"].get<std::string>());
          // gguf-py, which made the hashes, has no decoder for some of the types.
          if (const auto decoded = expected["dequant_f32_sha"].get<std::string>(); decoded.size() == 16) {
            EXPECT_EQ(short_sha256(bytes_of(*values)), decoded);
            ++hashed;
          }
        } else {
          for (const auto& expected : entry["tensors"])
            if (expected[0] == tensor.name) {
              EXPECT_EQ(short_sha256(bytes_of(tensor)), expected[3].get<std::string>());
              ++hashed;
            }
        }
        const auto* block = gguf::find_block_type(static_cast<std::uint32_t>(tensor.type));
        if (block == nullptr) continue;
        types_.insert(block->name);
        const io::GgufTensor* original = source->find(tensor.name);
        ASSERT_NE(original, nullptr);
        const auto weights = values_of(*original);
        ASSERT_TRUE(weights);
        const std::size_t cols = tensor.shape.back();
        std::vector<std::uint8_t> packed(tensor.bytes.size());
        const auto done = gguf::quantize(
            block->type, pare::MatrixView<const float>(weights->data(), weights->size() / cols, cols), packed);
        ASSERT_TRUE(done) << done.error().message;
        if (by_rule(block->type)) {
          EXPECT_TRUE(std::equal(packed.begin(), packed.end(), bytes_of(tensor).begin()));
          ++encoded;
        } else {
          std::vector<float> ours(weights->size());
          ASSERT_TRUE(gguf::dequantize(block->type, packed, ours));
          double our_error = 0.0, their_error = 0.0;
          for (std::size_t i = 0; i < ours.size(); ++i) {
            const double x = (*weights)[i], a = x - ours[i], b = x - (*values)[i];
            our_error += a * a;
            their_error += b * b;
          }
          EXPECT_LT(our_error, their_error);
        }
      }
    }
    EXPECT_GT(hashed, 0u);
    EXPECT_GT(encoded, 0u);
  }

  fs::path folder_;
  nlohmann::json results_;
  std::set<std::string_view> types_;
};

TEST_F(GgufModels, TinyStories) {
  check("gguf", "tinystories-656k-f32.gguf", false);
  EXPECT_EQ(types_, (std::set<std::string_view>{"iq4_nl", "mxfp4", "q4_0", "q4_1", "q5_0", "q8_0"}));
}

TEST_F(GgufModels, RowsOf256) {
  check("gguf_k256", "k256-f16.gguf", true);
  for (const std::string_view type :
       {"q2_K", "q3_K", "q4_K", "q5_K", "q6_K", "iq4_xs", "mxfp4", "nvfp4", "q1_0", "q2_0", "tq1_0", "tq2_0"})
    EXPECT_TRUE(types_.contains(type)) << type;
}

}  // namespace
