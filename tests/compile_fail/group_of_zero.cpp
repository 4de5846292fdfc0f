// expect: a granularity's block has at least one row and one column
#include <pare/schemes/schemes.hpp>

#ifdef SHOULD_COMPILE
using S = pare::Scheme<4, pare::Symmetric, pare::PerGroup<1>>;
#else
using S = pare::Scheme<4, pare::Symmetric, pare::PerGroup<0>>;
#endif

static_assert(S::bits > 0);
