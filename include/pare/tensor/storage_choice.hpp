#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "pare/tensor/mask.hpp"

namespace pare {

/// How pruned weights can be held.
enum class Storage { dense, sparse24, blocks, csr, bitmask };

/// The name of a storage: "dense", "2:4", "blocks", "csr", "bitmask".
constexpr std::string_view name(Storage storage) noexcept {
  constexpr std::array<std::string_view, 5> names = {"dense", "2:4", "blocks", "csr", "bitmask"};
  return names[static_cast<std::size_t>(storage)];
}

/// The blocks that `choose_storage` asks for: 16 rows of one column.
inline constexpr Shape storage_block{16, 1};

/// What a mask keeps, as far as a choice of storage depends on it.
struct MaskStructure {
  double kept = 1.0;         ///< the share of elements; 1 of none
  bool two_of_four = false;  ///< no more than two of every four columns of a row, counted from column 0
  bool blocks = false;       ///< blocks of 16 rows x 1 column whole or not at all
};

/// Reads a mask twice. Errors: none; a mask of a null pointer keeps nothing.
inline MaskStructure mask_structure(MaskView mask) {
  MaskStructure structure;
  if (mask.empty()) return structure;
  structure.kept = 0.0;
  if (mask.data == nullptr) return structure;
  structure.kept = static_cast<double>(mask.kept()) / static_cast<double>(mask.rows * mask.cols);
  const auto bits = [&](std::size_t r, std::size_t byte) {
    const unsigned past = byte + 1 == mask.row_bytes() && mask.cols % 8 != 0 ? (1u << mask.cols % 8) - 1u : 255u;
    return mask.row(r)[byte] & past;
  };
  structure.two_of_four = structure.blocks = true;
  for (std::size_t r = 0; r < mask.rows && (structure.two_of_four || structure.blocks); ++r)
    for (std::size_t b = 0; b < mask.row_bytes(); ++b) {
      const unsigned row = bits(r, b);
      structure.two_of_four &= std::popcount(row & 15u) <= 2 && std::popcount(row >> 4) <= 2;
      structure.blocks &= row == bits(r / storage_block.rows * storage_block.rows, b);
    }
  return structure;
}

/// What a choice of storage depends on.
struct StorageCase {
  Shape shape;                         ///< of the weights
  int bits = 32;                       ///< of a weight; 32 are floats
  bool eight_bit_activations = false;  ///< products as of `prepare`: dense codes or 2:4 ones
  std::size_t rows = 1;                ///< of activations in a product
  std::size_t bytes_in_turns = 0;      ///< all dense weights that are read in turns, a whole model's; 0: these alone
  MaskStructure mask = {};
};

/// One line of the rule: for weights of so many bits, where they come from and how many rows of activations there are,
/// up to which share of kept elements each storage is faster than dense weights and than those after it; 0 is never.
struct StorageRule {
  bool eight_bit_activations;
  int most_bits;
  bool from_memory;
  std::size_t most_rows;
  double sparse24, blocks, csr, bitmask;
};

/// Weights that are read in turns with more bytes than this count as coming from memory.
inline constexpr std::size_t storage_cache_bytes = std::size_t{4} << 20;

inline constexpr std::size_t any_rows = static_cast<std::size_t>(-1);

/// The rule of choose_storage: the first line that fits counts; where none does, weights stay dense. At these shares a
/// storage won with AVX-512 and with AVX2 alike in pare_bench_sparse, whose figures are in docs/pruning.md. Bitmasks of
/// codes save memory, but no time.
inline constexpr auto storage_rules = std::to_array<StorageRule>({
    // activations of 8 bits, bits of weights, from memory, rows, 2:4, blocks, csr, bitmask
    {true, 4, false, any_rows, 0.0, 0.0, 0.0, 0.0}, {true, 4, true, 4, 1.0, 0.0, 0.0, 0.0},
    {true, 4, true, any_rows, 0.0, 0.0, 0.0, 0.0},  {true, 8, false, 1, 1.0, 0.0, 0.0, 0.0},
    {true, 8, true, 16, 1.0, 0.0, 0.0, 0.0},        {false, 4, false, 1, 0.0, 0.05, 0.0, 0.0},
    {false, 4, false, 4, 0.0, 0.2, 0.05, 0.0},      {false, 4, true, 1, 0.0, 0.1, 0.0, 0.0},
    {false, 4, true, 4, 0.0, 0.3, 0.05, 0.0},       {false, 8, false, 1, 0.0, 0.1, 0.1, 0.0},
    {false, 8, false, 4, 0.0, 0.2, 0.1, 0.0},       {false, 8, true, 1, 0.0, 0.2, 0.1, 0.0},
    {false, 8, true, 4, 0.0, 0.3, 0.1, 0.0},        {false, 8, false, any_rows, 0.0, 0.0, 0.0, 0.0},
    {false, 8, true, any_rows, 0.0, 0.0, 0.0, 0.0}, {false, 32, false, 1, 0.0, 0.5, 0.2, 0.0},
    {false, 32, false, 16, 0.0, 0.3, 0.1, 0.0},     {false, 32, true, 1, 0.0, 0.5, 0.25, 0.7},
    {false, 32, true, 4, 0.0, 0.5, 0.25, 0.0},      {false, 32, true, 16, 0.0, 0.3, 0.1, 0.0},
});

/// The storage whose products should be the fastest, by storage_rules. It is a guess from one machine's figures:
/// measure where it matters.
constexpr Storage choose_storage(const StorageCase& of) noexcept {
  const std::size_t weights = of.shape.cols == 0 ? 0 : of.shape.rows;  // rows * cols * bits / 8 without overflow
  const std::size_t limit = storage_cache_bytes * 8 / static_cast<std::size_t>(std::max(of.bits, 1));
  const bool from_memory = of.bytes_in_turns != 0 ? of.bytes_in_turns > storage_cache_bytes
                                                  : of.shape.cols != 0 && weights > limit / of.shape.cols;
  for (const StorageRule& rule : storage_rules)
    if (rule.eight_bit_activations == of.eight_bit_activations && of.bits <= rule.most_bits &&
        rule.from_memory == from_memory && of.rows <= rule.most_rows) {
      const double kept = of.mask.kept;
      if (of.mask.two_of_four && kept <= rule.sparse24) return Storage::sparse24;
      if (of.mask.blocks && kept <= rule.blocks) return Storage::blocks;
      if (kept <= rule.csr) return Storage::csr;
      if (kept <= rule.bitmask) return Storage::bitmask;
      return Storage::dense;
    }
  return Storage::dense;
}

}  // namespace pare
