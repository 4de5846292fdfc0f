// expect: Asymmetric cannot have an e8m0 scale, which only powers of two fit; use f32, f16 or bf16
#include <pare/schemes/schemes.hpp>

#ifdef SHOULD_COMPILE
using S = pare::Scheme<4, pare::Asymmetric, pare::PerGroup<32>, pare::bf16>;
#else
using S = pare::Scheme<4, pare::Asymmetric, pare::PerGroup<32>, pare::e8m0>;
#endif

static_assert(S::bits > 0);
