#include "goals/limits.hpp"

#include <hwy/cache_control.h>

#include <algorithm>
#include <array>
#include <cstring>

#if HWY_ARCH_X86
#include <immintrin.h>
#endif

namespace limits {
namespace {

constexpr std::size_t line = 64;
using Line = std::array<std::uint64_t, line / sizeof(std::uint64_t)>;

/// Makes the compiler compute all of it.
template <class T, std::size_t N>
void use(const std::array<T, N>& values) {
  for (const T value : values) {
    volatile const T used = value;
    static_cast<void>(used);
  }
}

}  // namespace

void load(std::span<const std::byte> bytes) {
  // One stream of addresses gets little more than half of what several get.
  constexpr std::size_t streams = 8, ahead = 2048;
  const std::size_t stream_bytes = bytes.size() / streams;
  Line sums = {};
  for (std::size_t i = 0; i + line <= stream_bytes; i += line)
    for (std::size_t s = 0; s < streams; ++s) {
      const std::byte* from = bytes.data() + s * stream_bytes + i;
      hwy::Prefetch(from + ahead);
      Line words;
      std::memcpy(words.data(), from, line);
      for (std::size_t j = 0; j < words.size(); ++j) sums[j] ^= words[j];
    }
  use(sums);
}

#if HWY_ARCH_X86

void store_non_temporal(std::span<std::byte> bytes) {
  const __m128i value = _mm_set1_epi8(1);
  for (std::size_t i = 0; i + sizeof value <= bytes.size(); i += sizeof value)
    _mm_stream_si128(reinterpret_cast<__m128i*>(bytes.data() + i), value);
  _mm_sfence();
}

bool has_vnni() { return __builtin_cpu_supports("avx512vnni") != 0; }

__attribute__((target("avx512f,avx512vnni"))) double multiply_bytes_vnni() {
  constexpr int sums = 12, times = 20000;
  const __m512i a = _mm512_set1_epi8(2), b = _mm512_set1_epi8(3);
  __m512i sum[sums];
  for (int j = 0; j < sums; ++j) sum[j] = _mm512_set1_epi32(j);  // were they the same, one would be computed for all
  for (int i = 0; i < times; ++i)
#pragma GCC unroll 12
    for (int j = 0; j < sums; ++j) sum[j] = _mm512_dpbusd_epi32(sum[j], a, b);
  std::array<std::uint8_t, sizeof sum> bytes;
  std::memcpy(bytes.data(), sum, sizeof sum);
  use(bytes);
  return 2.0 * 64 * sums * times;
}

#else

void store_non_temporal(std::span<std::byte> bytes) { std::ranges::fill(bytes, std::byte{1}); }
bool has_vnni() { return false; }
double multiply_bytes_vnni() { return 0.0; }

#endif

}  // namespace limits
