// Rounding that weighs errors by what enters each column, as llama.cpp does with an imatrix, for any scheme.
#include <gtest/gtest.h>

#include <limits>
#include <span>
#include <string>
#include <vector>

#include "../normal_values.hpp"
#include "pare/quantize/quantize.hpp"

namespace {
using pare::AnyGrid;
using pare::ClipSearchGrid;
using pare::MatrixView;
using pare::RoundToNearest;

constexpr std::size_t rows = 24, cols = 150;

class Importances : public testing::Test {
 protected:
  Importances() {
    for (std::size_t c = 0; c < cols; ++c) importance_[c] = c % 7 == 0 ? 25.0f : 0.1f;
  }
  [[nodiscard]] MatrixView<const float> view() const { return {weights_.data(), rows, cols}; }
  [[nodiscard]] double error(const pare::CodedMatrix& matrix) const {
    double sum = 0.0;
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < cols; ++c) {
        const double away = double{matrix.value(r, c)} - double{weights_[r * cols + c]};
        sum += away * away * double{importance_[c]};
      }
    return sum;
  }
  const std::vector<float> weights_ = normal_values(rows * cols, 1);
  std::vector<float> importance_ = std::vector<float>(cols);
};

TEST_F(Importances, LessenTheErrorThatTheyWeighForEveryKindOfScheme) {
  for (const char* scheme :
       {"int4-g32", "int3-asym-g64-f16", "int2-asym-g32", "nf4-g64", "int4-channel", "fp8-block"}) {
    const ClipSearchGrid<AnyGrid> grid{.base = *AnyGrid::named(scheme)};
    const auto plain = RoundToNearest{}(grid, view());
    const auto weighted = RoundToNearest{.importance = importance_}(grid, view());
    ASSERT_TRUE(plain && weighted) << scheme;
    EXPECT_LE(error(*weighted), (grid.format().bits <= 4 ? 0.999 : 1.0) * error(*plain)) << scheme;
    const std::vector<float> alike(cols, 2.0f);
    const auto same = RoundToNearest{.importance = alike}(grid, view());
    ASSERT_TRUE(same);
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < cols; ++c) ASSERT_EQ(same->value(r, c), plain->value(r, c)) << scheme;
  }
}

TEST_F(Importances, AreCheckedBeforeAnythingIsRounded) {
  const ClipSearchGrid<pare::MinMaxGrid> grid{.base = {.bits = 4}};
  const auto message = [&](std::span<const float> importance) {
    const auto result = RoundToNearest{.group = 32, .importance = importance}(grid, view());
    return result ? std::string("no error") : result.error().message;
  };
  EXPECT_EQ(message(importance_), "no error");
  EXPECT_NE(message(std::span(importance_).first(10)).find("10 importances for 150"), std::string::npos);
  for (const float bad : {-1.0f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    importance_[3] = bad;
    EXPECT_NE(message(importance_).find("column 3"), std::string::npos);
  }
  const auto unweighted = RoundToNearest{.importance = importance_}(*AnyGrid::named("int4-g32"), view());
  ASSERT_FALSE(unweighted);
  EXPECT_EQ(unweighted.error().code, pare::ErrorCode::unsupported);
  EXPECT_NE(unweighted.error().message.find("ClipSearchGrid"), std::string::npos);
}

}  // namespace
