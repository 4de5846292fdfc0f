// What pruned weights gain in products: 2:4 beside dense integers, sparse floats beside dense ones, and an MLP with
// fewer neurons. What stands in one row took its turns in one run; medians of the thread's processor time, one thread.
//
//   pare_bench_sparse [2:4 | float | codes | neurons [TARGET]]     TARGET: an instruction set by Highway's name, as
//   AVX2
#include <hwy/targets.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "checked.hpp"
#include "pare/tensor/tensor.hpp"
#include "round_robin.hpp"

namespace {

using pare::MatrixView;
using pare::Shape;
namespace catalog = pare::catalog;

constexpr std::size_t columns = 4096;

std::vector<float> normal_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

/// Keeps two of every four columns.
pare::Mask mask_24(Shape shape) {
  pare::Mask mask = value(pare::Mask::create(shape));
  constexpr std::array<unsigned, 6> pairs = {3, 5, 6, 9, 10, 12};
  std::mt19937 random(1);
  unsigned pair = 0;
  for (std::size_t r = 0; r < shape.rows; ++r)
    for (std::size_t c = 0; c < shape.cols; ++c) {
      if (c % 4 == 0) pair = pairs[random() % pairs.size()];
      mask.set(r, c, (pair >> c % 4 & 1u) != 0);
    }
  return mask;
}

/// Packed weights that are 2:4: the same rows again and again, so that few of them need be there as floats.
template <class S>
pare::PackedTensor<S> packed_24(Shape shape) {
  const Shape part{std::min<std::size_t>(shape.rows, 64), shape.cols};
  std::vector<float> weights = normal_values(part.rows * part.cols, 2);
  expect(pare::apply(mask_24(part), MatrixView<float>(weights.data(), part.rows, part.cols)));
  auto packed = value(pare::PackedTensor<S>::allocate(shape));
  const pare::PackedSpan<S> all = packed.view();
  for (std::size_t r = 0; r < shape.rows; r += part.rows) {
    const std::size_t rows = std::min(part.rows, shape.rows - r);
    const pare::PackedSpan<S> to{{rows, shape.cols}, all.row_codes(r), all.stored_scale(all.first_block(r))};
    expect(pare::quantize_into<S>(MatrixView<const float>(weights.data(), rows, shape.cols), to));
  }
  return packed;
}

/// A product of prepared weights of either kind with `x`, which outlives it.
template <class W>
std::function<void()> product(W weights, MatrixView<const float> x) {
  const auto w = std::make_shared<W>(std::move(weights));
  const auto y = std::make_shared<std::vector<float>>(x.rows * w->shape().rows);
  return [=] { expect(pare::matmul(*w, x, MatrixView<float>(y->data(), x.rows, w->shape().rows))); };
}

template <class S>
void compare_24(const char* where, std::size_t outputs, MatrixView<const float> x) {
  auto dense = value(pare::prepare(packed_24<S>({outputs, columns})));
  auto sparse = value(pare::prepare_sparse24(packed_24<S>({outputs, columns})));
  const double dense_bytes = static_cast<double>(dense.bytes()), sparse_bytes = static_cast<double>(sparse.bytes());
  for (const std::size_t rows : {1u, 4u, 16u, 128u}) {
    if (rows > x.rows) break;
    const MatrixView<const float> input(x.data, rows, columns);
    std::vector<float> dense_y(rows * outputs), sparse_y(rows * outputs);
    const MatrixView<float> a(dense_y.data(), rows, outputs), b(sparse_y.data(), rows, outputs);
    Case cases[] = {{"dense", [&] { expect(pare::matmul(dense, input, a)); }},
                    {"2:4", [&] { expect(pare::matmul(sparse, input, b)); }}};
    time_round_robin(cases);
    if (dense_y != sparse_y) fail("the products differ");
    std::printf("| %s | %s | %zu | %.3f ms | %.3f ms | %.2f | %.2f |\n", std::string(pare::name<S>()).c_str(), where,
                rows, 1e3 * cases[0].median(), 1e3 * cases[1].median(), cases[0].median() / cases[1].median(),
                dense_bytes / sparse_bytes);
    std::fflush(stdout);
  }
}

void all_24(MatrixView<const float> x) {
  std::printf("\n| scheme | weights | rows of activations | dense | 2:4 | dense / 2:4 | bytes, dense / 2:4 |\n");
  std::printf("|---|---|---|---|---|---|---|\n");
  const MatrixView<const float> few(x.data, 16, columns);
  compare_24<catalog::Int8Channel>("64 rows, in cache", 64, x);
  compare_24<catalog::Int8Channel>("65536 rows, memory", 65536, few);
  compare_24<catalog::Int4Group128>("64 rows, in cache", 64, x);
  compare_24<catalog::Int4Group128>("131072 rows, memory", 131072, few);
}

/// Whether elements, or blocks of 16 x 1, are kept at random.
pare::Mask random_mask(Shape shape, double sparsity, std::size_t block_rows) {
  pare::Mask mask = value(pare::Mask::create(shape));
  const auto limit = static_cast<std::uint32_t>(sparsity * 4294967295.0);
  std::mt19937 random(3);
  std::vector<std::uint32_t> drawn(shape.cols);
  for (std::size_t r = 0; r < shape.rows; ++r) {
    if (r % block_rows == 0)
      for (std::uint32_t& v : drawn) v = static_cast<std::uint32_t>(random());
    for (std::size_t c = 0; c < shape.cols; ++c) mask.set(r, c, drawn[c] >= limit);
  }
  return mask;
}

/// Prints how the cases, of which the first is the dense one, compare.
void print_ratios(const std::string& line, double sparsity, std::span<Case> cases) {
  time_round_robin(cases);
  const double dense = cases[0].median();
  std::printf("| %s | %.0f %% | %.3f ms |", line.c_str(), 100.0 * sparsity, 1e3 * dense);
  for (const Case& c : cases.subspan(1)) std::printf(" %.2f |", dense / c.median());
  std::printf("\n");
  std::fflush(stdout);
}

/// Sparse floats beside dense ones.
void compare_floats(const char* where, std::size_t outputs, MatrixView<const float> x) {
  const std::vector<float> values = normal_values(outputs * columns, 4);
  const MatrixView<const float> weights(values.data(), outputs, columns);
  std::vector<float> y(outputs * x.rows);
  for (const double sparsity : {0.3, 0.5, 0.7, 0.8, 0.9, 0.95}) {
    const pare::Mask elements = random_mask(weights.shape(), sparsity, 1);
    const pare::Mask blocks = random_mask(weights.shape(), sparsity, 16);
    const auto csr = value(pare::CsrMatrix::create(weights, elements));
    const auto bitmask = value(pare::BitmaskMatrix::create(weights, elements));
    const auto block_csr = value(pare::BlockCsrMatrix::create(weights, blocks, {16, 1}));
    for (const std::size_t rows : {1u, 4u, 16u}) {
      const MatrixView<const float> input(x.data, rows, columns);
      const MatrixView<float> out(y.data(), rows, outputs);
      Case cases[] = {{"dense floats",
                       [&] {
                         std::ranges::fill(y, 0.0f);
                         pare::HighwayKernels::accumulate_products(x.data, rows, x.row_stride, values.data(), outputs,
                                                                   columns, columns, y.data(), outputs);
                       }},
                      {"bitmask", [&] { expect(pare::matmul(bitmask, input, out)); }},
                      {"CSR", [&] { expect(pare::matmul(csr, input, out)); }},
                      {"BCSR 16 x 1", [&] { expect(pare::matmul(block_csr, input, out)); }}};
      print_ratios(std::string(where) + " | " + std::to_string(rows), sparsity, cases);
    }
  }
}

void all_floats(MatrixView<const float> x) {
  const MatrixView<const float> some(x.data, 16, columns);
  std::printf("\n| weights | rows of activations | sparsity | dense floats | bitmask | CSR | BCSR 16 x 1 |\n");
  std::printf("|---|---|---|---|---|---|---|\n");
  compare_floats("64 rows, in cache", 64, some);
  compare_floats("16384 rows, memory", 16384, some);
}

/// Sparse codes beside dense ones, all with float activations.
template <class S>
void compare_codes(const char* where, std::size_t outputs, MatrixView<const float> x) {
  const auto packed = packed_24<S>({outputs, columns});
  std::vector<float> y(outputs * x.rows);
  for (const double sparsity : {0.5, 0.7, 0.8, 0.9, 0.95}) {
    const pare::Mask elements = random_mask(packed.shape(), sparsity, 1);
    const pare::Mask blocks = random_mask(packed.shape(), sparsity, 16);
    const auto bitmask = value(pare::BitmaskTensor<S>::create(packed, elements));
    const auto csr = value(pare::CsrTensor<S>::create(packed, elements));
    const auto block_csr = value(pare::BlockCsrTensor<S>::create(packed, blocks, {16, 1}));
    for (const std::size_t rows : {1u, 4u, 16u}) {
      const MatrixView<const float> input(x.data, rows, columns);
      const MatrixView<float> out(y.data(), rows, outputs);
      Case cases[] = {{"dense", [&] { expect(pare::matmul(packed, input, out)); }},
                      {"bitmask", [&] { expect(pare::matmul(bitmask, input, out)); }},
                      {"CSR", [&] { expect(pare::matmul(csr, input, out)); }},
                      {"BCSR 16 x 1", [&] { expect(pare::matmul(block_csr, input, out)); }}};
      print_ratios(std::string(pare::name<S>()) + " | " + where + " | " + std::to_string(rows), sparsity, cases);
    }
  }
}

void all_codes(MatrixView<const float> x) {
  const MatrixView<const float> some(x.data, 16, columns);
  std::printf("\n| scheme | weights | rows of activations | sparsity | dense | bitmask | CSR | BCSR 16 x 1 |\n");
  std::printf("|---|---|---|---|---|---|---|---|\n");
  compare_codes<catalog::Int8Channel>("64 rows, in cache", 64, some);
  compare_codes<catalog::Int8Channel>("16384 rows, memory", 16384, some);
  compare_codes<catalog::Int4Group128>("64 rows, in cache", 64, some);
  compare_codes<catalog::Int4Group128>("16384 rows, memory", 16384, some);
}

/// The three products of an MLP of LLaMA's shape with this many neurons, in several copies as of a model's blocks.
template <class S>
std::function<void()> mlp(std::size_t neurons, std::size_t copies, MatrixView<const float> x,
                          MatrixView<const float> hidden) {
  std::vector<std::function<void()>> all;
  for (std::size_t i = 0; i < copies; ++i) {
    for (int of = 0; of < 2; ++of) all.push_back(product(value(pare::prepare(packed_24<S>({neurons, columns}))), x));
    all.push_back(product(value(pare::prepare(packed_24<S>({columns, neurons}))),
                          MatrixView<const float>(hidden.data, hidden.rows, neurons)));
  }
  return [all = std::move(all)] {
    for (const auto& run : all) run();
  };
}

template <class S>
void compare_neurons(std::size_t rows, std::size_t copies, MatrixView<const float> x) {
  constexpr std::size_t neurons = 11008;
  const std::vector<float> values = normal_values(rows * neurons, 5);
  const MatrixView<const float> input(x.data, rows, columns), hidden(values.data(), rows, neurons);
  Case cases[] = {{"all", mlp<S>(neurons, copies, input, hidden)},
                  {"25 % fewer", mlp<S>(neurons * 3 / 4, copies, input, hidden)},
                  {"50 % fewer", mlp<S>(neurons / 2, copies, input, hidden)}};
  time_round_robin(cases);
  const double all = cases[0].median(), three = cases[1].median(), two = cases[2].median();
  const auto milliseconds = [&](double seconds) { return 1e3 * seconds / static_cast<double>(copies); };
  std::printf("| %s | %zu | %.2f ms | %.2f ms | %.2f ms | %.2f | %.2f |\n", std::string(pare::name<S>()).c_str(), rows,
              milliseconds(all), milliseconds(three), milliseconds(two), all / three * 0.75, all / two * 0.5);
  std::fflush(stdout);
}

void all_neurons(MatrixView<const float> x) {
  std::printf("\n| scheme | rows of activations | 11008 neurons | 8256 | 5504 | of the ideal at 25 %% | at 50 %% |\n");
  std::printf("|---|---|---|---|---|---|---|\n");
  compare_neurons<catalog::Int4Group32F16>(1, 4, x);
  compare_neurons<catalog::Int4Group32F16>(16, 4, x);
  compare_neurons<catalog::Int8Channel>(1, 3, x);
  compare_neurons<catalog::Int8Channel>(16, 3, x);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view chosen = argc > 1 ? argv[1] : "";
  if (argc > 2) {
    const std::vector<std::int64_t> targets = hwy::SupportedAndGeneratedTargets();
    const auto found = std::ranges::find(targets, std::string_view(argv[2]), hwy::TargetName);
    if (found == targets.end()) fail(std::string("this processor or program has no ") + argv[2]);
    hwy::SetSupportedTargetsForTest(*found);
  }
  const std::vector<float> values = normal_values(128 * columns, 1);
  const MatrixView<const float> x(values.data(), 128, columns);
  const std::pair<std::string_view, void (*)(MatrixView<const float>)> parts[] = {
      {"2:4", all_24}, {"float", all_floats}, {"codes", all_codes}, {"neurons", all_neurons}};
  for (const auto& [name, run] : parts)
    if (chosen.empty() || chosen == name) run(x);
  return 0;
}
