#pragma once

/// Layer 6: algorithms that choose codes and scales by more than each weight's own value.
#include "pare/quantize/grid.hpp"
#include "pare/quantize/min_max_grid.hpp"
#include "pare/quantize/round_to_nearest.hpp"
#include "pare/quantize/scheme_grid.hpp"
