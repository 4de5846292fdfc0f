#pragma once

/// Layer 3: pointers in, pointers out. ReferenceKernels defines every kernel; the other backends give the same bytes.
/// With PARE_USE_COMPILED_KERNELS, which linking pare::kernels defines, HighwayKernels is the compiled library's.
#include "pare/kernels/reference.hpp"

#if defined(PARE_USE_COMPILED_KERNELS)
#include "pare/kernels/compiled.hpp"

namespace pare {
using HighwayKernels = CompiledKernels;
}  // namespace pare
#else
#include "pare/kernels/highway.hpp"
#endif
