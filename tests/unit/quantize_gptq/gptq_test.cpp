// GPTQ, the grids it is used with, and what connects it with schemes and their packed tensors.
#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "layer.hpp"

namespace {
using namespace quantize_gptq;
using pare::AbsmaxGrid;
using pare::CodedMatrix;
using pare::Gptq;
using pare::GptqResult;
using pare::MinMaxGrid;
using pare::NncfGrid;
using pare::Result;
using pare::RoundToNearest;
using pare::Shape;

TEST(InverseFactor, IsTheUpperFactorOfTheInverse) {
  for (const std::size_t n : {1u, 2u, 65u, 129u, 300u}) {
    const Layer layer = make_layer({1, n}, static_cast<unsigned>(n));
    const auto factor = pare::inverse_factor(layer.moment.sum(), {.fraction = 0.1});
    const auto parallel = pare::inverse_factor(layer.moment.sum(), {.fraction = 0.1}, {}, nullptr, two_threads);
    ASSERT_TRUE(factor && parallel) << message(factor) << message(parallel);
    EXPECT_TRUE(std::ranges::equal(factor->upper.values(), parallel->upper.values()));
    const auto upper = pare::as_eigen(factor->upper.view());
    Eigen::MatrixXd hessian = pare::as_eigen(layer.moment.sum());
    hessian.diagonal().array() += factor->damping;
    const auto size = static_cast<Eigen::Index>(n);
    const Eigen::MatrixXd identity = upper.transpose() * upper * hessian;
    EXPECT_LT((identity - Eigen::MatrixXd::Identity(size, size)).cwiseAbs().maxCoeff(), 1e-10) << n;
    EXPECT_TRUE(upper.isUpperTriangular(0.0)) << n;
  }
}

/// GPTQ as its paper derives it: after each column the inverse of what is left of the Hessian tells where the error
/// goes. O(in^4), scales fitted before.
std::vector<float> textbook(const Layer& layer, const CodedMatrix& grids, const MinMaxGrid& grid, double damping,
                            const std::vector<std::uint32_t>& order) {
  const auto n = static_cast<Eigen::Index>(layer.shape.cols), rows = static_cast<Eigen::Index>(layer.shape.rows);
  Eigen::MatrixXd hessian(n, n), weights(rows, n);
  for (Eigen::Index i = 0; i < n; ++i) {
    for (Eigen::Index j = 0; j < n; ++j)
      hessian(i, j) = layer.moment.sum()(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(j)]);
    hessian(i, i) += damping;
    for (Eigen::Index r = 0; r < rows; ++r)
      weights(r, i) = static_cast<double>(
          layer.weights[static_cast<std::size_t>(r) * layer.shape.cols + order[static_cast<std::size_t>(i)]]);
  }
  std::vector<float> result(layer.weights.size());
  for (Eigen::Index i = 0; i < n; ++i) {
    const Eigen::MatrixXd inverse = hessian.bottomRightCorner(n - i, n - i).inverse();
    const std::size_t column = order[static_cast<std::size_t>(i)];
    for (Eigen::Index r = 0; r < rows; ++r) {
      const auto row = static_cast<std::size_t>(r);
      const pare::BlockGrid fitted = pare::detail::block_grid(grids, row, grids.group_of(column));
      const float value = grid.decode(grid.encode(static_cast<float>(weights(r, i)), fitted), fitted);
      result[row * layer.shape.cols + column] = value;
      const double error = (weights(r, i) - static_cast<double>(value)) / inverse(0, 0);
      weights.row(r).tail(n - i) -= error * inverse.row(0);
    }
  }
  return result;
}

std::size_t differences(const std::vector<float>& a, const std::vector<float>& b) {
  std::size_t count = a.size() == b.size() ? 0 : a.size() + b.size();
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) count += a[i] != b[i] ? 1u : 0u;
  return count;
}

