// Pass file, read once per target: every kernel, each after those that it builds on.
#undef PARE_VECTORS
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128 || HWY_HAVE_SCALABLE
#define PARE_VECTORS 0
#else
#define PARE_VECTORS 1
#endif
#undef PARE_AVX512
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
#define PARE_AVX512 1
#else
#define PARE_AVX512 0
#endif
// Whether AMX can be asked for.
#undef PARE_AMX
#if PARE_AVX512 && PARE_AMX_SYSTEM
#define PARE_AMX 1
#else
#define PARE_AMX 0
#endif
// Whether eight floats are placed and multiplied in one instruction each.
#undef PARE_EXPANDS
#if HWY_ARCH_X86 && HWY_TARGET == HWY_AVX2
#define PARE_EXPANDS 1
#else
#define PARE_EXPANDS 0
#endif
// clang-format off: the order counts
#include "pare/kernels/highway/convert-inl.hpp"
#include "pare/kernels/highway/copy-inl.hpp"
#include "pare/kernels/highway/hadamard-inl.hpp"
#include "pare/kernels/highway/pack-inl.hpp"
#include "pare/kernels/highway/range-inl.hpp"
#include "pare/kernels/highway/parameters-inl.hpp"
#if PARE_AVX512
#include "pare/kernels/highway/wide-encode-inl.hpp"
#endif
#include "pare/kernels/highway/encode-inl.hpp"
#include "pare/kernels/highway/nibble-inl.hpp"
#include "pare/kernels/highway/decode-inl.hpp"
#include "pare/kernels/highway/nvfp4-inl.hpp"
#include "pare/kernels/highway/product-inl.hpp"
#include "pare/kernels/highway/coded-inl.hpp"
#include "pare/kernels/highway/lines-inl.hpp"
#include "pare/kernels/highway/sparse-inl.hpp"
#include "pare/kernels/highway/integers-inl.hpp"
#if PARE_VECTORS
#define PARE_VNNI 0
#include "pare/kernels/highway/dot-begin-inl.hpp"
#include "pare/kernels/highway/dot-inl.hpp"
#include "pare/kernels/highway/sparse24-inl.hpp"
#include "pare/kernels/highway/group16-inl.hpp"
#include "pare/kernels/highway/tile-inl.hpp"
#include "pare/kernels/highway/dot-end-inl.hpp"
#undef PARE_VNNI
#endif
#if PARE_AVX512
#define PARE_VNNI 1
#include "pare/kernels/highway/dot-begin-inl.hpp"
#include "pare/kernels/highway/dot-inl.hpp"
#include "pare/kernels/highway/sparse24-inl.hpp"
#include "pare/kernels/highway/group16-inl.hpp"
#include "pare/kernels/highway/tile-inl.hpp"
#include "pare/kernels/highway/dot-end-inl.hpp"
#undef PARE_VNNI
#endif
#if PARE_AMX
#include "pare/kernels/highway/amx-rows-inl.hpp"
#include "pare/kernels/highway/amx-inl.hpp"
#endif
#include "pare/kernels/highway/prepared-inl.hpp"
// clang-format on
