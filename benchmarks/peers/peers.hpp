#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "checked.hpp"
#include "pare/tensor/tensor.hpp"
#include "round_robin.hpp"

namespace peers {

/// Times cases of a peer's, each with the `ours` of pare's that follow it, in turns, and prints a row for each; `work`
/// divided by seconds is in `unit`.
void print_beside(const std::string& title, const std::string& peer, const std::string& unit, double work,
                  std::vector<Case> cases, std::size_t ours = 1);

/// Ends the program where two products differ by more than the rounding of weights and activations.
void check_same_product(const std::vector<float>& a, const std::vector<float>& b, const std::string& name);

/// Matrices that every peer gets: weights of 4096 columns, of which the first `conversion_rows` are converted, and
/// activations.
struct Inputs {
  pare::MatrixView<const float> weights;
  std::size_t conversion_rows;
  pare::MatrixView<const float> x;
  const char* avx2 = nullptr;  ///< where nobody uses more than AVX2: the file of ggml's backend for it

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