TEST(Gptq, DoesWhatThePaperDerivesWhateverTheBlock) {
  const Layer layer = make_layer({20, 36}, 1);
  const MinMaxGrid grid{.bits = 3, .symmetric = false};
  for (const std::size_t group : {0u, 8u, 10u})
    for (const bool act_order : {false, true}) {
      const auto order = *pare::descending_order(layer.moment);
      std::vector<std::uint32_t> columns(36);
      for (std::uint32_t i = 0; i < 36; ++i) columns[i] = act_order ? order[i] : i;
      std::vector<float> first;
      for (const std::size_t block : {1u, 5u, 36u, 128u}) {
        const Gptq gptq{.group = group, .block = block, .act_order = act_order, .static_groups = true};
        const auto result = gptq(grid, layer.view(), layer.moment);
        ASSERT_TRUE(result) << message(result);
        const auto expected = textbook(layer, result->matrix, grid, result->damping, columns);
        // Float and double may part ways where a weight lies between two codes.
        EXPECT_LE(differences(values(result->matrix), expected), 2u) << group << " " << block;
        if (first.empty()) first = values(result->matrix);
        EXPECT_LE(differences(values(result->matrix), first), 2u) << group << " " << block;
      }
    }
}

TEST(Gptq, LossIsTheErrorOfTheOutputsWithDamping) {
  const Layer layer = make_layer({24, 40}, 2);
  for (const double fraction : {1e-9, 0.01, 0.3}) {
    const auto result = Gptq{.group = 16, .damping = {.fraction = fraction}}(MinMaxGrid{}, layer.view(), layer.moment);
    ASSERT_TRUE(result) << message(result);
    const auto approximation = values(result->matrix);
    double squares = 0.0;
    for (std::size_t i = 0; i < approximation.size(); ++i)
      squares += std::pow(static_cast<double>(layer.weights[i]) - static_cast<double>(approximation[i]), 2);
    const double expected = output_error(layer, approximation) + result->damping * squares;
    EXPECT_NEAR(result->loss, expected, 1e-3 * expected) << fraction;
  }
}

template <class G>
void expect_less_error(const Layer& layer, const G& grid, std::size_t group) {
  const auto rounded = RoundToNearest{.group = group}(grid, layer.view());
  ASSERT_TRUE(rounded) << message(rounded);
  const double plain = output_error(layer, values(*rounded));
  for (const bool act_order : {false, true})
    for (const bool static_groups : {false, true}) {
      const Gptq gptq{.group = group, .block = 24, .act_order = act_order, .static_groups = static_groups};
      const auto result = gptq(grid, layer.view(), layer.moment);
      ASSERT_TRUE(result) << message(result);
      EXPECT_LT(output_error(layer, values(result->matrix)), plain) << act_order << static_groups;
    }
}

TEST(Gptq, ErrsLessThanRoundingOnEveryGrid) {
  const Layer layer = make_layer({64, 100}, 3);
  for (const std::size_t group : {0u, 32u, 100u, 7u}) {
    for (const int bits : {2, 3, 4, 6, 8}) {
      expect_less_error(layer, MinMaxGrid{.bits = bits, .symmetric = bits % 2 == 0}, group);
      expect_less_error(layer, NncfGrid{.bits = bits, .symmetric = bits % 2 != 0}, group);
    }
    expect_less_error(layer, AbsmaxGrid<pare::NF4>{}, group);
    expect_less_error(layer, AbsmaxGrid<pare::E2M1>{}, group);
    expect_less_error(layer, pare::AwqGrid{.bits = 3}, group);
  }
}

TEST(Gptq, GroupsFollowTheOrder) {
  const Layer layer = make_layer({8, 22}, 4);
  const auto order = *pare::descending_order(layer.moment);
  for (std::size_t i = 1; i < order.size(); ++i)
    EXPECT_GE(layer.moment.sum()(order[i - 1], order[i - 1]), layer.moment.sum()(order[i], order[i]));
  const auto moved = Gptq{.group = 8, .act_order = true}(MinMaxGrid{}, layer.view(), layer.moment);
  ASSERT_TRUE(moved) << message(moved);
  for (std::size_t i = 0; i < order.size(); ++i) EXPECT_EQ(moved->matrix.group_of(order[i]), i / 8);
  const Gptq kept{.group = 8, .act_order = true, .static_groups = true};
  const Gptq same_order{.group = 8, .static_groups = true, .order = order.values()};
  const auto a = kept(MinMaxGrid{}, layer.view(), layer.moment);
  const auto b = same_order(MinMaxGrid{}, layer.view(), layer.moment);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->matrix.group_of(21), 2u);
  EXPECT_TRUE(same(a->matrix, b->matrix));
}

