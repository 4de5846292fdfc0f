// Pass file, read once per target: the range of each group of a row.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {

#if PARE_VECTORS

/// Quantizing reads weights twice, a few kilobytes at a time, which stay in the first-level cache. The search of ranges
/// fetches what comes next into it.
template <class T>
HWY_INLINE void prefetch_next(const T* x, std::size_t n) {
  constexpr std::size_t distance = 4096, line = 64;
  for (std::size_t i = 0; i < n * sizeof(T); i += line)
    hwy::Prefetch(reinterpret_cast<const std::uint8_t*>(x) + distance + i);
}

/// What is fetched from memory long before it is read, in bytes.
inline constexpr std::uintptr_t prefetch_bytes = 65536;

/// Whether that is there behind values which so many follow.
template <class T>
HWY_INLINE bool prefetches(std::size_t following) {
  return following >= 2 * prefetch_bytes / sizeof(T);
}

/// Reading N values fetches as many from memory for later: where it has come to some share of a window, a line at that
/// share of each part of the next window. Memory gives much more from several places at once than from one.
template <std::size_t N, class T>
HWY_INLINE void prefetch_window(const T* x) {
  constexpr std::uintptr_t window = prefetch_bytes, line = 64, parts = N * sizeof(T) < line ? 1 : N * sizeof(T) / line;
  const std::uintptr_t at = reinterpret_cast<std::uintptr_t>(x) % window;
  const auto* const to = reinterpret_cast<const std::uint8_t*>(x) + (window - at + at / parts);
#pragma GCC unroll 4
  for (std::uintptr_t part = 0; part < parts; ++part) __builtin_prefetch(to + part * (window / parts), 0, 2);
}

/// The combination of all lanes of v[i] in lane i: of each lane with the one half a vector above, then of the first
/// half in the same way. `combine` takes its operands in any order.
template <class Combine>
HWY_INLINE Floats combine_lanes(Floats (&v)[lanes], Combine combine) {
  if constexpr (lanes >= 8) {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < lanes / 2; ++i) {
      const Floats a = v[i], b = v[i + lanes / 2];
      v[i] = combine(hn::ConcatUpperLower(floats, b, a), hn::ConcatLowerUpper(floats, b, a));
    }
  }
  if constexpr (lanes == 16) {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) {
      const Floats a = v[i], b = v[i + 4];
      v[i] = combine(hn::OddEvenBlocks(b, a), hn::SwapAdjacentBlocks(hn::OddEvenBlocks(a, b)));
    }
  }
#pragma GCC unroll 2
  for (std::size_t i = 0; i < 2; ++i) {
    const Floats a = v[2 * i], b = v[2 * i + 1];
    v[i] = combine(hn::InterleaveLower(floats, a, b), hn::InterleaveUpper(floats, a, b));
  }
  const hn::Repartition<std::uint64_t, FloatTag> pairs;
  const auto a = hn::BitCast(pairs, v[0]), b = hn::BitCast(pairs, v[1]);
  return combine(hn::BitCast(floats, hn::InterleaveLower(pairs, a, b)),
                 hn::BitCast(floats, hn::InterleaveUpper(pairs, a, b)));
}

/// The limits of `lanes` groups, a group in each lane.
struct Limits {
  Floats lowest;   ///< +0 or below
  Floats highest;  ///< +0 or above
};

/// The limits of `lanes` groups of whole vectors; false where a value is not finite. `Group` is the size of a group
/// that is known when this is compiled, or 0.
template <std::size_t Group, class T>
HWY_NOINLINE bool find_limits(const T* x, std::size_t group, Limits& limits) {
  if constexpr (Group != 0) group = Group;
  Floats lowest[lanes], highest[lanes], nothing = hn::Zero(floats);
#pragma GCC unroll 16
  for (std::size_t g = 0; g < lanes; ++g) {
    prefetch_next(x + g * group, group);
    Floats low = load(x + g * group), high = low;
    Floats none = hn::Mul(low, hn::Zero(floats));
    for (std::size_t i = lanes; i < group; i += lanes) {
      const Floats v = load(x + g * group + i);
      low = hn::Min(low, v);
      high = hn::Max(high, v);
      none = hn::MulAdd(v, hn::Zero(floats), none);
    }
    nothing = hn::Add(nothing, none);
    lowest[g] = low;
    highest[g] = high;
  }
  // Zero times what is not finite is NaN.
  if (!hn::AllTrue(floats, hn::Eq(nothing, hn::Zero(floats)))) return false;
  // Adding +0 turns a -0, which some targets' Min and Max keep, into +0.
  const Floats zero = hn::Zero(floats);
  const Floats least = combine_lanes(lowest, [](Floats a, Floats b) HWY_ATTR { return hn::Min(a, b); });
  const Floats most = combine_lanes(highest, [](Floats a, Floats b) HWY_ATTR { return hn::Max(a, b); });
  limits = {hn::Add(hn::Min(least, zero), zero), hn::Add(hn::Max(most, zero), zero)};
  return true;
}

