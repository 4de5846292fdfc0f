#include <gtest/gtest.h>

#include <Eigen/LU>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "layer.hpp"
#include "pare/quantize/quantize.hpp"

namespace {

using namespace pare;

const Options threads{.executor = two_threads};

/// The Hessian of a layer with some share of its mean diagonal added.
Eigen::MatrixXd hessian(const Layer& layer, double fraction) {
  const auto moment = layer.moment();
  Eigen::MatrixXd h = as_eigen(moment.sum());
  h.diagonal().array() += fraction * h.diagonal().mean();
  return h;
}

/// The least error that row r can have without the columns that `kept` lacks, per sample.
double best_error(const Layer& layer, const Eigen::MatrixXd& h, std::size_t r, const std::vector<bool>& kept) {
  std::vector<Eigen::Index> in, out;
  for (std::size_t c = 0; c < layer.cols; ++c) (kept[c] ? in : out).push_back(static_cast<Eigen::Index>(c));
  Eigen::VectorXd removed(static_cast<Eigen::Index>(out.size()));
  for (std::size_t i = 0; i < out.size(); ++i)
    removed(static_cast<Eigen::Index>(i)) = double{layer.weights[r * layer.cols + static_cast<std::size_t>(out[i])]};
  const Eigen::MatrixXd cross = h(in, out);
  const Eigen::MatrixXd rest = in.empty()
                                   ? Eigen::MatrixXd(h(out, out))
                                   : Eigen::MatrixXd(h(out, out) - cross.transpose() * h(in, in).inverse() * cross);
  return removed.dot(rest * removed) / static_cast<double>(layer.samples);
}

/// SparseGPT by its definition: a column at a time, each with the inverse of what is left of the Hessian.
std::vector<float> naive_sparse_gpt(const Layer& layer, double fraction, std::size_t block, double sparsity) {
  const auto n = static_cast<Eigen::Index>(layer.cols), rows = static_cast<Eigen::Index>(layer.rows);
  const Eigen::MatrixXd h = hessian(layer, fraction);
  Eigen::MatrixXd w(rows, n);
  for (Eigen::Index i = 0; i < rows * n; ++i) w(i / n, i % n) = double{layer.weights[static_cast<std::size_t>(i)]};
  for (Eigen::Index begin = 0; begin < n; begin += static_cast<Eigen::Index>(block)) {
    const Eigen::Index end = std::min(n, begin + static_cast<Eigen::Index>(block));
    Eigen::MatrixXd saliency(rows, end - begin);
    for (Eigen::Index j = begin; j < end; ++j) {
      const double pivot = h.bottomRightCorner(n - j, n - j).inverse()(0, 0);
      saliency.col(j - begin) = w.col(j).array().square() / pivot;
    }
    std::vector<double> sorted(saliency.data(), saliency.data() + saliency.size());
    std::ranges::sort(sorted);
    const double threshold = sorted[static_cast<std::size_t>(static_cast<double>(sorted.size()) * sparsity)];
    for (Eigen::Index j = begin; j < end; ++j) {
      const Eigen::MatrixXd inverse = h.bottomRightCorner(n - j, n - j).inverse();
      for (Eigen::Index r = 0; r < rows; ++r) {
        if (saliency(r, j - begin) > threshold) continue;
        w.row(r).tail(n - j) -= w(r, j) / inverse(0, 0) * inverse.row(0);
        w(r, j) = 0.0;
      }
    }
  }
  std::vector<float> result(layer.weights.size());
  for (Eigen::Index i = 0; i < rows * n; ++i) result[static_cast<std::size_t>(i)] = static_cast<float>(w(i / n, i % n));
  return result;
}

void expect_near(const std::vector<float>& found, const std::vector<float>& expected, float tolerance) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], tolerance) << i;
}

TEST(SparseGpt, IsItsDefinitionForAnyBlock) {
  const Layer layer(7, 21, 1);
  for (const std::size_t block : {1u, 5u, 8u, 21u, 64u}) {
    const SparseGpt algorithm{.block = block, .damping = {.fraction = 0.03}};
    const auto ours = value(algorithm(Unstructured<PerLayerThreshold>{0.4}, layer.view(), layer.moment()));
    expect_near(copy(ours.weights), naive_sparse_gpt(layer, 0.03, block, 0.4), 1e-5f);
    for (std::size_t i = 0; i < layer.weights.size(); ++i)
      EXPECT_EQ(ours.weights.values()[i] == 0.0f, bits(ours.mask)[i] == '0');
  }
  const auto whole = value(SparseGpt{.block = 0}(Unstructured<PerLayer>{}, layer.view(), layer.moment()));
  const auto one = value(SparseGpt{.block = 21}(Unstructured<PerLayer>{}, layer.view(), layer.moment()));
  EXPECT_EQ(copy(whole.weights), copy(one.weights));
}

