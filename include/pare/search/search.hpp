#pragma once

/// Layer 7: which bits each layer gets: sensitivity, budgets and their allocation.
#include "pare/search/allocation.hpp"
#include "pare/search/sensitivity.hpp"
