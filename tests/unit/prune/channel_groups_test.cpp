// Removals carried through a model: what must go together goes together, and what is left computes the same.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "pare/prune/prune.hpp"

namespace {
using pare::ChannelGraph;
using pare::ChannelGroups;
using Kind = ChannelGraph::Kind;
using Channels = std::vector<std::size_t>;

std::string fault(ChannelGraph graph) {
  const auto groups = ChannelGroups::create(std::move(graph));
  return groups ? std::string() : groups.error().message;
}

/// A network of linear layers with a residual add, a split, a concatenation and a layer that scales each channel.
struct Network {
  ChannelGraph graph;
  std::size_t input = graph.add("input", 3, true), left = graph.add("left", 4), right = graph.add("right", 4);
  std::size_t sum = graph.add("sum", 4), front = graph.add("front", 1), back = graph.add("back", 3);
  std::size_t side = graph.add("side", 2), joined = graph.add("joined", 5), scaled = graph.add("scaled", 5);
  std::size_t output = graph.add("output", 2, true);

  Network() {
    graph.axes = {{"left", 0, left},    {"left", 1, input},    {"right", 0, right},
                  {"right", 1, input},  {"side", 0, side},     {"side", 1, sum},
                  {"scale", 0, scaled}, {"output", 0, output}, {"output", 1, scaled}};
    graph.couplings = {{Kind::same, {sum, left, right}},
                       {Kind::parts, {sum, front, back}},
                       {Kind::parts, {joined, back, side}},
                       {Kind::same, {joined, scaled}}};
  }
};

std::vector<float> numbers(std::size_t count, unsigned seed) {
  std::vector<float> values;
  for (std::size_t i = 0; i < count; ++i)
    values.push_back(static_cast<float>((i * 2654435761u + seed * 40503u) >> 7 & 255u) / 64.0f - 2.0f);
  return values;
}

std::vector<float> times(pare::MatrixView<const float> weights, const std::vector<float>& x) {
  std::vector<float> y(weights.rows, 0.0f);
  for (std::size_t r = 0; r < weights.rows; ++r)
    for (std::size_t c = 0; c < weights.cols; ++c) y[r] += weights(r, c) * x[c];
  return y;
}

TEST(ChannelGroups, WhatIsLeftComputesTheSameAsWhatIsMasked) {
  const Network network;
  auto groups = *ChannelGroups::create(network.graph);
  // Channel 2 of the left layer is channel 2 of the right one and of the sum, and the second of back and of joined.
  ASSERT_TRUE(groups.remove(network.left, Channels{2}));
  ASSERT_TRUE(groups.remove(network.side, Channels{0}));
  EXPECT_EQ(groups.kept(network.right), (std::vector<std::uint32_t>{0, 1, 3}));
  EXPECT_EQ(groups.kept(network.back), (std::vector<std::uint32_t>{0, 2}));
  EXPECT_EQ(groups.kept(network.front), (std::vector<std::uint32_t>{0}));
  EXPECT_EQ(groups.kept(network.scaled), (std::vector<std::uint32_t>{0, 2, 4}));

  const std::vector<float> x = {0.5f, -1.0f, 2.0f};
  const auto left = numbers(12, 1), right = numbers(12, 2), side = numbers(8, 3), scale = numbers(5, 4),
             output = numbers(10, 5);
  /// The network with the weights given; `keep` says which channels of sum and of joined count.
  const auto run = [&](const auto& weight, const std::vector<bool>& keep_sum, const std::vector<bool>& keep_side) {
    std::vector<float> a = times(weight("left", left, 4, 3), x);
    const std::vector<float> b = times(weight("right", right, 4, 3), x);
    for (std::size_t c = 0; c < a.size(); ++c) a[c] = keep_sum[c] ? a[c] + b[c] : 0.0f;
    std::vector<float> s = times(weight("side", side, 2, a.size()), a);
    for (std::size_t c = 0; c < s.size(); ++c) s[c] = keep_side[c] ? s[c] : 0.0f;
    std::vector<float> joined(a.begin() + 1, a.end());
    joined.insert(joined.end(), s.begin(), s.end());
    const pare::MatrixView<const float> factors = weight("scale", scale, 5, 1);
    for (std::size_t c = 0; c < joined.size(); ++c) joined[c] *= factors(c, 0);
    return times(weight("output", output, 2, joined.size()), joined);
  };
  const auto whole = [](const char*, const std::vector<float>& w, std::size_t rows, std::size_t) {
    return pare::MatrixView<const float>(w.data(), rows, w.size() / rows);
  };
  std::vector<pare::Matrix<float>> small;
  small.reserve(8);
  const auto compact = [&](const char* name, const std::vector<float>& w, std::size_t rows, std::size_t) {
    small.push_back(*groups.compact(name, {w.data(), rows, w.size() / rows}));
    return pare::MatrixView<const float>(small.back().view());
  };
  EXPECT_EQ(run(compact, {true, true, true}, {true}), run(whole, {true, true, false, true}, {false, true}));
}

TEST(ChannelGroups, AHeadOfKeysGoesWithTheQueriesThatReadIt) {
  ChannelGraph graph;
  const std::size_t queries = graph.add("queries", 16), keys = graph.add("keys", 8), values = graph.add("values", 8);
  const std::size_t attended = graph.add("attended", 16);
  graph.axes = {{"q", 0, queries}, {"k", 0, keys}, {"v", 0, values}, {"o", 1, attended}};
  graph.couplings = {{Kind::heads, {queries, keys, values}, 4}, {Kind::same, {queries, attended}}};
  auto groups = *ChannelGroups::create(graph);
  EXPECT_EQ(groups.units(queries), (std::vector<Channels>{{0, 1, 2, 3, 4, 5, 6, 7}, {8, 9, 10, 11, 12, 13, 14, 15}}));
  ASSERT_TRUE(groups.remove(values, Channels{1}));
  EXPECT_EQ(groups.kept(keys), (std::vector<std::uint32_t>{4, 5, 6, 7}));
  EXPECT_EQ(groups.kept("o", 1).elements, (std::vector<std::uint32_t>{8, 9, 10, 11, 12, 13, 14, 15}));
  EXPECT_TRUE(groups.kept("o", 0).whole);
  const auto last = groups.remove(queries, Channels{15});
  ASSERT_FALSE(last);
  EXPECT_NE(last.error().message.find("\"queries\" without channels"), std::string::npos) << last.error().message;
  EXPECT_EQ(groups.kept(keys).size(), 4u);
}

TEST(ChannelGroups, ImagesAndGroupsOfChannels) {
  ChannelGraph graph;
  const std::size_t image = graph.add("image", 4);
  graph.axes = {{"conv", 0, image}, {"linear", 1, image, 2}, {"next", 1, image}};
  graph.couplings = {{Kind::units, {image}, 2}};
  auto groups = *ChannelGroups::create(graph);
  ASSERT_TRUE(groups.remove(image, Channels{0}));
  EXPECT_EQ(groups.kept("linear", 1).elements, (std::vector<std::uint32_t>{4, 5, 6, 7}));
  const auto weights = numbers(1 * 4 * 9, 6);
  const auto next = groups.compact("next", {weights.data(), 1, 36}, 9);
  ASSERT_TRUE(next);
  EXPECT_EQ(std::vector<float>(next->values().begin(), next->values().end()),
            std::vector<float>(weights.begin() + 18, weights.end()));
  EXPECT_FALSE(groups.compact("next", {weights.data(), 1, 35}, 9));
  EXPECT_FALSE(groups.compact("next", {weights.data(), 1, 36}, 4));
}

TEST(ChannelGroups, SaysWhatContradictsItself) {
  const Network good;
  EXPECT_EQ(fault(good.graph), "");
  const auto broken = [&](const auto& change) {
    ChannelGraph graph = good.graph;
    change(graph);
    return fault(graph);
  };
  const auto expect = [](const std::string& message, const char* part) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  expect(broken([](ChannelGraph& g) { g.values[1].channels = 5; }), "\"sum\" (4) and \"left\" (5)");
  expect(broken([](ChannelGraph& g) { g.values[6].channels = 3; }), "\"joined\" (5) is not its parts, which have 6");
  expect(broken([](ChannelGraph& g) { g.values[3].channels = 0; }), "\"sum\" has no channels");
  expect(broken([](ChannelGraph& g) { g.axes.push_back({"left", 0, 3}); }), "both \"left\" and \"sum\"");
  expect(broken([](ChannelGraph& g) { g.axes.push_back({"x", 0, 99}); }), "axis 0 of x");
  expect(broken([](ChannelGraph& g) { g.axes.push_back({"x", 0, 0, 0}); }), "axis 0 of x");
  expect(broken([](ChannelGraph& g) { g.couplings.push_back({Kind::same, {0, 99}}); }), "no value 99");
  expect(broken([](ChannelGraph& g) { g.couplings.push_back({Kind::same, {0}}); }), "ties nothing");
  expect(broken([](ChannelGraph& g) { g.couplings.push_back({Kind::units, {0}, 2}); }), "units of 2");
  expect(broken([](ChannelGraph& g) { g.couplings.push_back({Kind::heads, {1, 0}, 1}); }), "4 heads of \"left\"");

  auto groups = *ChannelGroups::create(good.graph);
  expect(groups.remove(99, Channels{0}).error().message, "no value 99");
  expect(groups.remove(good.left, Channels{4}).error().message, "\"left\" has no channel 4");
  expect(groups.remove(good.output, Channels{0}).error().message, "\"output\", which is fixed");
  expect(groups.remove(good.front, Channels{0}).error().message, "\"front\" without channels");
  EXPECT_EQ(groups.kept(good.left).size(), 4u);
  const std::vector<float> weights(15);
  expect(groups.compact("left", {weights.data(), 5, 3}).error().message, "left is 5 x 3");
}

}  // namespace
