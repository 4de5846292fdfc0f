// expect: Scheme's third parameter is PerTensor, PerChannel, PerGroup<N> or PerBlock<R, C>
#include <pare/schemes/schemes.hpp>

#ifdef SHOULD_COMPILE
using S = pare::Scheme<4, pare::Symmetric, pare::PerChannel>;
#else
using S = pare::Scheme<4, pare::Symmetric, pare::Asymmetric>;
#endif

static_assert(S::bits > 0);
