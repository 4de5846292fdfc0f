#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace pare::gguf::detail {

/// Rounds products where compilers would fuse them with the addition that follows, which gives other bits on machines
/// with fused multiply-add. It mixes in a zero that no optimizer can see through, and so vectorizes as one operation.
class Rounded {
 public:
  constexpr Rounded() noexcept : zero_(hidden_zero()) {}

  constexpr float operator()(float product) const noexcept {
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(product) ^ zero_);
  }
  /// n, which the optimizer cannot tell: loops up to it stay loops, which vectorize better than what gcc unrolls.
  [[nodiscard]] constexpr std::size_t count(std::size_t n) const noexcept { return n | zero_; }
  constexpr double operator()(double product) const noexcept {
    return std::bit_cast<double>(std::bit_cast<std::uint64_t>(product) ^ zero_);
  }

 private:
  static constexpr std::uint32_t hidden_zero() noexcept {
    if (std::is_constant_evaluated()) return 0;
    const volatile std::uint32_t zero = 0;
    return zero;
  }

  std::uint32_t zero_;
};

}  // namespace pare::gguf::detail
