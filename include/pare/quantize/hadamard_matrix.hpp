#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <string>
#include <utility>

#include "pare/calibration/calibration.hpp"

namespace pare {
namespace detail {

constexpr bool is_prime(std::size_t n) noexcept {
  for (std::size_t d = 2; d * d <= n; ++d)
    if (n % d == 0) return false;
  return n > 1;
}

/// Four symmetric circulants A, B, C, D of +1 and -1 with A^2 + B^2 + C^2 + D^2 = 4 size I. Bit i of a word is set
/// where the elements i and size - i of the block's first row are -1.
struct WilliamsonBlocks {
  std::size_t size = 0;
  std::array<std::uint32_t, 4> rows{};
};

/// Where neither of Paley's constructions over a prime field reaches: 52, 156 and 172, the sequences of the matrices
/// that QuaRot rotates by.
inline constexpr std::array<WilliamsonBlocks, 3> williamson_blocks = {{
    {13, {0x1a, 0xe, 0x34, 0x5e}},
    {39, {0xcdf58, 0xaf370, 0xdae98, 0x47d4e}},
    {43, {0x2450ce, 0x135e04, 0x342b28, 0x3cda1c}},
}};

/// How a Hadamard matrix of one order is built.
enum class HadamardConstruction { none, one, paley_1, paley_2, williamson };

constexpr HadamardConstruction hadamard_construction(std::size_t order) noexcept {
  if (order == 1) return HadamardConstruction::one;
  if (order == 0 || order % 4 != 0) return HadamardConstruction::none;
  if (is_prime(order - 1)) return HadamardConstruction::paley_1;
  if (order / 2 % 4 == 2 && is_prime(order / 2 - 1)) return HadamardConstruction::paley_2;
  for (const WilliamsonBlocks& blocks : williamson_blocks)
    if (blocks.size * 4 == order) return HadamardConstruction::williamson;
  return HadamardConstruction::none;
}

/// The quadratic character modulo a prime: 0, +1 for the squares, -1 for the others.
inline Result<Array<float>> quadratic_character(std::size_t prime, std::pmr::memory_resource* memory) {
  auto character = Array<float>::create(prime, memory);
  if (!character) return character;
  for (std::size_t i = 1; i < prime; ++i) (*character)[i] = -1.0f;
  for (std::size_t i = 1; i < prime; ++i) (*character)[i * i % prime] = 1.0f;
  return character;
}

inline float williamson_sign(const WilliamsonBlocks& blocks, std::size_t row, std::size_t col) noexcept {
  constexpr int negative[4][4] = {{0, 0, 0, 0}, {1, 0, 1, 0}, {1, 0, 0, 1}, {1, 1, 0, 0}};
  const std::size_t a = row / blocks.size, b = col / blocks.size;
  const std::size_t step = (col % blocks.size + blocks.size - row % blocks.size) % blocks.size;
  const std::size_t bit = step <= blocks.size / 2 ? step : blocks.size - step;
  const bool minus = ((blocks.rows[a ^ b] >> bit & 1u) != 0) != (negative[a][b] != 0);
  return minus ? -1.0f : 1.0f;
}

}  // namespace detail

/// The order K of the matrix that hadamard_matrix(K) builds for vectors of n = K * 2^m values, the rest being done by
/// butterflies; 0 where none of its constructions fits n. It is 1 for powers of two, 40 for n = 5 * 2^m from 40 on
/// (as QuaRot has it), else the smallest possible.
constexpr std::size_t hadamard_order(std::size_t n) noexcept {
  if (n == 0) return 0;
  if (std::has_single_bit(n)) return 1;
  const std::size_t odd = n >> std::countr_zero(n);
  if (odd == 5 && n >= 40) return 40;
  for (std::size_t order = odd; order <= n && n % order == 0; order *= 2)
    if (detail::hadamard_construction(order) != detail::HadamardConstruction::none) return order;
  return 0;
}

/// A matrix H [order, order] of +1 and -1 with H H^T = order * I: Paley's first construction where order - 1 is a
/// prime, his second where order / 2 - 1 is one (Paley, "On orthogonal matrices", 1933), Williamson's array (1944) for
/// 52, 156 and 172, and [[H, H], [H, -H]] of half the order elsewhere. For the orders 12, 20, 28, 36, 40, 52, 60, 108,
/// 140, 156 and 172 these are the matrices of Sloane's library by which QuaRot (Ashkboos et al., 2024) rotates. Errors:
/// an order that no construction reaches, out_of_memory.
inline Result<Matrix<float>> hadamard_matrix(std::size_t order, std::pmr::memory_resource* memory = nullptr) {
  std::size_t core = order;
  while (detail::hadamard_construction(core) == detail::HadamardConstruction::none && core > 1 && core % 2 == 0)
    core /= 2;
  const detail::HadamardConstruction construction = detail::hadamard_construction(core);
  if (construction == detail::HadamardConstruction::none)
    return Error{ErrorCode::unsupported,
                 "pare: there is no construction for a Hadamard matrix of order " + std::to_string(order)};
  auto matrix = Matrix<float>::create({order, order}, memory);
  if (!matrix) return matrix;

  const bool first = construction == detail::HadamardConstruction::paley_1;
  const bool paley = first || construction == detail::HadamardConstruction::paley_2;
  const std::size_t border = first ? core : core / 2;  // of the conference matrix, 1 + a prime
  auto character = detail::quadratic_character(paley ? border - 1 : 0, memory);
  if (!character) return std::move(character).error();
  const auto residue = [&](std::size_t i, std::size_t j) { return (*character)[(i + border - 1 - j) % (border - 1)]; };
  const auto paley_1 = [&](std::size_t i, std::size_t j) {
    return i == j || j == 0 ? 1.0f : i == 0 ? -1.0f : residue(i, j);
  };
  const auto paley_2 = [&](std::size_t i, std::size_t j) {
    const std::size_t a = i % border, b = j % border;
    const bool lower = i >= border, right = j >= border;
    if (a == b) return lower || right ? -1.0f : 1.0f;
    const float sign = a == 0 || b == 0 ? 1.0f : residue(a, b);
    return lower && right ? -sign : sign;
  };
  const auto williamson = [&](std::size_t i, std::size_t j) {
    for (const detail::WilliamsonBlocks& blocks : detail::williamson_blocks)
      if (blocks.size * 4 == core) return detail::williamson_sign(blocks, i, j);
    return 1.0f;
  };
  for (std::size_t i = 0; i < order; ++i)
    for (std::size_t j = 0; j < order; ++j) {
      const std::size_t a = i % core, b = j % core;
      const float sign = first ? paley_1(a, b) : paley ? paley_2(a, b) : williamson(a, b);
      const bool negative = std::popcount((i / core) & (j / core)) % 2 != 0;
      (*matrix)(i, j) = negative ? -sign : sign;
    }
  return matrix;
}

}  // namespace pare