TEST(SparseGpt, ReportsItsErrorAndBeatsMasksWithoutCompensation) {
  const Layer layer(16, 40, 2);
  const auto ours = value(SparseGpt{}(Unstructured<PerLayer>{0.5}, layer.view(), layer.moment()));
  EXPECT_NEAR(ours.loss, layer.error(copy(ours.weights), ours.damping), 1e-4 * ours.loss);
  const auto wanda = value(Pruner<Wanda, Unstructured<PerRow>>{}(layer.view(), std::span<const float>(layer.norms())));
  EXPECT_LT(layer.error(copy(ours.weights)), layer.error(layer.masked(wanda)));
  EXPECT_EQ(ours.mask.kept(), 16u * 20u);
}

TEST(SparseGpt, KeepsNOfEveryMOfTheWeightsAsTheyAreThen) {
  const Layer layer(9, 22, 3);
  const auto moment = layer.moment();
  const auto ours = value(SparseGpt{.block = 6}(NofM<2, 4>{}, layer.view(), moment));
  for (std::size_t r = 0; r < 9; ++r)
    for (std::size_t g = 0; g < 22; g += 4) {
      std::size_t kept = 0;
      for (std::size_t c = g; c < std::min<std::size_t>(22, g + 4); ++c) kept += std::size_t{ours.mask.test(r, c)};
      EXPECT_EQ(kept, g == 20 ? 1u : 2u);
    }
  EXPECT_NEAR(ours.loss, layer.error(copy(ours.weights), ours.damping), 1e-4 * ours.loss);
  // Blocks are whole groups, and what a group loses does not depend on where blocks end.
  const auto other = value(SparseGpt{.block = 128}(AnyNofM{.keep = 2, .of = 4}, layer.view(), moment));
  EXPECT_EQ(bits(other.mask), bits(ours.mask));
  expect_near(copy(other.weights), copy(ours.weights), 1e-5f);
}

std::vector<float> decoded(const CodedMatrix& codes) {
  std::vector<float> values;
  for (std::size_t r = 0; r < codes.shape.rows; ++r)
    for (std::size_t c = 0; c < codes.shape.cols; ++c) values.push_back(codes.value(r, c));
  return values;
}

TEST(SparseGpt, QuantizesFromTheSameHessian) {
  const Layer layer(32, 96, 4);
  const auto moment = layer.moment();
  const Unstructured<PerLayer> half{0.5};
  const auto pruned = value(SparseGpt{}(half, layer.view(), moment));
  for (const bool symmetric : {true, false})
    for (const bool still : {true, false}) {
      const MinMaxGrid grid{.bits = 3, .symmetric = symmetric};
      const SparseGpt algorithm{.group = 20, .static_groups = still};
      const auto joint = value(algorithm(half, grid, layer.view(), moment));
      const std::vector<float> values = decoded(joint.codes);
      for (std::size_t i = 0; i < values.size(); ++i) EXPECT_TRUE(bits(joint.mask)[i] == '1' || values[i] == 0.0f) << i;
      EXPECT_EQ(joint.codes.grid, (Shape{32, 5}));
      EXPECT_NEAR(joint.loss, layer.error(values, joint.damping), 1e-4 * joint.loss);
      const auto after = value(RoundToNearest{.group = 20}(grid, pruned.weights.view()));
      EXPECT_LT(layer.error(values), layer.error(decoded(after)));
      const auto threaded = value(algorithm(half, grid, layer.view(), moment, threads));
      EXPECT_EQ(decoded(threaded.codes), values);
      const auto given = value(RoundToNearest{.group = 20}(grid, layer.view()));
      EXPECT_EQ(std::ranges::equal(std::span(given.scales().data, 160), std::span(joint.codes.scales().data, 160)),
                still);
    }
  using W8 = Scheme<8, Symmetric, PerGroup<16>>;
  const auto scheme = value(SparseGpt{}(NofM<2, 4>{}, SchemeGrid<W8>{}, layer.view(), moment));
  EXPECT_EQ(scheme.codes.grid, (Shape{32, 6}));
  EXPECT_EQ(scheme.mask.sparsity(), 0.5);
  using Tiles = Scheme<e4m3, Symmetric, PerBlock<24, 40>>;
  const auto tiles = value(SparseGpt{.static_groups = false}(half, SchemeGrid<Tiles>{}, layer.view(), moment));
  EXPECT_EQ(tiles.codes.grid, (Shape{2, 3}));
  EXPECT_NEAR(tiles.loss, layer.error(decoded(tiles.codes), tiles.damping), 1e-4 * tiles.loss);
}

