#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "pare/prune/prune.hpp"

namespace {

using namespace pare;

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr std::size_t huge = std::numeric_limits<std::size_t>::max();

template <class Scope>
using MagnitudePruner = Pruner<Magnitude, Unstructured<Scope>>;

MatrixView<const float> matrix(const std::vector<float>& values, std::size_t rows) {
  return {values.data(), rows, values.size() / rows};
}

/// '1' for kept, '0' for pruned, row after row.
std::string bits(const Result<Mask>& mask) {
  if (!mask) return mask.error().message;
  std::string text;
  for (std::size_t r = 0; r < mask->shape().rows; ++r)
    for (std::size_t c = 0; c < mask->shape().cols; ++c) text += mask->test(r, c) ? '1' : '0';
  return text;
}

/// Weights from few distinct values, so that ties abound, among them both zeros.
std::vector<float> tied_weights(std::size_t count, std::uint32_t seed) {
  constexpr std::array<float, 9> values{0.0f, -0.0f, 1.0f, -1.0f, 2.0f, -2.0f, 0.5f, -inf, 1e-40f};
  std::mt19937 generator(seed);
  std::uniform_int_distribution<std::size_t> pick(0, values.size() - 1);
  std::vector<float> weights(count);
  for (float& w : weights) w = values[pick(generator)];
  return weights;
}

std::vector<float> smooth_weights(std::size_t count, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> weights(count);
  for (float& w : weights) w = normal(generator);
  return weights;
}

/// Marks the first `pruned` of the elements `begin` .. `end`, sorted by score and position.
void prune_sorted(const std::vector<double>& scores, std::size_t begin, std::size_t end, std::size_t pruned,
                  std::string& kept) {
  std::vector<std::size_t> order(end - begin);
  std::iota(order.begin(), order.end(), begin);
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return scores[a] < scores[b] || (scores[a] == scores[b] && a < b); });
  for (std::size_t i = 0; i < pruned; ++i) kept[order[i]] = '0';
}

std::vector<double> wanda_scores(const std::vector<float>& weights, const std::vector<float>& norms) {
  std::vector<double> scores(weights.size());
  for (std::size_t i = 0; i < weights.size(); ++i)
    scores[i] = std::fabs(double{weights[i]}) * double{norms[i % norms.size()]};
  return scores;
}

struct ThreadExecutor {
  std::size_t threads;
  void operator()(std::size_t count, Task task) const {
    std::vector<std::thread> pool;
    for (std::size_t t = 0; t < threads; ++t)
      pool.emplace_back([=, this] {
        for (std::size_t i = count; i-- > 0;)
          if (i % threads == t) task(i);
      });
    for (std::thread& thread : pool) thread.join();
  }
};

struct Size {
  std::size_t rows;
  std::size_t cols;
};
constexpr std::array<Size, 9> sizes{{{1, 1}, {1, 7}, {7, 1}, {3, 8}, {5, 9}, {64, 17}, {65, 33}, {130, 27}, {2, 1000}}};
constexpr std::array<double, 9> sparsities{0.0, 1e-9, 0.1, 0.29, 0.5, 0.7, 0.95, 0.999999, 1.0};

TEST(PerRow, PrunesTheFirstOfAStableSortInEachRow) {
  for (const auto& [rows, cols] : sizes)
    for (const double sparsity : sparsities)
      for (const auto& weights : {tied_weights(rows * cols, 1), smooth_weights(rows * cols, 2)}) {
        std::vector<float> norms = smooth_weights(cols, 3);
        for (float& n : norms) n = std::round(std::fabs(n) * 2) + 0.5f;
        const std::vector<double> scores = wanda_scores(weights, norms);
        std::string expected(rows * cols, '1');
        for (std::size_t r = 0; r < rows; ++r)
          prune_sorted(scores, r * cols, (r + 1) * cols, static_cast<std::size_t>(static_cast<double>(cols) * sparsity),
                       expected);
        const auto mask =
            Pruner<Wanda, Unstructured<PerRow>>{.structure = {.sparsity = sparsity}}(matrix(weights, rows), norms);
        EXPECT_EQ(bits(mask), expected) << rows << "x" << cols << " at " << sparsity;
      }
}

