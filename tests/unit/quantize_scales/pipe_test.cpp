// Recipes of several steps as one algorithm, and the named formats of weights and inputs.
#include <utility>

#include "layer.hpp"
#include "pare/quantize/quantize.hpp"

namespace {
using namespace quantize_test;
using pare::CodedMatrix;
using pare::Gptq;
using pare::MatrixView;
using pare::MinMaxGrid;
using pare::SharedInput;

struct Statistics {
  pare::SecondMoment<double> moment;
  pare::ChannelStatistics channels;
};

Statistics statistics(const Table& inputs) {
  Statistics result{moment(inputs), *pare::ChannelStatistics::create(inputs.shape.cols)};
  EXPECT_TRUE(result.channels.add(inputs.view()));
  return result;
}

Table values(const CodedMatrix& matrix) {
  Table table{std::vector<float>(matrix.shape.rows * matrix.shape.cols), matrix.shape};
  for (std::size_t r = 0; r < matrix.shape.rows; ++r)
    for (std::size_t c = 0; c < matrix.shape.cols; ++c) table(r, c) = matrix.value(r, c);
  return table;
}

/// The relative error of x w^T as it becomes by approximations of both.
double error(const Table& x, const Table& w, const Table& x_about, const Table& w_about) {
  const auto y = (pare::as_eigen(x.view()) * pare::as_eigen(w.view()).transpose()).eval();
  const auto about = (pare::as_eigen(x_about.view()) * pare::as_eigen(w_about.view()).transpose()).eval();
  return static_cast<double>((y - about).norm() / y.norm());
}

constexpr MinMaxGrid four_bits{.bits = 4};

TEST(Pipe, IsItsStepsOneAfterTheOther) {
  const Table w = random_table({24, 64}, 1), v = random_table({16, 64}, 2), x = random_inputs({200, 64}, 3);
  const Statistics known = statistics(x);
  const std::vector<MatrixView<const float>> layers{w.view(), v.view()};
  const pare::SmoothQuant smooth{.alpha = 0.4f};
  const Gptq gptq{.group = 16};
  const auto piped = pare::pipe(smooth, pare::RandomizedHadamard{.seed = 7}, gptq, pare::CoordinateDescent{})(
      four_bits, layers, known.moment, known.channels);
  ASSERT_TRUE(piped) << piped.error().message;
  ASSERT_EQ(piped->matrices.size(), 2u);

  std::vector<float> magnitudes;
  for (std::size_t c = 0; c < 64; ++c) magnitudes.push_back(known.channels.largest_magnitude(c));
  const auto scales = smooth(layers, magnitudes);
  const auto rotation = pare::HadamardRotation::random(64, 7);
  ASSERT_TRUE(scales && rotation);
  Table inputs = x;
  for (std::size_t t = 0; t < 200; ++t)
    for (std::size_t c = 0; c < 64; ++c) inputs(t, c) /= (*scales)[c];
  ASSERT_TRUE(pare::rotate_rows(*rotation, inputs.view()));
  const auto by_hand = moment(inputs);
  for (std::size_t i = 0; i < 2; ++i) {
    Table changed = i == 0 ? w : v;
    ASSERT_TRUE(pare::scale_inputs(changed.view(), scales->values()));
    ASSERT_TRUE(pare::rotate_inputs(*rotation, changed.view()));
    auto codes = gptq(four_bits, std::as_const(changed).view(), by_hand);
    ASSERT_TRUE(codes);
    ASSERT_TRUE(pare::CoordinateDescent{}(four_bits, std::as_const(changed).view(), by_hand, codes->matrix));
    // The moments differ in their last digits, so a code or two may.
    std::size_t same = 0;
    for (std::size_t r = 0; r < changed.shape.rows; ++r)
      for (std::size_t c = 0; c < 64; ++c) same += codes->matrix.codes()(r, c) == piped->matrices[i].codes()(r, c);
    EXPECT_GE(same, changed.values.size() * 98 / 100) << "layer " << i;
  }

  // The inputs follow, and with them the layer computes what it did.
  Table moved = x;
  ASSERT_TRUE(piped->change_inputs(moved.view()));
  for (std::size_t i = 0; i < moved.values.size(); ++i)
    ASSERT_NEAR(moved.values[i], inputs.values[i], 1e-4f * (1.0f + std::fabs(inputs.values[i]))) << i;
  EXPECT_LT(error(x, w, moved, values(piped->matrices[0])), 0.12);
  EXPECT_EQ(std::get<0>(piped->changes).scales[3], (*scales)[3]);
  EXPECT_EQ(std::get<1>(piped->changes).rotation().size(), 64u);
}

TEST(Pipe, TakesAwqAndRotationsOfTheCallers) {
  const Table w = random_table({24, 32}, 4), x = random_inputs({100, 32}, 5);
  const Statistics known = statistics(x);
  const MatrixView<const float> layer = w.view();
  const auto awq = pare::pipe(pare::Awq{.group = 0}, pare::RoundToNearest{})(four_bits, SharedInput(&layer, 1),
                                                                             known.moment, known.channels);
  ASSERT_TRUE(awq) << awq.error().message;
  const auto plain = pare::pipe(pare::RoundToNearest{})(four_bits, layer, known.moment);
  ASSERT_TRUE(plain);
  Table scaled = x;
  ASSERT_TRUE(awq->change_inputs(scaled.view()));
  EXPECT_LT(error(x, w, scaled, values(awq->matrices[0])), 0.98 * error(x, w, x, values(*plain)));

  // Two heads of 16 channels each.
  const auto heads = pare::HadamardRotation::random(16, 1);
  ASSERT_TRUE(heads);
  const auto rotated = pare::pipe(pare::RotateBy(*heads), Gptq{})(four_bits, SharedInput(&layer, 1), known.moment);
  ASSERT_TRUE(rotated) << rotated.error().message;
  Table turned = x;
  ASSERT_TRUE(rotated->change_inputs(turned.view()));
  EXPECT_LT(error(x, w, turned, values(rotated->matrices[0])), 0.1);
  const auto other = pare::HadamardRotation::random(24, 1);
  ASSERT_TRUE(other);
  EXPECT_FALSE(pare::pipe(pare::RotateBy(*other), Gptq{})(four_bits, SharedInput(&layer, 1), known.moment));
}

TEST(Pipe, PacksForASchemeWhereInputsStay) {
  using W4 = pare::Scheme<4, pare::Symmetric, pare::PerGroup<32>>;
  const Table w = random_table({24, 64}, 6), x = random_inputs({200, 64}, 7);
  const Statistics known = statistics(x);
  const auto gptq = pare::quantize<W4>(w.view(), Gptq{}, known.moment);
  const auto both = pare::quantize<W4>(w.view(), pare::pipe(Gptq{}, pare::CoordinateDescent{}), known.moment);
  ASSERT_TRUE(gptq && both);
  const auto before = pare::coded(*gptq), after = pare::coded(*both);
  ASSERT_TRUE(before && after);
  EXPECT_LT(error(x, w, x, values(*after)), error(x, w, x, values(*before)));
  const auto ordered = pare::quantize<W4>(w.view(), pare::pipe(Gptq{.act_order = true}), known.moment);
  ASSERT_FALSE(ordered);
  EXPECT_NE(ordered.error().message.find("static_groups"), std::string::npos);
}

TEST(Pipe, ReportsProgressAndFaults) {
  const Table w = random_table({24, 32}, 8), x = random_inputs({100, 32}, 9);
  const Statistics known = statistics(x);
  const std::vector<MatrixView<const float>> layers{w.view(), w.view()};
  const auto recipe = pare::pipe(pare::SmoothQuant{}, Gptq{}, pare::CoordinateDescent{});
  double last = 0.0;
  const auto watch = [&](double share) {
    EXPECT_GE(share, last);
    last = share;
    return true;
  };
  ASSERT_TRUE(recipe(four_bits, layers, known.moment, known.channels, {.progress = watch}));
  EXPECT_NEAR(last, 1.0, 1e-9);
  const auto cancel = [](double share) { return share < 0.6; };
  const auto cancelled = recipe(four_bits, layers, known.moment, known.channels, {.progress = cancel});
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().code, pare::ErrorCode::cancelled);
  EXPECT_FALSE(recipe(four_bits, SharedInput(), known.moment, known.channels));
  const auto fewer = pare::ChannelStatistics::create(31);
  ASSERT_TRUE(fewer);
  const auto wrong = recipe(four_bits, layers, known.moment, *fewer);
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("the channel statistics"), std::string::npos);
  const Table narrow = random_table({24, 31}, 8);
  const std::vector<MatrixView<const float>> mixed{w.view(), narrow.view()};
  EXPECT_FALSE(recipe(four_bits, mixed, known.moment, known.channels));
}

