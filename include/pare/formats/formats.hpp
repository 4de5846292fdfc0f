#pragma once

/// Layer 1: value <-> code, scalar and constexpr. Nothing here knows of memory.
#include "pare/formats/exponent.hpp"
#include "pare/formats/format.hpp"
#include "pare/formats/half.hpp"
#include "pare/formats/integer.hpp"
#include "pare/formats/minifloat.hpp"
#include "pare/formats/table.hpp"
