#include "io/gguf.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "io/thread_pool.hpp"
#include "llama/gguf_export.hpp"
#include "llama/gguf_metadata.hpp"
#include "llama/gguf_names.hpp"
#include "llama/model.hpp"
#include "llama/perplexity.hpp"
#include "llama/tokenizer_files.hpp"
#include "tiny_model.hpp"

namespace {
namespace fs = std::filesystem;
using io::GgmlType;
using llama::WeightFiles;

constexpr auto no_progress = [](std::uint64_t, std::uint64_t) {};

pare::Result<llama::GgufModel> export_model(const fs::path& from, const fs::path& to, GgmlType type) {
  io::ThreadPool threads(2);
  const auto files = WeightFiles::open(from);
  if (!files) return files.error();
  const auto config = files->config();
  if (!config) return config.error();
  const auto tokenizer = llama::load_tokenizer(*files, *config);
  if (!tokenizer) return tokenizer.error();
  return llama::write_gguf(*files, *tokenizer, to, {type}, io::Overwrite::no, threads, no_progress);
}

class GgufExport : public testing::Test {
 protected:
  void SetUp() override { tiny::write_model(folder_ / "model"); }

  fixtures::Folder folder_;
};

TEST_F(GgufExport, IsTheSameModelWhenReadBack) {
  const auto written = export_model(folder_ / "model", folder_ / "out.gguf", GgmlType::f32);
  ASSERT_TRUE(written) << written.error().message;
  EXPECT_TRUE(written->kept.empty());
  const auto source = WeightFiles::open(folder_ / "model"), copy = WeightFiles::open(folder_ / "out.gguf");
  ASSERT_TRUE(source && copy);
  const auto a = source->config(), b = copy->config();
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->vocab_size, b->vocab_size);
  EXPECT_EQ(a->kv_heads, b->kv_heads);
  EXPECT_EQ(a->head_dim, b->head_dim);
  EXPECT_EQ(a->context, b->context);
  EXPECT_EQ(a->tied, b->tied);
  EXPECT_EQ(a->end_tokens, b->end_tokens);
  EXPECT_FLOAT_EQ(static_cast<float>(a->norm_epsilon), static_cast<float>(b->norm_epsilon));
  for (const llama::ListedTensor& tensor : source->tensors()) {
    const auto before = source->read(tensor.name), after = copy->read(tensor.name);
    ASSERT_TRUE(before && after) << tensor.name;
    EXPECT_EQ(before->shape, after->shape);
    EXPECT_TRUE(std::ranges::equal(before->bytes, after->bytes)) << tensor.name;
  }
  const auto old_tokenizer = llama::load_tokenizer(*source, *a), new_tokenizer = llama::load_tokenizer(*copy, *b);
  ASSERT_TRUE(old_tokenizer && new_tokenizer);
  EXPECT_EQ(old_tokenizer->size(), new_tokenizer->size());
  EXPECT_EQ(old_tokenizer->bos(), new_tokenizer->bos());
  EXPECT_EQ(old_tokenizer->decode(std::vector<std::int32_t>{1, 72, 108}),
            new_tokenizer->decode(std::vector<std::int32_t>{1, 72, 108}));
}

TEST_F(GgufExport, TypesFollowTheRule) {
  const auto written = export_model(folder_ / "model", folder_ / "out.gguf", GgmlType::q4_0);
  ASSERT_TRUE(written) << written.error().message;
  const auto file = io::GgufFile::open(folder_ / "out.gguf");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->find("token_embd.weight")->type, GgmlType::q8_0);
  EXPECT_EQ(file->find("blk.1.ffn_up.weight")->type, GgmlType::q4_0);
  EXPECT_EQ(file->find("blk.0.attn_norm.weight")->type, GgmlType::f32);
  EXPECT_EQ(file->find("output.weight"), nullptr);
  EXPECT_EQ(*file->value_as<std::uint32_t>("general.file_type"), 2u);
  EXPECT_GT(written->total().error.sqnr(), 18.0);
}

TEST_F(GgufExport, RowsThatBlocksCannotHoldAreReported) {
  // Rows of 96 values hold no blocks of 64.
  const auto written = export_model(folder_ / "model", folder_ / "out.gguf", GgmlType::nvfp4);
  ASSERT_TRUE(written) << written.error().message;
  ASSERT_EQ(written->kept.size(), 2u);
  EXPECT_EQ(written->kept.front().name, "blk.0.ffn_down.weight");
  EXPECT_EQ(written->kept.front().columns, 96u);
  const auto refused = export_model(folder_ / "model", folder_ / "k.gguf", GgmlType::q4_k);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("blocks have 256 values"), std::string::npos) << refused.error().message;
  EXPECT_FALSE(fs::exists(folder_ / "k.gguf"));
}