TEST(SparseGpt, ReportsItsProgressAndEndsWhenItSaysSo) {
  const Layer layer(30, 64, 6);
  const auto moment = layer.moment();
  const auto prune = [&](Executor executor, Progress progress, bool joint) -> Result<void> {
    const Unstructured<PerLayer> half{0.5};
    const MinMaxGrid grid{.bits = 3};
    const SparseGpt algorithm{.block = 16, .group = 16};
    const Options options{.executor = executor, .progress = progress};
    if (!joint) {
      const auto pruned = algorithm(half, layer.view(), moment, options);
      return pruned ? Result<void>() : pruned.error();
    }
    const auto pruned = algorithm(half, grid, layer.view(), moment, options);
    return pruned ? Result<void>() : pruned.error();
  };
  for (const bool joint : {false, true})
    for (const Executor executor : {Executor(serial), Executor(two_threads)}) {
      double last = 0.0;
      int all = 0;
      const auto watch = [&](double share) {
        EXPECT_GE(share, last);
        last = share;
        return ++all > 0;
      };
      ASSERT_TRUE(prune(executor, watch, joint));
      EXPECT_GE(all, 5);
      EXPECT_EQ(last, 1.0);
      // Threads may find each other reporting, so that only the blocks' calls are as many every time.
      for (const int stop : {1, 4}) {
        int calls = 0;
        const auto cancel = [&](double) { return ++calls < stop; };
        const auto done = prune(executor, cancel, joint);
        ASSERT_FALSE(done) << "after call " << stop << " of " << all;
        EXPECT_EQ(done.error().code, ErrorCode::cancelled);
        EXPECT_EQ(calls, stop);
      }
    }
}

TEST(SparseGpt, TakesTheWeightsOfSilentChannels) {
  Layer layer(5, 12, 5);
  for (std::size_t t = 0; t < 24; ++t) layer.tokens[t * 12 + 7] = 0.0f;
  const auto ours = value(SparseGpt{}(Unstructured<PerRow>{0.25}, layer.view(), layer.moment()));
  for (std::size_t r = 0; r < 5; ++r) {
    EXPECT_EQ(ours.weights(r, 7), 0.0f);
    EXPECT_FALSE(ours.mask.test(r, 7));
  }
}

TEST(SecondOrder, DoesNotDependOnThreads) {
  const Layer layer(70, 24, 6);
  const auto moment = layer.moment();
  const Unstructured<PerLayer> half{0.5};
  const auto same = [](const PrunedMatrix& a, const PrunedMatrix& b) {
    EXPECT_EQ(copy(a.weights), copy(b.weights));
    EXPECT_EQ(bits(a.mask), bits(b.mask));
    EXPECT_EQ(a.loss, b.loss);
  };
  same(value(SparseGpt{.block = 7}(half, layer.view(), moment)),
       value(SparseGpt{.block = 7}(half, layer.view(), moment, threads)));
  same(value(SparseGpt{}(NofM<1, 3>{}, layer.view(), moment)),
       value(SparseGpt{}(NofM<1, 3>{}, layer.view(), moment, threads)));
  same(value(Obc{}(half, layer.view(), moment)), value(Obc{}(half, layer.view(), moment, threads)));
  same(value(Obc{}(NofM<1, 3>{}, layer.view(), moment)), value(Obc{}(NofM<1, 3>{}, layer.view(), moment, threads)));
  same(value(Obc{}(WeightBlocks{.cols = 5}, layer.view(), moment)),
       value(Obc{}(WeightBlocks{.cols = 5}, layer.view(), moment, threads)));
}