TEST(NncfSmoothQuant, TakesTheScalesOfTheLayerWhoseAreNearestToEachOther) {
  const std::vector<float> even{1.0f, -2.0f, 0.5f, 1.0f}, uneven{1.0f, 0.01f, 0.0f, 1.0f};
  const std::vector<MatrixView<const float>> layers{{uneven.data(), 1, 4}, {even.data(), 1, 4}};
  const std::vector<float> magnitudes{4.0f, 9.0f, 1.0f, 16.0f};
  const pare::NncfSmoothQuant algorithm{.alpha = 0.5f, .quantile = 0.0};
  const auto scales = algorithm(layers, magnitudes);
  ASSERT_TRUE(scales);
  for (std::size_t c = 0; c < 4; ++c)
    EXPECT_NEAR((*scales)[c], std::sqrt(magnitudes[c]) / std::sqrt(std::fabs(even[c])), 1e-5f) << c;
  // By itself the other one has its dead channel cut off at 100.
  const auto alone = algorithm(SharedInput(layers).first(1), magnitudes);
  ASSERT_TRUE(alone);
  EXPECT_EQ((*alone)[2], 100.0f);
  EXPECT_NEAR((*alone)[1], 30.0f, 1e-3f);
  // No scale stays below the quantile: of 1.41, 2, 2.12 and 4 the middle is 2.06.
  const auto raised = pare::NncfSmoothQuant{.alpha = 0.5f, .quantile = 0.5}(SharedInput(layers).last(1), magnitudes);
  ASSERT_TRUE(raised);
  EXPECT_NEAR((*raised)[0], 2.0607f, 1e-3f);
  EXPECT_NEAR((*raised)[1], 2.1213f, 1e-3f);
  EXPECT_EQ((*raised)[0], (*raised)[2]);
  EXPECT_NEAR((*raised)[3], 4.0f, 1e-5f);

  EXPECT_FALSE(pare::NncfSmoothQuant{.alpha = 2.0f}(layers, magnitudes));
  EXPECT_FALSE(pare::NncfSmoothQuant{.quantile = -0.1}(layers, magnitudes));
  EXPECT_FALSE(pare::NncfSmoothQuant{.most = 0.0f}(layers, magnitudes));
  EXPECT_FALSE(algorithm(layers, std::span(magnitudes).first(3)));
  EXPECT_FALSE(algorithm(layers, std::vector<float>{1.0f, not_a_number, 1.0f, 1.0f}));
}