TEST(PerLayer, PrunesTheFirstOfAStableSortOfTheWhole) {
  for (const auto& [rows, cols] : sizes)
    for (const double sparsity : sparsities)
      for (const auto& weights : {tied_weights(rows * cols, 4), smooth_weights(rows * cols, 5)}) {
        const std::vector<double> scores = wanda_scores(weights, std::vector<float>(cols, 1.0f));
        const auto pruned = static_cast<std::size_t>(static_cast<double>(rows * cols) * sparsity);
        std::string expected(rows * cols, '1');
        prune_sorted(scores, 0, rows * cols, pruned, expected);
        const auto mask = MagnitudePruner<PerLayer>{.structure = {.sparsity = sparsity}}(matrix(weights, rows));
        EXPECT_EQ(bits(mask), expected) << rows << "x" << cols << " at " << sparsity;
        EXPECT_EQ(mask->kept(), rows * cols - pruned);
      }
}

TEST(PerLayerThreshold, PrunesAllThatIsNotAboveTheRank) {
  for (const auto& [rows, cols] : sizes)
    for (const double sparsity : {1e-9, 0.1, 0.29, 0.5, 0.7, 0.95})
      for (const auto& weights : {tied_weights(rows * cols, 6), smooth_weights(rows * cols, 7)}) {
        std::vector<double> sorted = wanda_scores(weights, std::vector<float>(cols, 1.0f));
        const std::vector<double> scores = sorted;
        std::sort(sorted.begin(), sorted.end());
        const double threshold = sorted[static_cast<std::size_t>(static_cast<double>(rows * cols) * sparsity)];
        std::string expected;
        for (const double score : scores) expected += score <= threshold ? '0' : '1';
        EXPECT_EQ(bits(MagnitudePruner<PerLayerThreshold>{.structure = {.sparsity = sparsity}}(matrix(weights, rows))),
                  expected)
            << rows << "x" << cols << " at " << sparsity;
      }
}

TEST(PerLayerThreshold, TakesNothingAtZeroAndAllAtOne) {
  const std::vector<float> weights{3, 1, 1, 2};
  EXPECT_EQ(bits(MagnitudePruner<PerLayerThreshold>{.structure = {.sparsity = 0}}(matrix(weights, 2))), "1111");
  EXPECT_EQ(bits(MagnitudePruner<PerLayerThreshold>{.structure = {.sparsity = 1}}(matrix(weights, 2))), "0000");
  EXPECT_EQ(bits(MagnitudePruner<PerLayerThreshold>{.structure = {.sparsity = 0.25}}(matrix(weights, 2))), "1001");
  EXPECT_EQ(bits(MagnitudePruner<PerLayer>{.structure = {.sparsity = 0.25}}(matrix(weights, 2))), "1011");
}

template <std::size_t N, std::size_t M>
void check_blocks() {
  for (const auto& [rows, cols] : sizes)
    for (const auto& weights : {tied_weights(rows * cols, 8), smooth_weights(rows * cols, 9)}) {
      std::vector<float> norms = smooth_weights(cols, 10);
      for (float& n : norms) n = std::fabs(n);
      const std::vector<double> scores = wanda_scores(weights, norms);
      std::string expected(rows * cols, '1');
      for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < cols; c += M) {
          const std::size_t width = std::min(M, cols - c);
          const std::size_t kept = (width * N + M - 1) / M;
          prune_sorted(scores, r * cols + c, r * cols + c + width, width - kept, expected);
        }
      EXPECT_EQ(bits(Pruner<Wanda, NofM<N, M>>{}(matrix(weights, rows), norms)), expected)
          << N << " of " << M << " in " << rows << "x" << cols;
    }
}

