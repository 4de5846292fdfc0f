#pragma once

/// Layer 5: what is gathered from activations before weights are made small.
#include "pare/calibration/eigen_map.hpp"
#include "pare/calibration/finite.hpp"
#include "pare/calibration/inverse_factor.hpp"
#include "pare/calibration/second_moment.hpp"
#include "pare/calibration/unfold.hpp"
