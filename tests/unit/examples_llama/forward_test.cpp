#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string_view>
#include <vector>

#include "io/npy.hpp"
#include "io/thread_pool.hpp"
#include "llama/model.hpp"
#include "llama/perplexity.hpp"

namespace {
namespace fs = std::filesystem;

const fs::path shared = PARE_SHARED_DIR;

/// The largest difference between the model's logits for each row of ids and the reference, [rows, tokens, vocabulary].
double worst_logit(const fs::path& model_path, const std::vector<llama::Sequence>& rows, const fs::path& reference_path,
                   std::size_t step) {
  io::ThreadPool threads(2);
  const auto model = llama::Model::load(model_path);
  if (!model) throw std::runtime_error(model.error().message);
  const auto reference = *io::NpyFile::open(reference_path)->values<float>();
  const std::size_t vocab = model->config().vocab_size;
  double worst = 0.0;
  const float* expected = reference.data();
  for (const llama::Sequence& row : rows) {
    llama::Context context(*model, row.size(), threads);
    for (std::size_t t = 0; t < row.size(); t += step) {
      const auto part = std::span(row).subspan(t, std::min(step, row.size() - t));
      const auto hidden = context.advance(part);
      if (!hidden) throw std::runtime_error(hidden.error().message);
      const auto logits = *context.logits(*hidden);
      for (std::size_t i = 0; i < part.size() * vocab; ++i)
        worst = std::max(worst, std::abs(double{logits.data[i]} - double{*expected++}));
    }
  }
  EXPECT_EQ(expected, reference.data() + reference.size());
  return worst;
}

class HuggingFace : public testing::TestWithParam<std::string_view> {};

TEST_P(HuggingFace, LogitsAgree) {
  const fs::path folder = shared / "golden/models/hf_tiny" / GetParam();
  if (!fs::exists(folder)) GTEST_SKIP() << "needs the reference data: " << folder;
  const auto rows = *llama::read_id_file(folder / "input_ids.npy");
  EXPECT_LT(worst_logit(folder, rows, folder / "logits_fp32.npy", llama::Context::chunk), 1e-3);
  EXPECT_LT(worst_logit(folder, rows, folder / "logits_fp32.npy", 1), 1e-3);
  EXPECT_LT(worst_logit(folder, rows, folder / "logits_fp32.npy", 7), 1e-3);
}
INSTANTIATE_TEST_SUITE_P(Tiny, HuggingFace, testing::Values("llama3", "llama_sharded"));

TEST(TinyStories, LogitsAndPerplexityAgree) {
  const fs::path model_path = shared / "data/models/llama/tinystories-656k";
  const fs::path golden = shared / "golden/models/llama/tinystories-656k";
  if (!fs::exists(model_path) || !fs::exists(golden)) GTEST_SKIP() << "needs the reference data: " << golden;
  const auto rows = *llama::read_id_file(golden / "val_ids_64x256.npy");
  ASSERT_EQ(rows.size(), 64u);
  for (const std::size_t step : {std::size_t{1}, std::size_t{50}, llama::Context::chunk})
    EXPECT_LT(worst_logit(model_path, {rows[0]}, golden / "logits_seq0_fp32.npy", step), 1e-3);

  io::ThreadPool threads(2);
  const auto model = llama::Model::load(model_path);
  const auto result = llama::measure(*model, rows, 0, threads, [](std::size_t) {});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->predictions, 64u * 255u);
  EXPECT_NEAR(result->mean_nll(), 3.353289, 1e-4);
  EXPECT_NEAR(result->perplexity(), 28.59663, 1e-3);
}

}  // namespace
