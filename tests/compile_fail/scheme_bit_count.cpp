// expect: Scheme's bit count is 2 to 8; for another width name a format
#include <pare/schemes/schemes.hpp>

#ifdef SHOULD_COMPILE
using S = pare::Scheme<8, pare::Symmetric, pare::PerTensor>;
#else
using S = pare::Scheme<9, pare::Symmetric, pare::PerTensor>;
#endif

static_assert(S::bits > 0);