TEST(Gptq, DoesNotDependOnTheExecutorOrTheStrides) {
  const Layer layer = make_layer({300, 40}, 5);
  std::vector<float> transposed(layer.weights.size());
  for (std::size_t i = 0; i < transposed.size(); ++i) transposed[i % 40 * 300 + i / 40] = layer.weights[i];
  const pare::MatrixView<const float> strided(transposed.data(), 300, 40, 1, 300);
  using Tiles = pare::SchemeGrid<pare::Scheme<4, pare::Symmetric, pare::PerBlock<100, 16>>>;
  using Whole = pare::SchemeGrid<pare::Scheme<8, pare::Symmetric, pare::PerTensor>>;
  const auto expect_same = [&](const auto& grid, const Gptq& gptq) {
    const auto one = gptq(grid, layer.view(), layer.moment);
    const auto two = gptq(grid, strided, layer.moment, {.executor = two_threads});
    ASSERT_TRUE(one && two) << message(one) << message(two);
    EXPECT_TRUE(same(one->matrix, two->matrix));
    EXPECT_EQ(one->loss, two->loss);
  };
  for (const bool act_order : {false, true}) {
    expect_same(MinMaxGrid{.bits = 2}, {.group = 16, .block = 12, .act_order = act_order});
    expect_same(Tiles{}, {.block = 12, .act_order = act_order});
    expect_same(Whole{}, {.act_order = act_order});
  }
}

TEST(Gptq, WeightsOfSilentChannelsBecomeZero) {
  const Layer layer = make_layer({12, 30}, 6, {0, 7, 29});
  for (const bool act_order : {false, true}) {
    const Gptq gptq{.group = 10, .act_order = act_order};
    const auto result = gptq(MinMaxGrid{.bits = 8}, layer.view(), layer.moment);
    ASSERT_TRUE(result) << message(result);
    for (std::size_t r = 0; r < 12; ++r) {
      for (const std::size_t c : {0u, 7u, 29u}) EXPECT_EQ(result->matrix.value(r, c), 0.0f);
      EXPECT_NE(result->matrix.value(r, 1), 0.0f);
    }
  }
  std::vector<std::size_t> all(30);
  for (std::size_t c = 0; c < 30; ++c) all[c] = c;
  const Layer silent = make_layer({12, 30}, 7, all);
  const auto result = Gptq{}(MinMaxGrid{}, silent.view(), silent.moment);
  ASSERT_TRUE(result) << message(result);
  EXPECT_EQ(values(result->matrix), std::vector<float>(360, 0.0f));
}

TEST(Gptq, RefusesWhatItCannotUse) {
  Layer layer = make_layer({6, 10}, 8);
  const auto error = [&](const Gptq& gptq, int bits = 4) {
    return message(gptq(MinMaxGrid{.bits = bits}, layer.view(), layer.moment));
  };
  EXPECT_EQ(error({.block = 0}), "pare: GPTQ's block has at least one column");
  EXPECT_EQ(error({}, 9), "pare: codes have 1 to 8 bits, and a format a value for each");
  const std::vector<std::uint32_t> twice{0, 1, 2, 3, 4, 5, 6, 7, 8, 8}, few{0, 1},
      beyond{0, 1, 2, 3, 4, 5, 6, 7, 8, 10};
  for (const auto& order : {twice, few, beyond})
    EXPECT_EQ(error({.group = 5, .order = order}), "pare: the order of columns must name each of them once");
  layer.weights[23] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(error({}), "pare: the weight at (2, 3) is not a number");
  layer.weights[23] = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(error({}), "pare: the weight at (2, 3) is infinite");

  const Layer other = make_layer({6, 11}, 9);
  EXPECT_EQ(message(Gptq{}(MinMaxGrid{}, other.view(), layer.moment)),
            "pare: the weight is 6 x 11 where 6 x 10 is needed");
  EXPECT_EQ(message(Gptq{}(MinMaxGrid{}, other.view(), *pare::SecondMoment<double>::create(11))),
            "pare: the moment has seen no samples; add some activations first");
  EXPECT_EQ(message(Gptq{}(MinMaxGrid{}, {nullptr, 6, 11}, other.moment)), "pare: the weight is a null pointer");
  std::vector<float> huge(66, 3e38f);
  for (std::size_t i = 0; i < 66; i += 2) huge[i] = -3e38f;
  EXPECT_NE(message(Gptq{.group = 3, .block = 2}(NncfGrid{.bits = 2}, {huge.data(), 6, 11}, other.moment))
                .find("weights left the range of float"),
            std::string::npos);
}

