// expect: Scheme's second parameter is pare::Symmetric or pare::Asymmetric
#include <pare/schemes/schemes.hpp>

#ifdef SHOULD_COMPILE
using S = pare::Scheme<4, pare::Symmetric, pare::PerTensor>;
#else
using S = pare::Scheme<4, pare::PerTensor, pare::PerTensor>;
#endif

static_assert(S::bits > 0);
