#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "pare/prune/prune.hpp"
#include "runner.hpp"

namespace golden {

/// 1 for each pruned element, as the files have masks.
inline std::vector<int> pruned(const pare::Mask& mask) {
  std::vector<int> result;
  for (std::size_t r = 0; r < mask.shape().rows; ++r)
    for (std::size_t c = 0; c < mask.shape().cols; ++c) result.push_back(mask.test(r, c) ? 0 : 1);
  return result;
}

/// The pattern of a configuration such as "2of4", of which the files say how many are pruned.
inline pare::AnyNofM pattern(const std::string& text) {
  std::size_t n = 0, m = 0;
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, n);
  if (std::string_view(first.ptr, end).starts_with("of")) std::from_chars(first.ptr + 2, end, m);
  if (n == 0 || m <= n) throw std::runtime_error(text + " is no pattern");
  return {.keep = m - n, .of = m};
}

/// The first rows of a weight, all of them where there are fewer.
inline pare::MatrixView<const float> first_rows(const Problem& problem, std::size_t rows) {
  pare::MatrixView<const float> view = problem.weight.view();
  view.rows = std::min(rows, view.rows);
  return view;
}

inline std::vector<float> masked(pare::MatrixView<const float> weights, const pare::Mask& mask) {
  std::vector<float> result(weights.rows * weights.cols);
  ensure(pare::apply(mask, weights, pare::MatrixView<float>(result.data(), weights.rows, weights.cols)));
  return result;
}

/// Numbers that the reference summed in single precision, of which the rule says nothing: within the most that so many
/// additions can lose.
template <class T>
void check_sums(Outcome& outcome, std::string_view what, const std::vector<float>& expected, const T& found,
                std::size_t terms) {
  const double allowed = static_cast<double>(terms + 4) * 0x1p-24;
  double worst = 0.0;
  for (std::size_t i = 0; i < std::min<std::size_t>(expected.size(), found.size()); ++i) {
    const double x = static_cast<double>(expected[i]);
    const double difference = std::fabs(x - static_cast<double>(found[i]));
    if (!(difference <= worst * std::fabs(x))) worst = x == 0 ? INFINITY : difference / std::fabs(x);
  }
  outcome.check(what, expected.size() == found.size() && !expected.empty() && worst <= allowed,
                std::to_string(found.size()) + " numbers, at worst " + std::to_string(worst) + " apart, " +
                    std::to_string(allowed) + " is allowed");
}

}  // namespace golden
