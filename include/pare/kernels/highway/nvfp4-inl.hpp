// Pass file, read once per target: values to NVFP4, a block of it in each lane or vector.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {
#if PARE_VECTORS

/// Between its inverse and this no quotient below overflows, and none that counts is subnormal.
inline constexpr float nvfp4_bound = 0x1p60f;

/// x / by, rounded once; 0 where that is -0. Where nothing underflows, what the correctly rounded inverse leaves of x
/// is exact, and corrects the product (Markstein, "Computation of elementary functions on the IBM RISC System/6000
/// processor", 1990).
HWY_INLINE Floats divide(Floats x, Floats by, [[maybe_unused]] Floats inverse) {
#if HWY_NATIVE_FMA
  const Floats quotient = hn::Mul(x, inverse);
  return hn::MulAdd(hn::NegMulAdd(quotient, by, x), inverse, quotient);
#else
  return hn::Add(hn::Div(x, by), hn::Zero(floats));
#endif
}
HWY_INLINE Floats divide(Floats x, float by) { return divide(x, hn::Set(floats, by), hn::Set(floats, 1.0f / by)); }

/// The E4M3 codes of the scales of `lanes` blocks with these largest magnitudes.
template <Nvfp4Dialect D>
HWY_INLINE Words nvfp4_scale_codes(Floats magnitude, float tensor_scale) {
  const Encoder<E4M3> encoder(BlockParameters{});
  if constexpr (D == Nvfp4Dialect::modelopt) {
    const Floats smallest = hn::Set(floats, detail::exp2_int(-9));
    const Words code = encoder(hn::Max(divide(magnitude, 6.0f * tensor_scale), smallest));
    return select(less(set(0), bits_of(magnitude)), code, set(E4M3::encode(1.0f)));
  } else {
    const Words code = encoder(hn::Mul(hn::Set(floats, tensor_scale), divide(magnitude, 6.0f)));
    return select(less(set(0), code), code, set(E4M3::encode(0.125f)));
  }
}

/// What the elements of `lanes` blocks are multiplied by.
template <Nvfp4Dialect D>
HWY_INLINE Floats nvfp4_scales(const std::uint8_t* codes, float tensor_scale) {
  const Floats scales = Decoder<E4M3>(1.0f, 0)(codes);
  return D == Nvfp4Dialect::modelopt ? hn::Mul(scales, hn::Set(floats, tensor_scale)) : divide(scales, tensor_scale);
}

/// Blocks whose scales are known.
struct Nvfp4Blocks {
  static constexpr std::size_t most = 64;  ///< few kilobytes of values, which stay in the first-level cache
  HWY_ALIGN float scale[most];
  HWY_ALIGN float inverse[most];
  std::size_t count;      ///< a multiple of `lanes`
  bool good = true;       ///< every value is finite, and not too large for what follows
  bool bounded = true;    ///< no quotient is rounded to more than the largest code
  bool vanishes = false;  ///< there may be quotients that vanish
};

/// Finds the scales of blocks, and stores their codes.
template <Nvfp4Dialect D, class T>
HWY_INLINE void find_nvfp4_scales(const T* x, float tensor_scale, std::uint8_t* codes, Nvfp4Blocks& blocks) {
  HWY_ALIGN float magnitudes[Nvfp4Blocks::most];
  for (std::size_t g = 0; g < blocks.count; g += lanes) {
    Limits limits;
    blocks.good = find_magnitudes<nvfp4_block>(x + g * nvfp4_block, nvfp4_block, limits) && blocks.good;
    hn::Store(limits.highest, floats, magnitudes + g);
  }
  // In a loop of its own, which calls nothing: constants keep their registers, and vectors do not wait for each other.
  Floats largest = hn::Zero(floats), largest_scale = largest, largest_quotient = largest;
  for (std::size_t g = 0; g < blocks.count; g += lanes) {
    const Floats magnitude = hn::Load(floats, magnitudes + g);
    store_bytes(nvfp4_scale_codes<D>(magnitude, tensor_scale), codes + g);
    const Floats scale = nvfp4_scales<D>(codes + g, tensor_scale);
    const Floats inverse = hn::Div(hn::Set(floats, 1.0f), scale);
    hn::Store(scale, floats, blocks.scale + g);
    hn::Store(inverse, floats, blocks.inverse + g);
    largest = hn::Max(largest, magnitude);
    largest_scale = hn::Max(largest_scale, scale);
    largest_quotient = hn::Max(largest_quotient, hn::Mul(magnitude, inverse));
  }
  blocks.good = hn::AllTrue(floats, hn::Le(largest, hn::Set(floats, nvfp4_bound))) && blocks.good;
  blocks.bounded = hn::AllTrue(floats, hn::Le(largest_quotient, hn::Set(floats, 6.5f)));
  blocks.vanishes = !hn::AllTrue(floats, hn::Le(largest_scale, hn::Set(floats, 1.0f)));
}

