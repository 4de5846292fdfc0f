// expect: Scheme's first parameter is a bit count or a format of at most 8 bits that holds signed values
#include <pare/schemes/schemes.hpp>

#ifdef SHOULD_COMPILE
using S = pare::Scheme<pare::e4m3, pare::Symmetric, pare::PerTensor>;
#else
using S = pare::Scheme<pare::e8m0, pare::Symmetric, pare::PerTensor>;
#endif

static_assert(S::bits > 0);