TEST(Recipe, EachRoundsWeightsAndInputsAboutAsFinelyAsItsFormats) {
  const Table w = random_table({48, 256}, 10), x = random_table({40, 256}, 11);
  const pare::ValueRange range = (*pare::value_ranges(x.view(), pare::RangeScope::tensor))[0];
  // What rounding normal values to each pair of formats leaves of the product, from below and above.
  const std::vector<std::tuple<std::string, double, double>> expected = {{"w8a8-int8", 0.007, 0.014},
                                                                         {"w8a8-fp8-static", 0.03, 0.045},
                                                                         {"w8a8-fp8-dynamic", 0.03, 0.045},
                                                                         {"w4a16", 0.09, 0.13},
                                                                         {"w4a8-fp8", 0.09, 0.14},
                                                                         {"w4a8-int8", 0.09, 0.13},
                                                                         {"nvfp4", 0.11, 0.16},
                                                                         {"mxfp4", 0.13, 0.20}};
  for (const auto& [name, least, most] : expected) {
    const auto found = pare::with_recipe(name, [&](auto recipe) -> pare::Result<double> {
      const auto grid = recipe.weight_grid(w.view());
      if (!grid) return grid.error();
      const auto weights = pare::RoundToNearest{}(*grid, w.view());
      if (!weights) return weights.error();
      Table inputs = x;
      if constexpr (recipe.rounds_inputs) {
        const auto codes = recipe.quantize_inputs(x.view(), range);
        const auto parallel = recipe.quantize_inputs(x.view(), range, {.executor = two_threads});
        if (!codes) return codes.error();
        inputs = values(*codes);
        EXPECT_TRUE(parallel && values(*parallel).values == inputs.values);
        EXPECT_EQ(recipe.quantize_inputs(x.view()).has_value(), recipe.input_range == pare::InputRange::dynamic);
      }
      return error(x, w, inputs, values(*weights));
    });
    ASSERT_TRUE(found) << name << ": " << found.error().message;
    EXPECT_GT(*found, least) << name;
    EXPECT_LT(*found, most) << name;
  }
  const auto unknown = pare::with_recipe("w3", [](auto) -> pare::Result<double> { return 0.0; });
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message.find("w4a8-int8"), std::string::npos);
}