/// Whether a value but 0 is so small that its quotient may vanish, whose sign is not kept then.
template <class T>
HWY_NOINLINE bool may_vanish(const T* x, std::size_t n) {
  Words least = set(~0u);  // of magnitudes' bits less 1, which leaves none below those of 0
  for (std::size_t i = 0; i < n; i += lanes) least = hn::Min(least, hn::Sub(bits_of(hn::Abs(load(x + i))), set(1)));
  return !hn::AllFalse(words, hn::Lt(least, set(detail::float_bits(0x1p-80f))));
}

#if PARE_AVX512
template <bool Bounded, class T>
HWY_INLINE void encode_nvfp4_blocks(const T* x, const Nvfp4Blocks& blocks, std::uint8_t* codes, bool reads_ahead) {
  using Wide = WideEncoder<E2M1, Bounded>;
  const auto steps = [&](std::size_t g) HWY_ATTR {
    return Wide::steps(
        divide(load(x + g * nvfp4_block), hn::Set(floats, blocks.scale[g]), hn::Set(floats, blocks.inverse[g])));
  };
  for (std::size_t g = 0; g < blocks.count; g += 4) {
    if (reads_ahead) prefetch_window<pair>(x + g * nvfp4_block);
    const __m512i low = Wide::join(steps(g), steps(g + 1)), high = Wide::join(steps(g + 2), steps(g + 3));
    pack_pair<E2M1>(Wide::codes(low, high), codes + g * nvfp4_block / 2);
  }
}
#else
template <bool Bounded, class T>
HWY_INLINE void encode_nvfp4_blocks(const T* x, const Nvfp4Blocks& blocks, std::uint8_t* codes, bool reads_ahead) {
  const Encoder<E2M1> encoder(BlockParameters{});
  for (std::size_t begin = 0; begin < blocks.count * nvfp4_block; begin += block) {
    if (reads_ahead) prefetch_window<block>(x + begin);
    HWY_ALIGN std::uint8_t bytes[block];
    for (std::size_t i = 0; i < block; i += lanes) {
      const std::size_t g = (begin + i) / nvfp4_block;
      store_codes(
          encoder(divide(load(x + begin + i), hn::Set(floats, blocks.scale[g]), hn::Set(floats, blocks.inverse[g]))),
          bytes + i);
    }
    pack_block<4>(bytes, codes + begin / 2);
  }
}
#endif
#endif

/// Not inlined, for it is called from two places and seldom.
template <Nvfp4Dialect D, class T>
HWY_NOINLINE bool encode_nvfp4_scalar(const T* x, std::size_t n, float tensor_scale, std::uint8_t* codes,
                                      std::uint8_t* scales) {
  return ReferenceKernels::encode_nvfp4<D>(x, n, tensor_scale, codes, scales);
}

/// `Signature` names the dialect and the element type.
template <class Signature>
bool encode_nvfp4(const typename Signature::element_type* x, std::size_t n, float tensor_scale, std::uint8_t* codes,
                  std::uint8_t* scales, [[maybe_unused]] std::size_t following) {
  constexpr Nvfp4Dialect dialect = Signature::dialect;
  std::size_t done = 0;  // blocks
#if PARE_VECTORS
  const std::size_t whole = n / nvfp4_block;
  const bool reads_ahead = prefetches<typename Signature::element_type>(following);
  if (whole >= lanes && tensor_scale <= nvfp4_bound && tensor_scale >= 1.0f / nvfp4_bound)
    while (done < whole) {
      // Fewer than a vector's at the end are encoded with some of those before, to the same bytes.
      const std::size_t first = std::min(done, whole - lanes);
      const std::size_t count = std::min(Nvfp4Blocks::most, (whole - first) / lanes * lanes);
      const auto* const from = x + first * nvfp4_block;
      std::uint8_t* const to = codes + first * nvfp4_block / 2;
      Nvfp4Blocks blocks;
      blocks.count = count;
      find_nvfp4_scales<dialect>(from, tensor_scale, scales + first, blocks);
      const bool divides = HWY_NATIVE_FMA && blocks.vanishes && may_vanish(from, count * nvfp4_block);
      if (blocks.good && !divides) {
        if (PARE_AVX512 && blocks.bounded)
          encode_nvfp4_blocks<true>(from, blocks, to, reads_ahead);
        else
          encode_nvfp4_blocks<false>(from, blocks, to, reads_ahead);
      } else if (!encode_nvfp4_scalar<dialect>(from, count * nvfp4_block, tensor_scale, to, scales + first)) {
        return false;
      }
      done = first + count;
    }
#endif
  const std::size_t begin = done * nvfp4_block;
  return begin == n ||
         encode_nvfp4_scalar<dialect>(x + begin, n - begin, tensor_scale, codes + begin / 2, scales + done);
}

}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_AFTER_NAMESPACE();