TEST(NofM, PrunesTheFirstOfAStableSortInEachBlock) {
  check_blocks<1, 1>();
  check_blocks<4, 4>();
  check_blocks<1, 2>();
  check_blocks<2, 4>();
  check_blocks<3, 4>();
  check_blocks<4, 8>();
  check_blocks<3, 7>();
  check_blocks<16, 32>();
  check_blocks<1, 256>();
}

TEST(NofM, RaggedTailKeepsItsShareRoundedUp) {
  const std::vector<float> weights{4, 3, 2, 1, 3, 2, 1};
  const auto kept = [&](std::size_t cols) {
    return bits(Pruner<Magnitude, NofM<2, 4>>{}(MatrixView<const float>(weights.data(), 1, cols)));
  };
  EXPECT_EQ(kept(4), "1100");
  EXPECT_EQ(kept(5), "11001");
  EXPECT_EQ(kept(6), "110010");
  EXPECT_EQ(kept(7), "1100110");
}

TEST(Ties, GoByTheLowerColumnThenRow) {
  const std::vector<float> weights{1, -1, 1, -1, 1, 1, -1, 1};
  EXPECT_EQ(bits(MagnitudePruner<PerRow>{}(matrix(weights, 2))), "00110011");
  EXPECT_EQ(bits(MagnitudePruner<PerLayer>{}(matrix(weights, 2))), "00001111");
  EXPECT_EQ(bits(MagnitudePruner<PerLayerThreshold>{}(matrix(weights, 2))), "00000000");
  EXPECT_EQ(bits(Pruner<Magnitude, NofM<2, 4>>{}(matrix(weights, 2))), "00110011");
}

TEST(Ties, NegativeZeroEqualsZero) {
  const std::vector<float> weights{0.0f, -0.0f, 0.0f, -0.0f};
  EXPECT_EQ(bits(MagnitudePruner<PerRow>{}(matrix(weights, 1))), "0011");
  EXPECT_EQ(bits(Pruner<Magnitude, NofM<1, 2>>{}(matrix(weights, 1))), "0101");
}

TEST(Nan, IsTheLastToGo) {
  const float negative_nan = std::bit_cast<float>(0xffc00000u);
  const std::vector<float> weights{nan, inf, 1, negative_nan, -inf, 0};
  for (const auto& [sparsity, expected] :
       {std::pair<double, const char*>{0.5, "100110"}, {0.7, "100100"}, {5.0 / 6, "000100"}, {1.0, "000000"}}) {
    EXPECT_EQ(bits(MagnitudePruner<PerRow>{.structure = {.sparsity = sparsity}}(matrix(weights, 1))), expected);
    EXPECT_EQ(bits(MagnitudePruner<PerLayer>{.structure = {.sparsity = sparsity}}(matrix(weights, 1))), expected);
  }
  EXPECT_EQ(bits(MagnitudePruner<PerLayerThreshold>{.structure = {.sparsity = 0.5}}(matrix(weights, 1))), "100100");
  EXPECT_EQ(bits(Pruner<Magnitude, NofM<1, 3>>{}(matrix(weights, 1))), "100100");
}

TEST(Wanda, InfiniteWeightOfADeadColumnIsKept) {
  const std::vector<float> weights{inf, 5, 1, 2};
  EXPECT_EQ(bits(Pruner<Wanda, Unstructured<PerRow>>{}(matrix(weights, 1), std::vector<float>{0, 1, 1, 1})), "1100");
}

TEST(Wanda, ProductsBeyondFloatStillRank) {
  const std::vector<float> large{3e38f, 2e38f, 1e38f, 3.1e38f};
  EXPECT_EQ(bits(Pruner<Wanda, NofM<2, 4>>{}(matrix(large, 1), std::vector<float>(4, 1e30f))), "1001");
  const std::vector<float> small{3e-40f, 2e-40f, 1e-40f, 4e-40f};
  EXPECT_EQ(bits(Pruner<Wanda, NofM<2, 4>>{}(matrix(small, 1), std::vector<float>(4, 1e-20f))), "1001");
}

