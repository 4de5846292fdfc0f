// Pass file, read once per target: the range of each group of a row.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {

#if PARE_VECTORS

/// The combination of all lanes of v[i] in lane i.
template <class Combine>
HWY_INLINE Floats combine_lanes(Floats (&v)[lanes], Combine combine) {
  for (std::size_t count = lanes / 2; count > 0; count /= 2)
    for (std::size_t i = 0; i < count; ++i) {
      const Floats a = v[2 * i], b = v[2 * i + 1];
      v[i] = combine(hn::ConcatEven(floats, b, a), hn::ConcatOdd(floats, b, a));
    }
  return v[0];
}

/// The ranges of `lanes` groups of whole vectors; false, and no ranges, where a value is not finite.
template <class T>
HWY_INLINE bool find_ranges(const T* x, std::size_t group, Range* ranges) {
  Floats lowest[lanes], highest[lanes];
  Ints largest = hn::Zero(ints);
  for (std::size_t g = 0; g < lanes; ++g) {
    Floats low = hn::Zero(floats), high = hn::Zero(floats);
    for (std::size_t i = 0; i < group; i += lanes) {
      const Floats v = load(x + g * group + i);
      low = hn::Min(low, v);
      high = hn::Max(high, v);
      largest = hn::Max(largest, hn::BitCast(ints, hn::And(bits_of(v), set(0x7fffffffu))));
    }
    lowest[g] = low;
    highest[g] = high;
  }
  if (!hn::AllTrue(ints, hn::Lt(largest, hn::Set(ints, 0x7f800000)))) return false;
  HWY_ALIGN float low[lanes], high[lanes];
  // Adding +0 turns a -0, which some targets' Min and Max keep, into +0.
  const Floats zero = hn::Zero(floats);
  hn::Store(hn::Add(combine_lanes(lowest, [](Floats a, Floats b) HWY_ATTR { return hn::Min(a, b); }), zero), floats,
            low);
  hn::Store(hn::Add(combine_lanes(highest, [](Floats a, Floats b) HWY_ATTR { return hn::Max(a, b); }), zero), floats,
            high);
  for (std::size_t g = 0; g < lanes; ++g) ranges[g] = {low[g], high[g]};
  return true;
}

#endif

template <class T>
void find_range(const T* x, std::size_t n, std::size_t group, Range* ranges) {
#if PARE_VECTORS
  std::size_t begin = 0;
  if (group % lanes == 0 && group <= n / lanes)
    for (; n - begin >= lanes * group && find_ranges(x + begin, group, ranges); begin += lanes * group) ranges += lanes;
  for (; begin < n; ++ranges) {
    const std::size_t end = n - begin > group ? begin + group : n;
    Floats lowest = hn::Zero(floats), highest = hn::Zero(floats);
    Ints largest = hn::Zero(ints);
    std::size_t i = begin;
    for (; end - i >= lanes; i += lanes) {
      const Floats v = load(x + i);
      lowest = hn::Min(lowest, v);
      highest = hn::Max(highest, v);
      largest = hn::Max(largest, hn::BitCast(ints, hn::And(bits_of(v), set(0x7fffffffu))));
    }
    if (hn::AllTrue(ints, hn::Lt(largest, hn::Set(ints, 0x7f800000)))) {
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