TEST(GgufTokenizer, ReadsWhatTheModelReads) {
  const fs::path folder = fs::path(PARE_SHARED_DIR) / "data/models/llama/stories260K";
  SKIP_WITHOUT(folder);
  fixtures::Folder out;
  const auto written = export_model(folder / "stories260K.bin", out / "out.gguf", GgmlType::q8_0);
  ASSERT_TRUE(written) << written.error().message;
  EXPECT_EQ(written->kept.size(), 5u);
  const auto source = WeightFiles::open(folder / "stories260K.bin"), copy = WeightFiles::open(out / "out.gguf");
  ASSERT_TRUE(source && copy);
  const auto old_tokenizer = llama::load_tokenizer(*source, *source->config());
  const auto new_tokenizer = llama::load_tokenizer(*copy, *copy->config());
  ASSERT_TRUE(old_tokenizer && new_tokenizer);
  for (const char* text : {"Once upon a time, there was a girl.\n", "  two  spaces", "\xC3\xA4\xE2\x82\xAC", ""})
    EXPECT_EQ(old_tokenizer->encode(text), new_tokenizer->encode(text)) << text;
}

TEST(GgufNames, GoThereAndBack) {
  for (const io::TensorInfo& tensor : tiny::tensors()) {
    EXPECT_FALSE(llama::to_gguf_name(tensor.name).empty()) << tensor.name;
    EXPECT_EQ(llama::from_gguf_name(llama::to_gguf_name(tensor.name)), tensor.name);
  }
  for (const char* unknown : {"", "model.layers.", "model.layers.0", "model.layers.0.x", "blk.0.attn_q.weight"})
    EXPECT_EQ(llama::to_gguf_name(unknown), "") << unknown;
}

TEST(GgufType, IsFoundInEitherCase) {
  EXPECT_EQ(*llama::gguf_type("q4_K"), GgmlType::q4_k);
  EXPECT_EQ(*llama::gguf_type("iq4_nl"), GgmlType::iq4_nl);
  const auto unknown = llama::gguf_type("q9_9");
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message.find("q6_k"), std::string::npos);
}

// llama-quantize made the reference files from the same weights.

const fs::path golden = fs::path(PARE_SHARED_DIR) / "golden/models";
const fs::path model_path = fs::path(PARE_SHARED_DIR) / "data/models/llama/tinystories-656k";

class ReferenceFile : public testing::TestWithParam<GgmlType> {};

TEST_P(ReferenceFile, HasTheBytesOfOurEncoders) {
  const std::string name(io::info_of(GetParam()).name);
  const fs::path reference = golden / "gguf" / ("tinystories-656k-" + name + ".gguf");
  SKIP_WITHOUT(reference);
  fixtures::Folder folder;
  const auto written = export_model(model_path, folder / "out.gguf", GetParam());
  ASSERT_TRUE(written) << written.error().message;
  const auto ours = io::GgufFile::open(folder / "out.gguf"), theirs = io::GgufFile::open(reference);
  ASSERT_TRUE(ours && theirs);
  EXPECT_EQ(ours->tensors().size(), theirs->tensors().size());
  for (const io::GgufTensor& tensor : theirs->tensors()) {
    const io::GgufTensor* found = ours->find(tensor.name);
    ASSERT_NE(found, nullptr) << tensor.name;
    EXPECT_EQ(found->type, tensor.type) << tensor.name;
    EXPECT_EQ(found->shape, tensor.shape) << tensor.name;
    EXPECT_TRUE(std::ranges::equal(found->bytes, tensor.bytes)) << tensor.name;
  }
}

INSTANTIATE_TEST_SUITE_P(TinyStories, ReferenceFile,
                         testing::Values(GgmlType::q4_0, GgmlType::q4_1, GgmlType::q5_0, GgmlType::q8_0,
                                         GgmlType::mxfp4),
                         [](const auto& type) { return std::string(io::info_of(type.param).name); });

struct Perplexity {
  const char* file;
  double value;
};
class ReadGguf : public testing::TestWithParam<Perplexity> {};

TEST_P(ReadGguf, HasThePerplexityOfItsReference) {
  const fs::path file = golden / "gguf" / GetParam().file;
  const fs::path ids = golden / "llama/tinystories-656k/val_ids_64x256.npy";
  SKIP_WITHOUT(file);
  SKIP_WITHOUT(ids);
  io::ThreadPool threads(2);
  const auto model = llama::Model::load(file);
  ASSERT_TRUE(model) << model.error().message;
  const auto rows = llama::read_id_file(ids);
  ASSERT_TRUE(rows) << rows.error().message;
  const auto result = llama::measure(*model, *rows, 0, threads, no_progress);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_NEAR(result->perplexity() / GetParam().value, 1.0, 1e-4);
}

INSTANTIATE_TEST_SUITE_P(TinyStories, ReadGguf,
                         testing::Values(Perplexity{"tinystories-656k-Q4_K_M.gguf", 29.1049},
                                         Perplexity{"tinystories-656k-IQ4_NL.gguf", 30.4110}),
                         [](const auto& row) {
                           std::string name = row.param.file;
                           std::erase_if(name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); });
                           return name;
                         });

}  // namespace
