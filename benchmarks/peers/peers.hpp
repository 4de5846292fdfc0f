#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "checked.hpp"
#include "pare/tensor/tensor.hpp"
#include "round_robin.hpp"

namespace peers {

/// What a peer does and what pare does beside it. The last of pare's is alike in all, and is to be `goal` times as
/// fast.
struct Row {
  Case theirs;
  std::vector<Case> ours;
  double goal = 1.0;
};

/// Times the rows, which have the same number of pare's cases, in turns and prints them; `work` divided by seconds is
/// in `unit`.
void print_beside(const std::string& title, const std::string& peer, const std::string& unit, double work,
                  const std::vector<Row>& rows);

/// Ends the program where two products differ by more than the rounding of weights and activations.
void check_same_product(const std::vector<float>& a, const std::vector<float>& b, const std::string& name);

/// Matrices that every peer gets: weights of 4096 columns, of which the first `conversion_rows` are converted, and
/// activations.
struct Inputs {
  pare::MatrixView<const float> weights;
  std::size_t conversion_rows;
  pare::MatrixView<const float> x;
  const char* avx2 = nullptr;  ///< where nobody uses more than AVX2: the file of ggml's backend for it

  /// With AVX2 the goal is to be ahead.
  [[nodiscard]] double goal(double with_avx512) const { return avx2 != nullptr ? 1.0 : with_avx512; }
  [[nodiscard]] pare::MatrixView<const float> converted() const {
    return {weights.data, conversion_rows, weights.cols};
  }
  [[nodiscard]] pare::MatrixView<const float> first_rows(std::size_t rows) const { return {x.data, rows, x.cols}; }
};

/// Multiply-adds of a product, two each, in billions.
double billions(pare::MatrixView<const float> weights, pare::MatrixView<const float> x);

/// Each is there where its library was found.
void compare_ggml(const Inputs& inputs);
void compare_xnnpack(const Inputs& inputs);
void compare_onednn(const Inputs& inputs);

}  // namespace peers
