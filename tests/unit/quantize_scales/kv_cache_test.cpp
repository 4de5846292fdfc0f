// Keys and values in codes, and what QoQ does to them before.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "layer.hpp"
#include "pare/quantize/quantize.hpp"

namespace {
using namespace quantize_test;
using pare::KvCache;
using pare::KvShape;
using pare::MatrixView;
using pare::Options;
using pare::Result;
using pare::ValueRange;

/// A cache and its memory.
template <class S, class Kernels = pare::HighwayKernels>
struct Held {
  std::vector<std::uint8_t> codes, scales, zero_points;
  Result<KvCache<S, Kernels>> cache = pare::Error{};

  explicit Held(const KvShape& shape, std::span<const ValueRange> ranges = {}) {
    const auto sizes = *KvCache<S, Kernels>::sizes(shape);
    codes.assign(sizes.codes, 0xcc);
    scales.assign(sizes.scales, 0xcc);
    zero_points.assign(sizes.zero_points, 0xcc);
    cache = KvCache<S, Kernels>::over(shape, codes, scales, zero_points, ranges);
  }
};

Table read(const auto& cache, std::size_t head) {
  Table table{std::vector<float>(cache.tokens() * cache.shape().width), {cache.tokens(), cache.shape().width}};
  EXPECT_TRUE(pare::dequantize(cache.head(head), table.view()));
  return table;
}

MatrixView<const float> rows(const Table& table, std::size_t begin, std::size_t count) {
  return {table.values.data() + begin * table.shape.cols, count, table.shape.cols};
}

/// Appends, reads and multiplies with one scheme; `most` is how far a value may be from what was appended, relative to
/// the largest of its head.
template <class S>
void check_cache(const KvShape& shape, std::span<const ValueRange> ranges, double most) {
  const std::size_t tokens = 70;
  const Table states = random_table({tokens, shape.heads * shape.width}, 1);
  Held<S> at_once(shape, ranges), by_parts(shape, ranges);
  Held<S, pare::ReferenceKernels> reference(shape, ranges);
  ASSERT_TRUE(at_once.cache && by_parts.cache && reference.cache) << at_once.cache.error().message;
  ASSERT_TRUE(at_once.cache->append(states.view(), {.executor = two_threads}));
  for (const auto& [begin, count] : {std::pair<std::size_t, std::size_t>{0, 1}, {1, 0}, {1, 66}, {67, 3}}) {
    ASSERT_TRUE(by_parts.cache->append(rows(states, begin, count)));
    ASSERT_TRUE(reference.cache->append(rows(states, begin, count)));
  }
  EXPECT_EQ(by_parts.codes, at_once.codes);
  EXPECT_EQ(by_parts.scales, at_once.scales);
  EXPECT_EQ(by_parts.zero_points, at_once.zero_points);
  EXPECT_EQ(reference.codes, at_once.codes);

  const KvCache<S>& cache = *at_once.cache;
  const std::size_t each = 3, queries_count = each * shape.heads;
  const Table queries = random_table({queries_count, shape.width}, 2);
  Table scores{std::vector<float>(queries_count * tokens), {queries_count, tokens}}, again = scores;
  ASSERT_TRUE(cache.scores(queries.view(), scores.view(), {.executor = two_threads}));
  ASSERT_TRUE(reference.cache->scores(queries.view(), again.view()));
  EXPECT_EQ(scores.values, again.values);
  const Table shares = random_table({queries_count, tokens}, 3);
  Table sums{std::vector<float>(queries_count * shape.width), {queries_count, shape.width}}, sums_again = sums;
  ASSERT_TRUE(cache.weighted_sums(shares.view(), sums.view(), {.executor = two_threads}));
  ASSERT_TRUE(reference.cache->weighted_sums(shares.view(), sums_again.view()));
  EXPECT_EQ(sums.values, sums_again.values);

  for (std::size_t h = 0; h < shape.heads; ++h) {
    Table values = read(cache, h);
    double largest = 0.0;
    for (std::size_t t = 0; t < tokens; ++t)
      for (std::size_t d = 0; d < shape.width; ++d)
        largest =
            std::max(largest, std::fabs(static_cast<double>(states.values[(t * shape.heads + h) * shape.width + d])));
    for (std::size_t t = 0; t < tokens; ++t)
      for (std::size_t d = 0; d < shape.width; ++d) {
        const float x = states.values[(t * shape.heads + h) * shape.width + d];
        ASSERT_NEAR(values(t, d), x, most * largest) << "head " << h << " token " << t << " value " << d;
      }
    for (std::size_t i = h * each; i < (h + 1) * each; ++i) {
      for (std::size_t t = 0; t < tokens; ++t) {
        double expected = 0.0;
        for (std::size_t d = 0; d < shape.width; ++d)
          expected += static_cast<double>(queries.values[i * shape.width + d]) * static_cast<double>(values(t, d));
        ASSERT_NEAR(scores(i, t), expected, 1e-4) << i << ", " << t;
      }
      for (std::size_t d = 0; d < shape.width; ++d) {
        double expected = 0.0;
        for (std::size_t t = 0; t < tokens; ++t)
          expected += static_cast<double>(shares.values[i * tokens + t]) * static_cast<double>(values(t, d));
        ASSERT_NEAR(sums(i, d), expected, 1e-4) << i << ", " << d;
      }
    }
  }
}

TEST(KvCache, KeepsReadsAndMultipliesWhatIsAppended) {
  // An odd width, so that a token ends within a byte, and one wider than a tile of the sums.
  for (const KvShape shape : {KvShape{2, 80, 64}, KvShape{3, 70, 33}, KvShape{1, 70, 136}}) {
    check_cache<pare::kv::Int8>(shape, {}, 0.5 * 2.0 / 255.0 + 1e-3);
    check_cache<pare::kv::Int4>(shape, {}, 0.5 * 2.0 / 15.0 + 0.07);
    check_cache<pare::kv::FP8Token>(shape, {}, 1.0 / 16.0);
    check_cache<pare::Scheme<4, pare::Symmetric, pare::PerGroup<32>, pare::f16>>(shape, {}, 0.5 / 7.0 + 1e-3);
    const std::vector<ValueRange> ranges(shape.heads, ValueRange{-6.0f, 6.0f});
    check_cache<pare::kv::FP8>(shape, ranges, 1.0 / 16.0);
    check_cache<pare::Scheme<8, pare::Asymmetric, pare::PerTensor>>(shape, ranges, 0.5 * 12.0 / 255.0 / 2.0);
  }
}

TEST(KvCache, HasAScaleForEachHeadOrForEachToken) {
  const KvShape shape{2, 4, 8};
  Table states = random_table({3, 16}, 4);
  for (std::size_t d = 0; d < 8; ++d) states(1, d) *= 1000.0f;  // one token of the first head
  Held<pare::kv::Int4> by_token(shape);
  ASSERT_TRUE(by_token.cache && by_token.cache->append(states.view()));
  Table first = read(*by_token.cache, 0);
  for (std::size_t d = 0; d < 8; ++d) EXPECT_NEAR(first(2, d), states(2, d), 0.3);
  // Beyond its range a head saturates.
  const std::vector<ValueRange> ranges{{-1.0f, 1.0f}, {-10.0f, 10.0f}};
  Held<pare::kv::FP8> by_head(shape, ranges);
  ASSERT_TRUE(by_head.cache && by_head.cache->append(states.view()));
  first = read(*by_head.cache, 0);
  Table second = read(*by_head.cache, 1);
  for (std::size_t d = 0; d < 8; ++d) {
    EXPECT_EQ(first(1, d), std::clamp(first(1, d), -1.0f, 1.0f));
    EXPECT_NEAR(second(1, d), states(1, 8 + d), std::fabs(states(1, 8 + d)) / 16.0f);
  }
}

TEST(KvCache, GoesBackAndGoesOn) {
  const KvShape shape{1, 4, 8};
  const Table states = random_table({4, 8}, 5), other = random_table({2, 8}, 6);
  Held<pare::kv::Int8> held(shape);
  ASSERT_TRUE(held.cache && held.cache->append(states.view()));
  EXPECT_EQ(held.cache->tokens(), 4u);
  held.cache->truncate(9);
  EXPECT_EQ(held.cache->tokens(), 4u);
  held.cache->truncate(2);
  ASSERT_TRUE(held.cache->append(other.view()));
  Table now = read(*held.cache, 0);
  for (std::size_t d = 0; d < 8; ++d) {
    EXPECT_NEAR(now(1, d), states.values[8 + d], 0.02);
    EXPECT_NEAR(now(3, d), other.values[8 + d], 0.02);
  }
  // What was saved is taken up again.
  const auto restored = KvCache<pare::kv::Int8>::over(shape, held.codes, held.scales, held.zero_points, {}, 4);
  ASSERT_TRUE(restored);
  EXPECT_EQ(read(*restored, 0).values, now.values);
}

TEST(KvCache, RefusesWhatDoesNotFit) {
  const KvShape shape{2, 4, 8};
  using Cache = KvCache<pare::kv::Int8>;
  Held<pare::kv::Int8> held(shape);
  ASSERT_TRUE(held.cache);
  Cache& cache = *held.cache;
  const Table states = random_table({5, 16}, 7);
  const auto full = cache.append(states.view());
  ASSERT_FALSE(full);
  EXPECT_NE(full.error().message.find("no room for 5"), std::string::npos) << full.error().message;
  EXPECT_FALSE(cache.append(MatrixView<const float>(states.values.data(), 2, 15)));
  EXPECT_FALSE(cache.append(MatrixView<const float>(states.values.data(), 2, 16, 1, 2)));
  EXPECT_FALSE(cache.append(MatrixView<const float>(nullptr, 2, 16)));
  EXPECT_EQ(cache.tokens(), 0u);
  ASSERT_TRUE(cache.append(rows(states, 0, 4)));
  Table out{std::vector<float>(64), {4, 4}};
  EXPECT_FALSE(cache.scores({states.values.data(), 3, 8}, {out.values.data(), 3, 4}));  // 3 rows for 2 heads
  EXPECT_FALSE(cache.scores({states.values.data(), 4, 8}, {out.values.data(), 4, 3}));
  EXPECT_FALSE(cache.scores({states.values.data(), 4, 7}, {out.values.data(), 4, 4}));
  EXPECT_FALSE(cache.weighted_sums({states.values.data(), 4, 3}, {out.values.data(), 4, 8}));
  EXPECT_FALSE(cache.weighted_sums({states.values.data(), 4, 4}, {out.values.data(), 4, 7}));
  EXPECT_FALSE(cache.weighted_sums({out.values.data(), 4, 4}, {out.values.data() + 8, 4, 8}));
  const MatrixView<float> within(reinterpret_cast<float*>(held.codes.data()), 2, 8);
  EXPECT_FALSE(cache.weighted_sums({states.values.data(), 2, 4}, within));
  EXPECT_FALSE(cache.scores({states.values.data(), 2, 8}, {within.data, 2, 4}));
  // Memory of another size, ranges that are needed or not, more tokens than room.
  EXPECT_FALSE(Cache::over(shape, std::span(held.codes).first(3), held.scales, held.zero_points));
  EXPECT_FALSE(Cache::over(shape, held.codes, held.scales, held.zero_points, {}, 5));
  const std::vector<ValueRange> ranges(2, ValueRange{-1.0f, 1.0f});
  EXPECT_FALSE(Cache::over(shape, held.codes, held.scales, held.zero_points, ranges));
  EXPECT_FALSE(Held<pare::kv::FP8>(shape).cache);
  EXPECT_FALSE(Held<pare::kv::FP8>(shape, std::vector<ValueRange>(2, ValueRange{-1.0f, infinity})).cache);
  EXPECT_FALSE(Cache::sizes({std::size_t{1} << 40, std::size_t{1} << 40, 128}));
  // Nothing at all.
  Held<pare::kv::Int8> none({0, 0, 0});
  ASSERT_TRUE(none.cache);
  EXPECT_TRUE(none.cache->append({}));
  EXPECT_TRUE(none.cache->scores({}, {}));
  EXPECT_TRUE(none.cache->weighted_sums({}, {}));
}

TEST(KvCache, TakesValuesThatAreNotFinite) {
  const KvShape shape{1, 3, 20};
  Table states = random_table({3, 20}, 8);
  const Table before = states;
  states(1, 2) = not_a_number;
  states(1, 17) = infinity;
  states(2, 3) = -infinity;
  Held<pare::kv::Int8> held(shape);
  ASSERT_TRUE(held.cache && held.cache->append(states.view()));
  const Table values = read(*held.cache, 0);
  for (std::size_t i = 0; i < 60; ++i) {
    if (!std::isfinite(states.values[i])) continue;
    EXPECT_NEAR(values.values[i], before.values[i], 0.02);
  }
  EXPECT_EQ(values.values[20 + 2], 0.0f);
  EXPECT_EQ(values.values[20 + 17], *std::max_element(values.values.begin() + 20, values.values.begin() + 40));
  EXPECT_EQ(values.values[40 + 3], *std::min_element(values.values.begin() + 40, values.values.end()));

  const std::vector<ValueRange> ranges{{-4.0f, 4.0f}};
  Held<pare::kv::FP8> per_head(shape, ranges);
  Held<pare::kv::FP8, pare::ReferenceKernels> reference(shape, ranges);
  ASSERT_TRUE(per_head.cache && per_head.cache->append(states.view()));
  ASSERT_TRUE(reference.cache && reference.cache->append(states.view()));
  EXPECT_EQ(per_head.codes, reference.codes);
  const Table own = read(*per_head.cache, 0);
  EXPECT_TRUE(std::isnan(own.values[20 + 2]));
  EXPECT_EQ(own.values[20 + 17], 4.0f);
  EXPECT_EQ(own.values[40 + 3], -4.0f);
}

TEST(SmoothAttention, SharesScalesAmongThoseThatTurnTogetherAndChangesNoScore) {
  const std::vector<float> magnitudes{4.0f, 0.0f, 1.0f, 0.0f, 9.0f, 1.0f, 16.0f, 25.0f};
  const auto halves = pare::SmoothAttention{}(magnitudes, 4);
  ASSERT_TRUE(halves);
  EXPECT_EQ(std::vector<float>(halves->begin(), halves->end()),
            (std::vector<float>{2.0f, 1.0f, 2.0f, 1.0f, 4.0f, 5.0f, 4.0f, 5.0f}));
  const auto adjacent = pare::SmoothAttention{.pairs = pare::RotaryPairs::adjacent}(magnitudes, 4);
  ASSERT_TRUE(adjacent);
  EXPECT_EQ(std::vector<float>(adjacent->begin(), adjacent->end()),
            (std::vector<float>{2.0f, 2.0f, 1.0f, 1.0f, 3.0f, 3.0f, 5.0f, 5.0f}));
  const auto alone = pare::SmoothAttention{.alpha = 1.0f, .pairs = pare::RotaryPairs::none}(magnitudes, 8);
  ASSERT_TRUE(alone);
  EXPECT_EQ((*alone)[7], 25.0f);

  // Two heads of keys, four of queries.
  Table key = random_table({8, 6}, 10), query = random_table({16, 6}, 11);
  std::vector<float> bias(16, 0.5f);
  const Table x = random_table({1, 6}, 12);
  const auto project = [&](const Table& w, std::size_t r, float b) {
    double sum = static_cast<double>(b);
    for (std::size_t c = 0; c < 6; ++c)
      sum += static_cast<double>(w.values[r * 6 + c]) * static_cast<double>(x.values[c]);
    return sum;
  };
  const auto score = [&](std::size_t q) {
    double sum = 0.0;
    for (std::size_t d = 0; d < 4; ++d)
      sum += project(query, q * 4 + d, bias[q * 4 + d]) * project(key, q / 2 * 4 + d, 0.0f);
    return sum;
  };
  std::vector<double> before;
  for (std::size_t q = 0; q < 4; ++q) before.push_back(score(q));
  const Table key_before = key;
  ASSERT_TRUE(pare::SmoothAttention::fold({key.view()}, {query.view(), bias}, halves->values(), 4));
  for (std::size_t q = 0; q < 4; ++q) EXPECT_NEAR(score(q), before[q], 1e-5) << q;
  EXPECT_EQ(key.values[6 * 5], key_before.values[6 * 5] / 5.0f);

  EXPECT_FALSE(pare::SmoothAttention{.alpha = 1.5f}(magnitudes, 4));
  EXPECT_FALSE(pare::SmoothAttention{}(magnitudes, 3));
  EXPECT_FALSE(pare::SmoothAttention{}(magnitudes, 0));
  EXPECT_FALSE(pare::SmoothAttention{}(std::vector<float>{1.0f, infinity}, 2));
  Table odd = random_table({12, 6}, 13);
  EXPECT_FALSE(pare::SmoothAttention::fold({key.view()}, {odd.view()}, halves->values(), 4));
  EXPECT_FALSE(pare::SmoothAttention::fold({key.view()}, {query.view()}, std::vector<float>(8, 0.0f), 4));
}

TEST(SmoothAttention, MakesKeysBearFourBits) {
  Table keys = random_inputs({64, 32}, 14);
  const std::vector<float> magnitudes = [&] {
    std::vector<float> largest(32);
    for (std::size_t i = 0; i < keys.values.size(); ++i)
      largest[i % 32] = std::max(largest[i % 32], std::fabs(keys.values[i]));
    return largest;
  }();
  const auto scales = pare::SmoothAttention{}(magnitudes, 32);
  ASSERT_TRUE(scales);
  // How far the scores of random queries, which SmoothAttention scales too, are from those of the keys themselves.
  const auto error = [&](bool smooth) {
    Table used = keys, query = random_table({8, 32}, 15);
    for (std::size_t d = 0; smooth && d < 32; ++d) {
      for (std::size_t t = 0; t < 64; ++t) used(t, d) /= (*scales)[d];
      for (std::size_t q = 0; q < 8; ++q) query(q, d) *= (*scales)[d];
    }
    Held<pare::kv::Int4> held({1, 64, 32});
    Table scores{std::vector<float>(8 * 64), {8, 64}};
    EXPECT_TRUE(held.cache->append(used.view()) && held.cache->scores(query.view(), scores.view()));
    const auto exact =
        (pare::as_eigen(std::as_const(query).view()) * pare::as_eigen(std::as_const(used).view()).transpose()).eval();
    return (pare::as_eigen(std::as_const(scores).view()) - exact).norm() / exact.norm();
  };
  EXPECT_LT(error(true), 0.8f * error(false));
}

TEST(ChannelOrder, PutsLargeChannelsFirstWithoutChangingTheLayers) {
  const std::vector<float> magnitudes{1.0f, 5.0f, 0.0f, 5.0f};
  const auto order = pare::salient_order(magnitudes);
  ASSERT_TRUE(order);
  EXPECT_EQ(std::vector<std::uint32_t>(order->begin(), order->end()), (std::vector<std::uint32_t>{1, 3, 0, 2}));
  const Table first = random_table({4, 3}, 16), second = random_table({2, 4}, 17);
  Table producer = first, consumer = second;
  std::vector<float> bias{0.0f, 1.0f, 2.0f, 3.0f};
  ASSERT_TRUE(pare::reorder_outputs({producer.view(), bias}, order->values()));
  ASSERT_TRUE(pare::reorder_inputs(consumer.view(), order->values()));
  EXPECT_EQ(bias, (std::vector<float>{1.0f, 3.0f, 0.0f, 2.0f}));
  const auto before = (pare::as_eigen(second.view()) * pare::as_eigen(first.view())).eval();
  const auto after =
      (pare::as_eigen(std::as_const(consumer).view()) * pare::as_eigen(std::as_const(producer).view())).eval();
  EXPECT_LT((before - after).norm(), 1e-5f);
  EXPECT_FALSE(pare::reorder_inputs(consumer.view(), std::vector<std::uint32_t>{0, 1, 2}));
  EXPECT_FALSE(pare::reorder_inputs(consumer.view(), std::vector<std::uint32_t>{0, 1, 2, 2}));
  EXPECT_FALSE(pare::reorder_inputs(consumer.view(), std::vector<std::uint32_t>{0, 1, 2, 4}));
  EXPECT_FALSE(pare::reorder_outputs({producer.view(), std::span(bias).first(2)}, order->values()));
  EXPECT_FALSE(pare::salient_order(std::vector<float>{-1.0f}));
}

}  // namespace
