#pragma once

/// Layer 2: how a block of values becomes codes and parameters, chosen at compile time.
#include "pare/schemes/catalog.hpp"
#include "pare/schemes/granularity.hpp"
#include "pare/schemes/microscaling.hpp"
#include "pare/schemes/name.hpp"
#include "pare/schemes/nvfp4.hpp"
#include "pare/schemes/scaling.hpp"
#include "pare/schemes/scheme.hpp"