TEST(SecondOrder, RefusesWhatItCannotUse) {
  Layer layer(3, 8, 7);
  const auto moment = layer.moment();
  const auto empty = value(SecondMoment<double>::create(8));
  const auto narrow = Layer(3, 7, 7).moment();
  const Unstructured<PerLayer> half{0.5};
  const auto both = [&](const SecondMoment<double>& m, const std::string& text) {
    EXPECT_NE(message(SparseGpt{}(half, layer.view(), m)).find(text), std::string::npos) << text;
    EXPECT_NE(message(Obc{}(half, layer.view(), m)).find(text), std::string::npos) << text;
    EXPECT_NE(message(Obc{}(NofM<2, 4>{}, layer.view(), m)).find(text), std::string::npos) << text;
    EXPECT_NE(message(Reconstruct{}(value(Mask::create({3, 8})), layer.view(), m)).find(text), std::string::npos);
  };
  both(empty, "pare: the second moment has seen no tokens");
  both(narrow, "pare: the second moment has 7 channels where the weight has 8 columns");
  layer.weights[11] = nan_value;
  both(moment, "pare: the weight at (1, 3) is not a number");
  layer.weights[11] = inf;
  both(moment, "pare: the weight at (1, 3) is infinite");
  layer.weights[11] = 1.0f;

  for (const double sparsity : {-0.1, 1.1, std::nan("")}) {
    const Unstructured<PerLayer> wrong{sparsity};
    EXPECT_NE(message(SparseGpt{}(wrong, layer.view(), moment)).find("pare: the sparsity"), std::string::npos);
    EXPECT_NE(message(Obc{}(wrong, layer.view(), moment)).find("pare: the sparsity"), std::string::npos);
  }
  for (const AnyNofM wrong : {AnyNofM{0, 4}, AnyNofM{5, 4}, AnyNofM{1, 257}, AnyNofM{0, 0}}) {
    const std::string text = "pare: a pattern keeps N of every M columns";
    EXPECT_NE(message(SparseGpt{}(wrong, layer.view(), moment)).find(text), std::string::npos);
    EXPECT_NE(message(Obc{}(wrong, layer.view(), moment)).find(text), std::string::npos);
  }
  EXPECT_NE(message(SparseGpt{}(half, MinMaxGrid{.bits = 9}, layer.view(), moment)).find("pare: codes have 1 to 8"),
            std::string::npos);
  EXPECT_NE(message(Obc{}(WeightBlocks{.rows = 2}, layer.view(), moment)).find("blocks of one row"), std::string::npos);
  const std::array<std::uint32_t, 8> twice{0, 1, 2, 3, 4, 5, 6, 6};
  EXPECT_NE(message(Obc{.order = twice}(half, layer.view(), moment)).find("name each of them once"), std::string::npos);
  EXPECT_NE(message(Reconstruct{}(value(Mask::create({3, 7})), layer.view(), moment)).find("the mask is 3 x 7"),
            std::string::npos);
}

TEST(SecondOrder, TakesEmptyWeights) {
  const auto moment = Layer(1, 4, 8).moment();
  const MatrixView<const float> none(nullptr, 0, 4);
  EXPECT_EQ(value(SparseGpt{}(Unstructured<PerLayer>{}, none, moment)).mask.shape(), (Shape{0, 4}));
  EXPECT_EQ(value(SparseGpt{}(NofM<2, 4>{}, MinMaxGrid{}, none, moment)).mask.shape(), (Shape{0, 4}));
  EXPECT_EQ(value(Obc{}(Unstructured<PerLayer>{}, none, moment)).mask.shape(), (Shape{0, 4}));
  EXPECT_EQ(value(Obc{}(NofM<2, 4>{}, none, moment)).mask.shape(), (Shape{0, 4}));
  auto channels = value(SecondMoment<double>::create(0));
  ASSERT_TRUE(channels.add({nullptr, 3, 0}));
  const MatrixView<const float> narrow(nullptr, 3, 0);
  EXPECT_EQ(value(SparseGpt{}(Unstructured<PerLayer>{}, narrow, channels)).mask.shape(), (Shape{3, 0}));
  EXPECT_EQ(value(Obc{}(Unstructured<PerLayer>{}, narrow, channels)).mask.shape(), (Shape{3, 0}));
  EXPECT_EQ(value(Obc{}(WeightBlocks{}, narrow, channels)).mask.shape(), (Shape{3, 0}));
}