TEST(Gptq, AnIndefiniteMomentNeedsDamping) {
  const std::vector<double> sums{1.0, 2.0, 2.0, 1.0};
  const auto moment = pare::SecondMoment<double>::restore(2, 1, 2, sums);
  ASSERT_TRUE(moment);
  const std::vector<float> weights{0.3f, -0.7f};
  const pare::MatrixView<const float> view(weights.data(), 1, 2);
  EXPECT_NE(message(Gptq{}(MinMaxGrid{}, view, *moment)).find("not positive definite"), std::string::npos);
  const auto result = Gptq{.damping = {.retries = 20, .retry_fraction = 0.1}}(MinMaxGrid{}, view, *moment);
  ASSERT_TRUE(result) << message(result);
  EXPECT_GT(result->damping, 1.0);
  EXPECT_LT(result->damping, 1.2);
}

TEST(Gptq, EmptyMatricesHaveNoCodes) {
  const Layer layer = make_layer({1, 5}, 10);
  const auto rows = Gptq{.act_order = true}(MinMaxGrid{}, {nullptr, 0, 5}, layer.moment);
  ASSERT_TRUE(rows) << message(rows);
  EXPECT_EQ(rows->matrix.shape, (Shape{0, 5}));
  const auto columns = Gptq{}(MinMaxGrid{}, {nullptr, 3, 0}, *pare::SecondMoment<double>::create(0));
  ASSERT_TRUE(columns) << message(columns);
  EXPECT_EQ(columns->matrix.shape, (Shape{3, 0}));
}

TEST(Gptq, MomentsInFloatGiveNearlyTheSame) {
  const Layer layer = make_layer({40, 60}, 11);
  auto moment = *pare::SecondMoment<float>::create(60);
  ASSERT_TRUE(moment.add({layer.inputs.data(), layer.tokens, 60}));
  const auto single = Gptq{}(MinMaxGrid{}, layer.view(), moment);
  const auto twice = Gptq{}(MinMaxGrid{}, layer.view(), layer.moment);
  ASSERT_TRUE(single && twice) << message(single) << message(twice);
  EXPECT_NEAR(single->loss, twice->loss, 0.01 * twice->loss);
}

TEST(NncfGrid, TheFartherSideHasAllCodes) {
  const NncfGrid grid{.bits = 4};
  const std::vector<float> positive{-0.4f, 0.1f, 0.8f}, negative{-0.8f, 0.1f, 0.4f}, zero{0.0f, 0.0f};
  EXPECT_EQ(grid.fit(positive).scale, -0.1f);
  EXPECT_EQ(grid.fit(negative).scale, 0.1f);
  EXPECT_EQ(grid.encode(0.8f, grid.fit(positive)), 0);
  EXPECT_EQ(grid.encode(-0.8f, grid.fit(negative)), 0);
  EXPECT_EQ(grid.encode(0.8f, grid.fit(negative)), 15);
  EXPECT_EQ(grid.decode(grid.encode(0.8f, grid.fit(positive)), grid.fit(positive)), 0.8f);
  EXPECT_EQ(grid.decode(grid.encode(0.0f, grid.fit(zero)), grid.fit(zero)), 0.0f);
}

TEST(NncfGrid, TheZeroPointIsAddedBeforeRounding) {
  const NncfGrid grid{.bits = 2, .symmetric = false};
  const std::vector<float> block{-1.0f, 2.0f};
  const pare::BlockGrid fitted = grid.fit(block);
  EXPECT_EQ(fitted.scale, 1.0f);
  EXPECT_EQ(fitted.shift, 1.0f);
  // 0.5 alone would round to 0, and 1.5 rounds to 2.
  EXPECT_EQ(grid.encode(0.5f, fitted), 2);
  const std::vector<float> far{5.0f, 6.0f}, same{5.0f, 5.0f};
  EXPECT_EQ(grid.fit(far).shift, 0.0f);
  EXPECT_EQ(grid.fit(same).scale, 0x1p-23f);
}

