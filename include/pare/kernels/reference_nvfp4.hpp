#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pare/schemes/schemes.hpp"

namespace pare {

/// The scalar definition of the kernel that encodes NVFP4.
struct ReferenceNvfp4 {
  /// The codes of x[0 .. n), two a byte, the first in the low nibble, and the E4M3 codes of the scales of its blocks of
  /// 16, under a finite scale of the tensor above 0. False where a value is not finite: what is written then, nobody
  /// says. `following` is as for find_range.
  template <Nvfp4Dialect D, Element T>
  static constexpr bool encode_nvfp4(const T* x, std::size_t n, float tensor_scale, std::uint8_t* codes,
                                     std::uint8_t* scales, [[maybe_unused]] std::size_t following = 0) noexcept {
    for (std::size_t begin = 0; begin < n; begin += nvfp4_block) {
      const std::size_t count = std::min(nvfp4_block, n - begin);
      std::array<float, nvfp4_block> values{};
      std::array<std::uint8_t, nvfp4_block> block{};
      for (std::size_t i = 0; i < count; ++i) {
        values[i] = static_cast<float>(x[begin + i]);
        if (!is_finite(values[i])) return false;
      }
      const std::span<const float> all(values);
      *scales++ = static_cast<std::uint8_t>(encode_nvfp4_block<D>(all.first(count), tensor_scale, block));
      for (std::size_t i = 0; i < count; i += 2) *codes++ = static_cast<std::uint8_t>(block[i] | block[i + 1] << 4);
    }
    return true;
  }
};

}  // namespace pare