TEST(SecondOrder, ReadsStridedWeights) {
  const Layer layer(6, 10, 9);
  std::vector<float> turned(60);
  for (std::size_t i = 0; i < 60; ++i) turned[i % 10 * 6 + i / 10] = layer.weights[i];
  const MatrixView<const float> strided(turned.data(), 6, 10, 1, 6);
  const Unstructured<PerLayer> half{0.5};
  EXPECT_EQ(copy(value(SparseGpt{}(half, strided, layer.moment())).weights),
            copy(value(SparseGpt{}(half, layer.view(), layer.moment())).weights));
  EXPECT_EQ(copy(value(Obc{}(half, strided, layer.moment())).weights),
            copy(value(Obc{}(half, layer.view(), layer.moment())).weights));
}

TEST(SecondOrder, SaysWhenTheMomentIsSingular) {
  Layer layer(2, 6, 10);
  layer.samples = 1;
  for (std::size_t t = 0; t < 6; ++t)
    for (std::size_t c = 0; c < 6; ++c) layer.tokens[t * 6 + c] = static_cast<float>(t + 1);
  const Unstructured<PerLayer> half{0.5};
  const auto moment = layer.moment();
  EXPECT_NE(message(SparseGpt{.damping = {.fraction = 0.0}}(half, layer.view(), moment)).find("not positive definite"),
            std::string::npos);
  EXPECT_NE(message(Reconstruct{.damping = 0.0}(value(Mask::create({2, 6})), layer.view(), moment)).size(), 0u);
  // OBC adds to the diagonal until it is, as its reference does.
  EXPECT_GT(value(Obc{}(half, layer.view(), moment)).damping, 0.0);
}

TEST(SecondOrder, SaysWhenCompensationOverflows) {
  Layer layer(1, 2, 11);
  layer.tokens = {1, 1, 2, 2, 3, 3, 4, 4.5};
  layer.weights = {3e38f, 3e38f};
  EXPECT_NE(message(SparseGpt{}(NofM<1, 2>{}, layer.view(), layer.moment())).find("the compensated weight"),
            std::string::npos);
  EXPECT_NE(message(Obc{}(NofM<1, 2>{}, layer.view(), layer.moment())).find("the reconstructed weight"),
            std::string::npos);
}

TEST(Reconstruct, LeavesNoGradient) {
  const Layer layer(8, 18, 12);
  const auto moment = layer.moment();
  const auto mask = value(Pruner<Magnitude, Unstructured<PerRow>>{}(layer.view()));
  const double before = layer.error(layer.masked(mask));
  auto again = value(Pruner<Magnitude, Unstructured<PerRow>>{}(layer.view()));
  const auto ours = value(Reconstruct{.damping = 0.02}(std::move(again), layer.view(), moment));
  EXPECT_EQ(bits(ours.mask), bits(mask));
  EXPECT_LT(layer.error(copy(ours.weights)), before);
  EXPECT_NEAR(ours.loss, layer.error(copy(ours.weights), ours.damping), 1e-5 * ours.loss);
  const Eigen::MatrixXd h = hessian(layer, 0.02);
  for (std::size_t r = 0; r < 8; ++r) {
    Eigen::VectorXd change(18);
    for (std::size_t c = 0; c < 18; ++c)
      change(static_cast<Eigen::Index>(c)) = double{ours.weights(r, c)} - double{layer.weights[r * 18 + c]};
    const Eigen::VectorXd gradient = h * change;
    for (std::size_t c = 0; c < 18; ++c) {
      const double slope = gradient(static_cast<Eigen::Index>(c));
      EXPECT_TRUE(mask.test(r, c) ? std::fabs(slope) < 1e-4 : ours.weights(r, c) == 0.0f) << r << " " << c;
    }
  }
}

TEST(Reconstruct, LeavesRowsThatLoseNothing) {
  Layer layer(2, 9, 13);
  layer.weights[4] = 0.0f;
  Mask mask = value(Mask::create({2, 9}));
  mask.set(0, 4, false);
  EXPECT_EQ(copy(value(Reconstruct{}(std::move(mask), layer.view(), layer.moment())).weights), layer.weights);
}