TEST(AbsmaxGrid, DividesByTheScale) {
  using Grid = AbsmaxGrid<pare::NF4>;
  const std::vector<float> block{0.5f, -3.0f, 2.0f}, zero{0.0f};
  const pare::BlockGrid fitted = Grid::fit(block);
  EXPECT_EQ(fitted.scale, 3.0f);
  EXPECT_EQ(Grid::decode(Grid::encode(-3.0f, fitted), fitted), -3.0f);
  EXPECT_EQ(Grid::encode(pare::NF4::thresholds[9] * 3.0f, fitted), 9);
  EXPECT_EQ(Grid::decode(Grid::encode(0.0f, Grid::fit(zero)), Grid::fit(zero)), 0.0f);
}

TEST(QuantizeScheme, PacksWhatGptqChooses) {
  namespace catalog = pare::catalog;
  const Layer layer = make_layer({33, 70}, 12);
  pare::SchemeList<catalog::Int8Tensor, catalog::Int4Group32F16, catalog::Int3AsymGroup32, catalog::NF4Group64,
                   catalog::MXFP4, catalog::FP8Block128>::for_each([&]<class S>(std::type_identity<S>) {
    const auto packed = pare::quantize<S>(layer.view(), Gptq{}, layer.moment);
    const auto direct = Gptq{}(pare::SchemeGrid<S>{}, layer.view(), layer.moment);
    ASSERT_TRUE(packed && direct) << pare::name<S>() << message(packed) << message(direct);
    const auto coded = pare::coded(*packed);
    ASSERT_TRUE(coded) << message(coded);
    EXPECT_TRUE(same(*coded, direct->matrix)) << pare::name<S>();
    const auto rounded = RoundToNearest{}(pare::SchemeGrid<S>{}, layer.view());
    EXPECT_LT(output_error(layer, values(*coded)), output_error(layer, values(*rounded))) << pare::name<S>();
  });
}

TEST(Coded, HoldsEveryPackedTensor) {
  const Layer layer = make_layer({33, 70}, 15);
  pare::Catalog::for_each([&]<class S>(std::type_identity<S>) {
    const auto packed = pare::quantize<S>(layer.view());
    ASSERT_TRUE(packed) << message(packed);
    const auto coded = pare::coded(*packed);
    ASSERT_TRUE(coded) << message(coded);
    std::vector<float> decoded(layer.weights.size());
    ASSERT_TRUE(pare::dequantize(*packed, pare::MatrixView<float>(decoded.data(), 33, 70)));
    EXPECT_EQ(decoded, values(*coded)) << pare::name<S>();
    const auto again = pare::pack<S>(*coded);
    ASSERT_TRUE(again) << message(again);
    EXPECT_TRUE(std::ranges::equal(again->codes(), packed->codes())) << pare::name<S>();
    EXPECT_TRUE(std::ranges::equal(again->scales(), packed->scales())) << pare::name<S>();
    EXPECT_TRUE(std::ranges::equal(again->zero_points(), packed->zero_points())) << pare::name<S>();
  });
}

using Groups = pare::catalog::Int4Group32;

TEST(QuantizeScheme, TakesOtherElementsAndRefusesOtherGroups) {
  const Layer layer = make_layer({16, 64}, 13);
  const Eigen::MatrixXf eigen = Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(
      layer.weights.data(), 16, 64);
  const auto a = pare::quantize<Groups>(layer.view(), Gptq{}, layer.moment);
  const auto b = pare::quantize<Groups>(eigen, Gptq{}, layer.moment);
  ASSERT_TRUE(a && b);
  EXPECT_TRUE(std::ranges::equal(a->codes(), b->codes()));
  std::vector<pare::Half> halves;
  std::vector<float> rounded;
  for (const float w : layer.weights) {
    halves.emplace_back(w);
    rounded.push_back(static_cast<float>(halves.back()));
  }
  const auto c =
      pare::quantize<Groups>(pare::MatrixView<const pare::Half>(halves.data(), 16, 64), Gptq{}, layer.moment);
  const auto d = pare::quantize<Groups>(pare::MatrixView<const float>(rounded.data(), 16, 64), Gptq{}, layer.moment);
  ASSERT_TRUE(c && d);
  EXPECT_TRUE(std::ranges::equal(c->codes(), d->codes()));

  EXPECT_EQ(message(pare::quantize<Groups>(layer.view(), Gptq{.act_order = true}, layer.moment)),
            "pare: a scheme's groups are neighbouring columns; set static_groups where the order is another");
  EXPECT_TRUE(pare::quantize<Groups>(layer.view(), Gptq{.act_order = true, .static_groups = true}, layer.moment));
  EXPECT_TRUE(pare::quantize<pare::catalog::Int4Channel>(layer.view(), Gptq{.act_order = true}, layer.moment));
}

