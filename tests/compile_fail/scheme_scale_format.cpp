// expect: Scheme's fourth parameter is a scale format: f32, f16, bf16, e4m3, e5m2 or e8m0
#include <pare/schemes/schemes.hpp>

#ifdef SHOULD_COMPILE
using S = pare::Scheme<4, pare::Symmetric, pare::PerTensor, pare::f16>;
#else
using S = pare::Scheme<4, pare::Symmetric, pare::PerTensor, pare::nf4>;
#endif

static_assert(S::bits > 0);
