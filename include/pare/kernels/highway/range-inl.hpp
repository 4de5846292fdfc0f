// Pass file, read once per target: the range of each group of a row.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {

template <class T>
void find_range(const T* x, std::size_t n, std::size_t group, Range* ranges) {
#if PARE_VECTORS
  for (std::size_t begin = 0; begin < n; ++ranges) {
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
