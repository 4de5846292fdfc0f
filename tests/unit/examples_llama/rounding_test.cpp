#include <gtest/gtest.h>

#include <string>

#include "../examples_io/fixtures.hpp"
#include "io/thread_pool.hpp"
#include "llama/model.hpp"
#include "llama/model_writer.hpp"
#include "llama/perplexity.hpp"
#include "llama/pruning.hpp"

namespace {
namespace fs = std::filesystem;

constexpr auto no_progress = [](std::uint64_t, std::uint64_t) {};
const fs::path model_path = fs::path(PARE_SHARED_DIR) / "data/models/llama/tinystories-656k";
const fs::path golden = fs::path(PARE_SHARED_DIR) / "golden/models/llama/tinystories-656k";

/// The perplexity of TinyStories after a compression.
double perplexity_after(const llama::Compression& compression) {
  fixtures::Folder folder;
  io::ThreadPool threads(2);
  const auto files = llama::WeightFiles::open(model_path);
  const auto rows = llama::read_id_file(golden / "val_ids_64x256.npy");
  if (!files || !rows) return 0.0;
  const auto written = llama::write_model(*files, folder / "out", compression, io::Overwrite::no, threads, no_progress);
  EXPECT_TRUE(written) << written.error().message;
  const auto model = llama::Model::load(folder / "out");
  EXPECT_TRUE(model) << model.error().message;
  const auto result = llama::measure(*model, *rows, 0, threads, no_progress);
  EXPECT_TRUE(result) << result.error().message;
  return result->perplexity();
}

struct Row {
  const char* scheme;
  double perplexity;
};

/// The rounded models of the reference data, whose perplexities PyTorch measured.
class RoundedModel : public testing::TestWithParam<Row> {};

TEST_P(RoundedModel, HasThePerplexityOfTheReference) {
  SKIP_WITHOUT(model_path);
  SKIP_WITHOUT(golden);
  const double found = perplexity_after({.scheme = GetParam().scheme});
  EXPECT_NEAR(found / GetParam().perplexity, 1.0, 0.005) << found;
}

INSTANTIATE_TEST_SUITE_P(TinyStories, RoundedModel,
                         testing::Values(Row{"int8-channel", 28.6089}, Row{"int8-asym-channel", 28.6074},
                                         Row{"int8-g32", 28.6029}, Row{"int8-asym-g32", 28.5982},
                                         Row{"int4-channel", 31.8750}, Row{"int4-asym-channel", 31.8411},
                                         Row{"int4-g32", 30.3577}, Row{"int4-asym-g32", 29.7712},
                                         Row{"nf4-g32", 29.9640}, Row{"nf4-g64", 30.6835}, Row{"mxfp4", 31.3142}),
                         [](const auto& row) {
                           std::string name = row.param.scheme;
                           std::erase(name, '-');
                           return name;
                         });

TEST(PrunedModel, HasThePerplexityOfTheReference) {
  SKIP_WITHOUT(model_path);
  SKIP_WITHOUT(golden);
  const auto files = llama::WeightFiles::open(model_path);
  ASSERT_TRUE(files) << files.error().message;
  const auto calibration = llama::read_id_file(golden / "calib_ids_128x256.npy");
  ASSERT_TRUE(calibration) << calibration.error().message;
  io::ThreadPool threads(2);
  const llama::Pruning pruning{.metric = "wanda", .structure = "2:4"};
  const auto norms = llama::calibrate(*files, *files->config(), pruning, *calibration, threads, no_progress);
  ASSERT_TRUE(norms) << norms.error().message;
  const double found = perplexity_after({.pruning = pruning, .norms = *norms});
  EXPECT_NEAR(found / 105.9882, 1.0, 0.005) << found;
}

}  // namespace