TEST(Wanda, RescaledNormsGiveTheSameMask) {
  const std::vector<float> weights = smooth_weights(40 * 64, 11);
  std::vector<float> norms = smooth_weights(64, 12);
  for (float& n : norms) n = std::fabs(n);
  const std::string expected = bits(Pruner<Wanda, NofM<2, 4>>{}(matrix(weights, 40), norms));
  for (const float scale : {0.125f, 1024.0f, 3.0f, 0.7f}) {
    std::vector<float> scaled = norms;
    for (float& n : scaled) n *= scale;
    EXPECT_EQ(bits(Pruner<Wanda, NofM<2, 4>>{}(matrix(weights, 40), scaled)), expected) << scale;
  }
}

TEST(Wanda, UnitNormsAreMagnitude) {
  const std::vector<float> weights = tied_weights(12 * 19, 13);
  const std::vector<float> ones(19, 1.0f);
  EXPECT_EQ(bits(Pruner<Wanda, Unstructured<PerRow>>{}(matrix(weights, 12), ones)),
            bits(MagnitudePruner<PerRow>{}(matrix(weights, 12))));
}

TEST(Wanda, RefusesNormsThatAreNotNorms) {
  const std::vector<float> weights(8, 1.0f);
  const Pruner<Wanda, NofM<2, 4>> pruner;
  for (const std::vector<float>& norms :
       {std::vector<float>{1, 1, 1}, {1, 1, 1, 1, 1}, {}, {1, 1, 1, nan}, {1, -1, 1, 1}, {inf, 1, 1, 1}}) {
    const auto mask = pruner(matrix(weights, 2), norms);
    ASSERT_FALSE(mask);
    EXPECT_EQ(mask.error().code, ErrorCode::invalid_argument);
  }
  EXPECT_NE(pruner(matrix(weights, 2), std::vector<float>{1, 1, -1, 1}).error().message.find("column 2"),
            std::string::npos);
  EXPECT_TRUE(pruner(matrix(weights, 2), std::vector<float>{0, -0.0f, 1, 1}));
}

