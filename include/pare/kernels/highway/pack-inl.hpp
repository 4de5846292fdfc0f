// Pass file, read once per target: codes, one a byte, to and from dense bit streams.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {

/// Codes are packed and unpacked in blocks of this many, which fill whole bytes at every width.
inline constexpr std::size_t block = 32;

template <int Bits>
HWY_INLINE void pack_block(const std::uint8_t* HWY_RESTRICT codes, std::uint8_t* HWY_RESTRICT packed) {
#if PARE_VECTORS
  if constexpr (Bits == 4) {
    const BlockTag bytes;
    const hn::Repartition<std::uint16_t, BlockTag> pairs;
    const auto merge = [&](const std::uint8_t* p) HWY_ATTR {
      const auto v = hn::BitCast(pairs, hn::And(hn::LoadU(bytes, p), hn::Set(bytes, 15)));
      return hn::BitCast(bytes, hn::Or(v, hn::ShiftRight<4>(v)));
    };
    hn::StoreU(hn::ConcatEven(bytes, merge(codes + 16), merge(codes)), bytes, packed);
    return;
  }
#endif
  if constexpr (Bits == 8) {
    std::memcpy(packed, codes, block);
  } else {
    for (std::size_t i = 0; i < block / 8; ++i)
      store_le(packed + i * Bits, squeeze8<Bits>(load_le(codes + 8 * i, 8)), Bits);
  }
}

template <int Bits>
HWY_INLINE void unpack_block(const std::uint8_t* HWY_RESTRICT packed, std::uint8_t* HWY_RESTRICT codes) {
#if PARE_VECTORS
  if constexpr (Bits == 4) {
    const BlockTag bytes;
    const auto v = hn::LoadU(bytes, packed);
    const auto low = hn::And(v, hn::Set(bytes, 15));
    const auto high = hn::ShiftRight<4>(v);
    hn::StoreU(hn::InterleaveLower(bytes, low, high), bytes, codes);
    hn::StoreU(hn::InterleaveUpper(bytes, low, high), bytes, codes + 16);
    return;
  }
#endif
  if constexpr (Bits == 8) {
    std::memcpy(codes, packed, block);
  } else {
    for (std::size_t i = 0; i < block / 8; ++i)
      store_le(codes + 8 * i, spread8<Bits>(load_le(packed + i * Bits, Bits)), 8);
  }
}

template <class Width>
void pack(const std::uint8_t* codes, std::size_t n, std::uint8_t* packed) {
  constexpr int bits = Width::value;
  std::size_t i = 0;
  for (; n - i >= block; i += block) pack_block<bits>(codes + i, packed + i / 8 * bits);
  if (i < n) ReferenceKernels::pack<bits>(codes + i, n - i, packed + i / 8 * bits);
}

template <class Width>
void unpack(const std::uint8_t* packed, std::size_t n, std::uint8_t* codes) {
  constexpr int bits = Width::value;
  std::size_t i = 0;
  for (; n - i >= block; i += block) unpack_block<bits>(packed + i / 8 * bits, codes + i);
  if (i < n) ReferenceKernels::unpack<bits>(packed + i / 8 * bits, n - i, codes + i);
}

}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_AFTER_NAMESPACE();
