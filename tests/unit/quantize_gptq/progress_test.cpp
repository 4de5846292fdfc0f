// What every algorithm that takes long tells its caller, and how it ends when it is told to.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "layer.hpp"

namespace {
using namespace quantize_gptq;
using pare::Options;
using pare::Result;

struct Work {
  std::string name;
  std::function<Result<void>(const Options&)> run;
};

template <class T>
Result<void> outcome(const Result<T>& result) {
  if (!result) return result.error();
  return {};
}

std::vector<Work> long_works(const Layer& layer) {
  static constexpr pare::MinMaxGrid grid{.bits = 3, .symmetric = false};
  return {
      {"Gptq", [&](const Options& o) { return outcome(pare::Gptq{.block = 16}(grid, layer.view(), layer.moment, o)); }},
      {"Qoq",
       [&](const Options& o) { return outcome(pare::Qoq{.group = 16, .block = 16}(layer.view(), layer.moment, o)); }},
      {"AdaptiveGptq", [&](const Options& o) { return outcome(pare::AdaptiveGptq{}(layer.view(), layer.moment, o)); }},
      {"CoordinateDescent",
       [&](const Options& o) {
         auto matrix = pare::RoundToNearest{.group = 16}(grid, layer.view());
         return outcome(pare::CoordinateDescent{}(grid, layer.view(), layer.moment, *matrix, o));
       }},
      {"AdaRound",
       [&](const Options& o) {
         return outcome(pare::AdaRound{.iterations = 20}(grid, layer.view(), layer.moment, o));
       }},
      {"AdditiveQuantizer",
       [&](const Options& o) {
         const pare::AdditiveQuantizer quantizer{
             .codebooks = 2, .bits = 3, .group = 8, .start_iterations = 3, .steps = 3, .epochs = 2, .tolerance = 0.0};
         return outcome(quantizer(layer.view(), layer.moment, o));
       }},
      {"Obq",
       [&](const Options& o) { return outcome(pare::Obq{.damping = 0.01}(grid, layer.view(), layer.moment, o)); }},
      {"Awq",
       [&](const Options& o) {
         const std::vector<pare::MatrixView<const float>> layers{layer.view()};
         const std::vector<float> magnitudes(layer.shape.cols, 1.0f);
         return outcome(pare::Awq{.group = 16}.search(grid, layers, magnitudes, layer.moment, o));
       }},
      {"HalfQuadratic", [&](const Options& o) { return outcome(pare::HalfQuadratic{.group = 16}(layer.view(), o)); }},
      {"ScaleEstimation",
       [&](const Options& o) {
         const pare::MatrixView<const float> samples(layer.inputs.data(), 8, layer.shape.cols);
         return outcome(pare::ScaleEstimation{.group = 16}(grid, layer.view(), samples, o));
       }},
  };
}

TEST(Progress, RisesToTheEndAndIsNeverToldTwiceAtOnce) {
  const Layer layer = make_layer({150, 64}, 1);
  for (const Work& work : long_works(layer)) {
    double last = 0.0;
    int calls = 0;
    std::atomic<int> inside{0};
    const auto watch = [&](double share) {
      EXPECT_EQ(inside.fetch_add(1), 0) << work.name;
      EXPECT_GE(share, last) << work.name;
      EXPECT_LE(share, 1.0) << work.name;
      last = share;
      ++calls;
      inside.fetch_sub(1);
      return true;
    };
    for (const pare::Executor executor : {pare::Executor(pare::serial), pare::Executor(two_threads)}) {
      last = 0.0;
      calls = 0;
      const auto done = work.run({.executor = executor, .progress = watch});
      ASSERT_TRUE(done) << work.name << ": " << done.error().message;
      EXPECT_GE(calls, 2) << work.name;
      // Training may end before all of its epochs.
      EXPECT_GT(last, work.name == "AdditiveQuantizer" ? 0.1 : 0.95) << work.name;
    }
  }
}

TEST(Progress, EndsTheWorkWhenItSaysSo) {
  const Layer layer = make_layer({150, 64}, 2);
  for (const Work& work : long_works(layer)) {
    int all = 0;
    const auto count = [&](double) { return ++all > 0; };
    ASSERT_TRUE(work.run({.progress = count})) << work.name;
    for (const int stop : {1, all / 2, all}) {
      int calls = 0;
      const auto cancel = [&](double) { return ++calls < stop; };
      const auto done = work.run({.progress = cancel});
      ASSERT_FALSE(done) << work.name << " after call " << stop << " of " << all;
      EXPECT_EQ(done.error().code, pare::ErrorCode::cancelled) << work.name;
      EXPECT_NE(done.error().message.find("cancelled by the caller's progress"), std::string::npos) << work.name;
      EXPECT_EQ(calls, stop) << work.name;
    }
  }
}

TEST(Progress, LeavesTheResultAsItIs) {
  const Layer layer = make_layer({40, 64}, 3);
  const pare::MinMaxGrid grid{.bits = 4};
  const auto watch = [](double) { return true; };
  const auto plain = pare::Gptq{}(grid, layer.view(), layer.moment);
  const auto watched = pare::Gptq{}(grid, layer.view(), layer.moment, {.progress = watch});
  ASSERT_TRUE(plain && watched);
  EXPECT_TRUE(same(plain->matrix, watched->matrix));
}

TEST(Progress, OfAPartRunsFromItsBeginningToItsEnd) {
  double seen = 0.0;
  const auto watch = [&](double share) {
    seen = share;
    return share < 0.5;
  };
  const pare::ProgressPart part(watch, 0.25, 0.75);
  EXPECT_TRUE(part(0.0));
  EXPECT_EQ(seen, 0.25);
  EXPECT_FALSE(part(1.0));
  EXPECT_EQ(seen, 0.75);
  pare::ProgressMeter nothing(watch, 0);
  EXPECT_FALSE(nothing.advance(0));
  EXPECT_EQ(seen, 1.0);
  EXPECT_FALSE(nothing.status());
}

}  // namespace