TEST(Sparsity, MultipliesInDouble) {
  const std::vector<float> ten{1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  EXPECT_EQ(MagnitudePruner<PerRow>{.structure = {.sparsity = 0.7}}(matrix(ten, 1))->kept(), 3u);
  EXPECT_EQ(MagnitudePruner<PerLayer>{.structure = {.sparsity = 0.7}}(matrix(ten, 2))->kept(), 3u);
}

template <class Scope>
void check_range(double sparsity) {
  const std::vector<float> weights(8, 1.0f);
  const MagnitudePruner<Scope> pruner{.structure = {.sparsity = sparsity}};
  for (const MatrixView<const float> view : {matrix(weights, 2), MatrixView<const float>()}) {
    const auto mask = pruner(view);
    ASSERT_FALSE(mask) << sparsity;
    EXPECT_EQ(mask.error().code, ErrorCode::invalid_argument);
  }
}

TEST(Sparsity, OutsideItsRangeIsAnError) {
  for (const double sparsity : {-0.01, 1.01, double{nan}, double{inf}, -double{inf}}) {
    check_range<PerRow>(sparsity);
    check_range<PerLayer>(sparsity);
    check_range<PerLayerThreshold>(sparsity);
  }
}

TEST(Threads, DoNotChangeTheMask) {
  for (const Size size : {Size{1, 1}, {3, 5}, {65, 33}, {300, 70}, {40, 14000}}) {
    const std::vector<float> weights = tied_weights(size.rows * size.cols, 14);
    const auto view = matrix(weights, size.rows);
    const std::vector<float> norms(size.cols, 2.0f);
    const std::string row = bits(MagnitudePruner<PerRow>{}(view));
    const std::string layer = bits(MagnitudePruner<PerLayer>{}(view));
    const std::string threshold = bits(MagnitudePruner<PerLayerThreshold>{}(view));
    const std::string blocks = bits(Pruner<Wanda, NofM<2, 4>>{}(view, norms));
    for (const std::size_t threads : {1u, 2u, 5u}) {
      const ThreadExecutor executor{threads};
      EXPECT_EQ(bits(MagnitudePruner<PerRow>{}(view, {.executor = executor})), row);
      EXPECT_EQ(bits(MagnitudePruner<PerLayer>{}(view, {.executor = executor})), layer);
      EXPECT_EQ(bits(MagnitudePruner<PerLayerThreshold>{}(view, {.executor = executor})), threshold);
      EXPECT_EQ(bits(Pruner<Wanda, NofM<2, 4>>{}(view, norms, {.executor = executor})), blocks);
    }
  }
}

template <class AnyPruner>
void check_empty(const AnyPruner& pruner) {
  for (const Shape shape : {Shape{0, 0}, {0, 4}, {4, 0}, {huge, 0}, {0, huge}}) {
    const auto mask = pruner(MatrixView<const float>(nullptr, shape.rows, shape.cols));
    ASSERT_TRUE(mask);
    EXPECT_EQ(mask->shape(), shape);
    EXPECT_EQ(mask->kept(), 0u);
  }
}

TEST(Shapes, EmptyOnesGiveEmptyMasks) {
  check_empty(MagnitudePruner<PerRow>{});
  check_empty(MagnitudePruner<PerLayer>{});
  check_empty(MagnitudePruner<PerLayerThreshold>{});
  check_empty(Pruner<Magnitude, NofM<2, 4>>{});
  const auto mask = Pruner<Wanda, NofM<2, 4>>{}(MatrixView<const float>(nullptr, huge, 0), std::span<const float>());
  ASSERT_TRUE(mask);
  EXPECT_EQ(mask->shape(), (Shape{huge, 0}));
}

TEST(Shapes, ImpossibleOnesAndMissingDataAreErrors) {
  const float one = 1;
  for (const MatrixView<const float> view :
       {MatrixView<const float>(&one, huge, 2, 0, 0), MatrixView<const float>(&one, 2, huge, 0, 0),
        MatrixView<const float>(nullptr, 2, 2)}) {
    const auto mask = MagnitudePruner<PerLayer>{}(view);
    ASSERT_FALSE(mask);
    EXPECT_EQ(mask.error().code, ErrorCode::invalid_argument);
  }
}

TEST(Shapes, StridedViewsGiveTheMaskOfTheDenseOne) {
  const std::vector<float> weights = smooth_weights(13 * 21, 15);
  std::vector<float> transposed(13 * 21);
  std::vector<float> padded(13 * 25, nan);
  for (std::size_t r = 0; r < 13; ++r)
    for (std::size_t c = 0; c < 21; ++c) {
      transposed[c * 13 + r] = weights[r * 21 + c];
      padded[r * 25 + c] = weights[r * 21 + c];
    }
  const std::string expected = bits(Pruner<Magnitude, NofM<2, 4>>{}(matrix(weights, 13)));
  EXPECT_EQ(bits(Pruner<Magnitude, NofM<2, 4>>{}(MatrixView<const float>(transposed.data(), 13, 21, 1, 13))), expected);
  EXPECT_EQ(bits(Pruner<Magnitude, NofM<2, 4>>{}(MatrixView<const float>(padded.data(), 13, 21, 25, 1))), expected);
}

/// Counts what it hands out and what comes back.
class CountingMemory : public std::pmr::memory_resource {
 public:
  [[nodiscard]] std::size_t live() const { return live_; }
  [[nodiscard]] std::size_t allocations() const { return allocations_; }

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    ++allocations_;
    ++live_;
    return std::pmr::new_delete_resource()->allocate(bytes, alignment);
  }
  void do_deallocate(void* p, std::size_t bytes, std::size_t alignment) override {
    --live_;
    std::pmr::new_delete_resource()->deallocate(p, bytes, alignment);
  }
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override { return this == &other; }

  std::size_t live_ = 0;
  std::size_t allocations_ = 0;
};