TEST(Obc, RemovesWhatCostsTheLeastEachTime) {
  const Layer layer(4, 9, 14);
  const Eigen::MatrixXd h = hessian(layer, 0.01);
  const ObcTrace trace = value(Obc{.damping = 0.01}.trace(1, layer.view(), layer.moment()));
  for (std::size_t r = 0; r < 4; ++r) {
    std::vector<bool> kept(9, true);
    double so_far = 0.0;
    for (std::size_t step = 0; step < 9; ++step) {
      double least = HUGE_VAL;
      std::size_t best = 0;
      for (std::size_t c = 0; c < 9; ++c) {
        if (!kept[c]) continue;
        kept[c] = false;
        if (const double error = best_error(layer, h, r, kept); error < least) {
          least = error;
          best = c;
        }
        kept[c] = true;
      }
      EXPECT_EQ(trace.order(r, step), best) << r << " " << step;
      EXPECT_NEAR(trace.losses(r, step), least - so_far, 1e-9 * least);
      kept[best] = false;
      so_far = least;
    }
  }
}

TEST(Obc, RemovesTheCheapestBlockEachTime) {
  const Layer layer(3, 11, 15);
  const Eigen::MatrixXd h = hessian(layer, 0.0);
  const ObcTrace trace = value(Obc{}.trace(4, layer.view(), layer.moment()));
  ASSERT_EQ(trace.order.cols(), 3u);
  for (std::size_t r = 0; r < 3; ++r) {
    std::vector<bool> kept(11, true);
    double so_far = 0.0;
    for (std::size_t step = 0; step < 3; ++step) {
      double least = HUGE_VAL;
      std::vector<bool> best;
      for (std::size_t u = 0; u < 3; ++u) {
        if (!kept[u * 4]) continue;
        std::vector<bool> without = kept;
        for (std::size_t c = u * 4; c < std::min<std::size_t>(11, u * 4 + 4); ++c) without[c] = false;
        if (const double error = best_error(layer, h, r, without); error < least) {
          least = error;
          best = without;
          EXPECT_TRUE(error >= so_far);
        }
      }
      EXPECT_FALSE(best[std::size_t{trace.order(r, step)} * 4]);
      EXPECT_NEAR(trace.losses(r, step), least - so_far, 1e-8 * least);
      kept = best;
      so_far = least;
    }
  }
  const auto half = value(Obc{}(WeightBlocks{.rows = 1, .cols = 4, .sparsity = 0.4}, layer.view(), layer.moment()));
  for (std::size_t r = 0; r < 3; ++r)
    for (std::size_t c = 0; c < 11; ++c) EXPECT_EQ(half.mask.test(r, c), half.mask.test(r, c / 4 * 4));
  const auto whole = value(Obc{}(WeightBlocks{.cols = 0, .sparsity = 0.4}, layer.view(), layer.moment()));
  for (std::size_t r = 0; r < 3; ++r)
    for (std::size_t c = 0; c < 11; ++c) EXPECT_EQ(whole.mask.test(r, c), whole.mask.test(r, 0));
}

TEST(Obc, SpendsTheLayersBudgetWhereItCostsTheLeast) {
  const Layer layer(6, 10, 16);
  const Obc obc{.damping = 0.01};
  const auto moment = layer.moment();
  const auto global = value(obc(Unstructured<PerLayer>{0.51}, layer.view(), moment));
  EXPECT_EQ(60 - global.mask.kept(), 31u);
  const ObcTrace trace = value(obc.trace(1, layer.view(), moment));
  const auto counts = value(cheapest_removals(std::span(&trace, 1), 31));
  double total = 0.0;
  for (std::size_t r = 0; r < 6; ++r) {
    const auto losses = trace.losses.row(r).first(counts[r]);
    total = std::accumulate(losses.begin(), losses.end(), total);
    EXPECT_EQ(static_cast<std::size_t>(std::ranges::count(bits(global.mask).substr(r * 10, 10), '0')), counts[r]);
  }
  // Losses are per sample, of which there are two.
  EXPECT_NEAR(global.loss, 2.0 * total, 1e-9 * global.loss);
  EXPECT_NEAR(global.loss, layer.error(copy(global.weights), global.damping), 1e-5 * global.loss);

  const auto rows = value(obc(Unstructured<PerRow>{0.59}, layer.view(), moment));
  for (std::size_t r = 0; r < 6; ++r) EXPECT_EQ(std::ranges::count(bits(rows.mask).substr(r * 10, 10), '0'), 5) << r;
  const auto quick = value(SparseGpt{}(Unstructured<PerLayer>{0.5}, layer.view(), moment));
  EXPECT_LT(layer.error(copy(value(obc(Unstructured<PerLayer>{0.5}, layer.view(), moment)).weights)),
            layer.error(copy(quick.weights)));
}

