// Pass file, read once per target: copies that leave the caches to others.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {

template <class Unused>
void copy_past_caches(const std::uint8_t* from, std::size_t n, std::uint8_t* to) {
#if PARE_VECTORS
  const hn::ScalableTag<std::uint8_t> bytes;
  constexpr std::size_t line = 64, vector = hn::MaxLanes(bytes);
  const std::size_t head = std::min(n, (line - reinterpret_cast<std::uintptr_t>(to) % line) % line);
  std::memcpy(to, from, head);
  std::size_t done = head;
  for (; n - done >= line; done += line)
    for (std::size_t i = done; i < done + line; i += vector) hn::Stream(hn::LoadU(bytes, from + i), bytes, to + i);
  std::memcpy(to + done, from + done, n - done);
#else
  ReferenceKernels::copy_past_caches(from, n, to);
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_AFTER_NAMESPACE();
