#include "pare/quantize/adaround.hpp"

#include <algorithm>
#include <vector>

#include "coded.hpp"
#include "families.hpp"
#include "pare/quantize/min_max_grid.hpp"

namespace golden {
namespace {

/// A block of the stored scales and zero points for each row.
pare::CodedMatrix stored_grid(const Entry& entry, const Tensors& expected, pare::Shape shape) {
  auto matrix = value(pare::CodedMatrix::allocate(shape, pare::unsigned_format(entry.config.at("bits").get<int>()),
                                                  {1, shape.cols}, pare::ShiftKind::zero_point));
  std::ranges::copy(expected.values<float>("delta"), matrix.scales().data);
  std::ranges::copy(expected.values<float>("zero"), matrix.shifts().data);
  return matrix;
}

void check_adaround(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  const pare::MatrixView<const float> weights = problem.weight.view();
  const auto moment = problem.moment();
  const int bits = entry.config.at("bits").get<int>();

  // The grid is the search of 80 narrower ranges that MinMaxGrid knows.
  const pare::MinMaxGrid grid{.bits = bits, .symmetric = false, .search = pare::ClipSearch::mse()};
  const auto nearest = value(pare::RoundToNearest{}(grid, weights));
  outcome.near("grad0", expected.values<float>("delta"), scales(nearest));
  outcome.near("grad0", expected.values<float>("zero"), shifts(nearest));
  const std::vector<int> nearest_codes = codes(nearest);
  outcome.check("codes_nearest", expected.values<int>("codes_nearest") == nearest_codes);

  pare::CodedMatrix start = stored_grid(entry, expected, weights.shape());
  auto soft = value(pare::SoftRows::create(start, weights, 0, weights.rows));
  auto covariance = value(pare::Matrix<double>::copy(moment.sum()));
  for (double& x : covariance.values()) x /= static_cast<double>(moment.tokens());
  const double loss = soft.differentiate(covariance);
  const double weight = entry.number("weight0"), sharpness = entry.number("b0");
  std::vector<float> alpha, rounded, gradient;
  double penalty = 0.0;
  for (std::size_t r = 0; r < weights.rows; ++r)
    for (std::size_t c = 0; c < weights.cols; ++c) {
      const pare::SoftWeight& w = soft.weights()(r, c);
      const pare::SoftRounding rounding = pare::SoftRounding::at(w.alpha);
      alpha.push_back(static_cast<float>(w.alpha));
      rounded.push_back(static_cast<float>(soft.value(w, rounding.up)));
      gradient.push_back(static_cast<float>(w.gradient + weight * rounding.penalty_slope(sharpness)));
      penalty += weight * rounding.penalty(sharpness);
    }
  // Alphas and gradients near zero are differences of larger numbers.
  outcome.near("alpha0", expected.values<float>("alpha0"), alpha, true);
  outcome.near("W_soft0", expected.values<float>("W_soft0"), rounded, true);
  outcome.near("grad0", expected.values<float>("grad0"), gradient, true);
  outcome.near("grad0", {static_cast<float>(entry.number("loss0"))}, {static_cast<float>(loss)});
  outcome.near("grad0", {static_cast<float>(entry.number("round_loss0"))}, {static_cast<float>(penalty)});

  const pare::AdaRound adaround{.iterations = entry.json.at("iters").get<int>(), .penalty = 1e-3};
  const pare::AdaRoundResult result = value(adaround.refine(std::move(start), weights, moment));
  outcome.error(problem.error(dequantized(result.matrix)));
}

constexpr Method methods[] = {{"adaround", check_adaround}};

}  // namespace

std::span<const Method> adaround_methods() { return methods; }

}  // namespace golden