TEST(Coded, PacksOnlyWhatTheSchemeHolds) {
  const Layer layer = make_layer({6, 64}, 14);
  const auto whole = *RoundToNearest{}(MinMaxGrid{.bits = 4}, layer.view());
  const auto split = pare::pack<Groups>(whole);
  ASSERT_TRUE(split) << message(split);
  EXPECT_EQ(values(*pare::coded(*split)), values(whole));
  // Three bits fit in four.
  const auto narrow = *RoundToNearest{.group = 32}(MinMaxGrid{.bits = 3, .symmetric = false}, layer.view());
  const auto wider = pare::pack<pare::catalog::Int4AsymGroup32>(narrow);
  ASSERT_TRUE(wider) << message(wider);
  EXPECT_EQ(values(*pare::coded(*wider)), values(narrow));

  EXPECT_EQ(message(pare::pack<pare::catalog::Int3Group32>(whole)), "pare: int3-g32 cannot hold codes of uint4");
  EXPECT_EQ(message(pare::pack<pare::catalog::NF4Group32>(whole)), "pare: nf4-g32 cannot hold codes of uint4");
  const auto coarse = *RoundToNearest{.group = 32}(MinMaxGrid{.bits = 4}, layer.view());
  EXPECT_NE(message(pare::pack<pare::catalog::Int4Channel>(coarse)).find("scales of 1 x 32 elements"),
            std::string::npos);
  EXPECT_NE(message(pare::pack<pare::catalog::Int4Group32F16>(coarse)).find("is no float16"), std::string::npos);
  auto other = *RoundToNearest{.group = 32}(MinMaxGrid{.bits = 4}, layer.view());
  other.tensor_scale = 2.0f;
  EXPECT_EQ(message(pare::pack<Groups>(other)), "pare: int4-g32 cannot hold a scale of the whole tensor, 2");
  other.tensor_scale = 1.0f;
  other.shifts()(3, 1) = 8.5f;
  EXPECT_NE(message(pare::pack<Groups>(other)).find("the zero point of row 3, group 1: 8.5 is no integer"),
            std::string::npos);
  other.shifts()(3, 1) = 0.0f;
  std::fill_n(other.codes().row(3) + 32, 32, std::uint8_t{7});
  EXPECT_TRUE(pare::pack<Groups>(other));
  other.codes()(3, 40) = 8;
  EXPECT_NE(message(pare::pack<Groups>(other)).find("row 3, group 1: 8 in column 40"), std::string::npos);
  const auto moved = Gptq{.group = 32, .act_order = true}(MinMaxGrid{.bits = 4}, layer.view(), layer.moment);
  EXPECT_EQ(message(pare::pack<Groups>(moved->matrix)),
            "pare: int4-g32 cannot hold columns whose groups are out of order (act-order)");
  EXPECT_EQ(message(pare::coded<Groups>(pare::PackedView<Groups>{{2, 32}, nullptr, nullptr, nullptr})),
            "pare: the packed tensor is a null pointer");
  for (const Shape empty : {Shape{0, 5}, Shape{5, 0}}) {
    const auto packed = pare::pack<Groups>(*RoundToNearest{}(MinMaxGrid{}, {nullptr, empty.rows, empty.cols}));
    ASSERT_TRUE(packed) << message(packed);
    EXPECT_EQ(pare::coded(*packed)->shape, empty);
  }
}

}  // namespace