TEST(Memory, ComesFromTheCallerAndGoesBack) {
  const std::vector<float> weights = smooth_weights(200 * 30, 16);
  const std::vector<float> norms(30, 1.0f);
  for (const std::size_t expected : {1u, 2u}) {
    CountingMemory memory;
    {
      const PruneOptions options{.executor = serial, .memory = &memory};
      const auto mask = expected == 1 ? Pruner<Wanda, NofM<2, 4>>{}(matrix(weights, 200), norms, options)
                                      : MagnitudePruner<PerRow>{}(matrix(weights, 200), options);
      ASSERT_TRUE(mask);
      EXPECT_EQ(memory.allocations(), expected);
      EXPECT_EQ(memory.live(), 1u);
    }
    EXPECT_EQ(memory.live(), 0u);
  }
}

TEST(Memory, OfALayerDoesNotGrowWithIt) {
  std::vector<std::byte> storage(std::size_t{9} << 20);
  std::pmr::monotonic_buffer_resource memory(storage.data(), storage.size(), std::pmr::null_memory_resource());
  const std::vector<float> weights = smooth_weights(2000 * 2000, 17);
  const auto mask = MagnitudePruner<PerLayer>{}(matrix(weights, 2000), {.memory = &memory});
  ASSERT_TRUE(mask);
  EXPECT_EQ(mask->kept(), 2000u * 1000u);
}

/// A stand-in for another library's matrix.
struct ForeignMatrix {
  std::vector<float> values{4, 3, 2, 1, 1, 2, 3, 4};
  [[nodiscard]] const float* data() const { return values.data(); }
  [[nodiscard]] std::ptrdiff_t rows() const { return 2; }
  [[nodiscard]] std::ptrdiff_t cols() const { return 4; }
  [[nodiscard]] std::ptrdiff_t rowStride() const { return 4; }
  [[nodiscard]] std::ptrdiff_t colStride() const { return 1; }
};

TEST(ForeignMatrices, AreTakenAsTheyAre) {
  const ForeignMatrix weights;
  const std::vector<float> norms{1, 1, 10, 10};
  EXPECT_EQ(bits(Pruner<Magnitude, NofM<2, 4>>{}(weights)), "11000011");
  EXPECT_EQ(bits(Pruner<Wanda, NofM<2, 4>>{}(weights, norms)), "00110011");
  EXPECT_EQ(bits(Pruner<Wanda, NofM<2, 4>>{}(weights, norms, PruneOptions{})), "00110011");
}

/// A user's metric with numbers of its own and scores of both signs.
struct Distance {
  float from = 0;
  [[nodiscard]] double score(float weight) const {
    return weight < from ? double{weight} - from : from - double{weight};
  }
};
/// A user's structure: whole columns from `first` on.
struct Columns {
  std::size_t first = 0;
  template <class Scores>
  Result<void> select(const Scores&, Mask& mask, const PruneOptions&) const {
    for (std::size_t r = 0; r < mask.shape().rows; ++r)
      for (std::size_t c = first; c < mask.shape().cols; ++c) mask.set(r, c, false);
    return {};
  }
};

TEST(UsersPolicies, ComposeWithTheLibrarys) {
  static_assert(Saliency<Distance> && WeightSaliency<Distance> && !ActivationSaliency<Distance>);
  static_assert(Structure<Columns> && Structure<NofM<2, 4>> && Structure<Unstructured<PerRow>>);
  static_assert(!Structure<PerRow> && !Saliency<PerRow>);
  static_assert(sizeof(Pruner<Magnitude, Unstructured<PerRow>>) == sizeof(Unstructured<PerRow>));

  const std::vector<float> weights{-3, 0, 1, 2, 5, 1};
  EXPECT_EQ(bits(Pruner<Distance, Unstructured<PerRow>>{.metric = {.from = 1}, .structure = {}}(matrix(weights, 1))),
            "001101");
  EXPECT_EQ(bits(Pruner<Distance, Unstructured<PerLayer>>{.metric = {.from = 1}, .structure = {}}(matrix(weights, 2))),
            "001101");
  EXPECT_EQ(bits(Pruner<Magnitude, Columns>{.structure = {.first = 2}}(matrix(weights, 2))), "110110");
}

}  // namespace
