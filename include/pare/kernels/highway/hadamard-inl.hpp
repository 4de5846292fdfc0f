// Pass file, read once per target: the fast Hadamard transform.
HWY_BEFORE_NAMESPACE();
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {

template <class Real>
void butterflies(Real* x, std::size_t length) {
#if PARE_VECTORS
  const hn::ScalableTag<Real> reals;
  using Reals = hn::Vec<decltype(reals)>;
  constexpr std::size_t n = HWY_MAX_BYTES / sizeof(Real);
  if (length < n) return ReferenceKernels::butterflies(x, length);

  // Within a vector: what each lane adds, or subtracts itself from, is `half` lanes away.
  const auto within = [&]<std::size_t half>(std::integral_constant<std::size_t, half>, Reals v) HWY_ATTR {
    using Index = hwy::MakeSigned<Real>;
    HWY_ALIGN Index partner[n];
    HWY_ALIGN Real sign[n];
    for (std::size_t i = 0; i < n; ++i) {
      partner[i] = static_cast<Index>(i ^ half);
      sign[i] = (i & half) != 0 ? Real{-0.0} : Real{0};
    }
    return hn::Add(hn::TableLookupLanes(v, hn::SetTableIndices(reals, partner)), hn::Xor(v, hn::Load(reals, sign)));
  };
  for (std::size_t i = 0; i < length; i += n) {
    Reals v = within(std::integral_constant<std::size_t, 1>{}, hn::LoadU(reals, x + i));
    if constexpr (n > 2) v = within(std::integral_constant<std::size_t, 2>{}, v);
    if constexpr (n > 4) v = within(std::integral_constant<std::size_t, 4>{}, v);
    if constexpr (n > 8) v = within(std::integral_constant<std::size_t, 8>{}, v);
    hn::StoreU(v, reals, x + i);
  }

  // Two levels at once, so that values are read and written half as often.
  std::size_t half = n;
  for (; length / 4 >= half; half *= 4)
    for (std::size_t begin = 0; begin < length; begin += 4 * half)
      for (std::size_t i = begin; i < begin + half; i += n) {
        Real *const p0 = x + i, *const p1 = p0 + half, *const p2 = p1 + half, *const p3 = p2 + half;
        const Reals x0 = hn::LoadU(reals, p0), x1 = hn::LoadU(reals, p1), x2 = hn::LoadU(reals, p2),
                    x3 = hn::LoadU(reals, p3);
        const Reals a = hn::Add(x0, x1), b = hn::Sub(x0, x1), c = hn::Add(x2, x3), d = hn::Sub(x2, x3);
        hn::StoreU(hn::Add(a, c), reals, p0);
        hn::StoreU(hn::Add(b, d), reals, p1);
        hn::StoreU(hn::Sub(a, c), reals, p2);
        hn::StoreU(hn::Sub(b, d), reals, p3);
      }
  if (half < length)
    for (std::size_t i = 0; i < half; i += n) {
      const Reals a = hn::LoadU(reals, x + i), b = hn::LoadU(reals, x + half + i);
      hn::StoreU(hn::Add(a, b), reals, x + i);
      hn::StoreU(hn::Sub(a, b), reals, x + half + i);
    }
#else
  ReferenceKernels::butterflies(x, length);
#endif
}

template <class Real>
void multiply_signs(const Real* HWY_RESTRICT x, const float* HWY_RESTRICT signs, std::size_t a_step, std::size_t b_step,
                    std::size_t order, std::size_t length, Real* HWY_RESTRICT sums) {
#if PARE_VECTORS
  const hn::ScalableTag<Real> reals;
  using Reals = hn::Vec<decltype(reals)>;
  constexpr std::size_t n = HWY_MAX_BYTES / sizeof(Real);
  if (length < n) return ReferenceKernels::multiply_signs(x, signs, a_step, b_step, order, length, sums);
  const auto product = [&](std::size_t a, std::size_t b, std::size_t k) HWY_ATTR {
    const Reals sign = hn::Set(reals, static_cast<Real>(signs[a * a_step + b * b_step]));
    return hn::Mul(sign, hn::LoadU(reals, x + b * length + k));
  };
  for (std::size_t a = 0; a < order; ++a)
    for (std::size_t k = 0; k < length; k += n) {
      Reals sum = hn::Zero(reals);
      for (std::size_t b = 0; b < order; b += 4) {
        const Reals first = hn::Add(product(a, b, k), product(a, b + 1, k));
        const Reals second = hn::Add(product(a, b + 2, k), product(a, b + 3, k));
        sum = hn::Add(sum, hn::Add(first, second));
      }
      hn::StoreU(sum, reals, sums + a * length + k);
    }
#else
  ReferenceKernels::multiply_signs(x, signs, a_step, b_step, order, length, sums);
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
HWY_AFTER_NAMESPACE();