/// As find_limits for codes that are centred on zero: the highest limit is that of the magnitudes, the lowest 0.
template <std::size_t Group, class T>
HWY_NOINLINE bool find_magnitudes(const T* x, std::size_t group, Limits& limits) {
  if constexpr (Group != 0) group = Group;
  // Bits of magnitudes ascend with them.
  Floats largest[lanes];
#pragma GCC unroll 16
  for (std::size_t g = 0; g < lanes; ++g) {
    prefetch_next(x + g * group, group);
    Ints most = hn::BitCast(ints, hn::Abs(load(x + g * group)));
    for (std::size_t i = lanes; i < group; i += lanes)
      most = hn::Max(most, hn::BitCast(ints, hn::Abs(load(x + g * group + i))));
    largest[g] = hn::BitCast(floats, most);
  }
  const Ints most = hn::BitCast(ints, combine_lanes(largest, [](Floats a, Floats b) HWY_ATTR {
                                  return hn::BitCast(floats, hn::Max(hn::BitCast(ints, a), hn::BitCast(ints, b)));
                                }));
  limits = {hn::Zero(floats), hn::BitCast(floats, most)};
  return hn::AllTrue(ints, hn::Lt(most, hn::Set(ints, 0x7f800000)));
}

/// The ranges of `lanes` groups of whole vectors; false, and no ranges, where a value is not finite.
template <class T>
HWY_INLINE bool find_ranges(const T* x, std::size_t group, Range* ranges) {
  Limits limits;
  if (!find_limits<0>(x, group, limits)) return false;
  HWY_ALIGN float low[lanes], high[lanes];
  hn::Store(limits.lowest, floats, low);
  hn::Store(limits.highest, floats, high);
  for (std::size_t g = 0; g < lanes; ++g) ranges[g] = {low[g], high[g]};
  return true;
}

#endif

template <class T>
void find_range(const T* x, std::size_t n, std::size_t group, Range* ranges, [[maybe_unused]] std::size_t following) {
#if PARE_VECTORS
  const bool reads_ahead = prefetches<T>(following);
  std::size_t begin = 0;
  if (group % lanes == 0 && group <= n / lanes) {
    for (; n - begin >= lanes * group && find_ranges(x + begin, group, ranges); begin += lanes * group) ranges += lanes;
  }
  for (; begin < n; ++ranges) {
    const std::size_t end = n - begin > group ? begin + group : n;
    // Zero times what is not finite is NaN.
    const Floats zero = hn::Zero(floats);
    Floats lowest = zero, highest = zero, nothing = zero;
    std::size_t i = begin;
    if (end - i >= 4 * lanes) {
      Floats low[4] = {zero, zero, zero, zero}, high[4] = {zero, zero, zero, zero}, none[4] = {zero, zero, zero, zero};
      for (; end - i >= 4 * lanes; i += 4 * lanes) {
        prefetch_next(x + i, 4 * lanes);
        if (reads_ahead) prefetch_window<4 * lanes>(x + i);
#pragma GCC unroll 4
        for (std::size_t j = 0; j < 4; ++j) {
          const Floats v = load(x + i + j * lanes);
          low[j] = hn::Min(low[j], v);
          high[j] = hn::Max(high[j], v);
          none[j] = hn::MulAdd(v, zero, none[j]);
        }
      }
      lowest = hn::Min(hn::Min(low[0], low[1]), hn::Min(low[2], low[3]));
      highest = hn::Max(hn::Max(high[0], high[1]), hn::Max(high[2], high[3]));
      nothing = hn::Add(hn::Add(none[0], none[1]), hn::Add(none[2], none[3]));
    }
    for (; end - i >= lanes; i += lanes) {
      const Floats v = load(x + i);
      lowest = hn::Min(lowest, v);
      highest = hn::Max(highest, v);
      nothing = hn::MulAdd(v, zero, nothing);
    }
    if (hn::AllTrue(floats, hn::Eq(nothing, zero))) {
      // Adding +0 turns a -0, which some targets' Min and Max keep, into +0.
      Range range{hn::GetLane(hn::MinOfLanes(floats, lowest)) + 0.0f,
                  hn::GetLane(hn::MaxOfLanes(floats, highest)) + 0.0f};
      for (; i < end; ++i) range.include(static_cast<float>(x[i]));
      *ranges = range;
    } else {
      ReferenceKernels::find_range(x + begin, end - begin, group, ranges);
    }
    begin = end;
  }
#else
  ReferenceKernels::find_range(x, n, group, ranges);
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_AFTER_NAMESPACE();
