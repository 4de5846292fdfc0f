#pragma once

/// Layer 0: results, executors, progress, shapes, bits and memory. Depends on the standard library alone.
#include "pare/core/bits.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/matrix.hpp"
#include "pare/core/memory.hpp"
#include "pare/core/progress.hpp"
#include "pare/core/result.hpp"
#include "pare/core/version.hpp"
