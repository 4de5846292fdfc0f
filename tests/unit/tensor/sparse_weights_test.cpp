#include "pare/tensor/sparse_weights.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "../normal_values.hpp"
#include "pare/tensor/tensor.hpp"

namespace {

using namespace pare;

using Ints = Scheme<4, Symmetric, PerGroup<32>, f16>;
using Levels = Scheme<nf4, Symmetric, PerGroup<32>>;

/// Keeps `of_four` of every four columns, others in each row and block of 16 rows as `block_rows` says.
Mask mask_of_four(Shape shape, unsigned of_four, std::size_t block_rows) {
  Mask mask = *Mask::create(shape);
  for (std::size_t r = 0; r < shape.rows; ++r)
    for (std::size_t c = 0; c < shape.cols; ++c) mask.set(r, c, (c + r / block_rows) % 4 < of_four);
  return mask;
}

TEST(SparseWeights, MaskStructureIsReadFromTheMask) {
  const Shape shape{40, 30};
  const MaskStructure whole = mask_structure(*Mask::create(shape));
  EXPECT_EQ(whole.kept, 1.0);
  EXPECT_FALSE(whole.two_of_four);
  EXPECT_TRUE(whole.blocks);
  const MaskStructure half = mask_structure(mask_of_four(shape, 2, 1));
  EXPECT_NEAR(half.kept, 0.5, 0.02);
  EXPECT_TRUE(half.two_of_four);
  EXPECT_FALSE(half.blocks);
  EXPECT_TRUE(mask_structure(mask_of_four(shape, 2, 16)).blocks);
  EXPECT_FALSE(mask_structure(mask_of_four(shape, 3, 16)).two_of_four);
  EXPECT_TRUE(mask_structure(mask_of_four(shape, 3, 16)).blocks);
  // What lies past the last column means nothing.
  const std::vector<std::uint8_t> bits = {0b11110011, 0b11110001, 0b00110011, 0b00001001};
  const MaskStructure stray = mask_structure(MaskView{bits.data(), 2, 12});
  EXPECT_FALSE(stray.two_of_four);  // of columns 4 to 7 of the first row all are kept
  EXPECT_EQ(stray.kept, (6.0 + 1.0 + 4.0 + 2.0) / 24.0);
  EXPECT_EQ(mask_structure(MaskView{}).kept, 1.0);
}

TEST(SparseWeights, EveryLineOfTheRuleIsFollowed) {
  for (const StorageRule& rule : storage_rules) {
    StorageCase of{.shape = {1, 1},
                   .bits = rule.most_bits,
                   .eight_bit_activations = rule.eight_bit_activations,
                   .rows = rule.most_rows,
                   .bytes_in_turns = rule.from_memory ? storage_cache_bytes + 1 : storage_cache_bytes};
    const auto chosen = [&](double kept, bool two_of_four, bool blocks) {
      of.mask = {kept, two_of_four, blocks};
      return choose_storage(of);
    };
    if (rule.sparse24 > 0.0) {
      EXPECT_EQ(chosen(0.5, true, false), Storage::sparse24);
    }
    if (rule.blocks > 0.0) {
      EXPECT_EQ(chosen(rule.blocks, false, true), Storage::blocks);
    }
    if (rule.csr > 0.0) {
      EXPECT_EQ(chosen(rule.csr, false, false), Storage::csr);
    }
    if (rule.bitmask > rule.csr) {
      EXPECT_EQ(chosen(rule.bitmask, false, false), Storage::bitmask);
    }
    EXPECT_EQ(chosen(1.0, false, false), Storage::dense);
  }
  // A line asks for more the further up it stands: none is out of reach.
  for (std::size_t i = 0; i < storage_rules.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) {
      const StorageRule &a = storage_rules[j], &b = storage_rules[i];
      EXPECT_FALSE(a.eight_bit_activations == b.eight_bit_activations && a.from_memory == b.from_memory &&
                   a.most_bits >= b.most_bits && a.most_rows >= b.most_rows)
          << j << " hides " << i;
    }
}

TEST(SparseWeights, LargeMatricesComeFromMemory) {
  const MaskStructure mask{.kept = 0.25};
  EXPECT_EQ(choose_storage({.shape = {8192, 8192}, .mask = mask}), Storage::csr);
  EXPECT_EQ(choose_storage({.shape = {64, 64}, .mask = mask}), Storage::dense);
  EXPECT_EQ(choose_storage({.shape = {64, 64}, .bytes_in_turns = std::size_t{1} << 30, .mask = mask}), Storage::csr);
  constexpr std::size_t most = static_cast<std::size_t>(-1);
  EXPECT_EQ(choose_storage({.shape = {most, most}, .mask = mask}), Storage::csr);
  EXPECT_EQ(choose_storage({.shape = {0, 0}, .bits = 0, .rows = 0}), Storage::dense);
}

/// Whether products of `weights` are near those of the dense ones.
template <class V>
void expect_products(const SparseWeights<V>& weights, const std::vector<float>& dense, double bound) {
  constexpr std::size_t rows = 2;
  const Shape shape = weights.shape();
  const std::vector<float> x = normal_values(rows * shape.cols, 7);
  std::vector<float> y(rows * shape.rows, 9.0f), first(shape.rows);
  ASSERT_TRUE(matmul(weights, MatrixView<const float>(x.data(), rows, shape.cols),
                     MatrixView<float>(y.data(), rows, shape.rows)));
  ASSERT_TRUE(matvec(weights, std::span(x).first(shape.cols), first));
  for (std::size_t j = 0; j < shape.rows; ++j) {
    double exact = 0.0, magnitude = 0.0;
    for (std::size_t c = 0; c < shape.cols; ++c) {
      exact += double{x[c]} * double{dense[j * shape.cols + c]};
      magnitude += std::abs(double{x[c]} * double{dense[j * shape.cols + c]});
    }
    EXPECT_NEAR(y[j], exact, bound * magnitude + 1e-6) << name(weights.storage());
    EXPECT_EQ(y[j], first[j]);
  }
}

TEST(SparseWeights, FloatsAreHeldAsTheRuleSays) {
  const Shape shape{48, 96};
  const std::vector<float> weights = normal_values(shape.rows * shape.cols);
  const MatrixView<const float> view(weights.data(), shape.rows, shape.cols);
  const ProductPlan from_memory{.rows = 1, .bytes_in_turns = std::size_t{1} << 30};
  const auto expect = [&](const Mask& mask, const ProductPlan& plan, Storage storage) {
    const auto held = sparse_weights(view, mask, plan);
    ASSERT_TRUE(held) << held.error().message;
    EXPECT_EQ(held->storage(), storage) << name(held->storage());
    std::vector<float> dense(weights.size());
    ASSERT_TRUE(apply(mask, view, MatrixView<float>(dense.data(), shape.rows, shape.cols)));
    expect_products(*held, dense, 1e-6);
    EXPECT_EQ(held->bytes() == 4 * weights.size(), storage == Storage::dense);
  };
  expect(mask_of_four(shape, 3, 1), from_memory, Storage::dense);
  expect(mask_of_four(shape, 2, 1), from_memory, Storage::bitmask);
  expect(mask_of_four(shape, 1, 1), from_memory, Storage::csr);
  expect(mask_of_four(shape, 1, 16), from_memory, Storage::blocks);
  expect(mask_of_four(shape, 1, 1), {}, Storage::dense);
}

TEST(SparseWeights, CodesAreHeldAsTheRuleSays) {
  const Shape shape{48, 96};
  const std::vector<float> weights = normal_values(shape.rows * shape.cols);
  const Mask half = mask_of_four(shape, 2, 1);
  const auto expect = [&]<class S>(const Mask& mask, const ProductPlan& plan, double bound) {
    auto packed = *quantize<S>(weights, mask);
    std::vector<float> dense(weights.size());
    ASSERT_TRUE(dequantize(packed, dense));
    const Storage storage = choose_storage(
        {shape, S::bits, plan.eight_bit_activations, plan.rows, plan.bytes_in_turns, mask_structure(mask)});
    const auto held = sparse_weights(std::move(packed), mask, plan);
    ASSERT_TRUE(held) << held.error().message;
    EXPECT_EQ(held->storage(), storage);
    expect_products(*held, dense, bound);
  };
  const std::size_t much = std::size_t{1} << 30;
  expect.operator()<Ints>(half, {}, 1e-6);
  expect.operator()<Ints>(half, {.rows = 1, .bytes_in_turns = much, .eight_bit_activations = true}, 0.02);
  expect.operator()<Ints>(*Mask::create(shape), {.rows = 1, .bytes_in_turns = much, .eight_bit_activations = true},
                          0.02);
  Mask few = mask_of_four(shape, 0, 1);
  for (std::size_t r = 0; r < shape.rows; ++r) few.set(r, r, true);
  for (const std::size_t bytes : {std::size_t{1}, much}) {
    expect.operator()<Ints>(few, {.bytes_in_turns = bytes}, 1e-6);
    expect.operator()<Levels>(few, {.bytes_in_turns = bytes}, 1e-6);
    expect.operator()<Ints>(mask_of_four(shape, 0, 1), {.bytes_in_turns = bytes}, 1e-6);
  }
}

TEST(SparseWeights, WrongArgumentsAreErrors) {
  const Shape shape{8, 32};
  const std::vector<float> weights = normal_values(shape.rows * shape.cols);
  const MatrixView<const float> view(weights.data(), shape.rows, shape.cols);
  const auto message = [](const auto& result) { return result ? std::string() : result.error().message; };
  EXPECT_EQ(message(sparse_weights(view, *Mask::create({8, 31}))), "pare: the mask is 8 x 31 where 8 x 32 is needed");
  EXPECT_EQ(message(sparse_weights(view, MaskView{nullptr, 8, 32})), "pare: the mask is a null pointer");
  EXPECT_EQ(message(sparse_weights(*quantize<Ints>(weights, shape), *Mask::create({7, 32}))),
            "pare: the mask is 7 x 32 where 8 x 32 is needed");
  EXPECT_EQ(
      message(sparse_weights(*quantize<Levels>(weights, shape), *Mask::create(shape), {.eight_bit_activations = true})),
      "pare: activations in eight bits need integers or e2m1 in groups of a multiple of 32 columns, which nf4-g32 "
      "has not");
  const auto held = *sparse_weights(view, *Mask::create(shape));
  std::vector<float> x(31), y(8);
  EXPECT_EQ(message(matvec(held, x, y)), "pare: x is 1 x 31 where 1 x 32 is needed");
}

}  // namespace
