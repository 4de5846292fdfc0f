#pragma once

/// Layer 4': how far an approximation is from its reference: mse, sqnr, cosine, max_error.
#include "pare/metrics/error_statistics.hpp"
#include "pare/metrics/measures.hpp"