TEST(Recipe, SaturatesWhatIsBeyondACalibratedRange) {
  const std::vector<float> inputs{1.0f, -300.0f, 2.0f, 0.0f};
  const auto codes = pare::recipes::FP8Static::quantize_inputs({inputs.data(), 2, 2}, {-2.0f, 2.0f});
  ASSERT_TRUE(codes);
  EXPECT_EQ(codes->value(0, 0), 1.0f);
  EXPECT_EQ(codes->value(0, 1), -2.0f);
  EXPECT_EQ(codes->value(1, 1), 0.0f);
  for (const float bad : {infinity, not_a_number}) {
    const std::vector<float> x{bad};
    EXPECT_FALSE(pare::recipes::FP8Static::quantize_inputs({x.data(), 1, 1}, {-2.0f, 2.0f}));
    EXPECT_FALSE(pare::recipes::MXFP4::quantize_inputs({x.data(), 1, 1}));
    EXPECT_FALSE(pare::recipes::NVFP4::quantize_inputs({inputs.data(), 2, 2}, {-2.0f, bad}));
  }
}

TEST(Nvfp4Grid, IsModelOptsEncoderAndComesApartForLayouts) {
  Table w = random_table({6, 40}, 12);
  for (std::size_t c = 16; c < 32; ++c) w(2, c) = 0.0f;
  const auto grid = pare::Nvfp4Grid::over(w.view());
  ASSERT_TRUE(grid);
  auto matrix = pare::RoundToNearest{}(*grid, w.view());
  ASSERT_TRUE(matrix);
  const Table before = values(*matrix);
  for (std::size_t r = 0; r < 6; ++r)
    for (std::size_t begin = 0; begin < 40; begin += 16) {
      const std::size_t count = std::min<std::size_t>(16, 40 - begin);
      std::vector<std::uint8_t> codes(count);
      const std::span<const float> block(&w(r, begin), count);
      const auto scale = pare::encode_nvfp4_block<pare::Nvfp4Dialect::modelopt>(block, grid->tensor_scale, codes);
      EXPECT_EQ(matrix->scales()(r, begin / 16),
                pare::nvfp4_scale<pare::Nvfp4Dialect::modelopt>(scale, grid->tensor_scale));
      for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(matrix->codes()(r, begin + i), codes[i]);
    }
  ASSERT_TRUE(grid->separate(*matrix));
  EXPECT_EQ(matrix->scale_type, pare::ScaleType::float8_e4m3);
  EXPECT_EQ(values(*matrix).values, before.values);
  matrix->scales()(0, 0) *= 1.01f;
  EXPECT_FALSE(pare::Nvfp4Grid{}.separate(*matrix));
  EXPECT_FALSE(pare::Nvfp4Grid::up_to(infinity));
  // All zeros.
  const std::vector<float> zeros(16);
  const auto none = pare::Nvfp4Grid::over({zeros.data(), 1, 16});
  ASSERT_TRUE(none);
  const auto nothing = pare::RoundToNearest{}(*none, {zeros.data(), 1, 16});
  ASSERT_TRUE(nothing);
  EXPECT_EQ(nothing->value(0, 5), 0.0f);
}

}  // namespace
