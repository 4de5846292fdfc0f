#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../examples_io/fixtures.hpp"
#include "io/thread_pool.hpp"
#include "llama/block_pruning.hpp"
#include "llama/model.hpp"
#include "llama/model_writer.hpp"
#include "llama/perplexity.hpp"

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

struct PrunedRow {
  const char* metric;
  const char* structure;
  std::size_t sequences;  ///< of calibration
  double least;
  double most;
};

/// The pruned models of the reference data, which ours must not be worse than; and of pare's own recipe.
class PrunedModel : public testing::TestWithParam<PrunedRow> {};

TEST_P(PrunedModel, IsAsGoodAsTheReference) {
  SKIP_WITHOUT(model_path);
  SKIP_WITHOUT(golden);
  const auto files = llama::WeightFiles::open(model_path);
  ASSERT_TRUE(files) << files.error().message;
  auto calibration = llama::read_id_file(golden / "calib_ids_128x256.npy");
  ASSERT_TRUE(calibration) << calibration.error().message;
  calibration->resize(GetParam().sequences);
  io::ThreadPool threads(2);
  const fixtures::Folder folder;
  auto layers = *llama::PrunedLayers::create(folder / "layers");
  const llama::Pruning pruning{.metric = GetParam().metric, .structure = GetParam().structure};
  const auto prune = [&](const std::string& name, pare::MatrixView<const float> weights,
                         const llama::LayerInput& input) -> pare::Result<std::vector<float>> {
    const auto pruned = llama::prune_matrix(pruning, weights, input, threads);
    if (!pruned) return pruned.error();
    EXPECT_NEAR(pruned->mask.view().sparsity(), 0.5, 1e-9) << name;
    if (auto done = layers.save(name, pruned->weights.view(), 0); !done) return std::move(done).error();
    return std::vector<float>(pruned->weights.values().begin(), pruned->weights.values().end());
  };
  const auto done = llama::prune_blocks(*files, *files->config(), *llama::find_metric(pruning.metric), *calibration,
                                        prune, threads, no_progress);
  ASSERT_TRUE(done) << done.error().message;
  const double found = perplexity_after({.layers = &layers});
  EXPECT_GT(found, GetParam().least);
  EXPECT_LT(found, GetParam().most);
}

INSTANTIATE_TEST_SUITE_P(TinyStories, PrunedModel,
                         testing::Values(PrunedRow{"wanda", "2:4", 128, 100.0, 106.0},
                                         PrunedRow{"refined", "per-layer", 24, 33.0, 41.0}),
                         [](const auto& row) { return std::string(row.param.metric); });

}  // namespace
