// No include guard: makes hwy/highway.h visible for the current HWY_TARGET, whatever state its toggle is in, unless the
// program has done so for the static target before.
#if HWY_TARGET != HWY_STATIC_TARGET || !defined(PARE_STATIC_TARGET_DONE)
#if defined(HWY_HIGHWAY_PER_TARGET) != defined(HWY_TARGET_TOGGLE)
#ifdef HWY_TARGET_TOGGLE
#undef HWY_TARGET_TOGGLE
#else
#define HWY_TARGET_TOGGLE
#endif
#endif
#include "hwy/highway.h"
#endif
