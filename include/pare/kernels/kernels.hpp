#pragma once

/// Layer 3: pointers in, pointers out. ReferenceKernels defines every kernel; the other backends give the same bytes.
#include "pare/kernels/highway.hpp"
#include "pare/kernels/reference.hpp"
