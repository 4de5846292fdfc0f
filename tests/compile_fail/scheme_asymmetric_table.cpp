// expect: Asymmetric needs integer codes; use Symmetric with nf4 and the small floats
#include <pare/schemes/schemes.hpp>

#ifdef SHOULD_COMPILE
using S = pare::Scheme<pare::nf4, pare::Symmetric, pare::PerGroup<64>>;
#else
using S = pare::Scheme<pare::nf4, pare::Asymmetric, pare::PerGroup<64>>;
#endif

static_assert(S::bits > 0);