TEST(Obc, ChoosesOverSeveralLayers) {
  const Layer first(3, 6, 17), second(2, 9, 18);
  const Obc obc{.damping = 0.01};
  std::vector<ObcTrace> traces;
  traces.push_back(value(obc.trace(1, first.view(), first.moment())));
  traces.push_back(value(obc.trace(1, second.view(), second.moment())));
  const auto counts = value(cheapest_removals(traces, 20));
  ASSERT_EQ(counts.size(), 5u);
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), std::size_t{0}), 20u);
  double dearest = 0.0, cheapest_left = HUGE_VAL;
  for (std::size_t l = 0, row = 0; l < 2; ++l)
    for (std::size_t r = 0; r < traces[l].losses.rows(); ++r, ++row)
      for (std::size_t k = 0; k < traces[l].losses.cols(); ++k)
        (k < counts[row] ? dearest : cheapest_left) = k < counts[row] ? std::max(dearest, traces[l].losses(r, k))
                                                                      : std::min(cheapest_left, traces[l].losses(r, k));
  EXPECT_LE(dearest, cheapest_left * 1.5);
  const auto part = value(obc.apply(traces[1], counts.values().subspan(3), second.view(), second.moment()));
  EXPECT_EQ(18 - part.mask.kept(), counts[3] + counts[4]);
  EXPECT_NE(message(cheapest_removals(traces, 37)).find("pare: 37 removals"), std::string::npos);
  EXPECT_NE(message(obc.apply(traces[1], counts.values(), second.view(), second.moment())).find("pare: the removals"),
            std::string::npos);
}

TEST(Obc, TakesZerosFirstAndSilentChannelsWithThem) {
  Layer layer(3, 8, 19);
  layer.weights[1] = layer.weights[6] = layer.weights[8 + 3] = -0.0f;
  for (std::size_t t = 0; t < 16; ++t) layer.tokens[t * 8 + 5] = 0.0f;
  const ObcTrace trace = value(Obc{}.trace(1, layer.view(), layer.moment()));
  EXPECT_EQ(trace.order(0, 0), 1u);
  EXPECT_EQ(trace.order(0, 1), 5u);
  EXPECT_EQ(trace.order(0, 2), 6u);
  EXPECT_EQ(trace.losses(0, 2), 0.0);
  EXPECT_GT(trace.losses(0, 3), 0.0);
  EXPECT_EQ(trace.order(1, 0), 3u);
  const auto little = value(Obc{}(Unstructured<PerLayer>{0.1}, layer.view(), layer.moment()));
  for (std::size_t r = 0; r < 3; ++r)
    for (std::size_t c = 0; c < 8; ++c)
      EXPECT_EQ(little.weights(r, c), c == 5 ? 0.0f : layer.weights[r * 8 + c]) << r << " " << c;
}

TEST(Obc, ClosesGroupsInTheOrderGiven) {
  const Layer layer(5, 12, 20);
  const Convolution convolution{.channels = 3, .kernel = {2, 2}};
  const auto order = value(channels_last(convolution));
  EXPECT_EQ(std::vector<std::uint32_t>(order.begin(), order.end()),
            (std::vector<std::uint32_t>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}));
  const auto ours = value(Obc{.order = order.values()}(NofM<1, 3>{}, layer.view(), layer.moment()));
  for (std::size_t r = 0; r < 5; ++r)
    for (std::size_t pixel = 0; pixel < 4; ++pixel)
      EXPECT_EQ(ours.mask.test(r, pixel) + ours.mask.test(r, pixel + 4) + ours.mask.test(r, pixel + 8), 1);
  const auto plain = value(Obc{}(NofM<2, 5>{}, layer.view(), layer.moment()));
  for (std::size_t r = 0; r < 5; ++r) EXPECT_EQ(std::ranges::count(bits(plain.mask).substr(r * 12, 12), '1'), 5);
}

}  // namespace
